"""One step of the live pipeline: a block of raw samples in, angles and muscle forces out; offline's answer, exactly.

    block -> gaps held or flagged -> envelope -> normalised -> window -> network, deviation

`step` is a pure function of constants (`Engine`), what is carried along (`State`) and a block of any size.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pitl.errors import PitlError
from pitl.learn import gains
from pitl.learn.model import Model
from pitl.live import electrodes, forward, sliding
from pitl.live.block import GOOD, HELD, LOST, REDUCED, LivePrediction, SampleBlock, join
from pitl.mechanics.model import posture_index
from pitl.signals import emg, emg_steps

JITTER_S = 0.02  # s, time stamps without a counter may be off by so much without anything being missing
RESTART_S = 1.0  # s, a sample counter that jumps back further belongs to a source that began again
# Of the time constant of sliding statistics: what they have missed weighs so little then that no answer shows it.
_BEHIND = 0.005
# No amplifier gives that much: such a sample is a fault, or in another unit.
ABSURD_V = 100.0  # V


class Engine(NamedTuple):
    """Everything that does not change from block to block."""

    model: Model
    posture: str
    rate_hz: float  # of the raw signal
    filter: emg_steps.SampleFilter
    answers: tuple[forward.Answer, ...]  # with all channels, and where known without each
    volts: np.ndarray  # (C,) V per unit
    lag: tuple[float, float] | None  # see `sliding.coefficients`
    hold: int  # raw samples, longest gap that is bridged
    forget: int  # envelope samples after a gap, until neither filter nor window remember it
    limits: electrodes.Limits
    remember: int  # envelope samples for which sliding statistics are kept: as long as nobody doubts a channel, and now
    half: tuple[np.ndarray, np.ndarray]  # (M,) half of the forces' intervals: N, and over the force; NaN where unknown
    missing: np.ndarray | None = None  # (C,) True where the source has no such channel; None if it has all


class StreamState(NamedTuple):
    """What a stream carries from block to block. `used`, `held` and `lost` are all instants since its first sample."""

    filter: emg.EnvelopeState
    history: np.ndarray  # (H, C) envelopes before now, not yet divided by `Engine.volts`; H < window
    lags: tuple[sliding.Lag, ...]  # sliding statistics after the last envelope samples, the latest at the end
    fresh: int  # envelope samples since the last gap
    behind: np.ndarray  # (C,) envelope samples that the sliding statistics missed and have not forgotten yet
    expected: tuple[int, float] | None = None  # counter and time [s] of the next raw sample; None before the first
    last: LivePrediction | None = None  # the last answer
    taken: int = 0  # raw samples used so far
    held: int = 0  # raw samples bridged so far
    lost: int = 0  # raw samples lost so far, in gaps too long to bridge
    dropped: int = 0  # raw samples that came and were not used: late, repeated, or no numbers
    gap: int = 0  # raw samples bridged since the last one that was used
    bad: int = 0  # raw samples that came without usable numbers since the last one that was used
    outages: int = 0  # so often no usable number came for longer than is bridged
    foreign: int = 0  # packets of others
    watch: electrodes.Watch | None = None  # over dead channels
    silent: np.ndarray | None = None  # (C,) True where a channel is missing or dead; None if none is
    doubt: np.ndarray | None = None  # (C,) True where a channel may be dying; None if none is
    calm: np.ndarray | None = None  # (C,) envelope samples since then; None once all that is forgotten


def engine(model: Model, rate_hz: float, posture: str | None = None, *, hold_s: float = 0.1) -> Engine:
    """Prepares a model for one raw sampling rate [Hz] and one posture.

    Args:
        posture: a name that the model knows; its first if None.
        hold_s: longest gap that is bridged by holding the envelope [s].

    Raises:
        PitlError: if the rate is too low, the posture is not known, or the model was not fitted to a person, or to raw
            EMG.
    """
    if model.channel_scale is None:
        raise PitlError(
            "this is a generic model: it has no scale for this person's electrodes; personalise it first, "
            "with `pitl calibrate` or `pitl personalize`."
        )
    if model.emg_kind != "raw":
        raise PitlError(f"this model learned from {model.emg_kind} EMG; live streams are raw: learn from raw EMG.")
    scale, rate = model.channel_scale, model.emg.rate_hz
    posture = model.limb.postures[0] if posture is None else posture
    filter_ = emg_steps.sample_filter(emg.design(model.emg, rate_hz))
    forget = int(np.ceil(emg_steps.memory_s(filter_.design) * rate)) + model.net.window
    return Engine(
        model,
        posture,
        rate_hz,
        filter_,
        forward.answers(model, posture_index(model.limb, posture)),
        np.asarray(scale.volts, float),
        sliding.coefficients(scale, rate),
        round(hold_s * rate_hz),
        forget,
        electrodes.limits(rate_hz, forget / rate),
        int(np.ceil(electrodes.DOUBT_S * rate)) + 2,
        _intervals(model),
    )


def _intervals(model: Model) -> tuple[np.ndarray, np.ndarray]:
    count, held_back = len(model.limb.muscles), model.history.get("trust", {}).get("force_half_n")
    nothing = np.zeros(count, np.float32)
    if model.gains is not None:
        return nothing, gains.relative_half(model.gains).astype(np.float32)
    return np.full(count, np.nan if held_back is None else held_back, np.float32), nothing


def lacking(engine: Engine, missing: Collection[str]) -> Engine:
    """The same engine for a source that lacks some of the model's channels; blocks have zeros in their place."""
    gone = np.array([c in missing for c in engine.model.channels])
    return engine._replace(missing=gone if gone.any() else None)


