"""Regressions on lagged envelopes, from the calibration part alone: no network, no source people, no physics."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import lagged, linear, support_vector


def ridge(task: Task) -> ArmResult:
    """Ridge regression."""
    return _regressed(task, linear.fit, linear.predict)


def svr(task: Task) -> ArmResult:
    """Support-vector regression."""
    return _regressed(task, support_vector.fit, support_vector.predict)


def inputs(task: Task) -> lagged.Inputs:
    """Everybody's envelopes as the regressions take them."""
    prepared = task.prepared
    trial = np.zeros(len(prepared.table.subject), int)
    for k, t in enumerate(prepared.table.trials):
        trial[t.start : t.stop] = k
    envelope, posture = np.asarray(prepared.samples.jets[:, 0], float), np.asarray(prepared.samples.posture)
    return lagged.Inputs(envelope, posture, prepared.net.postures, prepared.net.window, trial)


def _regressed(task: Task, fit: Callable[..., Any], predict: Callable[..., np.ndarray]) -> ArmResult:
    seen, split = inputs(task), task.split
    angle, force = (np.asarray(x, float) for x in (task.prepared.samples.angle, task.prepared.samples.force))
    found = []
    for calibration, labelled, test in zip(split.calibration, split.labelled, split.test, strict=True):
        rows = calibration[labelled]
        wanted = [angle, force] if task.supervision == "angle_force" else [angle]
        said = [predict(fit(seen, rows, y[rows]), seen, test) for y in wanted]
        found.append(Said(said[0], np.maximum(said[1], 0.0) if len(said) > 1 else None))
    return ArmResult(tuple(found))
