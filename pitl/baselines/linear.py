"""Ridge regression on lagged envelopes: what a careful laboratory does without a network."""

from typing import Any, NamedTuple

import numpy as np

# Ten lags over the window are as good as forty: the envelope is smooth.
_LAGS = 10


class Ridge(NamedTuple):
    """A fitted regression; forces are clipped at zero."""

    angle: Any
    force: Any | None


def lagged(envelope: np.ndarray, rows: np.ndarray, window: int, posture: np.ndarray, postures: int) -> np.ndarray:
    """Lagged envelopes, with a set of coefficients and an intercept for each posture.

    Args:
        envelope: (N, C) normalised envelope.
        rows: (W,) last row of each window.
        window: samples in a window.
        posture: (N,) index.
        postures: how many there are.

    Returns:
        (W, postures * (lags * C + 1)).
    """
    lags = np.round(np.linspace(0, window - 1, _LAGS)).astype(int)
    x = envelope[rows[:, None] - lags].reshape(len(rows), -1)
    x = np.concatenate([x, np.ones((len(rows), 1))], axis=1)
    hot = np.eye(postures)[posture[rows]]
    return (hot[:, :, None] * x[:, None, :]).reshape(len(rows), -1)


def fit(x: np.ndarray, angle: np.ndarray, force: np.ndarray | None) -> Ridge:
    """Fits on the calibration part; the penalty is chosen there, by cross-validation over contiguous blocks.

    Leave-one-out would choose far too little: the neighbours of a left-out row are copies of it.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(y: np.ndarray) -> Any:
        return make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11), cv=KFold(5))).fit(x, y)

    return Ridge(fitted(angle), None if force is None else fitted(force))


def predict(model: Ridge, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Angle (W, D) [rad] and forces (W, M) [N] or None."""
    angle = np.asarray(model.angle.predict(x)).reshape(len(x), -1)
    force = None if model.force is None else np.maximum(np.asarray(model.force.predict(x)).reshape(len(x), -1), 0.0)
    return angle, force
