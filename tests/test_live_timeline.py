"""Time stamps become counters: what is missing is found, what only wanders is not."""

import numpy as np
import pytest

from pitl.errors import PitlError
from pitl.live import timeline

RATE_HZ = 2000.0
ORIGIN_S = 1000.0


def _chunks(sizes, lost=(), wander_s=0.0, rate_hz=RATE_HZ, seed=0):
    """Counters and stamps of chunks as programs send them: the last sample is stamped, the others counted back."""
    random = np.random.default_rng(seed)
    begin = 0
    for k, size in enumerate(sizes):
        at = np.arange(begin, begin + size)
        begin += size
        if k not in lost:
            late = wander_s * random.uniform(0, 1)
            yield at, ORIGIN_S + at[-1] / rate_hz + late - (at[-1] - at) / RATE_HZ


def _placed(chunks):
    line, counters, times, events = None, [], [], []
    for _, stamps in chunks:
        line = timeline.begin(stamps[0], RATE_HZ) if line is None else line
        line, pieces, event = timeline.place(line, stamps)
        assert [p.begin for p in pieces] == [0, *(p.end for p in pieces[:-1])] and pieces[-1].end == len(stamps)
        for p in pieces:
            counters.extend(range(p.first, p.first + p.end - p.begin))
            times.extend(p.time_s)
        events += [event] if event else []
    return np.array(counters) - counters[0], np.array(times), events


@pytest.mark.parametrize("gap_ms", [30, 100, 300])
@pytest.mark.parametrize("after", [0, 5, 400])
def test_a_hole_is_counted_to_the_sample(gap_ms, after):
    size, skipped = 20, gap_ms * 2 // 20
    lost = range(after + 1, after + 1 + skipped)
    sent = list(_chunks([size] * 600, lost))
    counters, times, events = _placed(sent)
    np.testing.assert_array_equal(counters, np.concatenate([at for at, _ in sent]))
    np.testing.assert_allclose(times, np.concatenate([s for _, s in sent]), atol=1e-6)
    assert not events


@pytest.mark.parametrize("size", [8, 20, 64])
def test_one_chunk_in_twenty_that_is_missing_is_counted(size):
    random = np.random.default_rng(1)
    lost = {k for k in range(15, 1000) if random.uniform() < 0.05}
    sent = list(_chunks([size] * 1000, lost))
    np.testing.assert_array_equal(_placed(sent)[0], np.concatenate([at for at, _ in sent]))


@pytest.mark.parametrize("wander_s", [1e-4, 1e-3, 8e-3])
@pytest.mark.parametrize("faster", [1.0, 0.999, 1.01])
def test_stamps_that_wander_or_drift_hide_nothing_and_are_no_holes(wander_s, faster):
    sent = list(_chunks([32] * 800, wander_s=wander_s, rate_hz=RATE_HZ * faster))
    counters, times, events = _placed(sent)
    np.testing.assert_array_equal(counters, np.arange(800 * 32))
    assert not events and (np.diff(times) > 0).all()
    torn = list(_chunks([32] * 800, range(700, 720), wander_s=wander_s, rate_hz=RATE_HZ * faster))
    hole = np.diff(_placed(torn)[0]).max() - 1
    assert hole == pytest.approx(640, abs=2 + 640 * abs(1 - faster) + 3 * wander_s * RATE_HZ)


def test_a_hole_within_a_chunk_is_found():
    at = np.r_[0:500, 560:2000]
    counters, *_ = _placed([(at[k : k + 240], ORIGIN_S + at[k : k + 240] / RATE_HZ) for k in range(0, 1940, 240)])
    np.testing.assert_array_equal(counters, at)


def test_a_chunk_that_is_late_once_is_learned_from():
    late = [(at, s + (0.05 if k in (100, 150, 160, 170, 180) else 0)) for k, (at, s) in enumerate(_chunks([20] * 300))]
    counters, *_ = _placed(late)
    assert counters[-1] == 300 * 20 - 1  # the count comes back to what it was
    assert (np.diff(counters) != 1).sum() <= 4  # and after the first it is known that chunks may be late


@pytest.mark.parametrize("set_s", [-3600.0, -0.3, 3600.0, 1e9])
def test_a_clock_that_is_set_is_an_event_and_loses_nothing(set_s):
    sent = [(at, s + (set_s if k >= 200 else 0.0)) for k, (at, s) in enumerate(_chunks([20] * 400))]
    counters, times, events = _placed(sent)
    assert len(events) == 1 and f"clock was set {'ahead' if set_s > 0 else 'back'} by {abs(set_s):.3g} s" in events[0]
    assert (np.diff(counters) > 1).sum() == 0 and (np.diff(counters) < 0).sum() == 1
    assert times[-1] == pytest.approx(sent[-1][1][-1], abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
@pytest.mark.parametrize("at", [0, 7, 19, slice(0, 20)])
def test_a_stamp_that_is_no_time_follows_from_those_before(value, at):
    sent = [(k, s.copy()) for k, s in _chunks([20] * 50)]
    for chunk in (0, 30):
        sent[chunk][1][at] = value
    if at in (0, slice(0, 20)):  # nothing is known of when the first came
        sent.pop(0)
    counters, times, events = _placed(sent)
    np.testing.assert_array_equal(counters, np.arange(20 * len(sent)))
    assert not events and np.isfinite(times).all()
    assert timeline.begin(value, RATE_HZ).due_s == 0.0


def test_a_long_silence_is_a_hole_and_no_clock():
    line = timeline.begin(0.0, RATE_HZ)
    line, *_ = timeline.place(line, np.arange(100) / RATE_HZ)
    line, pieces, event = timeline.place(line, 20.0 + np.arange(100) / RATE_HZ, quiet_s=20.0)
    assert event is None and pieces[0].first == 40_000


def test_a_rate_that_is_not_the_announced_one_is_noticed_and_holes_are_not():
    check = timeline.RateCheck(RATE_HZ)
    with pytest.raises(PitlError, match="says 2000 samples per second, but its time stamps advance at 1000"):
        for k in range(100):
            check.see((100 * k + np.arange(100)) / 1000.0)
    check, shift = timeline.RateCheck(RATE_HZ), 0.0
    for k in range(200):
        shift += 0.3 if k % 20 == 3 else 0.0
        check.see(shift + (50 * k + np.arange(50)) / RATE_HZ)
