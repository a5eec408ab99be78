"""Batch shapes, checked while tracing: a residual must never broadcast by accident."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.errors import PitlError


def expect(batch: tuple[int, ...], **arrays: tuple[Array, int]) -> None:
    """Raise PitlError unless every array has shape (*batch, width); arrays are given as name=(array, width)."""
    for name, (array, width) in arrays.items():
        if jnp.shape(array) != (*batch, width):
            raise PitlError(
                f"{name} has shape {jnp.shape(array)}, expected {(*batch, width)}: "
                "all motions and forces of one call share the same leading dimensions."
            )


def lift(constant: Float[Array, "..."], ndim: int) -> Float[Array, "..."]:
    """A constant with leading axes of size one, as ranks are never promoted silently."""
    return jnp.reshape(constant, (1,) * (ndim - constant.ndim) + constant.shape)


def columns(q: Float[Array, "... D"]) -> tuple[Float[Array, "..."], ...]:
    """Each coordinate by itself; cut all at once, as D cuts one by one have gradients that cost D times D."""
    return tuple(jnp.unstack(q, axis=-1))


def at_posture(
    table: Float[Array, "P ..."], posture: Int[Array, "..."] | int, batch: tuple[int, ...]
) -> Float[Array, "..."]:
    """The row of each sample's posture; `posture` has shape `batch`, or is one index for all samples."""
    index = jnp.asarray(posture)
    if index.ndim and index.shape != batch:
        raise PitlError(f"posture has shape {index.shape}, expected {batch} or one index for all samples.")
    # with a single posture there is nothing to look up, and a gather per sample is not free
    rows = table[0] if len(table) == 1 else table[index]
    return lift(rows, len(batch) + table.ndim - 1)
