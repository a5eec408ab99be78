"""Support-vector regression on lagged envelopes, with a Gaussian kernel; one regression for each output.

Drucker et al. 1997, "Support Vector Regression Machines", Advances in Neural Information Processing Systems 9.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from pitl.comparison.baselines import lagged
from pitl.comparison.baselines.lagged import LaggedInputs

_MOST_ROWS = 800  # evenly spaced; training grows with their square
_BLOCKS = 4
_COSTS = (1.0, 10.0, 100.0)
_WIDTHS = (0.1, 0.3, 1.0)  # gamma, in units of one over the number of inputs
_TUBE = 0.05  # standard deviations within which an error costs nothing


class SupportVectors(NamedTuple):
    """A fitted regression of some outputs."""

    compression: lagged.Compression
    mean: np.ndarray  # (C,) envelope over the calibration part
    inputs: Any  # standardises lagged envelopes
    regressions: tuple[Any, ...]  # one an output
    scale: lagged.LagScale
    limits: lagged.Bounds


def fit(inputs: LaggedInputs, rows: np.ndarray, y: np.ndarray) -> SupportVectors:
    """Fits outputs on at most some hundred evenly spaced calibration rows.

    Compression and kernel width, which belong to the inputs, are chosen for all outputs together, cost for each; all
    by cross-validation over contiguous blocks.

    Args:
        inputs: envelopes.
        rows: (W,) rows that may be used.
        y: (W, K) outputs there.
    """
    from sklearn.preprocessing import StandardScaler

    some = np.linspace(0, len(rows) - 1, min(_MOST_ROWS, len(rows))).astype(int)
    mean, scale = inputs.envelope[rows].mean(axis=0), lagged.LagScale.of(y)
    limits = lagged.bounds(y, inputs.posture[rows], inputs.postures)
    rows, z = rows[some], scale.to(y[some])
    folds = lagged.blocks(rows, inputs.trial[rows], _BLOCKS, inputs.window)
    standard: dict[lagged.Compression, Any] = {}
    seen: dict[lagged.Compression, np.ndarray] = {}
    for how in lagged.COMPRESSIONS:
        x = lagged.lags(lagged.compressed(how, inputs.envelope, mean), rows, inputs.window)
        standard[how] = StandardScaler().fit(x)
        seen[how] = _with_posture(standard[how].transform(x), inputs, rows)
    # one output stands for all where the inputs' settings are chosen: the one in the middle of the others
    first = 0 if z.shape[1] == 1 else int(np.argmax(np.abs(np.corrcoef(z.T)).sum(axis=0)))
    choices: list[tuple[float, lagged.Compression, float]] = [
        (_error(seen[how], z[:, first], folds, cost, width), how, width)
        for how in lagged.COMPRESSIONS
        for width, cost in product(_WIDTHS, _COSTS)
    ]
    _, how, width = min(choices, key=lambda c: c[0])
    regressions = []
    for column in z.T:
        cost = min(_COSTS, key=lambda c: _error(seen[how], column, folds, c, width))
        regressions.append(_machine(seen[how], cost, width).fit(seen[how], column))
    return SupportVectors(how, mean, standard[how], tuple(regressions), scale, limits)


def predict(model: SupportVectors, inputs: LaggedInputs, rows: np.ndarray) -> np.ndarray:
    """Outputs (W, K), never outside what the calibration part showed in the same posture."""
    x = lagged.lags(lagged.compressed(model.compression, inputs.envelope, model.mean), rows, inputs.window)
    x = _with_posture(model.inputs.transform(x), inputs, rows)
    predicted = model.scale.back(np.stack([m.predict(x) for m in model.regressions], axis=1))
    return lagged.within(predicted, inputs.posture[rows], model.limits)


def _with_posture(x: np.ndarray, inputs: LaggedInputs, rows: np.ndarray) -> np.ndarray:
    """Inputs with the posture so far apart that rows of two postures hardly know of each other."""
    hot = np.eye(inputs.postures)[inputs.posture[rows]]
    return np.concatenate([x, np.sqrt(x.shape[1]) * hot], axis=1)


def _machine(x: np.ndarray, cost: float, width: float) -> Any:
    from sklearn.svm import SVR

    return SVR(C=cost, gamma=width / x.shape[1], epsilon=_TUBE)


def _error(x: np.ndarray, y: np.ndarray, folds: list[Any], cost: float, width: float) -> float:
    total = 0.0
    for seen, held in folds:
        predicted = _machine(x, cost, width).fit(x[seen], y[seen]).predict(x[held])
        total += float(np.sum((predicted - y[held]) ** 2))
    return total
