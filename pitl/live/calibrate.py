"""A person's model from twenty seconds of following cues, while the stream goes on."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import Supervision
from pitl.errors import PitlError
from pitl.learn import deviation, personal, repetitions, stacked
from pitl.learn import gaussian_process as gp
from pitl.learn.model import Model, stack
from pitl.learn.split import CalibrationRows, pad_rows
from pitl.live.session import Seat, Update, swap
from pitl.live.stream import ABSURD_V, Engine
from pitl.mechanics import weak
from pitl.signals import emg, normalise, windows
from pitl.signals.normalise import ChannelScale
from pitl.signals.samples import Samples

BUSY = ("recording", "preparing", "fitting")
_SHORTEST_S = 5.0  # s
_STILL = 0.05  # rad, a measured angle that moves less was not moved
_FEWEST = 0.5  # part of the windows that has to be usable


class CalibrationTrial(NamedTuple):
    """What was recorded, without a gap in time."""

    emg: np.ndarray  # (T, C) V
    angle: np.ndarray | None  # (T, D) rad
    valid: np.ndarray  # (T,)
    rate_hz: float
    missing: np.ndarray | None = None  # (C,) True where the source has no such channel; None if it has all


def provisional(model: Model) -> Model:
    """A generic model made usable before it knows the person: every channel at the fixed scale.

    Its answers are a guess, good enough to see that something moves.
    """
    if model.channel_scale is not None:
        return model
    volts = np.full(len(model.channels), model.emg.fixed_scale_v)
    return model.replace(channel_scale=ChannelScale(model.emg.normalisation, volts, model.emg.zscore_s))


def fresh(folder: Path) -> Path:
    """The folder, or with a number behind its name if there is one already: a calibration is never overwritten."""
    number, made = 1, folder
    while made.exists():
        number += 1
        made = folder.with_name(f"{folder.name}-{number}")
    return made


def fit(
    model: Model,
    posture: str,
    collected: CalibrationTrial,
    *,
    report: Callable[[int, int], None] | None = None,
) -> Model:
    """Personalises a model on what was recorded: head and corrections, with angle labels if there are any.

    Args:
        model: to start from; what is learned is pulled towards it.
        posture: of the person.
        report: called now and then with the steps done and their total.

    Raises:
        PitlError: the recording is too short, mostly unusable, still, or a channel is silent.
    """
    config, lowpass_hz = model.personalize, model.angle_lowpass_hz
    rate, net = model.emg.rate_hz, model.net
    env = emg.envelope(emg.design(model.emg, collected.rate_hz), np.where(collected.valid[:, None], collected.emg, 0.0))
    scale = _scale(model, env.jets[:, 0], collected.missing)
    jets = normalise.normalise(scale, env.jets, rate)
    if collected.missing is not None:
        jets = normalise.silence(jets, collected.missing)
    count = len(jets)
    nearest = np.minimum(np.round(env.time_s * collected.rate_hz).astype(int), len(collected.valid) - 1)
    angle = _angle(collected, lowpass_hz)
    supervision: Supervision = "none" if angle is None else "angle"
    dofs, muscles = len(model.limb.dofs), len(model.limb.muscles)
    f = np.float32
    samples = Samples(
        jnp.asarray(jets, f),
        jnp.zeros((count, dofs), f) if angle is None else jnp.asarray(angle[nearest], f),
        jnp.zeros((count, muscles), f),
        jnp.zeros((count, dofs), f),
        jnp.full((count,), model.limb.postures.index(posture), np.int32),
        jnp.zeros((count,), np.int32),
        jnp.asarray(env.time_s, f),
    )
    taps = len(weak.kernel(config.weak_kernel_s, rate).average)
    who = _calibration_rows(_usable(collected.valid, nearest, net.window), count - net.window + 1, taps)
    start, shown = stack([model.without_priors()]), {}
    if angle is not None and config.deviation and deviation.prior_of(model) is not None:
        # before the head, so that `warm` compiles it
        rows = np.asarray(who.rows)[np.asarray(who.labelled) > 0]
        start = start.replace(**deviation.fit_people(model, samples, np.zeros(count, np.int32), [rows]))
        shown = repetitions.describe(stacked.take(start.deviation, 0), angle[nearest][gp.thin(rows)])
    fitted = personal.fit(
        start,
        samples,
        jax.tree.map(lambda x: jnp.asarray(x)[None], who),
        personal.method_settings(config, supervision),
        config,
        report=report,
    )
    if not np.isfinite(fitted.history[-1]).all():
        raise PitlError("personalising diverged; look at the EMG and the angle, and record once more.")
    own: Model = stacked.take(fitted.model, 0)
    seconds = len(collected.emg) / collected.rate_hz
    made = own.replace(channel_scale=scale, people=model.people)
    return made.with_history(kind="calibrated", labels=supervision, seconds=seconds, shown=shown)


def warm(model: Model, posture: str, seconds: float, rate_hz: float, *, with_angle: bool) -> None:
    """Compiles what `fit` will need, on noise of the same length, so that the person does not wait for it."""

    def enough(done: int, total: int) -> None:
        raise _Compiled

    random = np.random.default_rng(0)
    count = round(seconds * rate_hz)
    noise = 1e-4 * random.normal(size=(count, len(model.channels)))  # V
    sway = np.sin(np.arange(count) / rate_hz)[:, None] * np.ones(len(model.limb.dofs))  # rad
    recorded = CalibrationTrial(noise, sway if with_angle else None, np.ones(count, bool), rate_hz)
    try:
        fit(model, posture, recorded, report=enough)
    except _Compiled:
        return


class _Compiled(Exception):
    """Everything has run once."""


@dataclass
class Calibration:
    """One session, fed by the thread that streams and shown by another; the fit has a thread of its own."""

    model: Model  # to start from
    seconds: float
    with_angle: bool
    keep: Callable[[Model], None] = lambda _: None  # called with the new model, once it is in use
    phase: str = "recording"  # recording, preparing (until everything is compiled), fitting, done, failed
    done: float = 0.0  # part of the phase
    message: str = ""  # how it ended
    _emg: list[np.ndarray] = field(default_factory=list)
    _angle: list[np.ndarray] = field(default_factory=list)
    _passed: int = 0  # samples of the stream so far
    _lost: int = 0
    _count: int = 0
    _thread: threading.Thread | None = None
    _warming: threading.Thread | None = None

    def begin(self, seat: Seat) -> None:
        """Starts to compile; from here on `feed` records.

        Raises:
            PitlError: the session would be too short.
        """
        if self.seconds < _SHORTEST_S:
            raise PitlError(f"{self.seconds:g} s are too short to learn from; record at least {_SHORTEST_S:g} s.")
        engine = seat.engine
        self._warming = threading.Thread(target=self._warm, args=(engine,), daemon=True)
        self._warming.start()

    def _warm(self, engine: Engine) -> None:
        try:
            warm(provisional(self.model), engine.posture, self.seconds, engine.rate_hz, with_angle=self.with_angle)
        except PitlError:
            return  # the fit itself will say it, on the person's own recording

    def feed(self, seat: Seat, update: Update) -> None:
        """Takes what the stream brings; with the last sample the fit begins."""
        if self.phase != "recording":
            return
        state, block = update.state, update.block
        passed = state.taken + state.held + state.lost
        if not self._emg or state.lost != self._lost:  # the start; or time has been torn apart: once more from there
            self._emg, self._angle, self._count = [], [], 0
            self._passed, self._lost = passed - len(block.emg), state.lost
        new = passed - self._passed
        self._passed = passed
        gap, late = max(0, new - len(block.emg)), max(0, len(block.emg) - new)
        usable = np.where(np.abs(block.emg) <= ABSURD_V, block.emg, np.nan)[late:]
        turned = None if block.angle is None else block.angle[late:]
        pieces = [(np.full((gap, block.emg.shape[1]), np.nan), None), (usable, turned)]
        for raw, angle in pieces:
            if len(raw):
                self._emg.append(raw)
                blank = np.full((len(raw), len(self.model.limb.dofs)), np.nan)
                self._angle.append(blank if angle is None else angle)
                self._count += len(raw)
        wanted = round(self.seconds * seat.engine.rate_hz)
        self.done = min(1.0, self._count / wanted)
        if self._count >= wanted:
            self.phase, self.done = "preparing", 0.0
            raw, angle = (np.concatenate(x)[:wanted] for x in (self._emg, self._angle))
            self._emg, self._angle = [], []
            good = np.asarray(np.isfinite(raw).all(axis=1))
            if self.with_angle:
                good &= np.isfinite(angle).all(axis=1)
            collected = CalibrationTrial(
                np.nan_to_num(raw), angle if self.with_angle else None, good, seat.engine.rate_hz, seat.engine.missing
            )
            self._thread = threading.Thread(target=self._fit, args=(seat, collected), daemon=True)
            self._thread.start()

    def _fit(self, seat: Seat, collected: CalibrationTrial) -> None:
        def report(done: int, total: int) -> None:
            self.phase, self.done = "fitting", done / total

        try:
            if self._warming is not None:
                self._warming.join()
            made = fit(provisional(self.model), seat.engine.posture, collected, report=report)
            swap(seat, made)  # before it is written: the person is waiting
            self.keep(made)
            labels = "the measured angle" if self.with_angle else "the equation of motion alone (no angle was measured)"
            told = f"the model has learned from {self.seconds:g} s, with {labels}."
            self.phase, self.message = "done", f"{told} {repetitions.advice(made.history['shown'])}".rstrip()
        except PitlError as e:
            self.phase, self.message = "failed", str(e)

    def wait(self) -> None:
        """Until the fit has ended."""
        if self._thread is not None:
            self._thread.join()


def _scale(model: Model, envelope: np.ndarray, missing: np.ndarray | None) -> ChannelScale:
    """The person's scale; channels that are not there keep the one that they had."""
    method, known = model.emg.normalisation, model.channel_scale
    if method == "mvc":
        if model.subject is None or known is None:
            raise PitlError("emg.normalisation = 'mvc' needs a maximum voluntary contraction, which cues do not give.")
        return known  # measured before
    there = np.ones(len(model.channels), bool) if missing is None else ~missing
    names = tuple(c for c, here in zip(model.channels, there, strict=True) if here)
    result = normalise.fit_scale(
        method, envelope[:, there], names, fixed_v=model.emg.fixed_scale_v, window_s=model.emg.zscore_s
    )
    volts = np.full(len(there), model.emg.fixed_scale_v) if known is None else known.volts.copy()
    volts[there] = result.volts
    if model.scale_prior is not None and method in ("blend", "trial_max"):
        volts[there] = normalise.shrink(model.scale_prior, volts, len(envelope) / model.emg.rate_hz)[there]
    return result.replace(volts=volts)


