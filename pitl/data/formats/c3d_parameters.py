"""The parameter section of a C3D file: groups of named numbers and texts."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pitl.data.formats.budget import Budget
from pitl.errors import PitlError

BLOCK = 512  # bytes
_DAMAGED = "its parameters are damaged at byte {}; export the file again, or leave it out"


class _Entry(NamedTuple):
    kind: int  # -1 text, 1 bytes, 2 integers, 4 reals
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class C3dParameters:
    """Groups of parameters by upper-case names; what is missing is empty."""

    groups: dict[str, dict[str, _Entry]]
    processor: int

    def numbers(self, group: str, key: str) -> np.ndarray:
        """(N,) the numbers of KEY, KEY2, ... together, as float; the format allows 255 in each."""
        parts = [self._array(e) for e in self._entries(group, key) if e.kind != -1]
        return np.concatenate([np.zeros(0), *(p.ravel() for p in parts)])

    def array(self, group: str, key: str) -> np.ndarray:
        """The numbers of one parameter in its shape, first index first."""
        entry = self.groups.get(group, {}).get(key)
        if entry is None or entry.kind == -1:
            raise PitlError(f"{group}:{key} is missing")
        return self._array(entry).reshape(entry.shape, order="F")

    def number(self, group: str, key: str, default: float = 0.0) -> float:
        values = self.numbers(group, key)
        return float(values[0]) if len(values) and np.isfinite(values[0]) else default

    def texts(self, group: str, key: str) -> list[str]:
        """The texts of KEY, KEY2, ... together, without trailing blanks."""
        out: list[str] = []
        for e in self._entries(group, key):
            if e.kind == -1 and e.shape:
                length = e.shape[0]
                count = len(e.data) // length if length else int(np.prod(e.shape[1:]))
                out += [_decoded(e.data[k * length : (k + 1) * length]) for k in range(count)]
        return out

    def text(self, group: str, key: str) -> str:
        return (self.texts(group, key) or [""])[0]

    def _entries(self, group: str, key: str) -> list[_Entry]:
        found = self.groups.get(group, {})
        return [found[k] for k in (key, *(f"{key}{n}" for n in range(2, 64))) if k in found]

    def _array(self, e: _Entry) -> np.ndarray:
        raw = np.frombuffer(e.data, np.uint8)
        if e.kind == 4:
            return ieee(raw, self.processor).astype(float)
        return raw.view({1: "i1", 2: ">i2" if self.processor == 86 else "<i2"}[e.kind]).astype(float)


def parameters_of(data: bytes, at: int, processor: int) -> C3dParameters:
    """Reads the section that begins at a byte.

    Raises:
        PitlError: if lengths or offsets leave the file; the sentence lacks the file's name.
    """
    order = "big" if processor == 86 else "little"
    names: dict[int, str] = {}
    entries: list[tuple[int, str, _Entry]] = []
    budget = Budget()
    at += 4
    while at + 4 <= len(data):
        length, group = abs(_signed(data[at])), _signed(data[at + 1])
        if length == 0 or group == 0:
            break
        place = at + 2 + length
        name = _decoded(data[at + 2 : place]).upper()
        budget.take_variable(name)
        if place + 2 > len(data):
            raise PitlError(_DAMAGED.format(at))
        offset = int.from_bytes(data[place : place + 2], order)
        if group < 0:
            names[-group] = name
        else:
            entries.append((group, name, _entry(data, place + 2)))
        if offset == 0:
            break
        if offset < 2:
            raise PitlError(_DAMAGED.format(at))
        at = place + offset
    groups: dict[str, dict[str, _Entry]] = {}
    for group, name, entry in entries:  # a parameter may stand before its group
        groups.setdefault(names.get(group, ""), {}).setdefault(name, entry)
    return C3dParameters(groups, processor)


def _entry(data: bytes, at: int) -> _Entry:
    if at + 2 > len(data):
        raise PitlError(_DAMAGED.format(at))
    kind, dimensions = _signed(data[at]), data[at + 1]
    shape = tuple(data[at + 2 : at + 2 + dimensions])
    start = at + 2 + dimensions
    count = int(np.prod(shape, dtype=float)) * abs(kind)
    if kind not in (-1, 1, 2, 4) or dimensions > 7 or start + count > len(data):
        raise PitlError(_DAMAGED.format(at))
    return _Entry(kind, shape, data[start : start + count])


def ieee(raw: np.ndarray, processor: int) -> np.ndarray:
    """(N,) reals of a processor out of (4 N,) bytes. DEC's have their halves exchanged and are four times as large."""
    if processor == 86:
        return raw.view(">f4")
    if processor == 84:
        return raw.view("<f4")
    halves = raw.view("<u2").reshape(-1, 2).astype(np.uint32)
    return (halves[:, 0] << 16 | halves[:, 1]).view(np.float32) / np.float32(4)


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _decoded(text: bytes) -> str:
    """UTF-8, else Latin-1, as older European programs write."""
    text = text.rstrip(b" \0")
    try:
        return text.decode("utf-8").strip()
    except UnicodeDecodeError:
        return text.decode("latin-1").strip()
