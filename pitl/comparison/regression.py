"""Regressions on lagged envelopes, from the calibration part alone: no network, no source people, no physics."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pitl.comparison.baselines import lagged, linear, support_vector
from pitl.comparison.few_people import lagged_inputs
from pitl.comparison.task import MethodResult, Task
from pitl.learn.predict import Estimate


def ridge(task: Task) -> MethodResult:
    """Ridge regression."""
    return _regressed(task, linear.fit, linear.predict)


def svr(task: Task) -> MethodResult:
    """Support-vector regression."""
    return _regressed(task, support_vector.fit, support_vector.predict)


def inputs(task: Task) -> lagged.LaggedInputs:
    """Everybody's envelopes as the regressions take them."""
    return lagged_inputs(task.prepared)


def _regressed(task: Task, fit: Callable[..., Any], predict: Callable[..., np.ndarray]) -> MethodResult:
    seen, split = inputs(task), task.split
    angle, force = (np.asarray(x, float) for x in (task.prepared.samples.angle, task.prepared.samples.force))
    result = []
    for calibration, labelled, test in zip(split.calibration, split.labelled, split.test, strict=True):
        rows = calibration[labelled]
        wanted = [angle, force] if task.supervision == "angle_force" else [angle]
        predicted = [predict(fit(seen, rows, y[rows]), seen, test) for y in wanted]
        result.append(Estimate(predicted[0], np.maximum(predicted[1], 0.0) if len(predicted) > 1 else None))
    return MethodResult(tuple(result))
