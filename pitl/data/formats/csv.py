"""Tables of text: commas, semicolons, tabs or blanks between cells, decimal points or commas, lines above the names."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pitl.data.formats import layouts
from pitl.data.formats.layouts import TableSection
from pitl.data.formats.signals import (
    MOST_COLUMNS,
    SECONDS,
    Signals,
    Stream,
    known_unit,
    read_text,
    unique,
    unit_in,
)
from pitl.errors import PitlError
from pitl.files import atomic_write_bytes

_HEAD = 2**20  # characters in which the samples must begin
_CLOCK = re.compile(
    r"(?:(?:elapsed|relative|recording|absolute|unix|lsl|date)[ _]?(?:and[ _])?)?"
    r"(?:time|timestamps?|times|seconds|t|zeit|zeitstempel|temps|tiempo|tempo|tid|tijd|czas|aika|cas|čas|idő|время|时间|時間)"
    r"(?:[ _-]?(?:series|stamps?|axis|vector|code))?"
)
_OF_A_PART = re.compile(r"(?:t|time|zeit|temps)[ _.-]\w+|\w+[ _.-](?:t|time|zeit|temps)")  # t_emg; if it rises
_MOMENTS = (
    "ISO8601",
    *(f"{d} {t}" for d in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y") for t in ("%H:%M:%S.%f", "%H:%M:%S", "%I:%M:%S.%f %p")),
)
_FAR_S = 1e11  # since 1970 it is the year 5138
_SPARSE = 0.6  # part of the rows that must be empty before a column is taken for a slower stream


def read(path: Path) -> Signals:
    """Reads tables of text; a column of times is the clock of those that follow, empty cells are missing samples.

    Names may carry units, "EMG1 (mV)", or have a line of units below them. Exports of Vicon Nexus, Delsys, LabChart,
    AcqKnowledge, OpenSignals, OpenBCI and Noraxon are recognised.

    Raises:
        PitlError: if it is not a table of numbers; says in which line.
    """
    path = Path(path)
    text = read_text(path).rstrip()
    lines = text[:_HEAD].split("\n")
    if len(text) > _HEAD and len(lines) > 1:
        lines.pop()
    if layouts.has_sections(lines):
        lines = text.split("\n")
    streams: list[Stream] = []
    notes: list[str] = []
    for section in layouts.sections(lines):
        if max(len(section.names), lines[min(section.start, len(lines) - 1)].count(section.separator)) > MOST_COLUMNS:
            raise PitlError(
                f"{path}: has more than {MOST_COLUMNS} columns; export the EMG and the angles alone, a row per sample."
            )
        if section.stop is not None:
            body = "\n".join(lines[section.start : section.stop])
        else:
            body = text[sum(len(line) + 1 for line in lines[: section.start]) :]
        streams += _streams(path, section, body, notes)
    return Signals(path, tuple(streams), tuple(notes))


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
    atomic_write_bytes(path, (",".join(map(as_text, names)) + "\n" + body).encode())


def as_text(cell: str) -> str:
    """A cell of words that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _streams(path: Path, section: TableSection, body: str, notes: list[str]) -> list[Stream]:
    names = [n[1:] if n[:1] == "'" and n[1:2] in ("=", "+", "-", "@") else n for n in section.names]
    wide = [layouts.cells(row, section.separator) for row in body[:20_000].split("\n")[:6]]
    said, most = sum(map(bool, names)), max(map(len, wide))
    if section.head is not None and not section.name and said == len(names) > most > 1:
        raise PitlError(
            f"{path}, line {section.head + 1}: has {said} names above {most} columns; put a name that holds the "
            f"separator {section.separator!r} in quotes."
        )
    if all(not any(w[len(names) :]) for w in wide):  # separators that end every line
        names += [""] * (len(wide[0]) - len(names))
    decimal = "," if section.separator != "," and re.search(r"\d,\d", body[:20_000]) else "."
    frame = _table(path, body, section, len(names), decimal)
    empty = np.asarray(frame.isna().all(axis=1))
    first_line: int | None = section.start + 1
    file_lines = section.start + 1 + np.arange(len(frame))
    if empty.any() and not empty.all():
        frame, first_line = pd.DataFrame(frame[~empty]).reset_index(drop=True), None
        file_lines = file_lines[~empty]
    flaws: dict[str, str] = {}
    kept = [k for k, n in enumerate(names) if n or frame.iloc[:, k].notna().any()]
    often = Counter(names)
    labels = [
        f"{n} (1)" if often[names[k]] > 1 and names[k] and n == names[k] and f"{n} (1)" not in often else n
        for k, n in zip(kept, unique(names[k] for k in kept), strict=True)
    ]
    units = _units(path, section, names)
    columns = {}
    for k, label in zip(kept, labels, strict=True):
        values, flaw = _column(frame.iloc[:, k], path, label, file_lines)
        columns[k] = values
        if flaw:
            flaws[label] = flaw
    names = dict(zip(kept, labels, strict=True))
    where = section.name or path.stem
    groups = _clocks(path, section, names, units, columns, frame, flaws)
    result = []
    for time, members in groups:
        length = _length(columns, members, time)
        taken = sum(s.name.split(" (")[0] == where for s in result)
        stream = Stream(
            f"{where} ({taken + 1})" if taken else where,
            tuple(names[k] for k in members),
            tuple(units[k] for k in members),
            np.stack([columns[k][:length] for k in members], axis=1),
            None if time is None else time[:length],
            section.rate_hz if time is None else None,
            first_line,
            {names[k]: flaws[names[k]] for k in members if names[k] in flaws},
        )
        result += _by_rate(stream, notes, path)
    return result


