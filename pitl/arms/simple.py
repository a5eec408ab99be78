"""Arms that need no network of the person's own: the generic model as it is, or recalibrated."""

import numpy as np

from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import recalibration


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
