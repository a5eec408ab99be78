"""Musculotendon length and moment arms as splines of the joint angles.

Moment arms are the exact negative derivative of length, so that force and motion exchange no energy by mistake.
Outside `angle_range`, where nobody looked, length continues along its tangent and the moment arm stays what it was at
the limit: an untrained network may propose any angle and still gets a finite torque.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.msk import splines
from pitl.msk.model import MusculoskeletalModel
from pitl.msk.shapes import at_posture, expect, lift


class _Bounded(NamedTuple):
    inside: Float[Array, "... D"]  # rad, clipped to the range
    beyond: Float[Array, "... D"]  # rad, what was clipped off


def _bounded(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> _Bounded:
    angle = q + lift(model.angle_offset, q.ndim)  # rad
    limits = lift(model.angle_range, q.ndim + 1)  # rad
    inside = jnp.clip(angle, limits[..., 0], limits[..., 1])
    return _Bounded(inside, angle - inside)


def _rows(table: Float[Array, "P N G"], index: Int[Array, "... K"], posture: Int[Array, "..."] | int) -> Array:
    """Coefficients (..., K, G) at each sample's own place and posture."""
    postures, count, _ = table.shape
    if postures == 1:
        return table[0][index]
    first = jnp.asarray(posture, jnp.int32) * count
    flat = table.reshape(-1, table.shape[-1])
    return flat[index + (first[..., None] if first.ndim else first)]


def _excursion(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M"]:
    """Length [m] above the reference, inside the range."""
    parts = []
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, q)
        parts.append(splines.combine(at, _rows(table, at.index, posture)))
    return _in_order(model, parts, axis=-1) * lift(model.path_scale, q.ndim)


def _slopes(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M D"]:
    """dl/dq [m/rad] inside the range."""
    parts = []
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, q)
        rows = _rows(table, at.index, posture)
        own = {c: splines.combine(at, rows, along=(k,)) for k, c in enumerate(group.coordinates)}
        idle = jnp.zeros((*q.shape[:-1], len(group.muscles)), q.dtype)
        parts.append(jnp.stack([own.get(d, idle) for d in range(len(model.dofs))], axis=-1))
    return _in_order(model, parts, axis=-2) * lift(model.path_scale[:, None], q.ndim + 1)


def _in_order(model: MusculoskeletalModel, parts: list[Array], axis: int) -> Array:
    """Groups of muscles put back into the order of the model's muscles."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([group.muscles for group in model.paths]))
    return jnp.take(jnp.concatenate(parts, axis=axis), jnp.asarray(order), axis=axis)


def musculotendon_length(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M"]:
    """Musculotendon length [m] at joint angles q [rad]."""
    expect(q.shape[:-1], q=(q, len(model.dofs)))
    reference = at_posture(model.path_reference, posture, q.shape[:-1])  # m
    angle = _bounded(model, q)
    slopes = _slopes(model, angle.inside, posture)  # m/rad
    inside = reference + _excursion(model, angle.inside, posture)  # m
    return inside + jnp.sum(slopes * angle.beyond[..., None, :], axis=-1)  # m


def moment_arm(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M D"]:
    """Moment arms r = -dl/dq [m]; positive where a pull increases the coordinate (An 1984, doi 10.1115/1.3138494)."""
    expect(q.shape[:-1], q=(q, len(model.dofs)))
    at_posture(model.path_reference, posture, q.shape[:-1])  # refuses a posture per sample that does not fit
    angle = _bounded(model, q)
    if len(model.dofs) == 1:
        return -_slopes(model, angle.inside, posture)  # m
    # one coordinate beyond its range tilts the length along the coordinates still inside theirs
    slopes, tilt = jax.jvp(lambda a: _slopes(model, a, posture), (angle.inside,), (angle.beyond,))
    return -(slopes + tilt * (angle.beyond == 0).astype(q.dtype)[..., None, :])  # m


def lengthening_velocity(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... M"]:
    """Rate of musculotendon length [m/s]; positive while lengthening."""
    expect(q.shape[:-1], qd=(qd, len(model.dofs)))
    return -jnp.sum(moment_arm(model, q, posture) * qd[..., None, :], axis=-1)  # m/s
