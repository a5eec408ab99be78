"""A model that learns the person in front of it, without the stream stopping for it."""

import numpy as np
import pytest
from live_models import RATE_HZ, deviating, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.learn import deviation
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.live import calibrate, cues, session, stream
from pitl.live.calibrate import Calibration, CalibrationTrial
from pitl.live.source import Layout
from pitl.live.stream import SampleBlock

pytestmark = pytest.mark.deep

RECORDING = wrist_recording(seconds=6.0)


def _error(model, recording):
    predicted = predict_recording(model, recording)
    at = np.round(predicted.time_s * recording.rate_hz).astype(int)
    return float(np.sqrt(np.mean((predicted.angle - recording.angle[at]) ** 2)))


def _moving():
    """EMG that follows the angle, so that there is something to learn."""
    recording = wrist_recording(seconds=12.0)
    random = np.random.default_rng(1)
    effort = np.clip(recording.angle * np.array([1, 1, -1, -1, -1]), 0, None) + 0.05
    emg = 1e-4 * effort * random.normal(size=effort.shape)
    return type(recording)(**{**vars(recording), "emg": emg})


@pytest.fixture(scope="module")
def promotions():
    import jax

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def learned(promotions):
    person = _moving()
    half = len(person.emg) // 2
    collected = CalibrationTrial(person.emg[:half], person.angle[:half], np.ones(half, bool), RATE_HZ)
    steps = []
    model = calibrate.fit(wrist_model(), "pronated", collected, report=lambda *x: steps.append(x))
    return model, person, steps


