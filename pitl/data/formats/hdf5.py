"""HDF5: our own layout, which keeps everything of `Signals`, and any other file of named arrays.

Ours: the root's attribute `format` is "pitl signals 1"; `/streams/NAME` holds `values` (T, K), `time_s` (T,), and the
attributes `columns`, `units` and `rate_hz`.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats import arrays, sandbox
from pitl.data.formats.budget import COLUMNS, DEPTH, Budget
from pitl.data.formats.signals import Signals, Stream
from pitl.errors import PitlError
from pitl.files import atomic_write_bytes

FORMAT = "pitl signals 1"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FETCHES = "which is refused because it reads other files of this machine; save the values in the file itself"
_FREE, _DENSEST = 2**24, 1100  # bytes that need not be stored; and how often deflate can unpack what is
_TABLE = "is a MATLAB {}, which cannot be read; save table2array({}), or writetable as CSV"


def read(path: Path) -> Signals:
    """Reads our layout, or numeric arrays of any other with their names as columns.

    Raises:
        PitlError: if it is not HDF5, is damaged, fetches values from other files, or has nothing that looks like a
            recording.
    """
    return sandbox.read(path, "hdf5")


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


def prepare() -> None:
    """Imports what `parse` needs."""
    import h5py  # noqa: F401


def parse(path: Path) -> Signals:
    """As `read`, in this process."""
    with path.open("rb") as raw:
        if not raw.read(8).startswith(SIGNATURE):
            raise PitlError(f"{path}: does not begin as an HDF5 file does; give it the ending of its real format.")
    return parse_any(path)


def parse_any(path: Path) -> Signals:
    """An HDF5 file that may have a block of another program in front, as MATLAB's have."""
    import h5py

    with h5py.File(path, "r") as file:
        sandbox.close_doors()
        walk = _Walk(file)
        if _text(file.attrs.get("format", "")) == FORMAT:
            return _ours(path, file, walk)
        walk.visit(file, "", 0)
        return arrays.to_signals(path, walk.numbers, walk.texts, walk.unread)


def _ours(path: Path, file: Any, walk: "_Walk") -> Signals:
    streams = []
    root = walk.item(file, "streams")
    for key in sorted(root if root is not None else ()):
        group: Any = walk.item(root, key)
        values, time = (walk.item(group, k) for k in ("values", "time_s")) if group is not None else (None, None)
        known = group.attrs if group is not None else {}
        missing = [k for k in ("columns", "units", "name") if k not in known]
        if missing or values is None:
            raise PitlError(f"{path}: streams/{key} has no {(missing or ['values'])[0]}; write the file again.")
        rate = known.get("rate_hz")
        streams.append(
            Stream(
                _text(known["name"]),
                tuple(walk.words(f"{key}/columns", known["columns"])),
                tuple(walk.words(f"{key}/units", known["units"])),
                np.asarray(walk.values(f"{key}/values", values), float),
                None if time is None else np.asarray(walk.values(f"{key}/time_s", time), float),
                None if rate is None else float(rate),
            )  # fmt: skip
        )
    return Signals(path, tuple(streams), tuple(walk.words("notes", file.attrs.get("notes", []))))