def start(engine: Engine) -> StreamState:
    """A stream before its first sample."""
    channels = engine.model.net.inputs
    blank = emg.initial_state(engine.filter.design, channels)
    return StreamState(blank, np.zeros((0, channels)), (), engine.forget, np.zeros(channels), silent=engine.missing)


def step(engine: Engine, state: StreamState, block: SampleBlock) -> tuple[StreamState, LivePrediction]:
    """Takes the next block and gives the answers that it completes.

    A gap of up to `hold` samples is bridged: the envelope stays where it is. A longer one ends with the last answer
    repeated once, flagged LOST, and the pipeline starts afresh. After either, answers are flagged HELD until filter and
    window have forgotten it. Samples that are no numbers, or absurd ones, are a gap too; those that come late are
    dropped. A channel that stands still, or has no numbers while others have, is dead after `electrodes.DEAD_S`: from
    then on it is silent in the whole window, and answers are flagged REDUCED. Once it stands still for
    `electrodes.DOUBT_S`, they are HELD, until that is forgotten or it is dead.
    """
    if block.first is None and (hole := _hole(engine, block)):
        state, before = step(engine, state, _part(block, 0, hole))
        state, after = step(engine, state, _part(block, hole, len(block.emg)))
        return state, join([before, after])
    state, block, first = _in_order(engine, state, block)
    if not len(block.emg):
        return state, nothing(engine)
    usable = np.abs(block.emg) <= ABSURD_V  # False for what is no number
    if usable.all():
        watch, dead, doubt = electrodes.look(engine.limits, state.watch, block.emg, engine.missing)
        if dead is None and doubt is None:
            return _piece(engine, state._replace(watch=watch, silent=engine.missing, doubt=None), block, first)
        heard = np.ones(len(usable), bool)
    else:
        block = block._replace(emg=np.where(usable, block.emg, np.nan))
        here = usable if engine.missing is None else usable & ~engine.missing
        heard = np.asarray(here.any(axis=1))
        watch, dead, doubt = state.watch, None, None
        if heard.any():
            watch, *seen = electrodes.look(engine.limits, state.watch, block.emg[heard], engine.missing)
            at = np.maximum(np.cumsum(heard) - 1, 0)
            dead, doubt = (None if s is None else s[at] for s in seen)
    nobody = np.zeros(usable.shape, bool)
    dead, doubt = (nobody if d is None else d for d in (dead, doubt))
    # samples that are used, and those that are not for the same reason, between one change and the next
    good = np.asarray((usable | dead).all(axis=1)) & heard
    silent = dead if engine.missing is None else dead | engine.missing
    changes = [(x[1:] != x[:-1]).any(axis=1) for x in (silent, doubt)]
    edges = (np.flatnonzero((np.diff(good) != 0) | changes[0] | changes[1]) + 1).tolist()
    result = []
    for begin, end in zip([0, *edges], [*edges, len(good)], strict=True):
        piece = _part(block, begin, end)
        if good[begin]:
            state = _doubted(engine, state, doubt[begin])
            state = state._replace(silent=silent[begin] if silent[begin].any() else None)
            piece = piece._replace(emg=np.where(usable[begin:end], piece.emg, 0.0))
            state, rows = _piece(engine, state, piece, first + begin)
        else:
            state, rows = _unusable(engine, state, piece, first + begin)
        result.append(rows)
    return state._replace(watch=watch), join([nothing(engine), *result])


