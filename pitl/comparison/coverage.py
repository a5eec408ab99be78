"""Intervals around a run's answers, and how often they hold on people that no model has seen.

The same method is run a second time with the end of everybody's calibration part kept out: its error there is what a
person's own data say about the size of their errors. See `pitl.comparison.conformal` for what is promised.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.comparison import conformal, deviation, results
from pitl.comparison.conformal import LEVEL, PersonErrors
from pitl.comparison.methods import run_method
from pitl.comparison.task import Task
from pitl.files import atomic_savez, safe_name
from pitl.learn.predict import Estimate
from pitl.learn.split import Split
from pitl.learn.units import HALF_OF_NORMAL

FILE = "uncertainty.json"
FOLDER = "intervals"  # half the width of every interval, a file for each person
# Methods that get intervals where a run has them.
WITH_INTERVALS = ("deviation", "head_physics", "ensemble")
# Methods whose own posterior gives intervals of the angle.
POSTERIOR = tuple(deviation.WITHOUT)
# Last part of each trial's labelled calibration rows that is kept out of the second personalisation.
_KEPT_OUT = 0.25


class MethodIntervals(NamedTuple):
    """Intervals of one method with one grade of supervision."""

    outputs: list[dict[str, Any]]  # how often they hold, as the report reads it
    half: dict[str, list[np.ndarray]]  # by kind (angle [rad], force [N]), of each person: (W, outputs)


class PosteriorCoverage(NamedTuple):
    """How often the intervals of one person's angle hold, and how wide they are."""

    coverage: float
    width_deg: float


def of_posterior(task: Task, predicted: tuple[Estimate, ...]) -> list[PosteriorCoverage]:
    """How often everybody's own 90 % intervals of a method of `POSTERIOR` hold, on average over coordinates."""
    angle, result = np.asarray(task.prepared.samples.angle), []
    for estimate, rows in zip(predicted, task.split.test, strict=True):
        assert estimate.angle_spread is not None
        half = HALF_OF_NORMAL * estimate.angle_spread  # rad
        inside = np.abs(estimate.angle - angle[rows]) <= half
        result.append(PosteriorCoverage(float(inside.mean()), float(np.degrees(2 * half.mean()))))
    return result


def kept_out(task: Task) -> Task:
    """The same work, with the end of each trial's labelled rows for the test part.

    Calibration rows stay in place, so that nothing is compiled again; from one window before the kept-out rows to the
    end of the trial they have no label and no residual.
    """
    prepared, split = task.prepared, task.split
    people, window, taps = split.people, prepared.net.window, len(prepared.taps.average)
    labelled, segment = np.array(people.labelled), np.array(people.segment)
    tests = []
    for p, (rows, usable) in enumerate(zip(split.calibration, split.labelled, strict=True)):
        out, closed = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        for t in prepared.table.trials:
            mine = np.flatnonzero((rows >= t.start) & (rows < t.stop) & usable)
            if not len(mine):
                continue
            first = rows[mine[int((1 - _KEPT_OUT) * len(mine))]]
            out |= (rows >= first) & (rows < t.stop) & usable
            closed |= (rows > first - window) & (rows < t.stop)
        labelled[p, : len(rows)] *= ~closed
        touched = np.convolve(closed, np.ones(taps), "valid") > 0
        segment[p, : len(touched)] *= ~touched
        tests.append(rows[out])
    changed = people._replace(labelled=jnp.asarray(labelled), segment=jnp.asarray(segment))
    return task.but(split=Split(split.calibration, tuple(tests), changed))


def people_of(
    task: Task, predicted: tuple[Estimate, ...], before: Task | None, earlier: tuple[Estimate, ...] | None
) -> Any:
    """Everybody's answers with the truth, by output.

    Args:
        task: whose test part the answers are on.
        predicted: the estimates of a method.
        before: from `kept_out`, or None.
        earlier: the method's answers on its test part.

    Returns:
        `{(kind, index): [PersonErrors, ...]}` with kind `angle` or `force`; forces only where there are labels.
    """
    samples, prepared = task.prepared.samples, task.prepared
    posture, result = np.asarray(samples.posture), {}
    for kind, truth in (("angle", np.asarray(samples.angle)), ("force", np.asarray(samples.force))):
        if kind == "force" and (prepared.force_source == "none" or any(s.force is None for s in predicted)):
            continue
        for k in range(truth.shape[1]):
            everyone = []
            for p, rows in enumerate(task.split.test):
                spread = getattr(predicted[p], f"{kind}_spread")
                size = None
                # without force labels nobody could know this error
                if before is not None and earlier is not None and (kind == "angle" or _forces_known(task)):
                    at = before.split.test[p]
                    size = float(np.mean(np.abs(getattr(earlier[p], kind)[:, k] - truth[at, k])))
                answers = np.asarray(getattr(predicted[p], kind)[:, k], float)
                spread = None if spread is None else np.asarray(spread[:, k], float)
                everyone.append(PersonErrors(answers, truth[rows, k].astype(float), posture[rows], size, spread))
            result[kind, k] = everyone
    return result


