"""A running stream: from a source through the pipeline to whoever reads, through outages, until its end."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError
from pitl.learn.model import Model, lost_channels_sentence
from pitl.live import electrodes, stream
from pitl.live.block import LOST, LivePrediction, SampleBlock
from pitl.live.source import Layout, Source, Vanished
from pitl.live.stream import Engine, StreamState
from pitl.live.timeline import RateCheck

_WAIT_S = 0.1
_SILENCE_S = 0.25  # of a source, after which the last answer is flagged


@dataclass
class Seat:
    """Where the engine in use sits; putting another one there is how a model is swapped between two blocks."""

    engine: Engine


class Update(NamedTuple):
    """What one turn of the stream brings."""

    block: SampleBlock  # raw samples, perhaps none
    rows: LivePrediction  # answers, perhaps none
    state: StreamState
    compute_s: float  # of this step
    event: str | None  # what the user should know, one sentence


def swap(seat: Seat, model: Model) -> None:
    """Puts another model of the same person in, from the next block on.

    What the stream carries along (filter, window) stays: the next answer is what the new model says of it.

    Raises:
        PitlError: the models are prepared differently, so that the stream cannot go on with the new one.
    """
    old = seat.engine.model
    if (old.emg, old.channels, old.net.window) != (model.emg, model.channels, model.net.window):
        raise PitlError(
            "the new model filters, windows or orders its channels differently from the running one; "
            "start a new stream with it."
        )
    running = seat.engine
    hold_s = running.hold / running.rate_hz
    made = stream.engine(model, running.rate_hz, running.posture, hold_s=hold_s)
    seat.engine = made._replace(missing=running.missing)


def posture_of(model: Model, layout: Layout, chosen: str | None) -> str:
    """The posture to use: what the user chose, else what the source knows, else the only one.

    Raises:
        PitlError: none of these says.
    """
    postures = model.limb.postures
    message = chosen or layout.posture or (postures[0] if len(postures) == 1 else None)
    if message is None:
        raise PitlError(f"the source does not say the posture; add --posture {' or --posture '.join(postures)}.")
    return message


def run(
    seat: Seat,
    source: Source,
    reopen: Callable[[], Source],
    *,
    seconds: float | None = None,
    patience_s: float = 30.0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Update]:
    """Drives the stream, one update a block, until the source ends.

    Args:
        seat: holds the engine.
        source: open; it is closed at the end.
        reopen: opens it again after it has vanished.
        seconds: of samples after which to end; None is never.
        patience_s: how long to try to reopen a source [s].
        stop: asked at every turn.

    Raises:
        PitlError: the source does not come back, or sends at another rate than it says.
    """
    layout = source.layout
    seat.engine = stream.lacking(seat.engine, layout.missing)
    state = stream.start(seat.engine)
    heard, silent, rate = time.monotonic(), False, RateCheck(layout.rate_hz)
    try:
        if layout.missing:
            yield _said(seat.engine, state, _missing(layout), lost=False)
        while not stop():
            if seconds is not None and state.taken + state.held >= seconds * layout.rate_hz:
                return
            try:
                block = source.read(_WAIT_S)
            except Vanished as e:
                source.close()
                yield _said(seat.engine, state, f"{e} Waiting for it to come back.", lost=not silent)
                silent = True
                back = yield from _again(seat.engine, state, e, reopen, layout, patience_s, stop)
                if back is None:
                    return
                source, heard = back, time.monotonic()
                if source.layout.missing != layout.missing:
                    layout = source.layout
                    seat.engine = stream.lacking(seat.engine, layout.missing)
                    state = state._replace(silent=seat.engine.missing)
                    yield _said(seat.engine, state, _missing(layout), lost=False)
                continue
            if block is None:
                return
            state = state._replace(foreign=state.foreign + block.foreign)
            if not len(block.emg):
                if block.event:
                    yield _said(seat.engine, state, block.event, lost=False)
                if not silent and time.monotonic() - heard > _SILENCE_S:
                    silent = True
                    yield _said(seat.engine, state, "the source is silent; the last answer is held.", lost=True)
                continue
            began = time.perf_counter()
            engine = seat.engine
            before, (state, rows) = state, stream.step(engine, state, block)
            took = time.perf_counter() - began
            message = (
                block.event,
                "samples arrive again." if silent else None,
                _unusable(engine, before, state),
                electrodes.told(layout.channels, before.silent, state.silent),
            )
            event = " ".join(s for s in message if s) or None
            heard, silent = time.monotonic(), False
            rate.see(block.time_s, block.first)
            yield Update(block, rows, state, took, event)
    finally:
        source.close()


def _unusable(engine: Engine, before: StreamState, after: StreamState) -> str | None:
    """What the user should know when no usable numbers come, or do again."""
    if after.bad > engine.hold and after.outages > before.outages:
        return (
            f"the source sends no usable numbers (none at all, or more than {stream.ABSURD_V:g} V): answers are lost "
            "until it does; check the amplifier, its cables and its unit."
        )
    if before.bad > engine.hold and not after.bad:
        return "usable numbers arrive again."
    if after.outages > before.outages:
        return "the source sent no usable numbers for a while."
    return None


def _missing(layout: Layout) -> str:
    if not layout.missing:
        return "the source has all channels again."
    return f"{lost_channels_sentence('the source', layout.missing)} Answers are flagged reduced."


def _said(engine: Engine, state: StreamState, event: str, *, lost: bool) -> Update:
    """An event, with the last answer flagged where there is one."""
    nothing = stream.nothing(engine)
    rows = state.last._replace(flag=np.array([LOST])) if lost and state.last is not None else nothing
    return Update(SampleBlock(np.zeros((0, engine.model.net.inputs)), np.zeros(0)), rows, state, 0.0, event)


def _again(
    engine: Engine,
    state: StreamState,
    why: Vanished,
    reopen: Callable[[], Source],
    layout: Layout,
    patience_s: float,
    stop: Callable[[], bool],
) -> Generator[Update, None, Source | None]:
    """Tries to open a vanished source again; None if it was told to stop."""
    until, other = time.monotonic() + patience_s, ""
    while not stop():
        try:
            source = reopen()
            if source.layout[:3] == layout[:3]:
                return source
            source.close()
            other = (
                f"the source came back with {len(source.layout.channels)} channels at {source.layout.rate_hz:g} Hz, "
                f"it had {len(layout.channels)} at {layout.rate_hz:g} Hz; start a new stream."
            )
            raise PitlError(other)
        except PitlError as e:
            if time.monotonic() > until:
                raise PitlError(f"{why} It did not come back within {patience_s:g} s ({other or e})") from e
            yield _said(engine, state, "", lost=False)._replace(event=None)
            time.sleep(_WAIT_S)
    return None
