"""Equation of motion of jointed rigid bodies, for any number of coordinates.

    M(q) q'' + c(q, q') + g(q; posture) + passive(q, q'; posture) = muscle + external      [N m]

Kinetic and potential energy are those of the bodies' frames T(q), a 3 x 4 matrix a body, with their pseudo-inertias J:

    M_ij = sum <dT/dq_i, dT/dq_j J>     c_i = sum <dT/dq_i, T'' J> at q'' = 0
    g_i = -sum <dT/dq_i, gravity J_4>     where J_4 is the last row of J

(Uicker's formulation, see Featherstone 2008, Rigid Body Dynamics Algorithms). Every term comes from the same frames by
exact differentiation, so energy is conserved whatever functions of the coordinates the frames are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.mechanics import bodies, geometry
from pitl.mechanics.linear import solve
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.shapes import at_posture, expect, lift

_LIMIT_SOFTNESS = 0.05  # rad, over which ligaments begin to push back


class Base(NamedTuple):
    """Known motion of what the first bodies hang on, such as a pelvis, seen from it; the ground stands still.

    With T the base's pose in the ground as a 4 x 4 matrix, `spin` is the upper part of T^-1 T' and `acceleration` of
    T^-1 T''.
    """

    spin: Float[Array, "... 3 4"]  # 1/s | m/s
    acceleration: Float[Array, "... 3 4"]  # 1/s2 | m/s2
    gravity: Float[Array, "... 3"]  # m/s2, in the base's coordinates


class _Motion(NamedTuple):
    """Frames' changes at each sample; stacked over bodies."""

    along: tuple[Float[Array, "... B 3 4"], ...]  # dT/dq_i, one a coordinate
    inertia: Float[Array, "... B 4 4"]  # pseudo-inertia


def _motion(model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int) -> _Motion:
    def stacked(x: Array) -> Array:
        return bodies.stacked_frames(model, x, posture)

    along = tuple(jax.jvp(stacked, (q,), (bodies.unit(d, q),))[1] for d in range(len(model.dofs)))
    return _Motion(along, at_posture(model.pseudo_inertia, posture, q.shape[:-1]))


def _momentum(inertia: Float[Array, "... B 4 4"], rate: Float[Array, "... B 3 4"]) -> Float[Array, "... B 3 4"]:
    """rate times pseudo-inertia, written out: batched matrix products this small are slow on every device."""
    return sum(
        (rate[..., k, None] * inertia[..., None, k, :] for k in range(1, 4)),
        rate[..., 0, None] * inertia[..., None, 0, :],
    )


def _against(along: Sequence[Float[Array, "... B 3 4"]], load: Float[Array, "... B 3 4"]) -> Float[Array, "... D"]:
    return jnp.stack([jnp.sum(a * load, axis=(-3, -2, -1)) for a in along], axis=-1)


def mass_matrix(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int = 0
) -> Float[Array, "... D D"]:
    """Inertia about the joints [kg m2] at angles q [rad]; symmetric and positive definite."""
    expect(q.shape[:-1], q=(q, len(model.dofs)))
    if _is_hinge(model):  # the inertia about an axis is the same at every angle
        postures = len(model.gravity)
        each = _inertia(model, jnp.zeros((postures, 1), q.dtype), jnp.arange(postures))
        return jnp.broadcast_to(at_posture(each, posture, q.shape[:-1]), (*q.shape, 1))  # kg m2
    return _inertia(model, q, posture)


def _is_hinge(model: MusculoskeletalModel) -> bool:
    return len(model.dofs) == 1 and all(link.basis == "trigonometric" for link in model.links)


def _inertia(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... D D"]:
    along, inertia = _motion(model, q, posture)
    return jnp.stack([_against(along, _momentum(inertia, a)) for a in along], axis=-1)  # kg m2


def coriolis_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int = 0,
) -> Float[Array, "... D"]:
    """Coriolis and centrifugal torque c(q, q') [N m]; zero for a single hinge."""
    expect(q.shape[:-1], q=(q, len(model.dofs)), qd=(qd, len(model.dofs)))
    if _is_hinge(model):
        return jnp.zeros_like(q)
    along, inertia = _motion(model, q, posture)

    def rate(x: Array) -> Array:
        return jax.jvp(lambda y: bodies.stacked_frames(model, y, posture), (x,), (qd,))[1]

    bend = jax.jvp(rate, (q,), (qd,))[1]  # T'' at q'' = 0
    return _against(along, _momentum(inertia, bend))  # N m


