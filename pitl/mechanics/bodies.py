"""Where the bodies are: their frames as functions of the coordinates, and what follows by differentiation."""

from collections.abc import Sequence
from itertools import product
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.errors import PitlError
from pitl.mechanics.model import Link, MusculoskeletalModel
from pitl.mechanics.shapes import at_posture, columns, expect, lift


def features(link: Link, q: Sequence[Any], xp: ModuleType = jnp) -> Any:
    """The functions (..., K) that a link's transform combines, of its own coordinates (...); `xp` is jnp or np."""
    each = [_of_one(link, k, own, xp) for k, own in enumerate(q)]
    if len(each) == 1:
        return each[0]
    total = None
    for column, powers in zip(each, np.array(terms(link)).T, strict=True):
        total = column[..., powers] if total is None else total * column[..., powers]
    return total


def terms(link: Link) -> list[tuple[int, ...]]:
    """Which function of each coordinate the K products of `features` take."""
    if link.basis == "trigonometric":
        return list(product(range(3), repeat=len(link.coordinates)))
    orders = product(range(link.degree + 1), repeat=len(link.coordinates))
    return [order for order in orders if sum(order) <= link.degree]


def _of_one(link: Link, k: int, q: Any, xp: ModuleType) -> Any:
    if link.basis == "trigonometric":
        return xp.stack([xp.ones_like(q), xp.cos(q), xp.sin(q)], axis=-1)
    x = (2 * q - (link.high[k] + link.low[k])) / (link.high[k] - link.low[k])
    result = xp.stack([xp.ones_like(x), x], axis=-1)
    # T_{n+j} = 2 T_n T_j - T_{n-j} doubles the degree: one by one, compiling the derivatives takes minutes
    while (n := result.shape[-1] - 1) < link.degree:
        result = xp.concatenate([result, 2 * result[..., n:] * result[..., 1:] - result[..., n - 1 :: -1]], axis=-1)
    return result[..., : link.degree + 1]


def frames(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> list[Float[Array, "... 3 4"]]:
    """Rotation | translation [m] of each body's frame, in the ground's coordinates, at angles q [rad].

    Beyond the coordinates' range Chebyshev polynomials run away; there a frame continues along its tangent.
    """
    batch = q.shape[:-1]
    expect(batch, q=(q, len(model.dofs)))
    angle = columns(q + lift(model.angle_offset, q.ndim))  # rad
    result: list[Array] = []
    for link, table in zip(model.links, model.link_coefficients, strict=True):
        coefficients = at_posture(table, posture, batch)
        own = _transform(model, link, coefficients, tuple(angle[c] for c in link.coordinates))
        if link.parent < 0:
            result.append(own)
            continue
        before = result[link.parent]
        turned = jnp.sum(before[..., :, :3, None] * own[..., None, :, :], axis=-2)
        result.append(turned + jnp.concatenate([jnp.zeros_like(before[..., :3]), before[..., 3:]], axis=-1))
    return result


def _transform(
    model: MusculoskeletalModel, link: Link, coefficients: Float[Array, "... K 3 4"], angle: tuple[Array, ...]
) -> Float[Array, "... 3 4"]:
    def inside(*a: Array) -> Array:
        return jnp.sum(features(link, a)[..., None, None] * coefficients, axis=-3)

    if link.basis == "trigonometric":
        return inside(*angle)
    limits = [model.angle_range[c] for c in link.coordinates]  # rad
    held = tuple(jnp.clip(a, low, high) for a, (low, high) in zip(angle, limits, strict=True))
    value, change = jax.jvp(inside, held, tuple(a - h for a, h in zip(angle, held, strict=True)))
    return value + change


def body_index(model: MusculoskeletalModel, body: str) -> int:
    """Where a moving body stands in the model's tables.

    Raises:
        PitlError: the model has no such body.
    """
    for k, name in enumerate(model.bodies):
        if body == name or body in name.split("+"):
            return k
    raise PitlError(f"the {model.name} model has no moving body {body!r}; known are {', '.join(model.bodies)}.")


def point(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    body: int,
    place: Float[Array, "... 3"],
) -> Float[Array, "... 3"]:
    """Position in the ground's coordinates [m] of a place on a body [m, body coordinates]."""
    frame = frames(model, q, posture)[body]
    local = jnp.broadcast_to(lift(jnp.asarray(place), q.ndim) if place.ndim == 1 else place, (*q.shape[:-1], 3))
    return jnp.sum(frame[..., :3] * local[..., None, :], axis=-1) + frame[..., 3]


def stacked_frames(
    model: MusculoskeletalModel, q: Float[Array, "... D"], posture: Int[Array, "..."] | int
) -> Float[Array, "... B 3 4"]:
    """All frames in one array."""
    return jnp.stack(frames(model, q, posture), axis=-3)


def unit(d: int, like: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """The direction of coordinate d at every sample."""
    return jnp.broadcast_to(lift(jnp.asarray(np.eye(like.shape[-1])[d], like.dtype), like.ndim), like.shape)
