"""Known loads from outside: a weight that is carried, a force that is measured at a point."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.mechanics import bodies
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.shapes import at_posture, expect


def carry(
    model: MusculoskeletalModel, body: str, mass: float | Float[Array, ""], place: Float[Array, " 3"]
) -> MusculoskeletalModel:
    """The model with a small weight fixed to a body: its inertia counts as well as its weight.

    Args:
        model: without the weight.
        body: name of a moving body.
        mass: of the weight [kg].
        place: where it is, in the body's coordinates [m].

    Raises:
        PitlError: the body is not known.
    """
    index = bodies.body_index(model, body)
    at = jnp.append(jnp.asarray(place, jnp.float32), 1.0)
    added = jnp.asarray(mass, jnp.float32) * at[:, None] * at[None, :]  # kg m2 | kg m | kg
    return replace(model, pseudo_inertia=model.pseudo_inertia.at[:, index].add(added[None]))


def weight_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    qdd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    body: str,
    mass: Float[Array, "..."],
    place: Float[Array, "... 3"],
) -> Float[Array, "... D"]:
    """Torque on the coordinates [N m] of a small weight that is fixed to a body, its inertia included.

    The same as the change of the equation of motion by `carry`, moved to its right side, for weights that differ from
    sample to sample.

    Args:
        model: the mechanics, without the weight.
        q: joint angles [rad].
        qd: angular velocities [rad/s].
        qdd: angular accelerations [rad/s2].
        posture: index of the posture of each sample, or one index for all.
        body: name of a moving body.
        mass: of the weight at each sample [kg]; zero where nothing is carried.
        place: where it is, in the body's coordinates [m], at each sample.

    Raises:
        PitlError: the body is not known, or the shapes do not fit.
    """
    index = bodies.body_index(model, body)
    expect(q.shape[:-1], qd=(qd, len(model.dofs)), qdd=(qdd, len(model.dofs)), place=(place, 3))

    def where(x: Array) -> Array:
        return bodies.point(model, x, posture, index, place)

    def speed(x: Array, v: Array) -> Array:
        return jax.jvp(where, (x,), (v,))[1]

    acceleration = jax.jvp(speed, (q, qd), (qd, qdd))[1]  # m/s2
    down = at_posture(model.gravity, posture, q.shape[:-1])  # m/s2
    return point_force_torque(model, q, posture, body, place, mass[..., None] * (down - acceleration))


def point_force_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    body: str,
    place: Float[Array, "... 3"],
    force: Float[Array, "... 3"],
) -> Float[Array, "... D"]:
    """Torque on the coordinates [N m] of a force on a body: the external term of the equation of motion.

    Args:
        model: the mechanics.
        q: joint angles [rad].
        posture: index of the posture of each sample, or one index for all.
        body: name of a moving body.
        place: where the force acts, in the body's coordinates [m]; one place, or one a sample.
        force: in the ground's coordinates [N], one a sample.

    Raises:
        PitlError: the body is not known, or the shapes do not fit.
    """
    index = bodies.body_index(model, body)
    expect(q.shape[:-1], q=(q, len(model.dofs)), force=(force, 3))

    def where(x: Array) -> Array:
        return bodies.point(model, x, posture, index, place)

    columns = [jax.jvp(where, (q,), (bodies.unit(d, q),))[1] for d in range(len(model.dofs))]  # m/rad
    return jnp.stack([jnp.sum(c * force, axis=-1) for c in columns], axis=-1)  # N m


def ground_force_torque(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    body: str,
    point: Float[Array, "... 3"],
    force: Float[Array, "... 3"],
) -> Float[Array, "... D"]:
    """The same for a point given in the ground's coordinates, as a force plate measures it.

    Args:
        model: the mechanics.
        q: joint angles [rad].
        posture: index of the posture of each sample, or one index for all.
        body: name of the moving body that is pushed.
        point: of application, in the ground's coordinates [m].
        force: in the ground's coordinates [N].

    Raises:
        PitlError: the body is not known, or the shapes do not fit.
    """
    frame = bodies.frames(model, q, posture)[bodies.body_index(model, body)]
    away = point - frame[..., 3]
    local = jnp.sum(frame[..., :3] * away[..., :, None], axis=-2)  # the inverse of a rotation is its transpose
    return point_force_torque(model, q, posture, body, local, force)
