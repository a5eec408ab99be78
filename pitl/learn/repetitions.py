"""How much a person has shown, counted in repetitions of a movement, and what more of them would tell."""

from typing import Any

import jax
import numpy as np

from pitl.learn import gaussian_process as gp
from pitl.learn.gaussian_process import Deviation
from pitl.learn.units import HALF_OF_NORMAL
from pitl.signals import repetition


def describe(person: Deviation, angle: np.ndarray) -> dict[str, Any]:
    """Repetitions that a person has shown, and how sure the model would have been of one that it had not seen.

    That interval needs no angle: it is the posterior's on the last repetition, after half of the others and after
    all of them.

    Args:
        person: one, not stacked.
        angle: (N, D) measured at its calibration rows, without padding [rad].
    """
    count = len(angle)
    which = np.full(len(person.rows.used), -2)
    which[:count] = repetition.number(angle, np.asarray(person.rows.trial)[:count])
    shown = int(which.max()) + 1
    if shown < 3:
        return {"repetitions": max(shown, 0)}
    after = ((shown - 1) // 2, shown - 1)
    half_deg = []
    for seen in after:
        used = jax.device_put(((which > -2) & (which < seen)).astype(person.rows.used.dtype))
        less = gp.fit(person.hyper, person.units, person.rows._replace(used=used), person.rows.generic)
        deviation = np.asarray(gp.predict(less, person.rows)[1])[which >= after[1]]  # rad
        half_deg.append(float(np.degrees(HALF_OF_NORMAL * deviation.mean())))
    return {"repetitions": shown, "after": list(after), "half_deg": half_deg}


def advice(facts: dict[str, Any]) -> str:
    """The same in a sentence; nothing where repetitions are not known."""
    if "repetitions" not in facts:
        return ""
    if "after" not in facts:
        return f"It has seen {facts['repetitions']} repetition(s) of a movement: record some more."
    (few, many), (wide, narrow) = facts["after"], facts["half_deg"]
    falls = np.log(max(wide / narrow, 1.0)) / np.log(many / few)
    then = narrow * (many / (many + 2)) ** falls
    told = f"It has seen {facts['repetitions']} repetitions; one that it has not seen is told to ±{narrow:.1f} degrees"
    if then > 0.97 * narrow:
        return f"{told}, and two more of the same would change that little."
    return f"{told}; two more would bring that to about ±{then:.1f}."
