"""A model goes on without a channel, and what the loss of each costs is measured."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from live_models import CHANNELS, wrist_bundle, wrist_recording

from pitl import bundle
from pitl.errors import PitlError

RECORDING = replace(wrist_recording(seconds=2.0), source="anna.csv")
BUNDLE = wrist_bundle()


def _with(order):
    return replace(RECORDING, emg=RECORDING.emg[:, order], channels=tuple(CHANNELS[c] for c in order))


@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
def test_a_missing_and_a_dead_channel_are_the_same_silence(normalisation):
    model = wrist_bundle(normalisation)
    with pytest.warns(UserWarning) as told:
        missing = bundle.estimate(model, _with([0, 1, 3, 4]))
    assert str(told[0].message) == (
        "anna.csv (anna/r1) lacks ECRL: the model takes this channel as silent, and its answers are worse than usual."
    )
    torn = RECORDING.emg.copy()
    torn[:, 2] = 3.3e-3  # V, an amplifier at its end
    with pytest.warns(UserWarning, match="has dead ECRL: the model takes this channel as silent"):
        dead = bundle.estimate(model, replace(RECORDING, emg=torn))
    assert missing.silent == dead.silent == ("ECRL",)
    np.testing.assert_array_equal(missing.angle, dead.angle)
    np.testing.assert_array_equal(missing.force, dead.force)
    assert np.abs(missing.angle - bundle.estimate(model, RECORDING).angle).max() > 1e-3


def test_channels_are_found_by_name_and_others_are_not_looked_at():
    expected = bundle.estimate(BUNDLE, RECORDING)
    more = replace(
        _with([4, 2, 0, 1, 3]),
        emg=np.concatenate([RECORDING.emg[:, [4, 2, 0, 1, 3]], np.ones((len(RECORDING.emg), 1))], axis=1),
        channels=("ECU", "ECRL", "FCR", "FCU", "ECRB", "trigger"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bundle.estimate(BUNDLE, more)
    np.testing.assert_array_equal(found.angle, expected.angle)
    assert found.silent == ()


def test_several_lost_channels_are_named_together():
    emg = RECORDING.emg[:, [0, 1, 3]] * np.array([1.0, 1.0, 0.0])
    with pytest.warns(UserWarning, match="lacks ECRL, ECU and has dead ECRB: the model takes these channels as silent"):
        found = bundle.estimate(BUNDLE, replace(_with([0, 1, 3]), emg=emg))
    assert found.silent == ("ECRL", "ECRB", "ECU") and np.isfinite(found.angle).all()


def test_a_recording_that_shares_no_channel_is_refused():
    stranger = replace(RECORDING, channels=("A", "B", "C", "D", "E"))
    with pytest.raises(PitlError, match=r"anna.csv .anna/r1. has channels A, .* and none of the model's .FCR, FCU"):
        bundle.estimate(BUNDLE, stranger)
    with pytest.raises(PitlError, match=r"anna.csv .anna/r1.: every channel of the model is missing or dead"):
        bundle.estimate(BUNDLE, replace(_with([0, 1]), emg=np.ones((len(RECORDING.emg), 2))))


def test_samples_that_are_not_numbers_spoil_nothing_but_themselves():
    emg, valid = RECORDING.emg.copy(), np.ones(len(RECORDING.emg), bool)
    emg[500:600], valid[500:600] = np.nan, False
    found, expected = (
        bundle.estimate(BUNDLE, replace(RECORDING, emg=emg, valid=valid)),
        bundle.estimate(BUNDLE, RECORDING),
    )
    assert np.isfinite(found.angle).all()
    np.testing.assert_allclose(found.angle[-40:], expected.angle[-40:], atol=1e-3)
