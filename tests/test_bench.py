"""The benchmarks measure what they say: same loss on both sides, every side in turn, a table that says what failed."""

import json

import jax
import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import chains, measure, page, problem, scaling, step
from benchmarks.row import Row, skipped
from pitl.learn import limbs, loss
from pitl.learn.model import Model
from pitl.learn.predict import predict_rows
from pitl.mechanics import dynamics, geometry
from pitl.net import network
from pitl.net.network import Network

SMALL = Network(5, 2, 20, 100.0, channels=(4, 6), kernels=(5, 3), strides=(2, 1), features=7, hidden=6)


def test_the_suite_has_a_row_for_every_target():
    names = set(bench.suite())
    assert {"step", "step_default", "personal_torch", "personal_scaling"} <= names
    assert {"encoder", "cohort", "live", "startup"} <= names


def test_every_side_is_called_in_every_round_and_the_first_call_is_apart():
    calls = []
    times = measure.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert all(len(t.rounds) == 4 for t in times.values())


def test_ratio_and_share_follow_from_the_times():
    slow, fast = measure.Times(9.0, np.array([2.0, 4.0, 8.0])), measure.Times(9.0, np.array([1.0, 2.0, 4.0]))
    assert measure.ratio(slow, fast) == 2.0
    assert measure.gemm_share(measure.gemm_side() ** 3, fast, fast) == pytest.approx(0.5)


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


@pytest.mark.thorough
def test_constants_kept_once_leave_the_loss_and_its_gradient():
    task = problem.training(SMALL, rows=600, subjects=4)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = jax.numpy.asarray(np.random.default_rng(0).integers(20, 600, (64, 1)), "int32")
    once = loss.share_constants(task)
    assert isinstance(once.limbs, limbs.Limbs)
    assert any(x is None for x in once.limbs.own) and any(x is not None for x in once.limbs.own)
    value = jax.jit(jax.value_and_grad(lambda p, t: loss.terms(p, SMALL, t, rows).physics), static_argnums=())
    (a, ga), (b, gb) = value(params, task), value(params, once)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for x, y in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6)


@pytest.mark.thorough
def test_the_equation_of_motion_in_a_part_of_the_rows_leaves_the_data_terms_and_its_own_mean():
    task = loss.share_constants(problem.training(SMALL, rows=600, subjects=4))
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = jax.numpy.asarray(np.random.default_rng(0).integers(20, 600, (64, 1)), "int32")
    gain = jax.numpy.asarray(np.random.default_rng(1).uniform(0.5, 1.5, (64, SMALL.inputs)), "float32")
    full = loss.terms(params, SMALL, task, rows, gain)
    half = loss.terms(params, SMALL, task, rows, gain, physics_rows=0.5)
    np.testing.assert_allclose([half.angle, half.force], [full.angle, full.force], rtol=1e-5)
    parts = [loss.terms(params, SMALL, task, rows[k], gain[k]).physics for k in (slice(32), slice(32, None))]
    np.testing.assert_allclose(half.physics, parts[0], rtol=1e-4)
    np.testing.assert_allclose((parts[0] + parts[1]) / 2, full.physics, rtol=1e-4)
    assert abs(half.physics / full.physics - 1) > 1e-3  # it is another estimate of the same mean


def test_the_measured_training_step_is_the_public_one_and_lowers_the_loss():
    task = problem.training(SMALL, rows=600, subjects=4)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = np.tile(np.random.default_rng(0).integers(20, 600, 64), (8, 1))
    losses = np.array(step.ours(SMALL, task, params, rows, True)())
    assert losses.shape == (8,) and losses[-1] < losses[0]


@pytest.mark.thorough
@pytest.mark.parametrize("motion", ["double_backward", "nested_jvp"])
def test_pytorch_has_the_same_loss_and_gradient(motion):
    torch = pytest.importorskip("torch", reason="needs torch: pip install -e '.[bench]'")
    from benchmarks import pytorch

    task = problem.training(SMALL, rows=600, subjects=4)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    rows = np.random.default_rng(0).integers(20, 600, 64)

    def total(p):
        t = loss.terms(p, SMALL, task, jax.numpy.asarray(rows[:, None], "int32"))
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


