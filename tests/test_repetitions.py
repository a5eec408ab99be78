"""Repetitions of a movement are counted as people count them, and the interval says what more would tell."""

import jax.numpy as jnp
import numpy as np
import pytest

import pitl
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.learn import gaussian_process as gp
from pitl.learn import repetitions
from pitl.learn.prepare import prepare
from pitl.signals import repetition


def course(times, rest_s=1.5, rate_hz=20.0, size=0.8):
    """Rest, then so many ways there and back of two seconds each [rad]."""
    moving = size * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(round(2 * times * rate_hz)) / (2 * rate_hz)))
    return np.concatenate([np.zeros(round(rest_s * rate_hz)), moving])


@pytest.mark.parametrize("times", [1, 3, 8])
def test_repetitions_are_ways_there_and_back_and_rest_before_them_is_none(times):
    angle = course(times) + np.random.default_rng(times).normal(0, 0.01, len(course(times)))
    which = repetition.number(angle[:, None], np.zeros(len(angle), int))
    assert which.max() + 1 == times
    assert (which[:30] == -1).all() and np.all(np.diff(which) >= 0)
    middle = [30 + 40 * k + 20 for k in range(times)]
    assert which[middle].tolist() == list(range(times))


def test_recordings_count_on_and_the_coordinate_that_moves_most_counts():
    one = course(2)
    angle = np.stack([np.sin(np.arange(2 * len(one))) * 0.02, np.concatenate([one, one])], axis=1)
    which = repetition.number(angle, np.repeat([4, 9], len(one)))
    assert which.max() + 1 == 4 and which[len(one) : len(one) + 25].max() == -1


def person(times):
    angle = course(times)[:, None]
    random = np.random.default_rng(0)
    reach = np.repeat(random.normal(1.0, 0.4, times + 1), 40)[: len(angle)]  # every repetition is another one
    inputs = np.tile((angle[:, 0] * reach)[:, None], (1, gp.LAGS)) + np.arange(gp.LAGS)[None]
    f = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    count = np.zeros(len(angle), np.int32)
    seconds = np.arange(len(angle)) / 20.0
    when = map(jnp.asarray, (count, count))
    rows = gp.Rows(f(0.5 * angle), f(inputs), f(inputs), *when, f(seconds), f(count + 1))
    units = gp.units(angle, [rows])
    padded, y = gp.pad(rows, f(angle), len(angle) + 7)
    return gp.fit((gp.Hyper(),), units, padded, y), angle


def test_the_interval_of_an_unseen_repetition_falls_with_those_seen_and_the_advice_says_so():
    few, many = (repetitions.describe(*person(times)) for times in (4, 12))
    assert few["repetitions"] == 4 and many["after"] == [5, 11]
    assert many["half_deg"][1] < many["half_deg"][0]
    sentence = repetitions.advice({"repetitions": 4, "after": [1, 3], "half_deg": [12.0, 6.0]})
    assert sentence == (
        "It has seen 4 repetitions; one that it has not seen is told to ±6.0 degrees; two more would bring that to "
        "about ±4.3."
    )
    assert "change that little" in repetitions.advice({"repetitions": 40, "after": [19, 39], "half_deg": [5.0, 4.98]})
    assert repetitions.describe(*person(1)) == {"repetitions": 1} and repetitions.advice({}) == ""


@pytest.mark.parametrize("counted", [1, 2, 50])
def test_a_calibration_of_so_many_repetitions_ends_with_the_last_of_them(counted):
    cohort = pitl.simulate(subjects=1, seconds=20.0, rhythmic_trials=1, random_trials=0)
    whole, part = (
        prepare(change(Config(), data={"kind": "cohort", "calibration_repetitions": n}), cohort).table
        for n in (0, counted)
    )
    (all_of_it,), (trial,) = whole.trials, part.trials
    shown, stop = part.motion.angle[trial.start : trial.calibration_stop], all_of_it.calibration_stop
    number = repetition.number(whole.motion.angle[:stop], np.zeros(stop, int))
    assert trial.test_start == all_of_it.test_start
    if counted < 50:
        assert trial.calibration_stop < stop
        assert number[len(shown) - 1] == counted - 1 and number[len(shown)] == counted
    else:
        assert trial.calibration_stop == stop
