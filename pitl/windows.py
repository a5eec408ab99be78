"""Recordings as arrays on the device, and who may be used for what.

Every envelope sample of the cohort is one row of `Samples`. A window is named by the row of its last sample, so
that windows are gathered on the device and never stored. Rows are split by subject and, within a subject, by
contiguous time: calibration first, then a gap of at least one window, then test.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import signal

from pitl import emg, normalisation, perturb
from pitl.config import Config
from pitl.errors import PitlError
from pitl.recording import Cohort, Load, Recording, Subject


class Samples(NamedTuple):
    """The whole cohort, one row per envelope sample, resident on the device. C channels, D angles, M muscles."""

    jets: Float[Array, "N 3 C"]  # normalised envelope: 1, 1/s, 1/s2
    angle: Float[Array, "N D"]  # rad
    force: Float[Array, "N M"]  # N, labels
    torque: Float[Array, "N D"]  # N m, net muscle torque: true, or by inverse dynamics of the measured motion
    posture: Int[Array, " N"]
    subject: Int[Array, " N"]
    time: Float[Array, " N"]  # s, since the start of the trial


class Trial(NamedTuple):
    """Where one recording lies in the rows of `Samples`."""

    subject: int
    task: str
    name: str
    posture: int
    start: int
    stop: int
    calibration_stop: int  # rows from start to here belong to calibration
    test_start: int  # rows from here to stop belong to test
    has_angle: bool
    load: Load | None = None  # that was carried


class Motion(NamedTuple):
    """A measured motion on the envelope's clock, smoothed without delay (labels may look ahead, inputs may not)."""

    angle: np.ndarray  # (N, D) rad
    rate: np.ndarray  # (N, D) rad/s
    acceleration: np.ndarray  # (N, D) rad/s2


class Table(NamedTuple):
    """Rows before labels exist, on the host."""

    jets: np.ndarray  # (N, 3, C)
    motion: Motion
    force: np.ndarray | None  # (N, M) N
    torque: np.ndarray | None  # (N, D) N m
    posture: np.ndarray  # (N,)
    subject: np.ndarray  # (N,)
    time: np.ndarray  # (N,) s
    usable: np.ndarray  # (N,) False where a sample of the recording was unusable
    trials: tuple[Trial, ...]
    scales: tuple[normalisation.Scale, ...]  # one a subject


def window_samples(config: Config) -> int:
    """Length of the network's window in envelope samples."""
    return round(config.window.seconds * config.emg.rate_hz)


