"""MATLAB files: scipy.io up to version 7, and version 7.3, which is HDF5, through h5py."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats import arrays, hdf5
from pitl.data.formats.signals import Signals, read_bytes
from pitl.errors import PitlError

_DEEPEST = 8


def read(path: Path) -> Signals:
    """Reads numeric arrays, also within structs; cell arrays of names beside them name their columns.

    Raises:
        PitlError: if it is not a MAT file, is damaged, or has nothing that looks like a recording.
    """
    path = Path(path)
    data = read_bytes(path)
    if hdf5.SIGNATURE in data[:1024]:  # 7.3 puts 512 bytes of its own in front
        return _version_7_3(path)
    if not data.startswith(b"MATLAB 5"):
        raise PitlError(f"{path}: does not begin as a MAT file does; give it the ending of its real format.")
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=False, chars_as_strings=True)
    except Exception as e:  # the library tells of damage by many exceptions
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:120]
        raise PitlError(f"{path}: is not a whole MAT file ({reason}); save it again, or leave it out.") from e
    numbers: dict[str, Any] = {}
    texts: dict[str, list[str]] = {}
    for name, value in result.items():
        if not name.startswith("__"):
            _flatten(name, value, numbers, texts, 0)
    return arrays.to_signals(path, numbers, texts)


def _version_7_3(path: Path) -> Signals:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            numbers, texts = hdf5.collect(file)
    except PitlError:
        raise
    except Exception as e:
        raise PitlError(f"{path}: is not a whole MAT 7.3 file ({hdf5.reason(e)}); save it again.") from e
    return arrays.to_signals(path, numbers, texts)


def _flatten(name: str, value: Any, numbers: dict[str, Any], texts: dict[str, list[str]], depth: int) -> None:
    if depth > _DEEPEST:
        return
    fields = getattr(value, "_fieldnames", None)
    if fields is not None:
        for f in fields:
            _flatten(f"{name}/{f}", getattr(value, f), numbers, texts, depth + 1)
        return
    if not isinstance(value, np.ndarray):
        return
    if value.dtype.kind in "iufb":
        numbers[name] = value
    elif value.dtype.kind == "U" and value.ndim == 1:
        texts[name] = [str(v).strip() for v in value]
    elif value.dtype.kind == "O":
        items = list(np.ravel(value))
        words = [
            str(np.ravel(v)[0]).strip() for v in items if isinstance(v, np.ndarray) and v.dtype.kind == "U" and v.size
        ]
        if items and len(words) == len(items):
            texts[name] = words
        elif len(items) == 1:
            _flatten(name, items[0], numbers, texts, depth + 1)
        else:
            for k, item in enumerate(items[:64], 1):
                _flatten(f"{name}/{k}", item, numbers, texts, depth + 1)
