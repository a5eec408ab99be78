"""Members of the family that differ in encoder or training: what is said of them holds, offline, live and exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from live_models import RATE_HZ, wrist_model, wrist_recording
from method_cohort import CONFIG as SMALL
from method_cohort import cohort, ready

from pitl.config.schema import TrainConfig
from pitl.config.toml import change
from pitl.learn import balance, curriculum, generic, loss, model, optimise, personal
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.learn.prepare import prepare
from pitl.learn.train import source_units
from pitl.live import export, stream
from pitl.mechanics import dynamics, geometry, weak
from pitl.mechanics.correction import identity_correction
from pitl.net import network
from pitl.signals import samples as gathering
from pitl.signals import windows

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile

CONFIG = change(SMALL, train={**SMALL.train.model_dump(), "steps": 30, "batch": 32})


def recurrent(**changes):
    """A person's model with a recurrent encoder."""
    made = wrist_model()
    net = dataclasses.replace(made.net, encoder="gru", recurrent_state=16, **changes)
    params = network.init(jax.random.key(3), net, made.scale)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(4), x.shape, x.dtype), params)
    return made.replace(net=net, params=params)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_recurrent_model_live_equals_offline(stride):
    model, recording = recurrent(recurrent_stride=stride, nonnegative=stride == 1), wrist_recording(2.0)
    offline = predict_recording(model, recording)
    engine = stream.engine(model, RATE_HZ, "pronated")
    state, parts = stream.start(engine), []
    time = np.arange(len(recording.emg)) / RATE_HZ
    for begin in range(0, len(time), 137):
        state, rows = stream.step(
            engine, state, stream.SampleBlock(recording.emg[begin : begin + 137], time[begin : begin + 137])
        )
        parts.append(rows)
    live = stream.join(parts)
    np.testing.assert_allclose(live.angle, offline.angle, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(live.force, offline.force, rtol=1e-4, atol=1e-3)


def test_a_recurrent_model_comes_back_from_its_folder_as_it_was(tmp_path):
    model, recording = recurrent(recurrent_stride=3), wrist_recording(1.5)
    model.save(tmp_path / "model")
    back = Model.load(tmp_path / "model")
    assert back.net == model.net and back.net.encoder == "gru"
    np.testing.assert_array_equal(predict_recording(back, recording).angle, predict_recording(model, recording).angle)


def test_a_recurrent_model_is_exported_and_says_the_same(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
    pytest.importorskip("jax2onnx", reason="needs onnxruntime and jax2onnx: pip install 'pitl[export]'")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = export.write(tmp_path, recurrent(), RATE_HZ, "pronated", wrist_recording(1.5))
    assert result.recorded is not None
    assert all(max(d) < 1e-4 for part in result for d in part.values())


@pytest.fixture(scope="module")
def prepared():
    return ready(True)[0]


def fold():
    return ready(True)[3][0]


def problem(prepared, weights=(1.0, 1.0, 0.1, 0.0)):
    spread, scale = source_units(prepared, fold().source, fold().held_out)
    terms = loss.LossTerms(*(jnp.float32(w) for w in weights))
    return loss.Problem(prepared.samples, prepared.limbs, spread, scale, terms, prepared.taps)


def trained(prepared, task, **changes):
    rows = [
        windows.rows_of(prepared.table, "all", subjects=s, window=prepared.net.window)[:, None]
        for s in (fold().source, fold().held_out)
    ]
    config = change(CONFIG.train, **changes)
    return generic.fit(jax.random.key(3), prepared.net, task, *rows, config), config


ACTIVE = jnp.array([True, True, True, False])


def test_fixed_balance_is_the_plain_weighted_sum(prepared):
    """What the loop does is what anybody would write down, step by step."""
    result, config = trained(prepared, problem(prepared), steps=10)
    task = loss.share_constants(problem(prepared))
    k_init, k_batch = jax.random.split(jax.random.key(3))
    params = network.init(k_init, prepared.net, task.scale)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(k_batch)).astype(np.uint64))
    among = windows.rows_of(prepared.table, "all", subjects=fold().source, window=prepared.net.window)[:, None]
    pick = rng.integers(len(among), size=(10, config.batch))
    optimiser = optax.adamw(
        optax.cosine_decay_schedule(config.learning_rate, 10, 0.1), weight_decay=config.weight_decay
    )
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, rows):
        def total(p):
            t = loss.terms(p, prepared.net, task, rows)
            return t.angle + t.force + 0.1 * t.physics

        grads = jax.grad(total)(params)
        return optimise.descend(optimiser, grads, state, params)

    for rows in pick:
        params, state = step(params, state, jnp.asarray(among[rows], jnp.int32))
    for a, b in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_with_gradient_norms_a_term_in_units_a_thousand_times_too_small_does_not_drown_the_others(which):
    norms = jnp.array([0.5, 2.0, 1.0, 0.0])
    scaled = norms.at[which].multiply(1000.0)
    state = balance.start(jax.random.key(0), 4)
    for _ in range(200):
        state = balance.gradient_norm(state, scaled, ACTIVE)._replace(step=state.step + 1)
    pull = (state.factor * scaled)[:3]
    np.testing.assert_allclose(pull, jnp.broadcast_to(pull.mean(), 3), rtol=1e-3)
    assert float(state.factor[3]) == 1.0  # what is no part of the loss has no factor


