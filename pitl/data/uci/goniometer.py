"""Sign, zero and task of a knee recording, decided from its calibration part by several witnesses.

A goniometer may be mounted either way round and zeroed anywhere, and a file may carry the wrong task's name. What
anatomy knows: a knee flexes by a hundred degrees and extends hardly beyond straight; the quadriceps extend it
against gravity when seated, the hamstrings flex it when standing; a seated person rests flexed, a standing one does
not.
"""

from typing import NamedTuple

import numpy as np

# A knee at its straightest, while moving, is flexed by a few degrees.
STRAIGHT_DEG = 3.0
# A correction of the zero beyond this is more likely a knee that was never straight.
_LARGEST_ZERO_DEG = 20.0
# A relaxed seated shank hangs nearly vertical. A correction that would lift it further than this blames the zero for a
# knee that was not fully extended (tight hamstrings, injury), and would give the resting shank a gravity torque.
_SEATED_REST_DEG = 65.0
# Less motion than this shows neither the straightest knee nor which way it bends.
_LEAST_MOTION_DEG = 15.0
# How loud each witness of the sign is: the range is anatomy, muscles may stiffen the joint, people fidget at rest.
_WEIGHTS = {"range": 1.0, "muscles": 0.5, "rest": 0.3}
_CLOSE = 0.4
_DOMINANT = 0.4  # log of a ratio, 1.5 times
_ENVELOPE_S = 0.3


class Evidence(NamedTuple):
    """What the calibration part of a recording shows, before any decision. Angles as recorded [deg]."""

    low_deg: float  # first percentile
    high_deg: float  # 99th percentile
    rest_deg: float  # median while all muscles are quiet
    quadriceps: float  # correlation of the angle with quadriceps activity
    hamstrings: float  # correlation of the angle with hamstrings activity
    dominance: float  # log of how much more quadriceps than hamstrings activity varies


class Votes(NamedTuple):
    """Witnesses of the sign, each from -1 (flexion recorded negative) to +1, and their weighted mean."""

    range: float
    muscles: float
    rest: float
    score: float


def evidence(emg: np.ndarray, angle_deg: np.ndarray, rate_hz: float, calibration_fraction: float) -> Evidence:
    """Collects the evidence from the first part of a recording.

    Args:
        emg: (T, 4) RF, BF, VM, ST [V].
        angle_deg: (T,) as recorded.
        rate_hz: of both.
        calibration_fraction: how much of the beginning may be looked at.
    """
    n = min(len(angle_deg), max(2, int(calibration_fraction * len(angle_deg))))
    angle = angle_deg[:n]
    width = min(n, max(1, round(_ENVELOPE_S * rate_hz)))
    smooth = [np.convolve(np.abs(c - c.mean()), np.full(width, 1 / width), "same") for c in emg[:n].T]
    quadriceps, hamstrings = smooth[0] + smooth[2], smooth[1] + smooth[3]
    effort = quadriceps + hamstrings
    quiet = effort <= np.percentile(effort, 20)
    return Evidence(
        float(np.percentile(angle, 1)),
        float(np.percentile(angle, 99)),
        float(np.median(angle[quiet])),
        _correlation(angle, quadriceps),
        _correlation(angle, hamstrings),
        float(np.log((quadriceps.std() + 1e-12) / (hamstrings.std() + 1e-12))),
    )


def votes(e: Evidence, task: str) -> Votes:
    """What each witness says about the sign.

    In gait only the range speaks: there the muscles brake as much as they drive, and nobody rests.
    """
    reach = max(e.high_deg - e.low_deg, 1.0)
    by_range = float(np.clip((e.high_deg + e.low_deg) / reach, -1, 1))
    if task == "mar":
        return Votes(by_range, 0.0, 0.0, by_range)
    if reach < _LEAST_MOTION_DEG:  # a held posture, which correlates with nothing
        where = by_range if task == "sen" else 0.0
        return Votes(where, 0.0, 0.0, where)
    # seated, the quadriceps are busiest when the knee is straight; standing, the hamstrings when it is bent
    by_muscles = -e.quadriceps if task == "sen" else e.hamstrings
    flexed_end = 2 * (e.rest_deg - e.low_deg) / reach - 1  # +1 if at rest at the top of the range
    by_rest = float(np.clip(flexed_end if task == "sen" else -flexed_end, -1, 1))
    heard = {"range": by_range, "muscles": by_muscles, "rest": by_rest}
    score = sum(_WEIGHTS[k] * v for k, v in heard.items()) / sum(_WEIGHTS.values())
    return Votes(by_range, by_muscles, by_rest, score)


