"""Regressions on lagged envelopes find the laws they can express, and never ask for what nobody showed them."""

import numpy as np
import pytest

from pitl.comparison.baselines import lagged, linear, support_vector
from pitl.comparison.baselines.lagged import LaggedInputs

pytestmark = pytest.mark.deep

RNG = np.random.default_rng(0)
ROWS = np.arange(100, 3000)
ENVELOPE = np.abs(RNG.normal(size=(3000, 2))).cumsum(axis=0) % 7
POSTURE = (np.arange(3000) >= 1500).astype(int)
INPUTS = LaggedInputs(ENVELOPE, POSTURE, 2, 40, POSTURE)
EARLIER = ENVELOPE[ROWS - 39, :1]  # the envelope 39 samples ago
LINEAR = np.where(POSTURE[ROWS, None] == 0, 2.0, -1.0) * EARLIER + 0.5


def error(method, y, inputs=INPUTS):
    fitted = method.fit(inputs, ROWS[::2], y[::2])
    return np.sqrt(np.mean((method.predict(fitted, inputs, ROWS[1::2]) - y[1::2]) ** 2, axis=0)) / y.std(axis=0)


def test_ridge_finds_a_linear_law_of_lagged_envelopes_for_each_posture():
    assert error(linear, LINEAR)[0] < 0.05


def test_ridge_finds_out_that_a_law_is_logarithmic():
    physics = np.log(ENVELOPE[ROWS - 39, :1] + 0.35)
    fitted = linear.fit(INPUTS, ROWS[::2], physics[::2])
    assert fitted.compression == "logarithm"
    assert error(linear, physics)[0] < 0.1


def test_support_vectors_find_a_law_that_no_line_can():
    smooth = np.stack([np.convolve(e, np.ones(50) / 50, "same") for e in RNG.normal(size=(2, 3000))], axis=1)
    inputs = INPUTS._replace(envelope=1 + smooth / smooth.std(axis=0))
    physics = (inputs.envelope[ROWS, :1] - 1) * (inputs.envelope[ROWS, 1:] - 1)
    assert error(support_vector, physics, inputs)[0] < 0.5 < error(linear, physics, inputs)[0]


def test_several_outputs_are_regressed_in_units_of_their_own():
    both = np.concatenate([LINEAR, 1e4 * ENVELOPE[ROWS, 1:]], axis=1)
    assert np.all(error(linear, both) < 0.05)
    assert np.all(error(support_vector, both) < 0.4)


@pytest.mark.parametrize("method", [linear, support_vector])
def test_nothing_is_said_beyond_what_was_shown_in_the_same_posture(method):
    fitted = method.fit(INPUTS, ROWS[::4], LINEAR[::4])
    loud = INPUTS._replace(envelope=100 * ENVELOPE)
    predicted = method.predict(fitted, loud, ROWS)
    for p in (0, 1):
        shown = LINEAR[::4][POSTURE[ROWS[::4]] == p]
        mine = predicted[POSTURE[ROWS] == p]
        assert mine.min() >= shown.min() - 1e-9 and mine.max() <= shown.max() + 1e-9


def test_folds_hold_out_a_block_of_every_trial_and_leave_a_window_between():
    trial = POSTURE[ROWS]
    folds = lagged.blocks(ROWS, trial, 5, 40)
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(len(ROWS)))
    for seen, held in folds:
        assert set(trial[held]) == {0, 1} and set(trial[seen]) == {0, 1}
        for t in (0, 1):
            mine, theirs = ROWS[seen][trial[seen] == t], ROWS[held][trial[held] == t]
            assert np.abs(mine[:, None] - theirs[None, :]).min() > 40
