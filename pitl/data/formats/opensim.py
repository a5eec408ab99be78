"""OpenSim tables, .mot and .sto: also the older SIMM header, which counts `datacolumns` and `datarows`.

Format: https://opensimconfluence.atlassian.net/wiki/spaces/OpenSim/pages/53089950/Storage+.sto+Files
"""

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from pitl.data.formats.layouts import cells
from pitl.data.formats.signals import MOST_COLUMNS, Signals, Stream, read_text, unique
from pitl.data.formats.words import is_coordinate, is_muscle, is_rough
from pitl.errors import PitlError
from pitl.files import atomic_write_text

_LONGEST_HEADER = 500  # lines
_LEAST_ROWS = 0.9  # of those that the header promises
_COUNT = {"rows": ("nrows", "datarows"), "columns": ("ncolumns", "datacolumns")}
_AGAIN = "export the file again, or leave it out"


def read(path: Path) -> Signals:
    """Reads a .mot or .sto file; columns are degrees where the header says `inDegrees=yes`.

    Raises:
        PitlError: if it is not such a file, is shorter than its header says, or has text where numbers belong.
    """
    path = Path(path)
    lines = read_text(path).split("\n")
    end = next((k for k, line in enumerate(lines[:_LONGEST_HEADER]) if _bare(line).lower() == "endheader"), None)
    if end is None:
        raise PitlError(
            f"{path}: has no line 'endheader' within its first {_LONGEST_HEADER}, so it is not an OpenSim table "
            f"(.mot, .sto) or is cut off; {_AGAIN}."
        )
    stated = dict(_pair(_bare(line)) for line in lines[:end] if line.strip())
    labels = next((k for k in range(end + 1, len(lines)) if lines[k].strip(" ,;\t")), None)
    if labels is None:
        raise PitlError(f"{path}: nothing follows the header in line {end + 1}; {_AGAIN}.")
    # a spreadsheet saves the table with commas or semicolons, behind the lines of the header too
    separator = next((c for c in "\t;," if c in lines[labels]), None)
    names = _labels(lines[labels], separator)
    if names[0].lower() != "time":
        raise PitlError(
            f"{path}, line {labels + 1}: the first column is {names[0][:40]!r}, expected 'time' and then one name per "
            f"column; {_AGAIN}."
        )
    if len(names) > MOST_COLUMNS:
        raise PitlError(f"{path}: has {len(names)} columns, at most {MOST_COLUMNS} are read; export fewer.")
    if separator in (",", ";"):
        decimal = separator == ";" or '"' in "".join(lines[labels + 1 : labels + 20])
        lines[labels + 1 :] = [_plain(line, separator, decimal) for line in lines[labels + 1 :]]
    table = _numbers(path, lines, labels, names)
    notes = _counts(path, stated, table, len(names))
    degrees = stated.get("indegrees", "no").lower() in ("yes", "true", "y", "1")
    told = any("angles are in degrees" in line.lower() for line in lines[:end])
    if "indegrees" in stated and not degrees and told:
        raise PitlError(
            f"{path}: the header says inDegrees={stated['indegrees'][:20]} and that angles are in degrees; correct the "
            "wrong one."
        )
    kind = f"{lines[0]} {path.stem}".lower()
    units = tuple(
        _unit(name, kind, degrees or told, "indegrees" in stated, table[:, k]) for k, name in enumerate(names[1:], 1)
    )
    stream = Stream(
        path.stem, unique(names[1:]), units, table[:, 1:], table[:, 0], first_line=labels + 2
    )  # fmt: skip
    return Signals(path, (stream,), tuple(notes))


def write(path: Path, stream: Stream, name: str | None = None) -> None:
    """Writes a stream as .sto or .mot, to the last bit of every number.

    The unit of angles goes into `inDegrees`; a file has one, so angles in both units are refused.

    Raises:
        PitlError: if the stream has no clock, names that the format cannot hold, or angles in both units.
    """
    if stream.time_s is None:
        raise PitlError(f"{path}: {stream.name} has no time; an OpenSim table needs one.")
    angles = {u for u in stream.units if u in ("deg", "rad")}
    if len(angles) > 1:
        raise PitlError(f"{path}: {stream.name} has angles in degrees and in radians; bring them to one unit first.")
    for column in stream.columns:
        if re.search(r"[\t\n\r]", column) or column != column.strip() or not column:
            raise PitlError(f"{path}: the name {column!r} cannot head a column of an OpenSim table; rename it.")
    flag = "yes" if "deg" in angles else "no"
    head = [
        re.sub(r"\s+", " ", name or stream.name), "version=1", f"nRows={len(stream.values)}",
        f"nColumns={len(stream.columns) + 1}", f"inDegrees={flag}", "endheader", "\t".join(("time", *stream.columns)),
    ]  # fmt: skip
    table = np.column_stack([stream.time_s, stream.values])
    rows = ["\t".join(map(repr, row)) for row in table.tolist()]
    atomic_write_text(path, "\n".join([*head, *rows]) + "\n")


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.strip().partition("=") if "=" in line else re.sub(r"\s+", " ", line.strip()).partition(" ")
    return key.strip().lower(), value.strip()


