"""A stream goes on without the channels that it lacks or loses, and says so."""

from dataclasses import replace

import numpy as np
import pytest
from live_models import CHANNELS, RATE_HZ, wrist_model, wrist_recording

from pitl.data import cohort as cohorts
from pitl.data.recording import Cohort, Subject
from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import calibrate, electrodes, session, source, stream
from pitl.live.electrodes import BACK_S, DEAD_S, DOUBT_S
from pitl.live.open import open_source
from pitl.live.source import Layout, Wanted
from pitl.live.stream import GOOD, HELD, LOST, REDUCED, SampleBlock

RECORDING = wrist_recording(seconds=5.0)
MODEL = wrist_model()
ENGINE = stream.engine(MODEL, RATE_HZ, "pronated")
WANTED = Wanted(CHANNELS, ("wrist_flexion",), speed=0.0)
TIME_S = np.arange(len(RECORDING.emg)) / RATE_HZ
DIES, RETURNS = 4000, 5000  # samples


def _run(emg, size, engine=ENGINE):
    state, parts = stream.start(engine), []
    for begin in range(0, len(emg), size):
        block = SampleBlock(emg[begin : begin + size], TIME_S[begin : begin + size])
        state, rows = stream.step(engine, state, block)
        parts.append(rows)
    return state, stream.join(parts)


def _torn(value, channels=(2,)):
    emg = RECORDING.emg.copy()
    emg[DIES:RETURNS, channels] = value
    return emg


def _source(*blocks, missing=()):
    class Scripted:
        layout = Layout(CHANNELS, RATE_HZ, missing=missing)
        left = list(blocks)

        def read(self, wait_s):
            return self.left.pop(0) if self.left else None

        def close(self):
            pass

    return Scripted()


def _blocks(emg, size=50):
    return [SampleBlock(emg[k : k + size], TIME_S[k : k + size]) for k in range(0, len(emg), size)]


@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
@pytest.mark.parametrize("order", [[0, 1, 3, 4], [4, 3, 1, 0]])
def test_live_equals_offline_without_a_channel(tmp_path, normalisation, order):
    model = wrist_model(normalisation)
    fewer = replace(RECORDING, emg=RECORDING.emg[:, order], channels=tuple(CHANNELS[c] for c in order))
    cohorts.write_cohort(Cohort("c", "wrist", (Subject("anna", (fewer,)),)), tmp_path)
    opened = open_source(f"replay:{tmp_path / 'anna_r1.csv'}", WANTED)
    assert opened.layout.missing == ("ECRL",)
    seat = session.Seat(stream.engine(model, RATE_HZ, "pronated"))
    updates = list(session.run(seat, opened, lambda: opened))
    assert updates[0].event == (
        "the source lacks ECRL: the model takes this channel as silent, and its answers are worse than usual. "
        "Answers are flagged reduced."
    )
    rows = stream.join([u.rows for u in updates])
    with pytest.warns(UserWarning, match="lacks ECRL"):
        offline = predict_recording(model, fewer)
    np.testing.assert_allclose(rows.angle, offline.angle, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows.force, offline.force, rtol=1e-3, atol=1e-2)
    assert (rows.flag == REDUCED).all() and not rows.envelope[:, 2].any()


def test_a_source_with_no_channel_of_the_model_is_refused():
    with pytest.raises(PitlError, match="the cap has channels A, B and none of the model's"):
        source.pick_channels("the cap", ["A", "B"], WANTED)
    with pytest.raises(PitlError, match="sends 4 EMG channel.s.; the model takes 5"):
        source.pick_channels("the cap", ["?"] * 4, WANTED, unnamed=True)


