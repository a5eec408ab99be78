"""Gait without force plates: measured moments count in the swing phase alone.

In stance the ground pushes with a force that nobody measured, and inverse dynamics without it gives moments that no
muscle made. While the foot is in the air nothing is missing.
"""

from collections.abc import Sequence

import numpy as np

from pitl.errors import PitlError

WHY = (
    "no force plates: in stance the ground's force, which nobody measured, is part of every moment, so moments count "
    "in the swing phase alone"
)
_SHORTEST_S, _EDGE_S = 0.2, 0.05  # of a swing; at both its ends the foot still touches the ground
_LEAST_M = 0.1  # way of a foot that makes a step


def keep(
    torque: np.ndarray, clock: np.ndarray, swings: Sequence[tuple[float, float]] | np.ndarray, where: str
) -> tuple[np.ndarray, str]:
    """Moments (T, D) that are NaN outside the swings, and a sentence on why.

    Args:
        torque: as measured [N m].
        clock: (T,) of the trial's files [s].
        swings: begin and end of each [s] as marked, or (T,) True as found.
        where: for messages.

    Raises:
        PitlError: the marked swings are not in the trial.
    """
    found = isinstance(swings, np.ndarray)
    inside = swings if found else np.any([(clock >= a) & (clock <= b) for a, b in swings], axis=0)
    if not np.any(inside):
        raise PitlError(
            f"{where}: none of its swings lies between {clock[0]:.2f} and {clock[-1]:.2f} s; give them as swing = "
            "[[begin, end], ...] in seconds of its files."
        )
    count = int(np.sum(np.diff(np.pad(np.asarray(inside, int), 1)) > 0))
    how = "found from the foot's motion" if found else "marked"
    return np.where(np.asarray(inside)[:, None], torque, np.nan), f"{WHY}: {count} swing(s), {how}"


def find(joint: str, posture: str, dofs: tuple[str, ...], angle: np.ndarray, rate_hz: float, where: str) -> np.ndarray:
    """(T,) True while the model's last body swings forward, told from the angles (T, D) [rad].

    Raises:
        PitlError: the model is of other coordinates, or there is no step.
    """
    import jax
    import jax.numpy as jnp

    from pitl.mechanics import bodies, library
    from pitl.mechanics.model import posture_index

    limb = library.load(joint)
    if tuple(limb.dofs) != dofs:
        raise PitlError(f"{where}: swings are found from {', '.join(limb.dofs)}, it has {', '.join(dofs)}; mark them.")
    at = jnp.full(len(angle), posture_index(limb, posture), jnp.int32)
    frames = np.asarray(jax.jit(bodies.stacked_frames)(limb, jnp.asarray(angle, jnp.float32), at))
    place = frames[:, -1, :, 3] - frames[:, 0, :, 3]  # m
    swings = swing_phases(place[:, int(np.argmax(np.ptp(place, axis=0)))], rate_hz)
    if not swings.any():
        raise PitlError(f"{where}: no step is found in its motion; mark the swings: swing = [[begin, end], ...] in s.")
    return swings


def swing_phases(foot: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T,) True while a foot (T,) [m], along the direction of walking and seen from the pelvis, swings forward.

    From its rearmost to its foremost place (Zeni, Richards & Higginson 2008, doi 10.1016/j.gaitpost.2007.07.007). Which
    direction is forward need not be known: swing takes less time than stance.
    """
    forth = np.diff(foot, prepend=2 * foot[0] - foot[1]) > 0
    if forth.mean() > 0.5:
        forth = ~forth
    out = np.zeros(len(foot), bool)
    edges = np.flatnonzero(np.diff(np.pad(forth.astype(int), 1)))
    trim = round(_EDGE_S * rate_hz)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        whole = begin > 0 and end < len(foot)  # what is cut off may be anything
        if whole and end - begin >= _SHORTEST_S * rate_hz and np.ptp(foot[begin:end]) > _LEAST_M:
            out[begin + trim : end - trim] = True
    return out
