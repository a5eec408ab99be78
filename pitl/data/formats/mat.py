"""MATLAB files: versions 4 to 7 through scipy.io, and version 7.3, which is HDF5, through h5py."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats import arrays, hdf5, sandbox
from pitl.data.formats.budget import DEPTH, Budget
from pitl.data.formats.signals import Signals
from pitl.errors import PitlError


def read(path: Path) -> Signals:
    """Reads numeric arrays, also within structs and cells; cell arrays of names beside them name their columns.

    Raises:
        PitlError: if it is not a MAT file, is damaged, or has nothing that looks like a recording.
    """
    return sandbox.read(path, "mat")


def prepare() -> None:
    """Imports what `parse` needs."""
    import h5py  # noqa: F401
    import scipy.io  # noqa: F401


def parse(path: Path) -> Signals:
    """As `read`, in this process."""
    with path.open("rb") as file:
        start = file.read(1024)
    if hdf5.SIGNATURE in start:  # 7.3 puts 512 bytes of its own in front
        return hdf5.parse_any(path)
    if start[126:128] not in (b"IM", b"MI") and not _version_4(start):
        raise PitlError(f"{path}: does not begin as a MAT file does; give it the ending of its real format.")
    data = path.read_bytes()
    from scipy.io import loadmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=False, chars_as_strings=True)
    walk = _MatWalk()
    for name, value in result.items():
        if not name.startswith("__"):
            walk.visit(name, value, 0)
    return arrays.to_signals(path, walk.numbers, walk.texts, walk.unread)


def _version_4(start: bytes) -> bool:
    """Whether it begins with a version 4 header: five integers, the first MOPT (machine, 0, precision, type)."""
    if len(start) < 20:
        return False
    for order in "<>":
        mopt, rows, columns, imaginary, name = struct.unpack_from(f"{order}5i", start)
        machine, nothing, precision, kind = mopt // 1000, mopt // 100 % 10, mopt // 10 % 10, mopt % 10
        if 0 <= mopt < 5000 and machine < 5 and nothing == 0 and precision < 6 and kind < 3:
            return rows >= 0 and columns >= 0 and imaginary in (0, 1) and 0 < name < 256
    return False


class _MatWalk:
    """Collects arrays and texts under names with `/` between structs, their numbers, and cells."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.numbers: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}
        self.unread: list[str] = []

    def visit(self, name: str, value: Any, depth: int) -> None:
        self.budget.take_variable(name)
        if depth > DEPTH:
            return
        if hasattr(value, "_fieldnames"):
            for f in value._fieldnames:
                self.visit(f"{name}/{f}", getattr(value, f), depth + 1)
            return
        if not isinstance(value, np.ndarray):
            return
        if value.dtype.names and "s2" in value.dtype.names:  # an object of a class
            about = value.ravel()[0] if value.size else {"s0": b"", "s1": b"", "s2": b"object"}
            own, kind = _word(about["s0"]) or name, _word(about["s2"])
            self.unread.append(
                f"{own} is a MATLAB {kind}, which cannot be read; save table2array({own}), or writetable as CSV"
            )
        elif value.dtype.kind in "iufb":
            self.budget.take_values(name, value.size)
            self.numbers[name] = value
        elif value.dtype.kind == "U":
            self.budget.take_text(name, value.size * value.dtype.itemsize // 4)
            self.texts[name] = [str(v).strip() for v in np.ravel(value)]
        elif value.dtype.kind == "O":
            self._cells(name, value, depth)

    def _cells(self, name: str, value: np.ndarray, depth: int) -> None:
        items = list(np.ravel(value, order="F"))
        words = [
            str(np.ravel(v)[0]).strip() for v in items if isinstance(v, np.ndarray) and v.dtype.kind == "U" and v.size
        ]
        if items and len(words) == len(items):
            self.budget.take_text(name, sum(map(len, words)))
            self.texts[name] = words
        elif len(items) == 1:
            self.visit(name, items[0], depth + 1)
        else:
            for k, item in enumerate(items, 1):
                self.visit(f"{name}/{k}", item, depth + 1)


def _word(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