@pytest.mark.parametrize("value", [0.0, 3.3, np.nan])
@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
def test_a_channel_that_dies_is_silent_until_it_is_back(value, normalisation):
    engine = stream.engine(wrist_model(normalisation), RATE_HZ, "pronated")
    state, rows = _run(_torn(value), 50, engine)
    _, whole = _run(RECORDING.emg, 50, engine)
    died, back = DIES / RATE_HZ + DEAD_S, RETURNS / RATE_HZ + BACK_S
    before, dead, after = rows.time_s < DIES / RATE_HZ, (died < rows.time_s) & (rows.time_s < back), rows.time_s > back
    assert (rows.flag[before] == GOOD).all() and set(rows.flag[dead]) <= {REDUCED, HELD}
    if normalisation == "blend":
        assert (rows.flag[after] == GOOD).all()
        assert (rows.flag[rows.time_s > died + ENGINE.forget / 100] != HELD).all()
    else:  # sliding statistics miss for long what was not heard
        assert set(rows.flag[after]) <= {GOOD, HELD}
    assert not rows.envelope[dead, 2].any() and rows.envelope[dead][:, [0, 1, 3, 4]].all()
    assert state.lost == 0 and len(rows.angle) == len(whole.angle)
    np.testing.assert_array_equal(rows.angle[before], whole.angle[before])
    if normalisation == "blend":  # nothing of the tear is left when the channel counts again
        np.testing.assert_allclose(rows.angle[after], whole.angle[after], rtol=1e-3, atol=1e-3)


