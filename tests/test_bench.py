"""The benchmarks measure what they say: same loss on both sides, every side in turn, a table that says what failed."""

import json

import jax
import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import measure, problem
from benchmarks.row import Row, skipped
from pitl import physics, train
from pitl.net import network
from pitl.net.network import Network

SMALL = Network(5, 2, 20, 100.0, channels=(4, 6), kernels=(5, 3), strides=(2, 1), features=7, hidden=6)


def test_the_suite_has_a_row_for_every_target():
    names = set(bench.suite())
    assert {"step", "step_default", "personal_torch", "personal_scaling", "personal_search"} <= names
    assert {"encoder", "cohort", "live", "startup"} <= names


def test_every_side_is_called_in_every_round_and_the_first_call_is_apart():
    calls = []
    times = measure.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert all(len(t.rounds) == 4 for t in times.values())


def test_ratio_and_share_follow_from_the_times():
    slow, fast = measure.Times(9.0, np.array([2.0, 4.0, 8.0])), measure.Times(9.0, np.array([1.0, 2.0, 4.0]))
    assert measure.ratio(slow, fast) == 2.0
    assert measure.gemm_share(measure.GEMM_FLOP / 2, fast, fast) == 0.5


def test_counted_arithmetic_is_that_of_the_compiled_products():
    net = problem.DEFAULT
    # forward alone, counted by hand: 18 and 7 places of the two convolutions
    forward = 18 * 25 * 16 + 7 * 80 * 32 + 224 * 48 + 50 * 48 + 48 * 6
    assert problem.step_flop(net, 10, 3) == 2 * 3 * 10 * (3 * forward - 18 * 25 * 16)


def test_a_table_says_what_was_skipped_and_what_failed(monkeypatch, tmp_path, capsys):
    def good():
        yield Row("good", "a number", 2.0, "s", 4.0, "other", 2.0, "ratio >= 1", True)
        yield skipped("gone", "needs something", "ratio >= 4", "needs torch")

    def bad():
        raise RuntimeError("broken on purpose")
        yield

    monkeypatch.setattr(bench, "suite", lambda: {"good": good, "bad": bad})
    path = tmp_path / "rows.json"
    assert bench.main(["--json", str(path)]) == 1
    stored = json.loads(path.read_text())
    assert [r["name"] for r in stored["rows"]] == ["good", "gone"] and stored["failed"] == ["bad"]
    assert stored["rows"][1]["met"] is None and stored["rows"][1]["note"] == "needs torch"
    assert stored["environment"]["device"] and stored["environment"]["peak_memory_bytes"] > 0
    assert "broken on purpose" in capsys.readouterr().err
    assert bench.main(["--only", "nothing"]) == 2
    assert "good" in capsys.readouterr().out


def test_constants_kept_once_leave_the_loss_and_its_gradient():
    task = problem.training(SMALL, rows=600, subjects=4)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = jax.numpy.asarray(np.random.default_rng(0).integers(20, 600, (64, 1)), "int32")
    once = train.ready(task)
    assert isinstance(once.models, physics.People)
    assert any(x is None for x in once.models.own) and any(x is not None for x in once.models.own)
    value = jax.jit(jax.value_and_grad(lambda p, t: train.terms(p, SMALL, t, rows).physics), static_argnums=())
    (a, ga), (b, gb) = value(params, task), value(params, once)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for x, y in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("motion", ["double_backward", "nested_jvp"])
def test_pytorch_has_the_same_loss_and_gradient(motion):
    torch = pytest.importorskip("torch", reason="needs torch: pip install -e '.[bench]'")
    from benchmarks import pytorch

    task = problem.training(SMALL, rows=600, subjects=4)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = np.random.default_rng(0).integers(20, 600, 64)

    def total(p):
        t = train.terms(p, SMALL, task, jax.numpy.asarray(rows[:, None], "int32"))
        return sum(w * v for w, v in zip(task.weights, t, strict=True))

    value, grads = jax.value_and_grad(total)(params)
    model = pytorch.Net(SMALL, params, task)
    wrist, data = pytorch.Wrist(task, torch.device("cpu")), pytorch.Batches(SMALL, task, torch.device("cpu"))
    other = pytorch.total(model, task, wrist, data, torch.tensor(rows), getattr(pytorch, motion))
    other.backward()
    np.testing.assert_allclose(float(other.detach()), float(value), rtol=1e-4)
    for layer, mine in (("features", grads["encoder"]["features"]), ("angle", grads["head"]["angle"])):
        weight = getattr(model, layer).weight.grad.T.numpy()
        np.testing.assert_allclose(weight, mine["w"], rtol=2e-3, atol=1e-3 * float(np.abs(mine["w"]).max()))
