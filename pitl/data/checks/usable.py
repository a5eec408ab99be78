"""What of a cohort can be used: spoilt samples are masked, bad recordings and channels left out singly."""

from dataclasses import replace

import numpy as np

from pitl.data import copies
from pitl.data.checks import faults, suspicions
from pitl.data.recording import Cohort, MaximumContraction, Recording, Subject
from pitl.errors import PitlError

_LEAST_USABLE = 0.1  # part of the samples
_LEAST_PEOPLE = 3  # one to test on, one to stop training on, one to train on
_NOTHING_OF_THEM = "no recording of this person can be used"
_LEAST_MOTION = 2e-4  # rad; a sensor that is connected shows more than that


def mask(recording: Recording) -> Recording:
    """The recording with dropouts, saturation and motion artefacts of any channel marked invalid."""
    result = faults.masks(recording)
    bad = np.any([m.any(axis=1) for m in result], axis=0)
    if not bad.any():
        return recording
    told = ", ".join(
        f"{name} {m.any(axis=1).sum() / recording.rate_hz:.2f} s"
        for name, m in zip(("dropouts", "saturation", "motion artefacts"), result, strict=True)
        if m.any()
    )
    valid = ~bad if recording.valid is None else recording.valid & ~bad
    return replace(recording, valid=valid, notes=(*recording.notes, f"masked: {told}"))


def usable(
    cohort: Cohort,
    shortest_s: float = 0.0,
    calibration_fraction: float = 1.0,
    least_window_s: float = 0.0,
    gap_s: float = 0.0,
    *,
    measured: bool = False,
) -> Cohort:
    """Masks what is spoilt and leaves out what cannot be used; `left_out` of the result says what and why.

    A channel that is dead in some recordings costs either these recordings or the channel in all of them: whichever is
    the smaller part of the data, or keeps three people.

    Args:
        cohort: as read.
        shortest_s: recordings need to last that long.
        calibration_fraction: first part of each recording that has to have usable samples too.
        least_window_s: segment that every person needs in the calibration and in the test part.
        gap_s: between these.
        measured: what no electrode or goniometer gives is left out as well.

    Raises:
        PitlError: if nothing is left.
    """
    left_out = list(cohort.left_out)
    usabilities: dict[int, suspicions.Usability] = {}  # by id of a recording that is kept
    kept: dict[str, list[Recording]] = {s.name: [] for s in cohort.subjects}
    for s in cohort.subjects:
        for r in s.recordings:
            masked = mask(r)
            why = _unusable(masked, shortest_s, calibration_fraction)
            if not why:
                usability = suspicions.judge(masked) if measured else suspicions.Usability()
                usabilities[id(masked)], why = usability, usability.why
            if why:
                left_out.append(f"{s.name}/{r.trial} was left out: {why}")
            else:
                kept[s.name].append(masked)
    channels = cohort.subjects[0].recordings[0].channels
    odd = {name: _odd([usabilities[id(r)] for r in rs]) for name, rs in kept.items()}
    dead_in = {
        name: [set(faults.dead(r)) | set(o) for r, o in zip(rs, odd[name], strict=True)] for name, rs in kept.items()
    }
    gone = _dead_channels(dead_in, len(channels))
    if gone:
        names = ", ".join(channels[c] for c in gone)
        told = next((o[c] for os in odd.values() for o in os for c in gone if c in o), "")
        why = f" ({told})" if told else ""
        left_out.append(f"channel {names} was left out for everybody: it is dead in too many recordings{why}")
    stay = [c for c in range(len(channels)) if c not in gone]
    people = []
    for s in cohort.subjects:
        own = []
        for r, lost, told in zip(kept[s.name], dead_in[s.name], odd[s.name], strict=True):
            dead = [channels[c] for c in sorted(lost) if c not in gone]
            if dead:
                why = "; ".join(told.values()) + "; was the electrode connected?"
                why = why if told else f"channel {', '.join(dead)} is dead"
                left_out.append(f"{s.name}/{r.trial} was left out: {why}")
            else:
                own.append(_with_channels(r, stay) if gone else r)
        if own:
            people.append(replace(_without_channels(s, stay), recordings=tuple(own)))
        else:
            left_out.append(f"{s.name} was left out: {_NOTHING_OF_THEM}")
    if not people:
        reasons = [w for w in left_out if not w.endswith(_NOTHING_OF_THEM)][-3:]
        raise PitlError(f"cohort {cohort.name}: no recording can be used; {'; '.join(reasons)}.")
    result = replace(cohort, subjects=tuple(people), left_out=tuple(dict.fromkeys(left_out)))
    gone_people = without_test(result, calibration_fraction, least_window_s, gap_s) if least_window_s else {}
    left_out += [f"{name} was left out: {why}" for name, why in gone_people.items()]
    people = [s for s in people if s.name not in gone_people]
    if not people:
        raise PitlError(f"cohort {cohort.name}: no recording can be used; {'; '.join(left_out[-3:])}.")
    return replace(result, subjects=tuple(people), left_out=tuple(dict.fromkeys(left_out)))


