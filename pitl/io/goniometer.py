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
_ENVELOPE_S = 0.3


class Evidence(NamedTuple):
    """What the calibration part of a recording shows, before any decision. Angles as recorded [deg]."""

    low_deg: float  # first percentile
    high_deg: float  # 99th percentile
    rest_deg: float  # median while all muscles are quiet
    quadriceps: float  # correlation of the angle with quadriceps activity
    hamstrings: float  # correlation of the angle with hamstrings activity
    dominance: float  # log of how much more quadriceps than hamstrings activity varies


def evidence(emg: np.ndarray, angle_deg: np.ndarray, rate_hz: float, calibration_fraction: float) -> Evidence:
    """Collects the evidence from the first part of a recording.

    Args:
        emg: (T, 4) RF, BF, VM, ST [V].
        angle_deg: (T,) as recorded.
        rate_hz: of both.
        calibration_fraction: how much of the beginning may be looked at.
    """
    n = max(2, int(calibration_fraction * len(angle_deg)))
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


def sign(e: Evidence, task: str) -> tuple[float, str]:
    """+1 if flexion was recorded as positive, else -1, and why.

    The range speaks loudest: a knee bends one way only. The muscles are asked when the range is undecided.
    """
    reach = max(e.high_deg - e.low_deg, 1e-6)
    by_range = (e.high_deg + e.low_deg) / reach  # near +1 if all positive, -1 if all negative
    # seated, the quadriceps are busiest when the knee is straight; standing, the hamstrings when it is bent
    by_muscle = -e.quadriceps if task == "sen" else e.hamstrings
    score = by_range + 0.4 * by_muscle
    muscle = "quadriceps" if task == "sen" else "hamstrings"
    correlation = e.quadriceps if task == "sen" else e.hamstrings
    why = f"it runs from {e.low_deg:.0f} to {e.high_deg:.0f} deg and {muscle} correlate with it by {correlation:+.2f}"
    if abs(score) < 0.3:
        why += " (close: please check, and set data.overrides if wrong)"
    return (1.0 if score >= 0 else -1.0), why


def zero(e: Evidence, sign_: float) -> tuple[float, str]:
    """Degrees to take off, so that the straightest knee of the calibration part is a few degrees flexed, and why."""
    straightest = e.low_deg if sign_ > 0 else -e.high_deg
    off = float(np.clip(straightest - STRAIGHT_DEG, -_LARGEST_ZERO_DEG, _LARGEST_ZERO_DEG))
    why = f"zero: {off:+.1f} deg taken off, because the straightest knee read {straightest:.0f} deg"
    if off != straightest - STRAIGHT_DEG:
        why += f" (more than {_LARGEST_ZERO_DEG:.0f} deg is not believed)"
    return off, why


def swapped(seated: Evidence, standing: Evidence) -> str | None:
    """Why the recordings called seated and standing are each other, or None if they are not.

    Both must contradict their names, by posture at rest and by the muscles that work.
    """
    rests = [_rest_flexion(seated), _rest_flexion(standing)]
    if rests[0] < 35 < rests[1] and seated.dominance < 0 < standing.dominance:
        return (
            f"'sen' rests at {rests[0]:.0f} deg with hamstrings at work, 'pie' at {rests[1]:.0f} deg with quadriceps "
            "at work"
        )
    return None


def _rest_flexion(e: Evidence) -> float:
    # only the range decides here: the muscles' vote depends on the task, which is in question
    flexion_positive = abs(e.high_deg) >= abs(e.low_deg)
    sign_ = 1.0 if flexion_positive else -1.0
    return sign_ * e.rest_deg - zero(e, sign_)[0]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = a.std() * b.std()
    return 0.0 if scale < 1e-15 else float(np.mean((a - a.mean()) * (b - b.mean())) / scale)