def _doubted(engine: Engine, state: StreamState, doubt: np.ndarray) -> StreamState:
    """Notes which channels (C,) may be dying: their sliding statistics are as before, and wait."""
    if not doubt.any():
        return state._replace(doubt=None)
    calm = np.full(len(doubt), engine.forget) if state.calm is None else state.calm
    began = doubt & (calm >= engine.forget)
    if state.lags and began.any():
        lags = tuple(sliding.mixed(began, state.lags[0], lag) for lag in state.lags)
        state = state._replace(lags=lags, behind=state.behind + began * (len(lags) - 1))
    return state._replace(doubt=doubt, calm=np.where(doubt, 0, calm))


def _part(block: SampleBlock, begin: int, end: int) -> SampleBlock:
    first = None if block.first is None else block.first + begin
    return SampleBlock(block.emg[begin:end], block.time_s[begin:end], first)


def _hole(engine: Engine, block: SampleBlock) -> int:
    """Where samples are missing within a block without a counter, by their time stamps; 0 if nowhere."""
    count = len(block.time_s)
    if count < 2 or block.time_s[-1] - block.time_s[0] <= (count - 1) / engine.rate_hz + JITTER_S:
        return 0
    steps = np.diff(block.time_s)
    at = int(np.argmax(steps))
    return at + 1 if steps[at] > JITTER_S + 1.0 / engine.rate_hz else 0


def _in_order(engine: Engine, state: StreamState, block: SampleBlock) -> tuple[StreamState, SampleBlock, int]:
    """The block without samples that were seen already, and the counter of its first sample."""
    if state.expected is None or not len(block.emg):
        return state, block, 0 if block.first is None else block.first
    counter, time = state.expected
    if block.first is None:
        ahead = float(block.time_s[0]) - time  # s
        return state, block, counter if abs(ahead) <= JITTER_S else counter + round(ahead * engine.rate_hz)
    late = counter - block.first
    if 0 < late <= RESTART_S * engine.rate_hz:
        late = min(late, len(block.emg))
        return state._replace(dropped=state.dropped + late), _part(block, late, len(block.emg)), counter
    return state, block, block.first


def _piece(engine: Engine, state: StreamState, block: SampleBlock, first: int) -> tuple[StreamState, LivePrediction]:
    """A step on usable samples, whatever is missing before them."""
    missing = 0 if state.expected is None else first - state.expected[0]
    if missing == 0:
        return _contiguous(engine, state, block, first)
    state, gap = _miss(engine, state, missing)
    state, rows = _contiguous(engine, state, block, first)
    return state, join([gap, rows])


def _unusable(engine: Engine, state: StreamState, block: SampleBlock, first: int) -> tuple[StreamState, LivePrediction]:
    """Samples that came without a usable number: held for as long as a gap may be bridged, then lost."""
    count, gap = len(block.emg), nothing(engine)
    if state.expected is None:
        state = state._replace(expected=(first, float(block.time_s[0])))
    elif first != state.expected[0]:
        state, gap = _miss(engine, state, first - state.expected[0])
        state = state._replace(expected=(first, float(block.time_s[0])))
    bad = state.bad + count
    state = state._replace(bad=bad, dropped=state.dropped + count)
    if state.bad > engine.hold >= state.bad - count:
        state = state._replace(outages=state.outages + 1)
    rows, bridged = [gap], min(count, engine.hold - state.gap) if state.filter.bandpass is not None else 0
    for part in (bridged, count - bridged):
        if part > 0:
            state, more = _miss(engine, state, part)
            rows.append(more)
    return state, join(rows)