def gravity_torque(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... D"]:
    """Gradient g(q) of the potential energy [N m]: what muscles must give to hold the bodies still."""
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)))
    inertia = at_posture(model.pseudo_inertia, posture, batch)
    gravity = at_posture(model.gravity, posture, batch)  # m/s2
    moment = lift(model.gravity_scale[:, None], q.ndim + 1) * inertia[..., 3, :]  # kg m | kg
    load = -gravity[..., None, :, None] * moment[..., None, :]
    # backwards through the frames: one product for all coordinates, in a tenth of the time of one by one
    frames, back = jax.vjp(lambda x: bodies.stacked_frames(model, x, posture), q)
    return back(jnp.broadcast_to(load, frames.shape))[0]  # N m


def passive_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... D"]:
    """Torque that damping, joint stiffness and ligaments put up against motion [N m].

    It stands on the left of the equation of motion: positive while it resists flexion. Passive forces of the muscle
    fibres are not in it; they are part of the muscle force.
    """
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)), qd=(qd, len(model.dofs)))
    angle = q + lift(model.angle_offset, q.ndim)  # rad
    rest = at_posture(model.rest_angle, posture, batch)  # rad
    low, high = lift(model.limit_angle[:, 0], q.ndim), lift(model.limit_angle[:, 1], q.ndim)  # rad
    beyond = _LIMIT_SOFTNESS * (
        jax.nn.softplus((angle - high) / _LIMIT_SOFTNESS) - jax.nn.softplus((low - angle) / _LIMIT_SOFTNESS)
    )  # rad
    return (
        lift(model.damping, q.ndim) * qd
        + lift(model.stiffness, q.ndim) * (angle - rest)
        + lift(model.limit_stiffness, q.ndim) * beyond
    )  # N m


def muscle_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    force: Float[Array, "... M"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... D"]:
    """Net torque sum_m r_m(q) F_m [N m] of musculotendon forces [N]."""
    return geometry.weighted_moment_arms(model, q, force, posture)  # N m


def base_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    base: Base,
) -> Float[Array, "... D"]:
    """What a moving base adds to the left of the equation of motion [N m], its other direction of gravity included."""
    batch = q.shape[:-1]
    along, inertia = _motion(model, q, posture)
    frames, rate = jax.jvp(lambda x: bodies.stacked_frames(model, x, posture), (q,), (qd,))
    unit = jnp.zeros_like(frames[..., :1, :]).at[..., 3].set(1.0)
    pose = jnp.concatenate([frames, unit], axis=-2)  # 4 x 4
    swept = jnp.concatenate([rate, jnp.zeros_like(unit)], axis=-2)

    def times(left: Array, right: Array) -> Array:
        return jnp.sum(left[..., None, :, :, None] * right[..., None, :, :], axis=-2)

    load = _momentum(inertia, times(base.acceleration, pose) + 2 * times(base.spin, swept))
    moment = lift(model.gravity_scale[:, None], q.ndim + 1) * inertia[..., 3, :]  # kg m | kg
    change = at_posture(model.gravity, posture, batch) - base.gravity  # m/s2
    return _against(along, load + change[..., None, :, None] * moment[..., None, :])  # N m


class TorqueTerms(NamedTuple):
    """The terms of the equation of motion, each with its sign in the equation above."""

    inertia: Float[Array, "... D"]  # N m
    coriolis: Float[Array, "... D"]  # N m
    gravity: Float[Array, "... D"]  # N m
    passive: Float[Array, "... D"]  # N m
    muscle: Float[Array, "... D"]  # N m
    external: Float[Array, "... D"]  # N m
    residual: Float[Array, "... D"]  # N m, inertia + coriolis + gravity + passive - muscle - external


