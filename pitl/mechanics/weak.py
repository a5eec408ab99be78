"""The residual of the equation of motion in weak form: averaged over time with a smooth kernel.

Integration by parts moves the time derivatives from the angle to the kernel, whose derivatives are known, so
that no second derivative of a noisy angle is ever taken:

    q_bar = <k, q>     q_bar' = -<k', q>     q_bar'' = <k'', q>

Inertia, Coriolis and passive terms are taken at the averaged motion; gravity and muscle torque are averaged as
they are. For constant inertia and linear damping this is exactly the kernel average of the strong residual; for a
configuration-dependent inertia it differs by the square of the kernel's width times the curvature of the motion.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.mechanics import dynamics
from pitl.mechanics.model import MusculoskeletalModel


class Kernel(NamedTuple):
    """Taps of the averaging kernel and of its two derivatives, for samples at a fixed rate. K taps, odd."""

    average: np.ndarray | Array  # (K,)
    rate: np.ndarray | Array  # (K,) 1/s
    acceleration: np.ndarray | Array  # (K,) 1/s2


def kernel(width_s: float, rate_hz: float) -> Kernel:
    """A smooth bump (1 - x^2)^4 whose full width at half maximum is `width_s`.

    The taps are corrected so that they are exact for polynomials: the average has unit sum, the first derivative
    maps t to 1 and constants and t^2 to 0, the second maps t^2 to 2 and constants and t to 0.
    """
    half_at_half = np.sqrt(1 - 0.5**0.25)  # of the support's half-length
    reach = max(2, int(np.ceil(width_s / 2 / half_at_half * rate_hz)))
    t = np.arange(-reach, reach + 1) / rate_hz  # s
    support = (reach + 0.5) / rate_hz  # s
    x = t / support
    bump = (1 - x**2) ** 4
    bump = bump / bump.sum()
    # <d/dt k> over the samples, written so that the moments are right on this grid and not only in the limit
    first = x * (1 - x**2) ** 3
    first = first / np.sum(first * t)
    second = (1 - x**2) ** 2 * (7 * x**2 - 1)
    second = second - bump * second.sum()
    second = 2 * second / np.sum(second * t**2)
    return Kernel(bump, first, second)


def smooth(taps: np.ndarray | Array, values: Float[Array, "... T F"]) -> Float[Array, "... S F"]:
    """Weighted sum of K neighbouring samples; S = T - K + 1, sample s is centred on s + (K - 1) / 2."""
    each = jnp.moveaxis(values, -2, -1)
    kernel = jnp.asarray(taps, values.dtype)[None, None]
    flat = each.reshape(-1, 1, each.shape[-1])
    total = jax.lax.conv_general_dilated(flat, kernel, (1,), "VALID", precision="highest")
    return jnp.moveaxis(total.reshape(*each.shape[:-1], -1), -1, -2)


def weak_residual(
    model: MusculoskeletalModel,
    angle: Float[Array, "T D"],
    force: Float[Array, "T M"],
    posture: Int[Array, " T"],
    taps: Kernel,
) -> Float[Array, "S D"]:
    """Residual torque [N m] along contiguous samples, S = T - K + 1.

    Args:
        model: the physics.
        angle: [rad], contiguous samples at the kernel's rate.
        force: musculotendon forces [N].
        posture: index of the posture, the same over any K neighbouring samples.
        taps: from `kernel`.
    """
    middle = (len(taps.average) - 1) // 2
    at_centre = posture[middle : posture.shape[0] - middle]
    q = smooth(taps.average, angle)  # rad
    qd = smooth(taps.rate, angle)  # rad/s
    qdd = smooth(taps.acceleration, angle)  # rad/s2
    inertia = jnp.einsum("...ij,...j->...i", dynamics.mass_matrix(model, q), qdd)  # N m
    static = dynamics.gravity_torque(model, angle, posture) - dynamics.muscle_torque(model, angle, force, posture)
    return (
        inertia
        + dynamics.coriolis_torque(model, q, qd)
        + dynamics.passive_torque(model, q, qd, at_centre)
        + smooth(taps.average, static)
    )