def _bare(line: str) -> str:
    return line.strip(' ,;\t"')


def _labels(line: str, separator: str | None) -> list[str]:
    names = [c.strip().strip('"') for c in line.split(separator)]
    while len(names) > 1 and not names[-1]:
        names.pop()
    return names


def _plain(line: str, separator: str, decimal: bool) -> str:
    """A line of a spreadsheet with blanks between the cells; a comma that does not separate cells is a decimal one."""
    if not line.strip():
        return ""
    row = [c or "nan" for c in cells(line.rstrip(" ,;"), separator)]
    return " ".join(c.replace(",", ".") if decimal else c for c in row)


def _numbers(path: Path, lines: list[str], labels: int, names: list[str]) -> np.ndarray:
    body = lines[labels + 1 :]
    while body and not body[-1].strip():
        body.pop()
    if not body:
        raise PitlError(f"{path}: has column names in line {labels + 1} but no samples; {_AGAIN}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO("\n".join(body)), sep=r"\s+", header=None, names=range(len(names)), index_col=False,
                quoting=3, skip_blank_lines=False, low_memory=False, na_values=["-1.#IND", "1.#QNAN", "-nan(ind)"],
            )  # fmt: skip
        table = frame.to_numpy(dtype=float)
    except (ValueError, OverflowError, pd.errors.ParserError, pd.errors.ParserWarning):
        table = None
    if table is not None and len(table) == len(body) and len(body[-1].split()) == len(names):
        short = np.isnan(table[:, -1]) & np.array([len(line.split()) < len(names) for line in body])
        if not short.any():
            return table
    for k, line in enumerate(body):
        cells = line.split()
        where = f"{path}, line {labels + 2 + k}"
        if len(cells) != len(names):
            last = " (the last line: the file is probably cut off)" if k == len(body) - 1 else ""
            raise PitlError(f"{where}: has {len(cells)} values for {len(names)} columns{last}; {_AGAIN}.")
        for name, cell in zip(names, cells, strict=True):
            try:
                float(cell)
            except ValueError as e:
                raise PitlError(f"{where}, column {name!r}: found {cell[:40]!r}, expected a number; {_AGAIN}.") from e
    raise PitlError(f"{path}: the samples after line {labels + 1} are not a table of numbers; {_AGAIN}.")


def _counts(path: Path, stated: dict[str, str], table: np.ndarray, columns: int) -> list[str]:
    """What the header counts otherwise; as in OpenSim the table holds, unless a large part of its rows is missing."""
    result, notes = {"rows": len(table), "columns": columns}, []
    for what, keys in _COUNT.items():
        text = next((stated[k] for k in keys if k in stated), None)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise PitlError(f"{path}: the header says {text[:40]!r} {what}, expected a number; {_AGAIN}.")
        if what == "rows" and len(table) < _LEAST_ROWS * int(text):
            raise PitlError(
                f"{path}: the header promises {text} rows but only {len(table)} are there: the file is cut off; "
                f"{_AGAIN}."
            )
        if int(text) != result[what]:
            notes.append(f"{path.name}: the header promises {text} {what}, {result[what]} were found and taken")
    return notes


def _unit(name: str, kind: str, degrees: bool, stated: bool, values: np.ndarray) -> str:
    """What a column is measured in, as far as OpenSim's own naming tells."""
    low = name.lower().removesuffix("/value")
    if low.endswith(("_moment", "/moment")) or "torque" in low:
        return "N m"
    if low.endswith(("force_vx", "force_vy", "force_vz", "_force", "force_v")):
        return "N"
    if low.endswith(("_tx", "_ty", "_tz", "_px", "_py", "_pz")):
        return "m"
    if re.search(r"emg|activation|states|electromyo|envelope|excitation", kind):
        return ""
    if "force" in kind:
        return "N"
    if not is_coordinate(low) and (is_muscle(low) or (not degrees and is_rough(values))):
        return ""  # inDegrees speaks of coordinates
    # without the flag nothing is known: OpenSim would take such a table as radians
    return ("deg" if degrees else "rad") if stated or degrees else ""
