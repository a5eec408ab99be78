"""Musculotendon length and moment arms as polynomials of the joint angles.

Moment arms are the exact negative derivative of length, so that force and motion exchange no energy by mistake.
Outside `angle_range`, where a sixth-order polynomial runs away, length continues along its tangent and the moment
arm stays what it was at the limit: an untrained network may propose any angle and still gets a finite torque.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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


def _powers(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> list[list[Array]]:
    """powers[d][e] = q_d^e, by repeated multiplication: `**` has no gradient at zero and is slow."""
    table = []
    for d in range(len(model.dofs)):
        column = [jnp.ones_like(q[..., d])]
        for _ in range(max(e[d] for e in model.exponents)):
            column.append(column[-1] * q[..., d])
        table.append(column)
    return table


def _monomials(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> Float[Array, "... K"]:
    powers = _powers(model, q)
    columns = []
    for exponent in model.exponents:
        column = powers[0][exponent[0]]
        for d in range(1, len(exponent)):
            column = column * powers[d][exponent[d]]
        columns.append(column)
    return jnp.stack(columns, axis=-1)


def _monomial_gradient(model: MusculoskeletalModel, q: Float[Array, "... D"]) -> Float[Array, "... K D"]:
    powers = _powers(model, q)
    rows = []
    for exponent in model.exponents:
        row = []
        for d, order in enumerate(exponent):
            column = order * powers[d][order - 1] if order else jnp.zeros_like(q[..., d])
            for other in range(len(exponent)):
                if other != d:
                    column = column * powers[other][exponent[other]]
            row.append(column)
        rows.append(jnp.stack(row, axis=-1))
    return jnp.stack(rows, axis=-2)


def _is_power_series(model: MusculoskeletalModel) -> bool:
    return model.exponents == tuple((k,) for k in range(len(model.exponents)))


def _within(
    model: MusculoskeletalModel, coefficients: Float[Array, "... M K"], q: Float[Array, "... D"]
) -> Float[Array, "... M"]:
    """l [m] inside the range."""
    if _is_power_series(model):  # Horner, three times quicker than the table of powers
        total = coefficients[..., -1]
        for k in range(coefficients.shape[-1] - 2, -1, -1):
            total = total * q + coefficients[..., k]
        return total
    return jnp.sum(coefficients * _monomials(model, q)[..., None, :], axis=-1)


def _slopes(
    model: MusculoskeletalModel, coefficients: Float[Array, "... M K"], q: Float[Array, "... D"]
) -> Float[Array, "... M D"]:
    """dl/dq [m/rad] inside the range."""
    if _is_power_series(model):
        last = coefficients.shape[-1] - 1
        total = last * coefficients[..., last]
        for k in range(last - 1, 0, -1):
            total = total * q + k * coefficients[..., k]
        return total[..., None]
    gradient = _monomial_gradient(model, q)
    return jnp.stack(
        [jnp.sum(coefficients * gradient[..., None, :, d], axis=-1) for d in range(len(model.dofs))], axis=-1
    )


def musculotendon_length(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M"]:
    """Musculotendon length [m] at joint angles q [rad]."""
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)))
    coefficients = at_posture(model.length_coefficients, posture, batch)  # m / rad^power
    angle = _bounded(model, q)
    slopes = _slopes(model, coefficients, angle.inside)  # m/rad
    return _within(model, coefficients, angle.inside) + jnp.sum(slopes * angle.beyond[..., None, :], axis=-1)  # m


def moment_arm(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... M D"]:
    """Moment arms r = -dl/dq [m]; positive for a flexor (An et al. 1984, doi 10.1115/1.3138494)."""
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)))
    coefficients = at_posture(model.length_coefficients, posture, batch)  # m / rad^power
    angle = _bounded(model, q)
    if len(model.dofs) == 1:
        return -_slopes(model, coefficients, angle.inside)  # m
    # one coordinate beyond its range tilts the length along the coordinates still inside theirs
    slopes, tilt = jax.jvp(lambda a: _slopes(model, coefficients, a), (angle.inside,), (angle.beyond,))
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
