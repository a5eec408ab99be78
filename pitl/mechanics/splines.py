"""Cubic B-splines on an even grid (Sartori et al. 2012, doi 10.1016/j.jbiomech.2011.10.040).

A spline costs the same however fine its grid is, and follows a path that begins to wrap at some angle, where a
polynomial of the whole range oscillates. Value and slope come from the same coefficients.
"""

from collections.abc import Callable, Sequence
from itertools import product
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.mechanics.model import Paths

NODE_SPACING = 0.035  # rad; a spline this fine is within a micrometre of the published polynomials
MARGIN = 2  # a grid of n nodes has n + 2 coefficients


class Taps(NamedTuple):
    """What a position on the grid needs: where its 4^d coefficients lie, and their weights along each coordinate."""

    index: Int[Array, "... 4^d"]
    value: tuple[Float[Array, "... 4"], ...]
    slope: tuple[Float[Array, "... 4"], ...]  # 1/rad


def interpolate(values: np.ndarray) -> np.ndarray:
    """Coefficients (n1 + 2, ..., nd + 2, G) of the splines through values (n1, ..., nd, G) at the nodes.

    At both ends the third derivative is continuous over the last node but one, so cubics are met exactly.
    """
    coefficients = np.asarray(values, float)
    for axis in range(values.ndim - 1):
        nodes = coefficients.shape[axis]
        system = np.zeros((nodes + MARGIN, nodes + MARGIN))
        for row in range(nodes):
            system[row + 1, row : row + 3] = 1 / 6, 4 / 6, 1 / 6
        system[0, :5] = system[-1, -5:] = 1, -4, 6, -4, 1
        right = np.zeros((nodes + MARGIN, *np.delete(coefficients.shape, axis)))
        right[1:-1] = np.moveaxis(coefficients, axis, 0)
        solved = np.linalg.solve(system, right.reshape(nodes + MARGIN, -1)).reshape(right.shape)
        coefficients = np.moveaxis(solved, 0, axis)
    return coefficients


def taps(paths: Paths, q: Any, xp: ModuleType = jnp) -> Taps:
    """Where positions (...) of all D coordinates [rad], inside the grid, find their coefficients; `xp` is jnp or np."""
    index, value, slope, stride = None, [], [], 1
    offsets = np.zeros(1, np.int32)
    for k in reversed(range(len(paths.coordinates))):
        u = (q[paths.coordinates[k]] - paths.start[k]) / paths.step[k]
        left = xp.clip(xp.floor(u), 0, paths.count[k] - 2)
        t = u - left
        value.append(_weights(t, xp))
        slope.append(_slopes(t, xp) / paths.step[k])
        here = left.astype(xp.int32) * stride
        index = here if index is None else index + here
        offsets = (stride * np.arange(4)[:, None] + offsets[None, :]).reshape(-1).astype(np.int32)
        stride *= paths.count[k] + MARGIN
    assert index is not None
    offsets = xp.reshape(xp.asarray(offsets), (1,) * index.ndim + (-1,))
    return Taps(index[..., None] + offsets, tuple(value[::-1]), tuple(slope[::-1]))


def combine(taps: Taps, table: Any, along: tuple[int, ...] = (), xp: ModuleType = jnp) -> Any:
    """The splines (..., G) at the taps' positions, or their derivative along the named axes.

    Args:
        taps: from `taps`.
        table: coefficients (..., 4^d, G), gathered at `taps.index`.
        along: axes of the grid along which to differentiate, once.
        xp: jnp or np.
    """
    total = table
    for k in range(len(taps.value)):
        weight = taps.slope[k] if k in along else taps.value[k]
        parts = total.reshape(*total.shape[:-2], 4, -1, total.shape[-1])
        total = xp.sum(parts * weight[..., :, None, None], axis=-3)
    return total[..., 0, :]


def _weights(t: Any, xp: ModuleType) -> Any:
    """Uniform cubic B-spline basis (..., 4) at the fraction t of an interval."""
    s = 1 - t
    return xp.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=-1) / 6


def _slopes(t: Any, xp: ModuleType) -> Any:
    """Its derivative by t."""
    s = 1 - t
    return xp.stack([-(s**2), 3 * t**2 - 4 * t, -3 * s**2 + 4 * s, t**2], axis=-1) / 2


def nodes(paths: Paths) -> np.ndarray:
    """Positions (n1 * ... * nd, d) of the grid's nodes [rad], the last coordinate varying fastest."""
    axes = [s + h * np.arange(n) for s, h, n in zip(paths.start, paths.step, paths.count, strict=True)]
    return np.array(list(product(*axes)))


class SampledPaths(NamedTuple):
    """Splines of all muscles in all postures, as the fields of a model that they become."""

    groups: tuple[Paths, ...]
    coefficients: tuple[np.ndarray, ...]  # (P, N, G) m
    reference: np.ndarray  # (P, M) m


def sample_paths(
    length: Callable[[int, np.ndarray], np.ndarray],
    limits: np.ndarray,
    crossed: Sequence[tuple[int, ...]],
    postures: int,
    spacing: float,
) -> SampledPaths:
    """Splines through lengths that a function gives.

    Args:
        length: (posture, angles (N, D) [rad]) -> musculotendon lengths (N, M) [m].
        limits: (D, 2) of the grids [rad].
        crossed: coordinates that each muscle's length depends on.
        postures: how many.
        spacing: of the nodes [rad], if that makes no more than 33 along each of several coordinates.
    """
    dofs = len(limits)
    count = [max(5, int(np.ceil((high - low) / spacing)) + 1) for low, high in limits]
    count = count if dofs == 1 else [min(c, 33) for c in count]
    groups, grids, reference = [], [], np.zeros((postures, len(crossed)))
    for own in dict.fromkeys(crossed):
        members = [m for m, c in enumerate(crossed) if c == own]
        start = tuple(float(limits[c, 0]) for c in own)
        step = tuple(float(limits[c, 1] - limits[c, 0]) / (count[c] - 1) for c in own)
        group = Paths(own, tuple(members), start, step, tuple(count[c] for c in own))
        angles = np.zeros((len(nodes(group)), dofs))
        angles[:, list(own)] = nodes(group)
        lengths = np.stack([length(p, angles)[:, members] for p in range(postures)])  # m
        reference[:, members] = lengths.mean(axis=1)
        above = lengths - lengths.mean(axis=1, keepdims=True)
        result = [interpolate(v.reshape(*group.count, -1)) for v in above]
        groups.append(group)
        grids.append(np.stack([g.reshape(-1, g.shape[-1]) for g in result]))
    return SampledPaths(tuple(groups), tuple(grids), reference)
