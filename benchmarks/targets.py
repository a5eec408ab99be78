"""What the project set out to reach, and whether a study's table says that it did."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from pitl.comparison import statistics
from pitl.comparison.study.table import Row
from pitl.report import study

Pair = tuple[str, str]  # method, grade of supervision
GENERIC: Pair = ("generic_physics", "none")
_HEAD = "head_physics"  # whose intervals are judged where the method is a mean of several methods
_NO_COST_DEG = 0.1  # a median difference of angle errors up to here counts as none
_AS_GOOD_DEG = 0.5  # a person is no worse off where another choice is better by less
_RIVALS = ("gain_offset_shrunk", "svr", "scratch")  # that somebody could choose instead, beside the generic model
_DRAWS = 2000


class Target(NamedTuple):
    """One of them, with an interval of 95 %."""

    cohort: str
    statement: str
    goal: str
    value: float | None  # None: the study has nothing that could say
    low: float | None
    high: float | None
    unit: str
    people: int
    reached: bool | None
    note: str = ""


def judged(
    rows: Sequence[Row], cohorts: Mapping[str, str], curves: Sequence[Mapping[str, Any]], method: str, grade: str
) -> list[Target]:
    """All targets.

    Args:
        rows: the table of a study.
        cohorts: name of each main cell, and whether it is "virtual", "walking", or real people's legs in place.
        curves: as the study file has them.
        method: the personalised method that is judged.
        grade: which labels it uses.
    """
    result = []
    for cohort, kind in cohorts.items():
        main = [r for r in rows if r["cell"] == cohort]
        judge = {"virtual": _virtual, "walking": _walking}.get(kind, _real)
        result += judge(cohort, main, (method, grade))
        result += [_coverage(cohort, main, (method, grade), kind) for kind in ("angle", "force")]
        for curve in curves:
            if curve["cell"] == cohort and any(k.startswith("data.calibration") for k in curve["keys"]):
                here = [r for r in rows if r["curve"] == curve["name"]]
                result += _never_worse(cohort, here, (method, grade), curve)
    elsewhere = "not part of this study"
    result.append(
        _silent("", "Errors of 20 % in inertia and strength brought back", "to 7 % where identified", elsewhere)
    )
    return result


def _real(cohort: str, rows: Sequence[Row], ours: Pair) -> list[Target]:
    words = _words(ours)
    return [
        _median(cohort, "Generic model, angle RMSE", rows, "angle_rmse_deg", GENERIC, most=16.0, unit="°"),
        _median(cohort, "Generic model, angle R²", rows, "angle_r2", GENERIC, least=0.78),
        _median(cohort, f"Personalised ({words}), angle RMSE", rows, "angle_rmse_deg", ours, most=9.0, unit="°"),
        _median(cohort, f"Personalised ({words}), angle R²", rows, "angle_r2", ours, least=0.92),
        _median(cohort, f"Personalised ({words}), force RMSE / s.d.", rows, "force_nrmse", ours, most=0.33),
        _no_cost(cohort, rows, ours),
    ]


def _walking(cohort: str, rows: Sequence[Row], ours: Pair) -> list[Target]:
    """By the published protocol, which reports the mean over people."""
    statement, goal = f"Personalised ({_words(ours)}), angle RMSE, mean over people", "at most 8.5°"
    v = np.array(list(statistics.per_subject(rows, "angle_rmse_deg", *ours).values()))
    if not len(v):
        return [_silent(cohort, statement, goal, "no such method in this study")]
    drawn = np.random.default_rng(0).choice(v, (_DRAWS, len(v))).mean(axis=1)
    low, high = (float(x) for x in np.percentile(drawn, (2.5, 97.5)))
    return [Target(cohort, statement, goal, float(v.mean()), low, high, "°", len(v), bool(v.mean() <= 8.5))]


def _virtual(cohort: str, rows: Sequence[Row], ours: Pair) -> list[Target]:
    words = _words(ours)
    true = {r["forces"] for r in rows} == {"truth"}
    force = _ratios(rows, "force_rmse_n", ours) if true and ours[1] != "angle_force" else {}
    torque = _ratios(rows, "torque_rmse_nm", ours)
    better = [v < 1 for v in force.values()]
    worst = max(force.values(), default=None)
    who = [n for n, v in force.items() if v == worst]
    return [
        _of(cohort, f"True force RMSE over the generic model's ({words})", force, most=0.75),
        _share(cohort, f"People whose true force error fell ({words})", better, 0.90),
        Target(
            cohort,
            f"Worst person's true force RMSE over the generic model's ({words})",
            "at most 1.05",
            worst,
            None,
            None,
            "",
            len(force),
            None if worst is None else worst <= 1.05,
            ", ".join(who),
        ),
        _no_cost(cohort, rows, ours),
        _of(cohort, f"Torque RMSE over the generic model's ({words})", torque, most=0.70),
    ]


def _never_worse(cohort: str, rows: Sequence[Row], ours: Pair, curve: Mapping[str, Any]) -> list[Target]:
    """At every amount of calibration, against the best of the generic model and `_RIVALS`."""
    result = []
    for x in dict.fromkeys(r["x"] for r in rows):
        here = [r for r in rows if r["x"] == x]
        there = statistics.methods_in(here)
        others = [GENERIC, *(p for p in ((method, ours[1]) for method in _RIVALS) if p in there)]
        each = [statistics.per_subject(here, "angle_rmse_deg", *pair) for pair in (ours, *others)]
        names = sorted(set.intersection(*(set(e) for e in each)))
        seconds = float(np.median([r["calibration_s"] for r in here]))
        at = f"with {study.amount(curve, x, seconds)} of calibration ({_words(ours)})"
        if not names:
            result.append(_silent(cohort, f"Angle {at}", "never worse", "a method is missing"))
            continue
        values = np.array([[e[n] for n in names] for e in each])
        difference = lambda v: np.median(v[0]) - np.min(np.median(v[1:], axis=1))  # noqa: E731
        rng = np.random.default_rng(0)
        drawn = [difference(values[:, rng.integers(0, len(names), len(names))]) for _ in range(_DRAWS)]
        low, high = np.percentile(drawn, (2.5, 97.5))
        value = float(difference(values))
        statement = f"Median angle RMSE minus the lowest of generic, shrunk gain and offset, SVR, scratch {at}"
        result.append(
            Target(cohort, statement, "at most 0", value, float(low), float(high), "°", len(names), value <= 0)
        )
        good = values[0] <= values[1:].min(axis=0) + _AS_GOOD_DEG
        statement = f"People within {_AS_GOOD_DEG:g}° of their own best of these {at}"
        result.append(_share(cohort, statement, good.tolist(), 0.80))
    return result


def _median(
    cohort: str,
    statement: str,
    rows: Sequence[Row],
    metric: str,
    pair: Pair,
    *,
    most: float | None = None,
    least: float | None = None,
    unit: str = "",
) -> Target:
    values = statistics.per_subject(rows, metric, *pair)
    return _of(cohort, statement, values, most=most, least=least, unit=unit)


def _of(
    cohort: str,
    statement: str,
    values: Mapping[str, float],
    *,
    most: float | None = None,
    least: float | None = None,
    unit: str = "",
) -> Target:
    """The median over people."""
    goal = f"median at most {most:g}{unit}" if most is not None else f"median at least {least:g}{unit}"
    if not values:
        return _silent(cohort, statement, goal, "no such method, label or person in this study")
    v = np.array(list(values.values()))
    low, high = statistics.median_interval(v) if len(v) > 1 else (None, None)
    value = float(np.median(v))
    reached = value <= most if most is not None else value >= (least or 0.0)
    return Target(cohort, statement, goal, value, low, high, unit, len(v), reached)


def _no_cost(cohort: str, rows: Sequence[Row], ours: Pair) -> Target:
    statement = f"Angle RMSE minus that of the head without physics ({_words(ours)})"
    goal = f"median at most {_NO_COST_DEG:g}°"
    c = statistics.paired(rows, "angle_rmse_deg", ours, ("head_data", ours[1]))
    if c is None:
        return _silent(cohort, statement, goal, "no such method in this study")
    reached = c.difference <= _NO_COST_DEG
    return Target(cohort, statement, goal, c.difference, c.low, c.high, "°", c.count, reached)


def _coverage(cohort: str, rows: Sequence[Row], ours: Pair, kind: str) -> Target:
    """How often intervals of 90 % hold, as the mean over people."""
    statement = f"Intervals of 90 % around the {kind} on unseen people hold ({_words(ours)})"
    pair = ours if statistics.per_subject(rows, f"{kind}_coverage", *ours) else (_HEAD, ours[1])
    values = np.array(list(statistics.per_subject(rows, f"{kind}_coverage", *pair).values()))
    if not len(values):
        return _silent(cohort, statement, "88 to 92 %", "no intervals for this method in this study")
    rng = np.random.default_rng(0)
    drawn = 100 * values[rng.integers(0, len(values), (_DRAWS, len(values)))].mean(axis=1)
    low, high = (float(x) for x in np.percentile(drawn, (2.5, 97.5)))
    value = 100 * float(values.mean())
    return Target(cohort, statement, "88 to 92 %, mean", value, low, high, " %", len(values), 88 <= value <= 92)


def _share(cohort: str, statement: str, hits: Sequence[bool], least: float) -> Target:
    goal = f"at least {100 * least:.0f} %"
    if not len(hits):
        return _silent(cohort, statement, goal, "no such method, label or person in this study")
    count = int(np.sum(hits))
    interval = stats.binomtest(count, len(hits)).proportion_ci(method="wilson")
    value = 100.0 * count / len(hits)
    low, high = 100.0 * float(interval.low), 100.0 * float(interval.high)
    return Target(cohort, statement, goal, value, low, high, " %", len(hits), count >= least * len(hits))


def _ratios(rows: Sequence[Row], metric: str, ours: Pair) -> dict[str, float]:
    mine, generic = statistics.per_subject(rows, metric, *ours), statistics.per_subject(rows, metric, *GENERIC)
    return {n: mine[n] / generic[n] for n in sorted(set(mine) & set(generic)) if generic[n] > 0}


def _silent(cohort: str, statement: str, goal: str, why: str) -> Target:
    return Target(cohort, statement, goal, None, None, None, "", 0, None, why)


def _words(pair: Pair) -> str:
    return {"angle": "angle labels", "angle_force": "angle and force labels", "none": "no labels"}[pair[1]]
