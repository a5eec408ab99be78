"""What a study's page says: what was done, what came out against what, along which curve, and what failed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl import statistics
from pitl.errors import PitlError
from pitl.report import everyone, study_figures, tables, words
from pitl.statistics import Comparison, Quartiles
from pitl.study import table, targets
from pitl.study.table import Row

COMPARED = ("angle_rmse_deg", "force_rmse_n", "torque_rmse_nm")


class Found(NamedTuple):
    """A study, read."""

    about: dict[str, Any]
    rows: list[Row]

    @property
    def ours(self) -> tuple[str, str]:
        """The arm that is judged, and its grade of supervision."""
        return self.about["method"], self.about["grade"]

    @property
    def cohorts(self) -> dict[str, dict[str, Any]]:
        """Main cells that have rows, by name."""
        have = {r["cell"] for r in self.rows}
        return {c["name"]: c for c in self.about["cells"] if c["role"] == "main" and c["name"] in have}

    def of(self, **where: Any) -> list[Row]:
        """Rows that have these values."""
        return [r for r in self.rows if all(r[k] == v for k, v in where.items())]

    @property
    def targets(self) -> list[targets.Target]:
        """What was to be reached, judged."""
        judged = [name for name in self.cohorts if name in self.about["judged"]]
        kinds = {name: self.cohorts[name]["config"]["data"]["kind"] for name in judged}
        return targets.judged(self.rows, kinds, self.about["curves"], *self.ours)


class Point(NamedTuple):
    """One cell of a curve."""

    x: str
    place: float  # on the axis
    words: str
    values: dict[tuple[str, str, str], Quartiles]  # by metric, arm, grade
    people: dict[str, float]  # the method's angle error of each person


class Ablation(NamedTuple):
    """One cell that differs from the main one, arm by arm."""

    cell: str
    arm: str
    supervision: str
    values: dict[str, Quartiles | None]
    against: str  # arm of the main cell
    differences: dict[str, Comparison | None]


def read(out: Path) -> Found:
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
    except (ValueError, KeyError, TypeError) as e:
        raise PitlError(f"{path} is damaged ({e}); run `pitl study` again.") from e
    return Found(about, table.read(out / table.FILE))


def context(out: Path) -> dict[str, Any]:
    """What the page's template asks for."""
    found = read(out)
    judged = found.targets
    decided = [t for t in judged if t.reached is not None]
    return {
        "about": found.about,
        "words": words,
        "tables": tables,
        "targets": judged,
        "reached": sum(bool(t.reached) for t in decided),
        "decided": len(decided),
        "method": words.arm(found.ours[0]),
        "grade": words.labels(found.ours[1]),
        "cohorts": [_cohort(found, name, cell) for name, cell in found.cohorts.items()],
        "codes": sorted({r["code"] for r in found.rows}),
        "devices": sorted({r["device"] for r in found.rows}),
    }


def _cohort(found: Found, name: str, cell: dict[str, Any]) -> dict[str, Any]:
    rows = found.of(cell=name)
    lines = tables.lines(rows)
    metrics = [m for m in words.SUMMARY if any(f.values[m] is not None for f in lines)]
    method, grade = found.ours
    data = cell["config"]["data"]
    pairs = [(f.arm, f.supervision) for f in lines if f.supervision in (grade, "none")]
    shown = [everyone.strips(rows, pairs, m) for m in COMPARED]
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
        "families": families(rows, method),
        "figures": [f for f in shown if f],
        "curves": [_curve(found, c) for c in found.about["curves"] if c["cell"] == name and found.of(curve=c["name"])],
        "ablations": ablations(found, name),
        "seconds": sum({(r["arm"], r["supervision"], r["seed"], r["subject"]): r["seconds"] for r in rows}.values()),
    }


