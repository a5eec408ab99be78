"""A person's deviation for one window at a time: its Gaussian processes folded into rows of their kernels.

It is the mean that `pitl.learn.gaussian_process.predict` gives, with everything that does not depend on the window
folded together, for NumPy (live) and for JAX (export) alike; tests hold the two equal. No interval is made: it would
take a triangular solution on all calibration rows for every window; a few of them weigh the processes.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from pitl.learn import gaussian_process as gp
from pitl.learn.gaussian_process import KNEE, LAGS, Deviation, Hyper, Rows, input_weights

_f = np.float32
_floats = partial(np.ascontiguousarray, dtype=_f)
_NOTHING = 1e-8  # a variance that is no part of the model (`pitl.learn.gaussian_process.PARTS`)


class Sure(NamedTuple):
    """How sure each of K processes is of a window, by the first J of the calibration rows.

    Their covariance with the window, divided by the Cholesky factor, is a product with their similarities, a constant
    and a multiple of the generic angle; its squares are what is known of the window.
    """

    near: np.ndarray  # (P, K, D, J, J) by which similarities are multiplied
    same: np.ndarray  # (P, K, D, J)
    generic: np.ndarray  # (1, K, D, J) by which the generic angle is multiplied, in units
    features: np.ndarray | None  # (Z, K D J) by which features are multiplied
    prior: np.ndarray  # (1, K, 1) variance without any data, the error apart
    of_generic: np.ndarray  # (1, K, 1) the same, times the squared generic angle
    of_features: np.ndarray | None  # (1, K, 1) the same, times the mean squared feature
    error: np.ndarray  # (1, K, 1) variance of what is measured


class KernelRow(NamedTuple):
    """Angle = mean over K processes of constant + slope generic + weight kernel(inputs, rows) + linear features.

    M calibration rows, F lagged envelopes, D coordinates, Z features, P postures; G = F + D inputs of the kernel, which
    is exp of minus half a squared distance, and so of a product and of two squares.
    """

    lags: np.ndarray  # samples of the window
    rows: np.ndarray  # (G, K M) in squared scales
    half: np.ndarray  # (1, K, M) half of their squared norms
    halves: np.ndarray  # (G, K) half of the squared scales
    weight: np.ndarray  # (P, K, M, D) in units
    slope: np.ndarray  # (1, K, D)
    constant: np.ndarray  # (P, K, D) in units
    linear: np.ndarray | None  # (Z, K D) in units; None where the features are not used
    mean: np.ndarray  # (1, D) rad
    spread: np.ndarray  # (1, D) rad
    sure: Sure | None  # of more than one process


def fold(person: Deviation, window: int, postures: int) -> KernelRow:
    """Folds one person's deviation.

    Args:
        person: not stacked.
        window: samples in a window of the network.
        postures: that the network knows.
    """
    first = np.asarray(gp.weighing_rows(person.rows.used))
    order = np.concatenate([first, np.setdiff1d(np.arange(len(person.rows.used)), first)])
    order = order[np.asarray(person.rows.used)[order] > 0]
    rows: Rows = jax.tree.map(lambda x: np.asarray(x)[order], person.rows)
    mean, spread, of_inputs, of_features = (np.asarray(x, float) for x in person.units)
    generic, features = (rows.generic - mean) / spread, rows.features / of_features
    inputs = np.concatenate([rows.inputs, rows.generic], axis=1).astype(float)
    same = (np.asarray(rows.posture)[None] == np.arange(postures)[:, None]).astype(float)  # (P, M)
    parts = []
    for hyper, w in zip(person.hyper, np.asarray(person.weight, float), strict=True):
        h, variance, near = _numbers(hyper, same)
        weight = w[:, order].T  # (M, D)
        of_generic = np.exp(-h["generic_length"]) / spread / np.sqrt(len(spread))
        envelopes = np.asarray(input_weights(hyper, len(of_inputs)), float) / of_inputs / np.sqrt(len(of_inputs))
        squared = np.concatenate([envelopes, of_generic])[:, None] ** 2  # (G, 1)
        constant = variance["offset_sd"] * weight.sum(axis=0) + variance["posture_sd"] * same @ weight
        parts.append(
            (
                squared * inputs.T,
                0.5 * (inputs**2 @ squared)[:, 0],
                0.5 * squared[:, 0],
                near[:, :, None] * weight[None],
                h["gain"] + variance["gain_sd"] * np.sum(generic * weight, axis=0),
                h["offset"] + constant,
                variance["linear_sd"] * features.T @ weight / features.shape[1] / of_features,
            )
        )
    scaled, half, halves, weight, slope, constant, linear = zip(*parts, strict=True)
    return KernelRow(
        np.linspace(0, window - 1, LAGS).round().astype(np.int32),
        _floats(np.concatenate(scaled, axis=1)),
        _floats(np.stack(half)[None]),
        _floats(np.stack(halves, axis=1)),
        _floats(np.stack(weight, axis=1)),
        _floats(np.stack(slope)[None]),
        _floats(np.stack(constant, axis=1)),
        _floats(np.concatenate(linear, axis=1)) if _linear(person) else None,
        mean[None].astype(_f),
        spread[None].astype(_f),
        _fold_sure(person, order[: len(first)], same) if len(person.hyper) > 1 else None,
    )


def _numbers(hyper: Hyper, same: np.ndarray) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """Hyper-parameters, variances, and the variance of the smooth part by posture of window and row (P, M)."""
    h = {k: float(v) for k, v in hyper._asdict().items() if k != "channels"}
    variance = {k: np.exp(2 * v) for k, v in h.items() if k.endswith("_sd")}
    between = special.expit(h["between"])
    return h, variance, variance["smooth_sd"] * (between + (1 - between) * same)


def _linear(person: Deviation) -> bool:
    """Whether any process uses the features."""
    return any(np.exp(2 * float(h.linear_sd)) > _NOTHING for h in person.hyper)


def _fold_sure(person: Deviation, chosen: np.ndarray, same: np.ndarray) -> Sure:
    """By the chosen calibration rows, which are the first of the ordered ones; `same` is of these, (P, M)."""
    units, of_few = person.units, jax.tree.map(lambda x: x[chosen], person.rows)
    few, pairs = jax.tree.map(np.asarray, of_few), gp.pair(units, of_few, of_few)
    generic = ((few.generic - np.asarray(units.mean)) / np.asarray(units.spread)).T[:, None]  # (D, 1, J)
    features = few.features.T / few.features.shape[1] / float(units.features) ** 2  # (Z, J)
    parts = []
    for hyper in person.hyper:
        _, variance, near = _numbers(hyper, same[:, : len(chosen)])
        factor = np.asarray(gp.covariance_factor(hyper, pairs, len(generic)), float)
        inverse = np.linalg.inv(factor).transpose(0, 2, 1)  # (D, J, J)
        always = variance["offset_sd"] + variance["posture_sd"] * same[:, : len(chosen)]
        parts.append(
            (
                near[:, None, :, None] * inverse[None],
                (always[:, None, None] @ inverse[None])[:, :, 0],
                (variance["gain_sd"] * generic @ inverse)[:, 0],
                variance["linear_sd"] * np.concatenate(list(features @ inverse), axis=1),
                [variance["offset_sd"] + variance["posture_sd"] + variance["smooth_sd"]],
                [variance["gain_sd"]],
                [variance["linear_sd"] / float(units.features) ** 2],
                [variance["noise_sd"] + variance["white_sd"] + gp.JITTER],
            )
        )
    near, always, of_angle, of_features, *numbers = zip(*parts, strict=True)
    prior, squared_angle, squared_features, error = (np.array(x, _f)[None] for x in numbers)  # (1, K, 1)
    linear = _linear(person)
    return Sure(
        _floats(np.stack(near, axis=1)),
        _floats(np.stack(always, axis=1)),
        _floats(np.stack(of_angle)[None]),
        _floats(np.concatenate(of_features, axis=1)) if linear else None,
        prior,
        squared_angle,
        squared_features if linear else None,
        error,
    )


def here(row: KernelRow, posture: Any) -> KernelRow:
    """The same for windows of given postures, (N,) or one for all as (1,)."""
    sure = row.sure
    if sure is not None:
        sure = sure._replace(near=sure.near[posture], same=sure.same[posture])
    return row._replace(weight=row.weight[posture], constant=row.constant[posture], sure=sure)


def angle(row: KernelRow, windows: Any, generic: Any, features: Any, xp: Any = np) -> Any:
    """A person's angle (N, D) [rad].

    Args:
        row: of a person, `here`.
        windows: (N, L, C) of normalised envelopes.
        generic: (N, D) the generic model's angle there [rad].
        features: (N, Z) of the generic model's encoder.
        xp: NumPy or JAX.
    """
    count, processes, dofs = windows.shape[0], *row.slope.shape[1:]
    lagged = windows.take(row.lags, axis=1).reshape(count, -1)
    x = xp.concatenate([xp.arcsinh(lagged * _f(1 / KNEE)), generic], axis=1)
    near = xp.exp((x @ row.rows).reshape(count, processes, -1) - row.half - ((x * x) @ row.halves)[:, :, None])
    inherited = ((generic - row.mean) / row.spread)[:, None]  # (N, 1, D)
    value = (near[:, :, None] @ row.weight)[:, :, 0] + row.slope * inherited + row.constant
    if row.linear is not None:
        value = value + (features @ row.linear).reshape(count, processes, dofs)
    if row.sure is None:
        return row.mean + row.spread * value[:, 0]
    share = _mixture_weights(row.sure, near, inherited, features, xp)
    return row.mean + row.spread * (share * value).sum(axis=1)


def _mixture_weights(sure: Sure, near: Any, inherited: Any, features: Any, xp: Any) -> Any:
    """What each process counts (N, K, D)."""
    first = near[:, :, None, None, : sure.near.shape[-1]]  # (N, K, 1, 1, J)
    known = (first @ sure.near)[:, :, :, 0] + sure.same + inherited[:, :, :, None] * sure.generic
    if sure.features is not None:
        known = known + (features @ sure.features).reshape(known.shape)
    prior = sure.prior + sure.of_generic * (inherited * inherited)
    if sure.of_features is not None:
        prior = prior + sure.of_features * (features * features).mean(axis=1)[:, None, None]
    variance = xp.maximum(prior - (known * known).sum(axis=-1), _f(0)) + sure.error
    return gp.mixture_weights(variance, axis=1)
