"""Arms in which a Hill muscle stands behind every electrode."""

from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import emg_driven


def hill_calibrated(task: Task) -> ArmResult:
    """The classical EMG-driven model, calibrated on the person."""
    prepared, split, spread = task.prepared, task.split, task.inherited.spread
    with_forces = task.supervision == "angle_force"
    rows = list(split.calibration)
    fitted = emg_driven.calibrate(task.config, prepared, rows, split.labelled, spread, with_forces=with_forces)
    answers = emg_driven.answers(prepared, fitted, spread, split.test)
    return ArmResult(tuple(Said(*a) for a in answers), None, fitted)
