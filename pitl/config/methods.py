"""The methods of the comparison: the one list, from which configuration, comparison and reports take them.

A new method is a function from `Task` to `MethodResult` in a module of `pitl.comparison`, and a line here.
"""

from typing import Literal, NamedTuple, get_args

# "angle_torque": angles, and the torque that a dynamometer measured in isometric efforts
Supervision = Literal["angle_force", "angle_torque", "angle", "none"]
GRADES: tuple[Supervision, ...] = get_args(Supervision)  # of supervision, most labels first

_NONE: tuple[Supervision, ...] = ("none",)
_LABELLED: tuple[Supervision, ...] = ("angle_force", "angle")


class Method(NamedTuple):
    """What a method is called, where its function is, and what it needs."""

    title: str
    module: str  # in pitl.comparison; the function is called like the method
    grades: tuple[Supervision, ...] = _LABELLED  # the generic models use no label of the person at all
    needs_electrodes: bool = False  # channels that belong to muscles
    measured_motion: bool = False  # reads the measured motion of the test part: its title says so in every table
    without_physics: bool = False  # starts from the generic model that was trained on data alone


_MOTION = "along the measured test motion"

METHODS: dict[str, Method] = {
    "generic_data": Method("generic, data only", "simple", _NONE, without_physics=True),
    "generic_physics": Method("generic, with physics", "simple", _NONE),
    "gain_offset": Method("gain and offset", "simple"),
    "deviation": Method("default personal model", "deviation"),
    "deviation_features": Method("default personal model, with linear features", "deviation"),
    "gain_offset_shrunk": Method("gain and offset, shrunk", "deviation"),
    "linear_features": Method("linear head with learned prior", "deviation"),
    "gp_generic_mean": Method("Gaussian process on the generic model", "deviation"),
    "gp_zero_mean": Method("Gaussian process without the generic model", "deviation"),
    "head_data": Method("personal head, data only", "heads", without_physics=True),
    "head_physics": Method("personal head, with physics", "heads", GRADES),
    "blend": Method("blend of personal models", "blend", without_physics=True),
    "full_finetune": Method("full fine-tuning", "heads", without_physics=True),
    "scratch": Method("from scratch", "heads"),
    "ridge": Method("ridge regression", "regression"),
    "svr": Method("support-vector regression", "regression"),
    "pi_cnn": Method("PI-CNN of one person", "siblings.own"),
    "distributed": Method("distributed PI networks", "siblings.own"),
    "emg_driven_measured": Method(f"calibrated EMG-driven model, {_MOTION}", "muscles", _LABELLED, True, True),
    "hope_mm_measured": Method(f"HOPE-MM-style calibration, {_MOTION}", "muscles", _LABELLED, True, True),
    "ensemble": Method("ensemble of personal heads", "siblings.ensemble", without_physics=True),
    "domain_adaptation": Method("supervised domain adaptation", "siblings.adaptation", without_physics=True),
    "low_shot": Method("low-shot adversarial network", "siblings.adversarial"),
    "penn": Method("PENN: simulation and residual", "siblings.penn", _LABELLED, True, without_physics=True),
}
