"""From raw EMG to the smooth envelope and its exact time derivatives, causally, in blocks of any size.

The low-pass is kept as a continuous-time filter in modal form: each pole is one complex first-order mode,
advanced exactly for an input held between samples. The envelope and its first and second derivative are
three read-outs of the same state, so nothing is ever differenced, and the state can be read at any instant
between two samples, which is how the envelope is resampled.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import signal

from pitl.config.schema import EmgConfig
from pitl.errors import PitlError

# A chunk bounds the memory that the complex modes take; any size gives the same output.
_CHUNK = 65536


class EnvelopeFilter(NamedTuple):
    """Constants of the pipeline for one sampling rate. K modes: poles of the low-pass, one per conjugate pair."""

    sos: np.ndarray  # (S, 6) band-pass, second-order sections; none where the EMG was rectified before
    poles: np.ndarray  # (K,) 1/s, imaginary part >= 0
    readout: np.ndarray  # (3, K) envelope, its rate and its acceleration from the modes: 1, 1/s, 1/s2
    raw_rate_hz: float
    rate_hz: float
    kind: str = "raw"  # of the EMG: "raw", "rectified" or "envelope"


class EnvelopeState(NamedTuple):
    """What a stream carries from block to block."""

    bandpass: np.ndarray | None  # (S, 2, C); None before the first sample
    modes: np.ndarray  # (K, C) V s, the modes at the last sample seen
    samples: int  # raw samples seen
    outputs: int  # envelope samples given


class Envelope(NamedTuple):
    """Envelope samples and their exact derivatives."""

    time_s: np.ndarray  # (N,) since the first raw sample
    jets: np.ndarray  # (N, 3, C): V, V/s, V/s2


def design(settings: EmgConfig, raw_rate_hz: float, kind: str = "raw") -> EnvelopeFilter:
    """Designs the pipeline for one raw sampling rate [Hz] and kind of EMG.

    The upper edge of the band-pass is bounded by 0.45 of the raw rate. The low-pass is a Bessel (default: no
    overshoot to speak of, flat group delay) or Butterworth filter of order three or more; a lower order has no
    continuous second derivative, and what it leaves of the EMG's noise then swamps the joint acceleration.
    Rectified EMG and envelopes are neither band-passed nor rectified again: the same
    low-pass gives them exact derivatives.

    Raises:
        PitlError: if the order is below 3, or the rate is too low for the band or the output.
    """
    low_hz, high_hz = settings.bandpass_hz
    high_hz = min(high_hz, 0.45 * raw_rate_hz)
    if settings.lowpass_order < 3:
        raise PitlError(
            f"emg.lowpass_order is {settings.lowpass_order}; the second derivative needs at least 3 (use 4)."
        )
    if kind == "raw" and high_hz <= 1.5 * low_hz:
        raise PitlError(
            f"EMG sampled at {raw_rate_hz:g} Hz has no band left above {low_hz:g} Hz; raw surface EMG needs about "
            "1000 Hz. If the file holds envelopes, say so: [emg] kind = 'envelope' in cohort.toml."
        )
    if settings.rate_hz > raw_rate_hz:
        raise PitlError(f"emg.rate_hz = {settings.rate_hz:g} is above the raw rate of {raw_rate_hz:g} Hz; lower it.")
    sos: Any = np.zeros((0, 6))
    if kind == "raw":
        sos = signal.butter(2, (low_hz, high_hz), "bandpass", fs=raw_rate_hz, output="sos")
    corner = 2 * np.pi * settings.lowpass_hz  # rad/s
    if settings.lowpass_kind == "bessel":
        zpk: Any = signal.bessel(settings.lowpass_order, corner, analog=True, output="zpk", norm="mag")
    else:
        zpk = signal.butter(settings.lowpass_order, corner, analog=True, output="zpk")
    _, poles, gain = zpk
    differences = poles[:, None] - poles[None, :] + np.eye(len(poles))
    residues = gain / differences.prod(axis=1)
    upper = poles.imag >= -1e-9 * np.abs(poles)
    poles, residues = poles[upper], residues[upper]
    # a conjugate pair contributes twice the real part of one of its modes
    residues = np.where(poles.imag > 1e-9 * np.abs(poles), 2.0, 1.0) * residues
    readout = residues * poles ** np.arange(3)[:, None]
    return EnvelopeFilter(sos, poles, readout, float(raw_rate_hz), float(settings.rate_hz), kind)


def initial_state(filter_: EnvelopeFilter, channels: int) -> EnvelopeState:
    """A stream before its first sample."""
    return EnvelopeState(None, np.zeros((len(filter_.poles), channels), complex), 0, 0)


def advance(filter_: EnvelopeFilter, state: EnvelopeState, raw: np.ndarray) -> tuple[EnvelopeState, Envelope]:
    """Takes the next raw samples of a stream and gives the envelope samples that they complete.

    Args:
        filter_: from `design`.
        state: from `initial_state` or the previous call.
        raw: (T, C) raw EMG [V]; T may be anything, zero included.

    Returns:
        The state to carry on, and the envelope at the output instants up to the last raw sample.
    """
    pieces = []
    for start in range(0, len(raw), _CHUNK):
        state, piece = _advance_chunk(filter_, state, np.asarray(raw[start : start + _CHUNK], float))
        pieces.append(piece)
    if not pieces:
        return state, Envelope(np.zeros(0), np.zeros((0, 3, raw.shape[1])))
    return state, _join(pieces)


def envelope(filter_: EnvelopeFilter, raw: np.ndarray) -> Envelope:
    """The envelope of a whole recording: `advance` from the initial state."""
    return advance(filter_, initial_state(filter_, raw.shape[1]), raw)[1]


def group_delay_s(filter_: EnvelopeFilter) -> float:
    """Delay of the low-pass for slow movements [s]: minus the slope of its phase at zero frequency."""
    # H(s) = sum_k c_k / (s - p_k);  -d(phase)/d(omega) at 0 is -H'(0) / H(0) for a real filter
    residues, poles = filter_.readout[0], filter_.poles
    at_zero = np.sum(residues / -poles).real
    slope = np.sum(-residues / poles**2).real
    return float(-slope / at_zero)


def _advance_chunk(filter_: EnvelopeFilter, state: EnvelopeState, raw: np.ndarray) -> tuple[EnvelopeState, Envelope]:
    bandpass = state.bandpass
    if filter_.kind != "raw":
        rectified = np.abs(raw) if filter_.kind == "rectified" else np.maximum(raw, 0.0)  # V, or parts of the maximum
        if bandpass is None and filter_.kind == "envelope":  # it was there before the recording began
            state = state._replace(modes=-rectified[0][None] / filter_.poles[:, None])
        bandpass = np.zeros((0, 2, raw.shape[1]))
    else:
        if bandpass is None:  # start at rest at the first sample, so that an electrode offset makes no step
            bandpass = signal.sosfilt_zi(filter_.sos)[:, :, None] * raw[0]
        band, bandpass = signal.sosfilt(filter_.sos, raw, axis=0, zi=bandpass)
        rectified = np.abs(band)  # V

    step = 1.0 / filter_.raw_rate_hz  # s
    before = np.empty((len(filter_.poles), len(raw), raw.shape[1]), complex)  # modes at the previous sample
    after = np.empty_like(before[:, 0])
    for k, pole in enumerate(filter_.poles):
        decay = np.exp(pole * step)
        drive = (decay - 1.0) / pole  # s, integral of the decay over one sample
        modes, _ = signal.lfilter([drive], [1.0, -decay], rectified, axis=0, zi=decay * state.modes[k][None])
        before[k, 0], before[k, 1:], after[k] = state.modes[k], modes[:-1], modes[-1]

    # Output j falls into the interval that ends at raw sample ceil(j * ratio) of the stream.
    ratio = filter_.raw_rate_hz / filter_.rate_hz
    seen = state.samples + len(raw)
    last = int(np.floor((seen - 1) / ratio + 1e-9))
    outputs = np.arange(state.outputs, last + 1)
    position = outputs * ratio  # in raw samples
    ends = np.ceil(position - 1e-9).astype(int)
    elapsed = (position - ends + 1.0) * step  # s since the sample before
    local = ends - state.samples
    poles = filter_.poles[:, None]
    decay = np.exp(poles * elapsed)  # (K, N)
    at_output = decay[:, :, None] * before[:, local] + ((decay - 1.0) / poles)[:, :, None] * rectified[local]
    jets = np.einsum("dk,knc->ndc", filter_.readout, at_output).real
    return (
        EnvelopeState(bandpass, after, seen, last + 1),
        Envelope(outputs / filter_.rate_hz, jets),
    )


def _join(pieces: Iterable[Envelope]) -> Envelope:
    times, jets = zip(*pieces, strict=True)
    return Envelope(np.concatenate(times), np.concatenate(jets))
