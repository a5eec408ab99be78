"""The arms of the comparison, by name. A new arm is a function from `Task` to `ArmResult` and a line here."""

from collections.abc import Callable
from typing import NamedTuple

from pitl.arms import adaptation, adversarial, blend, ensemble, heads, hope_mm, muscles, own, penn, regression, simple
from pitl.arms.predict import mechanics, predict
from pitl.arms.task import ArmResult, Inherited, Rows, Said, Task, rows
from pitl.personalize import Supervision

__all__ = ["ARMS", "ArmResult", "Inherited", "Rows", "Said", "Task", "mechanics", "predict", "rows", "run"]

_NONE: tuple[Supervision, ...] = ("none",)
_LABELLED: tuple[Supervision, ...] = ("angle_force", "angle")
_ALL: tuple[Supervision, ...] = ("angle_force", "angle", "none")


class Arm(NamedTuple):
    """What it does, and in which grades of supervision; the generic models use no label of the person at all."""

    run: Callable[[Task], ArmResult]
    grades: tuple[Supervision, ...]
    needs_electrodes: bool = False  # channels that belong to muscles


ARMS: dict[str, Arm] = {
    "generic_data": Arm(simple.generic_data, _NONE),
    "generic_physics": Arm(simple.generic_physics, _NONE),
    "gain_offset": Arm(simple.gain_offset, _LABELLED),
    "head_data": Arm(heads.head_data, _LABELLED),
    "head_physics": Arm(heads.head_physics, _ALL),
    "head_muscle": Arm(heads.head_muscle, _ALL, needs_electrodes=True),
    "head_no_muscle": Arm(heads.head_no_muscle, _ALL),
    "head_muscle_unfitted": Arm(heads.head_muscle_unfitted, _ALL, needs_electrodes=True),
    "blend": Arm(blend.blend, _LABELLED),
    "full_finetune": Arm(heads.full_finetune, _LABELLED),
    "scratch": Arm(heads.scratch, _LABELLED),
    "ridge": Arm(regression.ridge, _LABELLED),
    "svr": Arm(regression.svr, _LABELLED),
    "pi_cnn": Arm(own.pi_cnn, _LABELLED),
    "distributed": Arm(own.distributed, _LABELLED),
    "hill_calibrated": Arm(muscles.hill_calibrated, _LABELLED, needs_electrodes=True),
    "hope_mm": Arm(hope_mm.hope_mm, _LABELLED, needs_electrodes=True),
    "ensemble": Arm(ensemble.ensemble, _LABELLED),
    "domain_adaptation": Arm(adaptation.domain_adaptation, _LABELLED),
    "low_shot": Arm(adversarial.low_shot, _LABELLED),
    "penn": Arm(penn.penn, _LABELLED, needs_electrodes=True),
}


def run(arm: str, task: Task) -> ArmResult:
    """Runs one arm for everybody, once for a task."""
    return task.answer(arm, ARMS[arm].run)