def terms(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    qdd: Float[Array, "... D"],
    force: Float[Array, "... M"],
    posture: Int[Array, "..."] | int,
    external: Float[Array, "... D"] | None = None,
) -> TorqueTerms:
    """Every term of the equation of motion and what is left over.

    Args:
        model: the physics.
        q: joint angles [rad].
        qd: angular velocities [rad/s].
        qdd: angular accelerations [rad/s2].
        force: musculotendon forces [N].
        posture: index of the posture of each sample, or one index for all.
        external: torque of the outside world on the joints [N m]; None is nothing.

    Raises:
        PitlError: the arrays do not share their leading dimensions.
    """
    outside = jnp.zeros_like(q) if external is None else external
    widths = len(model.dofs)
    expect(q.shape[:-1], q=(q, widths), qd=(qd, widths), qdd=(qdd, widths), external=(outside, widths))
    inertia = jnp.sum(mass_matrix(model, q, posture) * qdd[..., None, :], axis=-1)  # N m
    coriolis = coriolis_torque(model, q, qd, posture)  # N m
    gravity = gravity_torque(model, q, posture)  # N m
    passive = passive_torque(model, q, qd, posture)  # N m
    muscle = muscle_torque(model, q, force, posture)  # N m
    left = inertia + coriolis + gravity + passive - muscle - outside  # N m
    return TorqueTerms(inertia, coriolis, gravity, passive, muscle, outside, left)


def residual(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    qdd: Float[Array, "... D"],
    force: Float[Array, "... M"],
    posture: Int[Array, "..."] | int,
    external: Float[Array, "... D"] | None = None,
) -> Float[Array, "... D"]:
    """Torque by which motion and forces contradict the equation of motion [N m]; arguments as in `terms`."""
    if len(model.dofs) == 1:
        return terms(model, q, qd, qdd, force, posture, external).residual
    outside = jnp.zeros_like(q) if external is None else external
    muscle = muscle_torque(model, q, force, posture)  # N m
    return _carried(model, q, qd, qdd, posture) + passive_torque(model, q, qd, posture) - muscle - outside  # N m


def _carried(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    qdd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... D"]:
    """Inertia, Coriolis and gravity together [N m], in time that grows with the number of bodies.

    sum <dT/dq_i, T'' J - gravity J_4> for all i at once is one product of the frames' transposed derivative; the terms
    one by one need the mass matrix, which grows with the third power.
    """
    expect(q.shape[:-1], q=(q, len(model.dofs)), qd=(qd, len(model.dofs)), qdd=(qdd, len(model.dofs)))

    def stacked(x: Array) -> Array:
        return bodies.stacked_frames(model, x, posture)

    def rate(x: Array, v: Array) -> Array:
        return jax.jvp(stacked, (x,), (v,))[1]

    bend = jax.jvp(rate, (q, qd), (qd, qdd))[1]  # T''
    inertia = at_posture(model.pseudo_inertia, posture, q.shape[:-1])
    gravity = at_posture(model.gravity, posture, q.shape[:-1])  # m/s2
    moment = lift(model.gravity_scale[:, None], q.ndim + 1) * inertia[..., 3, :]  # kg m | kg
    load = _momentum(inertia, bend) - gravity[..., None, :, None] * moment[..., None, :]
    return jax.vjp(stacked, q)[1](load)[0]  # N m


def inverse_dynamics(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    qdd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    external: Float[Array, "... D"] | None = None,
) -> Float[Array, "... D"]:
    """Net muscle torque [N m] that a motion requires; arguments as in `terms`."""
    idle = jnp.zeros((*q.shape[:-1], len(model.muscles)), q.dtype)  # N
    return residual(model, q, qd, qdd, idle, posture, external)


def forward_acceleration(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    force: Float[Array, "... M"],
    posture: Int[Array, "..."] | int,
    external: Float[Array, "... D"] | None = None,
) -> Float[Array, "... D"]:
    """Angular acceleration [rad/s2] under musculotendon forces [N] and external torque [N m]."""
    missing = -residual(model, q, qd, jnp.zeros_like(q), force, posture, external)  # N m
    return solve(mass_matrix(model, q, posture), missing)  # rad/s2
