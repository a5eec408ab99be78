"""What goes wrong in raw EMG: dropouts, saturation, motion artefacts, hum, dead and swapped channels."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

from pitl.data.recording import Recording

DROPOUT_S = 0.05  # EMG never stands still that long
SATURATED = 1e-3  # part of the samples at the extreme value
HUM_RATIO = 10.0  # peak over its neighbours
HUM_SHARE = 0.1  # of the channel's power
_CLIPPED_RUN = 3  # samples at the extreme value in a row
_SPREAD_S = 0.05  # what a fault spoils before and after itself
_SLOW_HZ = 10.0  # surface EMG has nearly no power below; a moving cable or electrode has
_SLOW = 6.0  # times what the channel's EMG reaches in its loudest hundredth
_SPIKE = 8.0  # times the same
_ENVELOPE = 0.05  # raw EMG has more than this part of its power above 20 Hz
_SWAPPED = 6.0  # log likelihood that two channels gain in each other's place, least
_APART = 1.5  # squared distance between their usual places, least; synergists cannot be told from one another
_LIKELIER = 0.7  # squared distance to the other's place over that to its own, most
_LEAST_SPREAD = 0.15  # of correlations among people


class Masks(NamedTuple):
    """(T, C) True where a sample is spoilt, by kind."""

    still: np.ndarray
    clipped: np.ndarray
    artefact: np.ndarray


def masks(r: Recording) -> Masks:
    """Finds spoilt samples of a recording; channels that are dead throughout are spoilt nowhere.

    Rectified EMG and envelopes rest at zero and are slow, as faults of raw EMG are: there nothing is looked for.
    """
    if r.emg_kind != "raw":
        return Masks(*(np.zeros(r.emg.shape, bool) for _ in Masks._fields))
    out = Masks(still(r.emg, r.rate_hz), clipped(r.emg, r.rate_hz), artefacts(r.emg, r.rate_hz, r.valid))
    for c in dead(r):
        for m in out:
            m[:, c] = False
    return out


def still(emg: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T, C) True inside runs of identical samples longer than `DROPOUT_S`."""
    shortest = int(DROPOUT_S * rate_hz) + 1
    out = np.zeros(emg.shape, bool)
    if not len(emg):
        return out
    edges = np.ones((len(emg) + 1, emg.shape[1]), bool)  # where a run starts
    edges[1:-1] = emg[1:] != emg[:-1]
    for c in range(emg.shape[1]):
        starts = np.flatnonzero(edges[:, c])
        lengths = np.diff(starts)
        out[:, c] = np.repeat(lengths > shortest, lengths)
    return out


def extreme(x: np.ndarray) -> int:
    """How many samples are at exactly the largest or smallest value, whichever are more."""
    return int(max(np.count_nonzero(x == x.max()), np.count_nonzero(x == x.min()))) if len(x) else 0


def saturated(x: np.ndarray) -> bool:
    """Whether so many samples are at the extreme value that the amplifier must have been at its end."""
    return len(x) > 1 and np.ptp(x) > 0 and extreme(x) > max(10, SATURATED * len(x))