def _of_posterior(person: PersonErrors) -> conformal.Interval:
    """The interval that a posterior gives by itself, without looking at anybody's errors."""
    assert person.spread is not None
    return conformal.Interval(HALF_OF_NORMAL * person.spread, conformal.Trust(0.0, 0.0, 1.0), LEVEL)


def _forces_known(task: Task) -> bool:
    return task.supervision == "angle_force"


def method_coverage(
    task: Task,
    method: str,
    predicted: tuple[Estimate, ...],
    before: Task | None = None,
    earlier: tuple[Estimate, ...] | None = None,
) -> MethodIntervals:
    """Intervals of one method for every output and person.

    Args:
        task: as it was given to the method.
        method: name.
        predicted: what it estimated.
        before: from `kept_out`, or None.
        earlier: what the method estimated on that.
    """
    prepared = task.prepared
    names = [s.name for s in prepared.cohort.subjects]
    sources = [task.sources(p) for p in range(len(names))]
    dt, task_of = 1 / prepared.net.rate_hz, np.empty(len(prepared.table.subject), object)
    for t in prepared.table.trials:
        task_of[t.start : t.stop] = t.task
    postures = prepared.limbs.postures
    result: list[dict[str, Any]] = []
    half: dict[str, list[list[np.ndarray]]] = {}
    for (kind, k), everyone in people_of(task, predicted, before, earlier).items():
        if method in POSTERIOR:
            if kind != "angle":
                continue
            made = [_of_posterior(p) for p in everyone]
        else:
            made = conformal.intervals(everyone, sources)
        half.setdefault(kind, []).append([i.half for i in made])
        unit, factor = ("deg", float(np.degrees(1.0))) if kind == "angle" else ("N", 1.0)
        output = (prepared.limbs.dofs if kind == "angle" else prepared.limbs.muscles)[k]
        of_people = {}
        for name, person, interval, rows in zip(names, everyone, made, task.split.test, strict=True):
            how = conformal.covered(person, interval, task_of[rows], postures, dt)
            of_people[name] = {
                "coverage": how.coverage,
                "width": how.width * factor,
                "missed_s": how.missed_s,
                "longest_missed_s": how.longest_s,
                "parts": how.parts,
                "trust": interval.trust._asdict(),
                "rows": len(rows),
            }
        result.append(
            {
                "method": method,
                "supervision": task.supervision,
                "kind": kind,
                "output": output,
                "unit": unit,
                "level": LEVEL,
                "adapted": earlier is not None,
                "people": of_people,
                **summary(of_people),
            }
        )
    return MethodIntervals(result, {k: [np.stack(x, axis=1) for x in zip(*v, strict=True)] for k, v in half.items()})


def summary(people: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Coverage over people: its mean and median, of all rows together, and the mean width."""
    coverage = np.array([p["coverage"] for p in people.values()])
    rows = np.array([p["rows"] for p in people.values()])
    return {
        "mean": float(coverage.mean()),
        "median": float(np.median(coverage)),
        "pooled": float(np.sum(coverage * rows) / rows.sum()),
        "width": float(np.median([p["width"] for p in people.values()])),
    }


def everyone(out: Path, task: Task) -> dict[str, Any] | None:
    """Intervals of the first seed's methods of a run, as far as `WITH_INTERVALS` names them; None if there are none.

    Half the width at every row of the test part is left in OUT/intervals, for the report's curves; what the methods
    predict with the end of the calibration kept out in OUT/kept_out, so that a killed run need not make it again.
    """
    config, names = task.config, [s.name for s in task.prepared.cohort.subjects]
    everything: list[dict[str, Any]] = []
    half: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for method in WITH_INTERVALS:
        for supervision in config.evaluate.supervision:
            stored = results.read_result(results.path_of(out, 0, method, supervision), task.split.test)
            if stored is None:
                continue
            work = task.but(supervision=supervision)
            before = earlier = None
            alone = jax.process_count() == 1  # others do not come here
            if supervision != "none" and method not in POSTERIOR and alone:
                before, path = kept_out(work), out / "kept_out" / f"{method}-{supervision}.npz"
                kept = results.read_result(path, before.split.test)
                if kept is None:
                    results.keep(path, (method, supervision, 0), run_method(method, before), 0.0)
                    kept = results.read_result(path, before.split.test)
                earlier = None if kept is None else kept.estimates
            made = method_coverage(work, method, stored.estimates, before, earlier)
            everything += made.outputs
            for kind, unit, factor in (("angle", "angle_deg", float(np.degrees(1.0))), ("force", "force_n", 1.0)):
                for name, of_person in zip(names, made.half.get(kind, []), strict=False):
                    half[name][f"half/{unit}/{method}/{supervision}"] = (factor * of_person).astype(np.float32)
    for name, arrays in half.items():
        if arrays:
            atomic_savez(out / FOLDER / f"{safe_name(name)}.npz", arrays)
    return {"level": LEVEL, "outputs": everything} if everything else None