def tabulate(cohort: Cohort, config: Config, postures: tuple[str, ...], dofs: int) -> Table:
    """Filters, normalises and stacks a cohort.

    The scale of each channel comes from the subject's calibration parts alone.

    Raises:
        PitlError: if a trial is too short to be split, or has a posture that the model does not know.
    """
    gap_s = max(config.data.gap_s, config.window.seconds)
    rows = 0
    trials: list[Trial] = []
    pieces: list[dict[str, np.ndarray]] = []
    scales = []
    for s, subject in enumerate(cohort.subjects):
        raw = [_filled(r) for r in subject.recordings]
        envelopes = [
            emg.envelope(emg.design(config.emg, r.rate_hz), x) for r, x in zip(subject.recordings, raw, strict=True)
        ]
        spans = []
        for recording, env in zip(subject.recordings, envelopes, strict=True):
            if recording.posture not in postures:
                raise PitlError(
                    f"{recording.source} ({subject.name}/{recording.trial}): posture '{recording.posture}' is not one "
                    f"of the model's ({', '.join(postures)}); correct the recording's header."
                )
            count = len(env.time_s)
            calibration = int(config.data.calibration_fraction * count)
            test = calibration + round(gap_s * config.emg.rate_hz)
            if config.data.test_after is not None:
                first, test = test, int(config.data.test_after * count)
                if test < first:
                    raise PitlError(
                        f"{recording.source} ({subject.name}/{recording.trial}): data.test_after = "
                        f"{config.data.test_after:g} begins the test part at {test / config.emg.rate_hz:.2f} s, before "
                        f"calibration and gap end at {first / config.emg.rate_hz:.2f} s; begin it later."
                    )
            if calibration < 2 * window_samples(config) or count - test < window_samples(config):
                raise PitlError(
                    f"{recording.source} ({subject.name}/{recording.trial}): {recording.seconds:.1f} s are too short "
                    f"for a calibration part, a gap of {gap_s:g} s and a test part; leave this trial out."
                )
            spans.append((calibration, test, count))
        if perturb.active(config.perturb):
            for k, (recording, (calibration, test, _)) in enumerate(zip(subject.recordings, spans, strict=True)):
                # as far back as the first test window reaches, which the gap keeps clear of calibration
                at = [
                    round(x / config.emg.rate_hz * recording.rate_hz)
                    for x in (calibration, test - window_samples(config))
                ]
                spoilt = perturb.perturbed(config.perturb, recording, raw[k], max(at), at[0], s)
                envelopes[k] = emg.envelope(emg.design(config.emg, recording.rate_hz), spoilt)
        scale = _subject_scale(subject, envelopes, spans, config)
        scales.append(scale)
        for recording, env, (calibration, test, count) in zip(subject.recordings, envelopes, spans, strict=True):
            posture = postures.index(recording.posture)
            trials.append(
                Trial(
                    s,
                    recording.task,
                    recording.trial,
                    posture,
                    rows,
                    rows + count,
                    rows + calibration,
                    rows + test,
                    recording.angle is not None,
                    recording.load,
                )
            )
            rows += count
            pieces.append(_rows(recording, env, scale, config, dofs) | _constants(count, posture, s))
    stacked = {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0] if all(k in p for p in pieces)}
    return Table(
        stacked["jets"].astype(np.float32),
        Motion(stacked["angle"], stacked["rate"], stacked["acceleration"]),
        stacked.get("force"),
        stacked.get("torque"),
        stacked["posture"],
        stacked["subject"],
        stacked["time"],
        stacked["usable"],
        tuple(trials),
        tuple(scales),
    )


def upload(table: Table, force: np.ndarray, torque: np.ndarray) -> Samples:
    """Puts the rows on the device, in float32."""
    f = np.float32
    return Samples(
        jnp.asarray(table.jets, f),
        jnp.asarray(table.motion.angle, f),
        jnp.asarray(force, f),
        jnp.asarray(torque, f),
        jnp.asarray(table.posture, np.int32),
        jnp.asarray(table.subject, np.int32),
        jnp.asarray(table.time, f),
    )


def rows_of(table: Table, part: str, *, subjects: tuple[int, ...] | None = None, window: int) -> np.ndarray:
    """Rows at which a whole usable window ends.

    Args:
        table: from `tabulate`.
        part: `"calibration"`, `"test"` or `"all"`; a window never reaches back over the start of its trial.
        subjects: which ones; all if None.
        window: samples in a window.

    Returns:
        (W,) rows, in time order within each trial.
    """
    bad = np.concatenate([[0], np.cumsum(~table.usable)])
    found = []
    for t in table.trials:
        if (subjects is not None and t.subject not in subjects) or not t.has_angle:
            continue
        first, last = {
            "calibration": (t.start, t.calibration_stop),
            "test": (t.test_start, t.stop),
            "all": (t.start, t.stop),
        }[part]
        ends = np.arange(max(first, t.start + window - 1), last)
        found.append(ends[bad[ends + 1] == bad[ends + 1 - window]])
    return np.concatenate(found) if found else np.zeros(0, int)


def contiguous(rows: np.ndarray, table: Table, taps: int) -> np.ndarray:
    """True where a row and its (taps - 1) / 2 neighbours on either side all are in `rows`, within one trial.

    Args:
        rows: (W,) increasing.
        table: whose trials end at `stop`.
        taps: odd length of a kernel.

    Returns:
        (W - taps + 1,) for the stretch that starts at each of the first W - taps + 1 rows.
    """
    trial = np.zeros(len(table.subject), int)
    for k, t in enumerate(table.trials):
        trial[t.start : t.stop] = k
    span = rows[taps - 1 :] - rows[: len(rows) - taps + 1]
    return (span == taps - 1) & (trial[rows[taps - 1 :]] == trial[rows[: len(rows) - taps + 1]])


def gather(jets: Float[Array, "N 3 C"], ends: Int[Array, "*B"], window: int, order: int) -> Float[Array, "J *B L C"]:
    """Windows that end at the given rows, with `order` - 1 derivatives in front."""
    return jnp.moveaxis(jets[neighbours(ends, 1 - window, 1), :order], -2, 0)


