"""Looks at recordings before they are used: what is wrong with them, where, and what to do about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pitl.config.schema import DataConfig
from pitl.data import alignment
from pitl.data.checks import apart, faults, suspicions, usable
from pitl.data.recording import Cohort, Recording
from pitl.data.uci import goniometer
from pitl.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

Severity = Literal["error", "warning", "info"]

SHORT_S = 3.0
_LEAST_TEST_S = 0.4
SUSPICIOUS_S = 0.3  # offset beyond what the method cannot tell
JOINT_DEG = {"wrist": (-90.0, 90.0), "wrist2": (-90.0, 90.0), "knee": (-30.0, 160.0)}
ANGLE_DEG = (-180.0, 180.0)  # of an imported model, whose signs are its own; a run compares with the model's range
_KNEE_MUSCLES = ("RF", "BF", "VM", "ST")


class Finding(NamedTuple):
    """One observation.

    Attributes:
        severity: `"error"` if the data cannot be used like this, `"warning"`, or `"info"`.
        where: subject, trial and channel.
        what: what was found.
        advice: what to do about it.
    """

    severity: Severity
    where: str
    what: str
    advice: str


def check(cohort: Cohort) -> list[Finding]:
    """Everything worth knowing about the recordings, errors first."""
    result = [Finding("info", cohort.name, note, "") for note in cohort.notes]
    result += [Finding("error", cohort.name, what.rstrip("."), "everything else is used") for what in cohort.left_out]
    recordings = [r for s in cohort.subjects for r in s.recordings]
    usual = DataConfig()
    result += _check_joint(cohort)
    for r in recordings:
        result += _check_recording(r, JOINT_DEG.get(cohort.joint, ANGLE_DEG))
        result += _check_offset(r)
        result += _check_apart(r)
        if cohort.joint == "knee":
            result += _check_posture(r)
    for s in suspicions.find(recordings):
        where = f"{recordings[s.recording].subject}/{recordings[s.recording].trial}"
        severity: Severity = "error" if s.certain else "warning"
        result.append(Finding(severity, f"{where}, {s.column}" if s.column else where, s.what, s.advice))
    for name, why in usable.without_test(cohort, usual.calibration_fraction, _LEAST_TEST_S, usual.gap_s).items():
        result.append(Finding("error", name, why, "`pitl run` leaves this person out; record more"))
    for k, a, b in faults.swapped(recordings):
        r = recordings[k]
        what = f"channels {r.channels[a]} and {r.channels[b]} behave like each other's in other people"
        result.append(Finding("warning", f"{r.subject}/{r.trial}", what, "check whether two cables were swapped"))
    order = ("error", "warning", "info")
    return sorted(result, key=lambda f: order.index(f.severity))


def _check_joint(cohort: Cohort) -> Iterator[Finding]:
    """Whether there is a model of the joint: else nothing but regressions can be made."""
    from pitl.mechanics.joints import BUILTIN

    if cohort.joint not in BUILTIN and not Path(cohort.joint).is_dir():
        what = f"the joint {cohort.joint!r} is neither built in ({', '.join(BUILTIN)}) nor a folder with a model"
        advice = (
            f"import one with `pitl model import FILE.osim --coordinates ... --out {cohort.joint}` and name its folder "
            "as joint in cohort.toml"
        )
        yield Finding("error", cohort.name, what, advice)


def check_folder(
    folder: Path, kind: Literal["virtual", "uci", "cohort", "auto"] = "auto"
) -> tuple[Cohort, list[Finding]]:
    """Reads a folder and checks what is in it.

    Raises:
        PitlError: if it cannot be read.
    """
    from pitl.data.folder import read_folder

    cohort = read_folder(Path(folder), DataConfig(kind=kind, dir=str(folder)))
    return cohort, check(cohort)


def check_recordings(people: str | Path | Cohort) -> list[Finding]:
    """What is wrong or suspicious in recordings, errors first; each finding says what to do.

    Args:
        people: a folder, or a cohort that was read.

    Raises:
        PitlError: the folder cannot be read.

    Example:
        for f in pitl.check("recordings"):
            print(f.severity, f.where, f.what, f.advice)
    """
    return check(people) if isinstance(people, Cohort) else check_folder(Path(people))[1]


def render(cohort: Cohort, findings: list[Finding], console: "Console") -> None:
    """Shows the recordings, what was decided while reading them, and the findings."""
    from rich import box
    from rich.markup import escape as escape_markup
    from rich.table import Table

    def escape(text: str) -> str:
        return escape_markup(printable(text))

    recordings = [r for s in cohort.subjects for r in s.recordings]
    people = f"{len(cohort.subjects)} {'person' if len(cohort.subjects) == 1 else 'people'}"
    title = f"{escape(cohort.name)}: {people}, joint {escape(cohort.joint)}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("trial", "task", "posture"):
        table.add_column(name, overflow="fold")
    for name in ("channels", "rate [Hz]", "length [s]", "angle [deg]", "lag [s]"):
        table.add_column(name, justify="right")
    for r in recordings:
        numbers = (str(len(r.channels)), f"{r.rate_hz:g}", f"{r.seconds:.1f}", _angle_range(r), _offset(r))
        table.add_row(*(escape(t) for t in (f"{r.subject}/{r.trial}", r.task, r.posture)), *numbers)
    console.print(table)
    if any(r.angle is not None for r in recordings):
        console.print(
            "lag: of the motion behind the EMG beyond the usual, +-0.2 s; in brackets where it cannot be told."
        )
    decisions = [*cohort.notes, *(f"{r.subject}/{r.trial}: {n}" for r in recordings for n in r.notes)]
    if decisions:
        console.print("Decisions taken while reading:")
        for text in decisions:
            console.print(f"  - {escape(text)}", highlight=False)
    colours = {"error": "red", "warning": "yellow", "info": "cyan"}
    shown = [f for f in findings if f.advice or f.severity != "info"]
    for f in shown:
        text = f"{escape(f.where)}: {escape(f.what)}; {escape(f.advice)}."
        console.print(f"[{colours[f.severity]}]{f.severity}[/] {text}", highlight=False)
    if not shown:
        console.print("Nothing suspicious was found.")


def _angle_range(r: Recording) -> str:
    angle = _good_rows(r, r.angle)
    if angle is None or not len(angle):
        return "-"
    degrees = np.degrees(angle)
    return ", ".join(f"{lo:.0f} to {hi:.0f}" for lo, hi in zip(degrees.min(axis=0), degrees.max(axis=0), strict=True))


def _offset(r: Recording) -> str:
    if r.angle is None:
        return "-"
    result = alignment.estimate_offset(r.emg, r.angle, r.rate_hz, r.valid, r.emg_kind)
    return "-" if result is None else f"{result.seconds:+.2f}" if result.certain else f"({result.seconds:+.2f})"


def _good_rows(r: Recording, values: np.ndarray | None) -> np.ndarray | None:
    return values if values is None or r.valid is None else values[r.valid]


def _check_recording(r: Recording, limits: tuple[float, float]) -> Iterator[Finding]:
    where = f"{r.subject}/{r.trial}"
    for note in r.notes:
        yield Finding("info", where, note, "")
    lowest = suspicions.LOWEST_RATE_HZ[r.emg_kind]
    if r.rate_hz < lowest:
        what = f"{r.rate_hz:g} samples per second is too slow for {r.emg_kind} EMG, expected at least {lowest:g}"
        yield Finding("error", where, what, "check the rate, and that the EMG is raw and not an envelope")
    if r.seconds < SHORT_S:
        what = f"lasts only {r.seconds:.2f} s, expected at least {SHORT_S:g} s"
        yield Finding("warning", where, what, "leave it out or check that the file is whole")
    if r.valid is not None and not r.valid.all():
        part = 1 - float(r.valid.mean())
        severity: Severity = "error" if part > 0.5 else "warning" if part > 0.05 else "info"
        yield Finding(severity, where, f"{part:.2%} of the samples are unusable", "they are left out")
    yield from _check_angle(r, where, limits)
    emg = _good_rows(r, r.emg)
    if emg is not None and len(emg) > 1:
        yield from _check_emg(r, emg, where)


def _check_angle(r: Recording, where: str, limits: tuple[float, float]) -> Iterator[Finding]:
    angle = _good_rows(r, r.angle)
    if angle is None:
        yield Finding("warning", where, "there is no angle", "it can be predicted but not be learned from or judged")
        return
    if not len(angle):
        return
    low, high = np.degrees(angle.min(axis=0)), np.degrees(angle.max(axis=0))
    for d, dof in enumerate(r.dofs):
        at = f"{where}, {dof}"
        if low[d] < limits[0] or high[d] > limits[1]:
            what = f"the angle goes from {low[d]:.0f} to {high[d]:.0f} deg, expected {limits[0]:g} to {limits[1]:g} deg"
            yield Finding("warning", at, what, "check the unit, the sign (flexion is positive) and the zero")


def _check_emg(r: Recording, emg: np.ndarray, where: str) -> Iterator[Finding]:
    masks = faults.masks(r)
    good = np.ones(len(r.emg), bool) if r.valid is None else r.valid
    hum, dead = faults.hum(r), faults.dead(r)
    for c, channel in enumerate(r.channels):
        at = f"{where}, {channel}"
        x = emg[:, c]
        if c in dead:
            yield Finding("error", at, "the channel is dead (it does not change)", "check the electrode; leave it out")
            continue
        clean = good & ~masks.artefact[:, c]
        kinds = {suspicions.kind_of(r.emg[rows, c], r.rate_hz) for rows in (clean, good)}
        if r.emg_kind != "raw" or kinds != {"raw"}:  # slow and one-sided by nature, which is told elsewhere
            continue
        if faults.saturated(x):
            top = faults.extreme(x)
            what = f"{top} samples ({top / len(x):.2%}) are at exactly the extreme value: the amplifier saturated"
            yield Finding("warning", at, what, "lower the gain next time; runs of such samples are left out")
        spoilt = (
            (masks.still, "stand still (dropouts)", "check the cable; these samples are left out"),
            (masks.artefact, "are motion artefacts", "fix cables and electrodes; these samples are left out"),
        )
        for mask, what, advice in spoilt:
            bad = mask[:, c] & good
            if bad.any():
                first = int(np.argmax(bad)) / r.rate_hz
                yield Finding(
                    "warning", at, f"{bad.sum() / r.rate_hz:.2f} s {what}, the first at {first:.2f} s", advice
                )
        if c in hum:
            what = f"the power line's {hum[c][0]:g} Hz make up {hum[c][1]:.0%} of the signal"
            advice = f"check the ground electrode, or say notch_hz = {hum[c][0]:g} under [emg] in cohort.toml"
            yield Finding("warning", at, what, advice)


def _check_apart(r: Recording) -> Iterator[Finding]:
    """Channels that leave their fellows for a while."""
    envelope, rate = apart.rough_envelope(r)
    for c, begin, end in apart.find_apart(envelope, rate).spans(rate):
        what = f"from {begin:.0f} to {end:.0f} s it does not follow the other channels as in the rest of the trial"
        advice = "did the electrode come loose? a calibration on moments takes the others' mixture there"
        yield Finding("warning", f"{r.subject}/{r.trial}, {r.channels[c]}", what, advice)


def _check_offset(r: Recording) -> Iterator[Finding]:
    """Clocks of EMG and motion; the estimate is only as good as the motion is lively."""
    result = None if r.angle is None else alignment.estimate_offset(r.emg, r.angle, r.rate_hz, r.valid, r.emg_kind)
    if result is None or not result.certain or abs(result.seconds) <= SUSPICIOUS_S:
        return
    what = (
        f"the motion is {'late' if result.seconds > 0 else 'early'} against the EMG by about "
        f"{abs(result.seconds):.2f} s (+-{alignment.LEAD_SPREAD_S:g} s, correlation {result.correlation:.2f})"
    )
    advice = f"if their clocks differ, say emg_offset_s = {result.seconds:.2f} for this trial in cohort.toml"
    yield Finding("warning", f"{r.subject}/{r.trial}", what, advice)


def _check_posture(r: Recording) -> Iterator[Finding]:
    """A knee trial whose rest posture and working muscles both belong to the other posture; gait is neither."""
    task = {"seated": "sen", "standing": "pie"}.get(r.posture)
    angle, emg = _good_rows(r, r.angle), _good_rows(r, r.emg)
    if r.task == "mar" or task is None or angle is None or emg is None or len(emg) < SHORT_S * r.rate_hz:
        return
    if not set(_KNEE_MUSCLES) <= set(r.channels):
        return
    channels = [r.channels.index(m) for m in _KNEE_MUSCLES]
    why = goniometer.contradiction(goniometer.evidence(emg[:, channels], np.degrees(angle[:, 0]), r.rate_hz, 1.0), task)
    if why:
        advice = "check whether two files were swapped, and give the trial its right task and posture"
        yield Finding("warning", f"{r.subject}/{r.trial}", f"contradicts its posture '{r.posture}': {why}", advice)
