"""What cannot be as it says: EMG of an impossible size or without a muscle, radians called degrees, copied people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import signal

from pitl.data import copies
from pitl.data.checks import faults
from pitl.data.checks.apart import rough_envelope
from pitl.data.recording import Recording

# Spread of surface EMG over a recording, generously: amplifiers have 0.3 uV of noise, and the skin gives a few mV.
SMALLEST_V, LARGEST_V = 2e-7, 1e-2
LOWEST_RATE_HZ = {"raw": 400.0, "rectified": 400.0, "envelope": 20.0}  # raw EMG has power up to 200 Hz at least
_USUAL_V = (3e-6, 3e-3)
_INSTEAD = {1e3: "mV instead of uV", 1e-3: "uV instead of mV", 1e6: "V instead of uV", 1e-6: "uV instead of V"}
_PEOPLE_APART = 100.0  # times the size that the others have
_RADIANS_DEG = 3.2  # a joint that moves by less than pi "degrees" is in radians
_STEADY = 4.0  # times the scatter of steady noise, which a muscle at work exceeds
_MOVES = np.radians(10.0)
_WINDOW_S = 0.25
_HUM_ALONE = 0.8  # part of a channel's power
_CONSTANT = 0.15  # of its mean; the envelope of a muscle at work varies by more than half of it
_LIKE_A_TYPE = 0.02  # of the samples: raw EMG is below zero half the time


class Suspicion(NamedTuple):
    """One recording's channel or coordinate (None: all of it), what is wrong, what to do, and whether it is certain."""

    recording: int
    column: str | None
    what: str
    advice: str
    certain: bool = True


class Usability(NamedTuple):
    """What a recording's certain suspicions mean for using it."""

    why: str = ""  # nothing of it can be used
    lost: Mapping[int, str] = {}  # channels that are as good as dead, and why
    silent: Mapping[int, str] = {}  # those without a muscle; only one that never has any was not connected


def judge(r: Recording) -> Usability:
    """Whether a recording, or which of its channels, would teach something false."""
    angles = [s for s in _radians(0, r) if r.dynamometer is None]
    if angles and len(angles) == len(r.dofs):
        return Usability(f"{angles[0].what}; {angles[0].advice}")
    sizes = {r.channels.index(s.column): s for s in _sizes(0, r) if s.column is not None}
    if len(sizes) > len(r.channels) / 2:
        first = next(iter(sizes.values()))
        return Usability(f"{first.what}; {first.advice}")
    silent = {r.channels.index(s.column): s for s in _without_muscle(0, r) if s.certain and s.column is not None}
    lost, silent = ({c: f"{s.column}: {s.what}" for c, s in found.items()} for found in (sizes, silent))
    return Usability("", lost, silent)


def find(recordings: Sequence[Recording], *, copied: bool = True) -> list[Suspicion]:
    """Everything that contradicts itself within these recordings, or among them; `copied` looks for copies too."""
    out = []
    for k, r in enumerate(recordings):
        out += _sizes(k, r)
        out += _radians(k, r)
        out += _without_muscle(k, r)
        out += _kinds(k, r)
        out += _twice(k, r)
    return out + list(_unlike_others(recordings)) + (list(_copied(recordings)) if copied else [])


def _good(r: Recording) -> np.ndarray:
    return r.emg if r.valid is None else r.emg[r.valid]


def _sizes(k: int, r: Recording) -> Iterator[Suspicion]:
    emg = _good(r)
    if r.emg_unit != "V" or len(emg) < 2:
        return
    for c, spread in enumerate(emg.std(axis=0)):
        if not spread or SMALLEST_V <= spread <= LARGEST_V or c in faults.dead(r):
            continue
        ask = next((f": is the unit {u}?" for g, u in _INSTEAD.items() if _USUAL_V[0] < spread * g < _USUAL_V[1]), "")
        what = f"the EMG varies by {spread:.1g} V, surface EMG by {SMALLEST_V:g} to {LARGEST_V:g} V{ask}"
        yield Suspicion(k, r.channels[c], what, "correct the unit in the file, or under [emg] in cohort.toml")


def _radians(k: int, r: Recording) -> Iterator[Suspicion]:
    if r.angle is None:
        return
    angle = np.degrees(r.angle if r.valid is None else r.angle[r.valid])
    for d, dof in enumerate(r.dofs if len(angle) else ()):
        low, high = float(angle[:, d].min()), float(angle[:, d].max())
        if high - low < _RADIANS_DEG:
            what = f"the angle hardly changes ({low:.2f} to {high:.2f} deg)"
            turned = f"{np.degrees(low):.0f} to {np.degrees(high):.0f} deg"
            advice = f"if it is in radians called degrees ({turned}), correct its unit, else check the sensor"
            yield Suspicion(k, dof, what, advice)