def families(rows: Sequence[Row], method: str) -> list[tables.Family]:
    """The method against every other arm, for every error that has a unit."""
    others = list(dict.fromkeys(a for a, _ in statistics.arms_in(rows)))
    found = [tables.Family(*words.METRICS[m], statistics.compare(rows, m, method, others)) for m in COMPARED]
    return [f for f in found if f.comparisons]


def points(found: Found, curve: dict[str, Any]) -> list[Point]:
    """The cells of a curve, in the order of the file."""
    rows = [r for r in found.rows if r["curve"] == curve["name"]]
    order = list(dict.fromkeys(r["x"] for r in rows))
    made = []
    for k, x in enumerate(order):
        here = [r for r in rows if r["x"] == x]
        seconds = float(np.median(list({r["subject"]: r["calibration_s"] for r in here}.values())))
        calibration = "data.calibration_fraction" in curve["keys"]
        values = {}
        for arm, grade in statistics.arms_in(here):
            for metric in (*COMPARED, "angle_r2", "force_nrmse"):
                q = statistics.quartiles(statistics.per_subject(here, metric, arm, grade).values())
                if q is not None:
                    values[metric, arm, grade] = q
        place = seconds if calibration else _number(x, k)
        people = statistics.per_subject(here, "angle_rmse_deg", *found.ours)
        made.append(Point(x, place, f"{words.number(seconds)} s" if calibration else x, values, people))
    return made


def _number(x: str, otherwise: int) -> float:
    try:
        return float(x)
    except ValueError:
        return float(otherwise)


def _curve(found: Found, curve: dict[str, Any]) -> dict[str, Any]:
    along = points(found, curve)
    rows = [r for r in found.rows if r["curve"] == curve["name"]]
    metrics = [m for m in COMPARED if any(m == key[0] for p in along for key in p.values)]
    arms = list(dict.fromkeys((a, g) for p in along for _, a, g in p.values))
    calibration = "data.calibration_fraction" in curve["keys"]
    unit = "calibration, all trials together [s]" if calibration else curve["unit"] or curve["keys"][0]
    named = any(not _is_number(p.x) for p in along)
    figures = [study_figures.curve(along, m, arms, unit, named=named, ours=found.ours) for m in metrics]
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
        "arms": arms,
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


def _same(rows: list[Row], others: list[Row], arm: str, grade: str) -> bool:
    metric = COMPARED[0]
    return statistics.per_subject(rows, metric, arm, grade) == statistics.per_subject(others, metric, arm, grade)


def ablations(found: Found, cohort: str) -> list[Ablation]:
    """Cells of a folder, against the same arm of the main cell where they differ from it, else against the method.

    What is the main cell's own answer (a member of the family that is an arm, under unchanged settings) is compared
    with the method too, or, where the main cell has not the method, with the personalised head.
    """
    main = found.of(cell=cohort)
    made = []
    names = dict.fromkeys(r["cell"] for r in found.rows if r["role"] == "ablation" and r["cohort"] == cohort)
    for name in names:
        rows = found.of(cell=name)
        seeds = {r["seed"] for r in rows}
        paired = [r for r in main if r["seed"] in seeds]  # the same random numbers on both sides
        have = statistics.arms_in(paired)
        reference = found.ours if found.ours in have else ("head_physics", found.ours[1])
        for arm, grade in statistics.arms_in(rows):
            other = (arm, grade) if (arm, grade) in have else reference
            if other != reference and _same(rows, paired, arm, grade):
                other = reference
            values = {
                m: statistics.quartiles(statistics.per_subject(rows, m, arm, grade).values())
                for m in (*COMPARED, "angle_r2")
            }
            differences = {m: statistics.paired(rows, m, (arm, grade), other, paired) for m in COMPARED}
            made.append(Ablation(name, arm, grade, values, other[0], differences))
    for metric in COMPARED:  # one family for each error
        compared = [a.differences[metric] for a in made]
        stepped = iter(statistics.corrected([c for c in compared if c is not None]))
        for a in made:
            if a.differences[metric] is not None:
                a.differences[metric] = next(stepped)
    return made