def _table(path: Path, body: str, section: TableSection, width: int, decimal: str) -> pd.DataFrame:
    if not body.strip():
        raise PitlError(f"{path}: has a first line but no samples; expected column names and then one line per sample.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            return pd.read_csv(
                io.BytesIO(body.encode("utf-8", "replace")), sep=section.separator, names=range(width), header=None,
                index_col=False, decimal=decimal, skip_blank_lines=False, skipinitialspace=True, low_memory=False,
                quoting=0 if '"' in body else 3,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError, OverflowError) as e:
        lines = enumerate(body.split("\n"), section.start + 1)
        line = next((i for i, text in lines if len(layouts.cells(text, section.separator)) > width), None)
        reason = (str(e).strip().splitlines() or [""])[-1][:120]
        where = f"line {line} has more cells than there are names" if line else f"cannot be read as a table ({reason})"
        if line and section.separator == "," and _decimal_commas(body.split("\n")[line - section.start - 1], width):
            where += ", perhaps since commas are decimal too: export with points, or with semicolons between cells"
        what = "blanks" if section.separator == layouts.SPACES else repr(section.separator)
        raise PitlError(f"{path}: {where}; expected {width} cells separated by {what} in every line.") from e


def _decimal_commas(line: str, width: int) -> bool:
    row = line.split(",")
    return width < len(row) <= 2 * width and all(c.strip().lstrip("-").isdigit() for c in row if c)


def _units(path: Path, section: TableSection, names: Sequence[str]) -> list[str]:
    """One unit for each column, from its name or from the line below."""
    out = []
    for k, name in enumerate(names):
        below = known_unit(section.units[k]) if k < len(section.units) else ""
        own = known_unit(unit_in(name)[1])
        if below and own and below != own:
            raise PitlError(
                f"{path}: the name of column {name!r} says {own}, the line of units {below}; correct the wrong one."
            )
        out.append(below or own)
    return out


_Group = tuple[np.ndarray | None, list[int]]


