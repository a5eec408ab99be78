"""What a run found, in sentences: the effect, the worst person and why, the best method, and what to record next."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pitl.comparison import statistics
from pitl.comparison.statistics import Comparison, Primary
from pitl.config.methods import METHODS
from pitl.report import words
from pitl.report.lost import LostCosts

Row = Mapping[str, Any]
Identified = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by person and parameter
_OUTCOMES = (("Joint angle", "angle_rmse_deg", "°"), ("Muscle forces", "force_rmse_n", " N"))
_HELD = 0.86  # parts of the recordings in which 90 % intervals hold less often are named
# of the EMG-driven model, which contractions against a known load would determine
_PARAMETERS = {"strength": "muscle strengths", "fibre": "optimal fibre lengths", "slack": "tendon slack lengths"}


def effect(rows: Sequence[Row], primary: Primary) -> list[str]:
    """The primary comparison in a sentence for the angle, and one for the forces where both methods give them."""
    result = []
    for name, metric, unit in _OUTCOMES:
        c = statistics.paired(rows, metric, primary.first, primary.second)
        if c is None:
            continue
        people = [statistics.per_subject(rows, metric, *pair) for pair in (primary.first, primary.second)]
        both = set(people[0]) & set(people[1])
        after, before = (words.number(float(np.median([p[n] for n in both]))) + unit for p in people)
        sentence = f"{name}: {before} to {after}, better in {c.better} of {c.count}"
        if c.low is not None and c.high is not None:
            sentence += f"; 95 % interval of the difference {words.number(c.low)}{unit} to {words.number(c.high)}{unit}"
        result.append(sentence + ".")
    return result


def significance(c: Comparison | None) -> str:
    """What the test of the primary comparison says, by itself."""
    if c is None:
        return ""
    if c.p is None:
        return "Both methods answer alike, so there is nothing to test."
    if not c.attainable:
        return f"With {_people(c.count)} no signed-rank test can reach p < 0.05; look at the differences themselves."
    p = words.probability(c.p)
    return f"Two-sided Wilcoxon signed-rank test: p {p if p.startswith('<') else f'= {p}'}."


def worst(
    rows: Sequence[Row],
    primary: Primary,
    traces: Mapping[str, Mapping[str, np.ndarray]],
    outputs: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> list[str]:
    """Who has the largest angle error, and what can be said about why.

    Args:
        rows: errors.
        primary: whose method is looked at.
        traces: curves of the worst person, by name (others are not read).
        outputs: coverage of intervals (see `pitl.comparison.coverage`).
        notes: remarks made while reading the recordings.
    """
    errors = statistics.per_subject(rows, "angle_rmse_deg", *primary.first)
    if len(errors) < 2:
        return []
    name = max(sorted(errors), key=lambda n: errors[n])
    middle = float(np.median(list(errors.values())))
    result = [f"{name} has the largest angle error, {words.number(errors[name])}° (median {words.number(middle)}°)."]
    if name in traces:
        result.append(_kind_of_error(traces[name], "/".join(primary.first)))
    of_task = {task: e[name] for task, e in _by_task(rows, primary).items() if name in e}
    if len(of_task) > 1:
        most, least = max(of_task, key=lambda t: of_task[t]), min(of_task, key=lambda t: of_task[t])
        error = [words.number(of_task[t]) for t in (most, least)]
        result.append(f"It is largest in the task {most} ({error[0]}°) and smallest in {least} ({error[1]}°).")
    before = statistics.per_subject(rows, "angle_rmse_deg", *primary.second)
    if name in before and len(before) > 1:
        place = 1 + sum(v > before[name] for v in before.values())
        rank = "the largest" if place == 1 else f"number {place} of {len(before)} from the largest"
        error = words.number(before[name])
        result.append(f"Before ({words.method(primary.against)}) it was {error}°, {rank}.")
    held = [
        o["people"][name]["coverage"]
        for o in outputs
        if (o["method"], o["supervision"], o["kind"]) == (*primary.first, "angle") and name in o["people"]
    ]
    if held:
        result.append(f"The intervals held in {100 * float(np.mean(held)):.0f} % of this person's test part.")
    result += [f"Remark on the recordings: {n}." for n in notes if n.startswith(f"{name}/")][:2]
    return [r for r in result if r]


def _by_task(rows: Sequence[Row], primary: Primary) -> dict[str, dict[str, float]]:
    """Angle errors of the method in each task, by person."""
    result = {}
    for task in sorted({r["task"] for r in rows} - {"all"}):
        here = [{**r, "task": "all"} for r in rows if r["task"] == task]
        result[task] = statistics.per_subject(here, "angle_rmse_deg", *primary.first)
    return result


def _kind_of_error(trace: Mapping[str, np.ndarray], model: str) -> str:
    """Offset, scale or course: which part of the mean squared error is largest (the three add up to it)."""
    predicted, true = trace.get(f"angle_deg/{model}"), trace["angle_deg"]
    if predicted is None:
        return ""
    offset = np.mean(predicted - true, axis=0)
    p, t = predicted - predicted.mean(axis=0), true - true.mean(axis=0)
    gain = np.sum(p * t, axis=0) / np.maximum(np.sum(t**2, axis=0), 1e-9)
    parts = np.array([np.sum(offset**2), np.sum(np.mean(((gain - 1) * t) ** 2, axis=0))])
    parts = np.append(parts, np.sum(np.mean((p - gain * t) ** 2, axis=0)))  # deg2
    share, k = parts / max(parts.sum(), 1e-9), int(np.argmax(parts))
    d = int(np.argmax(np.abs((offset, gain - 1, np.ones_like(gain))[k])))
    what = (
        f"a constant offset of {words.number(float(offset[d]))}°",
        f"a wrong range of motion: the prediction covers {100 * gain[d]:.0f} % of the measured excursion",
        "neither offset nor range: the course of the motion itself differs",
    )[k]
    return f"Most of the squared error ({100 * share[k]:.0f} %) is {what}."


def best(rows: Sequence[Row], primary: Primary) -> str:
    """The method with the lowest median angle error for the same labels, and what it cannot do."""
    grade, ours = primary.supervision, primary.method
    medians = {}
    for method, s in statistics.methods_in(rows):
        q = statistics.quartiles(statistics.per_subject(rows, "angle_rmse_deg", method, s).values())
        if q is not None and s in (grade, "none") and (s == grade or METHODS.get(method, _UNKNOWN).grades == ("none",)):
            medians[method] = q.median
    first = min(medians, key=lambda m: medians[m])
    if first == ours:
        return f"{words.method(ours).capitalize()} has the lowest median angle error of {len(medians)} methods."
    sentence = (
        f"{words.method(first).capitalize()} has the lowest median angle error with the same labels, "
        f"{words.number(medians[first])}° against {words.number(medians[ours])}°."
    )
    missing = _cannot(rows, first, ours)
    return f"{sentence} {missing}" if missing else sentence


def _cannot(rows: Sequence[Row], method: str, ours: str) -> str:
    """What a method cannot do that the method of the primary comparison can."""
    about, other = METHODS.get(method, _UNKNOWN), METHODS.get(ours, _UNKNOWN)

    def forces(name: str, grade: str) -> bool:
        return bool(statistics.per_subject(rows, "force_rmse_n", name, grade))

    lacks = []
    for grade, when in (("angle_force", ""), ("angle", " without force labels")):
        if forces(ours, grade) and not forces(method, grade) and (method, grade) in statistics.methods_in(rows):
            lacks.append(f"gives no muscle forces{when}")
            break
    if about.measured_motion:
        lacks.append("needs the measured motion of the test part")
    if "none" in other.grades and "none" not in about.grades:
        lacks.append("cannot be used without labelled data of the person")
    return f"It {' and '.join(lacks)}." if lacks else ""


_UNKNOWN = METHODS["head_data"]._replace(title="")


def advice(
    rows: Sequence[Row],
    primary: Primary,
    outputs: Sequence[Mapping[str, Any]],
    lost: LostCosts | None,
    identified: Identified,
) -> list[str]:
    """What to record next, as far as this run shows it.

    Args:
        rows: errors.
        primary: whose method is looked at.
        outputs: coverage of intervals.
        lost: what the loss of channels costs.
        identified: of the EMG-driven model, by person and parameter.
    """
    result = []
    overall = statistics.quartiles(statistics.per_subject(rows, "angle_rmse_deg", *primary.first).values())
    for task, errors in _by_task(rows, primary).items():
        q = statistics.quartiles(errors.values())
        if q is not None and overall is not None and q.median > 1.2 * overall.median:
            result.append(
                f"More calibration in the task {task}: the median angle error there is {words.number(q.median)}°, "
                f"over all tasks {words.number(overall.median)}°."
            )
    parts: dict[str, list[float]] = {}
    for o in outputs:
        if (o["method"], o["supervision"], o["kind"]) == (*primary.first, "angle"):
            for person in o["people"].values():
                for part, held in person["parts"].items():
                    parts.setdefault(part, []).append(held)
    weak = sorted((float(np.mean(v)), part) for part, v in parts.items())
    weak = [f"{part} ({100 * held:.0f} %)" for held, part in weak[:3] if held < _HELD]
    if weak:
        result.append(f"More calibration where the 90 % intervals of the angle hold least: {', '.join(weak)}.")
    if lost is not None and len(lost.lines) > 1:
        added = lost.lines[1].added["angle_rmse_deg"]
        if added is not None and added.median > 0:
            result.append(
                f"Secure the electrode of {lost.lines[1].channel} first: without this channel the median angle error "
                f"grows by {words.number(added.median)}°."
            )
    open_ = _undetermined(identified)
    if open_:
        result.append(
            f"Isometric contractions against a known load: the recordings leave {', '.join(open_)} of the EMG-driven "
            "model at their prior values."
        )
    return result


def _undetermined(identified: Identified) -> list[str]:
    """Kinds of parameters that the data determine in fewer than a quarter of the cases."""
    cases: dict[str, list[bool]] = {}
    for person in identified.values():
        for name, parameter in person.items():
            cases.setdefault(name.split(" ")[0], []).append(bool(parameter["by_data"]))
    return [text for kind, text in _PARAMETERS.items() if kind in cases and np.mean(cases[kind]) < 0.25]


def _people(count: int) -> str:
    return "one person" if count == 1 else f"{count} people"
