"""What is frozen stays bit-identical, what trains is moved by data and by physics, and nobody moves anybody else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from method_cohort import CONFIG, ready

from pitl.config.toml import change
from pitl.errors import PitlError
from pitl.learn import generic as training
from pitl.learn import loss, personal
from pitl.learn.personal import Settings
from pitl.learn.train import source_units
from pitl.net import network
from pitl.signals import windows

PERSONAL = change(CONFIG.personalize, batch=512)


@pytest.fixture(scope="module")
def prepared():
    return ready(True)[0]


@pytest.fixture(scope="module")
def generic():
    return ready(True)[2].data


@pytest.fixture(scope="module")
def split():
    return ready(True)[1]


@pytest.fixture(scope="module")
def folds():
    return ready(True)[3]


def fit(prepared, generic, split, settings, config=PERSONAL, **options):
    return personal.fit(generic, prepared.samples, split.people, settings, config, **options)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("residual", ["weak", "strong"])
def test_frozen_encoder_is_bit_identical_and_the_head_is_not(prepared, generic, split, residual):
    config = change(PERSONAL, residual=residual)
    fitted = fit(prepared, generic, split, Settings(("head", "correction"), "angle", True), config)
    assert same(fitted.model.params["encoder"], generic.params["encoder"])
    for a, b in zip(jax.tree.leaves(fitted.model.params["head"]), jax.tree.leaves(generic.params["head"]), strict=True):
        assert not np.array_equal(a, b)
    assert float(jnp.abs(fitted.correction.gravity).max()) > 0
    assert np.isfinite(fitted.history).all()


def test_an_untrained_correction_stays_the_identity(prepared, generic, split):
    fitted = fit(prepared, generic, split, Settings(("head",), "angle_force", True))
    assert all(not np.any(x) for x in jax.tree.leaves(fitted.correction))


def test_everything_moves_when_everything_trains(prepared, generic, split):
    fitted = fit(prepared, generic, split, Settings(("encoder", "head"), "angle_force", False))
    for a, b in zip(jax.tree.leaves(fitted.model.params), jax.tree.leaves(generic.params), strict=True):
        assert not np.array_equal(a, b)


def test_many_people_at_once_equal_one_after_the_other(prepared, generic, split):
    settings = Settings(("head", "correction"), "angle", True)
    together = fit(prepared, generic, split, settings)
    for s in range(3):
        one = lambda tree, s=s: jax.tree.map(lambda x: x[s : s + 1], tree)  # noqa: E731
        alone = personal.fit(one(generic), prepared.samples, one(split.people), settings, PERSONAL)
        for a, b in zip(jax.tree.leaves(one(together.model.params)), jax.tree.leaves(alone.model.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_personalising_lowers_the_loss_it_minimises(prepared, generic, split):
    config = change(PERSONAL, steps=100)
    fitted = fit(prepared, generic, split, Settings(("head", "correction"), "angle_force", True), config)
    assert np.all(fitted.history[-1] < fitted.history[0])


def test_masked_would_leak_where_the_partition_freezes():
    params = {"encoder": jnp.ones(3), "head": jnp.ones(3)}
    grads = jax.tree.map(jnp.ones_like, params)
    labels = {"encoder": "frozen", "head": "train"}
    partition = optax.multi_transform({"train": optax.adam(0.1), "frozen": optax.set_to_zero()}, labels)
    masked = optax.masked(optax.adam(0.1), {"encoder": False, "head": True})
    with jax.numpy_dtype_promotion("standard"):  # inside optax
        frozen, _ = partition.update(grads, partition.init(params), params)
        leaked, _ = masked.update(grads, masked.init(params), params)
    assert not np.any(frozen["encoder"]) and np.any(leaked["encoder"])


@pytest.mark.parametrize("form", ["strong", "weak"])
def test_physics_reaches_encoder_angle_and_force_outputs_separately(prepared, generic, form):
    spread, scale = jax.tree.map(lambda x: x[0], (generic.spread, generic.scale))
    params = jax.tree.map(lambda x: x[0], generic.params)
    problem = loss.Problem(prepared.samples, prepared.limbs, spread, scale, loss.LossTerms(*jnp.ones(3)), prepared.taps)
    rows = windows.rows_of(prepared.table, "all", subjects=(0,), window=prepared.net.window)
    segment = 1 if form == "strong" else len(prepared.taps.average)
    ends = jnp.asarray(rows[:40, None] + np.arange(segment), jnp.int32)

    def physics(p):
        return loss.terms(p, prepared.net, problem, ends, form=form).physics

    grads = jax.jit(jax.grad(physics))(params)
    for part in (grads["encoder"], grads["head"]["angle"], grads["head"]["force"], grads["head"]["hidden"]):
        for leaf in jax.tree.leaves(part):
            assert float(jnp.abs(leaf).max()) > 0


def test_training_is_the_same_for_the_same_key_and_stops_on_people_it_has_not_seen(prepared, folds):
    fold = folds[0]
    spread, scale = source_units(prepared, fold.source, fold.held_out)
    problem = loss.Problem(
        prepared.samples, prepared.limbs, spread, scale, loss.LossTerms(*(jnp.float32(w) for w in (1, 1, 0.1)))
    )
    rows = [
        windows.rows_of(prepared.table, "all", subjects=side, window=prepared.net.window)[:, None]
        for side in (fold.source, fold.held_out)
    ]
    a, b = (training.fit(jax.random.key(3), prepared.net, problem, *rows, CONFIG.train) for _ in range(2))
    assert same(a.params, b.params)
    assert a.history.shape == (2, 6) and np.isfinite(a.history).all()
    diverging = change(CONFIG.train, learning_rate=1e30)
    with pytest.raises(PitlError, match="diverged"):
        training.fit(jax.random.key(3), prepared.net, problem, *rows, diverging)
    other = training.fit(jax.random.key(4), prepared.net, problem, *rows, CONFIG.train)
    assert not same(a.params, other.params)


def test_jets_agree_with_finite_differences_along_a_recording_and_the_time_input_recipe_does_not(prepared, generic):
    import dataclasses

    params, scale = jax.tree.map(lambda x: x[0], (generic.params, generic.scale))
    rows = windows.rows_of(prepared.table, "test", subjects=(0,), window=prepared.net.window)[50:250]
    ends = jnp.asarray(rows, jnp.int32)

    def angle(recipe, params=params):
        net = dataclasses.replace(prepared.net, derivative=recipe)
        return np.asarray(network.outputs(params, net, prepared.samples, ends, scale, order=3).angle[:, :, 0])

    exact, numeric = angle("total"), angle("finite_difference")
    np.testing.assert_allclose(exact[0], numeric[0], rtol=1e-5, atol=1e-6)
    assert np.std(exact[1] - numeric[1]) < 0.08 * np.std(exact[1])  # central differences at 100 Hz blur what is fast
    assert np.std(exact[2] - numeric[2]) < 0.25 * np.std(exact[2])
    timed = network.init(jax.random.key(0), dataclasses.replace(prepared.net, derivative="time_input"), scale)
    partial = angle("time_input", timed)
    net = dataclasses.replace(prepared.net, derivative="finite_difference")
    true_rate = np.gradient(partial[0]) * net.rate_hz
    assert np.std(partial[1] - true_rate) > 0.5 * np.std(true_rate)


def test_blocks_of_people_change_nothing(prepared, generic, split):
    settings = Settings(("head", "correction"), "angle", True)
    together, in_blocks = (fit(prepared, generic, split, settings, at_once=n) for n in (3, 1))
    for a, b in zip(jax.tree.leaves(together.model), jax.tree.leaves(in_blocks.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_the_seed_reaches_the_mini_batches(prepared, generic, split):
    settings, config = Settings(("head",), "angle", False), change(PERSONAL, batch=64, steps=10)
    a, b, other = (fit(prepared, generic, split, settings, config, key=jax.random.key(k)) for k in (0, 0, 1))
    assert same(a.model.params, b.model.params)
    assert not same(a.model.params["head"], other.model.params["head"])
