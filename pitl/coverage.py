"""Intervals around a run's answers, and how often they hold on people that no model has seen.

The same arm is run a second time with the end of everybody's calibration part kept out: its error there is what a
person's own data say about the size of their errors. See `pitl.uncertainty` for what is promised.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl import arms, results, uncertainty
from pitl.arms import Inherited, Rows, Said, Task
from pitl.config import Config
from pitl.prepare import Prepared, folds
from pitl.uncertainty import LEVEL, Person

FILE = "uncertainty.json"
# Arms that get intervals where a run has them.
ARMS = ("head_physics", "ensemble")
# Last part of each trial's labelled calibration rows that is kept out of the second personalisation.
_KEPT_OUT = 0.25


def kept_out(task: Task) -> Task:
    """The same work, with the end of each trial's labelled rows for the test part.

    Calibration rows stay in place, so that nothing is compiled again; from one window before the kept-out rows to the
    end of the trial they have no label and no residual.
    """
    prepared, split = task.prepared, task.split
    people, window, taps = split.people, prepared.net.window, len(prepared.taps.average)
    labelled, stretch = np.array(people.labelled), np.array(people.stretch)
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
        stretch[p, : len(touched)] *= ~touched
        tests.append(rows[out])
    changed = people._replace(labelled=jnp.asarray(labelled), stretch=jnp.asarray(stretch))
    return task.but(split=Rows(split.calibration, tuple(tests), changed))


def people_of(task: Task, said: tuple[Said, ...], before: Task | None, earlier: tuple[Said, ...] | None) -> Any:
    """Everybody's answers with the truth, by output.

    Args:
        task: whose test part the answers are on.
        said: the answers of an arm.
        before: from `kept_out`, or None.
        earlier: the arm's answers on its test part.

    Returns:
        `{(kind, index): [Person, ...]}` with kind `angle` or `force`; forces only where there are labels.
    """
    samples, prepared = task.prepared.samples, task.prepared
    posture, found = np.asarray(samples.posture), {}
    for kind, truth in (("angle", np.asarray(samples.angle)), ("force", np.asarray(samples.force))):
        if kind == "force" and (prepared.force_source == "none" or any(s.force is None for s in said)):
            continue
        for k in range(truth.shape[1]):
            everyone = []
            for p, rows in enumerate(task.split.test):
                spread = getattr(said[p], f"{kind}_spread")
                size = None
                # without force labels nobody could know this error
                if before is not None and earlier is not None and (kind == "angle" or _forces_known(task)):
                    at = before.split.test[p]
                    size = float(np.mean(np.abs(getattr(earlier[p], kind)[:, k] - truth[at, k])))
                answers = np.asarray(getattr(said[p], kind)[:, k], float)
                spread = None if spread is None else np.asarray(spread[:, k], float)
                everyone.append(Person(answers, truth[rows, k].astype(float), posture[rows], size, spread))
            found[kind, k] = everyone
    return found


def _forces_known(task: Task) -> bool:
    return task.supervision == "angle_force"


def arm_coverage(
    task: Task, arm: str, said: tuple[Said, ...], before: Task | None = None, earlier: tuple[Said, ...] | None = None
) -> list[dict[str, Any]]:
    """Intervals of one arm for every output and person, as the report reads them.

    Args:
        task: as it was given to the arm.
        arm: name.
        said: what it answered.
        before: from `kept_out`, or None.
        earlier: what the arm answered to that.
    """
    prepared = task.prepared
    names = [s.name for s in prepared.cohort.subjects]
    sources = [task.sources(p) for p in range(len(names))]
    dt, task_of = 1 / prepared.net.rate_hz, np.empty(len(prepared.table.subject), object)
    for t in prepared.table.trials:
        task_of[t.start : t.stop] = t.task
    postures = prepared.models.postures
    found = []
    for (kind, k), everyone in people_of(task, said, before, earlier).items():
        made = uncertainty.intervals(everyone, sources)
        unit, factor = ("deg", float(np.degrees(1.0))) if kind == "angle" else ("N", 1.0)
        output = (prepared.models.dofs if kind == "angle" else prepared.models.muscles)[k]
        of_people = {}
        for name, person, interval, rows in zip(names, everyone, made, task.split.test, strict=True):
            how = uncertainty.covered(person, interval, task_of[rows], postures, dt)
            of_people[name] = {
                "coverage": how.coverage,
                "width": how.width * factor,
                "missed_s": how.missed_s,
                "longest_missed_s": how.longest_s,
                "parts": how.parts,
                "trust": interval.trust._asdict(),
                "rows": len(rows),
            }
        found.append(
            {
                "arm": arm,
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
    return found


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


def everyone(out: Path, config: Config, prepared: Prepared, split: Rows, inherited: Inherited) -> dict[str, Any] | None:
    """Intervals of the first seed's arms of a run, as far as `ARMS` names them; None if there are none.

    What the arms say with the end of the calibration kept out is left in OUT/kept_out, so that a killed run need not
    make it again.
    """
    sides, found = folds(config, len(prepared.cohort.subjects)), []
    for arm in ARMS:
        for path in sorted((out / "said" / "seed0").glob(f"{arm}-*.npz")):
            supervision: Any = path.stem.split("-")[1]
            task = Task(supervision, jax.random.key(0), config, prepared, split, inherited, sides)
            said = results.said(path, len(split.test))[0]
            before = earlier = None
            if supervision != "none" and jax.process_count() == 1:  # others do not come here
                before, kept = kept_out(task), out / "kept_out" / path.name
                if not kept.exists():
                    results.keep(kept, arms.run(arm, before), 0.0)
                earlier = results.said(kept, len(split.test))[0]
            found += arm_coverage(task, arm, said, before, earlier)
    return {"level": LEVEL, "outputs": found} if found else None