def _without_muscle(k: int, r: Recording) -> Iterator[Suspicion]:
    """Channels that hold only noise or only the power line, in a joint that moves."""
    if r.angle is None or r.seconds < 4:
        return
    good = np.ones(len(r.emg), bool) if r.valid is None else r.valid
    if not good.any() or np.ptp(r.angle[good], axis=0).max() < _MOVES:
        return
    hum, dead = faults.hum(r), faults.dead(r)
    slow = rough_envelope(r)[0]  # noise that was rectified and not smoothed varies, its envelope does not
    for c, channel in enumerate(r.channels):
        if c in dead:
            continue
        line = faults.line_share(r.emg[good, c], r.rate_hz, hum[c][0]) if c in hum else 0.0
        x = r.emg[:, c]
        if line > _HUM_ALONE:
            what = f"{line:.0%} of the signal is the power line's {hum[c][0]:g} Hz and its multiples"
        elif r.emg_kind == "envelope":
            if slow[:, c].std() < _CONSTANT * abs(slow[:, c].mean()):
                what = f"the envelope varies by {slow[:, c].std() / abs(slow[:, c].mean()):.0%} of its mean only"
                yield Suspicion(k, channel, what, "was the electrode connected? leave the channel out if not", False)
            continue
        elif is_steady(x - np.median(x[good]), r.rate_hz, good):
            what = "the EMG is noise that does not change with the movement"
        else:
            continue
        yield Suspicion(k, channel, what, "was the electrode connected? leave the channel or the recording out")


def is_steady(x: np.ndarray, rate_hz: float, good: np.ndarray) -> bool:
    """Whether the power of a signal varies no more from window to window than that of steady noise does."""
    n = int(_WINDOW_S * rate_hz)
    count = len(x) // max(n, 1)
    if n < 16 or count < 12:
        return False
    windows = x[: n * count].reshape(count, n)
    whole = good[: n * count].reshape(count, n).all(axis=1)
    if whole.sum() < 12:
        return False
    power = windows[whole].var(axis=1)
    f, p = signal.welch(windows[whole].ravel(), rate_hz, nperseg=min(n * count, int(rate_hz)))
    p = np.asarray(p)[f > 2]
    bandwidth = p.sum() ** 2 / max(float((p**2).sum()), 1e-300) * float(f[1] - f[0])
    scatter = 1 / np.sqrt(bandwidth * _WINDOW_S)  # of the power of Gaussian noise in that band
    middle = float(np.median(power))
    return middle > 0 and bool(np.percentile(np.abs(power / middle - 1), 98) < _STEADY * scatter) and scatter < 0.2


def _kinds(k: int, r: Recording) -> Iterator[Suspicion]:
    """Channels that are not of the kind that they are said to be."""
    good = np.ones(len(r.emg), bool) if r.valid is None else r.valid
    dead = faults.dead(r)
    for c, channel in enumerate(r.channels):
        x = r.emg[good, c]
        if c in dead or len(x) < 20:
            continue
        is_kind = kind_of(x, r.rate_hz)
        if r.emg_kind == "raw" and is_kind != "raw":
            told = {
                "rectified": "no sample is below zero: it was rectified",
                "envelope": "nearly all power is below 20 Hz: this is an envelope, not raw EMG",
            }[is_kind]
            yield Suspicion(k, channel, told, f'give it as it was recorded, or say kind = "{is_kind}" under [emg]')
        elif r.emg_kind != "raw" and float((x < -1e-3 * x.std()).mean()) > 0.3:
            what = f"it is said to be {r.emg_kind}, but a third of the samples are below zero"
            yield Suspicion(k, channel, what, 'say kind = "raw" under [emg] in cohort.toml', is_kind == "raw")


def kind_of(x: np.ndarray, rate_hz: float) -> str:
    """ "raw", "rectified" or "envelope", told by sign and spectrum.

    Args:
        x: (T,) finite samples of one channel, slow artefacts taken out.
        rate_hz: of these.
    """
    if len(x) < 20:
        return "raw"
    if faults.is_envelope(x, rate_hz):
        return "envelope"
    spread = float(x.std())
    touches_zero = spread > 0 and float(np.percentile(x, 2)) < 0.1 * spread
    if float((x < 0).mean()) < _LIKE_A_TYPE and touches_zero:
        jumps = float(np.abs(np.diff(x)).mean()) / spread
        return "rectified" if jumps > 0.3 else "envelope"
    return "raw"


def _twice(k: int, r: Recording) -> Iterator[Suspicion]:
    for a, b in copies.repeated(_good(r)) if r.emg_kind != "envelope" else ():
        what = f"{r.channels[a]} and {r.channels[b]} are the same signal"
        yield Suspicion(k, r.channels[b], what, "one column stands for two muscles: correct [emg] channels or the file")


def _unlike_others(recordings: Sequence[Recording]) -> Iterator[Suspicion]:
    """People whose EMG is a hundred times that of the others, or a hundredth."""
    sizes: dict[str, list[float]] = {}
    for r in recordings:
        emg = _good(r)
        if len(emg):
            sizes.setdefault(r.subject, []).append(float(np.median(emg.std(axis=0))))
    people = {name: float(np.median(v)) for name, v in sizes.items()}
    if len(people) < 3:
        return
    usual = float(np.median(list(people.values())))
    for k, r in enumerate(recordings):
        size = people.get(r.subject, 0.0)
        if min(size, usual) > 0 and max(size / usual, usual / size) > _PEOPLE_APART:
            what = f"the EMG is {size / usual:.2g} times that of the other people"
            yield Suspicion(k, None, what, "their units differ: give each person's files in the same unit", False)


def _copied(recordings: Sequence[Recording]) -> Iterator[Suspicion]:
    for i, j, share in copies.pairs({i: r.emg for i, r in enumerate(recordings)}):
        first = recordings[i]
        how = "is identical to" if share > 0.99 else f"shares {share:.0%} of its samples with"
        what = f"the EMG {how} that of {first.subject}/{first.trial}"
        yield Suspicion(j, None, what, "one is a copy: leave it out or find the right file")
