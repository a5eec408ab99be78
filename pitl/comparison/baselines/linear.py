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
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mean, scale = inputs.envelope[rows].mean(axis=0), lagged.LagScale.of(y)
    folds = lagged.blocks(rows, inputs.trial[rows], _BLOCKS, inputs.window)
    tried: list[tuple[float, lagged.Compression, Any]] = []
    for how in lagged.COMPRESSIONS:
        ridge = RidgeCV(_PENALTIES, cv=folds, scoring="neg_mean_squared_error")
        regression = make_pipeline(StandardScaler(), ridge).fit(_seen(inputs, rows, how, mean), scale.to(y))
        tried.append((float(ridge.best_score_ or 0.0), how, regression))
    _, how, regression = max(tried, key=lambda t: t[0])
    return Ridge(how, mean, regression, scale, lagged.bounds(y, inputs.posture[rows], inputs.postures))


def predict(model: Ridge, inputs: LaggedInputs, rows: np.ndarray) -> np.ndarray:
    """Outputs (W, K), never outside what the calibration part showed in the same posture."""
    seen = _seen(inputs, rows, model.compression, model.mean)
    predicted = model.scale.back(np.asarray(model.regression.predict(seen)).reshape(len(rows), -1))
    return lagged.within(predicted, inputs.posture[rows], model.limits)


def _seen(inputs: LaggedInputs, rows: np.ndarray, how: lagged.Compression, mean: np.ndarray) -> np.ndarray:
    x = lagged.lags(lagged.compressed(how, inputs.envelope, mean), rows, inputs.window)
    return lagged.by_posture(x, inputs.posture[rows], inputs.postures)
