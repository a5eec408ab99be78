"""What a file holds, as it is: named columns with units, each group on a clock of its own.

Every reader gives `Signals`; `pitl.data.cohort` makes recordings out of them.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError

VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6}
RADIANS = {"rad": 1.0, "deg": np.pi / 180}
_SPELLINGS = {
    "volt": "V", "volts": "V", "v": "V", "millivolt": "mV", "millivolts": "mV", "mv": "mV", "microvolt": "uV",
    "microvolts": "uV", "uv": "uV", "µv": "uV", "μv": "uV", "°": "deg", "degree": "deg", "degrees": "deg",
    "deg": "deg", "rad": "rad", "radian": "rad", "radians": "rad", "n": "N", "newton": "N", "newtons": "N",
    "nm": "N m", "n*m": "N m", "n.m": "N m", "n·m": "N m", "n m": "N m", "nmm": "N mm", "s": "s", "sec": "s",
    "seconds": "s", "ms": "ms", "m": "m", "mm": "mm", "g": "g",
}  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """Columns that share a clock.

    Attributes:
        name: unique within the file.
        columns: K names, distinct.
        units: K units as in `known_unit`; "" where the file does not say.
        values: (T, K), NaN where a sample is missing.
        time_s: (T,) the stream's own clock [s]; None if the file does not say.
        rate_hz: nominal, if the file says; a time column wins over it.
        first_line: line of the first sample in a text file, for messages.
        flaws: by column, a sentence that is raised when the column is asked for.
    """

    name: str
    columns: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    time_s: np.ndarray | None = None
    rate_hz: float | None = None
    first_line: int | None = None
    flaws: Mapping[str, str] = field(default_factory=dict)

    def at(self, row: int) -> str:
        """Where a sample is, in the file's own terms."""
        if self.first_line is not None:
            return f"line {self.first_line + row}"
        if self.time_s is not None:
            return f"time {self.time_s[row]:.6g} s"
        return f"sample {row + 1}"


@dataclass(frozen=True)
class Signals:
    """Everything that a file holds.

    Attributes:
        source: the file.
        streams: with distinct names.
        notes: decisions taken while reading, one sentence each.
    """

    source: Path
    streams: tuple[Stream, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for s in self.streams:
            if s.values.ndim != 2 or s.values.shape[1] != len(s.columns) or len(s.units) != len(s.columns):
                raise PitlError(f"{self.source}: {s.name} has shape {s.values.shape} for {len(s.columns)} columns.")
            repeated = sorted({c for c in s.columns if s.columns.count(c) > 1})
            if repeated:
                raise PitlError(
                    f"{self.source}: the column {repeated[0]!r} appears twice in {s.name}; give each its own name."
                )
            if s.time_s is not None and s.time_s.shape != (len(s.values),):
                raise PitlError(f"{self.source}: {s.name} has {len(s.time_s)} times for {len(s.values)} samples.")


class Column(NamedTuple):
    """Where a column is found, and whether its sign is turned."""

    stream: Stream
    index: int
    sign: float

    @property
    def values(self) -> np.ndarray:
        """(T,) with the sign applied."""
        return self.sign * self.stream.values[:, self.index]

    @property
    def unit(self) -> str:
        return self.stream.units[self.index]


def column(signals: Signals, name: str, advice: str) -> Column:
    """Finds a column by `"name"` or, where streams share names, `"stream/name"`; `"-name"` turns its sign.

    Raises:
        PitlError: if there is none or more than one, or it has text where numbers belong.
    """
    for wanted, sign in ((name, 1.0), (name[1:] if name[:1] == "-" else name, -1.0)):
        result = [
            (s, s.columns.index(c))
            for s in signals.streams
            for c in dict.fromkeys((wanted, wanted.removeprefix(f"{s.name}/")))
            if c in s.columns
        ]
        if len(result) > 1:
            places = ", ".join(f"{s.name}/{s.columns[i]}" for s, i in result)
            raise PitlError(f"{signals.source}: the column {wanted!r} is in several streams; write one of {places}.")
        if result:
            stream, index = result[0]
            if stream.columns[index] in stream.flaws:
                raise PitlError(stream.flaws[stream.columns[index]])
            return Column(stream, index, sign)
    known = [c for s in signals.streams for c in s.columns]
    raise PitlError(f"{signals.source}: has no column {name!r}{nearest(name, known)}; {advice}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 1, 0.5)
    if close:
        return f", did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f" (there are: {shown[:300]})"


def known_unit(text: str) -> str:
    """The unit in one spelling; as it is if unknown."""
    text = text.strip().strip("[]()").strip()
    return text if text in ("V", "mV", "uV") else _SPELLINGS.get(text.lower(), text)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Names made distinct by a number, empty ones named after their place."""
    out: list[str] = []
    for k, name in enumerate(names, 1):
        name = name.strip() or f"column {k}"
        base, n = name, 2
        while name in out:
            name, n = f"{base} ({n})", n + 1
        out.append(name)
    return tuple(out)


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        PitlError: if it is missing, a folder, empty or unreadable.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as e:
        raise PitlError(f"{path} does not exist; correct the file name, or add the file.") from e
    except (OSError, ValueError) as e:
        raise PitlError(f"cannot read {path}: {e}; expected a file that may be read.") from e
    if not data.strip(b" \t\r\n\0"):
        raise PitlError(f"{path}: is empty, expected a recording; copy the file again, or leave it out.")
    return data


def read_text(path: Path) -> str:
    """The file as text with plain line ends.

    Raises:
        PitlError: as `read_bytes`, and if it is not text.
    """
    data = read_bytes(path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data:
        raise PitlError(
            f"{path}: is not text (byte {data.index(0)} is zero), although its name ends in {Path(path).suffix!r}; "
            "give it the ending of its real format, or export it as text."
        )
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # older European programs; bytes in names, numbers are ASCII in both
    return text.replace("\r\n", "\n").replace("\r", "\n")
