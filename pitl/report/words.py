"""How methods, labels, metrics and numbers are called on paper."""

import math
from collections.abc import Sequence

from pitl.comparison.statistics import Quartiles
from pitl.config.methods import METHODS

LABELS = {"angle_force": "angle + force", "angle_torque": "angle + measured torque", "angle": "angle", "none": "none"}
# metric: heading, unit, factor from what is stored to what is shown
METRICS = {
    "angle_rmse_deg": ("Angle RMSE", "°", 1.0),
    "angle_nrmse": ("Angle RMSE / range", "%", 100.0),
    "angle_r2": ("Angle R²", "", 1.0),
    "angle_r": ("Angle r", "", 1.0),
    "force_rmse_n": ("Force RMSE", "N", 1.0),
    "force_nrmse": ("Force RMSE / s.d.", "", 1.0),
    "force_r2": ("Force R²", "", 1.0),
    "torque_rmse_nm": ("Torque RMSE", "N m", 1.0),
    "residual_nm": ("Residual", "N m", 1.0),
    "seconds": ("Time per person", "s", 1.0),
}
SUMMARY = ("angle_rmse_deg", "angle_r2", "force_rmse_n", "force_nrmse", "torque_rmse_nm", "residual_nm", "seconds")
ERRORS = tuple(m for m in METRICS if m != "seconds")


def method(name: str) -> str:
    """A method's name in words."""
    return METHODS[name].title if name in METHODS else name.replace("_", " ")


def labels(name: str) -> str:
    """A grade of supervision in words."""
    return LABELS.get(name, name)


def short_labels(name: str) -> str:
    """A grade of supervision in as few letters as a figure or a console has room for."""
    return {"none": "", "angle": "A", "angle_force": "A+F", "angle_torque": "A+T"}.get(name, name)


def force_labels(source: str | None) -> str:
    """What the reference of the forces is, in a sentence that stands beside every force error."""
    if source in (None, "none"):
        return "There is no reference for the forces, so no force error."
    if source == "truth":
        return "The reference of the forces is the true muscle force of the virtual people."
    if source == "static_optimisation":
        return (
            "These forces were not measured: the reference is static optimisation along the measured motion, which "
            "uses the same limb model as the network. A small error shows agreement with that model alone."
        )
    return f"The reference of the forces is {source}: the output of another model, not a measurement."


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where that can be read."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    value = float(f"{value:.3g}")
    digits = 2 - math.floor(math.log10(abs(value)))
    if not -4 < digits < 7:
        return f"{value:.2e}".replace("-", "−")
    return f"{value:.{max(digits, 0)}f}".replace("-", "−")


def spread(value: Quartiles | None, factor: float = 1.0, unit: str = "") -> str:
    """Median [lower quartile–upper quartile]."""
    if value is None:
        return "–"
    median, lower, upper = (number(v * factor) for v in value[:3])
    return f"{median}{unit} [{lower}–{upper}]"


def probability(p: float | None) -> str:
    """A p-value as journals print it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def values(result: float | Sequence[float] | object) -> str:
    """A number, or several."""
    if isinstance(result, (list, tuple)):
        return ", ".join(values(v) for v in result)
    return number(float(result)) if isinstance(result, (int, float)) else str(result)