def test_a_term_without_a_gradient_gets_no_endless_factor():
    state = balance.start(jax.random.key(0), 3)
    state = balance.gradient_norm(state, jnp.array([1.0, 0.0, 1.0]), ACTIVE[:3])
    assert np.isfinite(state.factor).all() and float(state.factor.max()) <= 1e4


def test_relobralo_lifts_the_term_that_falls_least_whatever_its_units():
    fall = jnp.array([0.9, 0.9, 0.999, 1.0])  # a step

    def course(units):
        state = balance.start(jax.random.key(1), 4)
        for k in range(150):
            state = balance.relobralo(state, jnp.array(units) * fall**k, ACTIVE)
        return state.factor

    plain, scaled = course([1.0, 1.0, 1.0, 1.0]), course([1000.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(plain, scaled, rtol=1e-4)
    assert float(plain[2]) > 1.2 > 1.0 > float(plain[0])
    np.testing.assert_allclose(plain[:3].sum(), 3.0, rtol=1e-4)
    assert float(plain[3]) == 1.0


def test_relobralo_with_terms_that_fall_alike_changes_nothing():
    state = balance.start(jax.random.key(1), 4)
    for k in range(100):
        state = balance.relobralo(state, jnp.array([1.0, 5.0, 0.1, 1.0]) * jnp.float32(0.97) ** k, ACTIVE)
    np.testing.assert_allclose(state.factor, 1.0, rtol=1e-4)


@pytest.mark.parametrize("method", ["relobralo", "gradient_norm"])
def test_balanced_training_learns_the_same_for_the_same_key(prepared, method):
    a, _ = trained(prepared, problem(prepared), balance=method)
    b, _ = trained(prepared, problem(prepared), balance=method)
    plain, _ = trained(prepared, problem(prepared))
    same = [np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)]
    assert all(same)
    assert np.isfinite(a.history).all() and a.history[-1, 2:5].sum() < a.history[0, 2:5].sum()
    assert not np.array_equal(a.params["head"]["angle"]["w"], plain.params["head"]["angle"]["w"])


def test_a_physics_weight_in_wrong_units_ruins_fixed_training_and_not_the_balanced_one(prepared):
    task = problem(prepared)
    task = task.replace(spread=task.spread._replace(torque=task.spread.torque / 1000.0**0.5))
    score = {m: trained(prepared, task, balance=m, steps=60)[0].history[-1, 2] for m in ("fixed", "gradient_norm")}
    right = trained(prepared, problem(prepared), balance="gradient_norm", steps=60)[0].history[-1, 2]
    assert score["gradient_norm"] < 1.05 * right + 0.02 < score["fixed"]


def test_a_coarse_recording_moves_as_its_own_derivatives_say(prepared):
    coarse = curriculum.coarse(prepared.samples, 1.0, 100.0)
    trial = prepared.table.trials[1]
    jets = np.asarray(coarse.jets[trial.start : trial.stop], float)
    inner = slice(1, -1)
    for order in (0, 1):
        numeric = np.gradient(jets[:, order], 0.01, axis=0)[inner]
        error = np.sqrt(np.mean((numeric - jets[inner, order + 1]) ** 2))
        assert error < 0.01 * np.sqrt(np.mean(jets[inner, order + 1] ** 2))


def test_smoothing_keeps_slow_motion_halves_power_at_its_corner_and_never_mixes_trials():
    time = np.tile(np.arange(1000) / 100, 2)
    slow, fast = np.sin(2 * np.pi * 0.1 * time), np.sin(2 * np.pi * 2.0 * time)
    still = np.zeros((2000, 1))
    who = jnp.asarray(np.repeat([0, 1], 1000))
    values = np.where(np.arange(2000) < 1000, slow, 5.0 + fast)[:, None]
    jets = np.stack([values, still, still], axis=1)
    samples = gathering.Samples(
        *(jnp.asarray(x, jnp.float32) for x in (jets, values, still, still)), who, who, jnp.asarray(time, jnp.float32)
    )
    result = curriculum.coarse(samples, 2.0, 100.0)
    got = np.asarray(result.angle[:, 0])
    np.testing.assert_allclose(got[:1000], slow[:1000], atol=0.01)
    middle = got[1200:1800] - 5.0
    assert abs(middle.std() / fast[200:800].std() - 0.5**0.5) < 0.01
    assert got[:1000].max() < 1.05 and got[1000:].min() > 3.9
    np.testing.assert_array_equal(result.angle[:, 0], result.jets[:, 0, 0])


def test_a_curriculum_whose_last_level_would_never_come_is_refused():
    with pytest.raises(ValueError, match="3 levels changes at checks and needs 300 steps"):
        TrainConfig(steps=200, check_every=100, curriculum=3)
    assert TrainConfig(steps=200, check_every=50, curriculum=3).curriculum == 3


def test_levels_double_their_corner_and_the_last_is_the_recording_itself():
    assert [curriculum.corner_hz(k, 3, 1.0) for k in range(3)] == [1.0, 2.0, None]
    assert curriculum.corner_hz(0, 1, 1.0) is None


def test_a_curriculum_hands_parameters_on_and_does_not_stop_before_the_last_level(prepared):
    seen = []
    original = curriculum.coarse

    def watched(samples, corner, rate):
        seen.append(corner)
        return original(samples, corner, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "coarse", watched)
        result, _ = trained(prepared, problem(prepared), steps=60, curriculum=3, patience=1, learning_rate=1e-9)
    assert seen == [1.0, 2.0]
    # nothing is learned at this rate, so every check after the first is one without improvement
    assert result.history[-1, 0] > 40
    plain, _ = trained(prepared, problem(prepared), steps=60)
    levels, _ = trained(prepared, problem(prepared), steps=60, curriculum=3)
    assert levels.history[-1, 2] < 0.8 * levels.history[0, 2] or levels.history[-1, 2] < 1.2 * plain.history[-1, 2]
    assert not np.array_equal(plain.params["head"]["angle"]["w"], levels.params["head"]["angle"]["w"])


@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_wrong_physics_is_the_learners_alone(prepared, factor):
    config = change(CONFIG, model={"inertia_factor": factor, "moment_arm_factor": factor})
    other = prepare(config, cohort())
    for a, b in zip(other.samples, prepared.samples, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(other.limbs.pseudo_inertia, factor * prepared.limbs.pseudo_inertia, rtol=1e-6)
    q, posture = jnp.full((3, 1), 0.2), jnp.zeros(3, jnp.int32)
    levers = [jax.vmap(lambda m, x, p: geometry.moment_arm(m, x, p))(m.limbs, q, posture) for m in (other, prepared)]
    np.testing.assert_allclose(levers[0], factor * levers[1], rtol=1e-5)
    still = jnp.zeros((3, 1))
    for how, acceleration in ((posture, jnp.full((3, 1), 9.0)), (posture + 1, still)):  # inertia; weight
        base, more = (
            jax.vmap(dynamics.inverse_dynamics)(prepared.limbs, q, still, a, p)
            for a, p in ((still, posture), (acceleration, how))
        )
        heavier = jax.vmap(dynamics.inverse_dynamics)(other.limbs, q, still, acceleration, how)
        np.testing.assert_allclose(heavier - base, factor * (more - base), rtol=1e-4)
    computed = change(config, data={**config.data.model_dump(), "force_labels": "static_optimisation"})
    right = change(computed, model={})
    np.testing.assert_array_equal(prepare(computed, cohort()).samples.force, prepare(right, cohort()).samples.force)


@pytest.mark.parametrize("kind", ["cnn", "gru"])
def test_the_last_layer_trains_on_a_kept_trunk_as_it_would_on_windows(prepared, kind):
    net = dataclasses.replace(prepared.net, encoder=kind)
    task = problem(prepared)
    params = network.init(jax.random.key(5), net, task.scale)
    people = ready(True)[1].people
    one = jax.tree.map(lambda x: x[0], people)
    limb = jax.tree.map(lambda x: x[0], prepared.limbs)
    current = {**params, "correction": identity_correction(limb)}
    settings = personal.Settings(("features", "head", "correction"), "angle", True)
    config = change(CONFIG.personalize, residual="strong", steps=5)
    learner = personal.PersonalLearner(net, settings, config)
    taps = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
    cover = jax.tree.map(jnp.asarray, gathering.cover(np.asarray(one.rows)))
    trunk = network.features_of_rows(params, net, prepared.samples, cover, 3, trunk_only=True)
    assert trunk.shape == (3, len(one.rows), network.trunk_width(net))

    def total(layer, kept):
        now = {**current, "encoder": {**current["encoder"], "features": layer}}
        work = personal.PersonalTask(params["head"], task.spread, task.scale, limb, one, kept)
        return sum(learner.terms(now, prepared.samples, taps, work).values())

    layer = params["encoder"]["features"]
    (a, ga), (b, gb) = (jax.value_and_grad(total)(layer, kept) for kept in (trunk, None))
    np.testing.assert_allclose(a, b, rtol=1e-4)
    for x, y in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True):
        assert float(jnp.abs(y).max()) > 0
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-3 * float(jnp.abs(y).max()))
    generic_model = jax.tree.map(lambda x: x[0], ready(True)[2].data)
    start = model.stack([generic_model.replace(net=net, params=params)] * 3).replace(limb=prepared.limbs)
    fitted = personal.fit(start, prepared.samples, people, settings, config)
    before, after = start.params["encoder"], fitted.model.params["encoder"]
    still = "recurrence" if kind == "gru" else "convolutions"
    for x, y in zip(jax.tree.leaves(before[still]), jax.tree.leaves(after[still]), strict=True):
        np.testing.assert_array_equal(x, y)
    assert not np.array_equal(before["features"]["w"], after["features"]["w"])


def test_forces_that_only_judge_teach_nothing(prepared):
    """Other force labels, same training: the units in which forces are judged apart, nothing of them arrives."""
    unseen = prepare(change(CONFIG, train={**CONFIG.train.model_dump(), "force_weight": 0.0}), cohort())
    assert prepared.learns_forces and not unseen.learns_forces
    spread, scale = source_units(unseen, fold().source, fold().held_out)
    np.testing.assert_allclose(scale.force_mean, 0.1 * scale.strength, rtol=1e-6)
    np.testing.assert_array_equal(spread.force, source_units(prepared, fold().source, fold().held_out)[0].force)
    task = problem(prepared, (1.0, 0.0, 0.1, 0.0)).replace(scale=scale)
    other = task.replace(samples=task.samples._replace(force=task.samples.force[::-1] + 50.0))
    a, b = (trained(prepared, t)[0] for t in (task, other))
    for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_array_equal(x, y)
