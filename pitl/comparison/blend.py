"""Several personalised models together, weighted by what each said about the end of the calibration part.

No single way of personalising is best for everybody and at every amount of data: a recalibrated generic model needs
seconds, a head half a minute, and a regression on lagged envelopes errs elsewhere than networks do. Each member is
fitted once on the first part of the calibration and judged on its last part; those errors weigh the members that are
fitted on all of it. Nobody's test part is looked at.
"""

from typing import NamedTuple

import jax
import numpy as np

from pitl.comparison import heads, regression, simple
from pitl.comparison.task import MethodResult, Task
from pitl.learn.predict import Estimate
from pitl.learn.split import Split, stack_calibration

MEMBERS = {
    "gain_offset": simple.gain_offset,
    "head_physics": heads.head_physics,
    "full_finetune": heads.full_finetune,
    "svr": regression.svr,
}
METHOD = "head_physics"  # whose forces count where forces have no labels
_FITTED_ON = 0.65  # of each trial's calibration; the members are judged on the rest
_SHARPNESS = 1.0  # weights go with the mean square error to this negative power


class Halves(NamedTuple):
    """A calibration part split in two, for everybody; and whether there was enough of it."""

    rows: Split  # `test` is the last part of the calibration
    judged: tuple[bool, ...]


def blend(task: Task) -> MethodResult:
    """The members' weighted mean: angles, and forces where these have labels; else the method's own forces."""
    results = {name: task.run_once(name, run) for name, run in MEMBERS.items()}
    result = []
    for s, weight in enumerate(weights(task)):
        own = {name: a.estimates[s] for name, a in results.items()}
        angle = sum(w * own[name].angle for name, w in weight.items())
        force = own[METHOD].force
        if task.supervision == "angle_force":
            force = sum(w * np.asarray(own[name].force) for name, w in weight.items())
        result.append(Estimate(np.asarray(angle), None if force is None else np.asarray(force)))
    return MethodResult(tuple(result), results[METHOD].fitted)


def weights(task: Task) -> list[dict[str, float]]:
    """Everyone's weight of each member, summing to one; equal where the calibration is too short to judge."""
    halves = split(task)
    early = task.but(split=halves.rows, key=jax.random.fold_in(task.key, 1))
    answers = {name: run(early).estimates for name, run in MEMBERS.items()}
    angle = np.asarray(task.prepared.samples.angle)
    result = []
    for s, judged in enumerate(halves.judged):
        rows = halves.rows.test[s]
        error = np.array([np.mean((a[s].angle - angle[rows]) ** 2) for a in answers.values()])
        weight = error**-_SHARPNESS if judged else np.ones(len(error))
        result.append(dict(zip(answers, (weight / weight.sum()).tolist(), strict=True)))
    return result


def split(task: Task) -> Halves:
    """The labelled calibration rows of every trial, first part and last part, a window apart."""
    prepared = task.prepared
    window, shortest = prepared.net.window, 2 * len(prepared.taps.average)
    first, last, judged = [], [], []
    for s, (rows, labelled) in enumerate(zip(task.split.calibration, task.split.labelled, strict=True)):
        early, late = [], []
        for t in prepared.table.trials:
            mine = rows[labelled & (rows >= t.start) & (rows < t.stop)]
            if t.subject == s and len(mine):
                cut = mine[0] + int(_FITTED_ON * (mine[-1] + 1 - mine[0]))
                early.append(mine[mine < cut])
                late.append(mine[mine >= cut + window])
        kept = np.concatenate(early), np.concatenate(late)
        judged.append(min(map(len, kept)) >= shortest)
        # where there is too little, something must stand there for the compiled program; it is not used
        first.append(kept[0] if judged[-1] else rows)
        last.append(kept[1] if judged[-1] else rows)
    masks = [np.ones(len(r), bool) for r in first]
    padded = stack_calibration(
        prepared, tuple(first), masks, tuple(last), unlabelled=task.config.personalize.unlabelled
    )
    return Halves(Split(tuple(first), tuple(last), padded), tuple(judged))
