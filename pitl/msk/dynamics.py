"""Equation of motion of a planar chain of segments, in closed form for any number of coordinates.

    M(q) q'' + c(q, q') + g(q; posture) + passive(q, q'; posture) = muscle + external      [N m]

Written in the segments' absolute orientations theta, where the kinetic energy is 1/2 sum_ij H_ij cos(theta_i - theta_j)
theta_i' theta_j' with constants H, and carried over to the joint angles by theta = base + T q. No matrix is inverted
and nothing is differentiated automatically, so a residual costs a handful of multiplications per sample.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.msk import geometry
from pitl.msk.model import MusculoskeletalModel
from pitl.msk.shapes import at_posture, expect, lift

_LIMIT_SOFTNESS = 0.05  # rad, over which ligaments begin to push back


def _orientation_of_angles(model: MusculoskeletalModel) -> Float[Array, "D D"]:
    """T of theta = base + T q: segment i turns with every coordinate up to i."""
    d = len(model.dofs)
    return jnp.tril(jnp.ones((d, d), jnp.float32)) * model.flexion_sign[None, :]


def _reach(model: MusculoskeletalModel) -> Float[Array, "D D"]:
    """reach[d, i] [m]: how far segment i carries the centre of mass of segment d."""
    d = len(model.dofs)
    below = jnp.tril(jnp.ones((d, d), jnp.float32), k=-1)
    return below * model.segment_length[None, :] + jnp.diag(model.segment_com)


def _coupling(model: MusculoskeletalModel) -> Float[Array, "D D"]:
    """H [kg m2]: mass matrix in absolute orientations, for aligned segments."""
    reach = _reach(model)  # m
    return jnp.einsum("d,di,dj->ij", model.segment_mass, reach, reach) + jnp.diag(model.segment_inertia)  # kg m2


def _bends(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> Float[Array, "... D D"]:
    """theta_i - theta_j [rad]; base orientation cancels."""
    theta = jnp.einsum("ij,...j->...i", _orientation_of_angles(model), q + lift(model.angle_offset, q.ndim))
    return theta[..., :, None] - theta[..., None, :]


def mass_matrix(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> Float[Array, "... D D"]:
    """Inertia about the joints [kg m2] at angles q [rad]; symmetric and positive definite."""
    expect(q.shape[:-1], q=(q, len(model.dofs)))
    coupling = _coupling(model)  # kg m2
    if len(model.dofs) == 1:  # the same at every angle
        return jnp.broadcast_to(coupling, (*q.shape, 1))
    turn = _orientation_of_angles(model)
    absolute = lift(coupling, q.ndim + 1) * jnp.cos(_bends(model, q))  # kg m2
    return jnp.einsum("ki,...kl,lj->...ij", turn, absolute, turn)  # kg m2


def coriolis_torque(
    model: MusculoskeletalModel, q: Float[Array, "... D"], qd: Float[Array, "... D"]
) -> Float[Array, "... D"]:
    """Coriolis and centrifugal torque c(q, q') [N m]; zero for a single coordinate."""
    expect(q.shape[:-1], q=(q, len(model.dofs)), qd=(qd, len(model.dofs)))
    if len(model.dofs) == 1:
        return jnp.zeros_like(q)
    turn = _orientation_of_angles(model)
    rate = jnp.einsum("ij,...j->...i", turn, qd)  # rad/s, of the orientations
    absolute = lift(_coupling(model), q.ndim + 1) * jnp.sin(_bends(model, q))  # kg m2
    return jnp.einsum("ki,...kl,...l->...i", turn, absolute, rate * rate)  # N m


def gravity_torque(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... D"]:
    """Gradient g(q) of the potential energy [N m]: what muscles must give to hold the segments still."""
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)))
    turn = _orientation_of_angles(model)
    base = at_posture(model.base_orientation[:, None], posture, batch)  # rad
    gravity = at_posture(model.gravity, posture, batch)  # m/s2
    theta = base + jnp.einsum("ij,...j->...i", turn, q + lift(model.angle_offset, q.ndim))  # rad
    moment = jnp.einsum("d,di->i", model.gravity_scale * model.segment_mass, _reach(model))  # kg m
    along = gravity[..., 0:1] * jnp.sin(theta) - gravity[..., 1:2] * jnp.cos(theta)  # m/s2
    return jnp.einsum("ij,...i->...j", turn, lift(moment, q.ndim) * along)  # N m


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
    expect(q.shape[:-1], q=(q, len(model.dofs)), force=(force, len(model.muscles)))
    return jnp.sum(geometry.moment_arm(model, q, posture) * force[..., None], axis=-2)  # N m


class Terms(NamedTuple):
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
) -> Terms:
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
    inertia = jnp.sum(mass_matrix(model, q) * qdd[..., None, :], axis=-1)  # N m
    coriolis = coriolis_torque(model, q, qd)  # N m
    gravity = gravity_torque(model, q, posture)  # N m
    passive = passive_torque(model, q, qd, posture)  # N m
    muscle = muscle_torque(model, q, force, posture)  # N m
    left = inertia + coriolis + gravity + passive - muscle - outside  # N m
    return Terms(inertia, coriolis, gravity, passive, muscle, outside, left)


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
    return terms(model, q, qd, qdd, force, posture, external).residual


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
    return terms(model, q, qd, qdd, idle, posture, external).residual


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
    inertia = mass_matrix(model, q)  # kg m2
    if len(model.dofs) == 1:
        return missing / inertia[..., 0]  # rad/s2
    return jnp.linalg.solve(inertia, missing[..., None])[..., 0]  # rad/s2
