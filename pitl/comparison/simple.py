"""Methods that need no network of the person's own: the generic model as it is, or recalibrated."""

import numpy as np

from pitl.comparison.baselines import recalibration
from pitl.comparison.task import MethodResult, Task
from pitl.learn.predict import Estimate, predict_rows


def generic_data(task: Task) -> MethodResult:
    """The generic model that was trained on data alone."""
    return MethodResult(predict_rows(task.generic.data, task.prepared.samples, task.split.test))


def generic_physics(task: Task) -> MethodResult:
    """The generic model that was trained under the equation of motion."""
    return MethodResult(predict_rows(task.generic.physics, task.prepared.samples, task.split.test))


def gain_offset(task: Task) -> MethodResult:
    """The generic model's outputs, stretched and shifted to the calibration part."""
    split, samples = task.split, task.prepared.samples
    on_calibration = predict_rows(task.generic.physics, samples, split.calibration)
    on_test = predict_rows(task.generic.physics, samples, split.test)
    angle, force = np.asarray(task.prepared.samples.angle), np.asarray(task.prepared.samples.force)
    result = []
    for r, labelled, generic, test in zip(split.calibration, split.labelled, on_calibration, on_test, strict=True):
        labels = force[r[labelled]] if task.supervision == "angle_force" else None
        assert generic.force is not None and test.force is not None
        fitted = recalibration.fit(angle[r[labelled]], generic.angle[labelled], labels, generic.force[labelled])
        result.append(Estimate(*recalibration.apply(fitted, test.angle, test.force)))
    return MethodResult(tuple(result))
