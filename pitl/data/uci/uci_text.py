"""One text file of the UCI lower-limb set, as it is: columns, units and gaps, before any decision about the knee."""

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pitl.data.formats.layouts import is_number
from pitl.data.formats.signals import plain_lines, read_bytes, unpack
from pitl.errors import PitlError

CHANNELS = ("RF", "BF", "VM", "ST")
_COLUMNS = (*CHANNELS, "FX")
# How the header words each column; the files were labelled by different people, in two languages.
_NAMES = {
    "RF": r"\brf\b|rect",
    "BF": r"\bbf\b|b[ií]ceps",
    "VM": r"\bvm\b|vast",
    "ST": r"\bst\b|semi",
    "FX": r"\bfx\b|flex|gonio|angle|[aá]ngulo|rodilla|knee",
}
_VOLTS = {"v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6}
_DEFAULT_RATE_HZ = 1000.0  # of the whole set; most headers do not say
_HEADER_LINES = 200
_LONGEST_LINE = 500  # of the header, of which patterns see no more
_WIDEST = 32
# A stray character or two is a gap; more than this part of the rows is a file of another kind.
_STRAY = 0.01
_EXPECTED = "five (RF, BF, VM, ST in mV and the knee's FX in deg) and at most a few more"
_AGAIN = "copy the file again, or leave it out with drop = true in data.overrides"


class Raw(NamedTuple):
    """A file as it is, before any decision about the goniometer."""

    emg: np.ndarray  # (T, 4) RF BF VM ST [V]
    angle_deg: np.ndarray  # (T,) as recorded
    valid: np.ndarray  # (T,) False where a row was incomplete; such rows are interpolated
    rate_hz: float
    notes: tuple[str, ...]


def read_file(path: Path) -> Raw:
    """Parses one file, plain or gzipped.

    Raises:
        PitlError: if it cannot be read, has no data, or has text where numbers belong.
    """
    path = Path(path)
    lines = _lines(path)
    start, separator = _first_row(path, lines)
    header = [line[:_LONGEST_LINE] for line in lines[:start]]
    table, notes = _numbers(path, lines[start:], separator, start)
    order, stated = _columns(header, table.shape[1])
    notes += stated
    values = table[:, [order[name] for name in _COLUMNS]]
    complete = np.asarray(np.isfinite(values).all(axis=1))
    if not complete.any():
        filled = int(np.isfinite(table).any(axis=0).sum())
        what = (
            f"found numbers in {filled} column(s)" if filled < len(_COLUMNS) else "no row has a number in every column"
        )
        raise PitlError(f"{path}, line {start + 1} on: {what}, expected {_EXPECTED}; {_AGAIN}.")
    last = len(complete) - int(np.argmax(complete[::-1]))
    # the recorder ends every file with a row of bare tabs; only rows that hold something are worth a note
    rest = int(np.isfinite(table[last:]).any(axis=1).sum())
    if rest:
        notes.append(f"{rest} incomplete row(s) at the end left out")
    values, complete = values[:last], complete[:last]
    if not complete.all():
        gaps = np.flatnonzero(~complete)
        notes.append(
            f"{len(gaps)} incomplete row(s) before the end, the first in line {start + 1 + int(gaps[0])}, "
            "marked unusable and interpolated"
        )
        where = np.arange(len(values))
        values = np.stack([np.interp(where, where[complete], v[complete]) for v in values.T], axis=1)
    promised = max((int(n) for line in header for n in re.findall(r"(\d{1,9}) values", line)), default=0)
    if last < 0.98 * promised:
        notes.append(f"the header promises {promised} samples but only {last} are there: the file may be truncated")
    rate_hz, slow_hz = _rates(" ".join(header))
    if slow_hz is not None:
        notes.append(f"the goniometer was recorded at {slow_hz:g} Hz and interpolated to {rate_hz:g} Hz")
    volts, degrees = _units(header)
    return Raw(values[:, :4] * volts, values[:, 4] * degrees, complete, rate_hz, tuple(notes))


def _lines(path: Path) -> list[str]:
    try:
        data = unpack(path, read_bytes(path))
    except PitlError as e:
        raise PitlError(f"{e} {_AGAIN.capitalize()}.") from e
    if data[:8_192].count(0) > 0.3 * len(data[:8_192]) and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise PitlError(f"{path}: is not text but the recorder's own format; export it as text, or leave it out.")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    return plain_lines(data.decode(encoding, "replace").replace("\0", " ")).split("\n")


def _first_row(path: Path, lines: list[str]) -> tuple[int, str]:
    """Index of the first row of numbers and what separates its cells; the header's length and words vary."""
    for k, line in enumerate(lines[:_HEADER_LINES]):
        for separator in ("\t", ";", None, ","):
            cells = [c.strip() for c in line.split(separator)]
            if len(cells) > 1 and any(cells) and all(not c or is_number(c) for c in cells):
                return k, separator or r"\s+"
    if _channel_lines(lines[:_HEADER_LINES]):
        raise PitlError(f"{path}: the header is there but no data follow, expected rows of five numbers; {_AGAIN}.")
    result = next((f"begins with '{line.strip()[:40]}'" for line in lines if line.strip()), "is empty")
    raise PitlError(
        f"{path}, line 1: the file {result} and has no rows of five numbers, so it is not a file of the UCI lower-limb "
        f"set; {_AGAIN}."
    )


def _numbers(path: Path, rows: list[str], separator: str, above: int) -> tuple[np.ndarray, list[str]]:
    """The table, NaN where a cell is empty or not a number, and notes about the latter."""
    pattern = re.compile(separator)
    width = max(len(pattern.findall(row.strip(" "))) for row in rows[:5000]) + 1
    if not len(_COLUMNS) <= width <= _WIDEST:
        raise PitlError(f"{path}, line {above + 1} on: found {width} column(s), expected {_EXPECTED}; {_AGAIN}.")
    body = "\n".join(rows)
    if separator != ",":
        body = body.replace(",", ".")

    def parse(dtype: type) -> pd.DataFrame:
        return pd.read_csv(
            io.StringIO(body), sep=separator, header=None, names=range(width), index_col=False, dtype=dtype,
            skip_blank_lines=False, skipinitialspace=True, quoting=3, on_bad_lines="error",
        )  # fmt: skip

    try:
        return parse(float).to_numpy(), []
    except (ValueError, OverflowError):
        pass  # some cell is not a number: the slow way finds which
    try:
        table = parse(str)
    except (pd.errors.ParserError, ValueError) as e:
        reason = str(e).strip().splitlines()[-1]
        raise PitlError(f"{path}: the rows are not a table of {width} columns ({reason}); {_AGAIN}.") from e
    table = table.apply(lambda column: column.str.strip())
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    stray = np.isnan(numbers) & (table.notna() & (table != "")).to_numpy() & (table != "nan").to_numpy()
    if not stray.any():
        return numbers, []
    row, column = (int(k) for k in np.argwhere(stray)[0])
    what = f"line {above + 1 + row}, column {column + 1}: found '{str(table.iat[row, column])[:40]}'"
    affected = int(stray.any(axis=1).sum())
    if affected > max(3, _STRAY * len(numbers)):
        raise PitlError(f"{path}, {what}, expected a number, in this and {affected - 1} more line(s); {_AGAIN}.")
    more = f" (and in {affected - 1} more line(s))" if affected > 1 else ""
    return numbers, [f"{what} instead of a number{more}, taken as missing"]


def _columns(header: list[str], width: int) -> tuple[dict[str, int], list[str]]:
    """Which column is which, from the header's words or, failing that, the usual order."""
    order: dict[str, int] = {}
    for column, line in enumerate(_channel_lines(header)):
        quoted = re.search(r"'([^']*)'", line)
        words = (quoted[1] if quoted else line).lower()
        name = next((n for n, pattern in _NAMES.items() if n not in order and re.search(pattern, words)), None)
        if name is not None and column < width:
            order[name] = column
    if len(order) == len(_COLUMNS):
        return order, []
    usual = {name: k for k, name in enumerate(_COLUMNS)}
    missing = ", ".join(name for name in _COLUMNS if name not in order)
    return usual, [f"the header does not name {missing}: the usual order of columns was taken, {' '.join(_COLUMNS)}"]


def _channel_lines(header: list[str]) -> list[str]:
    return [line for line in header if re.match(r"\W*(channel|canal)\b", line, re.IGNORECASE)]


def _rates(header: str) -> tuple[float, float | None]:
    """Rows per second and, if it was slower, the goniometer's own rate [Hz]."""
    number = r"(\d{1,6}(?:\.\d{1,6})?)"
    both = re.search(rf"from {number} to {number} samples", header)
    if both and float(both[2]) > 0:
        return float(both[2]), float(both[1])
    one = re.search(rf"\b{number} ?(?:samples per second|samples/s|hz\b)", header, re.IGNORECASE)
    return (float(one[1]) if one and float(one[1]) >= 100 else _DEFAULT_RATE_HZ), None


def _units(header: list[str]) -> tuple[float, float]:
    """Volts per EMG unit and degrees per angle unit; mV and deg unless the header says otherwise."""
    units = [m[1].lower() for line in _channel_lines(header) if (m := re.search(r"units?:?\s*([µ\w]+)", line))]
    volts = next((_VOLTS[u] for u in units if u in _VOLTS), 1e-3)
    return volts, float(np.degrees(1.0)) if any(u.startswith("rad") for u in units) else 1.0
