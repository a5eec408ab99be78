"""What a run left in its folder, read for the report."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.comparison import seal
from pitl.errors import PitlError
from pitl.files import safe_name

SCHEMA = 2  # of metrics.json
_ROW = ("subject", "task", "method", "supervision", "seed")
_NUMBER = "a number"
_KINDS = {
    "text": lambda v: isinstance(v, str),
    "a whole number": lambda v: type(v) is int,
    _NUMBER: lambda v: v is None or (type(v) in (int, float) and math.isfinite(v)),
}


_SINGLE = (
    "dofs",
    "muscles",
    "force_source",
    "balance_supervision",
    "subject",
)  # of a trace; the others have a row a time
_TEXTS = (*_SINGLE, "trial", "task")


class ReportInputs(NamedTuple):
    """Numbers and curves of one run."""

    out: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    rows: list[dict[str, Any]]  # one per subject, task, method, grade of supervision and seed
    traces: dict[str, Path]  # by the file's name
    learned: dict[str, dict[str, Any]]  # by subject
    notes: list[str]
    force_source: str | None
    lost: dict[str, Any] = {}  # errors with lost channels, see `pitl.comparison.lost_channels`
    intervals: dict[str, Any] = {}  # how often they hold, see `pitl.comparison.coverage`
    identified: dict[str, Any] = {}  # parameters of the EMG-driven model by person, see `pitl.learn.identification`

    def trace_of(self, person: str) -> Path | None:
        """Where the curves of a person lie."""
        return self.traces.get(safe_name(person)) if person else None


def read(out: Path) -> ReportInputs:
    """Reads what a run left.

    Raises:
        PitlError: if the folder has no metrics, or a file in it is damaged.
    """
    if not (out / "metrics.json").exists():
        raise PitlError(
            f"{out} has no metrics.json: it is no folder of a finished run; `pitl run` or `pitl compare` makes it."
        )
    if other := seal.changed(out):
        raise PitlError(
            f"{out / other[0]} is not as the run left it; the same `pitl run` or `pitl compare` makes it again."
        )
    metrics = read_json(out / "metrics.json", dict)
    rows = metrics.get("rows")
    if metrics.get("schema") != SCHEMA or not isinstance(rows, list):
        result = metrics.get("schema")
        raise PitlError(f"{out / 'metrics.json'} has schema {result}, expected {SCHEMA}; run `pitl compare` again.")
    for n, row in enumerate(rows):
        missing = [k for k in _ROW if not isinstance(row, dict) or k not in row]
        if missing:
            raise PitlError(f"{out / 'metrics.json'}: row {n} has no {missing[0]}; run `pitl compare` again.")
        for k, v in row.items():
            expected = _NUMBER if k not in _ROW else "a whole number" if k == "seed" else "text"
            if not _KINDS[expected](v):
                found = f"{k} of row {n} is {json.dumps(v)[:60]}, not {expected}"
                raise PitlError(f"{out / 'metrics.json'}: {found}; run `pitl compare` again.")
    if not any(row["task"] == "all" for row in rows):
        raise PitlError(f"{out / 'metrics.json'} has no results over all tasks; run `pitl compare` again.")
    traces = {path.stem: path for path in sorted((out / "traces").glob("*.npz"))}
    source = None
    if traces:
        first = trace(next(iter(traces.values())))
        source = str(first["force_source"]) if "force_source" in first else None
    about = {name: metrics.get(name, {}) for name in ("config", "environment")}
    for name, value in about.items():
        inner = value.get({"config": "evaluate", "environment": "wall_seconds"}[name]) if isinstance(value, dict) else 0
        if not (inner is None or isinstance(inner, dict)):
            raise PitlError(f"{out / 'metrics.json'}: {name} is no table of settings; run `pitl compare` again.")
    learned = read_json(out / "learned.json", dict)
    for person, facts in learned.items():
        if not isinstance(facts, dict) or not all(_numbers(v) for v in facts.values()):
            raise PitlError(
                f"{out / 'learned.json'}: what it says of {person} is no numbers; run `pitl compare` again."
            )
    return ReportInputs(
        out,
        about["config"],
        about["environment"],
        rows,
        traces,
        learned,
        [str(n) for n in read_json(out / "notes.json", list)],
        source,
        read_json(out / "lost_channels.json", dict),
        read_json(out / "uncertainty.json", dict),
        next((identified(path) for path in sorted(out.glob("hill-*.json"))), {}),
    )


def identified(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Which parameters of the EMG-driven model the data identify, by person and parameter.

    Raises:
        PitlError: the file is damaged.
    """
    people = read_json(path, dict)
    for person in people.values():
        if not isinstance(person, dict) or not all(isinstance(p, dict) and "by_data" in p for p in person.values()):
            raise PitlError(f"{path} lacks what was identified; delete it and run `pitl compare` again.")
    return people


def _numbers(value: Any) -> bool:
    return all(map(_numbers, value)) if isinstance(value, list) else value is not None and _KINDS[_NUMBER](value)


def trace(path: Path) -> dict[str, np.ndarray]:
    """The curves of one subject, with half the width of the intervals around them where the run has intervals.

    Raises:
        PitlError: if a file is damaged.
    """
    intervals, curves = path.parents[1] / "intervals" / path.name, _arrays(path)
    half = _arrays(intervals) if intervals.exists() else {}
    for file, arrays in ((path, curves), (intervals, half)):
        for name, values in arrays.items():
            kind = "U" if name in _TEXTS else "f"
            rows = 0 if name in _SINGLE or file == intervals else len(curves.get("time_s", ()))
            ours = name.startswith(("time_s", "angle_deg/", "force_n/", "half/"))  # what was measured may have holes
            if (
                values.dtype.kind not in kind + "iu" * (kind == "f")
                or (rows and values.shape[:1] != (rows,))
                or (ours and values.dtype.kind == "f" and not np.isfinite(values).all())
            ):
                raise PitlError(f"{file} is damaged ({name} does not fit); delete it and run `pitl compare` again.")
    return curves | {k: v for k, v in half.items() if len(v) == len(curves.get("time_s", ()))}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except Exception as e:  # whatever a damaged archive makes of the reading of it
        raise PitlError(f"{path} is damaged ({e}); delete it and run `pitl compare` again.") from e


def _no_number(text: str) -> Any:
    raise ValueError(f"it holds {text}, which no run writes")


def read_json(path: Path, kind: type) -> Any:
    """What a file holds; nothing if it is not there.

    Raises:
        PitlError: it is damaged, or of another kind.
    """
    if not path.exists():
        return kind()
    try:
        result = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as e:
        raise PitlError(f"{path} is damaged ({e}); delete it and run `pitl compare` again.") from e
    if not isinstance(result, kind):
        raise PitlError(f"{path} should hold a {kind.__name__}; delete it and run `pitl compare` again.")
    return result
