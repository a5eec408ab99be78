"""Several clocks become one: regular samples, gaps kept as gaps, and the offset between EMG and motion."""

from typing import NamedTuple

import numpy as np
from scipy import interpolate, signal

from pitl.errors import PitlError

# Time stamps of a regular recorder agree within this part of a sample with counting; others are jittered.
_REGULAR = 0.2
_MOST_MISSING = 50  # times as many samples as there are: a jump beyond is a broken clock
# EMG leads posture by more than the electromechanical delay: force has to move a mass first. Median over 30 seated and
# standing recordings of the UCI lower-limb set, whose EMG and goniometer share one recorder; 90 % lie within 0.2 s.
LEAD_S = 0.21
LEAD_SPREAD_S = 0.2
_REACH_S = 0.8  # largest offset that is looked for
_STEP_S = 0.01
_CERTAIN = 0.6  # least correlation
_SHARP = 0.97  # part of the best correlation that is as good as the best
_WIDEST_S = 0.5  # of the lags that are as good


class Regular(NamedTuple):
    """Samples on a clock without jitter; NaN where none were recorded."""

    start_s: float
    rate_hz: float
    values: np.ndarray  # (N, K)
    row: np.ndarray  # (N,) of the file, -1 where none
    note: str  # what was done, "" if nothing


class Offset(NamedTuple):
    """By how much the motion's clock is ahead of the EMG's, and how well the recording shows it."""

    seconds: float
    correlation: float  # between envelopes and motion at that offset
    certain: bool


def regular(time_s: np.ndarray, values: np.ndarray, where: str) -> Regular:
    """Puts samples on a regular clock.

    Stamps of a regular recorder with lost samples: the losses become NaN. Stamps that are rounded or jitter about
    regular samples: samples are counted, holes of over 0.1 s become NaN. Truly irregular samples (simulations with
    variable steps): linear interpolation at the median rate.

    Args:
        time_s: (T,) not decreasing.
        values: (T, K).
        where: file and stream, for messages.

    Raises:
        PitlError: if time stands still, runs backwards or jumps absurdly.
    """
    time_s = np.asarray(time_s, float)
    if len(time_s) < 2:
        raise PitlError(
            f"{where}: has {len(time_s)} sample(s), expected a recording; export it again, or leave it out."
        )
    if not np.isfinite(time_s).all():
        row = int(np.argmin(np.isfinite(time_s)))
        raise PitlError(f"{where}: the time of sample {row + 1} is missing; fill the time column, or remove it.")
    step = np.diff(time_s)
    if (step < 0).any():
        row = int(np.argmax(step < 0))
        raise PitlError(
            f"{where}: time runs backwards after {time_s[row]:.6g} s (to {time_s[row + 1]:.6g} s, sample {row + 2}); "
            "sort the file, or cut it there."
        )
    if time_s[-1] == time_s[0]:
        raise PitlError(f"{where}: the time is {time_s[0]:.6g} s throughout; correct or remove the time column.")
    usual = float(np.median(step[step > 0]))
    near = np.abs(step - usual) < _REGULAR * usual
    if near.mean() >= 0.9:
        usual = float(step[near].mean())
        index = np.concatenate([[0.0], np.cumsum(np.maximum(1.0, np.round(step / usual)))])
        note = ""
    else:
        index, note = _counted(time_s, step)
        if index is None:
            return _interpolated(time_s, values, usual, where)
    if index[-1] > _MOST_MISSING * len(index) + 1000:
        worst = int(step.argmax())
        raise PitlError(
            f"{where}: time jumps from {time_s[worst]:.6g} to {time_s[worst + 1]:.6g} s; cut the file there."
        )
    place = index.astype(int)
    slope = (len(place) > 2 and _slope(index, time_s)) or (time_s[-1] - time_s[0]) / index[-1]
    rate = _rounded(1 / slope)
    out = np.full((place[-1] + 1, values.shape[1]), np.nan)
    out[place] = values
    row = np.full(len(out), -1)
    row[place] = np.arange(len(place))
    lost = len(out) - len(place)
    if lost:
        first = int(np.argmax(row < 0))
        stated = f"{lost} of {len(out)} samples were not recorded, the first at {time_s[0] + first / rate:.3f} s"
        note = f"{note}; {stated}" if note else stated
    start = float(np.mean(time_s - index / rate)) if note else float(time_s[0])
    return Regular(start, rate, out, row, note)


