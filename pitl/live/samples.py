"""The envelope filter for a handful of samples at a time: `pitl.emg.advance` without its cost of a call.

The same filter on the same state, written as one small matrix per raw sample, so that a stream may change between the
two from block to block. It gives the envelope alone; live use differentiates nothing.
"""

from typing import NamedTuple

import numpy as np
from scipy import signal

from pitl import emg
from pitl.emg import EnvelopeFilter, EnvelopeState


class SampleFilter(NamedTuple):
    """`EnvelopeFilter` for one raw sample. S sections, K modes."""

    design: EnvelopeFilter
    bandpass: np.ndarray  # (2S + 1, 2S + 1) from (state, sample) to (next state, filtered sample)
    rest: np.ndarray  # (2S, 1) state of the band-pass at rest, per V of offset
    poles: np.ndarray  # (K, 1) 1/s
    decay: np.ndarray  # (K, 1) of the modes over one sample
    drive: np.ndarray  # (K, 1) s
    readout: np.ndarray  # (1, K) 1/s
    ratio: float  # raw samples per output


# Up to so many samples at once one by one is quicker than `emg.advance`.
FEW = 40


def sample_filter(design: EnvelopeFilter) -> SampleFilter:
    """The same filter, prepared for single samples."""
    order = 2 * len(design.sos)
    columns = np.zeros((order + 1, order + 1))
    for k, unit in enumerate(np.eye(order + 1)):
        # the band-pass is linear: what it makes of each unit vector of (state, sample) is its matrix
        out, state = signal.sosfilt(design.sos, unit[-1:], zi=unit[:-1].reshape(-1, 2))
        columns[:, k] = [*np.ravel(state), out[0]]
    poles = design.poles[:, None]
    decay = np.exp(poles / design.raw_rate_hz)
    return SampleFilter(
        design,
        columns,
        signal.sosfilt_zi(design.sos).reshape(-1, 1),
        poles,
        decay,
        (decay - 1.0) / poles,
        design.readout[:1],
        design.raw_rate_hz / design.rate_hz,
    )


def advance(filter_: SampleFilter, state: EnvelopeState, raw: np.ndarray) -> tuple[EnvelopeState, np.ndarray]:
    """Takes raw samples (T, C) [V] and gives the envelope samples (N, C) [V] that they complete."""
    if len(raw) > FEW:
        state, found = emg.advance(filter_.design, state, raw)
        return state, found.jets[:, 0]
    if not len(raw):
        return state, np.zeros((0, raw.shape[1]))
    order = len(filter_.bandpass) - 1
    joined = np.empty((order + 1, raw.shape[1]))
    if state.bandpass is None:
        joined[:-1] = filter_.rest * raw[0]
    else:
        joined[:-1] = state.bandpass.reshape(order, -1)
    modes, seen, given = state.modes, state.samples, state.outputs
    due = _end(filter_, given)
    found = []
    for x in raw:
        joined[-1] = x
        joined = filter_.bandpass @ joined
        rectified = np.abs(joined[-1])  # V
        before = modes
        modes = filter_.decay * before + filter_.drive * rectified
        if seen == due:
            found.append(_read(filter_, before, modes, rectified, given))
            given += 1
            due = _end(filter_, given)
        seen += 1
    state = EnvelopeState(joined[:-1].reshape(-1, 2, raw.shape[1]), modes, seen, given)
    return state, np.array(found) if found else np.zeros((0, raw.shape[1]))


def bridge(filter_: SampleFilter, state: EnvelopeState, missing: int) -> tuple[EnvelopeState, np.ndarray]:
    """Lets `missing` lost samples pass: the envelope is held where it is, and time goes on.

    To hold the raw signal instead would look like a muscle that falls silent.
    """
    held = np.maximum((filter_.readout @ state.modes).real[0], 0.0)  # V
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
    position = output * filter_.ratio
    past = _end(filter_, output) - position  # raw samples by which the output lies before the last one
    if past > 1e-9:
        decay = np.exp(filter_.poles * ((1.0 - past) / filter_.design.raw_rate_hz))
        after = decay * before + ((decay - 1.0) / filter_.poles) * rectified
    return (filter_.readout @ after).real[0]
