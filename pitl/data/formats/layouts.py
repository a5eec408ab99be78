"""Where the samples of a text file begin and what stands above them, in the layouts that makers of recorders write."""

import csv
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pitl.data.formats.signals import is_unit, known_unit

_PREAMBLE = 200  # lines, most that may stand above the samples
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
MISSING = {
    "", "nan", "na", "n/a", "#n/a", "#nv", "null", "none", "missing", "-", "--", "\u2013", "-nan", "-nan(ind)",
    "-1.#ind", "1.#qnan",
}  # fmt: skip
_RATE = re.compile(
    r"(?:sampl\w{0,8}[ _-]?(?:rate|freq\w{0,6})|abtast(?:rate|frequenz)|(?:échantillonnage|muestreo|campionamento)"
    r"|^(?:frequen(?:cy|z|za)|fréquence|frecuencia|fs)\b)[^\d\n]{0,20}(\d+(?:[.,]\d+)?) ?(k?hz)?",
    re.IGNORECASE,
)
_WITHOUT_VALUE = (MISSING | {"inf", "-inf"}) - {"", "-", "--"}  # these stand in lines of names and units as well
SPACES = r"\s+"


class TableSection(NamedTuple):
    """One table of a text file.

    Attributes:
        name: "" if the file has only this one.
        separator: a character, or `SPACES`.
        names: one for each column, "" where there is none.
        units: likewise.
        start: line of the first sample, from 0.
        stop: line behind the last one; None is the end of the file.
        rate_hz: if it stands above the samples.
        frames: whether the first two columns count frames and samples within a frame (at `rate_hz` samples).
        head: line of the names, for messages.
    """

    name: str
    separator: str
    names: Sequence[str]
    units: Sequence[str]
    start: int
    stop: int | None = None
    rate_hz: float | None = None
    frames: bool = False
    head: int | None = None


def sections(lines: Sequence[str]) -> list[TableSection]:
    """The tables of a file.

    Args:
        lines: the first ones, or all if the file is one of `has_sections`.
    """
    for recognise in (_vicon, _labchart, _acqknowledge, _opensignals):
        result = recognise(lines)
        if result:
            return result
    return [_plain(lines)]


def has_sections(lines: Sequence[str]) -> bool:
    """Whether a file may hold several tables below one another."""
    return bool(_vicon(lines) or _labchart(lines))


def cells(line: str, separator: str) -> list[str]:
    """Cells of a line without blanks around them; separators within quotes do not count."""
    if separator == SPACES:
        return line.split()
    if '"' in line:
        try:
            row = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
            return [c.strip().strip('"') for c in row]
        except csv.Error:  # a cell of more than 128 kB
            pass
    return [c.strip().strip('"') for c in line.split(separator)]


def _heads(line: str, separator: str, width: int) -> list[str]:
    """Names of columns; those that hold the separator before their unit, or blanks among many, are put together."""
    row = cells(_bare(line), separator)
    if separator == SPACES and len(row) != width:
        wider = [c.strip() for c in re.split(r"\s{2,}|\t", _bare(line).strip())]
        return wider if len(wider) == width else row
    if len(_shorn(row)) == width + 1 and row[0].endswith("_NAMES"):  # Qualisys
        return _shorn(row)[1:]
    if len(_shorn(row)) > width > 1:
        joined: list[str] = []
        for cell in _shorn(row):
            if joined and cell and is_unit(cell):
                joined[-1] = f"{joined[-1]} [{cell}]"
            else:
                joined.append(cell)
        return joined if len(joined) == width else row
    return row


def is_number(cell: str) -> bool:
    """Whether a cell is a number in ASCII, with a point or a comma, or says that there is none."""
    return len(cell) < 10_000 and (bool(_NUMBER.fullmatch(cell)) or cell.lower() in _WITHOUT_VALUE)


def _samples(row: Sequence[str]) -> bool:
    """Whether a line is one of samples: numbers, and perhaps a column of words."""
    filled = [c for c in row if c]
    numbers = sum(map(is_number, filled))
    return numbers > 0 and (numbers == len(filled) or numbers >= max(2, len(filled) / 2))