def sign(e: Evidence, task: str) -> tuple[float, str]:
    """+1 if flexion was recorded as positive, else -1, and why."""
    v = votes(e, task)
    why = f"it runs from {e.low_deg:.0f} to {e.high_deg:.0f} deg"
    if task != "mar":
        muscle, correlation = ("quadriceps", e.quadriceps) if task == "sen" else ("hamstrings", e.hamstrings)
        why += f", {muscle} correlate with it by {correlation:+.2f}, and it rests at {e.rest_deg:.0f} deg"
    if abs(v.score) < _CLOSE:
        why += " (the witnesses disagree: please check, and set sign in data.overrides if it is wrong)"
    return (1.0 if v.score >= 0 else -1.0), why


def zero(e: Evidence, sign_: float, task: str) -> tuple[float, str]:
    """Degrees to take off, so that the straightest knee of the calibration part is a few degrees flexed, and why.

    Trials are zeroed one by one: in this data set the straightest seated and standing knees of a person are not
    correlated, so one mounting error for both would make the angles less alike, not more.
    """
    straightest, most_bent = (e.low_deg, e.high_deg) if sign_ > 0 else (-e.high_deg, -e.low_deg)
    if most_bent - straightest < _LEAST_MOTION_DEG:
        return 0.0, "zero: as recorded, because the knee hardly moves in the calibration part"
    wanted = straightest - STRAIGHT_DEG
    off = float(np.clip(wanted, -_LARGEST_ZERO_DEG, _LARGEST_ZERO_DEG))
    why = f"the straightest knee read {straightest:.0f} deg"
    most = max(0.0, most_bent - _SEATED_REST_DEG)
    if task != "sen" or off <= most:
        why += "" if off == wanted else f" (more than {_LARGEST_ZERO_DEG:.0f} deg is not believed)"
    else:
        off = most
        why += f" but the seated rest only {most_bent:.0f} deg: the knee was probably not fully extended"
    return off, f"zero: {off:+.1f} deg taken off, because {why}"


def contradiction(e: Evidence, task: str) -> str | None:
    """Why a recording is not of the task `"sen"` or `"pie"` that its name says, or None if it may well be.

    The posture at rest and the muscles at work must both speak against the name: some people fidget before they
    begin, others stiffen all muscles.
    """
    rest, place = _rest(e)
    if task == "sen" and rest < 30 and place < 0.3 and e.dominance < -_DOMINANT:
        return f"it rests at {rest:.0f} deg, as in standing, and the hamstrings work more than the quadriceps"
    if task == "pie" and rest > 50 and place > 0.7 and e.dominance > _DOMINANT:
        return f"it rests at {rest:.0f} deg, as in sitting, and the quadriceps work more than the hamstrings"
    return None


def swapped(seated: Evidence, standing: Evidence) -> str | None:
    """Why the recordings called seated and standing are each other, or None if they are not.

    Two weaker contradictions are worth one strong one.
    """
    rests = [_rest(seated)[0], _rest(standing)[0]]
    if rests[0] < 35 < rests[1] and seated.dominance < 0 < standing.dominance:
        return (
            f"'sen' rests at {rests[0]:.0f} deg with hamstrings at work, 'pie' at {rests[1]:.0f} deg with quadriceps "
            "at work"
        )
    return None


def _rest(e: Evidence) -> tuple[float, float]:
    """Flexion at rest above the straightest knee's usual angle [deg], and where in the range it is (0 straight)."""
    # only the range decides here: the other witnesses depend on the task, which is in question
    flexion_positive = abs(e.high_deg) >= abs(e.low_deg)
    straightest = e.low_deg if flexion_positive else e.high_deg
    away = abs(e.rest_deg - straightest)
    return away + STRAIGHT_DEG, away / max(e.high_deg - e.low_deg, 1.0)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = a.std() * b.std()
    return 0.0 if scale < 1e-15 else float(np.mean((a - a.mean()) * (b - b.mean())) / scale)
