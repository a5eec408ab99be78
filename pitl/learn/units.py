"""The units of losses and outputs: means and standard deviations over the source subjects alone."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.net.head import OutputScale

HALF_OF_NORMAL = 1.645  # standard deviations on either side hold 90 % of a normal distribution
_USUAL_FORCE = 0.1  # of strength, where nobody knows


class Spread(NamedTuple):
    """Standard deviations over the source subjects: the units of the loss and of `force_nrmse`."""

    angle: Float[Array, " D"]  # rad
    force: Float[Array, " M"]  # N
    torque: Float[Array, " D"]  # N m, of the inverse-dynamics torque


def source_statistics(
    angle: np.ndarray, force: np.ndarray, torque: np.ndarray, strength: np.ndarray, *, labelled: bool = True
) -> tuple[Spread, OutputScale]:
    """Units of the loss and of the outputs, from the rows of the source subjects alone.

    Args:
        angle: (W, D) [rad].
        force: (W, M) [N].
        torque: (W, D) [N m].
        strength: (M,) maximum isometric force [N].
        labelled: whether `force` holds labels; if not, a tenth of each muscle's strength stands in for them.
    """
    means, deviations = ([getattr(x, what)(axis=0) for x in (angle, force, torque)] for what in ("mean", "std"))
    return standard_units(tuple(means), tuple(deviations), strength, labelled=labelled)


def standard_units(
    means: tuple[np.ndarray, ...], deviations: tuple[np.ndarray, ...], strength: np.ndarray, *, labelled: bool = True
) -> tuple[Spread, OutputScale]:
    """The same from means and standard deviations of angle [rad], force [N] and torque [N m]."""
    f = np.float32
    usual = _USUAL_FORCE * strength
    force_mean, force_std = (means[1], deviations[1]) if labelled else (usual, usual)
    spread = Spread(
        jnp.asarray(np.maximum(deviations[0], 1e-2), f),
        jnp.asarray(np.maximum(force_std, 1e-3 * strength), f),
        jnp.asarray(np.maximum(deviations[2], 1e-3), f),
    )
    scale = OutputScale(jnp.asarray(means[0], f), spread.angle, jnp.asarray(strength, f), jnp.asarray(force_mean, f))
    return spread, scale


def without_forces(scale: OutputScale) -> OutputScale:
    """The scale of outputs where nobody has seen a force: a tenth of each muscle's strength stands in for the mean."""
    return scale._replace(force_mean=_USUAL_FORCE * scale.strength)