def _plain(lines: Sequence[str]) -> TableSection:
    """Names, perhaps units, then samples; anything may stand above."""
    filled = [k for k, line in enumerate(lines) if line.strip(" ,;\t")][: _PREAMBLE + 25]
    if not filled:
        return TableSection("", ",", [""], [""], 0)
    first = filled[0]
    result = _under_names(lines, filled)
    if result is not None:
        return result
    place, separator = next(
        (
            (n, s)
            for n, k in enumerate(filled[:_PREAMBLE])
            for s in ("\t", ";", "|", ",", SPACES)
            if _begins(s, [lines[j] for j in filled[n : n + 3]]) and (s != "," or not _spaced(lines[k]))
        ),
        (None, None),
    )
    if place is None or separator is None:
        separator = next((c for c in "\t;|," if c in lines[first]), SPACES if " " in lines[first].strip() else ",")
        names = cells(_bare(lines[first]), separator)
        return TableSection(
            "", separator, names, [""] * len(names), filled[1] if len(filled) > 1 else first + 1, head=first
        )
    start = filled[place]
    width = max(_width(cells(lines[k], separator)) for k in filled[place : place + 20])
    names, units, head = [""] * width, [""] * width, None
    for k in reversed(filled[:place]):
        row = _shorn(_heads(lines[k], separator, width))
        if not row or not width / 2 <= sum(map(bool, row)) <= len(row) <= 2 * width or row[0][-1:] in (":", "="):
            if k < start - 4:
                break
            if any(map(_is_rate, row)):
                continue
            if head is None and k == start - 1 and row and all(map(is_unit, row)):
                units = row
                continue
            break
        if all(map(is_unit, row)) and head is None and not any(units):
            units = row
            continue
        if all(_is_rate(c) for c in row if c):
            continue
        names, head = row, k
        break
    if head is None and any(units):
        names, units = units, []
    names = _with_labels(names, [cells(lines[k], separator) for k in filled if head and head - 4 < k < head])
    return TableSection("", separator, names, units, start, None, _rate(lines[first:start]), head=head)


def _under_names(lines: Sequence[str], filled: Sequence[int]) -> TableSection | None:
    """Names in the first line, samples right below: all that follows is meant to be samples, also if damaged."""
    first, below = filled[0], filled[1:3]
    for separator in ("\t", ";", "|", ",", SPACES):
        width = _width(cells(lines[below[-1]], separator)) if below else 0
        names = _shorn(_heads(lines[first], separator, width))
        alone = separator == SPACES or len(names) < 2
        if (len(names) < 2 and separator != ",") or any(is_number(n) or n.endswith((":", "=")) for n in names):
            continue
        if sum(map(bool, names)) < len(names) - 1:
            continue
        # one column, unless something else separates the samples
        if alone and separator == "," and (" " in lines[first] or (below and re.search(r"[\t;|]", lines[below[-1]]))):
            continue
        for at, k in enumerate(below):
            row = cells(lines[k], separator)
            if at == 0 and all(map(is_unit, row)) and len(row) <= len(names) and not any(map(is_number, row)):
                continue
            damaged = all(c[:1].lstrip("+-.")[:1].isdigit() for c in row if c)  # digits of another script
            if (_samples(row) or damaged) and len(names) <= len(row) and _width(row) <= len(names):
                units = cells(lines[below[0]], separator) if at else []
                return TableSection("", separator, names, units, k, head=first)
            break
    return None


def _begins(separator: str, lines: Sequence[str]) -> bool:
    rows = [cells(line, separator) for line in lines]
    if len(rows[0]) < 2 and separator != ",":
        return False
    return all(_samples(r) for r in rows) and len({len(r) for r in rows[:2]}) == 1


def _spaced(line: str) -> bool:
    """Whether blanks separate numbers in which commas are decimal."""
    parts = line.split()
    return len(parts) > 1 and all(_NUMBER.fullmatch(p) for p in parts) and not line.rstrip().endswith(",")


def _bare(line: str) -> str:
    """A line without the mark of a comment."""
    return line.lstrip("%#").lstrip(" ") if line[:1] in "%#" else line


def _shorn(row: list[str]) -> list[str]:
    return row[: _width(row)]


def _width(row: Sequence[str]) -> int:
    return max((k for k, c in enumerate(row, 1) if c), default=0)


def _is_rate(cell: str) -> bool:
    number, _, unit = cell.strip().partition(" ")
    return bool(_NUMBER.fullmatch(number)) and unit.lower() in ("hz", "khz", "s")


def _rate(lines: Sequence[str]) -> float | None:
    """The rate that is written above the samples; None if there are none or several."""
    hits = [m for line in lines for m in _RATE.finditer(_bare(line)[:2000].replace('"', ""))]
    if any(re.search(r",\d{3}", m[1]) for m in hits):
        return None  # 1,000 is a thousand to some and one to others
    result = {
        float(m[1].replace(",", ".")) * (1000 if (m[2] or "").lower() == "khz" else 1) for m in hits if len(m[1]) < 20
    }
    return result.pop() if len(result) == 1 and 0 < min(result) < 1e6 else None


def _with_labels(names: Sequence[str], above: Sequence[Sequence[str]]) -> Sequence[str]:
    """Names that repeat take the label of their sensor, which stands above the first of its columns."""
    if len(set(names)) == len(names):
        return names
    for row in above:
        if len(_shorn(list(row))) < 2 or len(row) < len(names) - 1:
            continue
        labels, label = [], ""
        for cell in row[: len(names)]:
            label = cell.split(" (")[0] or label
            labels.append(label)
        starts = [c for c in row if c]
        if len(set(starts)) == len(starts):
            return [f"{b} {n}".strip() for n, b in zip(names, [*labels, *names], strict=False)]
    return names


