"""What a study's page says: what was done, what came out against what, along which curve, and what failed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.comparison import statistics
from pitl.comparison.statistics import Comparison, Quartiles
from pitl.comparison.study import table
from pitl.comparison.study.table import Row
from pitl.errors import PitlError
from pitl.report import everyone, findings, study_figures, tables, words
from pitl.report.study_points import Point

COMPARED = tables.COMPARED


class StudyResult(NamedTuple):
    """A study, read."""

    about: dict[str, Any]
    rows: list[Row]

    @property
    def ours(self) -> tuple[str, str]:
        """The method that is judged, and its grade of supervision."""
        return self.about["method"], self.about["grade"]

    @property
    def cohorts(self) -> dict[str, dict[str, Any]]:
        """Main cells that have rows, by name."""
        have = {r["cell"] for r in self.rows}
        return {c["name"]: c for c in self.about["cells"] if c["role"] == "main" and c["name"] in have}

    def of(self, **where: Any) -> list[Row]:
        """Rows that have these values."""
        return [r for r in self.rows if all(r[k] == v for k, v in where.items())]


class Ablation(NamedTuple):
    """One cell that differs from the main one, method by method."""

    cell: str
    method: str
    supervision: str
    values: dict[str, Quartiles | None]
    against: str  # method of the main cell
    differences: dict[str, Comparison | None]


def read(out: Path) -> StudyResult:
    """Reads a study.

    Raises:
        PitlError: if its files are missing or damaged.
    """
    path = out / "study.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        for key in ("method", "grade", "cells", "judged", "curves", "failures", "left_out", "missing", "environment"):
            about[key]
    except OSError as e:
        raise PitlError(f"cannot read {path}: {e.strerror}; `pitl study` makes it.") from e
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise PitlError(f"{path} is damaged ({e}); run `pitl study` again.") from e
    return StudyResult(about, table.read(out / table.FILE))


def context(out: Path) -> dict[str, Any]:
    """What the page's template asks for."""
    result = read(out)
    return {
        "about": result.about,
        "words": words,
        "tables": tables,
        "against": words.method(result.about.get("against", "generic_physics")),
        "method": words.method(result.ours[0]),
        "grade": words.labels(result.ours[1]),
        "cohorts": [_cohort(result, name, cell) for name, cell in result.cohorts.items()],
        "codes": sorted({r["code"] for r in result.rows}),
        "devices": sorted({r["device"] for r in result.rows}),
    }


def _cohort(result: StudyResult, name: str, cell: dict[str, Any]) -> dict[str, Any]:
    rows = result.of(cell=name)
    lines = tables.lines(rows)
    metrics = [m for m in words.SUMMARY if any(f.values[m] is not None for f in lines)]
    method, grade = result.ours
    primary = statistics.choose_primary(rows, (method, result.about.get("against", "generic_physics")), (grade,))
    data = cell["config"]["data"]
    pairs = [(f.method, f.supervision) for f in lines if f.supervision in (grade, "none")]
    shown = [everyone.strips(rows, pairs, m, result.ours) for m in COMPARED]
    sources = {r["forces"] for r in rows}
    return {
        "name": name,
        "title": cell["title"],
        "people": len({r["subject"] for r in rows}),
        "seeds": len({r["seed"] for r in rows}),
        "tasks": sorted({r["task"] for r in rows} - {"all"}),
        "calibration": statistics.quartiles({r["subject"]: r["calibration_s"] for r in rows}.values()),
        "part": data["calibration_fraction"],
        "gap_s": data["gap_s"],
        "folds": cell["config"]["evaluate"]["folds"],
        "recordings": "simulated" if data["kind"] == "virtual" else "real recordings",
        "force_labels": words.force_labels(next(iter(sources))) if len(sources) == 1 else "",
        "lines": lines,
        "metrics": metrics,
        "best": {m: tables.best(lines, m) for m in metrics},
        "effect": findings.effect(rows, primary) if primary else [],
        "significance": findings.significance(
            statistics.paired(rows, "angle_rmse_deg", primary.first, primary.second) if primary else None
        ),
        "families": tables.families(rows, method, primary),
        "figures": [f for f in shown if f],
        "curves": [
            _curve(result, c) for c in result.about["curves"] if c["cell"] == name and result.of(curve=c["name"])
        ],
        "ablations": ablations(result, name),
        "seconds": sum({(r["method"], r["supervision"], r["seed"], r["subject"]): r["seconds"] for r in rows}.values()),
    }


