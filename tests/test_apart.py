"""A channel that leaves its fellows is found without labels, and extrapolated with exact derivatives."""

import numpy as np
import pytest

from pitl.config.schema import EmgConfig
from pitl.data.checks import apart
from pitl.signals import emg

RATE, SECONDS = 100.0, 60


def walk(seed=0, channels=6, synergies=3):
    """Envelopes (T, 3, C) of a walk whose channels are mixtures of few synergies, each with noise of its own."""
    rng = np.random.default_rng(seed)
    clock = np.arange(int(RATE * SECONDS)) / RATE
    phase = 2 * np.pi * (clock + 0.05 * np.sin(0.7 * clock))
    bursts = np.stack([np.exp(3 * (np.cos(phase - 2 * np.pi * k / synergies) - 1)) for k in range(synergies)], axis=1)
    group = rng.uniform(0.02, 0.06, (synergies, synergies)) + 0.2 * np.eye(synergies)
    weights = np.tile(group, channels // synergies) * rng.uniform(0.6, 1.4, channels)  # as synergists share it
    slow = 1 + 0.05 * np.stack([np.sin((0.3 + 0.1 * c) * clock + c) for c in range(channels)], axis=1)
    return bursts @ weights * slow + 0.005 * rng.random((len(clock), channels))


def jets(values):
    return emg.envelope(emg.design(EmgConfig(), RATE, "envelope"), values).jets


def noisy(values, channel, begin, end, size=0.3):
    spoilt, at = values.copy(), slice(int(begin * RATE), int(end * RATE))
    spoilt[at, channel] += size * np.random.default_rng(9).random(at.stop - at.start)
    return spoilt


def test_noise_that_comes_up_is_found_and_nothing_else():
    assert apart.find_apart(jets(walk())[:, 0], RATE).spans(RATE) == []
    spans = apart.find_apart(jets(noisy(walk(), 2, 45, 60))[:, 0], RATE).spans(RATE)
    assert [s[0] for s in spans] == [2] and spans[0][1:] == pytest.approx((45, 60), abs=1.0)


def test_a_channel_that_comes_loose_is_found():
    loose = walk()
    loose[int(30 * RATE) : int(40 * RATE), 1] = 0.0  # its fellow leaves it too, but did not change
    spans = apart.find_apart(jets(loose)[:, 0], RATE).spans(RATE)
    assert [s[0] for s in spans] == [1] and spans[0][1:] == pytest.approx((30, 40), abs=1.0)


def test_what_the_others_say_is_nearer_to_the_truth_and_has_its_own_derivatives():
    true, spoilt = jets(walk()), jets(noisy(walk(), 2, 45, 60))
    found = apart.find_apart(spoilt[:, 0], RATE)
    mended, bad = apart.extrapolate(spoilt, found), found.bad[:, 2]
    for order in range(3):
        before, after = (np.sqrt(np.mean((x[bad, order, 2] - true[bad, order, 2]) ** 2)) for x in (spoilt, mended))
        assert after < 0.5 * before
    inside = np.flatnonzero(bad)[20:-20]
    slope = np.gradient(mended[:, 0, 2], 1 / RATE)
    np.testing.assert_allclose(mended[inside, 1, 2], slope[inside], atol=0.02 * np.abs(slope[inside]).max())
    np.testing.assert_array_equal(mended[~bad], spoilt[~bad])
    np.testing.assert_array_equal(np.delete(mended, 2, axis=2), np.delete(spoilt, 2, axis=2))


def test_a_channel_that_the_others_do_not_tell_is_left_in_peace():
    own = walk()
    rng = np.random.default_rng(3)
    own[:, 3] = 0.05 * rng.random(len(own)) * (1 + 5 * (np.arange(len(own)) > 50 * RATE))
    assert apart.find_apart(jets(own)[:, 0], RATE).spans(RATE) == []


def test_short_trials_and_few_channels_are_left_in_peace():
    values = jets(noisy(walk(), 0, 10, 20))[:, 0]
    assert not apart.find_apart(values[: int(25 * RATE)], RATE).bad.any()
    assert not apart.find_apart(values[:, :2], RATE).bad.any()
