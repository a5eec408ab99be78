"""Members of the family that differ in encoder or training: what is said of them holds, offline, live and exported."""

import jax
import numpy as np
import pytest
from live_models import RATE_HZ, wrist_bundle, wrist_recording

from pitl import bundle, export
from pitl.live import stream
from pitl.net import network


def recurrent(**changes):
    """A person's model with a recurrent encoder."""
    import dataclasses

    made = wrist_bundle()
    net = dataclasses.replace(made.net, encoder="gru", recurrent_state=16, **changes)
    params = network.init(jax.random.key(3), net, made.scale)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(4), x.shape, x.dtype), params)
    return made._replace(net=net, params=params)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_recurrent_model_live_equals_offline(stride):
    model, recording = recurrent(recurrent_stride=stride, nonnegative=stride == 1), wrist_recording(2.0)
    offline = bundle.estimate(model, recording)
    engine = stream.engine(model, RATE_HZ, "pronated")
    state, parts = stream.start(engine), []
    time = np.arange(len(recording.emg)) / RATE_HZ
    for begin in range(0, len(time), 137):
        state, rows = stream.step(
            engine, state, stream.Block(recording.emg[begin : begin + 137], time[begin : begin + 137])
        )
        parts.append(rows)
    live = stream.join(parts)
    np.testing.assert_allclose(live.angle, offline.angle, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(live.force, offline.force, rtol=1e-4, atol=1e-3)


def test_a_recurrent_model_comes_back_from_its_folder_as_it_was(tmp_path):
    model, recording = recurrent(recurrent_stride=3), wrist_recording(1.5)
    bundle.save(tmp_path / "model", model)
    back = bundle.load(tmp_path / "model")
    assert back.net == model.net and back.net.encoder == "gru"
    np.testing.assert_array_equal(bundle.estimate(back, recording).angle, bundle.estimate(model, recording).angle)


def test_a_recurrent_model_is_exported_and_says_the_same(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
    pytest.importorskip("jax2onnx", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = export.write(tmp_path, recurrent(), RATE_HZ, "pronated", wrist_recording(1.5))
    assert found.recorded is not None
    assert all(max(d) < 1e-4 for part in found for d in part.values())