def points(result: StudyResult, curve: dict[str, Any]) -> list[Point]:
    """The cells of a curve, in the order of the file."""
    rows = [r for r in result.rows if r["curve"] == curve["name"]]
    order = list(dict.fromkeys(r["x"] for r in rows))
    made = []
    for k, x in enumerate(order):
        here = [r for r in rows if r["x"] == x]
        seconds = float(np.median(list({r["subject"]: r["calibration_s"] for r in here}.values())))
        values = {}
        for method, grade in statistics.methods_in(here):
            for metric in (*COMPARED, "angle_r2", "force_nrmse"):
                q = statistics.quartiles(statistics.per_subject(here, metric, method, grade).values())
                if q is not None:
                    values[metric, method, grade] = q
        by_seconds = "data.calibration_fraction" in curve["keys"]
        place = seconds if by_seconds else _number(x, k)
        people = statistics.per_subject(here, "angle_rmse_deg", *result.ours)
        made.append(Point(x, place, amount(curve, x, seconds), values, people))
    return made


def _number(x: str, otherwise: int) -> float:
    try:
        return float(x)
    except ValueError:
        return float(otherwise)


def amount(curve: Mapping[str, Any], x: str, seconds: float) -> str:
    """What a point of a curve is called: seconds, and repetitions, where it is an amount of calibration."""
    if "data.calibration_repetitions" in curve["keys"]:
        return f"{x} repetition{'s' * (x != '1')}, {seconds:.0f} s"
    return f"{seconds:.0f} s" if "data.calibration_fraction" in curve["keys"] else x


def _curve(result: StudyResult, curve: dict[str, Any]) -> dict[str, Any]:
    along = points(result, curve)
    rows = [r for r in result.rows if r["curve"] == curve["name"]]
    metrics = [m for m in COMPARED if any(m == key[0] for p in along for key in p.values)]
    methods = list(dict.fromkeys((a, g) for p in along for _, a, g in p.values))
    calibration = "data.calibration_fraction" in curve["keys"]
    unit = "calibration, all trials together [s]" if calibration else curve["unit"] or curve["keys"][0]
    named = any(not _is_number(p.x) for p in along)
    figures = [study_figures.curve(along, m, methods, unit, named=named, ours=result.ours) for m in metrics]
    marks: dict[str, set[tuple[str, int]]] = {}
    for r in rows:
        marks.setdefault(r["subject"], set()).add((r["test_mark"], r["test_rows"]))
    counts = {x: {r["subject"] for r in rows if r["x"] == x} for x in dict.fromkeys(r["x"] for r in rows)}
    return {
        "title": curve["title"] or curve["name"],
        "unit": unit,
        "keys": curve["keys"],
        "points": along,
        "metrics": metrics,
        "methods": methods,
        "figures": [f for f in figures if f],
        "people": len({r["subject"] for r in rows}),
        "seeds": len({r["seed"] for r in rows}),
        "moved": sorted(s for s, m in marks.items() if len(m) > 1),
        "uneven": len({frozenset(c) for c in counts.values()}) > 1,
    }


def _is_number(x: str) -> bool:
    try:
        float(x)
    except ValueError:
        return False
    return True


def _same(rows: list[Row], others: list[Row], method: str, grade: str) -> bool:
    metric = COMPARED[0]
    return statistics.per_subject(rows, metric, method, grade) == statistics.per_subject(others, metric, method, grade)


def ablations(result: StudyResult, cohort: str) -> list[Ablation]:
    """Cells of a folder, against the same method of the main cell where they differ from it, else against the method.

    What equals the main cell's own answer (a member of the family that is a method, under unchanged settings) is
    compared with the method too, or, where the main cell has not the method, with the personalised head; what equals
    even that is left out.
    """
    main = result.of(cell=cohort)
    made = []
    names = dict.fromkeys(r["cell"] for r in result.rows if r["role"] == "ablation" and r["cohort"] == cohort)
    for name in names:
        rows = result.of(cell=name)
        seeds = {r["seed"] for r in rows}
        paired = [r for r in main if r["seed"] in seeds]  # the same random numbers on both sides
        have = statistics.methods_in(paired)
        reference = result.ours if result.ours in have else ("head_physics", result.ours[1])
        for method, grade in statistics.methods_in(rows):
            other = (method, grade) if (method, grade) in have else reference
            if _same(rows, paired, method, grade):
                if (method, grade) == reference:
                    continue
                other = reference
            values = {
                m: statistics.quartiles(statistics.per_subject(rows, m, method, grade).values())
                for m in (*COMPARED, "angle_r2")
            }
            differences = {m: statistics.paired(rows, m, (method, grade), other, paired) for m in COMPARED}
            made.append(Ablation(name, method, grade, values, other[0], differences))
    for metric in COMPARED:  # one family for each error
        compared = [a.differences[metric] for a in made]
        stepped = iter(statistics.corrected([c for c in compared if c is not None]))
        for a in made:
            if a.differences[metric] is not None:
                a.differences[metric] = next(stepped)
    return made