def _miss(engine: Engine, state: StreamState, missing: int) -> tuple[StreamState, LivePrediction]:
    """Lets a gap pass: bridged if it is short, else the last answer once more and everything from the start.

    A gap below zero is a source that began again.
    """
    if engine.lag is not None:
        state = state._replace(behind=state.behind + max(missing, 0) / engine.filter.ratio)
    if 0 < missing <= engine.hold - state.gap and state.filter.bandpass is not None:
        return _bridge(engine, state, missing)
    assert state.expected is not None
    counter, time = state.expected
    lost, started = max(missing, 0), state.filter.bandpass is not None
    blank = start(engine)
    # the sliding statistics of a channel are the person's: they wait
    state = state._replace(
        filter=blank.filter, history=blank.history, fresh=0, gap=0, lost=state.lost + lost,
        expected=(counter + lost, time + lost / engine.rate_hz),
    )  # fmt: skip
    before = state.last if started else None
    return state, nothing(engine) if before is None else before._replace(flag=np.array([LOST]))


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
        gap=0,
        bad=0,
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
        gap=state.gap + missing,
        fresh=0,
    )
    return _answer(engine, state, envelope, time + (position - seen) / engine.rate_hz, bridged=True)


def _answer(
    engine: Engine, state: StreamState, envelope: np.ndarray, time: np.ndarray, *, bridged: bool
) -> tuple[StreamState, LivePrediction]:
    """What the network says once `envelope` (N, C) [V] has been added to what went before."""
    net, new, silent = engine.model.net, len(envelope), state.silent
    calm, held = state.calm, np.zeros((new, 1), bool)  # (N, C), or (N, 1)
    if calm is not None:
        heard = 1 if state.doubt is None else ~state.doubt
        calm = calm + heard * (1 + np.arange(new))[:, None]
        held = calm < engine.forget
        held = held if silent is None else held & ~silent
        state = state._replace(calm=np.where(held[-1], calm[-1], engine.forget) if new and held[-1].any() else
                               None if new else state.calm)  # fmt: skip
    if engine.lag is not None:
        waits = held if calm is not None else None
        if silent is not None:  # statistics of a dead channel wait
            waits = held | silent
        lags, envelope = sliding.zscore(engine.lag, state.lags, envelope / engine.volts, waits, engine.remember)
        behind = sliding.behind(engine.lag, state.behind, new, waits)
        late = behind * (1 - engine.lag[0]) > _BEHIND
        held = held | (late if silent is None else late & ~silent)
        state = state._replace(lags=lags, behind=behind[-1] if new else state.behind)
    joined = np.concatenate([state.history, envelope])
    units = np.ones_like(engine.volts) if engine.lag is not None else engine.volts
    fresh = np.zeros(new, int) if bridged else state.fresh + 1 + np.arange(new)
    last = int(fresh[-1]) if new else state.fresh
    state = state._replace(history=joined[-(net.window - 1) :] if net.window > 1 else joined[:0], fresh=last)
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
    which = 0 if silent is None or len(engine.answers) == 1 else 1 + int(np.argmax(silent))
    angle, force = forward.apply_answer(engine.answers[which], windows, stamp)
    usual = GOOD if silent is None else LOST if silent.all() else REDUCED
    flag = np.where(((fresh < engine.forget) | held.any(axis=1))[-ready:] & (usual != LOST), HELD, usual)
    half = engine.half[0] + engine.half[1] * force
    rows = LivePrediction(time[-ready:], scaled[-ready:], angle, force, flag, half)
    return state._replace(last=LivePrediction(*(column[-1:] for column in rows))), rows


def nothing(engine: Engine) -> LivePrediction:
    """No answers."""
    model, channels = engine.model.limb, engine.model.net.inputs
    f = np.float32
    return LivePrediction(
        np.zeros(0), np.zeros((0, channels), f), np.zeros((0, len(model.dofs)), f),
        np.zeros((0, len(model.muscles)), f), np.zeros(0, int), np.zeros((0, len(model.muscles)), f),
    )  # fmt: skip
