"""Recordings as rows on the device, and windows gathered from them by the row at which they end."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Samples(NamedTuple):
    """The whole cohort, one row per envelope sample, resident on the device. C channels, D angles, M muscles."""

    jets: Float[Array, "N 3 C"]  # normalised envelope: 1, 1/s, 1/s2
    angle: Float[Array, "N D"]  # rad
    force: Float[Array, "N M"]  # N, labels
    torque: Float[Array, "N D"]  # N m, net muscle torque: true, or by inverse dynamics of the measured motion
    posture: Int[Array, " N"]
    subject: Int[Array, " N"]
    time: Float[Array, " N"]  # s, since the start of the trial


def gather(jets: Float[Array, "N 3 C"], ends: Int[Array, "*B"], window: int, order: int) -> Float[Array, "J *B L C"]:
    """Windows that end at the given rows, with `order` - 1 derivatives in front."""
    return jnp.moveaxis(jets[neighbours(ends, 1 - window, 1), :order], -2, 0)


def neighbours(rows: Int[Array, "*B"], first: int, last: int) -> Int[Array, "*B L"]:
    """Every row together with those around it, from `first` up to, not including, `last`."""
    around = jnp.arange(first, last, dtype=rows.dtype)
    return rows[..., None] + around.reshape((1,) * rows.ndim + (-1,))


COVER = 512  # rows in each segment of a cover


class Cover(NamedTuple):
    """Stretches of `COVER` contiguous rows that hold all rows asked for."""

    first: Any  # (G,) row with which each segment begins
    place: Any  # (W,) of each row asked for, counted through all segments


def cover(rows: Int[np.ndarray, " W"]) -> Cover:
    """The fewest segments that hold rows in any order; a last one may reach over the end of its trial, or of all.

    What such a segment says of rows that nobody asked for is never read.
    """
    each, back = np.unique(rows, return_inverse=True)
    first, place, at = [], np.zeros(len(each), np.int32), 0
    while at < len(each):
        stop = int(np.searchsorted(each, each[at] + COVER))
        place[at:stop] = COVER * len(first) + each[at:stop] - each[at]
        first.append(each[at])
        at = stop
    return Cover(np.array(first, np.int32), place[back.reshape(-1)])
