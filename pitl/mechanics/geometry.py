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

from pitl.mechanics import splines
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.shapes import at_posture, columns, expect, lift


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
    parts, each = [], columns(q)
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, each)
        parts.append(splines.combine(at, _rows(table, at.index, posture)))
    return _in_order(model, parts, axis=-1) * lift(model.path_scale, q.ndim)


def _slopes(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M D"]:
    """dl/dq [m/rad] inside the range."""
    parts, each = [], columns(q)
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, each)
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


def weighted_moment_arms(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    force: Float[Array, "... M"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... D"]:
    """Sum over muscles r_m F_m [N m] of moment arms and musculotendon forces [N].

    Forces are summed over the muscles of a group before the splines are combined: the matrix of moment arms, muscles
    times joints and mostly zeros, is never made.
    """
    expect(q.shape[:-1], q=(q, len(model.dofs)), force=(force, len(model.muscles)))
    at_posture(model.path_reference, posture, q.shape[:-1])  # refuses a posture per sample that does not fit
    pull = force * lift(model.path_scale, force.ndim)  # N
    angle = _bounded(model, q)

    def slope(a: Array) -> Array:
        return _weighted_slope(model, a, pull, posture)

    if len(model.dofs) == 1:
        return -slope(angle.inside)  # N m
    inside, tilt = jax.jvp(slope, (angle.inside,), (angle.beyond,))
    return -(inside + tilt * (angle.beyond == 0).astype(q.dtype))  # N m


def _weighted_slope(
    model: MusculoskeletalModel, q: Float[Array, "... D"], pull: Float[Array, "... M"], posture: Int[Array, "..."] | int
) -> Float[Array, "... D"]:
    """sum_m F_m dl_m/dq [N m] inside the range."""
    parts: list[Array | None] = [None] * len(model.dofs)
    each = columns(q)
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, each)
        rows = _rows(table, at.index, posture)
        own = jnp.sum(rows * pull[..., None, np.array(group.muscles)], axis=-1, keepdims=True)
        for k, c in enumerate(group.coordinates):
            result, before = splines.combine(at, own, along=(k,))[..., 0], parts[c]
            parts[c] = result if before is None else before + result
    idle = jnp.zeros(q.shape[:-1], q.dtype)
    return jnp.stack([idle if part is None else part for part in parts], axis=-1)


def lengthening_velocity(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
) -> Float[Array, "... M"]:
    """Rate of musculotendon length [m/s]; positive while lengthening."""
    expect(q.shape[:-1], qd=(qd, len(model.dofs)))
    return -jnp.sum(moment_arm(model, q, posture) * qd[..., None, :], axis=-1)  # m/s


_CHUNK = 1024  # rows whose coefficients are in memory at once


class HostGeometry(NamedTuple):
    """Lengths and moment arms as NumPy arrays."""

    length: np.ndarray  # (T, M) m
    arm: np.ndarray  # (T, M, D) m


def on_host(model: MusculoskeletalModel, q: np.ndarray, posture: np.ndarray) -> HostGeometry:
    """`musculotendon_length` and `moment_arm` of many rows q (T, D) [rad], posture (T,), without compiling anything.

    What is looked up once for a recording takes longer to compile than to compute.
    """
    parts = [_few_on_host(model, q[k : k + _CHUNK], posture[k : k + _CHUNK]) for k in range(0, len(q), _CHUNK)]
    return HostGeometry(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _few_on_host(model: MusculoskeletalModel, q: np.ndarray, posture: np.ndarray) -> HostGeometry:
    offset, limits, scale, reference = (
        np.asarray(x, float) for x in (model.angle_offset, model.angle_range, model.path_scale, model.path_reference)
    )
    angle = np.asarray(q, float) + offset  # rad
    inside = np.clip(angle, limits[:, 0], limits[:, 1])
    beyond = angle - inside  # rad
    out = np.any(beyond != 0, axis=1)
    length = reference[posture]  # m
    arm = np.zeros((*length.shape, len(model.dofs)))  # m
    for group, table in zip(model.paths, model.path_coefficients, strict=True):
        at = splines.taps(group, inside.T, np)
        rows, own = np.asarray(table, float)[np.asarray(posture)[:, None], at.index], list(group.muscles)
        length[:, own] += splines.combine(at, rows, (), np) * scale[own]
        for k, c in enumerate(group.coordinates):
            slope = splines.combine(at, rows, (k,), np) * scale[own]  # m/rad
            length[:, own] += slope * beyond[:, c, None]
            arm[:, own, c] -= slope
            for j, d in enumerate(group.coordinates):  # see `moment_arm`
                if j != k and out.any():
                    tilt = splines.combine(at, rows, (k, j), np) * scale[own] * beyond[:, d, None]
                    arm[:, own, c] -= np.where(beyond[:, c, None] == 0, tilt, 0.0)
    return HostGeometry(length, arm)