def without_copies(cohort: Cohort) -> Cohort:
    """Leaves out recordings whose EMG is in one before them, so that nobody is learned from and judged on at once."""
    recordings = [r for s in cohort.subjects for r in s.recordings]
    copied = {j: (i, share) for i, j, share in copies.pairs(dict(enumerate(r.emg for r in recordings)))}
    gone = {id(recordings[j]) for j in copied}
    people = []
    for s in cohort.subjects:
        own = tuple(r for r in s.recordings if id(r) not in gone)
        people += [replace(s, recordings=own)] if own else []
    told = [
        f"{recordings[j].subject}/{recordings[j].trial} was left out: its EMG is that of "
        f"{recordings[i].subject}/{recordings[i].trial} ({share:.0%})"
        for j, (i, share) in copied.items()
    ]
    return replace(cohort, subjects=tuple(people), left_out=(*cohort.left_out, *told)) if copied else cohort


def without_test(cohort: Cohort, calibration_fraction: float, window_s: float, gap_s: float) -> dict[str, str]:
    """Why people have nothing to calibrate or to test on, by name: no usable window in that part of any recording."""
    out = {}
    for s in cohort.subjects:
        for name, first in (("calibration", True), ("test", False)):
            if calibration_fraction < 1 and not any(
                _longest_s(r, calibration_fraction, None if first else gap_s) >= window_s for r in s.recordings
            ):
                side = "first" if first else "last"
                share = calibration_fraction if first else 1 - calibration_fraction
                out[s.name] = (
                    f"the {name} part (the {side} {share:.0%} of a recording) has no {window_s:g} s in a row in which "
                    "everything was recorded"
                )
    return out


def _longest_s(r: Recording, fraction: float, gap_s: float | None) -> float:
    """Longest usable segment in the first part of a recording, or in what follows it after a gap [s]."""
    at = int(fraction * len(r.emg))
    part = slice(None, at) if gap_s is None else slice(at + int(gap_s * r.rate_hz), None)
    valid = np.ones(len(r.emg), bool)[part] if r.valid is None else r.valid[part]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], valid.astype(np.int8), [0]])))
    return float((edges[1::2] - edges[::2]).max(initial=0)) / r.rate_hz


def _unusable(r: Recording, shortest_s: float, calibration_fraction: float) -> str:
    if r.seconds < shortest_s:
        return f"it lasts {r.seconds:.1f} s, shorter than the {shortest_s:.1f} s that calibration, gap and test need"
    if len(faults.dead(r)) == len(r.channels):
        return "every channel is dead"
    if r.valid is not None:
        first = max(1, int(calibration_fraction * len(r.valid)))
        for part, name in ((r.valid, "the"), (r.valid[:first], "the calibration part's")):
            if part.mean() < _LEAST_USABLE:
                return f"only {100 * part.mean():.0f} % of {name} samples are usable (dropouts, saturation, gaps)"
    if r.angle is not None:
        angle = r.angle if r.valid is None else r.angle[r.valid]
        if len(angle) and (np.ptp(angle, axis=0) < _LEAST_MOTION).all():
            return "the angle does not change: its sensor was dead"
    return ""


def _odd(usabilities: list[suspicions.Usability]) -> list[dict[int, str]]:
    """Channels of each of a person's recordings that are as good as dead."""
    never = set.intersection(*(set(v.silent) for v in usabilities)) if usabilities else set()
    return [{**v.lost, **{c: v.silent[c] for c in never}} for v in usabilities]


def _dead_channels(dead: dict[str, list[set[int]]], channels: int) -> list[int]:
    """Channels whose loss costs less than that of the recordings in which they are dead, given by person."""
    total = max(1, sum(map(len, dead.values())))
    gone: set[int] = set()
    enough = sum(bool(d) for d in dead.values()) >= _LEAST_PEOPLE
    while len(gone) < channels - 1:
        counts = {c: sum(c in d for ds in dead.values() for d in ds) for c in range(channels) if c not in gone}
        worst = max(counts, key=lambda c: counts[c])
        left = sum(any(not d - gone for d in ds) for ds in dead.values())
        dear = counts[worst] / total >= 1 / channels or (enough and left < _LEAST_PEOPLE)
        if not counts[worst] or not dear:
            break
        gone.add(worst)
    return sorted(gone)


def _without_channels(s: Subject, stay: list[int]) -> Subject:
    """The person's maximum contractions in the channels that stay."""
    kept = []
    for c in s.contractions:
        columns = [k for k, place in enumerate(c.places) if place in stay]
        kept.append(MaximumContraction(c.emg[:, columns], c.rate_hz, tuple(stay.index(c.places[k]) for k in columns)))
    return replace(s, mvc=None if s.mvc is None else s.mvc[stay], contractions=tuple(kept))


def _with_channels(r: Recording, stay: list[int]) -> Recording:
    return replace(r, emg=r.emg[:, stay], channels=tuple(r.channels[c] for c in stay))