def neighbours(rows: Int[Array, "*B"], first: int, last: int) -> Int[Array, "*B L"]:
    """Every row together with those around it, from `first` up to, not including, `last`."""
    around = jnp.arange(first, last, dtype=rows.dtype)
    return rows[..., None] + around.reshape((1,) * rows.ndim + (-1,))


COVER = 512  # rows in each stretch of a cover


class Cover(NamedTuple):
    """Stretches of `COVER` contiguous rows that hold all rows asked for."""

    first: Any  # (G,) row with which each stretch begins
    place: Any  # (W,) of each row asked for, counted through all stretches


def cover(rows: Int[np.ndarray, " W"]) -> Cover:
    """The fewest stretches that hold rows in any order; a last one may reach over the end of its trial, or of all.

    What such a stretch says of rows that nobody asked for is never read.
    """
    each, back = np.unique(rows, return_inverse=True)
    first, place, at = [], np.zeros(len(each), np.int32), 0
    while at < len(each):
        stop = int(np.searchsorted(each, each[at] + COVER))
        place[at:stop] = COVER * len(first) + each[at:stop] - each[at]
        first.append(each[at])
        at = stop
    return Cover(np.array(first, np.int32), place[back.reshape(-1)])


def _subject_scale(
    subject: Subject, envelopes: list[emg.Envelope], spans: list[tuple[int, int, int]], config: Config
) -> normalisation.Scale:
    calibration = np.concatenate([e.jets[:c, 0] for e, (c, _, _) in zip(envelopes, spans, strict=True)])
    return normalisation.fit_scale(
        config.emg.normalisation,
        calibration,
        subject.recordings[0].channels,
        mvc=subject.mvc,
        fixed_v=config.emg.fixed_scale_v,
        window_s=config.emg.zscore_s,
    )


def _filled(recording: Recording) -> np.ndarray:
    """Raw EMG with unusable samples silenced; the windows that touch them are left out later."""
    if recording.valid is None:
        return recording.emg
    return np.where(recording.valid[:, None], recording.emg, 0.0)


def _constants(count: int, posture: int, subject: int) -> dict[str, np.ndarray]:
    return {"posture": np.full(count, posture), "subject": np.full(count, subject)}


def _rows(
    recording: Recording, env: emg.Envelope, scale: normalisation.Scale, config: Config, dofs: int
) -> dict[str, np.ndarray]:
    clock = np.arange(len(recording.emg)) / recording.rate_hz
    nearest = np.minimum(np.round(env.time_s * recording.rate_hz).astype(int), len(clock) - 1)
    good = np.ones(len(clock), bool) if recording.valid is None else recording.valid
    rows = {
        "jets": normalisation.normalise(scale, env.jets, config.emg.rate_hz),
        "time": env.time_s,
        "usable": good[nearest],
    }
    if recording.angle is None:
        still = np.zeros((len(env.time_s), dofs))
        rows |= {"angle": still, "rate": still, "acceleration": still}
    else:
        angle = recording.angle
        if not good.all():  # bridge the gaps for the filter; the rows themselves stay unusable
            angle = np.stack([np.interp(clock, clock[good], a[good]) for a in angle.T], axis=1)
        motion = smooth_motion(angle, recording.rate_hz, config.data.angle_lowpass_hz)
        rows |= {k: v[nearest] for k, v in motion._asdict().items()}
    for name, values in (("force", recording.force), ("torque", recording.torque)):
        if values is not None:
            rows[name] = values[nearest]
    return rows


def smooth_motion(angle: np.ndarray, rate_hz: float, lowpass_hz: float) -> Motion:
    """Zero-phase low-pass (Butterworth, order 4 in all) and central differences of a measured angle (T, D) [rad]."""
    sos = signal.butter(2, lowpass_hz, fs=rate_hz, output="sos")
    smooth = signal.sosfiltfilt(sos, angle, axis=0, padlen=min(len(angle) - 1, int(rate_hz / lowpass_hz)))
    rate = np.gradient(smooth, 1 / rate_hz, axis=0)
    return Motion(smooth, rate, np.gradient(rate, 1 / rate_hz, axis=0))
