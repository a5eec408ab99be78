"""Ridge regression on lagged envelopes: what a careful laboratory does without a network."""

from typing import Any, NamedTuple

import numpy as np

from pitl.comparison.baselines import lagged
from pitl.comparison.baselines.lagged import LaggedInputs

_PENALTIES = np.logspace(0, 5, 11)
_BLOCKS = 5


class Ridge(NamedTuple):
    """A fitted regression of some outputs."""

    compression: lagged.Compression
    mean: np.ndarray  # (C,) envelope over the calibration part
    regression: Any
    scale: lagged.LagScale
    limits: lagged.Bounds


def fit(inputs: LaggedInputs, rows: np.ndarray, y: np.ndarray) -> Ridge:
    """Fits outputs on calibration rows.

    Penalty and compression are chosen there, by cross-validation over contiguous blocks. Each posture has its own
    coefficients.

    Args:
        inputs: envelopes.
        rows: (W,) rows that may be used.
        y: (W, K) outputs there.
    """
    from sklearn.linear_model import Ridge as Regression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mean, scale = inputs.envelope[rows].mean(axis=0), lagged.LagScale.of(y)
    folds = lagged.blocks(rows, inputs.trial[rows], _BLOCKS, inputs.window)
    tried: list[tuple[float, float, lagged.Compression]] = []
    for how in lagged.COMPRESSIONS:
        x = StandardScaler().fit_transform(_seen(inputs, rows, how, mean))
        errors = _held_out_errors(x, scale.to(y).reshape(len(rows), -1), folds)
        tried.append((errors.min(), float(_PENALTIES[errors.argmin()]), how))
    _, penalty, how = min(tried, key=lambda t: t[0])
    regression = make_pipeline(StandardScaler(), Regression(penalty)).fit(_seen(inputs, rows, how, mean), scale.to(y))
    return Ridge(how, mean, regression, scale, lagged.bounds(y, inputs.posture[rows], inputs.postures))


def _held_out_errors(x: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean square error of each penalty on what was held out; one decomposition a fold serves all penalties."""
    errors = np.zeros(len(_PENALTIES))
    for seen, held in folds:
        middle, level = x[seen].mean(axis=0), y[seen].mean(axis=0)
        inner = x[seen] - middle
        size, basis = np.linalg.eigh(inner.T @ inner)
        along, ahead = basis.T @ (inner.T @ (y[seen] - level)), (x[held] - middle) @ basis
        for k, penalty in enumerate(_PENALTIES):
            wrong = ahead @ (along / (np.maximum(size, 0.0) + penalty)[:, None]) + level - y[held]
            errors[k] += np.mean(wrong**2) / len(folds)
    return errors


def predict(model: Ridge, inputs: LaggedInputs, rows: np.ndarray) -> np.ndarray:
    """Outputs (W, K), never outside what the calibration part showed in the same posture."""
    seen = _seen(inputs, rows, model.compression, model.mean)
    predicted = model.scale.back(np.asarray(model.regression.predict(seen)).reshape(len(rows), -1))
    return lagged.within(predicted, inputs.posture[rows], model.limits)


def _seen(inputs: LaggedInputs, rows: np.ndarray, how: lagged.Compression, mean: np.ndarray) -> np.ndarray:
    x = lagged.lags(lagged.compressed(how, inputs.envelope, mean), rows, inputs.window)
    return lagged.by_posture(x, inputs.posture[rows], inputs.postures)
