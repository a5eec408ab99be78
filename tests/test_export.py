"""What leaves the project says the same as what stays in it."""

import ast
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export as jax_export
from live_models import CHANNELS, RATE_HZ, deviating, gained, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import export

MODEL = deviating(wrist_model())
RECORDING = wrist_recording(seconds=2.0)
OFFLINE = predict_recording(MODEL, RECORDING)
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
pytest.importorskip("jax2onnx", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # the converter traces with its own rules; users do not forbid promotions either
    made = tmp_path_factory.mktemp("export")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = export.write(made, MODEL, RATE_HZ, "pronated", RECORDING)
    assert set(result.random) == set(result.recorded) == {"model.stablehlo", "model.onnx"}
    assert all(max(d) < 1e-5 for part in result for d in part.values())
    return made


def _windows():
    assert MODEL.channel_scale is not None
    envelope = export._recorded_windows(MODEL, RECORDING)[0]
    return envelope, np.full(len(envelope), 1, np.int32)


def test_onnx_on_a_recording_is_the_offline_answer(folder):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    windows, posture = _windows()
    angle, force = session.run(["angle", "force"], {"envelope": windows, "posture": posture})
    np.testing.assert_allclose(angle, OFFLINE.angle, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(force, OFFLINE.force, rtol=1e-4, atol=1e-3)


def test_forces_at_told_gains_leave_the_project_with_their_intervals():
    model = gained(MODEL)
    offline = predict_recording(model, RECORDING)
    loaded = jax_export.deserialize(bytearray(export.to_stablehlo(model, export.function(model))))
    force = np.asarray(loaded.call(*_windows())[1])
    np.testing.assert_allclose(force, offline.force, rtol=1e-4, atol=1e-3)
    half = np.array(export.preprocessing(model, RATE_HZ, "pronated")["force_half"])
    np.testing.assert_allclose(half * force, offline.force_half, rtol=1e-3, atol=1e-2)
    assert export.preprocessing(MODEL, RATE_HZ, "pronated")["force_half"] is None


@pytest.mark.parametrize("count", [1, 3])
def test_stablehlo_on_a_recording_is_the_offline_answer(folder, count):
    loaded = jax_export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    windows, posture = _windows()
    angle, force = loaded.call(windows[:count], posture[:count])
    np.testing.assert_allclose(angle, OFFLINE.angle[:count], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(force, OFFLINE.force[:count], rtol=1e-4, atol=1e-3)
    assert set(loaded.platforms) >= {"cpu", "cuda"}


def test_the_example_needs_onnxruntime_alone_and_gives_the_offline_answer(folder):
    source = (folder / "example.py").read_text()
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    imported = {a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names}
    assert imported == {"json", "sys", "numpy", "onnxruntime"}
    np.savetxt(folder / "raw.csv", RECORDING.emg, delimiter=",", header=",".join(CHANNELS), comments="", fmt="%.9e")
    predicted = subprocess.run(
        [sys.executable, "example.py", "raw.csv"], cwd=folder, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    ).stdout.splitlines()  # fmt: skip
    assert predicted[0] == "time_s,wrist_flexion,FCR,FCU,ECRL,ECRB,ECU"
    table = np.array([[float(v) for v in line.split(",")] for line in predicted[1:]])
    np.testing.assert_allclose(table[:, 0], OFFLINE.time_s, atol=1e-9)
    np.testing.assert_allclose(table[:, 1:2], OFFLINE.angle, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(table[:, 2:], OFFLINE.force, rtol=1e-4, atol=1e-2)


def test_the_constants_have_names_and_units(folder):
    predicted = json.loads((folder / "preprocessing.json").read_text())
    assert (
        predicted["channels"] == list(CHANNELS)
        and predicted["unit"] == "V"
        and predicted["every"] == 20
        and predicted["window"] == 40
    )
    assert predicted["postures"][predicted["posture"]] == "pronated"
    assert set(predicted["about"]) >= {"bandpass", "lowpass", "readout", "window"}


@pytest.mark.parametrize(
    ("model", "rate_hz", "posture", "predicted"),
    [
        (wrist_model(generic=True), RATE_HZ, "neutral", "personalise it first"),
        (wrist_model("zscore"), RATE_HZ, "neutral", "zscore.*no function of one"),
        (wrist_model(derivative="time_input"), RATE_HZ, "neutral", "time stamp"),
        (MODEL, 2148.0, "neutral", "2148 Hz is no multiple of the envelope's 100 Hz"),
        (MODEL, RATE_HZ, "sitting", "no posture 'sitting'"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, model, rate_hz, posture, predicted):
    with pytest.raises(PitlError, match=predicted):
        export.write(tmp_path / "x", model, rate_hz, posture)
    assert not (tmp_path / "x").exists()


def test_a_form_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_run_onnx", lambda _: lambda w, p: (OFFLINE.angle[:64] * 0, OFFLINE.force[:64] * 0))
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        pytest.raises(PitlError, match="model.onnx differs from the original by 1 of"),
    ):
        export.write(tmp_path / "x", MODEL, RATE_HZ, "neutral")
    assert not (tmp_path / "x").exists()
