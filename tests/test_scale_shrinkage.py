"""The scale of a channel, shrunk to the other people's by how much was seen."""

import numpy as np

from pitl.signals import normalise


def scales(seed, error, people=40):
    rng = np.random.default_rng(seed)
    true = np.exp(rng.normal(-9.0, 0.6, size=(people, 4)))
    return true, true * np.exp(rng.normal(-0.5 * error, error, size=true.shape))


def error(volts, true):
    return np.sqrt(np.mean((np.log(volts) - np.log(true)) ** 2))


def test_little_data_is_shrunk_and_much_is_left_alone():
    true, poor = scales(0, 1.0)
    assert error(normalise.shrink(poor, true), true) < 0.6 * error(poor, true)
    true, good = scales(1, 0.02)
    assert error(normalise.shrink(good, true), true) < 0.03


def test_what_a_person_did_later_does_not_enter_their_scale():
    true, short = scales(2, 0.5)
    spoilt = true.copy()
    spoilt[3] *= 100.0
    np.testing.assert_array_equal(normalise.shrink(short, true)[3], normalise.shrink(short, spoilt)[3])