def _clocks(
    path: Path, section: TableSection, names: dict[int, str], units: Sequence[str], columns: dict[int, np.ndarray],
    frame: pd.DataFrame, flaws: dict[str, str],
) -> list[_Group]:  # fmt: skip
    """Columns by the clock that they are on, and the times."""
    order = list(names)
    if section.frames and section.rate_hz and len(order) > 2:
        count, sub = columns[order[0]], np.nan_to_num(columns[order[1]])
        inside = max(1.0, float(sub.max(initial=0.0)) + 1)
        return [((count - 1 + sub / inside) * inside / section.rate_hz, order[2:])]
    named = [k for k in order if _is_clock(names[k], columns[k])]
    if not named and order and units[order[0]] in SECONDS and _rises(columns[order[0]]):
        named = order[:1]
    if not named and order and names[order[0]] in flaws and _moments(frame.iloc[:, order[0]]) is not None:
        named = order[:1]
    pairs = [k for k in order if k in named or (units[k] in SECONDS and _rises(columns[k]))]
    pairs = [k for k in pairs if names[k] not in flaws]
    if len(pairs) > 1 and pairs[0] == order[0] and all(k + 1 not in pairs and k + 1 in names for k in pairs):
        ends = [*pairs[1:], order[-1] + 1]
        spans = [[k for k in order if a <= k < b] for a, b in zip(pairs, ends, strict=True)]
        times = [_seconds(path, names[k], units[k], columns[k]) for k in pairs]
        out: list[_Group] = []
        for time, span in zip(times, spans, strict=True):
            same = next((g for g in out if g[0] is not None and np.array_equal(g[0], time, equal_nan=True)), None)
            same[1].extend(span) if same else out.append((time, span))
        return out
    numeric = [k for k in named if names[k] not in flaws]
    if numeric:
        k = numeric[0]
        return [(_seconds(path, names[k], units[k], columns[k]), order)]
    for k in named:
        moments = _moments(frame.iloc[:, k])
        if moments is None:
            raise PitlError(flaws[names[k]])
        return [(moments, order)]
    return [(None, order)]


def _bare_name(name: str) -> str:
    return re.sub(r" \(\d+\)$", "", unit_in(name)[0].lower().strip()) if len(name) < 200 else name


def _is_clock(name: str, values: np.ndarray) -> bool:
    """Whether a column is called as times are: `Time`, `Zeit_ms`, `sec`; or `t_emg` and rises as a clock does."""
    bare = _bare_name(name)
    word, unit = _unit_at_end(bare)
    if _CLOCK.fullmatch(word if unit else bare):
        return True
    if known_unit(bare) in SECONDS:  # a minimum is called min as well
        return known_unit(bare) not in ("min", "h") or _rises(values)
    return (
        bool(_OF_A_PART.fullmatch(bare)) and _rises(values) and bool((np.diff(values[np.isfinite(values)]) > 0).all())
    )


def _unit_at_end(name: str) -> tuple[str, str]:
    """`time_usec` as `time` and `us`; no unit if it ends in none of time."""
    *first, last = re.split(r"[ _-]+", name) or [""]
    unit = known_unit(last)
    return (" ".join(first), unit) if first and unit in SECONDS else (name, "")


def _rises(x: np.ndarray) -> bool:
    good = x[np.isfinite(x)]
    return len(good) > 2 and bool((np.diff(good) >= 0).all()) and good[-1] > good[0]


def _seconds(path: Path, name: str, unit: str, values: np.ndarray) -> np.ndarray:
    """Times in seconds."""
    bare = _bare_name(name)
    unit = unit or _unit_at_end(bare)[1] or (known_unit(bare) if known_unit(bare) in SECONDS else "s")
    if unit not in SECONDS:
        raise PitlError(
            f"{path}: the time in column {name!r} is in {unit!r}, which is no unit of time that is known; use one of "
            f"{', '.join(SECONDS)}."
        )
    if unit == "s" and known_unit(bare) not in SECONDS and np.nanmax(np.abs(values), initial=0.0) > _FAR_S:
        raise PitlError(
            f"{path}: the time in column {name!r} is about {np.nanmax(values):.2g}, which are no seconds; call it "
            f"'{name} [ms]', or whatever its unit is."
        )
    return values * SECONDS[unit]


