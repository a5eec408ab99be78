"""Which channels live: one that stands still or gives no number is dead, and what the stream makes of that.

The rule looks at samples alone, one after the other, so that it does not depend on how a source cuts its blocks.
"""

from collections.abc import Sequence
from math import isfinite
from operator import ne
from typing import NamedTuple

import numpy as np

from pitl.learn.model import SEVERAL_LOST

# EMG is noise: it does not repeat one value for that long, but a torn cable or an amplifier at its end does.
DEAD_S = 0.1  # s
# Nor for that long, which may be the beginning of it: until more is known no answer can be trusted.
DOUBT_S = 0.02  # s
# A channel counts again after so long without another standstill, or once filter and window have forgotten the tear.
BACK_S = 1.0  # s


class Limits(NamedTuple):
    """`DEAD_S`, `BACK_S` and `DOUBT_S` in samples."""

    dead: int
    back: int
    doubt: int


class Watch(NamedTuple):
    """What is known of each channel (C,) at the last sample."""

    last: np.ndarray  # V
    still: np.ndarray  # samples since it changed
    alive: np.ndarray  # samples since it was dead, counted up to `Limits.back`
    longest: int  # of `still`
    well: bool  # all of `alive` have got to `Limits.back`


def limits(rate_hz: float, memory_s: float = 0.0) -> Limits:
    """The rule for one raw sampling rate [Hz], and a filter and window that remember a tear for so long."""
    dead, back, doubt = (round(s * rate_hz) for s in (DEAD_S, max(BACK_S, memory_s), DOUBT_S))
    return Limits(max(2, dead), back, max(2, doubt))


def look(
    limit: Limits, watch: Watch | None, raw: np.ndarray, missing: np.ndarray | None = None
) -> tuple[Watch, np.ndarray | None, np.ndarray | None]:
    """Takes the next raw samples (T, C), T > 0 [V]; channels that are `missing` (C,) are not looked at.

    Returns:
        What to carry on, and (T, C) True where a channel is dead, and where it may be dying; None if none is at any of
        these samples.
    """
    count, channels = raw.shape
    if watch is None:
        watch = Watch(np.full(channels, np.nan), np.zeros(channels, int), np.full(channels, limit.back), 0, True)
    if watch.well and watch.longest + count < limit.doubt:  # too short for anything to die: the usual, made quick
        # lists: for a few channels a call of NumPy costs more than the comparison
        now, before = raw[-1].tolist(), (watch.last if count == 1 else raw[-2]).tolist()
        if missing is None and all(map(ne, now, before)) and all(map(isfinite, now)):
            still = watch.still if watch.longest == 0 else np.zeros(channels, int)
            return Watch(raw[-1].copy(), still, watch.alive, 0, True), None, None
    moved = np.empty(raw.shape, bool)
    np.not_equal(raw[0], watch.last, out=moved[0])
    np.not_equal(raw[1:], raw[:-1], out=moved[1:])
    moved &= np.isfinite(raw)
    if missing is not None:
        moved |= missing
    at = np.arange(count)[:, None]
    still = at - np.maximum.accumulate(np.where(moved, at, -1 - watch.still), axis=0)
    alive = at - np.maximum.accumulate(np.where(still >= limit.dead, at, -1 - watch.alive), axis=0)
    dead = alive < limit.back
    doubt = (still >= limit.doubt) & ~dead
    last, back = still[-1], np.minimum(alive[-1], limit.back)
    seen = Watch(raw[-1].copy(), last, back, int(last.max()), bool(back.min() == limit.back))
    return seen, dead if dead.any() else None, doubt if doubt.any() else None


def told(channels: Sequence[str], before: np.ndarray | None, after: np.ndarray | None) -> str | None:
    """What the user should know when the silent channels (C,) of a stream change; None if they have not."""
    if before is after:
        return None
    nobody = np.zeros(len(channels), bool)
    old, new = (nobody if s is None else s for s in (before, after))
    lost, back = ([c for c, hit in zip(channels, which, strict=True) if hit] for which in (new & ~old, old & ~new))
    message = []
    if lost and new.all():
        message.append(f"channel {', '.join(lost)} is dead, and with it every channel: answers are flagged lost.")
    elif lost:
        several = f" {int(new.sum())} channels are silent now: {SEVERAL_LOST}." if new.sum() > 1 else ""
        message.append(
            f"channel {', '.join(lost)} is dead (not one new value in {DEAD_S:g} s): it counts as silent and answers "
            f"are flagged reduced; check the electrode.{several}"
        )
    if back:
        message.append(f"channel {', '.join(back)} is back.")
    return " ".join(message) or None
