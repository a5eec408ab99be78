"""Gain and offset: the generic model's output, rescaled to the person. The baseline that embarrasses weak methods."""

from typing import NamedTuple

import numpy as np


class Recalibration(NamedTuple):
    """Output = gain * generic output + offset."""

    angle_gain: np.ndarray  # (D,)
    angle_offset: np.ndarray  # (D,) rad
    force_gain: np.ndarray  # (M,)


def fit(
    angle: np.ndarray, generic_angle: np.ndarray, force: np.ndarray | None, generic_force: np.ndarray
) -> Recalibration:
    """Least squares on the calibration part.

    Args:
        angle: (W, D) measured [rad].
        generic_angle: (W, D) [rad].
        force: (W, M) labels [N], or None where there are none; the generic forces then stay as they are.
        generic_force: (W, M) [N].
    """
    centred = generic_angle - generic_angle.mean(axis=0)
    gain = np.sum(centred * angle, axis=0) / np.maximum(np.sum(centred**2, axis=0), 1e-12)
    offset = angle.mean(axis=0) - gain * generic_angle.mean(axis=0)
    if force is None:
        force_gain = np.ones(generic_force.shape[1])
    else:  # through zero, so that no force turns negative
        force_gain = np.sum(force * generic_force, axis=0) / np.maximum(np.sum(generic_force**2, axis=0), 1e-12)
    return Recalibration(gain, offset, np.maximum(force_gain, 0.0))


def apply(recalibration: Recalibration, angle: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rescaled angle [rad] and forces [N]."""
    return (
        recalibration.angle_gain * angle + recalibration.angle_offset,
        recalibration.force_gain * force,
    )