def test_silence_is_what_training_with_lost_channels_had():
    """While a channel is dead the answers are those of a window with zeros, whatever the channel had held."""
    _, rows = _run(_torn(0.0), 50)
    with pytest.warns(UserWarning, match="dead ECRL"):
        never = predict_recording(MODEL, replace(RECORDING, emg=RECORDING.emg * (np.arange(5) != 2)))
    dead = rows.flag == REDUCED
    assert dead.sum() > 100
    np.testing.assert_allclose(rows.angle[dead], never.angle[dead], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("size", [1, 7, 333, 100_000])
def test_the_size_of_blocks_does_not_matter_when_channels_die(size, value):
    emg = _torn(value)
    emg[4500:4700] = np.nan  # and for a while nothing comes at all
    emg[6000:6400, 0] = value
    state, rows = _run(emg, size)
    expected_state, expected = _run(emg, 50)
    np.testing.assert_array_equal(rows.flag, expected.flag)
    np.testing.assert_allclose(rows.angle, expected.angle, rtol=1e-4, atol=1e-5)
    assert (state.held, state.lost) == (expected_state.held, expected_state.lost)


def test_a_pause_of_one_channel_is_doubted_as_soon_as_noise_cannot_be_it():
    emg = RECORDING.emg.copy()
    emg[DIES : DIES + int(0.9 * DOUBT_S * RATE_HZ), 2] = 1e-4
    assert (_run(emg, 50)[1].flag == GOOD).all()
    pause = int(0.9 * DEAD_S * RATE_HZ)
    emg[DIES : DIES + pause, 2] = 1e-4
    rows = _run(emg, 50)[1]
    begin, end = DIES / RATE_HZ + DOUBT_S, (DIES + pause) / RATE_HZ + ENGINE.forget / 100
    held = (begin + 0.01 < rows.time_s) & (rows.time_s < end - 0.02)
    assert (rows.flag[held] == HELD).all()
    assert (rows.flag[(rows.time_s < begin) | (rows.time_s > end + 0.02)] == GOOD).all()


@pytest.mark.parametrize("value", [0.0, 5e-3, np.nan])
@pytest.mark.parametrize("seconds", [0.095, 3.0])
@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
def test_no_answer_is_called_good_that_a_channel_that_died_and_returned_has_moved(value, seconds, normalisation):
    recording, begin = wrist_recording(seconds=14.0), 12_000
    model, emg = wrist_model(normalisation), recording.emg.copy()
    emg[begin : begin + round(seconds * RATE_HZ), 2] = value
    offline = predict_recording(model, recording)
    engine, parts = stream.engine(model, RATE_HZ, "pronated"), []
    state = stream.start(engine)
    for k in range(0, len(emg), 100):
        state, rows = stream.step(engine, state, SampleBlock(emg[k : k + 100], np.arange(k, k + 100) / RATE_HZ, k))
        parts.append(rows)
    rows = stream.join(parts)
    assert state.taken + state.held + state.lost == len(emg)
    good = rows.flag == GOOD
    at = np.round(rows.time_s[good] * 100).astype(int) - 39
    assert np.abs(np.rad2deg(rows.angle[good] - offline.angle[at])).max() < 1.0
    assert good[-1] or normalisation == "zscore"  # whose statistics need long to catch up


def test_a_source_that_stands_still_as_a_whole_is_lost():
    rows = _run(_torn(1e-4, slice(None)), 50)[1]
    dead = (rows.time_s > DIES / RATE_HZ + DEAD_S) & (rows.time_s < RETURNS / RATE_HZ)
    assert (rows.flag[dead] == LOST).all() and (rows.flag[rows.time_s < DIES / RATE_HZ] == GOOD).all()


def test_the_user_is_told_once_when_a_channel_dies_and_when_it_is_back():
    seat = session.Seat(ENGINE)
    opened = _source(*_blocks(_torn(0.0)))
    events = [u.event for u in session.run(seat, opened, lambda: opened) if u.event]
    assert events == [
        "channel ECRL is dead (not one new value in 0.1 s): it counts as silent and answers are flagged reduced; "
        "check the electrode.",
        "channel ECRL is back.",
    ]


def test_a_source_may_come_back_with_fewer_channels():
    emg = RECORDING.emg * (np.arange(5) != 2)
    second = _source(*_blocks(emg)[40:], missing=("ECRL",))

    class Fickle(type(_source())):
        left = _blocks(RECORDING.emg)[:40]

        def read(self, wait_s):
            if not self.left:
                raise source.Vanished("the source has vanished.")
            return self.left.pop(0)

    updates = list(session.run(session.Seat(ENGINE), Fickle(), lambda: second))
    events = [u.event for u in updates if u.event]
    assert [e.split(":")[0] for e in events[1:]] == ["the source lacks ECRL", "samples arrive again."]
    rows = stream.join([u.rows for u in updates])
    assert rows.flag[0] == GOOD and rows.flag[-1] == REDUCED and not rows.envelope[-1, 2]


def test_a_swapped_model_is_silent_on_the_same_channels():
    seat = session.Seat(stream.lacking(ENGINE, ("ECU",)))
    session.swap(seat, wrist_model(seed=7))
    assert seat.engine.missing is not None and seat.engine.missing.tolist() == [False] * 4 + [True]


@pytest.mark.thorough
def test_calibrating_without_a_channel_keeps_its_scale():
    there = np.arange(5) != 2
    collected = calibrate.CalibrationTrial(
        RECORDING.emg * there, RECORDING.angle, np.ones(len(RECORDING.emg), bool), RATE_HZ, missing=~there
    )
    quick = wrist_model(steps=3)
    made = calibrate.fit(quick, "pronated", collected)
    assert made.channel_scale.volts[2] == MODEL.channel_scale.volts[2]
    assert (made.channel_scale.volts[there] != MODEL.channel_scale.volts[there]).all()
    with pytest.raises(PitlError, match="channel ECRL is silent in the calibration part"):
        calibrate.fit(quick, "pronated", collected._replace(missing=None))


def test_several_lost_channels_are_told_and_no_answer_is_good():
    state, rows = _run(_torn(0.0, (1, 2)), 50)
    sure = (rows.time_s > (DIES / RATE_HZ) + DEAD_S + 0.01) & (rows.time_s < RETURNS / RATE_HZ)
    assert sure.any() and (rows.flag[sure] == REDUCED).all()
    assert electrodes.SEVERAL_LOST in (electrodes.told(CHANNELS, None, np.arange(5) < 2) or "")
    assert electrodes.SEVERAL_LOST not in (electrodes.told(CHANNELS, None, np.arange(5) < 1) or "")
    with pytest.warns(UserWarning, match="that of several at once was not"):
        predict_recording(MODEL, replace(RECORDING, emg=RECORDING.emg * [1, 0, 0, 1, 1]))
