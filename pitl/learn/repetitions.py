"""How much a person has shown, counted in repetitions of a movement, and what more of them would tell."""

from typing import Any

import jax
import numpy as np

from pitl.learn import gaussian_process as gp
from pitl.learn.gaussian_process import Deviation
from pitl.learn.units import HALF_OF_NORMAL

_TURN = 0.3  # of the angle's range: what turns back by less is no repetition


def number(angle: np.ndarray, trial: np.ndarray) -> np.ndarray:
    """(N,) number of the repetition that each row belongs to, over all recordings; -1 before a movement has begun.

    A repetition is a way there and back of the coordinate with the largest range.

    Args:
        angle: (N, D) measured [rad], in time order within each recording.
        trial: (N,) number of the recording.
    """
    course = angle[:, np.argmax(np.ptp(angle, axis=0))]  # rad
    enough, result, first = _TURN * np.ptp(course), np.full(len(course), -1), 0
    for t in np.unique(trial):
        rows = np.flatnonzero(trial == t)
        low = high = course[rows[0]]
        towards = turns = 0
        for k in rows:
            low, high = min(low, course[k]), max(high, course[k])
            risen, fallen = course[k] - low >= enough > 0, high - course[k] >= enough > 0
            if (risen and towards <= 0) or (fallen and towards >= 0):
                turns += towards != 0
                towards = 1 if risen and towards <= 0 else -1
                low = high = course[k]
            if towards:
                result[k] = first + turns // 2
        first = int(result.max()) + 1
    return result


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
    which[:count] = number(angle, np.asarray(person.rows.trial)[:count])
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
