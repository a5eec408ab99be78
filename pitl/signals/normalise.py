"""Normalised envelopes: what makes one person's volts comparable with another's.

Every scale comes from the calibration part of a recording, or from a running estimate of the past, never
from what is still to be predicted.
"""

from typing import Literal, NamedTuple

import numpy as np
from flax import struct
from scipy import signal

from pitl.errors import PitlError

Method = Literal["blend", "mvc", "trial_max", "zscore", "fixed"]
FLOOR = 1e-4  # added to the running variance of the sliding z-score


class ChannelScale(struct.PyTreeNode):
    """How a subject's envelope becomes the network's input."""

    method: str = struct.field(pytree_node=False)
    volts: np.ndarray  # (C,) V per unit of the normalised envelope
    window_s: float = struct.field(pytree_node=False)  # time constant of the sliding z-score


def fit_scale(
    method: Method,
    calibration: np.ndarray,
    channels: tuple[str, ...],
    *,
    mvc: np.ndarray | None = None,
    fixed_v: float = 5e-5,
    window_s: float = 10.0,
) -> ChannelScale:
    """Finds the scale of each channel from the calibration part.

    `"mvc"` divides by the recorded maximum voluntary contraction; `"trial_max"` by the 99th percentile of the
    calibration envelope; `"fixed"` by one voltage for everybody; `"blend"` by the geometric mean of the last
    two, which keeps half of the (logarithmic) information that loudness carries about effort; `"zscore"` needs
    no calibration.

    Args:
        calibration: (T, C) envelope [V].
        channels: C names, for messages.
        mvc: (C,) envelope at maximum voluntary contraction [V].

    Raises:
        PitlError: if a channel is silent during calibration, or MVC is asked for and missing.
    """
    if method == "mvc":
        if mvc is None:
            raise PitlError("emg.normalisation = 'mvc' but no maximum voluntary contraction was recorded; use 'blend'.")
        volts = np.asarray(mvc, float)
    elif method in ("fixed", "zscore"):
        volts = np.full(calibration.shape[1], fixed_v)
    else:
        volts = np.percentile(calibration, 99, axis=0)
        if method == "blend":
            volts = np.sqrt(volts * fixed_v)
    silent = [c for c, v in zip(channels, volts, strict=True) if not (np.isfinite(v) and v > 1e-9)]
    if silent:
        raise PitlError(
            f"channel {', '.join(silent)} is silent in the calibration part (scale below 1 nV); "
            "check the electrode or leave the channel out."
        )
    return ChannelScale(method, volts, window_s)


class ScalePrior(NamedTuple):
    """What other people's scales say of one from little data; logarithms of volts."""

    seconds: np.ndarray  # (K,) of recording that a scale came from, increasing
    short: np.ndarray  # (K, C) mean of the scales from so much
    whole: np.ndarray  # (C,) mean of the scales from all that was recorded
    slope: np.ndarray  # (K,) how much of a person's distance from `short` is one from `whole`, 0 to 1


def learn_scales(seconds: np.ndarray, volts: np.ndarray, whole: np.ndarray) -> ScalePrior:
    """How much short parts of recordings told of the whole, of some people.

    Args:
        seconds: (K,) length of the parts, increasing.
        volts: (K, P, C) everybody's scales from them [V].
        whole: (P, C) from all that they recorded [V].
    """
    x, y = np.log(volts), np.log(whole)
    short, wanted = x.mean(axis=1), y.mean(axis=0)
    x, y = x - short[:, None], y - wanted
    slope = np.sum(x * y, axis=(1, 2)) / np.maximum(np.sum(x**2, axis=(1, 2)), 1e-12)
    f = np.float32  # as a model keeps it: the scale is the same by one that was saved
    return ScalePrior(*(np.asarray(v, f) for v in (seconds, short, wanted, np.clip(slope, 0.0, 1.0))))


def shrink(prior: ScalePrior, volts: np.ndarray, seconds: float) -> np.ndarray:
    """A person's scale (C,) [V] from so many seconds, shrunk to those of other people by how much they tell."""
    known, short, whole, slopes = (np.asarray(v, float) for v in prior)
    at, now = np.log(known), np.log(seconds)
    mean = np.array([np.interp(now, at, channel) for channel in short.T])
    return np.exp(whole + np.interp(now, at, slopes) * (np.log(volts) - mean))


def normalise(scale: ChannelScale, jets: np.ndarray, rate_hz: float) -> np.ndarray:
    """Normalises an envelope together with its derivatives.

    Args:
        scale: from `fit_scale`.
        jets: (N, 3, C) envelope [V] and its derivatives, from the start of a trial.
        rate_hz: of the envelope.

    Returns:
        (N, 3, C): normalised envelope [1], its rate [1/s] and acceleration [1/s2].
    """
    scaled = jets / scale.volts
    return _sliding_zscore(scaled, rate_hz, scale.window_s) if scale.method == "zscore" else scaled


def silence(jets: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Normalised envelopes (..., C) in which the channels that are lost (C,) are what lost channels were in training.

    That is zero, after normalising: a lost channel says nothing, not even that its muscle rests.
    """
    return np.where(silent, 0.0, jets) if silent.any() else jets


def _sliding_zscore(jets: np.ndarray, rate_hz: float, window_s: float) -> np.ndarray:
    """z = (e - m) / sqrt(v), where m' = (e - m) / window and v' = ((e - m)^2 - v) / window."""
    value, rate, acceleration = jets[:, 0], jets[:, 1], jets[:, 2]
    mean = _lag(value, rate_hz, window_s, value[:1])
    mean_rate = (value - mean) / window_s
    mean_acceleration = (rate - mean_rate) / window_s
    d, d1, d2 = value - mean, rate - mean_rate, acceleration - mean_acceleration
    # a unit prior keeps the first seconds, when little has been seen, from being divided by nothing
    variance = _lag(d**2, rate_hz, window_s, np.ones((1, d.shape[1])))
    variance_rate = (d**2 - variance) / window_s
    variance_acceleration = (2 * d * d1 - variance_rate) / window_s
    # s = v^(-1/2) and its derivatives by the chain rule
    v = variance + FLOOR
    s = v**-0.5
    s1 = -0.5 * v**-1.5 * variance_rate
    s2 = 0.75 * v**-2.5 * variance_rate**2 - 0.5 * v**-1.5 * variance_acceleration
    return np.stack([d * s, d1 * s + d * s1, d2 * s + 2 * d1 * s1 + d * s2], axis=1)


def _lag(x: np.ndarray, rate_hz: float, window_s: float, start: np.ndarray) -> np.ndarray:
    """First-order lag of (N, C) with time constant `window_s`, by the trapezoidal rule, from the value `start`."""
    half = 0.5 / (rate_hz * window_s)
    a = (1 - half) / (1 + half)
    b = half / (1 + half)
    # direct form II transposed: the state before the first sample that continues from `start` at x[0]
    y, _ = signal.lfilter([b, b], [1.0, -a], x, axis=0, zi=b * x[:1] + a * start)
    return y
