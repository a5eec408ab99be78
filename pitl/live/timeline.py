"""Time stamps as they come, made into sample counters: what is missing is found before jitter is smoothed away.

Stamps wander: a program stamps its chunks when it gets to it. Smoothing alone hides a hole. So each stamp is compared
with where the stamps before it point; what is further off than they ever wander is a hole (or a clock that was set),
and only the rest is smoothed. How far they wander is learned from them.
"""

from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError
from pitl.live.stream import RESTART_S

_AT_ONCE = 64  # samples; within so many a clock that runs 1 % fast is off by less than a sample
_WANDER_S = 3e-3  # s, what is assumed before anything is known
_SURE = 6.0  # times the root mean square of what they wander
_MEMORY = 100  # pieces, over which that is learned
_RESET_S = 5.0  # s, stamps that jump further ahead, without as long a silence, are those of a clock that was set
_BACK_S = 0.1  # s, stamps that go back no further wander more than was known: nothing can be missing
_LARGEST_S = 1e12  # s, a stamp beyond is no time
_PIECE_S, _PIECES, _RATE_TOLERANCE = 0.1, 25, 0.1


class Timeline(NamedTuple):
    """What is known of a clock after the samples so far."""

    count: int  # counter of the next sample
    due_s: float  # its time stamp, smoothed
    period_s: float  # between samples
    wander: float  # s2, mean square of what stamps are off
    pieces: int = 0
    missing: int = 0  # samples of the last hole, which may yet come
    hole_at: int = 0  # counter there


class Piece(NamedTuple):
    """Samples `begin` to `end` of a chunk, without a hole."""

    begin: int
    end: int
    first: int  # counter
    time_s: np.ndarray  # (T,) smoothed


def begin(stamp_s: float, rate_hz: float) -> Timeline:
    """A timeline whose first sample has this stamp; counters go with time, so that they survive an outage."""
    stamp_s = stamp_s if abs(stamp_s) < _LARGEST_S else 0.0
    return Timeline(round(stamp_s * rate_hz), stamp_s, 1.0 / rate_hz, _WANDER_S**2)


def place(line: Timeline, stamps_s: np.ndarray, quiet_s: float = 0.0) -> tuple[Timeline, list[Piece], str | None]:
    """Places a chunk of samples by their raw time stamps (T,) [s]; a stamp that is no time follows from those before.

    Args:
        quiet_s: how long nothing had come before this chunk [s].

    Returns:
        What to carry on, the pieces of the chunk, and an event if the clock was set.
    """
    pieces, event, at = [], None, 0
    is_time = np.abs(stamps_s) < _LARGEST_S  # False for what is no number
    if not is_time.all():
        step = line.period_s * np.arange(len(stamps_s))
        last = np.maximum.accumulate(np.where(is_time, np.arange(len(stamps_s)), -1))
        origin_s = np.where(is_time, stamps_s, 0.0)[last] - step[last]
        stamps_s = np.where(last < 0, line.due_s, origin_s) + step
    while at < len(stamps_s):
        part = stamps_s[at : at + _AT_ONCE]
        off = part - line.due_s - line.period_s * np.arange(len(part))  # s
        gate = _SURE * line.wander**0.5 + 0.75 * line.period_s
        beyond = np.abs(off) > gate
        inside = int(np.argmax(beyond)) if beyond.any() else len(part)
        if inside:
            line, time_s = _smooth(line, off[:inside])
            pieces.append(Piece(at, at + inside, line.count - inside, time_s))
            at += inside
        else:
            level = float(off[np.abs(off - off[0]) <= gate].mean())  # of several, which wander less together
            whole = round(level / line.period_s) * line.period_s
            level = level if abs(off[0] - whole) <= gate < abs(whole) else float(off[0])
            line, what = _jump(line, level, gate, quiet_s)
            event = what or event
    return line, pieces, event


def _smooth(line: Timeline, off: np.ndarray) -> tuple[Timeline, np.ndarray]:
    """Follows stamps that are where they should be, but for what they wander [s]."""
    count, mean = len(off), float(off.mean())
    pull = max(0.05, 1.0 / (line.pieces + 2))
    time_s = line.due_s + line.period_s * np.arange(count)
    # the first chunk is where it says, and teaches nothing
    learn = max(3.0 / (line.pieces + 3), 1.0 / _MEMORY) if line.pieces else 0.0
    return (
        line._replace(
            count=line.count + count,
            due_s=line.due_s + count * line.period_s + max(pull * mean, -0.9 * line.period_s),  # time goes on
            period_s=line.period_s + (0.25 * pull**2 * mean / count if line.pieces > 5 else 0.0),
            wander=line.wander + learn * (float(off @ off) / count - line.wander),
            pieces=line.pieces + 1,
        ),
        time_s,
    )


def _jump(line: Timeline, ahead_s: float, gate_s: float, quiet_s: float) -> tuple[Timeline, str | None]:
    samples = round(ahead_s / line.period_s)
    if 0 < ahead_s <= max(_RESET_S, 2 * quiet_s):
        return line._replace(
            count=line.count + samples, due_s=line.due_s + samples * line.period_s, missing=samples, hole_at=line.count
        ), None
    recent = (line.count - line.hole_at) * line.period_s < RESTART_S
    if recent and 0 < -samples <= line.missing + gate_s / line.period_s:  # it was late, not missing: learn from it
        return line._replace(
            count=line.count + samples,
            due_s=line.due_s + samples * line.period_s,
            wander=max(line.wander, (ahead_s * 2 / _SURE) ** 2),
            missing=max(0, line.missing + samples),
        ), None
    if -_BACK_S <= ahead_s < 0:
        return line._replace(wander=max(line.wander, (ahead_s * 2 / _SURE) ** 2)), None
    rate_hz = 1.0 / line.period_s
    # a counter that is far back makes the stream start afresh, with nothing counted as lost
    count = line.count - round(3 * RESTART_S * rate_hz)
    return line._replace(count=count, due_s=line.due_s + ahead_s, missing=0), (
        f"the source's clock was set {'ahead' if ahead_s > 0 else 'back'} by {abs(ahead_s):.3g} s; the stream starts "
        "afresh from there."
    )


class RateCheck:
    """Compares the rate that a source announces with its time stamps: the median of short pieces, as holes are few."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz, self._ratios = rate_hz, list[float]()
        self._received, self._begin = 0, (0, np.nan)

    def see(self, time_s: np.ndarray, first: int | None = None) -> None:
        """Takes the time stamps of the next samples, and the counter of the first if the source counts.

        Raises:
            PitlError: the rate is another one.
        """
        if len(self._ratios) >= _PIECES or not len(time_s):
            return
        count, now = self._received if first is None else first, float(time_s[0])
        self._received += len(time_s)
        samples, span = count - self._begin[0], now - self._begin[1]
        if not (samples >= 0 and span > 0):  # the first, or a source that began again
            self._begin = count, now
        elif samples >= _PIECE_S * self._rate_hz:
            self._ratios.append(samples / span)
            self._begin = count, now
            result = float(np.median(self._ratios))
            if len(self._ratios) == _PIECES and abs(result / self._rate_hz - 1) > _RATE_TOLERANCE:
                raise PitlError(
                    f"the source says {self._rate_hz:g} samples per second, but its time stamps advance at "
                    f"{result:.5g}; correct its rate, or look for lost samples."
                )
