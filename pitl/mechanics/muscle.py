"""Hill-type muscle with a rigid tendon, and how an envelope becomes activation.

Curves: De Groote et al. 2016, doi 10.1007/s10439-016-1591-9, equations 1-4 and supplement, with the unrounded
coefficients of OpenSim's DeGrooteFregly2016Muscle, which put f_v(0) = 1 and f_v(-1) = 0. Two deviations, both so that
force can never be negative: the passive curve and the force-velocity curve pass through a smooth positive part.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.mechanics import geometry
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.shapes import expect, lift

# De Groote 2016, supplement: amplitude, centre, width, skew of three Gaussians
_ACTIVE = (
    (0.8150671134243542, 1.055033428970575, 0.162384573599574, 0.063303448465465),
    (0.433004984392647, 0.716775413397760, -0.029947116970696, 0.200356847296188),
    (0.1, 1.0, 0.353553390593274, 0.0),
)
_VELOCITY = (-0.3211346127989808, -8.149, -0.374, 0.8825327733249912)  # d1-d4
_PASSIVE_SHAPE = 4.0  # k_PE
_PASSIVE_STRAIN = 0.6  # e_0, strain at which passive force equals maximum isometric force
_TAUT = 0.01  # optimal fibre lengths, over which a slackening tendon lets go


def _positive(x: Array, softness: float) -> Array:
    return 0.5 * (x + jnp.sqrt(x * x + softness * softness))


def active_force_length(length: Float[Array, "..."]) -> Float[Array, "..."]:
    """Active force [maximum isometric force] at a fibre length [optimal fibre length]."""
    total = jnp.zeros_like(length)
    for amplitude, centre, width, skew in _ACTIVE:
        spread = width + skew * length
        # the width of the second Gaussian crosses zero near 0.15: keep it away, force is nil there anyway
        variance = jnp.maximum(spread * spread, 1e-4)
        total = total + amplitude * jnp.exp(-0.5 * (length - centre) ** 2 / variance)
    return total


def passive_force_length(length: Float[Array, "..."]) -> Float[Array, "..."]:
    """Passive force [maximum isometric force] at a fibre length [optimal fibre length].

    The published exponential is slightly negative below optimal length; here it fades to zero. Beyond the strain that
    gives full isometric force it continues along its tangent, so that impossible angles do not overflow.
    """
    full = 1.0 + _PASSIVE_STRAIN
    steep = _PASSIVE_SHAPE / _PASSIVE_STRAIN
    scale = math.expm1(_PASSIVE_SHAPE)
    curve = jnp.expm1(steep * (jnp.minimum(length, full) - 1.0)) / scale
    slope = steep * (scale + 1.0) / scale
    return _positive(curve, 0.005) + slope * jnp.maximum(length - full, 0.0)


def force_velocity(velocity: Float[Array, "..."]) -> Float[Array, "..."]:
    """Force-velocity multiplier at a fibre velocity [maximum contraction velocity]; lengthening is positive."""
    d1, d2, d3, d4 = _VELOCITY
    return _positive(d1 * jnp.arcsinh(d2 * velocity + d3) + d4, 0.02)


class Fibre(NamedTuple):
    """State of the muscle fibres behind a rigid tendon."""

    length: Float[Array, "... M"]  # optimal fibre lengths
    cos_pennation: Float[Array, "... M"]
    gearing: Float[Array, "... M"]  # fibre velocity / musculotendon velocity


def fibre_state(model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int) -> Fibre:
    """Length and pennation of fibres of constant thickness (Zajac 1989, Crit. Rev. Biomed. Eng. 17:359)."""
    return fibre_at(model, geometry.musculotendon_length(model, q, posture))


def fibre_at(model: MusculoskeletalModel, path: Float[Array, "... M"]) -> Fibre:
    """The same from musculotendon lengths [m]."""
    optimal = lift(model.optimal_fibre_length, path.ndim)  # m
    slack = lift(model.tendon_slack_length, path.ndim)  # m
    stretch = (path - slack) / optimal
    # a tendon cannot push: below slack length the fibre shortens towards zero instead of turning inside out
    along = _positive(stretch, _TAUT)
    width = lift(jnp.sin(model.pennation), path.ndim)
    length = jnp.sqrt(along * along + width * width + 1e-6)  # the last term keeps the gradient finite at zero
    cosine = along / length
    taut = along / jnp.sqrt(stretch * stretch + _TAUT * _TAUT)  # d(along)/d(stretch)
    return Fibre(length, cosine, cosine * taut)


def normalised_fibre_length(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M"]:
    """Fibre length with a rigid tendon [optimal fibre length]."""
    return fibre_state(model, q, posture).length


def active_force_capacity(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... M"]:
    """Active force along the tendon per unit activation [N], at angles [rad] and angular velocities [rad/s]."""
    return _capacity(model, fibre_state(model, q, posture), geometry.lengthening_velocity(model, q, qd, posture))


def _capacity(model: MusculoskeletalModel, fibre: Fibre, lengthening: Float[Array, "... M"]) -> Float[Array, "... M"]:
    strength = lift(model.max_isometric_force, lengthening.ndim)  # N
    fastest = lift(model.optimal_fibre_length * model.max_contraction_velocity, lengthening.ndim)  # m/s
    velocity = lengthening * fibre.gearing / fastest
    return strength * active_force_length(fibre.length) * force_velocity(velocity) * fibre.cos_pennation  # N


def passive_force(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M"]:
    """Passive force of the fibres along the tendon [N]."""
    return _passive(model, fibre_state(model, q, posture))


def _passive(model: MusculoskeletalModel, fibre: Fibre) -> Float[Array, "... M"]:
    strength = lift(model.max_isometric_force, fibre.length.ndim)  # N
    return strength * passive_force_length(fibre.length) * fibre.cos_pennation  # N


def hill_force(
    model: MusculoskeletalModel,
    activation: Float[Array, "... M"],
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... M"]:
    """Musculotendon force [N] = activation * active capacity + passive force."""
    expect(q.shape[:-1], activation=(activation, len(model.muscles)))
    length = geometry.musculotendon_length(model, q, posture)  # m
    return hill_force_at(model, activation, length, geometry.lengthening_velocity(model, q, qd, posture))  # N


def hill_force_at(
    model: MusculoskeletalModel,
    activation: Float[Array, "... M"],
    length: Float[Array, "... M"],
    lengthening: Float[Array, "... M"],
) -> Float[Array, "... M"]:
    """The same from musculotendon lengths [m] and their rates [m/s]."""
    fibre = fibre_at(model, length)
    return activation * _capacity(model, fibre, lengthening) + _passive(model, fibre)  # N


def excitation_shape(u: Float[Array, "... M"], shape: Float[Array, " M"]) -> Float[Array, "... M"]:
    """Non-linear EMG-to-excitation map (exp(A u) - 1) / (exp(A) - 1); A = 0 is the identity.

    Lloyd & Besier 2003, doi 10.1016/S0021-9290(03)00010-1, equation 3; A is usually in [-3, 0].

    Args:
        u: normalised envelope, 0 to 1.
        shape: A of each muscle.
    """
    a = lift(shape, u.ndim)
    small = jnp.abs(a) < 1e-2
    safe = jnp.where(small, 1.0, a)
    # second-order series around A = 0, where the quotient is 0/0
    series = u * (1.0 + 0.5 * a * (u - 1.0) + a * a * (2.0 * u * u - 3.0 * u + 1.0) / 12.0)
    return jnp.where(small, series, jnp.expm1(safe * u) / jnp.expm1(safe))


def calibrate_slack_length(
    model: MusculoskeletalModel, longest: float = 1.25, samples: int = 4000
) -> MusculoskeletalModel:
    """Slack lengths with which the fibres work near their plateau over the joint's range, in every posture.

    A rigid tendon hands the whole excursion to the fibres, and published slack lengths, meant for elastic tendons, then
    give absurd fibre lengths. Here the middle of the excursion is put at optimal length, or lower where the fibre would
    otherwise be stretched beyond `longest` [optimal lengths], at which passive force is 8 % of the isometric maximum.

    Args:
        model: with length polynomials and optimal fibre lengths in place.
        longest: largest allowed fibre length along the tendon [optimal fibre lengths].
        samples: most angles at which lengths are looked at, 61 along a single coordinate.
    """
    each = min(61, int(samples ** (1 / len(model.dofs))))
    grids = [np.linspace(low, high, each) for low, high in np.asarray(model.angle_range)]  # rad
    q = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(model.dofs))
    q = q - np.asarray(model.angle_offset)
    postures = np.repeat(np.arange(len(model.postures)), len(q))
    lengths = geometry.on_host(model, np.tile(q, (len(model.postures), 1)), postures).length  # m
    optimal = np.asarray(model.optimal_fibre_length)  # m
    half = 0.5 * (lengths.max(axis=0) - lengths.min(axis=0)) / optimal
    centre = np.minimum(np.cos(np.asarray(model.pennation)), longest - half)
    middle = 0.5 * (lengths.max(axis=0) + lengths.min(axis=0))  # m
    return replace(model, tendon_slack_length=jnp.asarray(middle - centre * optimal, jnp.float32))
