"""Recordings as arrays on the device, and who may be used for what.

Every envelope sample of the cohort is one row of `Samples`. A window is named by the row of its last sample, so
that windows are gathered on the device and never stored. Rows are split by subject and, within a subject, by
contiguous time: calibration first, then a gap of at least one window, then test.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy import signal

from pitl.config.schema import DataConfig, EmgConfig, PerturbConfig, WindowConfig
from pitl.data.recording import Cohort, Load, Recording, Subject
from pitl.errors import PitlError
from pitl.signals import emg, normalise, perturb, repetition
from pitl.signals.samples import Samples

_FEWEST_TO_SHRINK = 4  # people of whom one's scale may be shrunk to the others'
AMOUNTS = (0.05, 0.1, 0.2, 0.45)  # first parts of trials that tell what little and much calibration know


class TrialRows(NamedTuple):
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
    isometric: bool = False  # an effort against a dynamometer, for the muscles alone: the network never reads it


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
    trials: tuple[TrialRows, ...]
    scales: tuple[normalise.ChannelScale, ...]  # one a subject
    maxima: tuple[np.ndarray | None, ...] = ()  # (C,) envelope at maximum voluntary contraction [V], one a subject
    dynamometer: np.ndarray | None = None  # (N, D) N m, exerted on it in isometric trials; zero in the others


def window_samples(window: WindowConfig, emg_settings: EmgConfig) -> int:
    """Length of the network's window in envelope samples."""
    return round(window.seconds * emg_settings.rate_hz)


def tabulate(
    cohort: Cohort,
    data: DataConfig,
    emg_settings: EmgConfig,
    perturbation: PerturbConfig,
    window: int,
    postures: tuple[str, ...],
    dofs: int,
    scale_prior: normalise.ScalePrior | None = None,
) -> Table:
    """Filters, normalises and stacks a cohort.

    The scale of each channel comes from the subject's calibration parts, shrunk to those of other people.

    Args:
        cohort: as read.
        data: how each trial is divided, and how angles are smoothed.
        emg_settings: from raw EMG to the envelope.
        perturbation: what goes wrong in test parts.
        window: samples of the network's window.
        postures: that the limb model knows.
        dofs: number of coordinates.
        scale_prior: what scales are shrunk to, if they are; None for the other people of the cohort.

    Raises:
        PitlError: if a trial is too short to be split, or has a posture that the model does not know.
    """
    gap_s = max(data.gap_s, window / emg_settings.rate_hz)
    kinds = {r.emg_kind: f"{s.name}/{r.trial}" for s in cohort.subjects for r in s.recordings}
    if len(kinds) > 1:
        raise PitlError(
            f"cohort {cohort.name} mixes kinds of EMG ({', '.join(f'{k} in {v}' for k, v in kinds.items())}); a model "
            "learns from one: choose with data.subjects, or bring them to one kind."
        )
    rows = 0
    trials: list[TrialRows] = []
    pieces: list[dict[str, np.ndarray]] = []
    scales = []
    maxima: list[np.ndarray | None] = []
    for s, subject in enumerate(cohort.subjects):
        raw = [_filled(r) for r in subject.recordings]
        envelopes = [
            emg.envelope(emg.design(emg_settings, r.rate_hz, r.emg_kind), x)
            for r, x in zip(subject.recordings, raw, strict=True)
        ]
        spans = []
        for recording, env in zip(subject.recordings, envelopes, strict=True):
            if recording.posture not in postures:
                raise PitlError(
                    f"{recording.source} ({subject.name}/{recording.trial}): posture '{recording.posture}' is not one "
                    f"of the model's ({', '.join(postures)}); correct the recording's header."
                )
            count = len(env.time_s)
            calibration = int(data.calibration_fraction * count)
            test = calibration + round(gap_s * emg_settings.rate_hz)
            if data.test_after is not None:
                first, test = test, int(data.test_after * count)
                if test < first:
                    raise PitlError(
                        f"{recording.source} ({subject.name}/{recording.trial}): data.test_after = "
                        f"{data.test_after:g} begins the test part at {test / emg_settings.rate_hz:.2f} s, before "
                        f"calibration and gap end at {first / emg_settings.rate_hz:.2f} s; begin it later."
                    )
            # there is no test part
            everything = data.calibration_fraction == 1.0 or recording.dynamometer is not None
            calibration = count if everything else calibration
            test = count if everything else test
            if calibration < 2 * window or (count - test < window and not everything):
                raise PitlError(
                    f"{recording.source} ({subject.name}/{recording.trial}): {recording.seconds:.1f} s are too short "
                    f"for a calibration part, a gap of {gap_s:g} s and a test part; leave this trial out."
                )
            if data.calibration_repetitions and not everything and recording.angle is not None:
                calibration = max(_end_of_repetition(recording, env, data, calibration), 2 * window)
            spans.append((calibration, test, count))
        if perturb.active(perturbation):
            for k, (recording, (calibration, test, _)) in enumerate(zip(subject.recordings, spans, strict=True)):
                # as far back as the first test window reaches, which the gap keeps clear of calibration
                at = [round(x / emg_settings.rate_hz * recording.rate_hz) for x in (calibration, test - window)]
                spoilt = perturb.perturb(perturbation, recording, raw[k], max(at), at[0], s)
                envelopes[k] = emg.envelope(emg.design(emg_settings, recording.rate_hz, recording.emg_kind), spoilt)
        maximum = maximum_envelope(subject, emg_settings)
        maxima.append(maximum)
        scale = _subject_scale(subject, envelopes, spans, emg_settings, maximum)
        scales.append(scale)
        for recording, env, (calibration, test, count) in zip(subject.recordings, envelopes, spans, strict=True):
            posture = postures.index(recording.posture)
            trials.append(
                TrialRows(
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
                    recording.dynamometer is not None,
                )
            )
            rows += count
            pieces.append(_rows(recording, env, scale, emg_settings, data, dofs) | _constants(count, posture, s))
    stacked = {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0] if all(k in p for p in pieces)}
    table = Table(
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
        tuple(maxima),
        stacked["dynamometer"] if any(t.isometric for t in trials) else None,
    )
    return _shrink_scales(table, emg_settings, scale_prior)


