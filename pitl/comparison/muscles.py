"""Methods in which a Hill muscle stands behind every electrode, calibrated on the person; nobody else's data."""

from pitl.comparison.task import MethodResult, Task
from pitl.learn import emg_driven, hill
from pitl.learn.emg_driven import MuscleFit


def emg_driven_measured(task: Task) -> MethodResult:
    """The classical EMG-driven model. Its forces use the measured motion of the test part, as in the laboratory."""
    return _calibrated(task, tuple(hill.PRIOR))


def hope_mm_measured(task: Task) -> MethodResult:
    """The calibrated EMG-driven model with only strength, optimal fibre length and tendon slack length free.

    Han et al. 2024, IEEE Trans. Biomed. Eng., doi 10.1109/TBME.2024.3456235 (HOPE-MM). Of the paper we know these three
    parameters alone; the rest is a reconstruction: optimiser, bounds and priors are those of `pitl.learn.hill`, and EMG
    gains, shape, delay and passive joint stay as they came.
    """
    return _calibrated(task, ("strength", "fibre", "slack"))


def _calibrated(task: Task, free: tuple[str, ...]) -> MethodResult:
    prepared, split, spread = task.prepared, task.split, task.generic.physics.spread
    how = MuscleFit.of(task.config.hill, with_forces=task.supervision == "angle_force", free=free)
    fitted = emg_driven.calibrate(prepared, list(split.calibration), split.labelled, spread, how)
    return MethodResult(tuple(emg_driven.predict_test(prepared, fitted, spread, split.test)), None, fitted)