def _moments(words: pd.Series) -> np.ndarray | None:
    """Seconds since the first of moments such as 2024-01-01 10:00:00.001 or 10:00:00.001; None if they are no such."""
    text = words.astype(str).str.strip()
    if text.str.len().max() > 40 or not text.str.contains(":", regex=False).all():
        return None
    for layout in ("", *_MOMENTS):
        try:
            moments = (
                pd.to_datetime(text, errors="coerce", format=layout)
                if layout
                else pd.to_timedelta(text, errors="coerce")
            )
            moments = pd.Series(moments)
            if moments.notna().all():
                seconds = (moments - moments.iloc[0]).dt.total_seconds().to_numpy(dtype=float)
                midnight = np.cumsum(np.diff(seconds, prepend=0.0) < -43_200)  # a clock without a date begins anew
                return seconds if layout else seconds + 86_400.0 * midnight
        except (ValueError, OverflowError, TypeError):
            continue
    return None


def _length(columns: dict[int, np.ndarray], members: Sequence[int], time: np.ndarray | None) -> int:
    """Rows until the last that holds something; a sensor that is slower than another has fewer."""
    holds = np.any([~np.isnan(columns[k]) for k in members], axis=0)
    rows = np.flatnonzero(holds if time is None else holds | ~np.isnan(time))
    return int(rows[-1]) + 1 if len(rows) else len(holds)


def _by_rate(stream: Stream, notes: list[str], path: Path) -> list[Stream]:
    """Columns that are filled in one row of several only become a stream with a rate of their own."""
    slow: dict[tuple[int, int], list[int]] = {}
    for k in range(len(stream.columns)):
        rows = np.flatnonzero(np.isfinite(stream.values[:, k]))
        steps = np.diff(rows)
        sparse = 4 < len(rows) < (1 - _SPARSE) * len(stream.values)
        if sparse and (steps == np.median(steps)).mean() > 0.9:
            slow.setdefault((int(rows[0]), int(np.median(steps))), []).append(k)
    if not slow or (stream.time_s is None and stream.rate_hz is None):
        return [stream]
    out = []
    fast = [k for k in range(len(stream.columns)) if not any(k in v for v in slow.values())]
    for (first, step), members in [((0, 1), fast), *slow.items()]:
        if not members:
            continue
        rows = slice(first, None, step)
        name = stream.name if step == 1 else f"{stream.name} (every {step} rows)"
        time = stream.time_s
        if time is None and stream.rate_hz:
            time = np.arange(len(stream.values)) / stream.rate_hz
        values = stream.values[rows][:, members]
        columns = tuple(stream.columns[k] for k in members)
        out.append(
            Stream(
                name, columns, tuple(stream.units[k] for k in members), values, None if time is None else time[rows],
                None, stream.first_line if step == 1 else None,
                {c: stream.flaws[c] for c in columns if c in stream.flaws},
            )
        )  # fmt: skip
        if step > 1:
            told = ", ".join(stream.columns[k] for k in members)
            notes.append(f"{path.name}: {told} stands in every {step} rows only and was read at that rate")
    return out


def _column(cells: pd.Series, path: Path, name: str, lines: np.ndarray) -> tuple[np.ndarray, str]:
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        return cells.to_numpy(dtype=float), ""
    # cell by cell: pandas takes milliseconds a column, and a damaged table may have thousands
    numbers, flaw = np.full(len(cells), np.nan), ""
    for row, cell in enumerate(cells.tolist()):
        number = np.nan if cell is None or cell != cell else _number(str(cell))
        if number is not None:
            numbers[row] = number
        elif not flaw:
            flaw = (
                f"{path}, line {lines[row]}, column {name!r}: found {str(cell)[:60]!r:.40}, expected a "
                "number; correct it, or leave the cell empty where the sample is missing."
            )
    return numbers, flaw


def _number(cell: str) -> float | None:
    """What a cell says, NaN where it says that nothing is there; None if it is no number."""
    text = cell.strip().strip('"').replace(",", ".")  # a comma that is left within a cell is a decimal one
    if text.lower() in layouts.MISSING:
        return np.nan
    try:
        return float(text) if text.isascii() and "_" not in text and len(text) < 400 else None
    except ValueError:
        return None