class _Walk:
    """Collects the arrays and texts of a file under names with `/` between groups, structs and cells."""

    def __init__(self, file: Any) -> None:
        self.file, self.budget = file, Budget()
        self.numbers: dict[str, np.ndarray] = {}
        self.texts: dict[str, list[str]] = {}
        self.unread: list[str] = []
        self._visited: set[tuple[int, int]] = set()  # groups by address: links may go round in circles

    def item(self, group: Any, key: str) -> Any:
        """What stands under a key; None if it is only a name for something that stands elsewhere in the file."""
        from h5py import h5l  # type: ignore[attr-defined]

        links, name = group.id.links, key.encode("utf-8", "surrogateescape")  # `group.get` would follow them
        try:
            kind = links.get_info(name).type
        except (KeyError, RuntimeError):
            return None
        if kind == h5l.TYPE_EXTERNAL:
            raise PitlError(f"{key} is a link to the file {_text(links.get_val(name)[0])!r}, {_FETCHES}")
        return group[key] if kind == h5l.TYPE_HARD else None

    def values(self, name: str, data: Any) -> np.ndarray:
        """The values of a dataset, after a look at what it declares."""
        self.admit(name, data)
        return data[()]

    def admit(self, name: str, data: Any) -> None:
        """Refuses values that stand in other files, and more of them than are stored or can be read."""
        if data.is_virtual or data.external:
            kind = "a virtual dataset" if data.is_virtual else "external storage"
            raise PitlError(f"{name} keeps its values in {kind}, {_FETCHES}")
        declared, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
        if declared > max(_FREE, _DENSEST * stored):
            raise PitlError(f"{name} declares {declared:.3g} bytes but stores {stored}; write the file again")
        self.budget.take_values(name, (declared + 7) // 8)

    def words(self, name: str, values: Any) -> list[str]:
        if np.ndim(values) != 1:
            return []
        out = [_text(v) for v in values]
        self.budget.take_text(name, sum(map(len, out)) + len(out))
        return out

    def visit(self, group: Any, prefix: str, depth: int) -> None:
        place = _address(group)
        if depth > DEPTH or place in self._visited:
            return
        self._visited.add(place)
        self._attributes(group, prefix)
        for key in group:
            self.budget.take_variable(f"{prefix}{key}")
            if not key.startswith("#"):  # MATLAB keeps the targets of its references there
                item = self.item(group, key)
                if item is not None:
                    self._one(f"{prefix}{key}", item, depth + 1)

    def _one(self, name: str, found: Any, depth: int) -> None:
        import h5py

        if depth > DEPTH:
            return
        if isinstance(found, h5py.Group):
            self.visit(found, f"{name}/", depth)
            return
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            return
        item: Any = found
        matlab = _text(item.attrs.get("MATLAB_class", ""))
        kind = item.dtype.kind
        if "MATLAB_object_decode" in item.attrs:
            self.unread.append(f"{name} {_TABLE.format(matlab, name)}")
        elif h5py.check_ref_dtype(item.dtype) is h5py.Reference:
            self._references(name, item, depth)
        elif kind == "V" and item.dtype.names:
            self._table(name, item)
        elif matlab == "char":
            if kind in "iu" and item.size <= 10_000:
                self.texts[name] = self.words(name, ["".join(chr(c) for c in np.ravel(self.values(name, item)))])
        elif kind in "OS":
            if h5py.check_string_dtype(item.dtype) is not None and item.ndim <= 1:
                # variable lengths: each value takes 16 bytes and says nothing about its own
                self.budget.take_text(name, item.size)
                self.texts[name] = self.words(name, np.atleast_1d(self.values(name, item)))
        elif kind in "iufb" and "MATLAB_empty" not in item.attrs:
            # MATLAB stores columns first: its matrices arrive transposed
            values = self.values(name, item)
            self.numbers[name] = values.T if matlab else values
        self._attributes(item, f"{name}/")

    def _references(self, name: str, item: Any, depth: int) -> None:
        """Cells, and the fields of struct arrays, are references: `field` (N,) becomes `1/field`, `2/field`, ..."""
        targets = [self.file[r] for r in np.ravel(self.values(name, item).T) if r]
        words = [self._word(t) for t in targets]
        if targets and all(w is not None for w in words):
            self.texts[name] = self.words(name, [w or "" for w in words])
            return
        group, _, own = name.rpartition("/")
        cell = _text(item.attrs.get("MATLAB_class", "")) == "cell"
        for k, target in enumerate(targets, 1):
            self.budget.take_variable(name)
            inner = name if len(targets) == 1 else f"{name}/{k}" if cell else f"{group}/{k}/{own}"
            self._one(inner.lstrip("/"), target, depth + 1)

    def _word(self, item: Any) -> str | None:
        if _text(item.attrs.get("MATLAB_class", "")) != "char" or item.dtype.kind not in "iu" or item.size > 1000:
            return None
        if "MATLAB_empty" in item.attrs:
            return ""
        return "".join(chr(c) for c in np.ravel(self.values("text", item)))

    def _table(self, name: str, item: Any) -> None:
        """The fields of a table are arrays of one group."""
        kinds = {f: item.dtype[f].base for f in item.dtype.names}
        plain = [f for f, d in kinds.items() if d.kind in "iufb"]
        if not plain:
            self.unread.append(f"{name} is a table with fields {', '.join(kinds)}, of which none holds numbers")
            return
        if len(plain) < len(kinds):
            self.unread.append(f"{name}: the fields {', '.join(sorted(set(kinds) - set(plain)))} hold no numbers")
        self.admit(name, item)
        values = item.fields(plain)[()]
        self.numbers |= {f"{name}/{f}": values[f] for f in plain}

    def _attributes(self, item: Any, prefix: str) -> None:
        """Rates, units and names often stand in attributes; an attribute is an array or text of the group it is in."""
        for key in list(item.attrs)[:100]:
            if key.startswith("MATLAB"):
                continue
            with contextlib.suppress(Exception):  # types that numpy has not; they are settings of other programs
                self._attribute(f"{prefix}{key}", item.attrs[key])

    def _attribute(self, name: str, value: Any) -> None:
        kind = np.asarray(value).dtype.kind
        if kind in "iuf" and np.size(value) == 1:
            self.numbers.setdefault(name, np.asarray(value))
        elif kind in "SUO" and np.size(value) <= COLUMNS:
            self.texts.setdefault(name, self.words(name, np.atleast_1d(value)))


def _address(group: Any) -> tuple[int, int]:
    from h5py import h5o  # type: ignore[attr-defined]

    about = h5o.get_info(group.id)
    return about.fileno, about.addr


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
