"""A model goes on without a channel, and what the loss of each costs is measured."""

import json
import re
import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from live_models import CHANNELS, deviating, wrist_model, wrist_recording
from rich.console import Console

from pitl import report
from pitl.comparison import evaluate, lost_channels, run
from pitl.config.schema import EvaluateConfig, PersonalizeConfig, TrainConfig, VirtualConfig
from pitl.config.toml import Config
from pitl.data import load
from pitl.errors import PitlError
from pitl.learn import deviation, prepare
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.signals import emg, normalise
from pitl.signals.samples import Samples

RECORDING = replace(wrist_recording(seconds=2.0), source="anna.csv")
MODEL = wrist_model()
CONFIG = Config(
    name="tiny",
    virtual=VirtualConfig(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1),
    train=TrainConfig(steps=40, check_every=20, batch=64, channel_dropout=0.2),
    personalize=PersonalizeConfig(steps=20, batch=64),
    evaluate=EvaluateConfig(folds=3, methods=("generic_physics", "head_physics"), supervision=("angle",)),
)


def _with(order):
    return replace(RECORDING, emg=RECORDING.emg[:, order], channels=tuple(CHANNELS[c] for c in order))


@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
def test_a_missing_and_a_dead_channel_are_the_same_silence(normalisation):
    model = wrist_model(normalisation)
    with pytest.warns(UserWarning) as told:
        missing = predict_recording(model, _with([0, 1, 3, 4]))
    assert str(told[0].message) == (
        "anna.csv (anna/r1) lacks ECRL: the model takes this channel as silent, and its answers are worse than usual."
    )
    torn = RECORDING.emg.copy()
    torn[:, 2] = 3.3e-3  # V, an amplifier at its end
    with pytest.warns(UserWarning, match="has dead ECRL: the model takes this channel as silent"):
        dead = predict_recording(model, replace(RECORDING, emg=torn))
    assert missing.silent == dead.silent == ("ECRL",)
    np.testing.assert_array_equal(missing.angle, dead.angle)
    np.testing.assert_array_equal(missing.force, dead.force)
    assert np.abs(missing.angle - predict_recording(model, RECORDING).angle).max() > 1e-3


