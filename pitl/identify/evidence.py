"""What a person's recordings bring to the fit: rows of every trial, and what kind of evidence each trial is."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl import emg, hill, windows
from pitl.errors import PitlError
from pitl.identify.unknowns import Rows
from pitl.msk.model import MusculoskeletalModel, posture_index
from pitl.recording import Recording, Subject
from pitl.schema import EmgConfig

_SETTLED_S = 1.0  # the envelope's low-pass and the smoothing of the angle need this long at the start
_END_S = 0.3  # and the smoothing this at the end
ROWS_HZ = 5.0  # torque balances a second; errors nearer to each other are alike
_NAMES = {"rhythmic": "motion", "random": "motion"}


class Evidence(NamedTuple):
    """One person's rows, padded to a common length."""

    rows: Rows
    on: hill.Electrodes
    kind: np.ndarray  # (T,) index into `kinds`; -1 is padding
    trial: np.ndarray  # (T,) number of the trial
    kinds: tuple[str, ...]
    maximum: bool  # whether a maximum voluntary contraction was recorded
    channels: tuple[str, ...]


def kind_of(recording: Recording) -> str:
    """What a trial is as evidence: `motion`, `hold`, `rest`, or the load that was carried."""
    if recording.load is not None:
        # two places of one mass are two loads: they pull different muscles
        return f"load {recording.load.mass_kg:g} kg at {100 * recording.load.place_m[0]:g} cm"
    return _NAMES.get(recording.task, recording.task)


def gather(
    subject: Subject, model: MusculoskeletalModel, kinds: tuple[str, ...], settings: EmgConfig, lowpass_hz: float = 6.0
) -> Evidence:
    """Rows of all trials with an angle.

    Args:
        subject: who.
        model: whose postures and bodies.
        kinds: names of all kinds of evidence in the cohort.
        settings: of the envelope.
        lowpass_hz: corner of the zero-phase smoothing of measured angles.

    Raises:
        PitlError: nothing was recorded with an angle, or a trial has a posture that the model does not know.
    """
    pieces: list[tuple[np.ndarray, ...]] = []  # columns of `Rows`
    kind, trial = [], []
    for number, r in enumerate(subject.recordings):
        if r.angle is None:
            continue
        env = emg.envelope(emg.design(settings, r.rate_hz), r.emg)
        every = max(1, round(settings.rate_hz / ROWS_HZ))
        inside = (env.time_s >= _SETTLED_S) & (env.time_s <= r.seconds - _END_S)
        taken = np.flatnonzero(inside)[::every]
        motion = windows.smooth_motion(r.angle, r.rate_hz, lowpass_hz)
        nearest = np.minimum(np.round(env.time_s[taken] * r.rate_hz).astype(int), len(r.angle) - 1)
        good = nearest if r.valid is None else nearest[r.valid[nearest]]
        taken = taken if r.valid is None else taken[r.valid[nearest]]
        count = len(taken)
        mass, place = (0.0, (0.0, 0.0, 0.0)) if r.load is None else (r.load.mass_kg, r.load.place_m)
        pieces.append(
            (
                env.jets[taken],
                motion.angle[good],
                motion.rate[good],
                motion.acceleration[good],
                np.full(count, posture_index(model, r.posture)),
                np.full(count, mass),
                np.tile(place, (count, 1)),
            )
        )
        kind += [kinds.index(kind_of(r))] * count
        trial += [number] * count
    if not kind:
        raise PitlError(f"{subject.name}: no recording has an angle for at least {_SETTLED_S + _END_S:g} s.")
    columns: list[Any] = [np.concatenate(x) for x in zip(*pieces, strict=True)]
    rows = Rows(*columns)
    channels = subject.recordings[0].channels
    maximum = subject.mvc
    on = hill.electrodes(model, channels, {}, columns[0][:, 0], maximum)
    return Evidence(rows, on, np.array(kind), np.array(trial), kinds, maximum is not None, channels)


class Stacked(NamedTuple):
    """Everybody's, with people in front, in single precision."""

    rows: Rows
    on: hill.Electrodes
    kind: Int[Array, "P T"]  # -1 is padding
    trial: Float[Array, "P T R"]  # 1 where a row belongs to a trial


def stack(everyone: list[Evidence]) -> Stacked:
    """Pads everybody to the longest."""
    longest = max(len(e.kind) for e in everyone)

    def padded(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, np.repeat(x[-1:], longest - len(x), axis=0)])

    columns = [np.stack([padded(np.asarray(e.rows[k])) for e in everyone]) for k in range(len(Rows._fields))]
    rows = Rows(*(jnp.asarray(c, jnp.int32 if c.dtype.kind == "i" else jnp.float32) for c in columns))
    on = hill.Electrodes(*(jnp.stack(x) for x in zip(*(e.on for e in everyone), strict=True)))
    kind = np.stack([np.pad(e.kind, (0, longest - len(e.kind)), constant_values=-1) for e in everyone])
    most = max(int(e.trial.max()) for e in everyone) + 1
    trial = np.stack([np.pad(e.trial, (0, longest - len(e.kind)), constant_values=-1) for e in everyone])
    member = (trial[..., None] == np.arange(most)).astype(np.float32)
    return Stacked(rows, on, jnp.asarray(kind, jnp.int32), jnp.asarray(member))