def _vicon(lines: Sequence[str]) -> list[TableSection]:
    """Vicon Nexus: a name, a rate, sensors or subjects, names, units, then frames; sections below one another."""
    top = next((k for k, line in enumerate(lines) if line.strip()), 0)
    if len(lines) < top + 6 or not _whole(lines[top + 1]) or "frame" not in lines[top + 3].lower():
        return []
    result = []
    separator = next((s for s in "\t;" if s in lines[top + 3]), ",")
    heads = [
        k
        for k in range(top + 3, len(lines))
        if lines[k].lower().startswith(("frame", '"frame')) and _whole(lines[k - 2])
    ]
    for k, following in zip(heads, [*[h - 3 for h in heads[1:]], len(lines)], strict=True):
        names, units = cells(lines[k], separator), cells(lines[k + 1], separator) if k + 1 < len(lines) else []
        owner, owners = "", []
        for cell in (cells(lines[k - 1], separator) + [""] * len(names))[: len(names)]:
            owner = cell.rpartition(":")[2] or owner
            owners.append(owner)
        rest = names[2:]
        if len(set(rest) - {""}) < len([n for n in rest if n]) or all(len(n) < 3 for n in rest):
            names = names[:2] + [f"{o} {n}".strip() if n else "" for o, n in zip(owners[2:], rest, strict=True)]
        stop = following
        while stop > k + 2 and not lines[stop - 1].strip(" ,;\t"):
            stop -= 1
        name = cells(lines[k - 3], separator)[0] if k >= 3 else ""
        rate = float(_whole(lines[k - 2]) or 0)
        result.append(TableSection(name, separator, names, units, k + 2, stop, rate or None, True, k))
    return [s for s in result if (s.stop or 0) > s.start]


def _whole(line: str) -> str:
    text = line.strip(' ,;\t"')
    return text if text.isascii() and text.isdigit() and len(text) < 8 else ""


def _labchart(lines: Sequence[str]) -> list[TableSection]:
    """LabChart: `key=` and values; every block of a recording begins with such lines again."""
    if not any(line.startswith("ChannelTitle=") for line in lines[:40]):
        return []
    result, about = [], {}
    for k, line in enumerate(lines):
        key, equals, value = line.partition("=")
        if equals and key.isalnum() and not key[0].isdigit():
            if result and result[-1].stop is None:
                result[-1] = result[-1]._replace(stop=k)
                about = {}
            about[key] = value.strip("\t").split("\t")
        elif about and line.strip() and (not result or result[-1].stop is not None):
            titles = [t.strip() for t in about.get("ChannelTitle", [])]
            units = [u.strip() for u in about.get("UnitName", [])] or [
                r.strip().partition(" ")[2] for r in about.get("Range", [])
            ]
            interval = (about.get("Interval") or [""])[0].split()
            step = float(interval[0]) if interval and _NUMBER.fullmatch(interval[0]) and len(interval[0]) < 20 else 0.0
            rate = 1 / step if step > 0 and (interval[1:] or ["s"])[0] == "s" else None
            name = f"block {len(result) + 1}"
            result.append(TableSection(name, "\t", ["Time", *titles], ["s", *units], k, None, rate))
    return result if len(result) != 1 else [result[0]._replace(name="")]


def _acqknowledge(lines: Sequence[str]) -> list[TableSection]:
    """AcqKnowledge: name, interval, number of channels, then name and unit of each, CH titles, counts, samples."""
    interval = re.fullmatch(r"(\d+(?:\.\d+)?) (\w{1,12})/sample", lines[1].strip()) if len(lines) > 5 else None
    count = re.fullmatch(r"(\d{1,3}) channels?", lines[2].strip()) if interval else None
    if interval is None or count is None:
        return []
    channels = int(count[1])
    titles = [line.strip() for line in lines[3 : 3 + 2 * channels : 2]]
    units = [line.strip() for line in lines[4 : 4 + 2 * channels : 2]]
    head = 3 + 2 * channels
    if len(lines) < head + 2:
        return []
    separator = "\t" if "\t" in lines[head] else ","
    clock = cells(lines[head], separator)[0]
    timed = not clock.upper().startswith("CH")
    start = head + 1 + (not cells(lines[head + 1], separator)[0])  # a line of counts has none for the time
    step = float(interval[1]) * {"ms": 1e-3, "us": 1e-6, "min": 60.0}.get(known_unit(interval[2]), 1.0)
    names, all_units = (["Time", *titles], [clock, *units]) if timed else (titles, units)
    return [TableSection("", separator, names, all_units, start, None, 1 / step if step > 0 else None, head=head)]


def _opensignals(lines: Sequence[str]) -> list[TableSection]:
    """OpenSignals (PLUX, BITalino): a line of JSON says names and the rate; values are counts."""
    if len(lines) < 4 or "OpenSignals" not in lines[0]:
        return []
    try:
        about = next(iter(json.loads(_bare(lines[1])).values()))
        names, rate = [str(c) for c in about["column"]], float(about["sampling rate"])
        counted = {str(c) for c in about.get("label", [])}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        return []
    end = next((k for k, line in enumerate(lines[:_PREAMBLE]) if "EndOfHeader" in line), None)
    if end is None or not 0 < rate < 1e6:
        return []
    return [
        TableSection("", "\t", names, ["counts" if n in counted else "" for n in names], end + 1, None, rate, head=1)
    ]