def _counted(time_s: np.ndarray, step: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Sample numbers where stamps only scatter about regular samples; None where the samples are irregular."""
    mean = (time_s[-1] - time_s[0]) / (len(time_s) - 1)
    holes = step > max(0.1, 10 * mean)
    piece = np.concatenate([[0], np.cumsum(holes)])
    count = np.arange(len(time_s), dtype=float)
    inside = float(step[~holes].sum())
    if inside <= 0:
        return None, ""
    usual = inside / max(1, int((~holes).sum()))
    index = count.copy()
    for at in np.flatnonzero(holes):  # whole samples that fit into the hole
        index[at + 1 :] += max(0.0, round(step[at] / usual) - 1)
    residual = np.zeros(len(time_s))
    for p in range(int(piece[-1]) + 1):
        own = piece == p
        if own.sum() > 2:
            residual[own] = time_s[own] - np.polyval(np.polyfit(count[own], time_s[own], 1), count[own])
    scatter = float(residual.std())
    # chunked stamps repeat, jitter has no memory; a variable step wanders
    repeated = float(np.mean(step == 0))
    wander = abs(float(np.corrcoef(residual[1:], residual[:-1])[0, 1])) if scatter > 0 and len(residual) > 3 else 0.0
    if repeated < 0.05 and scatter > 2 * usual and wander > 0.9:
        return None, ""
    return index, f"the time stamps scatter by {1e3 * scatter:.2g} ms about regular samples, which were counted instead"


def _slope(index: np.ndarray, time_s: np.ndarray) -> float:
    i = index - index.mean()
    return float((i * (time_s - time_s.mean())).sum() / (i * i).sum())


def _rounded(rate_hz: float) -> float:
    """A clock within 50 ppm of a round rate is that rate: crystals are no better."""
    near = round(rate_hz, 1)
    return near if near > 0 and abs(rate_hz / near - 1) < 5e-5 else rate_hz


def _interpolated(time_s: np.ndarray, values: np.ndarray, usual: float, where: str) -> Regular:
    rate = _rounded(1 / usual)
    count = int((time_s[-1] - time_s[0]) * rate) + 1
    if count > _MOST_MISSING * len(time_s) + 1000:
        raise PitlError(f"{where}: time steps differ by more than {_MOST_MISSING} times; cut or resample the file.")
    clock = time_s[0] + np.arange(count) / rate
    keep = np.concatenate([[True], np.diff(time_s) > 0])
    out = np.stack([np.interp(clock, time_s[keep], v[keep]) for v in values.T], axis=1)
    row = np.clip(np.searchsorted(time_s, clock), 0, len(time_s) - 1)
    return Regular(
        float(time_s[0]), rate, out, row, f"samples are irregular and were interpolated linearly at {rate:g} Hz"
    )


def onto(source: Regular, start_s: float, rate_hz: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads regular samples at other times, low-passed before if the new rate is lower.

    Returns:
        (count, K) values by cubic interpolation, and (count,) False where the source has no sample near.
    """
    values = source.values
    clock = start_s + np.arange(count) / rate_hz
    place = (clock - source.start_s) * source.rate_hz
    missing = ~np.isfinite(values).all(axis=1)
    known = np.flatnonzero(~missing)
    if not len(known):
        return np.zeros((count, values.shape[1])), np.zeros(count, bool)
    at = np.searchsorted(known, place - 1e-6)
    before, after = known[np.clip(at - 1, 0, None)], known[np.clip(at, None, len(known) - 1)]
    exact = np.abs(after - place) < 1e-3  # a sample of its own, whatever its neighbours
    good = exact | ((before <= place) & (place <= after) & (after - before <= 1))
    whole = values
    if missing.any():
        rows = np.arange(len(values))
        whole = np.stack([np.interp(rows, known, v[known]) for v in values.T], axis=1)
    if source.rate_hz > 1.02 * rate_hz and len(whole) > 30:
        sos = signal.butter(4, 0.4 * rate_hz, fs=source.rate_hz, output="sos")
        whole = np.asarray(signal.sosfiltfilt(sos, whole, axis=0, padlen=min(len(whole) - 1, 100)))
    nearest = np.clip(np.round(place).astype(int), 0, len(whole) - 1)
    if np.all(np.abs(place - nearest) < 1e-3):
        return whole[nearest], good
    inside = np.clip(place, 0, len(whole) - 1)
    if len(whole) < 4:
        return np.stack([np.interp(inside, np.arange(len(whole)), v) for v in whole.T], axis=1), good
    return np.asarray(interpolate.CubicSpline(np.arange(len(whole)), whole, axis=0)(inside)), good


def estimate_offset(
    emg: np.ndarray, angle: np.ndarray, rate_hz: float, valid: np.ndarray | None = None, kind: str = "raw"
) -> Offset | None:
    """Finds by how much the motion lags behind the EMG beyond what muscles and limbs explain.

    Method: rectified EMG and angle, both smoothed at 4 Hz without delay. At every lag the logarithms of the envelopes
    and what muscles hold or move, the angle and its acceleration, give a canonical correlation; the lag of the largest,
    less the usual lead of EMG, is the offset. Velocity is left out on purpose: with it, a periodic motion would fit at
    any lag. Good to about `LEAD_SPREAD_S`; shifts between two recordings of one task come out to a sample or two.

    Args:
        emg: (T, C) of the `kind` "raw", "rectified" or "envelope".
        angle: (T, D) [rad], on the same nominal clock.
        rate_hz: of both.
        valid: (T,) False where samples are unusable.
        kind: of the EMG.

    Returns:
        The offset [s], positive if the motion is late; None if the recording is too short or does not move.
    """
    good = np.ones(len(emg), bool) if valid is None else valid
    step = max(1, round(rate_hz * _STEP_S))
    rate = rate_hz / step
    reach = round(_REACH_S * rate)
    if len(emg) < (4 * reach + 50) * step or good.mean() < 0.5 or np.ptp(angle[good], axis=0).max() < 1e-3:
        return None
    sos = signal.butter(2, min(4.0, 0.2 * rate_hz), fs=rate_hz, output="sos")
    clean = np.where(good[:, None], emg - (np.median(emg[good], axis=0) if kind == "raw" else 0.0), 0.0)
    if rate_hz > 100 and kind == "raw":
        clean = np.asarray(signal.sosfiltfilt(signal.butter(2, 20.0, "high", fs=rate_hz, output="sos"), clean, axis=0))
    envelope = np.maximum(np.asarray(signal.sosfiltfilt(sos, np.abs(clean), axis=0))[::step], 0.0)
    envelope = envelope[:, envelope.std(axis=0) > 0]
    if not envelope.shape[1]:
        return None
    effort = np.log(envelope + 0.05 * envelope.std(axis=0))
    rows = np.arange(len(angle))
    filled = np.stack([np.interp(rows, rows[good], a[good]) for a in angle.T], axis=1)
    smooth = np.asarray(signal.sosfiltfilt(sos, filled, axis=0))[::step]
    second = np.gradient(np.gradient(smooth, 1 / rate, axis=0), 1 / rate, axis=0)
    motion = np.concatenate([smooth, second], axis=1)
    usable = good[::step]
    lags = np.arange(-reach, reach + 1) + round(LEAD_S * rate)
    margin = int(np.abs(lags).max())
    result = np.array([_canonical(effort, motion, usable, int(lag), margin) for lag in lags])
    if not np.isfinite(result).all():
        return None
    best = int(result.argmax())
    as_good = np.flatnonzero(result > _SHARP * result[best])
    width = (as_good[-1] - as_good[0]) / rate
    certain = 0 < best < len(lags) - 1 and result[best] > _CERTAIN and width < _WIDEST_S
    return Offset(float(lags[best] / rate) - LEAD_S, float(result[best]), bool(certain))


def _canonical(envelope: np.ndarray, motion: np.ndarray, usable: np.ndarray, lag: int, reach: int) -> float:
    """Largest correlation between a mixture of envelopes and one of the motion `lag` samples later."""
    n = len(envelope) - 2 * reach
    a, b = envelope[reach : reach + n], motion[reach + lag : reach + lag + n]
    ok = usable[reach : reach + n] & usable[reach + lag : reach + lag + n]
    if ok.sum() < 20:
        return np.nan
    scaled, whitened = [], []
    for x in (a[ok], b[ok]):
        x = x - x.mean(axis=0)
        x = x / np.maximum(x.std(axis=0), 1e-12 * max(1e-30, float(np.abs(x).max(initial=0.0))))
        # of the few columns' products: decomposing the many rows takes a hundred times as long
        square, v = np.linalg.eigh(x.T @ x)
        own = square > 1e-6 * max(float(square[-1]), 1e-60)
        scaled.append(x)
        whitened.append(v[:, own] / np.sqrt(square[own]))
    if not min(w.size for w in whitened):
        return 0.0
    return float(np.linalg.svd(whitened[0].T @ (scaled[0].T @ scaled[1]) @ whitened[1], compute_uv=False)[0])
