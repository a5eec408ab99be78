"""An EMG-driven model of which only the muscles' own mechanics are calibrated."""

from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import emg_driven

FREE = ("strength", "fibre", "slack")


def hope_mm(task: Task) -> ArmResult:
    """The calibrated EMG-driven model with only strength, optimal fibre length and tendon slack length free.

    Han et al. 2024, IEEE Trans. Biomed. Eng., doi 10.1109/TBME.2024.3456235 (HOPE-MM). Of the paper we know these three
    parameters alone; the rest is a reconstruction: optimiser, bounds and priors are those of
    `pitl.hill`, and EMG gains, shape, delay and passive joint stay as they came.
    """
    prepared, split, spread = task.prepared, task.split, task.inherited.spread
    fitted = emg_driven.calibrate(
        task.config,
        prepared,
        list(split.calibration),
        split.labelled,
        spread,
        with_forces=task.supervision == "angle_force",
        free=FREE,
    )
    answers = emg_driven.answers(prepared, fitted, spread, split.test)
    return ArmResult(tuple(Said(*a) for a in answers), None, fitted)