def upload(table: Table, force: np.ndarray, torque: np.ndarray) -> Samples:
    """Puts the rows on the device, in float32."""

    def put(x: np.ndarray, kind: type) -> jax.Array:
        return jax.device_put(np.asarray(x, kind))

    f, i = np.float32, np.int32
    return Samples(
        put(table.jets, f),
        put(table.motion.angle, f),
        put(force, f),
        put(torque, f),
        put(table.posture, i),
        put(table.subject, i),
        put(table.time, f),
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
    result = []
    for t in table.trials:
        if (subjects is not None and t.subject not in subjects) or not t.has_angle or t.isometric:
            continue
        first, last = {
            "calibration": (t.start, t.calibration_stop),
            "test": (t.test_start, t.stop),
            "all": (t.start, t.stop),
        }[part]
        ends = np.arange(max(first, t.start + window - 1), last)
        result.append(ends[bad[ends + 1] == bad[ends + 1 - window]])
    return np.concatenate(result) if result else np.zeros(0, int)


def contiguous(rows: np.ndarray, table: Table, taps: int) -> np.ndarray:
    """True where a row and its (taps - 1) / 2 neighbours on either side all are in `rows`, within one trial.

    Args:
        rows: (W,) increasing.
        table: whose trials end at `stop`.
        taps: odd length of a kernel.

    Returns:
        (W - taps + 1,) for the segment that starts at each of the first W - taps + 1 rows.
    """
    trial = np.zeros(len(table.subject), int)
    for k, t in enumerate(table.trials):
        trial[t.start : t.stop] = k
    span = rows[taps - 1 :] - rows[: len(rows) - taps + 1]
    return (span == taps - 1) & (trial[rows[taps - 1 :]] == trial[rows[: len(rows) - taps + 1]])


def maximum_envelope(subject: Subject, settings: EmgConfig) -> np.ndarray | None:
    """(C,) envelope at maximum voluntary contraction [V], filtered like the trials; None if nobody recorded one."""
    if not subject.contractions:
        return None if subject.mvc is None else np.asarray(subject.mvc, float)
    largest = np.zeros(len(subject.recordings[0].channels))
    for c in subject.contractions:
        envelope = emg.envelope(emg.design(settings, c.rate_hz, subject.recordings[0].emg_kind), c.emg).jets[:, 0]
        places = list(c.places)
        largest[places] = np.maximum(largest[places], envelope.max(axis=0))
    return largest


def scales_at(table: Table, settings: EmgConfig, subjects: tuple[int, ...], fraction: float) -> dict[int, np.ndarray]:
    """(C,) scale [V] of each of some subjects from a first part of each trial, shrunk to the others' if so set."""
    own = {s: scale_at(table, settings, s, fraction) for s in subjects}
    if not _shrinks(settings) or len(subjects) < _FEWEST_TO_SHRINK:
        return own
    whole = {s: scale_at(table, settings, s, 1.0) for s in subjects}
    return {s: _shrink_to_others(s, own, whole) for s in subjects}


def learn_scales(table: Table, settings: EmgConfig) -> normalise.ScalePrior | None:
    """What everybody's scales from first parts of their trials said of those from all; None if there are too few."""
    people = range(len(table.scales))
    if not _shrinks(settings) or len(people) < _FEWEST_TO_SHRINK:
        return None
    mean_s = sum(t.stop - t.start for t in table.trials if not t.isometric) / settings.rate_hz / len(people)
    parts = (*AMOUNTS, 1.0)
    volts = [np.stack([scale_at(table, settings, s, a) for s in people]) for a in parts]
    return normalise.learn_scales(mean_s * np.array(parts), np.stack(volts), volts[-1])


def _shrink_scales(table: Table, settings: EmgConfig, prior: normalise.ScalePrior | None) -> Table:
    """The rows under scales that are shrunk to those of other people: of a prior, or the others of the table."""
    people = range(len(table.scales))
    if not _shrinks(settings) or (prior is None and len(people) < _FEWEST_TO_SHRINK):
        return table
    before = {s: table.scales[s].volts for s in people}
    if prior is None:
        whole = {s: scale_at(table, settings, s, 1.0) for s in people}
        volts = [_shrink_to_others(s, before, whole) for s in people]
    else:
        rows = [sum(t.calibration_stop - t.start for t in table.trials if t.subject == s) for s in people]
        volts = [normalise.shrink(prior, before[s], rows[s] / settings.rate_hz) for s in people]
    factor = np.stack([before[s] / v for s, v in zip(people, volts, strict=True)])
    scales = tuple(s.replace(volts=v) for s, v in zip(table.scales, volts, strict=True))
    return table._replace(jets=table.jets * factor[table.subject][:, None].astype(table.jets.dtype), scales=scales)


def _shrink_to_others(s: int, own: dict[int, np.ndarray], whole: dict[int, np.ndarray]) -> np.ndarray:
    """Scale (C,) [V] of one person by what the same part of their recordings told of the others."""
    others = [k for k in own if k != s]
    prior = normalise.learn_scales(
        np.ones(1), np.stack([own[k] for k in others])[None], np.stack([whole[k] for k in others])
    )
    return normalise.shrink(prior, own[s], 1.0)


def _shrinks(settings: EmgConfig) -> bool:
    """Whether scales come from a part of the recording, and may be shrunk."""
    return settings.shrink_scale and settings.normalisation in ("blend", "trial_max")


def scale_at(table: Table, settings: EmgConfig, subject: int, fraction: float) -> np.ndarray:
    """(C,) scale [V] that a subject's channels have when a first part of each trial is what is known of them."""
    known, volts = [], table.scales[subject].volts
    for t in table.trials:
        if t.subject == subject and not t.isometric:
            known.append(table.jets[t.start : t.start + int(fraction * (t.stop - t.start)), 0] * volts)
    names = tuple(map(str, range(len(volts))))
    maximum = table.maxima[subject] if table.maxima else None
    how = {"mvc": maximum, "fixed_v": settings.fixed_scale_v, "window_s": settings.zscore_s}
    return normalise.fit_scale(settings.normalisation, np.concatenate(known), names, **how).volts


def _subject_scale(
    subject: Subject,
    envelopes: list[emg.Envelope],
    spans: list[tuple[int, int, int]],
    settings: EmgConfig,
    maximum: np.ndarray | None,
) -> normalise.ChannelScale:
    moved = [r.dynamometer is None for r in subject.recordings]
    parts = [e.jets[:c, 0] for e, (c, _, _) in zip(envelopes, spans, strict=True)]
    # efforts are far stronger than motion: their scale would make its EMG small
    calibration = np.concatenate([part for part, free in zip(parts, moved, strict=True) if free or not any(moved)])
    method, fixed, first = settings.normalisation, settings.fixed_scale_v, subject.recordings[0]
    if first.emg_unit == "1" and method in ("blend", "fixed"):  # there are no volts to compare with
        # envelopes are parts of the maximum already and stay as they are; of other numbers only ratios count
        method, fixed = ("fixed", 1.0) if first.emg_kind == "envelope" else ("trial_max", fixed)
    return normalise.fit_scale(
        method,
        calibration,
        first.channels,
        mvc=maximum,
        fixed_v=fixed,
        window_s=settings.zscore_s,
    )


def _filled(recording: Recording) -> np.ndarray:
    """Raw EMG with unusable samples silenced; the windows that touch them are left out later."""
    if recording.valid is None:
        return recording.emg
    return np.where(recording.valid[:, None], recording.emg, 0.0)


def _constants(count: int, posture: int, subject: int) -> dict[str, np.ndarray]:
    return {"posture": np.full(count, posture), "subject": np.full(count, subject)}


def _rows(
    recording: Recording,
    env: emg.Envelope,
    scale: normalise.ChannelScale,
    settings: EmgConfig,
    data: DataConfig,
    dofs: int,
) -> dict[str, np.ndarray]:
    clock = np.arange(len(recording.emg)) / recording.rate_hz
    nearest = np.minimum(np.round(env.time_s * recording.rate_hz).astype(int), len(clock) - 1)
    good = np.ones(len(clock), bool) if recording.valid is None else recording.valid
    rows = {
        "jets": normalise.normalise(scale, env.jets, settings.rate_hz),
        "time": env.time_s,
        "usable": good[nearest],
    }
    if recording.angle is None:
        still = np.zeros((len(env.time_s), dofs))
        rows |= {"angle": still, "rate": still, "acceleration": still}
    else:
        rows |= motion_at(recording, env.time_s, data.angle_lowpass_hz)._asdict()
    exerted = np.zeros((len(clock), dofs)) if recording.dynamometer is None else recording.dynamometer
    for name, values in (("force", recording.force), ("torque", recording.torque), ("dynamometer", exerted)):
        if values is not None:
            rows[name] = values[nearest]
    return rows


def _end_of_repetition(recording: Recording, env: emg.Envelope, data: DataConfig, calibration: int) -> int:
    """Row at which the last repetition that counts of a trial's calibration part ends."""
    shown = motion_at(recording, env.time_s[:calibration], data.angle_lowpass_hz).angle
    later = repetition.number(shown, np.zeros(calibration, int)) >= data.calibration_repetitions
    return int(np.argmax(later)) if later.any() else calibration


def motion_at(recording: Recording, time_s: np.ndarray, lowpass_hz: float) -> Motion:
    """The measured motion at instants of the envelope's clock, smoothed; gaps are bridged."""
    assert recording.angle is not None
    angle, clock = recording.angle, np.arange(len(recording.emg)) / recording.rate_hz
    if recording.valid is not None and not recording.valid.all():
        good = recording.valid
        angle = np.stack([np.interp(clock, clock[good], a[good]) for a in angle.T], axis=1)
    motion = smooth_motion(angle, recording.rate_hz, lowpass_hz)
    nearest = np.minimum(np.round(time_s * recording.rate_hz).astype(int), len(clock) - 1)
    return Motion(*(v[nearest] for v in motion))


def smooth_motion(angle: np.ndarray, rate_hz: float, lowpass_hz: float) -> Motion:
    """Zero-phase low-pass (Butterworth, order 4 in all) and central differences of a measured angle (T, D) [rad]."""
    sos = signal.butter(2, lowpass_hz, fs=rate_hz, output="sos")
    smooth = signal.sosfiltfilt(sos, angle, axis=0, padlen=min(len(angle) - 1, int(rate_hz / lowpass_hz)))
    rate = np.gradient(smooth, 1 / rate_hz, axis=0)
    return Motion(smooth, rate, np.gradient(rate, 1 / rate_hz, axis=0))
