"""What the regressions see of EMG: lagged envelopes, compressed; and how they choose their settings."""

from typing import Any, Literal, NamedTuple

import numpy as np

# Ten lags over the window are as good as forty: the envelope is smooth.
LAGS = 10
# EMG grows faster than effort, and its noise with its amplitude; laboratories take roots and logarithms.
Compression = Literal["linear", "root", "logarithm"]
COMPRESSIONS: tuple[Compression, ...] = ("linear", "root", "logarithm")
_FLOOR = 0.1  # of the channel's mean, where the logarithm becomes linear


class LaggedInputs(NamedTuple):
    """Everybody's envelopes, on the host."""

    envelope: np.ndarray  # (N, C) normalised
    posture: np.ndarray  # (N,) index
    postures: int
    window: int  # samples
    trial: np.ndarray  # (N,) index of the recording


def compressed(how: Compression, envelope: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Envelopes on the scale on which they are regressed.

    Args:
        how: which scale.
        envelope: (N, C).
        mean: (C,) over the person's calibration part; the unit of the logarithm.
    """
    positive = np.maximum(envelope, 0.0)
    if how == "root":
        return np.sqrt(positive)
    if how == "logarithm":
        return np.log(positive / np.maximum(mean, 1e-9) + _FLOOR)
    return envelope


def lags(x: np.ndarray, rows: np.ndarray, window: int) -> np.ndarray:
    """(W, LAGS * C) values of x (N, C) over the windows that end at `rows`."""
    back = np.round(np.linspace(0, window - 1, LAGS)).astype(int)
    return x[rows[:, None] - back].reshape(len(rows), -1)


def by_posture(x: np.ndarray, posture: np.ndarray, postures: int) -> np.ndarray:
    """(W, postures * (F + 1)): a set of coefficients and an intercept for each posture."""
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    hot = np.eye(postures)[posture]
    return (hot[:, :, None] * x[:, None, :]).reshape(len(x), -1)


def blocks(rows: np.ndarray, trial: np.ndarray, count: int, gap: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds for cross-validation: contiguous blocks of every trial, and nothing within a window of them.

    Neighbouring windows share most of their samples, so a random fold, or leaving one out, would choose far too weak
    a penalty; a fold that holds out a whole trial would ask for a posture that nobody has seen.

    Args:
        rows: (W,) increasing.
        trial: (W,) of each row.
        count: blocks of each trial; fold k holds out block k of all of them.
        gap: rows on either side of a held-out block that are in neither part.

    Returns:
        Positions in `rows` of the training and of the held-out part.
    """
    number = np.zeros(len(rows), int)
    for t in np.unique(trial):
        mine = np.flatnonzero(trial == t)
        number[mine] = np.arange(len(mine)) * count // len(mine)
    result = []
    for k in range(count):
        held = number == k
        near = held.copy()
        for t in np.unique(trial[held]):
            there = rows[held & (trial == t)]
            near |= (trial == t) & (rows >= there.min() - gap) & (rows <= there.max() + gap)
        if held.any() and not near.all():
            result.append((np.flatnonzero(~near), np.flatnonzero(held)))
    return result


class Bounds(NamedTuple):
    """Range of the outputs in the calibration part, by posture: nothing outside it was ever shown."""

    low: np.ndarray  # (postures, K)
    high: np.ndarray


def bounds(y: np.ndarray, posture: np.ndarray, postures: int) -> Bounds:
    """Ranges of y (W, K); a posture that was never shown gets that of all."""
    low, high = (np.tile(f(y, axis=0), (postures, 1)) for f in (np.min, np.max))
    for p in np.unique(posture):
        low[p], high[p] = y[posture == p].min(axis=0), y[posture == p].max(axis=0)
    return Bounds(low, high)


def within(y: np.ndarray, posture: np.ndarray, limits: Bounds) -> np.ndarray:
    """Outputs clipped to what the calibration part showed."""
    return np.clip(y, limits.low[posture], limits.high[posture])


class LagScale(NamedTuple):
    """Standardises outputs, so that those in newtons do not outvote one another."""

    mean: Any
    deviation: Any

    @classmethod
    def of(cls, y: np.ndarray) -> "LagScale":
        return cls(y.mean(axis=0), np.maximum(y.std(axis=0), 1e-9))

    def to(self, y: np.ndarray) -> np.ndarray:
        return (y - self.mean) / self.deviation

    def back(self, z: np.ndarray) -> np.ndarray:
        return z * self.deviation + self.mean
