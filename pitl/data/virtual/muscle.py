"""The muscles of the truth: another family of curves than the learner's, with elastic tendons and a memory.

Thelen's curves (2003, doi 10.1115/1.1531112), not De Groote's; a damped fibre in series with its tendon (Millard 2013,
doi 10.1115/1.4023390); force depression after shortening and enhancement after stretch (Herzog 2004,
doi 10.1016/j.humov.2004.10.003).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from pitl.data.virtual.subject import Muscles, Value

_WIDTH = 0.45  # of the Gaussian active force-length curve, Thelen 2003
_PASSIVE_SHAPE, _PASSIVE_STRAIN = 4.0, 0.6  # Thelen 2003, young adults
HILL = 0.25  # Thelen 2003, A_f
_ECCENTRIC = 1.4  # Thelen 2003, F_len
_FIBRE_DAMPING = 0.1  # maximum force per fastest velocity, Millard 2013
_TENDON_SHAPE = 3.0  # exponential toe, Thelen 2003
_NEWTON_STEPS = 2  # from the previous velocity; more change forces by less than 0.003 N


class Fibres(NamedTuple):
    """State of the N muscles."""

    activation: Value  # (N,)
    length: Value  # (N,) optimal fibre lengths
    velocity: Value  # (N,) optimal fibre lengths per s
    remembered: Value  # (N,) optimal fibre lengths, slow average of the length


def active_length(length: Array) -> Array:
    """Active force [maximum force] at a fibre length [optimal lengths]."""
    return jnp.exp(-((length - 1) ** 2) / _WIDTH)


def passive_length(length: Array) -> tuple[Array, Array]:
    """Passive force and its slope [maximum force, per optimal fibre length]."""
    scale = jnp.expm1(_PASSIVE_SHAPE)
    strain = jnp.clip((length - 1) / _PASSIVE_STRAIN, 0, 2)
    rise = jnp.exp(_PASSIVE_SHAPE * strain)
    return (rise - 1) / scale, jnp.where(strain > 0, _PASSIVE_SHAPE / _PASSIVE_STRAIN * rise / scale, 0.0)


def force_velocity(velocity: Array) -> tuple[Array, Array]:
    """Hill's hyperbola and its eccentric continuation, with slope; velocity in fastest velocities."""
    shortening = jnp.clip(velocity, -1, 0)
    below = 1 - shortening / HILL
    lengthening = jnp.maximum(velocity, 0)
    steep = 2 + 2 / HILL
    above = steep * lengthening + _ECCENTRIC - 1
    value = jnp.where(
        velocity < 0, (1 + shortening) / below, (steep * lengthening * _ECCENTRIC + _ECCENTRIC - 1) / above
    )
    slope = jnp.where(
        velocity < 0,
        jnp.where(velocity > -1, (1 + 1 / HILL) / below**2, 0.0),
        steep * (_ECCENTRIC - 1) ** 2 / above**2,
    )
    return value, slope


def tendon(strain: Array, at_full: Array) -> tuple[Array, Array]:
    """Tendon force [maximum force] and its slope per strain; `at_full` is the strain at maximum force."""
    scale = jnp.expm1(_TENDON_SHAPE)
    x = jnp.clip(strain / at_full, 0, 1)
    rise = jnp.exp(_TENDON_SHAPE * x)
    linear = _TENDON_SHAPE * jnp.exp(_TENDON_SHAPE) / scale * jnp.maximum(strain / at_full - 1, 0)
    return (rise - 1) / scale + linear, jnp.where(strain > 0, _TENDON_SHAPE * rise / (scale * at_full), 0.0)


def geometry(length: Float[Array, "N K"], angle: Float[Array, ""]) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Musculotendon lengths and moment arms [m]."""
    value, slope = length[:, -1], jnp.zeros_like(length[:, -1])
    for k in range(length.shape[1] - 2, -1, -1):
        slope = slope * angle + value
        value = value * angle + length[:, k]
    return value, -slope


def taut(muscles: Muscles, length: Array) -> Fibres:
    """At rest, tendons just taut; `length` is that of muscle and tendon [m]."""
    fibre = (length - muscles.slack * (1 + 0.3 * muscles.tendon_strain)) / (muscles.fibre * muscles.cosine)
    still = jnp.zeros_like(fibre)
    return Fibres(still + 0.02, fibre, still, fibre)


def activate(muscles: Muscles, activation: Array, drive: Array, step: float) -> Array:
    """Activation after one step [s] of the drive (Thelen 2003)."""
    pace = 0.5 + 1.5 * activation
    constant = jnp.where(drive > activation, muscles.rise_s * pace, muscles.fall_s / pace)  # s
    return activation + step * (drive - activation) / constant


def contract(muscles: Muscles, before: Fibres, drive: Array, length: Array, step: float) -> tuple[Fibres, Array]:
    """One step: the fibres after it, and the tendon forces there [N].

    Implicit in the fibre: at low activation its balance with the tendon relaxes within a millisecond, and with a stiff
    tendon faster still. The pennation angle stays at its value at optimal length (at most 12 deg).

    Args:
        muscles: N muscles.
        before: their state before the step.
        drive: (N,) in [0, 1].
        length: (N,) of muscle and tendon at the end of the step [m].
        step: [s].
    """
    m = muscles
    activation = activate(m, before.activation, drive, step)
    history = 1 + m.memory * (before.length - before.remembered)
    active = activation * active_length(before.length) * jnp.clip(history, 0.5, 1.5)

    def stretch(velocity: Array) -> tuple[Array, Array]:
        fibre = before.length + step * velocity
        return fibre, (length - fibre * m.fibre * m.cosine) / m.slack - 1

    velocity = before.velocity
    for _ in range(_NEWTON_STEPS):
        fibre, strain = stretch(velocity)
        passive, stiffer = passive_length(fibre)
        faster, slope = force_velocity(velocity / m.fastest)
        pull, tighter = tendon(strain, m.tendon_strain)
        imbalance = (active * faster + passive + _FIBRE_DAMPING * velocity / m.fastest) * m.cosine - pull
        gradient = (active * slope + _FIBRE_DAMPING) / m.fastest * m.cosine + step * (
            stiffer * m.cosine + tighter * m.fibre * m.cosine / m.slack
        )
        velocity = jnp.clip(velocity - imbalance / gradient, -2 * m.fastest, 2 * m.fastest)
    fibre, strain = stretch(velocity)
    remembered = before.remembered + step / m.memory_s * (fibre - before.remembered)
    return Fibres(activation, fibre, velocity, remembered), m.strength * tendon(strain, m.tendon_strain)[0]
