"""A person's deviation for one window at a time: its Gaussian process folded into a row of its kernel and one product.

It is the mean that `pitl.learn.gaussian_process.predict` gives, with everything that does not depend on the window
folded together, for NumPy (live) and for JAX (export) alike; tests hold the two equal. No interval is made: it would
take a triangular solution for every window.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from pitl.learn.gaussian_process import KNEE, LAGS, Deviation, input_weights

_f = np.float32
_NOTHING = 1e-8  # a variance that is no part of the model (`pitl.learn.gaussian_process.PARTS`)


class KernelRow(NamedTuple):
    """Angle = constant + slope generic + weight kernel(inputs, rows) + linear features, for P postures.

    M calibration rows, F lagged envelopes, D coordinates, Z features; G = F + D inputs of the kernel.
    """

    lags: tuple[int, ...]  # samples of the window
    scale: np.ndarray  # (1, F) of the logarithms, such that the kernel is exp of minus half a squared distance
    generic: np.ndarray  # (1, D) scale of the generic angle [1/rad]
    rows: np.ndarray  # (G, M) in those scales
    half: np.ndarray  # (1, M) half of their squared norms
    halves: np.ndarray  # (G, 1) one half each
    weight: np.ndarray  # (P, M, D) rad
    slope: np.ndarray  # (D,)
    constant: np.ndarray  # (P, D) rad
    linear: np.ndarray | None  # (Z, D) rad; None where the features are not used


def fold(person: Deviation, window: int, postures: int) -> KernelRow:
    """Folds one person's deviation.

    Args:
        person: not stacked.
        window: samples in a window of the network.
        postures: that the network knows.
    """
    h = {k: float(v) for k, v in person.hyper._asdict().items() if k != "channels"}
    variance = {k: np.exp(2 * v) for k, v in h.items() if k.endswith("_sd")}
    units = [np.asarray(x, float) for x in person.units]
    mean, spread, of_inputs, of_features = units
    used = np.asarray(person.rows.used) > 0
    weight = np.asarray(person.weight, float)[:, used].T  # (M, D)
    generic = (np.asarray(person.rows.generic, float)[used] - mean) / spread
    scale = np.asarray(input_weights(person.hyper, len(of_inputs)), float) / of_inputs / np.sqrt(len(of_inputs))
    of_generic = np.exp(-h["generic_length"]) / spread / np.sqrt(len(spread))
    measured = np.asarray(person.rows.inputs, float)[used] * scale, np.asarray(person.rows.generic)[used] * of_generic
    rows = np.concatenate(measured, axis=1)
    features = np.asarray(person.rows.features, float)[used] / of_features
    same = (np.asarray(person.rows.posture)[used][None] == np.arange(postures)[:, None]).astype(float)  # (P, M)
    between = special.expit(h["between"])
    near = variance["smooth_sd"] * (between + (1 - between) * same)
    constant = variance["offset_sd"] * weight.sum(axis=0) + variance["posture_sd"] * same @ weight
    slope = h["gain"] + variance["gain_sd"] * np.sum(generic * weight, axis=0)
    linear = variance["linear_sd"] * features.T @ weight / features.shape[1] / of_features
    return KernelRow(
        tuple(np.linspace(0, window - 1, LAGS).round().astype(int).tolist()),
        scale[None].astype(_f),
        of_generic[None].astype(_f),
        np.ascontiguousarray(rows.T, _f),
        (0.5 * np.sum(rows**2, axis=1))[None].astype(_f),
        np.full((rows.shape[1], 1), 0.5, _f),
        (near[:, :, None] * weight[None] * spread).astype(_f),
        slope.astype(_f),
        (mean + spread * (h["offset"] + constant) - slope * mean).astype(_f),
        (linear * spread).astype(_f) if variance["linear_sd"] > _NOTHING else None,
    )


def kernel(row: KernelRow, windows: Any, generic: Any, xp: Any = np) -> Any:
    """(N, M) similarity with the calibration rows.

    Args:
        row: of a person.
        windows: (N, L, C) of normalised envelopes.
        generic: (N, D) the generic model's angle there [rad].
        xp: NumPy or JAX.
    """
    lagged = xp.concatenate([windows[:, k] for k in row.lags], axis=1)
    x = xp.concatenate([xp.arcsinh(lagged * _f(1 / KNEE)) * row.scale, generic * row.generic], axis=1)
    return xp.exp(x @ row.rows - row.half - (x * x) @ row.halves)
