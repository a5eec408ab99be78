"""The one tidy table of a study: a row for every cell, seed, method, grade of supervision, person and task."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pitl.comparison.evaluate import Metrics
from pitl.errors import PitlError
from pitl.files import atomic_write_text

FILE = "study.csv"
# of intervals of 90 % on all tasks of a person, first seed of main cells, methods of `pitl.comparison.coverage`
COVERAGE = ("angle_coverage", "angle_width_deg", "force_coverage", "force_width_n")
# of the answers of one method
ANSWER = (
    "subject",
    "task",
    "method",
    "supervision",
    "seed",
    *Metrics._fields,
    *COVERAGE,
    "seconds",  # wall time per person
    "calibration_s",  # of this person
    "test_rows",  # windows of this person that were judged
    "test_mark",  # of which rows these are
    "forces",  # what the force labels are
    "device",
    "code",  # version of the program, by its files
)
CELL = ("cell", "cohort", "role", "curve", "x")
_NUMBERS = {*Metrics._fields, *COVERAGE, "seconds", "calibration_s"}
_WHOLE = {"seed", "test_rows"}
Row = dict[str, Any]


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({c: _cell(row.get(c)) for c in columns})
    atomic_write_text(path, text.getvalue())


def read(path: Path) -> list[Row]:
    """Reads rows back, numbers as numbers, what is not known as None.

    Raises:
        PitlError: the file is not there or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: _value(k, v) for k, v in row.items()} for row in csv.DictReader(file)]
    except OSError as e:
        raise PitlError(f"cannot read the table {path}: {e.strerror}; `pitl study` makes it.") from e
    except (ValueError, TypeError, csv.Error) as e:
        raise PitlError(f"{path} is damaged ({e}); delete it and run `pitl study` again.") from e


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _value(column: str, text: str) -> Any:
    if column in _NUMBERS:
        return float(text) if text else None
    return int(text) if column in _WHOLE else text
