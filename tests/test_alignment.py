"""Clocks: jitter, losses and rates are undone without inventing samples; a shift between two devices is found."""

import numpy as np
import pytest
from scipy import signal

from pitl.data import alignment
from pitl.errors import PitlError

RATE = 1000.0
T = np.arange(4000) / RATE
X = np.stack([np.sin(2 * np.pi * 2 * T), T], axis=1)


def test_a_regular_clock_is_left_alone() -> None:
    r = alignment.regular(5 + T, X, "f")
    assert (r.rate_hz, r.start_s, r.note) == (RATE, 5.0, "")
    np.testing.assert_array_equal(r.values, X)


def test_lost_samples_stay_lost() -> None:
    keep = np.ones(len(T), bool)
    keep[[10, 11, 12]] = keep[2000:2300] = False
    r = alignment.regular(T[keep], X[keep], "f")
    assert len(r.values) == len(T) and r.rate_hz == RATE and "303 of 4000" in r.note
    np.testing.assert_array_equal(np.isnan(r.values).any(axis=1), ~keep)
    np.testing.assert_array_equal(r.values[keep], X[keep])


@pytest.mark.parametrize("kind", ["rounded", "jitter", "chunks"])
def test_stamps_that_scatter_about_regular_samples_do_not_move_them(kind: str) -> None:
    rng = np.random.default_rng(0)
    stamps = {
        "rounded": np.round(T / 2, 3),  # 2 kHz, written with three digits
        "jitter": np.sort(T / 2 + rng.normal(scale=2e-4, size=len(T))),
        "chunks": np.repeat(T[19::20], 20) / 2,
    }[kind]
    r = alignment.regular(stamps, X, "f")
    np.testing.assert_array_equal(r.values, X)
    assert r.rate_hz == pytest.approx(2 * RATE, rel=2e-3)


def test_irregular_samples_are_interpolated() -> None:
    t = np.cumsum(0.01 + 0.008 * np.sin(np.linspace(0, 20, 1000)))
    r = alignment.regular(t, np.sin(t)[:, None], "f")
    clock = r.start_s + np.arange(len(r.values)) / r.rate_hz
    np.testing.assert_allclose(r.values[:, 0], np.sin(clock), atol=1e-3)
    assert "irregular" in r.note


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0.0], "1 sample"),
        ([0.0, 0.0, 0.0], "throughout"),
        ([0.0, 0.1, 0.05], "backwards after 0.1 s"),
        ([0.0, np.nan, 0.2], "sample 2 is missing"),
        ([*np.arange(100) / 1000, 1e6], "jumps from 0.099"),
    ],
)
def test_a_broken_clock_is_a_sentence(times: list[float], words: str) -> None:
    with pytest.raises(PitlError, match=words) as e:
        alignment.regular(np.array(times), np.zeros((len(times), 1)), "a.csv")
    assert str(e.value).startswith("a.csv")


def test_slow_motion_is_read_between_its_samples_and_never_across_gaps() -> None:
    slow = np.arange(200) / 50.0
    values = np.sin(2 * np.pi * slow)[:, None]
    values[100:120] = np.nan
    out, good = alignment.onto(alignment.regular(slow, values, "f"), 0.0, RATE, len(T))
    gap = (slow[99] + 1e-6 < T) & (slow[120] - 1e-6 > T)
    np.testing.assert_array_equal(good, ~gap & (slow[-1] + 1e-6 >= T))
    near = good & ((T < 1.8) | (T > 2.6))
    np.testing.assert_allclose(out[near, 0], np.sin(2 * np.pi * T[near]), atol=2e-3)


def test_what_is_faster_than_the_new_rate_does_not_fold_down() -> None:
    fast = np.sin(2 * np.pi * 95 * T) + np.sin(2 * np.pi * 3 * T)
    out, good = alignment.onto(alignment.Regular(0.0, RATE, fast[:, None], np.arange(len(T)), ""), 0.0, 100.0, 400)
    assert good.all()
    np.testing.assert_allclose(out[20:-20, 0], np.sin(2 * np.pi * 3 * np.arange(400) / 100)[20:-20], atol=0.02)


def moving(late_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Bursts of EMG that move a damped mass; the motion's clock is late."""
    rng = np.random.default_rng(1)
    t = np.arange(20 * RATE) / RATE
    drive = np.clip(
        np.asarray(signal.sosfilt(signal.butter(2, 0.7, fs=RATE, output="sos"), rng.normal(size=len(t)))), 0, None
    )
    drive = drive / drive.max()
    motion = signal.lsim(signal.lti([1.0], [0.01, 0.12, 1.0]), drive, t)[1]
    emg = 1e-4 * rng.normal(size=(len(t), 2)) * (0.02 + np.stack([drive, 0.7 * drive], axis=1))
    shift = round(late_s * RATE)
    angle = np.roll(motion, shift)[:, None]
    inside = slice(max(shift, 0), len(t) + min(shift, 0))
    return emg[inside], angle[inside]


def test_a_shift_between_devices_is_found() -> None:
    result = {s: alignment.estimate_offset(*moving(s), RATE) for s in (-0.3, 0.0, 0.4)}
    assert all(f is not None and f.certain for f in result.values())
    base = result[0.0]
    assert base is not None and abs(base.seconds) < alignment.LEAD_SPREAD_S
    for s, f in result.items():
        assert f is not None and f.seconds - base.seconds == pytest.approx(s, abs=0.03)


def test_no_offset_is_claimed_without_a_relation_or_motion() -> None:
    emg, angle = moving(0.0)
    unrelated = alignment.estimate_offset(np.random.default_rng(3).normal(size=emg.shape), angle, RATE)
    assert unrelated is None or not unrelated.certain
    assert alignment.estimate_offset(emg, 0 * angle, RATE) is None
    assert alignment.estimate_offset(emg[:1000], angle[:1000], RATE) is None
