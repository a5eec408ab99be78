"""The envelope filter for a few samples at a time: `pitl.signals.emg.advance` without its cost of a call.

The same filter on the same state, written as one small matrix for the samples up to the next output, so that a stream
may change between the two from block to block. It gives the envelope alone; live use differentiates nothing.
"""

from typing import NamedTuple

import numpy as np
from scipy import signal

from pitl.signals import emg
from pitl.signals.emg import EnvelopeFilter, EnvelopeState


class Run(NamedTuple):
    """The filter over n samples at once. S sections, K modes."""

    bandpass: np.ndarray  # (2S + n, 2S + n) from (state, samples) to (next state, filtered samples)
    decay: np.ndarray  # (K, 1) of the modes
    drive: np.ndarray  # (K, n) s, of each rectified sample on the modes after the last


class SampleFilter(NamedTuple):
    """`EnvelopeFilter` for few samples."""

    design: EnvelopeFilter
    runs: tuple[Run, ...]  # over 1, 2, ... samples, up to the longest between two outputs
    rest: np.ndarray  # (2S, 1) state of the band-pass at rest, per V of offset
    poles: np.ndarray  # (K, 1) 1/s
    readout: np.ndarray  # (1, K) 1/s
    ratio: float  # raw samples per output


# Up to so many samples at once it is quicker than `emg.advance`.
FEW = 160
_LONGEST = 64
_FORGOTTEN = 1e-4


def sample_filter(design: EnvelopeFilter) -> SampleFilter:
    """The same filter, prepared for runs of few samples."""
    ratio = design.raw_rate_hz / design.rate_hz
    return SampleFilter(
        design,
        tuple(_run(design, n + 1) for n in range(min(int(np.ceil(ratio)), _LONGEST))),
        signal.sosfilt_zi(design.sos).reshape(-1, 1),
        design.poles[:, None],
        design.readout[:1],
        ratio,
    )


def memory_s(design: EnvelopeFilter) -> float:
    """How long the filter remembers what was before a gap [s]: until less than `_FORGOTTEN` of it is in the envelope.

    The worst that a gap leaves: the old envelope, and an electrode offset of its size that the band-pass does not know.
    """
    before = EnvelopeState(np.zeros((len(design.sos), 2, 1)), -1.0 / design.poles[:, None] + 0j, 0, 0)  # 1 V
    longest = 40.0 / float(np.min(-np.real(design.poles))) + 1.0  # s
    left = emg.advance(design, before, np.ones((round(longest * design.raw_rate_hz), 1)))[1].jets[:, 0, 0]
    return float(np.flatnonzero(np.abs(left) > _FORGOTTEN)[-1] + 1) / design.rate_hz


def _run(design: EnvelopeFilter, count: int) -> Run:
    order = 2 * len(design.sos)
    columns = np.zeros((order + count, order + count))
    for k, unit in enumerate(np.eye(order + count)):
        # the band-pass is linear: what it makes of each unit vector of (state, samples) is its matrix
        out, state = signal.sosfilt(design.sos, unit[order:], zi=unit[:order].reshape(-1, 2))
        columns[:, k] = [*np.ravel(state), *out]
    poles, step = design.poles[:, None], 1.0 / design.raw_rate_hz  # 1/s, s
    one = (np.exp(poles * step) - 1.0) / poles  # s
    return Run(columns, np.exp(poles * (count * step)), one * np.exp(poles * (step * np.arange(count)[::-1])))


def advance(filter_: SampleFilter, state: EnvelopeState, raw: np.ndarray) -> tuple[EnvelopeState, np.ndarray]:
    """Takes raw samples (T, C) [V] and gives the envelope samples (N, C) [V] that they complete."""
    count, channels = raw.shape
    if count > FEW:
        state, result = emg.advance(filter_.design, state, raw)
        return state, result.jets[:, 0]
    if not count:
        return state, np.zeros((0, channels))
    order = len(filter_.rest)
    bandpass = filter_.rest * raw[0] if state.bandpass is None else state.bandpass.reshape(order, channels)
    modes, seen, given = state.modes, state.samples, state.outputs
    due = _end(filter_, given)
    result, begin = [], 0
    while begin < count:
        n = min(count - begin, due + 1 - seen, len(filter_.runs))
        run = filter_.runs[n - 1]
        joined = np.empty((order + n, channels))
        joined[:order], joined[order:] = bandpass, raw[begin : begin + n]
        joined = run.bandpass @ joined
        bandpass, rectified = joined[:order], np.abs(joined[order:])  # V
        before, modes = modes, run.decay * modes + run.drive @ rectified
        begin, seen = begin + n, seen + n
        if seen > due:
            result.append(_read(filter_, before, modes, rectified, given))
            given += 1
            due = _end(filter_, given)
    state = EnvelopeState(bandpass.reshape(-1, 2, channels), modes, seen, given)
    return state, np.array(result) if result else np.zeros((0, channels))


def bridge(filter_: SampleFilter, state: EnvelopeState, missing: int) -> tuple[EnvelopeState, np.ndarray]:
    """Lets `missing` lost samples pass: the envelope is held where it is, and time goes on.

    To hold the raw signal instead would look like a muscle that falls silent.
    """
    held = np.maximum(np.real(filter_.readout @ state.modes)[0], 0.0)  # V
    rest = -held / filter_.poles  # the modes that stay at this envelope
    first = state.outputs
    seen = state.samples + missing
    last = int(np.floor((seen - 1) / filter_.ratio + 1e-9))
    count = max(0, last + 1 - first)
    return EnvelopeState(state.bandpass, rest, seen, first + count), np.tile(held, (count, 1))


def _end(filter_: SampleFilter, output: int) -> int:
    """The raw sample that completes an output."""
    return int(np.ceil(output * filter_.ratio - 1e-9))


def _read(
    filter_: SampleFilter, before: np.ndarray, after: np.ndarray, rectified: np.ndarray, output: int
) -> np.ndarray:
    """The envelope at an output, from the modes before and after the run that ends at or just past it."""
    past = _end(filter_, output) - output * filter_.ratio  # raw samples by which the output lies before the last one
    if past > 1e-9:
        if len(rectified) > 1:
            run = filter_.runs[len(rectified) - 2]
            before = run.decay * before + run.drive @ rectified[:-1]
        decay = np.exp(filter_.poles * ((1.0 - past) / filter_.design.raw_rate_hz))
        after = decay * before + ((decay - 1.0) / filter_.poles) * rectified[-1]
    return np.real(filter_.readout @ after)[0]
