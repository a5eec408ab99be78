"""What a file holds, as it is: named columns with units, each group on a clock of its own.

Every reader gives `Signals`; `pitl.data.cohort` makes recordings out of them.
"""

import difflib
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError

VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6}
# A count of a converter whose gain nobody wrote down is called a microvolt, so that sizes stay usual; only ratios count
EMG_UNITS = {**VOLTS, "counts": 1e-6, "%": 1e-2, "1": 1.0}
RADIANS = {"rad": 1.0, "deg": np.pi / 180}
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
MOST_BYTES = 256 * 2**20  # of a file, and of what it unpacks to
MOST_COLUMNS = 4096
SIDES = {  # words for a side in the languages of laboratories
    "r": r"r|rt|right|rechts?|re|droite?|der|derech[ao]|destr[ao]|dx",
    "l": r"l|lt|left|links?|li|gauche|izq|izquierd[ao]|sinistr[ao]|sx",
}
_SPELLINGS = {
    "volt": "V", "volts": "V", "v": "V", "millivolt": "mV", "millivolts": "mV", "mv": "mV", "microvolt": "uV",
    "microvolts": "uV", "uv": "uV", "µv": "uV", "μv": "uV", "uvolts": "uV", "°": "deg", "º": "deg",
    **dict.fromkeys(("degree", "degrees", "grados", "gradi", "degres", "degrés", "graden", "graus"), "deg"),
    "derece": "deg", "grader": "deg", "deg": "deg",
    "rad": "rad", "radian": "rad", "radians": "rad", "n": "N", "newton": "N", "newtons": "N",
    "nm": "N m", "n*m": "N m", "n.m": "N m", "n·m": "N m", "n m": "N m", "nmm": "N mm", "m": "m", "mm": "mm", "g": "g",
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden", "secondes", "segundos", "secondi"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"), "ns": "ns", "nsec": "ns",
    **dict.fromkeys(("us", "µs", "μs", "usec", "µsec", "μsec", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten", "minutos", "minuti"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "stunden", "heures", "horas", "ore"), "h"),
    "%": "%", "%mvc": "%", "% mvc": "%", "percent": "%", "counts": "counts", "count": "counts", "adc": "counts",
    "lsb": "counts", "raw": "counts", "a.u.": "counts", "au": "counts",
    **dict.fromkeys(("normalized", "normalised", "norm"), "1"), "% max": "%", "%max": "%",
    "kn": "kN", "knm": "kN m", "n m/kg": "N m/kg", "nm/kg": "N m/kg",
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
            if len(s.columns) > MOST_COLUMNS:
                raise PitlError(
                    f"{self.source}: {s.name} has {len(s.columns)} columns, at most {MOST_COLUMNS} are read; export "
                    "the EMG and the angles alone."
                )
            repeated = sorted(c for c, n in Counter(s.columns).items() if n > 1)
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
        ] or _by_last_name(signals, wanted)
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


def group_of(signals: Signals, group: str) -> Signals:
    """The streams of one group, called as they are within it."""
    own = [s for s in signals.streams if s.name == group or s.name.startswith(f"{group}/")]
    return replace(signals, streams=tuple(replace(s, name=s.name[len(group) + 1 :] or group) for s in own))


def _by_last_name(signals: Signals, name: str) -> list[tuple[Stream, int]]:
    """Columns called by the last part of a path in an OpenSim model, or the other way round."""

    def last(text: str) -> str:
        return text.removesuffix("/value").rpartition("/")[2]

    every = [(s, i) for s in signals.streams for i, c in enumerate(s.columns) if last(c) == last(name)]
    paths = [(s, i) for s, i in every if "/value" in (s.columns[i] + name)[-200:]]
    return paths if "/" in name or any("/" in s.columns[i] for s, i in paths) else []


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known."""
    names = [n[:80] for n in known]
    close = difflib.get_close_matches(word[:80], names[:1000], 1, 0.5)
    if close:
        return f", did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f" (there are: {shown[:300]})"


def known_unit(text: str) -> str:
    """The unit in one spelling; as it is if unknown."""
    text = text.strip().strip("[]()").strip()
    return text if text in ("V", "mV", "uV") else _SPELLINGS.get(text.lower(), text)


def unit_in(name: str) -> tuple[str, str]:
    """A column's name without its unit, and the unit: "EMG 1 [mV]", "EMG 1 (mV)", "EMG 1, mV", "EMG_mV"; "" if none."""
    name = name.strip()
    if name[-1:] in ("]", ")"):
        at = name.rfind("[" if name[-1] == "]" else "(")
        if at > 0 and not _NOTE.fullmatch(name[at + 1 : -1].strip().lower()):
            return name[:at].strip(), name[at + 1 : -1].strip()
    bare, _, unit = name.rpartition("_") if "_" in name[-6:] else name.rpartition(" ")
    if bare and unit in _AT_END:
        return bare, unit
    bare, comma, unit = name.rpartition(",")
    if comma and (known_unit(unit) in _UNITS or unit.strip() in ("%", "°")):
        return bare.strip(), unit.strip()
    return name, ""


# what stands in brackets and is no unit
_NOTE = re.compile(
    rf"{SIDES['r']}|{SIDES['l']}|(?:emg|channel|chan|ch|sensor|pin|every|trial)?[ _.]?\d+.*|[xyz]|filt\w*|rectified|emg"
)
_AT_END = {"mV", "uV", "µV", "deg", "rad"}  # that end a name without brackets
_UNITS = {*VOLTS, *RADIANS, *SECONDS, *_SPELLINGS.values()} - {"h", "g"}


def is_unit(text: str) -> bool:
    """Whether a cell is a unit, or empty."""
    text = text.strip()
    return not text or known_unit(text) in _UNITS | {"h", "g"}


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Names made distinct by a number, empty ones named after their place."""
    out: dict[str, None] = {}
    counts: Counter[str] = Counter()
    for k, name in enumerate(names, 1):
        base = name = name.strip()[:200] or f"column {k}"
        while name in out:
            counts[base] += 1
            name = f"{base} ({counts[base] + 1})"
        out[name] = None
    return tuple(out)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most `MOST_BYTES`.

    Raises:
        PitlError: if it is missing, no regular file (a folder, a pipe, a device), too large, empty or unreadable.
    """
    path = Path(path)
    must_be_file(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise PitlError(f"cannot read {path}: {e.strerror}; expected a file that may be read.") from e
    if not data.strip(b" \t\r\n\0"):
        raise PitlError(f"{path}: is empty, expected a recording; copy the file again, or leave it out.")
    return data


def must_be_file(path: Path) -> None:
    """Refuses what would never end or is too large, before it is opened.

    Raises:
        PitlError: as `read_bytes`.
    """
    try:
        about = path.stat()
    except FileNotFoundError as e:
        raise PitlError(f"{path} does not exist; correct the file name, or add the file.") from e
    except (OSError, ValueError) as e:  # links in a circle, names that are too long or hold NUL
        raise PitlError(f"cannot read {str(path)[:200]}: {_reason(e)}; correct the file name.") from e
    if not stat.S_ISREG(about.st_mode):
        what = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
        raise PitlError(f"{path}: is {what}, expected a file; correct the file name.")
    if about.st_size > MOST_BYTES:
        raise PitlError(
            f"{path}: has {about.st_size / 2**20:.0f} MiB, at most {MOST_BYTES >> 20} are read; cut it into trials."
        )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def unpack(path: Path, data: bytes) -> bytes:
    """The content of a gzip file; data that are not packed as they are.

    Raises:
        PitlError: if it is damaged, or unpacks to more than `MOST_BYTES`.
    """
    out, size = [], 0
    while data[:2] == b"\x1f\x8b":
        part = zlib.decompressobj(31)
        try:
            out.append(part.decompress(data, MOST_BYTES - size + 1))
        except zlib.error as e:
            raise PitlError(f"{path}: cannot be unpacked ({e}); the file is damaged, copy it again.") from e
        size += len(out[-1])
        if size > MOST_BYTES:
            raise PitlError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB; cut it into trials.")
        if not part.eof:
            raise PitlError(f"{path}: ends before it is whole; the file is damaged or truncated, copy it again.")
        data = part.unused_data.lstrip(b"\0")
    return b"".join(out) if out else data


def read_text(path: Path) -> str:
    """The file as text with plain line ends, unpacked if it was gzipped.

    Raises:
        PitlError: as `read_bytes` and `unpack`, and if it is not text.
    """
    data = unpack(Path(path), read_bytes(path))
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
            text = data.decode("cp1252", "replace")  # older European programs; numbers are ASCII in all of them
    return plain_lines(text)


def plain_lines(text: str) -> str:
    """Text whose lines end in one newline, also those that some transfer ended twice."""
    if "\r" not in text:
        return text
    if "\r\r\n" in text:
        text = "\n".join(line.rstrip("\r") for line in text.split("\n"))
    return text.replace("\r\n", "\n").replace("\r", "\n")
