"""Training with lost channels: as many as asked for, never all of them, and none by default."""

import numpy as np

from pitl.config.schema import TrainConfig
from pitl.learn import generic


def test_channels_are_lost_as_often_as_asked_for_and_one_always_stays() -> None:
    gains = generic._gains(
        np.random.default_rng(0), TrainConfig(channel_dropout=0.3, gain_augmentation=0.0), (200, 50, 5)
    )
    lost = gains == 0
    assert abs(lost.mean() - 0.3) < 0.01 and not lost.all(axis=-1).any()
    assert (gains[~lost] == 1).all()


def test_without_dropout_the_random_numbers_are_those_of_before() -> None:
    gains = generic._gains(np.random.default_rng(0), TrainConfig(gain_augmentation=0.3), (4, 3, 2))
    np.testing.assert_array_equal(gains, np.exp(0.3 * np.random.default_rng(0).normal(size=(4, 3, 2))))