def test_the_equation_of_motion_is_the_sum_of_its_terms_however_it_is_computed():
    model = chains.chain(3)
    rng = np.random.default_rng(0)
    q, qd, qdd = (jax.numpy.asarray(rng.normal(size=(20, 3)) * 0.6, "float32") for _ in range(3))
    force = jax.numpy.asarray(rng.uniform(0, 100, (20, 12)), "float32")
    result = jax.jit(lambda *x: dynamics.terms(model, *x, posture=0))(q, qd, qdd, force)
    direct = jax.jit(lambda *x: dynamics.residual(model, *x, posture=0))(q, qd, qdd, force)
    np.testing.assert_allclose(direct, result.residual, atol=2e-5 * float(np.abs(result.residual).max()))
    assert float(np.abs(result.coriolis).max()) > 0.1


def test_muscles_of_a_chain_reach_only_the_joints_they_cross():
    arms = jax.jit(lambda q: geometry.moment_arm(chains.chain(3), q, 0))(jax.numpy.full((1, 3), 0.2, "float32"))[0]
    assert (np.abs(np.asarray(arms)) > 1e-4).sum(axis=1).tolist() == [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1]


def test_a_slope_is_the_exponent_and_its_interval_shrinks_to_nothing_on_a_power_law():
    size = [1.0, 4.0, 16.0]
    assert scaling.slope(size, [3.0, 6.0, 12.0]) == pytest.approx(0.5)
    assert scaling.half_width(size, [3.0, 6.0, 12.0]) == pytest.approx(0.0, abs=1e-9)
    assert scaling.half_width(size, [3.0, 7.0, 12.0]) > 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("apart", [1, 40])
def test_predictions_do_not_depend_on_whether_windows_share_convolutions(apart):
    task = problem.training(SMALL, rows=3000, subjects=2)
    params = network.init(jax.random.key(0), SMALL, task.scale)
    both = jax.tree.map(
        lambda x: jax.numpy.stack([x, x]), Model(params, None, task.scale, task.spread, None, net=SMALL)
    )
    rows = (np.arange(30, 1500, apart), np.concatenate([np.arange(1600, 1900, apart), np.arange(2500, 3000, apart)]))
    for r, predicted in zip(rows, predict_rows(both, task.samples, rows), strict=True):
        single = network.outputs(params, SMALL, task.samples, jax.numpy.asarray(r, "int32"), task.scale)
        np.testing.assert_allclose(predicted.angle, single.angle[0], atol=1e-5)
        np.testing.assert_allclose(predicted.force, single.force, rtol=1e-4, atol=1e-3)


def test_a_second_measurement_of_one_benchmark_keeps_the_rows_of_the_others(monkeypatch, tmp_path):
    def of(name, value):
        yield Row(name, "a number", value, "s")

    path = tmp_path / "rows.json"
    monkeypatch.setattr(bench, "suite", lambda: {"a": lambda: of("a", 1.0), "b": lambda: of("b", 2.0)})
    bench.main(["--json", str(path)])
    monkeypatch.setattr(bench, "suite", lambda: {"a": lambda: of("a", 3.0), "b": lambda: of("b", 4.0)})
    bench.main(["--json", str(path), "--only", "b"])
    rows = json.loads(path.read_text())["rows"]
    assert {r["name"]: r["value"] for r in rows} == {"a": 1.0, "b": 4.0}
    assert all(r["measured"]["device"] for r in rows)


def test_the_page_carries_a_curve_on_as_a_straight_line_and_says_what_was_missed():
    row = Row("scaling_people", "people", 1.0, "slope", curve={"size": [10.0, 110.0], "seconds": [6.0, 11.0]})
    slow = Row("step", "a step", 2.0, "ms", 1.0, "other", 0.5, "ratio >= 1", False)
    where = {"device": "cpu", "processor": "p", "cpus": 2, "jax": "0", "torch": None, "time": "t"}
    result = {"environment": where, "rows": [row.to_json(), slow.to_json()]}
    assert "| 10 and 110 | 10000 | 506 s |" in page.outlook(result)  # 11 s + 0.05 s each of the other 9890
    assert page.table(result).splitlines()[2] == "| a step | 2 ms | 1, other | 0.5 | ratio >= 1 | no |"
