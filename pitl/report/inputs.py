"""What a run left in its folder, read for the report."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.errors import PitlError
from pitl.files import safe_name

SCHEMA = 2  # of metrics.json
_ROW = ("subject", "task", "method", "supervision", "seed")


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
    metrics = _json(out / "metrics.json", dict)
    rows = metrics.get("rows")
    if metrics.get("schema") != SCHEMA or not isinstance(rows, list):
        result = metrics.get("schema")
        raise PitlError(f"{out / 'metrics.json'} has schema {result}, expected {SCHEMA}; run `pitl compare` again.")
    for n, row in enumerate(rows):
        missing = [k for k in _ROW if k not in row]
        if missing:
            raise PitlError(f"{out / 'metrics.json'}: row {n} has no {missing[0]}; run `pitl compare` again.")
    if not any(row["task"] == "all" for row in rows):
        raise PitlError(f"{out / 'metrics.json'} has no results over all tasks; run `pitl compare` again.")
    traces = {path.stem: path for path in sorted((out / "traces").glob("*.npz"))}
    source = None
    if traces:
        first = trace(next(iter(traces.values())))
        source = str(first["force_source"]) if "force_source" in first else None
    return ReportInputs(
        out,
        metrics.get("config", {}),
        metrics.get("environment", {}),
        rows,
        traces,
        _json(out / "learned.json", dict),
        [str(n) for n in _json(out / "notes.json", list)],
        source,
        _json(out / "lost_channels.json", dict),
        _json(out / "uncertainty.json", dict),
        next((_json(path, dict) for path in sorted(out.glob("hill-*.json"))), {}),
    )


def trace(path: Path) -> dict[str, np.ndarray]:
    """The curves of one subject, with half the width of the intervals around them where the run has intervals.

    Raises:
        PitlError: if a file is damaged.
    """
    intervals, curves = path.parents[1] / "intervals" / path.name, _arrays(path)
    half = _arrays(intervals) if intervals.exists() else {}
    return curves | {k: v for k, v in half.items() if len(v) == len(curves.get("time_s", ()))}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise PitlError(f"{path} is damaged ({e}); delete it and run `pitl compare` again.") from e


def _json(path: Path, kind: type) -> Any:
    if not path.exists():
        return kind()
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise PitlError(f"{path} is damaged ({e}); delete it and run `pitl compare` again.") from e
    if not isinstance(result, kind):
        raise PitlError(f"{path} should hold a {kind.__name__}; delete it and run `pitl compare` again.")
    return result
