"""A person's model from twenty seconds of following cues, while the stream goes on."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl import emg, normalisation, personalize, windows
from pitl.bundle import Bundle
from pitl.errors import PitlError
from pitl.live.session import Seat, Update, swap
from pitl.live.stream import Engine
from pitl.msk import weak
from pitl.msk.correction import apply_correction
from pitl.normalisation import Scale
from pitl.personalize import Person, Settings, Supervision
from pitl.schema import DataConfig, PersonalizeConfig
from pitl.windows import Samples

BUSY = ("recording", "preparing", "fitting")
_SHORTEST_S = 5.0  # s
_STILL = 0.05  # rad, a measured angle that moves less was not moved
_FEWEST = 0.5  # part of the windows that has to be usable


class Collected(NamedTuple):
    """What was recorded, without a gap in time."""

    emg: np.ndarray  # (T, C) V
    angle: np.ndarray | None  # (T, D) rad
    valid: np.ndarray  # (T,)
    rate_hz: float
    missing: np.ndarray | None = None  # (C,) True where the source has no such channel; None if it has all


def provisional(bundle: Bundle) -> Bundle:
    """A generic model made usable before it knows the person: every channel at the fixed scale.

    Its answers are a guess, good enough to see that something moves.
    """
    if bundle.channel_scale is not None:
        return bundle
    volts = np.full(len(bundle.channels), bundle.emg.fixed_scale_v)
    return bundle._replace(channel_scale=Scale(bundle.emg.normalisation, volts, bundle.emg.zscore_s))


def fit(
    bundle: Bundle,
    posture: str,
    collected: Collected,
    *,
    report: Callable[[int, int], None] | None = None,
) -> Bundle:
    """Personalises a model on what was recorded: head and corrections, with angle labels if there are any.

    Args:
        bundle: to start from; what is learned is pulled towards it.
        posture: of the person.
        report: called now and then with the steps done and their total.

    Raises:
        PitlError: the recording is too short, mostly unusable, still, or a channel is silent.
    """
    about = bundle.about.get("config", {})
    config = PersonalizeConfig(**about.get("personalize", {}))
    lowpass_hz = about.get("data", {}).get("angle_lowpass_hz", DataConfig().angle_lowpass_hz)
    rate, net = bundle.emg.rate_hz, bundle.net
    env = emg.envelope(
        emg.design(bundle.emg, collected.rate_hz), np.where(collected.valid[:, None], collected.emg, 0.0)
    )
    scale = _scale(bundle, env.jets[:, 0], collected.missing)
    jets = normalisation.normalise(scale, env.jets, rate)
    if collected.missing is not None:
        jets = normalisation.silenced(jets, collected.missing)
    count = len(jets)
    nearest = np.minimum(np.round(env.time_s * collected.rate_hz).astype(int), len(collected.valid) - 1)
    angle = _angle(collected, lowpass_hz)
    supervision: Supervision = "none" if angle is None else "angle"
    dofs, muscles = len(bundle.model.dofs), len(bundle.model.muscles)
    f = np.float32
    samples = Samples(
        jnp.asarray(jets, f),
        jnp.zeros((count, dofs), f) if angle is None else jnp.asarray(angle[nearest], f),
        jnp.zeros((count, muscles), f),
        jnp.zeros((count, dofs), f),
        jnp.full((count,), bundle.model.postures.index(posture), np.int32),
        jnp.zeros((count,), np.int32),
        jnp.asarray(env.time_s, f),
    )
    taps = weak.kernel(config.weak_kernel_s, rate)
    who = _person(_usable(collected.valid, nearest, net.window), count - net.window + 1, len(taps.average))
    trainable: tuple[personalize.Group, ...] = ("head", "correction") if config.learnable else ("head",)
    one = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)  # noqa: E731
    fitted = personalize.fit(
        one(bundle.params),
        net,
        personalize.Fixed(samples, one(bundle.spread), one(bundle.scale)),
        one(bundle.model),
        one(who),
        Settings(trainable, supervision, True),
        config,
        taps,
        report=report,
    )
    if not np.isfinite(fitted.history[-1]).all():
        raise PitlError("personalising diverged; look at the EMG and the angle, and record once more.")
    params, correction = jax.tree.map(lambda x: x[0], (fitted.params, fitted.correction))
    made = {"kind": "calibrated", "supervision": supervision, "seconds": len(collected.emg) / collected.rate_hz}
    return bundle._replace(
        params=params,
        model=apply_correction(bundle.model, correction),
        scale=personalize.stronger(bundle.scale, correction),
        channel_scale=scale,
        about={**bundle.about, **made},
    )


def warm(bundle: Bundle, posture: str, seconds: float, rate_hz: float, *, with_angle: bool) -> None:
    """Compiles what `fit` will need, on noise of the same length, so that the person does not wait for it."""

    def enough(done: int, total: int) -> None:
        raise _Compiled

    random = np.random.default_rng(0)
    count = round(seconds * rate_hz)
    noise = 1e-4 * random.normal(size=(count, len(bundle.channels)))  # V
    sway = np.sin(np.arange(count) / rate_hz)[:, None] * np.ones(len(bundle.model.dofs))  # rad
    recorded = Collected(noise, sway if with_angle else None, np.ones(count, bool), rate_hz)
    try:
        fit(bundle, posture, recorded, report=enough)
    except _Compiled:
        return


class _Compiled(Exception):
    """Everything has run once."""


@dataclass
class Calibration:
    """One session, fed by the thread that streams and shown by another; the fit has a thread of its own."""

    bundle: Bundle  # to start from
    seconds: float
    with_angle: bool
    keep: Callable[[Bundle], None] = lambda _: None  # called with the new model, once it is in use
    phase: str = "recording"  # recording, preparing (until everything is compiled), fitting, done, failed
    done: float = 0.0  # part of the phase
    said: str = ""  # how it ended
    _emg: list[np.ndarray] = field(default_factory=list)
    _angle: list[np.ndarray] = field(default_factory=list)
    _missing: int = 0  # bridged samples so far
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
            warm(provisional(self.bundle), engine.posture, self.seconds, engine.rate_hz, with_angle=self.with_angle)
        except PitlError:
            return  # the fit itself will say it, on the person's own recording

    def feed(self, seat: Seat, update: Update) -> None:
        """Takes what the stream brings; with the last sample the fit begins."""
        if self.phase != "recording":
            return
        state, block = update.state, update.block
        if not self._emg:
            self._missing, self._lost = state.held, state.lost
        if state.lost != self._lost:  # time has been torn apart: once more from the start
            self._emg, self._angle, self._count = [], [], 0
            self._missing, self._lost = state.held, state.lost
        bridged = state.held - self._missing - int((~np.isfinite(block.emg).all(axis=1)).sum())
        self._missing = state.held
        pieces = [(np.full((max(bridged, 0), block.emg.shape[1]), np.nan), None), (block.emg, block.angle)]
        for raw, angle in pieces:
            if len(raw):
                self._emg.append(raw)
                blank = np.full((len(raw), len(self.bundle.model.dofs)), np.nan)
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
            collected = Collected(
                np.nan_to_num(raw), angle if self.with_angle else None, good, seat.engine.rate_hz, seat.engine.missing
            )
            self._thread = threading.Thread(target=self._fit, args=(seat, collected), daemon=True)
            self._thread.start()

    def _fit(self, seat: Seat, collected: Collected) -> None:
        def report(done: int, total: int) -> None:
            self.phase, self.done = "fitting", done / total

        try:
            if self._warming is not None:
                self._warming.join()
            made = fit(provisional(self.bundle), seat.engine.posture, collected, report=report)
            swap(seat, made)  # before it is written: the person is waiting
            self.keep(made)
            labels = "the measured angle" if self.with_angle else "the law of motion alone (no angle was measured)"
            self.phase, self.said = "done", f"the model has learned from {self.seconds:g} s, with {labels}."
        except PitlError as e:
            self.phase, self.said = "failed", str(e)

    def wait(self) -> None:
        """Until the fit has ended."""
        if self._thread is not None:
            self._thread.join()


def _scale(bundle: Bundle, envelope: np.ndarray, missing: np.ndarray | None) -> Scale:
    """The person's scale; channels that are not there keep the one that they had."""
    method, known = bundle.emg.normalisation, bundle.channel_scale
    if method == "mvc":
        if bundle.subject is None or known is None:
            raise PitlError("emg.normalisation = 'mvc' needs a maximum voluntary contraction, which cues do not give.")
        return known  # measured before
    there = np.ones(len(bundle.channels), bool) if missing is None else ~missing
    names = tuple(c for c, here in zip(bundle.channels, there, strict=True) if here)
    found = normalisation.fit_scale(
        method, envelope[:, there], names, fixed_v=bundle.emg.fixed_scale_v, window_s=bundle.emg.zscore_s
    )
    volts = np.full(len(there), bundle.emg.fixed_scale_v) if known is None else known.volts.copy()
    volts[there] = found.volts
    return found._replace(volts=volts)


def _angle(collected: Collected, lowpass_hz: float) -> np.ndarray | None:
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


def _person(rows: np.ndarray, length: int, taps: int) -> Person:
    stretch = rows[taps - 1 :] - rows[: len(rows) - taps + 1] == taps - 1
    return personalize.person(rows, np.ones(len(rows), bool), stretch, length, taps)
