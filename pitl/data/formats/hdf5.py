"""HDF5: our own layout, which keeps everything of `Signals`, and any other file of named arrays.

Ours: the root's attribute `format` is "pitl signals 1"; `/streams/NAME` holds `values` (T, K), `time_s` (T,), and the
attributes `columns`, `units` and `rate_hz`.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats import arrays
from pitl.data.formats.signals import Signals, Stream, read_bytes
from pitl.errors import PitlError
from pitl.files import atomic_write_bytes

FORMAT = "pitl signals 1"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEEPEST = 16
_LARGEST = 2**31  # values in one array


def read(path: Path) -> Signals:
    """Reads our layout, or numeric arrays of any other with their names as columns.

    Raises:
        PitlError: if it is not HDF5, is damaged, or has nothing that looks like a recording.
    """
    path = Path(path)
    if not read_bytes(path).startswith(SIGNATURE):
        raise PitlError(f"{path}: does not begin as an HDF5 file does; give it the ending of its real format.")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if _text(file.attrs.get("format", "")) == FORMAT:
                return _ours(path, file)
            numbers, texts = collect(file)
    except PitlError:
        raise
    except Exception as e:  # the library tells of damage by many exceptions
        raise PitlError(f"{path}: is not a whole HDF5 file ({reason(e)}); copy the file again, or leave it out.") from e
    return arrays.to_signals(path, numbers, texts)


def write(path: Path, signals: Signals) -> None:
    """Writes what `read` gives back to the last bit.

    Raises:
        PitlError: if it cannot be written.
    """
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.h5"
        with h5py.File(draft, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["notes"] = list(signals.notes) or h5py.Empty("S1")
            for order, s in enumerate(signals.streams):
                group = file.create_group(f"streams/{order:03d}")
                group.attrs["name"] = s.name
                group.create_dataset("values", data=s.values)
                group.attrs["columns"], group.attrs["units"] = list(s.columns), list(s.units)
                if s.time_s is not None:
                    group.create_dataset("time_s", data=s.time_s)
                if s.rate_hz is not None:
                    group.attrs["rate_hz"] = s.rate_hz
        atomic_write_bytes(path, draft.read_bytes())


def _ours(path: Path, file: Any) -> Signals:
    streams = []
    for key in sorted(file.get("streams", {})):
        group = file["streams"][key]
        missing = [k for k in ("columns", "units", "name") if k not in group.attrs]
        if missing or "values" not in group:
            raise PitlError(f"{path}: streams/{key} has no {(missing or ['values'])[0]}; write the file again.")
        time = np.asarray(group["time_s"][()], float) if "time_s" in group else None
        rate = group.attrs.get("rate_hz")
        streams.append(
            Stream(
                _text(group.attrs["name"]),
                _texts(group.attrs["columns"]),
                _texts(group.attrs["units"]),
                np.asarray(group["values"][()], float),
                time,
                None if rate is None else float(rate),
            )  # fmt: skip
        )
    return Signals(path, tuple(streams), _texts(file.attrs.get("notes", [])))


def collect(file: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    import h5py

    numbers: dict[str, Any] = {}
    texts: dict[str, list[str]] = {}

    def visit(group: Any, prefix: str, depth: int) -> None:
        for key in group:
            if key.startswith("#") or depth > _DEEPEST:  # MATLAB keeps the targets of its references there
                continue
            item, name = group[key], f"{prefix}{key}"
            if isinstance(item, h5py.Group):
                visit(item, f"{name}/", depth + 1)
                continue
            matlab = _text(item.attrs.get("MATLAB_class", ""))
            if item.dtype.kind == "O" and item.dtype.metadata and "ref" in item.dtype.metadata:
                result = [_matlab_text(file[r]) for r in np.ravel(item[()]) if r]
                if result and all(f is not None for f in result):
                    texts[name] = [f for f in result if f is not None]
            elif item.dtype.kind in "OS" and item.ndim == 1:
                texts[name] = list(_texts(item[()]))
            elif item.dtype.kind in "iufb" and matlab != "char":
                if item.size > _LARGEST:
                    raise PitlError(f"{file.filename}: {name} has {item.size} values, more than can be read.")
                # MATLAB stores columns first: its matrices arrive transposed
                numbers[name] = item[()].T if matlab else item[()]

    visit(file, "", 0)
    return numbers, texts


def _matlab_text(item: Any) -> str | None:
    if _text(item.attrs.get("MATLAB_class", "")) != "char" or item.dtype.kind not in "iu" or item.size > 1000:
        return None
    return "".join(chr(c) for c in np.ravel(item[()]))


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(v) for v in values) if np.ndim(values) == 1 else ()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
