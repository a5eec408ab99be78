"""Least effort for many frames at once: a convex problem with bounds, solved with a fixed number of cheap steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pitl.mechanics.linear import solve

_STEPS = 30
_CENTRING = 0.15  # by which the barrier falls at each step
_EDGE = 1e-6  # how near activations may come to their bounds
_RESERVE_PRICE = 3e-5  # squared reserve, in units of the muscles' torque, per unit of effort


class Wish(NamedTuple):
    """Where activations would rather be, and how much that matters against effort."""

    activation: Float[Array, "N M"]
    weight: Float[Array, "N M"]  # of the squared distance; zero where nothing is known


class _Iterate(NamedTuple):
    """Frames lie along the last axis, so that every operation is one long vector."""

    a: Float[Array, "M N"]  # activation
    low: Float[Array, "M N"]  # multiplier of the lower bound
    high: Float[Array, "M N"]  # multiplier of the upper bound
    y: Float[Array, "D N"]  # multiplier of the torque


def least_effort(
    lever: Float[Array, "N M D"],
    wanted: Float[Array, "N D"],
    exponent: float,
    lower: Float[Array, " M"],
    upper: Float[Array, " M"],
    wish: Wish | None = None,
) -> Float[Array, "N M"]:
    """Activations that minimise sum a^p + sum w (a - wish)^2 + |reserve|^2 / (2 price), reserve = wanted - lever a.

    Primal-dual interior point; reserves are in units of each coordinate's muscles, so cheap that they stay near a
    ten-thousandth of the muscles' torque where muscles suffice. Newton or gradient steps on the dual stall in single
    precision at the kinks where muscles saturate; the barrier has no kinks.
    """
    p = exponent
    size = jnp.sqrt(jnp.sum(lever * lever, axis=1) + 1e-12)  # N m
    b = jnp.transpose(lever / size[:, None, :], (2, 1, 0))
    target = jnp.transpose(wanted / size)
    dofs = range(b.shape[0])
    lowest, highest = lower[:, None], upper[:, None]
    if wish is None:
        near, pull = jnp.zeros_like(b[0]), jnp.zeros_like(b[0])
    else:
        near, pull = jnp.transpose(wish.activation), 2 * jnp.transpose(wish.weight)

    def room(x: Array, change: Array) -> Array:
        """Largest step that keeps every x positive, and a little more."""
        shrinking = change < 0
        steps = jnp.where(shrinking, -x / jnp.where(shrinking, change, -1.0), jnp.inf)
        return 0.95 * jnp.min(steps, axis=0, keepdims=True)

    def step(now: _Iterate, _: None) -> tuple[_Iterate, None]:
        a, low, high, y = now
        above, below = a - lowest, highest - a
        gap = 0.5 * jnp.mean(low * above + high * below, axis=0, keepdims=True)
        barrier = jnp.maximum(_CENTRING * gap, 1e-8)
        safe = jnp.maximum(a, _EDGE)
        curvature = p * (p - 1) * safe ** (p - 2) + pull + low / above + high / below
        slope = (
            p * safe ** (p - 1)
            + pull * (a - near)
            - sum(b[d] * y[d : d + 1] for d in dofs)
            - barrier / above
            + barrier / below
        )
        loose = 1 / curvature
        missing = [target[d] - jnp.sum(b[d] * a, axis=0) - _RESERVE_PRICE * y[d] for d in dofs]
        system = jnp.stack(
            [
                jnp.stack([jnp.sum(b[i] * b[j] * loose, axis=0) + _RESERVE_PRICE * (i == j) for j in dofs], axis=-1)
                for i in dofs
            ],
            axis=-2,
        )
        right = jnp.stack([missing[d] + jnp.sum(b[d] * slope * loose, axis=0) for d in dofs], axis=-1)
        dy = jnp.moveaxis(solve(system, right), -1, 0)
        da = (sum(b[d] * dy[d : d + 1] for d in dofs) - slope) * loose
        dlow = barrier / above - low - low * da / above
        dhigh = barrier / below - high + high * da / below
        primal = jnp.minimum(1.0, jnp.minimum(room(above, da), room(below, -da)))
        dual = jnp.minimum(1.0, jnp.minimum(room(low, dlow), room(high, dhigh)))
        if p != 2:  # off the quadratic, unequal steps may cycle
            primal = dual = jnp.minimum(primal, dual)
        return _Iterate(
            jnp.clip(a + primal * da, lowest + _EDGE, highest - _EDGE),
            jnp.maximum(low + dual * dlow, 1e-9),
            jnp.maximum(high + dual * dhigh, 1e-9),
            y + dual * dy,
        ), None

    middle = jnp.broadcast_to(0.5 * (lowest + highest), b[0].shape)
    ones = jnp.ones_like(middle)
    start = _Iterate(middle, ones, ones, jnp.zeros_like(target))
    return jnp.transpose(jax.lax.scan(step, start, None, length=_STEPS)[0].a)