def test_it_learns_the_angle_and_leaves_the_encoder(learned):
    model, person, steps = learned
    before = wrist_model()
    assert _error(model, person) < 0.7 * _error(before, person)
    import jax

    for a, b in zip(jax.tree.leaves(model.params["encoder"]), jax.tree.leaves(before.params["encoder"]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps[-1] == (40, 40)
    assert model.history["labels"] == "angle" and model.history["seconds"] == pytest.approx(6.0)


def test_a_calibrated_model_is_saved_and_streams(learned, tmp_path):
    model, person, _ = learned
    model.save(tmp_path / "anna")
    back = Model.load(tmp_path / "anna")
    np.testing.assert_array_equal(predict_recording(back, person).force, predict_recording(model, person).force)


def test_the_angle_of_a_calibrated_person_is_the_deviation_s(learned, promotions):
    person = learned[1]
    half = len(person.emg) // 2
    collected = CalibrationTrial(person.emg[:half], person.angle[:half], np.ones(half, bool), RATE_HZ)
    start = deviating(wrist_model())
    known = start.replace(deviation=None, generic=None, angle_prior=deviation.prior_of(start), params=start.generic)
    ours, again = (calibrate.fit(model, "pronated", collected) for model in (known, start))
    assert ours.angle_prior is None and _error(ours, person) < 0.8 * _error(learned[0], person)
    answers = [predict_recording(model, person) for model in (ours, again)]
    np.testing.assert_allclose(answers[1].angle, answers[0].angle, atol=1e-4)  # it forgets what it was before
    assert (answers[0].angle_half > 0).all() and answers[0].angle_half.shape == answers[0].angle.shape


class _Played:
    """A recording in blocks, with the angle or without."""

    def __init__(self, recording, angle=True, skip=()):
        self.layout = Layout(recording.channels, RATE_HZ, recording.dofs if angle else (), "pronated")
        at = np.arange(len(recording.emg)) / RATE_HZ
        self.blocks = [
            SampleBlock(recording.emg[b : b + 200], at[b : b + 200], b, recording.angle[b : b + 200] if angle else None)
            for b in range(0, len(at), 200)
            if b not in skip
        ]

    def read(self, wait_s):
        return self.blocks.pop(0) if self.blocks else None

    def close(self):
        pass


def _calibrated(source, model, seconds=5.0, wait=True):
    kept = []
    calibration = Calibration(model, seconds, bool(source.layout.dofs), kept.append)
    seat = session.Seat(stream.engine(calibrate.provisional(model), RATE_HZ, "pronated"))
    calibration.begin(seat)
    rows, phases = [], []
    for update in session.run(seat, source, lambda: source):
        calibration.feed(seat, update)
        phases.append(calibration.phase)
        if calibration.phase in ("preparing", "fitting") and wait:
            calibration.wait()
        rows.append(update.rows)
    calibration.wait()
    return calibration, kept, stream.join(rows), seat


@pytest.mark.parametrize("generic", [True, False])
def test_the_stream_goes_on_while_the_model_is_swapped(promotions, generic):
    person = _moving()
    calibration, kept, rows, seat = _calibrated(_Played(person), wrist_model(generic=generic))
    assert calibration.phase == "done", calibration.message
    assert "from 5 s, with the measured angle" in calibration.message
    assert len(rows.flag) == 1200 - 39 and (rows.flag == stream.GOOD).all()  # no answer is missing
    new = kept[0]
    assert seat.engine.model is new
    offline = predict_recording(new, person)
    after = int(5.0 * 100) - 39 + 20
    np.testing.assert_allclose(rows.angle[after:], offline.angle[after:], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_without_an_angle_the_law_of_motion_teaches(promotions):
    calibration, kept, *_ = _calibrated(_Played(RECORDING, angle=False), wrist_model())
    assert calibration.phase == "done" and "no angle was measured" in calibration.message
    assert kept[0].history["labels"] == "none"


def test_a_short_gap_is_left_out_and_a_long_one_starts_the_recording_again(promotions):
    person = _moving()
    calibration, kept, *_ = _calibrated(_Played(person, skip=(2000,)), wrist_model())
    assert calibration.phase == "done" and len(kept) == 1
    torn = _Played(person, skip=range(4000, 6000, 200))
    calibration = Calibration(wrist_model(), 5.0, True)
    seat = session.Seat(stream.engine(wrist_model(), RATE_HZ, "pronated"))
    done = []
    for update in session.run(seat, torn, lambda: torn):
        if calibration.phase == "recording":
            calibration.feed(seat, update)
            done.append(calibration.done)
    assert max(np.diff(done)) > 0 and min(np.diff(done)) < 0  # it went back to the start, and on
    calibration.wait()
    assert calibration.phase == "done"


def _refused(predicted, **changes):
    whole = CalibrationTrial(RECORDING.emg, RECORDING.angle, np.ones(len(RECORDING.emg), bool), RATE_HZ)
    with pytest.raises(PitlError, match=predicted):
        calibrate.fit(wrist_model(), "pronated", whole._replace(**changes))


def test_what_cannot_be_learned_from_is_said(promotions):
    silent = RECORDING.emg.copy()
    silent[:, 2] = 0.0
    _refused("channel ECRL is silent", emg=silent)
    _refused("stood still; follow the cues", angle=0 * RECORDING.angle)
    _refused("probably in degrees", angle=np.rad2deg(RECORDING.angle))
    holes = np.arange(len(RECORDING.emg)) % 400 > 100
    _refused("% of the recording is usable", valid=holes)
    with pytest.raises(PitlError, match="3 s are too short to learn from"):
        Calibration(wrist_model(), 3.0, True).begin(session.Seat(stream.engine(wrist_model(), RATE_HZ)))


def test_a_failed_calibration_leaves_the_old_model_running(promotions):
    still = type(RECORDING)(**{**vars(RECORDING), "angle": 0 * RECORDING.angle})
    calibration, kept, rows, seat = _calibrated(_Played(still), wrist_model())
    assert calibration.phase == "failed" and "stood still" in calibration.message
    assert not kept and len(rows.flag) == 600 - 39
    assert seat.engine.model.subject == "anna"


def test_cues_of_efforts_go_every_way_from_weak_to_strong():
    asked = cues.efforts(("wrist_flexion", "wrist_deviation"))
    assert sum(c.part for c in asked) == pytest.approx(1.0)
    pushed = [c for c in asked if c.text != "rest"]
    ways = list(dict.fromkeys(c.text.partition(", ")[0] for c in pushed))
    assert ways == ["push: flex", "push: extend", "push: towards the little finger", "push: towards the thumb",
                    "tense all muscles at once"]  # fmt: skip
    for way in ways:
        levels = [c.level for c in pushed if c.text.startswith(way)]
        assert levels == sorted(levels) and levels[-1] == 1.0
    assert cues.prompt(1.0, 90.0, asked).text == "rest" and cues.prompt(89.9, 90.0, asked).target == 1.0
    assert len(cues.efforts(("knee_angle",))) == 3 * 5


def test_cues_fill_the_session():
    assert sum(c.part for c in cues.CUES) == pytest.approx(1.0)
    texts = [cues.prompt(t, 20.0).text for t in np.arange(0, 20, 0.1)]
    assert list(dict.fromkeys(texts)) == [c.text for c in cues.CUES]
    targets = [cues.prompt(t, 20.0).target for t in np.arange(0, 20.2, 0.01)]
    assert min(targets) == pytest.approx(-1, abs=1e-3) and max(targets) == pytest.approx(1, abs=1e-3)
