"""Tables of text: CSV with commas, semicolons or tabs, decimal points or commas, with lines above the column names."""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pitl.data.formats.signals import Signals, Stream, known_unit, read_text, unique
from pitl.errors import PitlError
from pitl.files import atomic_write_bytes

_TIME = ("time", "time_s", "t", "timestamp", "times", "seconds")
_TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_PREAMBLE = 100  # lines, most that may stand above the numbers
_UNIT = re.compile(r"^(.*\S)\s*[\[(]\s*([^\])]*)\s*[\])]$")  # "EMG1 [mV]"


def read(path: Path) -> Signals:
    """Reads a table; a column called time is its clock, empty cells are missing samples.

    Names may carry units, "EMG1 (mV)", or have a line of units below them.

    Raises:
        PitlError: if it is not a table of numbers; says in which line.
    """
    path = Path(path)
    lines = read_text(path).rstrip().split("\n")
    separator, head, start = _layout(path, lines)
    names = [c.strip().strip('"') for c in lines[head].split(separator)] if head is not None else []
    if head is None:
        names = [""] * (lines[start].count(separator) + 1)
    elif names and not names[-1] and all(row.rstrip().endswith(separator) for row in lines[start : start + 5]):
        names[-1] = "(nothing)"  # a separator that ends every line
    _distinct(path, head, names)
    units = [""] * len(names)
    if head is not None and start == head + 2:
        units = [c.strip().strip('"') for c in lines[head + 1].split(separator)]
    body = "\n".join(lines[start:])
    # 1;2,5 or 1<tab>2,5: a comma that cannot separate cells is a decimal one
    decimal = "," if separator != "," and re.search(r"\d,\d", body[:20000]) else "."
    frame = _table(path, body, separator, names, decimal, start)
    return _signals(path, frame, list(unique(names)), units, start + 1, decimal)


def write(path: Path, names: Sequence[str], columns: Sequence[np.ndarray]) -> None:
    """Writes columns of equal length, to seven digits.

    Raises:
        PitlError: if a name cannot head a column, or the file cannot be written.
    """
    for name in names:
        if set(name) & set(',;\t\n\r"') or name != name.strip():
            raise PitlError(f"the name {name!r} cannot head a column of a CSV file; rename it.")
    table = np.stack(list(columns), axis=1).astype(float)
    line = ",".join(["%.7g"] * len(names)) + "\n"
    # one format for many lines: several times faster than line by line
    chunks = [table[i : i + 1000] for i in range(0, len(table), 1000)]
    body = "".join((line * len(c)) % tuple(c.ravel().tolist()) for c in chunks)
    atomic_write_bytes(path, (",".join(names) + "\n" + body).encode())


def _layout(path: Path, lines: list[str]) -> tuple[str, int | None, int]:
    """What separates cells, the line of names (None if there is none) and the first line of samples, from 0."""
    first = next((k for k, line in enumerate(lines) if line.strip()), 0)
    at = next((k for k in range(first, min(len(lines), first + _PREAMBLE)) if _numeric(lines[k])), None)
    if at is None:
        if len(lines) - first < 2:
            raise PitlError(
                f"{path}: has a first line but no samples; expected column names and then one line per sample."
            )
        separator = _separator(lines[first])
        return separator, first, first + 1
    separator = _separator(lines[at])
    width = lines[at].count(separator)
    # names in line 1 and as wide as the samples: everything below it is meant to be samples, also if it is damaged
    top = lines[first].split(separator)
    if at > first and (len(top) == width + 1 or at == first + 1) and not any(map(_is_number, top)):
        units = at > first + 1 and all(_is_unit(c) for c in lines[first + 1].split(separator))
        return separator, first, first + 2 if units else first + 1
    above = [k for k in range(first, at) if lines[k].strip() and lines[k].count(separator) == width]
    if not above:
        return separator, None, at
    names = [k for k in above if not all(_is_unit(c) for c in lines[k].split(separator))]
    head = names[-1] if names else above[-1]
    return separator, head, at if at <= head + 2 else head + 1


