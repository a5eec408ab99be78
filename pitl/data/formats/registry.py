"""Which reader a file needs."""

import importlib
from pathlib import Path

from pitl.data.formats.signals import Signals, must_be_file
from pitl.errors import PitlError

# by ending: modules with `read(path) -> Signals`
READERS = {
    ".mot": "opensim", ".sto": "opensim", ".c3d": "c3d", ".csv": "csv", ".txt": "csv", ".tsv": "csv", ".mat": "mat",
    ".h5": "hdf5", ".hdf5": "hdf5", ".xdf": "xdf", ".xdfz": "xdf",
}  # fmt: skip
_INSTEAD = {
    ".xlsx": "save the sheet as CSV", ".xls": "save the sheet as CSV", ".trc": "markers alone give no angles: run "
    "inverse kinematics and give its .mot", ".zip": "unpack it first", ".rar": "unpack it first", ".edf": "export it "
    "as CSV", ".npz": "write it as HDF5", ".osim": "a model goes under model = in cohort.toml",
}  # fmt: skip


def read(path: Path) -> Signals:
    """Reads a file with the reader that its ending names.

    Raises:
        PitlError: if there is no such file or reader, or the file is not what its ending says.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in READERS:
        todo = _INSTEAD.get(ending, f"export it as one of {', '.join(READERS)}")
        raise PitlError(f"{path}: files ending in {ending or 'nothing'} are not read; {todo}.")
    must_be_file(path)
    try:
        return importlib.import_module(f"pitl.data.formats.{READERS[ending]}").read(path)
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError, MemoryError) as e:
        # what a reader did not foresee about one file must not end the reading of the others
        what = (str(e).strip().splitlines() or [""])[0][:120]
        raise PitlError(
            f"{path}: cannot be read ({type(e).__name__}: {what}); export it again, or leave it out."
        ) from e
