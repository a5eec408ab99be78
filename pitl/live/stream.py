"""One step of the live pipeline: a block of raw samples in, angles and muscle forces out; offline's answer, exactly.

    block -> gaps held or flagged -> envelope -> normalised -> window -> network

`step` is a pure function of constants (`Engine`), what is carried along (`State`) and a block of any size.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pitl.errors import PitlError
from pitl.learn.model import Model
from pitl.live import electrodes, forward
from pitl.mechanics.model import posture_index
from pitl.signals import emg, emg_steps, normalise

GOOD, HELD, LOST, REDUCED = 0, 1, 2, 3  # flags of an answer
FLAGS = ("good", "held", "lost", "reduced")
JITTER_S = 0.02  # s, time stamps may be off by so much without anything being missing
RESTART_S = 1.0  # s, a sample counter that jumps back further belongs to a source that began again


class SampleBlock(NamedTuple):
    """What a source hands over at once."""

    emg: np.ndarray  # (T, C) V
    time_s: np.ndarray  # (T,) s, on the source's clock
    first: int | None = None  # counter of the first sample, if the source counts
    angle: np.ndarray | None = None  # (T, D) rad, if the source measures it


class LivePrediction(NamedTuple):
    """Answers, one a sample of the envelope."""

    time_s: np.ndarray  # (N,) s, on the source's clock: the instant up to which raw EMG was used
    envelope: np.ndarray  # (N, C) normalised
    angle: np.ndarray  # (N, D) rad
    force: np.ndarray  # (N, M) N
    # (N,) GOOD; HELD: a lost sample was bridged within the window; LOST: the last answer, repeated, or every channel is
    # dead; REDUCED: a channel is missing or dead
    flag: np.ndarray


class Engine(NamedTuple):
    """Everything that does not change from block to block."""

    model: Model
    posture: str
    rate_hz: float  # of the raw signal
    filter: emg_steps.SampleFilter
    network: forward.Forward
    volts: np.ndarray  # (C,) V per unit
    lag: tuple[float, float] | None  # coefficients of the sliding z-score's lags; None for other normalisations
    hold: int  # raw samples, longest gap that is bridged
    limits: electrodes.Limits
    missing: np.ndarray | None = None  # (C,) True where the source has no such channel; None if it has all


class Lag(NamedTuple):
    """The sliding z-score's memory, each (C,)."""

    value: np.ndarray
    mean: np.ndarray
    square: np.ndarray  # squared deviation
    variance: np.ndarray


class StreamState(NamedTuple):
    """What a stream carries from block to block."""

    filter: emg.EnvelopeState
    history: np.ndarray  # (H, C) envelopes before now, not yet divided by `Engine.volts`; H < window
    lag: Lag | None
    fresh: int  # envelope samples since the last bridged one
    expected: tuple[int, float] | None  # counter and time [s] of the sample that should come next
    last: LivePrediction | None  # the last answer
    taken: int  # raw samples used so far
    held: int  # raw samples bridged so far
    lost: int  # raw samples lost so far, in gaps too long to bridge
    watch: electrodes.Watch | None = None  # over dead channels
    silent: np.ndarray | None = None  # (C,) True where a channel is missing or dead; None if none is


def engine(model: Model, rate_hz: float, posture: str | None = None, *, hold_s: float = 0.1) -> Engine:
    """Prepares a model for one raw sampling rate [Hz] and one posture.

    Args:
        posture: a name that the model knows; its first if None.
        hold_s: longest gap that is bridged by holding the envelope [s].

    Raises:
        PitlError: if the rate is too low, the posture is not known, or the model was not fitted to a person.
    """
    if model.channel_scale is None:
        raise PitlError(
            "this is a generic model: it has no scale for this person's electrodes; personalise it first, "
            "with `pitl calibrate` or `pitl personalize`."
        )
    scale, rate = model.channel_scale, model.emg.rate_hz
    posture = model.limb.postures[0] if posture is None else posture
    half = 0.5 / (rate * scale.window_s)
    return Engine(
        model,
        posture,
        rate_hz,
        emg_steps.sample_filter(emg.design(model.emg, rate_hz)),
        forward.forward(model.params, model.net, model.scale, posture_index(model.limb, posture)),
        np.asarray(scale.volts, float),
        ((1 - half) / (1 + half), half / (1 + half)) if scale.method == "zscore" else None,
        round(hold_s * rate_hz),
        electrodes.limits(rate_hz),
    )


