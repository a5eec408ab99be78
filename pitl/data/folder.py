"""Finds out what recordings a folder holds and reads them."""

from pathlib import Path

from pitl.config.schema import DataConfig
from pitl.data import cohort, cohort_file
from pitl.data.recording import Cohort
from pitl.data.uci import uci_cohort
from pitl.errors import PitlError


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
    if data.kind == "uci" or uci_cohort.find(folder, uci_cohort.POSTURES):
        return uci_cohort.read_cohort(
            folder,
            tasks=data.tasks or ("sen", "pie"),
            calibration_fraction=data.offset_fraction or data.calibration_fraction,
            offset=data.offset,
            overrides=data.overrides,
        )
    result = sorted(p.name for p in folder.iterdir())
    what = f"holds {', '.join(result[:3])}{' and more' if len(result) > 3 else ''}" if result else "is empty"
    raise PitlError(
        f"{folder} {what}; looked for {cohort_file.NAME} (your own recordings; `pitl init {folder}` writes a draft) "
        "and for files such as 1Nsen.txt or 10Apie.txt.gz (UCI lower limb), at any depth; choose the folder that has "
        "them."
    )
