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


def zscore(lag: tuple[float, float], state: Lag | None, scaled: np.ndarray) -> tuple[Lag, np.ndarray]:
    """`normalisation.normalise` of an envelope (N, C) that comes piece by piece."""
    a, b = lag
    out = np.empty_like(scaled)
    for k, value in enumerate(scaled):
        if state is None:
            state = Lag(value, value, np.zeros_like(value), np.ones_like(value))
        mean = a * state.mean + b * (value + state.value)
        square = (value - mean) ** 2
        variance = a * state.variance + b * (square + state.square)
        out[k] = (value - mean) * (variance + normalise.FLOOR) ** -0.5
        state = Lag(value, mean, square, variance)
    assert state is not None
    return state, out