def _separator(line: str) -> str:
    # a comma beside tabs or semicolons is a decimal one
    return next((c for c in "\t;" if c in line), ",")


def _numeric(line: str) -> bool:
    cells = [c.strip().strip('"') for c in line.split(_separator(line))]
    filled = [c for c in cells if c]
    return bool(filled) and all(_is_number(c) for c in filled)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"').replace(",", "."))
    except ValueError:
        return cell.strip() in ("NA", "N/A")
    return True


def _is_unit(cell: str) -> bool:
    cell = cell.strip().strip('"').strip("[]()")
    return not cell or known_unit(cell) in ("V", "mV", "uV", "deg", "rad", "N", "N m", "s", "ms", "m", "mm", "g")


def _distinct(path: Path, head: int | None, names: list[str]) -> None:
    for k, name in enumerate(names):
        if name and name in names[:k]:
            raise PitlError(
                f"{path}, line {(head or 0) + 1}: the column {name!r} appears twice; give each its own name."
            )


def _table(path: Path, body: str, separator: str, names: list[str], decimal: str, start: int) -> pd.DataFrame:
    if not body.strip():
        raise PitlError(f"{path}: has a first line but no samples; expected column names and then one line per sample.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(body), sep=separator, names=range(len(names)), header=None, index_col=False,
                decimal=decimal, skip_blank_lines=False, skipinitialspace=True, quoting=3, low_memory=False,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError, OverflowError) as e:
        wide = (i for i, line in enumerate(body.split("\n"), start + 1) if line.count(separator) >= len(names))
        line = next(wide, None)
        where = f"line {line} has more cells than there are names" if line else f"cannot be read as a table: {e}"
        raise PitlError(
            f"{path}: {where}; expected {len(names)} cells separated by {separator!r} in every line."
        ) from e


def _signals(
    path: Path, frame: pd.DataFrame, names: list[str], units: list[str], first_line: int, decimal: str
) -> Signals:
    flaws: dict[str, str] = {}
    columns = []
    for k, name in enumerate(names):
        values, flaw = _column(frame.iloc[:, k], path, name, first_line, decimal)
        if flaw:
            flaws[name] = flaw
        columns.append(values)
    bare = list(names)
    for k, name in enumerate(names):
        match = _UNIT.match(name)
        if match and not units[k]:
            units[k] = match[2]
            bare[k] = match[1]
    table = np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0))
    clock = next((k for k, b in enumerate(bare) if b.lower() in (*_TIME, "time_ms", "time ms")), None)
    time = None
    if clock is not None and names[clock] not in flaws and np.isfinite(table[:, clock]).all():
        unit = known_unit(units[clock]) or ("ms" if "ms" in bare[clock].lower() else "s")
        time = table[:, clock] * _TIME_UNITS.get(unit, 1.0)
    kept = [k for k in range(len(names)) if names[k] != "(nothing)"]
    stream = Stream(
        path.stem, tuple(names[k] for k in kept), tuple(known_unit(units[k]) for k in kept), table[:, kept], time,
        first_line=first_line, flaws=flaws,
    )  # fmt: skip
    return Signals(path, (stream,))


def _column(cells: pd.Series, path: Path, name: str, first_line: int, decimal: str) -> tuple[np.ndarray, str]:
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        return cells.to_numpy(dtype=float), ""
    text = cells.astype(str).where(cells.notna()).str.strip().str.strip('"')
    if decimal == ",":
        text = text.str.replace(",", ".")
    text = text.where(text != "")
    numbers = pd.Series(pd.to_numeric(text, errors="coerce"))
    wrong = np.asarray(numbers.isna() & text.notna() & ~text.str.lower().isin(["nan", "na", "n/a"]).fillna(False))
    flaw = ""
    if wrong.any():
        row = int(np.argmax(wrong))
        flaw = (
            f"{path}, line {first_line + row}, column {name!r}: found {str(cells.iloc[row])!r:.40}, expected a number; "
            "correct it, or leave the cell empty where the sample is missing."
        )
    return numbers.to_numpy(dtype=float), flaw
