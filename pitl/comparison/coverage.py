"""Intervals around a run's answers, and how often they hold on people that no model has seen.

The same method is run a second time with the end of everybody's calibration part kept out: its error there is what a
person's own data say about the size of their errors. See `pitl.comparison.conformal` for what is promised.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl.comparison import conformal, results
from pitl.comparison.conformal import LEVEL, PersonErrors
from pitl.comparison.methods import run_method
from pitl.comparison.task import Task
from pitl.learn.predict import Estimate
from pitl.learn.split import Split

FILE = "uncertainty.json"
# Methods that get intervals where a run has them.
WITH_INTERVALS = ("head_physics", "ensemble")
# Last part of each trial's labelled calibration rows that is kept out of the second personalisation.
_KEPT_OUT = 0.25


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
        said: the answers of a method.
        before: from `kept_out`, or None.
        earlier: the method's answers on its test part.

    Returns:
        `{(kind, index): [Person, ...]}` with kind `angle` or `force`; forces only where there are labels.
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


def _forces_known(task: Task) -> bool:
    return task.supervision == "angle_force"


def method_coverage(
    task: Task,
    method: str,
    predicted: tuple[Estimate, ...],
    before: Task | None = None,
    earlier: tuple[Estimate, ...] | None = None,
) -> list[dict[str, Any]]:
    """Intervals of one method for every output and person, as the report reads them.

    Args:
        task: as it was given to the method.
        method: name.
        said: what it answered.
        before: from `kept_out`, or None.
        earlier: what the method answered to that.
    """
    prepared = task.prepared
    names = [s.name for s in prepared.cohort.subjects]
    sources = [task.sources(p) for p in range(len(names))]
    dt, task_of = 1 / prepared.net.rate_hz, np.empty(len(prepared.table.subject), object)
    for t in prepared.table.trials:
        task_of[t.start : t.stop] = t.task
    postures = prepared.limbs.postures
    result = []
    for (kind, k), everyone in people_of(task, predicted, before, earlier).items():
        made = conformal.intervals(everyone, sources)
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
    return result


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

    What the methods say with the end of the calibration kept out is left in OUT/kept_out, so that a killed run need not
    make it again.
    """
    config = task.config
    everything: list[dict[str, Any]] = []
    for method in WITH_INTERVALS:
        for supervision in config.evaluate.supervision:
            stored = results.read_result(results.path_of(out, 0, method, supervision), task.split.test)
            if stored is None:
                continue
            work = task.but(supervision=supervision)
            before = earlier = None
            if supervision != "none" and jax.process_count() == 1:  # others do not come here
                before, path = kept_out(work), out / "kept_out" / f"{method}-{supervision}.npz"
                kept = results.read_result(path, before.split.test)
                if kept is None:
                    results.keep(path, (method, supervision, 0), run_method(method, before), 0.0)
                    kept = results.read_result(path, before.split.test)
                earlier = None if kept is None else kept.estimates
            everything += method_coverage(work, method, stored.estimates, before, earlier)
    return {"level": LEVEL, "outputs": everything} if everything else None
