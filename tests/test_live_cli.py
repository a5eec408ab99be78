"""The live commands as a user types them."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import jax
import numpy as np
import pytest
import typer
from live_models import wrist_model, wrist_recording
from typer.testing import CliRunner

from pitl.cli import app, shell
from pitl.data import cohort as cohorts
from pitl.data.recording import Cohort, Subject
from pitl.errors import PitlError
from pitl.learn.model import Model
from pitl.learn.predict import Prediction, predict_recording
from pitl.live import calibrate, latency, stream

RECORDING = wrist_recording(seconds=6.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    wrist_model(steps=20).save(folder / "anna")
    wrist_model(generic=True, steps=20).save(folder / "generic")
    cohorts.write_cohort(Cohort("c", "wrist", (Subject("anna", (RECORDING,)),)), folder / "cohort")
    return folder


@pytest.fixture(autouse=True)
def as_users_run_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _say(*args):
    predicted = CliRunner().invoke(app, [str(a) for a in args])
    return predicted.exit_code, predicted.output


def _trial(place):
    return f"replay:{place / 'cohort' / 'anna_r1.csv'}"


def test_a_replay_into_a_table_is_the_offline_answer(place):
    out = place / "out.csv"
    code, predicted = _say("stream", place / "anna", "--source", _trial(place), "--sink", f"csv:{out}", "--speed", 0)
    assert code == 0 and "12000 samples used, 0 bridged, 0 lost, 0 dropped" in predicted and "p99" in predicted
    table = np.genfromtxt(out, delimiter=",", names=True, dtype=None, encoding="utf-8")
    offline = predict_recording(wrist_model(), RECORDING)
    np.testing.assert_allclose(table["angle_wrist_flexion_rad"], offline.angle[:, 0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(table["time_s"], offline.time_s, atol=1e-6)
    assert set(table["flag"]) == {"good"}


@pytest.mark.parametrize("command", ["stream", "live", "calibrate", "latency", "export"])
def test_help_shows_an_example(command):
    code, predicted = _say(command, "--help")
    assert code == 0 and f"pitl {command} runs/mine" in predicted


@pytest.mark.thorough
def test_a_generic_model_learns_the_person_and_is_kept(place):
    out = place / "calibrated"
    code, predicted = _say(
        "calibrate", place / "generic", "--source", _trial(place), "--out", out, "--seconds", 5, "--speed", 4
    )
    assert code == 0, predicted
    assert "hold flexed" in predicted and "learned from 5 s, with the measured angle" in predicted
    result = Model.load(out)
    assert result.channel_scale is not None and result.history["kind"] == "calibrated"
    predict_recording(result, RECORDING)


def test_a_session_that_ends_too_early_says_so(place):
    code, predicted = _say(
        "calibrate", place / "anna", "--source", _trial(place), "--out", place / "x", "--seconds", 60, "--speed", 0
    )
    assert code == 1 and "the stream ended before the session did; nothing was learned" in predicted
    assert not (place / "x").exists()


def test_the_budget_adds_up(place):
    engine = stream.engine(wrist_model(), 2000.0)
    result = latency.budget(engine, block_s=0.01)
    names = [line.name for line in result.lines]
    assert names == ["block", "transport", "band-pass", "low-pass", "hop", "window", "compute"]
    assert result.typical_s == pytest.approx(sum(line.typical_s for line in result.lines))
    assert all(0 <= line.typical_s <= line.worst_s for line in result.lines)
    low = result.lines[3].typical_s
    assert 0.05 < low < 0.12  # a fourth-order Bessel at 4 Hz
    code, predicted = _say("latency", place / "anna", "--recording", place / "cohort" / "anna_r1.csv")
    assert (
        code == 0
        and "Farrell & Weir 2007" in predicted
        and "Cavanagh & Komi 1979" in predicted
        and "in all" in predicted
    )


@pytest.mark.parametrize("shift_s", [-0.08, 0.0, 0.125])
def test_the_lag_that_is_measured_is_the_lag(monkeypatch, shift_s):
    recording = wrist_recording(seconds=10.0)
    at = np.arange(0.4, 9.9, 0.01)
    clock = np.arange(len(recording.emg)) / recording.rate_hz
    predicted = np.interp(at - shift_s, clock, recording.angle[:, 0])[:, None]
    monkeypatch.setattr(
        latency, "predict_recording", lambda *_: Prediction(at, predicted, predicted, predicted, (), ())
    )
    assert latency.lag(wrist_model(), recording) == pytest.approx(shift_s, abs=2e-3)
    still = type(recording)(**{**vars(recording), "angle": 0 * recording.angle})
    assert latency.lag(wrist_model(), still) is None


@pytest.mark.slow
def test_an_export_says_how_near_it_is(place):
    pytest.importorskip("jax2onnx", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
    trial = place / "cohort" / "anna_r1.csv"
    code, predicted = _say("export", place / "anna", "--out", place / "exported", "--recording", trial)
    assert (
        code == 0 and "model.onnx on recorded input: at most" in predicted and "in the posture 'pronated'" in predicted
    )
    assert json.loads((place / "exported" / "preprocessing.json").read_text())["posture"] == 1


def _truncated(place):
    import shutil

    broken = place / "broken"
    if not broken.exists():
        shutil.copytree(place / "anna", broken)
        largest = max((p for p in broken.rglob("*") if p.is_file() and p.name != "pitl.json"), key=os.path.getsize)
        largest.write_bytes(largest.read_bytes()[:-20])
    return broken


@pytest.mark.parametrize("command", ["stream", "live", "calibrate", "latency", "export"])
def test_a_truncated_model_is_a_sentence(place, command):
    options = {
        "stream": ("--source", _trial(place)),
        "live": ("--source", _trial(place)),
        "calibrate": ("--source", _trial(place), "--out", place / "y"),
        "latency": (),
        "export": ("--out", place / "y"),
    }[command]
    code, predicted = _say(command, _truncated(place), *options)
    assert code == 1 and "is damaged" in predicted and predicted.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "predicted"),
    [
        (("--source", "lab:EMG"), "there is no source 'lab:EMG'"),
        (("--source", "replay:nowhere.csv"), "nowhere.csv does not exist"),
        (("--source", "TRIAL", "--sink", "printer"), "there is no sink 'printer'"),
        (("--source", "TRIAL", "--posture", "sitting"), "no posture 'sitting'"),
        (("--source", "TRIAL", "--unit", "kV"), "the unit 'kV' is not known"),
    ],
)
def test_what_a_user_mistypes_is_a_sentence(place, options, predicted):
    code, result = _say("stream", place / "anna", *(_trial(place) if o == "TRIAL" else o for o in options))
    assert code == 1 and predicted in result and "Traceback" not in result


def test_a_stream_needs_a_person(place):
    code, predicted = _say("stream", place / "generic", "--source", _trial(place))
    assert code == 1 and "pitl calibrate" in predicted


def test_a_page_on_a_port_in_use_is_a_sentence(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, predicted = _say("live", place / "anna", "--source", _trial(place), "--port", port)
    assert code == 1 and f"cannot serve the page at 127.0.0.1:{port}" in predicted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_page_is_served_until_it_is_told_to_end(place, number):
    pytest.importorskip("uvicorn", reason="needs the server: pip install 'pitl[live]'")
    process = subprocess.Popen(
        [sys.executable, "-m", "pitl", "live", place / "anna", "--source", _trial(place), "--port", "0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[0]) as predicted:  # it listens already
            assert b"<canvas" in predicted.read()
        process.send_signal(number)
        assert process.wait() in (0, 130)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_a_sentence(number, capsys):
    with pytest.raises(typer.Exit) as ended, shell.sentences(lambda: "out"):
        signal.raise_signal(number)
    assert ended.value.exit_code == 130 and "interrupted. What is finished is kept in out" in capsys.readouterr().err


def test_names_give_no_orders_to_the_terminal(capsys):
    shell.tell("channel \x1b[2J\x9b31m\u202eabc \udc80 is dead: 3 µV")
    shown = capsys.readouterr().err
    assert shown == "channel \\x1b[2J\\x9b31m\\u202eabc \\udc80 is dead: 3 µV\n"
    with pytest.raises(typer.Exit), shell.sentences():
        raise PitlError("there is no LSL stream '\x1b]0;x\x07'.")
    assert "\x1b" not in capsys.readouterr().err


def test_a_calibration_never_overwrites_an_earlier_one(place, tmp_path):
    (tmp_path / "anna").mkdir()
    code, predicted = _say("calibrate", place / "anna", "--source", _trial(place), "--out", tmp_path / "anna")
    assert code == 1 and "anna exists, and an earlier calibration is never overwritten" in predicted
    assert calibrate.fresh(tmp_path / "anna") == tmp_path / "anna-2"
    (tmp_path / "anna-2").mkdir()
    assert calibrate.fresh(tmp_path / "anna") == tmp_path / "anna-3"
    assert calibrate.fresh(tmp_path / "ben") == tmp_path / "ben"


@pytest.mark.parametrize("command", ["calibrate", "live"])
def test_a_place_for_the_model_is_looked_at_before_the_person_is_recorded(place, tmp_path, command):
    (tmp_path / "notes").write_text("mine")
    code, predicted = _say(command, place / "anna", "--source", "udp:1", "--out", tmp_path / "notes" / "anna")
    assert code == 1 and "cannot write" in predicted and "notes/anna" in predicted


def test_efforts_are_cued_and_a_table_says_when_they_were(place, tmp_path):
    out = tmp_path / "efforts.csv"
    code, predicted = _say("efforts", place / "generic", "--seconds", 1, "--out", out)
    assert code == 0 and "push: flex, as strongly as you can" in predicted
    with out.open() as file:
        table = list(csv.DictReader(file))
    begin, end = (np.array([float(r[k]) for r in table]) for k in ("begin_s", "end_s"))
    np.testing.assert_allclose(begin[1:], end[:-1])
    assert begin[0] < 0.1 and abs(end[-1] - 1) < 0.1
    assert {"rest", "push: extend, weakly", "tense all muscles at once, against nothing, hardly"} & {
        r["cue"] for r in table
    }