def lacking(engine: Engine, missing: Collection[str]) -> Engine:
    """The same engine for a source that lacks some of the model's channels; blocks have zeros in their place."""
    gone = np.array([c in missing for c in engine.model.channels])
    return engine._replace(missing=gone if gone.any() else None)


def start(engine: Engine) -> StreamState:
    """A stream before its first sample."""
    channels = engine.model.net.inputs
    blank = emg.initial_state(engine.filter.design, channels)
    fresh = engine.model.net.window
    return StreamState(blank, np.zeros((0, channels)), None, fresh, None, None, 0, 0, 0, silent=engine.missing)


def step(engine: Engine, state: StreamState, block: SampleBlock) -> tuple[StreamState, LivePrediction]:
    """Takes the next block and gives the answers that it completes.

    A gap of up to `hold` samples is bridged: the envelope stays where it is, and answers are flagged HELD while a
    bridged sample is in their window. A longer one ends with the last answer repeated once, flagged LOST, and the
    pipeline starts afresh. Samples that are not finite numbers count as lost; those that come late are dropped. A
    channel that stands still, or has no finite numbers while others have, is dead after `electrodes.DEAD_S`: from then
    on it is silent in the whole window, and answers are flagged REDUCED.
    """
    block, first = _in_order(engine, state, block)
    if not len(block.emg):
        return state, nothing(engine)
    finite = np.isfinite(block.emg)
    if finite.all():
        watch, dead = electrodes.look(engine.limits, state.watch, block.emg, engine.missing)
        if dead is None:
            state = state._replace(watch=watch, silent=engine.missing)
            return _piece(engine, state, block, first)
        heard = np.ones(len(finite), bool)
    else:
        here = finite if engine.missing is None else finite & ~engine.missing
        heard = np.asarray(here.any(axis=1))
        watch, dead = state.watch, None
        if heard.any():
            watch, seen = electrodes.look(engine.limits, state.watch, block.emg[heard], engine.missing)
            dead = None if seen is None else seen[np.maximum(np.cumsum(heard) - 1, 0)]
    if dead is None:
        dead = np.zeros(finite.shape, bool)
    # samples that are used, and those that are not for the same reason, between one change and the next
    good = np.asarray((finite | dead).all(axis=1)) & heard
    silent = dead if engine.missing is None else dead | engine.missing
    edges = (np.flatnonzero((np.diff(good) != 0) | (silent[1:] != silent[:-1]).any(axis=1)) + 1).tolist()
    result = []
    for begin, end in zip([0, *edges], [*edges, len(good)], strict=True):
        if good[begin]:
            raw = np.where(finite[begin:end], block.emg[begin:end], 0.0)
            state = state._replace(silent=silent[begin] if silent[begin].any() else None)
            state, rows = _piece(engine, state, SampleBlock(raw, block.time_s[begin:end]), first + begin)
            result.append(rows)
    return state._replace(watch=watch), join([nothing(engine), *result])