def test_channels_are_found_by_name_and_others_are_not_looked_at():
    expected = predict_recording(MODEL, RECORDING)
    more = replace(
        _with([4, 2, 0, 1, 3]),
        emg=np.concatenate([RECORDING.emg[:, [4, 2, 0, 1, 3]], np.ones((len(RECORDING.emg), 1))], axis=1),
        channels=("ECU", "ECRL", "FCR", "FCU", "ECRB", "trigger"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = predict_recording(MODEL, more)
    np.testing.assert_array_equal(result.angle, expected.angle)
    assert result.silent == ()


def test_several_lost_channels_are_named_together():
    emg = RECORDING.emg[:, [0, 1, 3]] * np.array([1.0, 1.0, 0.0])
    with pytest.warns(UserWarning, match="lacks ECRL, ECU and has dead ECRB: the model takes these channels as silent"):
        result = predict_recording(MODEL, replace(_with([0, 1, 3]), emg=emg))
    assert result.silent == ("ECRL", "ECRB", "ECU") and np.isfinite(result.angle).all()


def test_a_recording_that_shares_no_channel_is_refused():
    stranger = replace(RECORDING, channels=("A", "B", "C", "D", "E"))
    with pytest.raises(PitlError, match=r"anna.csv .anna/r1. has channels A, .* and none of the model's .FCR, FCU"):
        predict_recording(MODEL, stranger)
    with pytest.raises(PitlError, match=r"anna.csv .anna/r1.: every channel of the model is missing or dead"):
        predict_recording(MODEL, replace(_with([0, 1]), emg=np.ones((len(RECORDING.emg), 2))))


def test_samples_that_are_not_numbers_spoil_nothing_but_themselves():
    emg, valid = RECORDING.emg.copy(), np.ones(len(RECORDING.emg), bool)
    emg[500:600], valid[500:600] = np.nan, False
    result, expected = (
        predict_recording(MODEL, replace(RECORDING, emg=emg, valid=valid)),
        predict_recording(MODEL, RECORDING),
    )
    assert np.isfinite(result.angle).all()
    np.testing.assert_allclose(result.angle[-40:], expected.angle[-40:], atol=1e-3)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A small run, as users run it."""
    folder = tmp_path_factory.mktemp("lost")
    run.evaluate(CONFIG, folder, Console(quiet=True))
    report.write(folder)
    return folder


@pytest.mark.thorough
def test_a_run_measures_what_each_channel_costs(out):
    result = json.loads((out / lost_channels.FILE).read_text())
    assert (
        result["channels"] == list(CHANNELS) and result["supervision"] == "angle" and result["channel_dropout"] == 0.2
    )
    rows = json.loads((out / "metrics.json").read_text())["rows"]
    for name, errors in result["people"].items():
        (row,) = (r for r in rows if (r["subject"], r["task"], r["method"]) == (name, "all", "head_physics"))
        assert len(errors["angle_rmse_deg"]) == len(errors["force_rmse_n"]) == 1 + len(CHANNELS)
        for metric in ("angle_rmse_deg", "force_rmse_n"):  # nothing lost: the number that the comparison has
            np.testing.assert_allclose(errors[metric][0], row[metric], rtol=1e-4)
            assert len({round(e, 4) for e in errors[metric]}) == 1 + len(CHANNELS)


@pytest.mark.thorough
def test_the_cost_of_a_channel_is_that_of_a_recording_without_it(out):
    """What is measured on the test rows is what a user gets whose recording lacks the channel."""
    cohort = load.load_cohort(CONFIG)
    prepared = prepare.prepare(CONFIG, cohort)
    own = Model.load(out / "personalized" / "V02-angle")
    trial = next(t for t in prepared.table.trials if t.subject == 1)
    rows = np.arange(trial.test_start, trial.stop)
    errors = lost_channels.measure(own, prepared.samples, rows, has_force=True)
    recording = cohort.subjects[1].recordings[0]
    for k, channel in enumerate(CHANNELS):
        stay = [c for c in range(5) if c != k]
        fewer = replace(recording, emg=recording.emg[:, stay], channels=tuple(CHANNELS[c] for c in stay))
        with pytest.warns(UserWarning, match=f"lacks {channel}"):
            predicted = predict_recording(own, fewer)
        truth = evaluate.Truth(*(np.asarray(x)[rows] for x in prepared.samples[1:4]))
        answer = evaluate.TestPrediction(predicted.angle[-len(rows) :], predicted.force[-len(rows) :], None, None)
        expected = evaluate.score(truth, answer, np.ones(5))
        np.testing.assert_allclose(errors.angle_rmse_deg[1 + k], expected.angle_rmse_deg, rtol=1e-3)
        np.testing.assert_allclose(errors.force_rmse_n[1 + k], expected.force_rmse_n, rtol=1e-3)


@pytest.mark.thorough
def test_the_report_has_the_table_most_costly_channel_first(out):
    html = (out / "report.html").read_text()
    table = html[html.index("What the loss of a channel costs") :]
    assert "silent in a batch with a chance of 20" in table[: table.index("</p>")]
    body = re.sub(r"<[^>]*>", " ", table[: table.index("</table>")]).split("(none lost)")[1]
    result = json.loads((out / lost_channels.FILE).read_text())
    errors = np.array([p["angle_rmse_deg"] for p in result["people"].values()])
    added = np.median(errors[:, 1:] - errors[:, :1], axis=0)
    assert re.findall("|".join(CHANNELS), body) == [CHANNELS[c] for c in np.argsort(-added)]


@pytest.mark.thorough
def test_a_run_may_leave_it_out_and_a_damaged_file_is_a_sentence(out, tmp_path):
    for name in ("metrics.json", "learned.json", "notes.json"):
        (tmp_path / name).write_text((out / name).read_text())
    assert report.lost_table(tmp_path) is None
    report.write(tmp_path)
    assert "What the loss of a channel costs" not in (tmp_path / "report.html").read_text()
    (tmp_path / lost_channels.FILE).write_text('{"people": {"V01": {"angle_rmse_deg": [1.0]}}}')
    with pytest.raises(PitlError, match="lost_channels.json lacks something"):
        report.lost_table(tmp_path)


def test_what_a_lost_channel_costs_a_person_with_a_deviation_is_what_it_answers_then():
    own = deviating(MODEL)
    env = emg.envelope(emg.design(own.emg, RECORDING.rate_hz), RECORDING.emg)
    jets = np.asarray(normalise.normalise(own.channel_scale, env.jets, own.emg.rate_hz), np.float32)
    count = len(jets)
    angle, none = 0.4 * np.sin(env.time_s)[:, None], np.zeros((count, 1), np.float32)
    posture, force = np.ones(count, np.int32), np.zeros((count, 5), np.float32)
    fields = (jets, angle.astype(np.float32), force, none, posture, 0 * posture, env.time_s.astype(np.float32))
    samples = Samples(*(jnp.asarray(x) for x in fields))
    rows = np.arange(own.net.window - 1, count)
    costs = lost_channels.measure(own, samples, rows, has_force=False)
    for channel in (None, 2):
        gone = np.arange(5) == channel
        silent = samples._replace(jets=jnp.where(jnp.asarray(gone)[None, None], 0.0, samples.jets))
        error = deviation.predict_angle(own.without_channels(gone), silent, rows)[0] - angle[rows]
        expected = np.degrees(np.sqrt(np.mean(error**2)))
        assert costs.angle_rmse_deg[0 if channel is None else 3] == pytest.approx(expected, rel=1e-4)


def test_the_angle_of_a_person_does_without_a_channel_as_if_it_had_never_been_there():
    """A model that knows how to do without a channel is nearer to the angle when it is lost than one that does not."""
    own = deviating(MODEL)
    torn = replace(RECORDING, emg=RECORDING.emg * (np.arange(5) != 2))
    along = np.arange(len(torn.emg)) / torn.rate_hz
    angle = 0.5 * np.sin(2 * np.pi * 0.5 * along)
    with pytest.warns(UserWarning, match="dead ECRL"):
        with_it = predict_recording(own, torn)
        without_it = predict_recording(own.replace(deviation_without=None), torn)
    at = np.round(with_it.time_s * torn.rate_hz).astype(int)
    wrong = [np.sqrt(np.mean((p.angle[:, 0] - angle[at]) ** 2)) for p in (with_it, without_it)]
    assert wrong[0] < 0.7 * wrong[1]
    assert own.without_channels(np.zeros(5, bool)) is own
