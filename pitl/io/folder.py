"""Finds out what recordings a folder holds and reads them."""

from pathlib import Path

from pitl.errors import PitlError
from pitl.io import cohort, cohort_file, uci
from pitl.recording import Cohort
from pitl.schema import DataConfig


def read_folder(folder: Path, data: DataConfig) -> Cohort:
    """Reads the recordings in a folder, of the kind that `data` names or the files show.

    Raises:
        PitlError: if there is nothing to read or it is not as it should be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise PitlError(f"the folder with recordings {folder} {what}; check the path.")
    if data.kind == "cohort" or (data.kind != "uci" and (folder / cohort_file.NAME).exists()):
        return cohort.read_cohort(folder)
    if data.kind == "uci" or uci.find(folder, uci.POSTURES):
        return uci.read_cohort(
            folder,
            tasks=data.tasks or ("sen", "pie"),
            calibration_fraction=data.offset_fraction or data.calibration_fraction,
            offset=data.offset,
            overrides=data.overrides,
        )
    found = sorted(p.name for p in folder.iterdir())
    what = f"holds {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}" if found else "is empty"
    raise PitlError(
        f"{folder} {what}; looked for {cohort_file.NAME} (your own recordings; `pitl init {folder}` writes a draft) "
        "and for files such as 1Nsen.txt or 10Apie.txt.gz (UCI lower limb), at any depth; choose the folder that has "
        "them."
    )