def join(parts: list[LivePrediction]) -> LivePrediction:
    """Answers one after the other."""
    return LivePrediction(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _in_order(engine: Engine, state: StreamState, block: SampleBlock) -> tuple[SampleBlock, int]:
    """The block without samples that were seen already, and the counter of its first sample."""
    if state.expected is None or not len(block.emg):
        return block, 0 if block.first is None else block.first
    counter, time = state.expected
    if block.first is None:
        ahead = float(block.time_s[0]) - time  # s
        if abs(ahead) <= JITTER_S:
            return block, counter
        return block, counter + round(ahead * engine.rate_hz)
    late = counter - block.first
    if 0 < late <= RESTART_S * engine.rate_hz:
        return SampleBlock(block.emg[late:], block.time_s[late:], counter), counter
    return block, block.first


def _piece(engine: Engine, state: StreamState, block: SampleBlock, first: int) -> tuple[StreamState, LivePrediction]:
    """A step on finite samples, whatever is missing before them."""
    missing = 0 if state.expected is None else first - state.expected[0]
    if missing == 0:
        return _contiguous(engine, state, block, first)
    if 0 < missing <= engine.hold and state.filter.bandpass is not None:
        state, bridged = _bridge(engine, state, missing)
        state, rows = _contiguous(engine, state, block, first)
        return state, join([bridged, rows])
    before, blank = state.last, start(engine)
    lost = state.lost + max(missing, 0)
    state = blank._replace(
        last=before, taken=state.taken, held=state.held, lost=lost, watch=state.watch, silent=state.silent
    )
    state, rows = _contiguous(engine, state, block, first)
    return state, rows if before is None else join([before._replace(flag=np.array([LOST])), rows])


def _contiguous(
    engine: Engine, state: StreamState, block: SampleBlock, first: int
) -> tuple[StreamState, LivePrediction]:
    count, rate = len(block.emg), engine.rate_hz
    seen, given = state.filter.samples, state.filter.outputs
    filter_, envelope = emg_steps.advance(engine.filter, state.filter, block.emg)
    state = state._replace(
        filter=filter_,
        expected=(first + count, float(block.time_s[-1]) + 1.0 / rate),
        taken=state.taken + count,
    )
    if not len(envelope):
        return state, nothing(engine)
    position = (given + np.arange(len(envelope))) * engine.filter.ratio
    ends = np.ceil(position - 1e-9)
    time = block.time_s[ends.astype(int) - seen] - (ends - position) / rate
    return _answer(engine, state, envelope, time, bridged=False)


def _bridge(engine: Engine, state: StreamState, missing: int) -> tuple[StreamState, LivePrediction]:
    assert state.expected is not None
    seen, given = state.filter.samples, state.filter.outputs
    counter, time = state.expected
    filter_, envelope = emg_steps.bridge(engine.filter, state.filter, missing)
    position = (given + np.arange(len(envelope))) * engine.filter.ratio
    state = state._replace(
        filter=filter_,
        expected=(counter + missing, time + missing / engine.rate_hz),
        held=state.held + missing,
        fresh=0,
    )
    return _answer(engine, state, envelope, time + (position - seen) / engine.rate_hz, bridged=True)


def _answer(
    engine: Engine, state: StreamState, envelope: np.ndarray, time: np.ndarray, *, bridged: bool
) -> tuple[StreamState, LivePrediction]:
    """What the network says once `envelope` (N, C) [V] has been added to what went before."""
    net, new, silent = engine.model.net, len(envelope), state.silent
    lag = state.lag
    if engine.lag is not None:
        lag, envelope = _sliding_zscore(engine.lag, lag, envelope / engine.volts)
        if silent is not None and state.lag is not None and lag is not None:  # statistics of a dead channel wait
            lag = Lag(*(np.where(silent, old, new) for old, new in zip(state.lag, lag, strict=True)))
    joined = np.concatenate([state.history, envelope])
    units = np.ones_like(engine.volts) if engine.lag is not None else engine.volts
    fresh = np.zeros(new, int) if bridged else state.fresh + 1 + np.arange(new)
    last = int(fresh[-1]) if new else state.fresh
    state = state._replace(history=joined[-(net.window - 1) :] if net.window > 1 else joined[:0], lag=lag, fresh=last)
    ready = min(new, len(joined) - net.window + 1)  # answers that have a whole window
    if ready <= 0:
        return state, nothing(engine)
    scaled = (joined / units).astype(np.float32)
    if silent is not None:
        scaled[:, silent] = 0.0
    if ready == 1:
        windows = scaled[None, -net.window :]
    else:
        windows = np.swapaxes(sliding_window_view(scaled, net.window, axis=0), 1, 2)[-ready:]
    stamp = (state.filter.outputs - ready + np.arange(ready)) / engine.model.emg.rate_hz  # s
    angle, force = forward.apply(engine.network, windows, stamp)
    usual = GOOD if silent is None else LOST if silent.all() else REDUCED
    flag = np.where((fresh[-ready:] < net.window) & (usual != LOST), HELD, usual)
    rows = LivePrediction(time[-ready:], scaled[-ready:], angle, force, flag)
    return state._replace(last=LivePrediction(*(column[-1:] for column in rows))), rows


def _sliding_zscore(lag: tuple[float, float], state: Lag | None, scaled: np.ndarray) -> tuple[Lag, np.ndarray]:
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


def nothing(engine: Engine) -> LivePrediction:
    """No answers."""
    model, channels = engine.model.limb, engine.model.net.inputs
    f = np.float32
    return LivePrediction(
        np.zeros(0), np.zeros((0, channels), f), np.zeros((0, len(model.dofs)), f),
        np.zeros((0, len(model.muscles)), f), np.zeros(0, int),
    )  # fmt: skip
