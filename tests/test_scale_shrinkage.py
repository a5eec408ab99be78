"""The scale of a channel, shrunk to other people's by how much was seen."""

import jax.numpy as jnp
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
    good = true * np.exp(np.random.default_rng(1).normal(0, 0.02, size=true.shape))
    prior = normalise.learn_scales(np.array([2.0, 60.0]), np.stack([poor, good])[:, 1:], true[1:])
    few = np.stack([normalise.shrink(prior, v, 2.0) for v in poor])
    assert error(few, true) < 0.6 * error(poor, true)
    assert error(np.stack([normalise.shrink(prior, v, 60.0) for v in good]), true) < 0.03
    assert prior.slope[0] < 0.5 < 0.95 < prior.slope[1]


def test_between_and_beyond_the_amounts_that_were_seen_the_shrinkage_follows_them():
    true, poor = scales(2, 0.5)
    prior = normalise.learn_scales(np.array([2.0, 60.0]), np.stack([poor, true]), true)
    slopes = [
        float(np.log(normalise.shrink(prior, 2 * true[0], s) / normalise.shrink(prior, true[0], s))[0] / np.log(2))
        for s in (0.1, 2.0, 11.0, 60.0, 1e4)
    ]
    np.testing.assert_allclose(slopes[:2], prior.slope[0])
    assert prior.slope[0] < slopes[2] < 1
    np.testing.assert_allclose(slopes[3:], 1.0)


def test_a_prior_that_was_saved_shrinks_as_it_did_to_the_bit():
    true, poor = scales(3, 0.5)
    prior = normalise.learn_scales(np.array([2.0, 60.0]), np.stack([poor, true]), true)
    kept = normalise.ScalePrior(*(jnp.asarray(x) for x in prior))
    np.testing.assert_array_equal(normalise.shrink(prior, true[0], 7.0), normalise.shrink(kept, true[0], 7.0))
