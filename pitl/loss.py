"""The terms of the loss, each in units of its own variance over the source subjects.

Raw mean squares of equally good fits differ by four orders of magnitude (25 N2, 0.008 rad2, 0.0025 (N m)2), so
an unscaled sum ignores the physics.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.net.head import OutputScale

_USUAL_FORCE = 0.1  # of strength, where nobody knows


class Spread(NamedTuple):
    """Standard deviations over the source subjects: the units of the loss and of `force_nrmse`."""

    angle: Float[Array, " D"]  # rad
    force: Float[Array, " M"]  # N
    torque: Float[Array, " D"]  # N m, of the inverse-dynamics torque


class Terms(NamedTuple):
    """Dimensionless terms, before their weights."""

    angle: Float[Array, ""]
    force: Float[Array, ""]
    physics: Float[Array, ""]
    hill: Float[Array, ""] | float = 0.0  # forces against those of the EMG-driven model


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
    return units(tuple(means), tuple(deviations), strength, labelled=labelled)


def units(
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


def squared(error: Float[Array, "... F"], spread: Float[Array, " F"], weight: Float[Array, "..."]) -> Float[Array, ""]:
    """Weighted mean over rows, mean over columns, of (error / spread)^2.

    A row of weight zero may hold anything; it does not count.
    """
    scaled = error / jnp.broadcast_to(spread, error.shape)
    rows = jnp.mean(jnp.where((weight > 0)[..., None], scaled, 0.0) ** 2, axis=-1)
    return jnp.sum(weight * rows) / jnp.maximum(jnp.sum(weight), 1.0)


def distance(a: Any, b: Any) -> Float[Array, ""]:
    """Sum of squared differences between two parameter trees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2), a, b))
