"""The sliding z-score of `pitl.signals.normalise`, for an envelope that comes piece by piece."""

from typing import NamedTuple

import numpy as np

from pitl.signals import normalise
from pitl.signals.normalise import ChannelScale


class Lag(NamedTuple):
    """The sliding z-score's memory, each (C,)."""

    value: np.ndarray
    mean: np.ndarray
    square: np.ndarray  # squared deviation
    variance: np.ndarray


def coefficients(scale: ChannelScale, rate_hz: float) -> tuple[float, float] | None:
    """Of the lags, at the envelope's rate [Hz]; None for other normalisations."""
    half = 0.5 / (rate_hz * scale.window_s)
    return ((1 - half) / (1 + half), half / (1 + half)) if scale.method == "zscore" else None


def zscore(
    lag: tuple[float, float],
    states: tuple[Lag, ...],
    scaled: np.ndarray,
    waits: np.ndarray | None = None,
    keep: int = 1,
) -> tuple[tuple[Lag, ...], np.ndarray]:
    """`normalisation.normalise` of an envelope (N, C) that comes piece by piece.

    Args:
        lag: see `coefficients`.
        states: the memory after the last samples, the latest at the end; empty before the first.
        scaled: what comes.
        waits: (N, C) True where a channel's memory stays as it is; None if nowhere.
        keep: how many states to keep.
    """
    a, b = lag
    out, kept = np.empty_like(scaled), list(states)
    for k, value in enumerate(scaled):
        before = kept[-1] if kept else Lag(value, value, np.zeros_like(value), np.ones_like(value))
        mean = a * before.mean + b * (value + before.value)
        square = (value - mean) ** 2
        variance = a * before.variance + b * (square + before.square)
        out[k] = (value - mean) * (variance + normalise.FLOOR) ** -0.5
        after = Lag(value, mean, square, variance)
        kept.append(after if waits is None else mixed(waits[k], before, after))
    return tuple(kept[-keep:]), out


def mixed(which: np.ndarray, one: Lag, other: Lag) -> Lag:
    """The memory of `one` for some channels (C,), of `other` for the rest."""
    return Lag(*(np.where(which, x, y) for x, y in zip(one, other, strict=True)))


def behind(lag: tuple[float, float], before: np.ndarray, count: int, waits: np.ndarray | None) -> np.ndarray:
    """(N, C) samples that the memory of each channel has missed and not forgotten, after each of `count` more.

    Args:
        lag: see `coefficients`.
        before: (C,) what it had missed.
        count: N.
        waits: see `zscore`.
    """
    if waits is None:
        return before * lag[0] ** (1 + np.arange(count))[:, None]
    result = [before]
    for wait in waits:
        result.append(np.where(wait, result[-1] + 1, lag[0] * result[-1]))
    return np.array(result[1:]).reshape(count, len(before))
