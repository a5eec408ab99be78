"""Static optimisation: which muscles share a joint torque, if they share it with least effort.

    minimise sum_m a_m^p   subject to   sum_m r_m (a_m C_m + F_passive,m) + reserve = torque,   low <= a_m <= high

(Crowninshield & Brand 1981, doi 10.1016/0021-9290(81)90035-X). Such forces are model output, never co-contract about a
single joint, and are no measurement: say so wherever they are shown. With measured envelopes, activations are drawn to
them (Sartori et al. 2014, doi 10.1016/j.jbiomech.2014.10.009), and muscles may co-contract.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.errors import PitlError
from pitl.mechanics import effort, geometry, muscle
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.shapes import expect, lift

_TRUST = 10.0  # of measured envelopes, in units of effort


class Sharing(NamedTuple):
    """What static optimisation found for each frame."""

    activation: Float[Array, "... M"]  # 0 to 1
    force: Float[Array, "... M"]  # N, along the tendon, passive part included
    reserve: Float[Array, "... D"]  # N m, torque that the muscles cannot give; zero where they can


class Effort(NamedTuple):
    """What static optimisation makes small, and between which activations."""

    exponent: float = 2.0  # p of the effort, above 1
    # False: muscles are ideal, with full strength along the tendon at any length and velocity, and no passive force
    force_length_velocity: bool = True
    lower: Float[Array, " M"] | None = None  # smallest activations; None is 0
    upper: Float[Array, " M"] | None = None  # largest activations; None is 1
    measured: Float[Array, "... M"] | None = None  # that envelopes suggest; not a number where there is no electrode
    trust: Float[Array, " M"] | None = None  # weight of the distance from `measured`; None is 10 for every muscle


def static_optimisation(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    torque: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    how: Effort | None = None,
) -> Sharing:
    """Activations and forces of least effort for many frames at once.

    For one coordinate the solution is closed-form; in general an interior-point method takes a fixed number of steps.

    Args:
        model: the mechanics.
        q: joint angles [rad].
        qd: angular velocities [rad/s].
        torque: net muscle torque, from inverse dynamics [N m].
        posture: index of the posture of each frame, or one index for all.
        how: what effort is and which activations are possible; None is the sum of squares between 0 and 1.

    Raises:
        PitlError: the arrays do not share their leading dimensions, or the exponent is not above 1.
    """
    how = Effort() if how is None else how
    if how.exponent <= 1:
        raise PitlError(f"the effort's exponent is {how.exponent}; give a number above 1, such as 2.")
    bounds = (how.lower, how.upper, how.measured, how.trust)
    return _optimise(model, (q, qd, torque), posture, bounds, how.exponent, how.force_length_velocity)


@partial(jax.jit, static_argnames=("exponent", "force_length_velocity"))
def _optimise(
    model: MusculoskeletalModel,
    motion: tuple[Array, Array, Array],
    posture: Array | int,
    bounds: tuple[Array | None, ...],
    exponent: float,
    force_length_velocity: bool,
) -> Sharing:
    (q, qd, torque), (lower, upper, measured, trust) = motion, bounds
    widths, muscles = len(model.dofs), len(model.muscles)
    expect(q.shape[:-1], q=(q, widths), qd=(qd, widths), torque=(torque, widths))
    arm = geometry.moment_arm(model, q, posture)  # m
    if force_length_velocity:
        capacity = muscle.active_force_capacity(model, q, qd, posture)  # N
        passive = muscle.passive_force(model, q, posture)  # N
    else:
        capacity = jnp.broadcast_to(lift(model.max_isometric_force, q.ndim), arm.shape[:-1])  # N
        passive = jnp.zeros_like(capacity)  # N
    lever = arm * capacity[..., None]  # N m per unit activation
    wanted = torque - jnp.sum(arm * passive[..., None], axis=-2)  # N m, of the active forces
    if widths == 1 and lower is None and upper is None and measured is None:
        activation = _share_exactly(lever[..., 0], wanted[..., 0], exponent)
    else:
        activation = effort.least_effort(
            lever.reshape(-1, muscles, widths),
            wanted.reshape(-1, widths),
            exponent,
            jnp.zeros(muscles, q.dtype) if lower is None else lower,
            jnp.ones(muscles, q.dtype) if upper is None else upper,
            _wish(measured, trust, q.shape[:-1], muscles),
        ).reshape(capacity.shape)
    reserve = wanted - jnp.sum(lever * activation[..., None], axis=-2)  # N m
    return Sharing(activation, activation * capacity + passive, reserve)


def _wish(
    measured: Float[Array, "... M"] | None, trust: Float[Array, " M"] | None, batch: tuple[int, ...], muscles: int
) -> effort.Wish | None:
    if measured is None:
        return None
    expect(batch, measured=(measured, muscles))
    flat = measured.reshape(-1, muscles)
    known = jnp.isfinite(flat)
    weight = jnp.full(muscles, _TRUST, flat.dtype) if trust is None else trust
    return effort.Wish(jnp.where(known, flat, 0.0), jnp.where(known, weight[None, :], 0.0))


def _share_exactly(lever: Float[Array, "... M"], wanted: Float[Array, "..."], exponent: float) -> Float[Array, "... M"]:
    """Closed form for one coordinate.

    Optimality makes a_m = min((mu b_m)^e, 1) with e = 1/(p - 1), for muscles that pull the wanted way (b > 0) and zero
    for the others. The torque grows with mu, and muscle k saturates at mu = 1/b_k: it is saturated if the torque at
    that mu is not enough. What is left is carried by the others, and their equation for mu^e is linear.
    """
    power = 1.0 / (exponent - 1.0)
    need = jnp.abs(wanted)[..., None]  # N m
    pull = jnp.maximum(lever * jnp.sign(wanted)[..., None], 0.0)  # N m
    helps = pull > 0
    safe = jnp.where(helps, pull, 1.0)  # N m
    ratio = jnp.minimum(pull[..., None, :] / safe[..., :, None], 1.0)  # b_m / b_k
    # the guard keeps 0^e differentiable
    eased = jnp.where(ratio > 0, jnp.where(ratio > 0, ratio, 1.0) ** power, 0.0)
    torque_at_saturation = jnp.sum(pull[..., None, :] * eased, axis=-1)  # N m, by k
    saturated = helps & (torque_at_saturation <= need)
    free = helps & ~saturated
    left = need - jnp.sum(jnp.where(saturated, pull, 0.0), axis=-1, keepdims=True)  # N m
    strongest = jnp.max(jnp.where(free, pull, 0.0), axis=-1, keepdims=True)  # N m
    strongest = jnp.where(strongest > 0, strongest, 1.0)  # N m
    shape = jnp.where(free, (safe / strongest) ** power, 0.0)
    total = jnp.sum(shape * pull, axis=-1, keepdims=True)  # N m
    share = shape * left / jnp.where(total > 0, total, 1.0)
    return jnp.where(saturated, 1.0, jnp.clip(share, 0.0, 1.0))