def clipped(emg: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T, C) True around runs at the extreme value of saturated channels."""
    out = np.zeros(emg.shape, bool)
    for c, x in enumerate(emg.T):
        if saturated(x):
            for level in (x.max(), x.min()):
                out[:, c] |= ndimage.binary_opening(x == level, np.ones(_CLIPPED_RUN, bool))
            out[:, c] = _widened(out[:, c], rate_hz)
    return out


def artefacts(emg: np.ndarray, rate_hz: float, valid: np.ndarray | None = None) -> np.ndarray:
    """(T, C) True around slow deflections and spikes far beyond the channel's EMG.

    Slow is below 10 Hz, where surface EMG has little power and cable motion has most of its own (De Luca et al. 2010,
    doi 10.1016/j.jbiomech.2010.01.027). The yardstick is the 99th percentile of the channel's own EMG, above 20 Hz.
    """
    out = np.zeros(emg.shape, bool)
    if len(emg) < rate_hz or rate_hz < 100:
        return out
    good = np.ones(len(emg), bool) if valid is None else valid
    clean = np.where(good[:, None], emg, 0.0)
    clean = clean - np.median(clean[good], axis=0) if good.any() else clean
    low = signal.butter(2, (0.5, _SLOW_HZ), "bandpass", fs=rate_hz, output="sos")
    high = signal.butter(2, 20.0, "highpass", fs=rate_hz, output="sos")
    slow = np.abs(np.asarray(signal.sosfiltfilt(low, clean, axis=0)))
    fast = np.abs(np.asarray(signal.sosfiltfilt(high, clean, axis=0)))
    for c in range(emg.shape[1]):
        own = good
        for _ in range(2):  # a large artefact hides smaller ones by raising the yardstick
            loud = float(np.percentile(fast[own, c], 99)) if own.any() else 0.0
            if loud <= 0:
                break
            hit = (slow[:, c] > _SLOW * loud) | (fast[:, c] > _SPIKE * loud)
            # its flanks belong to it
            flanks = hit | (slow[:, c] > _SLOW / 3 * loud)
            out[:, c] = _widened(ndimage.binary_propagation(hit & good, mask=flanks), rate_hz)
            own = good & ~out[:, c]
    return out


def _widened(hit: np.ndarray, rate_hz: float) -> np.ndarray:
    return ndimage.binary_dilation(hit, np.ones(2 * round(_SPREAD_S * rate_hz) + 1, bool)) if hit.any() else hit


def dead(r: Recording) -> list[int]:
    """Channels that do not change, or a thousand times less than the others."""
    good = slice(None) if r.valid is None else r.valid
    emg = r.emg[good]
    if len(emg) < 2:
        return []
    spread = emg.std(axis=0)
    stands = still(r.emg, r.rate_hz)[good].mean(axis=0)
    flat = (np.ptp(emg, axis=0) == 0) | (spread < 1e-3 * np.median(spread)) | (stands > 0.9)
    return [int(c) for c in np.flatnonzero(flat)]


def is_envelope(x: np.ndarray, rate_hz: float) -> bool:
    """Whether a channel has so little power above 20 Hz that it must have been rectified and smoothed already."""
    if rate_hz < 50 or len(x) < rate_hz:
        return False
    f, p = signal.welch(x - x.mean(), rate_hz, nperseg=int(rate_hz))
    total = p[f >= 0.5].sum()
    return bool(total > 0 and p[f > 20].sum() < _ENVELOPE * total)


def hum(r: Recording) -> dict[int, tuple[float, float]]:
    """Channels with a line at 50 or 60 Hz: its frequency [Hz] and share of the power."""
    n = int(r.rate_hz)
    if len(r.emg) < 3 * n or r.rate_hz < 200:
        return {}
    finite = np.where(np.isfinite(r.emg), r.emg, 0.0)
    f, p = signal.welch(finite, r.rate_hz, nperseg=n, axis=0)
    f, p = np.asarray(f), np.asarray(p)
    p = np.where((f > 5)[:, None], p, 0.0)
    total = np.maximum(p.sum(axis=0), np.finfo(float).tiny)
    out: dict[int, tuple[float, float]] = {}
    for line in (50.0, 60.0):
        off = np.abs(f - line)
        floor = np.median(p[(off > 3) & (off < 9)], axis=0)
        peak = p[off <= 1.5]
        share = np.maximum(peak - floor, 0.0).sum(axis=0) / total
        hit = (peak.max(axis=0) > HUM_RATIO * floor) & (share > HUM_SHARE)
        for c in np.flatnonzero(hit):
            if int(c) not in out or share[c] > out[int(c)][1]:
                out[int(c)] = (line, float(share[c]))
    return out


def line_share(x: np.ndarray, rate_hz: float, line_hz: float) -> float:
    """Part of a channel's power at the power line's frequency and its multiples."""
    f, p = signal.welch(x, rate_hz, nperseg=min(len(x), int(rate_hz)))
    f, p = np.asarray(f), np.where(np.asarray(f) > 5, p, 0.0)
    near = np.abs(f - line_hz * np.round(f / line_hz)) <= 1.5
    return float(p[near & (f > line_hz / 2)].sum() / max(float(p.sum()), np.finfo(float).tiny))


def swapped(recordings: Sequence[Recording]) -> list[tuple[int, int, int]]:
    """Pairs of channels that behave like each other's among other people: (recording, channel, channel).

    Each channel is described by how its envelope correlates with angle, velocity and acceleration; what is usual is
    the median over the recordings of other people in the same task, of which there must be three. Electrodes that sit
    on each other's muscles do so in most of a person's recordings: a pair found in fewer is chance, and not told.
    """
    known = {k: s for k, r in enumerate(recordings) if (s := _signature(r)) is not None}
    result: list[tuple[int, int, int]] = []
    judged: Counter[str] = Counter()
    for k, own in known.items():
        r = recordings[k]
        others = [
            v
            for j, v in known.items()
            if recordings[j].subject != r.subject
            and (recordings[j].task, recordings[j].posture) == (r.task, r.posture)
            and v.shape == own.shape
        ]
        if len(others) < 3:
            continue
        judged[r.subject] += 1
        usual = np.median(others, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(np.array(others) - usual), axis=0), _LEAST_SPREAD)
        distance = (((own[:, None] - usual) / spread) ** 2).sum(axis=2)  # (channel, place)
        apart = (((usual[:, None] - usual) / spread) ** 2).sum(axis=2)
        pairs = []
        for a in range(len(own)):
            for b in range(a + 1, len(own)):
                at_home, away = distance[a, a] + distance[b, b], distance[a, b] + distance[b, a]
                gain = 0.5 * (at_home - away)
                if gain > _SWAPPED and min(apart[a, b], apart[b, a]) > _APART and away < _LIKELIER * at_home:
                    pairs.append((gain, k, a, b))
        result += [max(pairs)[1:]] if pairs else []
    person = [r.subject for r in recordings]
    times = Counter((person[k], a, b) for k, a, b in result)
    return [(k, a, b) for k, a, b in result if 2 * times[person[k], a, b] > judged[person[k]]]


def _signature(r: Recording) -> np.ndarray | None:
    """(C, 3 D) correlations of each envelope with the motion."""
    if r.angle is None or r.seconds < 3:
        return None
    good = np.ones(len(r.emg), bool) if r.valid is None else r.valid
    step = max(1, round(r.rate_hz / 100))
    sos = signal.butter(2, min(3.0, 0.2 * r.rate_hz), fs=r.rate_hz, output="sos")
    clean = np.where(good[:, None], r.emg - np.median(r.emg[good], axis=0), 0.0) if good.any() else r.emg
    envelope = np.asarray(signal.sosfiltfilt(sos, np.abs(clean), axis=0))[::step]
    angle = np.asarray(signal.sosfiltfilt(sos, r.angle, axis=0))[::step]
    rate = np.gradient(angle, axis=0)
    motion = np.concatenate([angle, rate, np.gradient(rate, axis=0)], axis=1)[good[::step]]
    envelope = envelope[good[::step]]
    if len(motion) < 100:
        return None
    e = (envelope - envelope.mean(axis=0)) / np.maximum(envelope.std(axis=0), 1e-30)
    m = (motion - motion.mean(axis=0)) / np.maximum(motion.std(axis=0), 1e-30)
    return e.T @ m / len(m)