def _angle(collected: CalibrationTrial, lowpass_hz: float) -> np.ndarray | None:
    """(T, D) smoothed [rad]."""
    if collected.angle is None:
        return None
    good, at = collected.valid, np.arange(len(collected.valid))
    if good.mean() < _FEWEST:
        raise PitlError(_unusable(good.mean()))
    angle = np.stack([np.interp(at, at[good], a[good]) for a in collected.angle.T], axis=1)
    if np.abs(angle).max() > 2 * np.pi:
        raise PitlError(
            f"the measured angle reaches {np.abs(angle).max():.3g} rad, more than a full turn; it is probably in "
            "degrees: have the source say so."
        )
    if np.ptp(angle, axis=0).max() < _STILL:
        raise PitlError("the measured angle stood still; follow the cues, and check the goniometer.")
    return windows.smooth_motion(angle, collected.rate_hz, lowpass_hz).angle


def _usable(valid: np.ndarray, nearest: np.ndarray, window: int) -> np.ndarray:
    """Rows at which a window without a missing sample ends."""
    bad = np.concatenate([[0], np.cumsum(~valid[nearest])])
    ends = np.arange(window - 1, len(nearest))
    rows = ends[bad[ends + 1] == bad[ends + 1 - window]]
    if len(rows) < _FEWEST * len(ends):
        raise PitlError(_unusable(len(rows) / max(1, len(ends))))
    return rows


def _unusable(part: Any) -> str:
    return f"only {100 * part:.0f} % of the recording is usable (lost samples); mend the connection, and record again."


def _calibration_rows(rows: np.ndarray, length: int, taps: int) -> CalibrationRows:
    segment = rows[taps - 1 :] - rows[: len(rows) - taps + 1] == taps - 1
    return pad_rows(rows, np.ones(len(rows), bool), segment, length, taps)
