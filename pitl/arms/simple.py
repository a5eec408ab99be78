"""Arms that need no network of the person's own: the generic model as it is or recalibrated, and regressions."""

import numpy as np

from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import linear, recalibration


def generic_data(task: Task) -> ArmResult:
    """The generic model that was trained on data alone."""
    return ArmResult(predict(task.prepared, task.inherited.data, task.inherited.scale, task.split.test))


def generic_physics(task: Task) -> ArmResult:
    """The generic model that was trained under the law of motion."""
    return ArmResult(predict(task.prepared, task.inherited.physics, task.inherited.scale, task.split.test))


def gain_offset(task: Task) -> ArmResult:
    """The generic model's outputs, stretched and shifted to the calibration part."""
    split, own = task.split, (task.inherited.physics, task.inherited.scale)
    on_calibration = predict(task.prepared, *own, split.calibration)
    on_test = predict(task.prepared, *own, split.test)
    angle, force = np.asarray(task.prepared.samples.angle), np.asarray(task.prepared.samples.force)
    found = []
    for r, labelled, generic, test in zip(split.calibration, split.labelled, on_calibration, on_test, strict=True):
        labels = force[r[labelled]] if task.supervision == "angle_force" else None
        assert generic.force is not None and test.force is not None
        fitted = recalibration.fit(angle[r[labelled]], generic.angle[labelled], labels, generic.force[labelled])
        found.append(Said(*recalibration.apply(fitted, test.angle, test.force)))
    return ArmResult(tuple(found))


def ridge(task: Task) -> ArmResult:
    """Ridge regression on lagged envelopes, from the calibration part alone."""
    prepared, split, net = task.prepared, task.split, task.prepared.net
    envelope, posture = np.asarray(prepared.samples.jets[:, 0]), np.asarray(prepared.samples.posture)
    angle, force = np.asarray(prepared.samples.angle), np.asarray(prepared.samples.force)
    found = []
    for calibration, labelled, test in zip(split.calibration, split.labelled, split.test, strict=True):
        r = calibration[labelled]
        x = linear.lagged(envelope, r, net.window, posture, net.postures)
        fitted = linear.fit(x, angle[r], force[r] if task.supervision == "angle_force" else None)
        found.append(Said(*linear.predict(fitted, linear.lagged(envelope, test, net.window, posture, net.postures))))
    return ArmResult(tuple(found))
