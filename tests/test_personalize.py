"""What is frozen stays bit-identical, what trains is moved by data and by physics, and nobody moves anybody else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pitl import search
from pitl.comparison import methods
from pitl.config.toml import Config
from pitl.config.schema import DataConfig
from pitl.config.schema import EvaluateConfig
from pitl.config.schema import PersonalizeConfig
from pitl.config.schema import TrainConfig
from pitl.config.schema import VirtualConfig
from pitl.errors import PitlError
from pitl.learn import generic as training
from pitl.learn import loss, personal
from pitl.learn.personal import Settings
from pitl.learn.prepare import prepare
from pitl.comparison.folds import make_folds
from pitl.data.load import load_cohort
from pitl.learn.train import source_units
from pitl.net import network
from pitl.signals import windows
from pitl.learn import split
from pitl.comparison import folds

CONFIG = Config(
    name="small",
    data=DataConfig(kind="virtual"),
    virtual=VirtualConfig(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1),
    train=TrainConfig(steps=20, check_every=10, batch=64),
    personalize=PersonalizeConfig(steps=20),
    evaluate=EvaluateConfig(folds=3),
)


@pytest.fixture(scope="module")
def prepared():
    return prepare(CONFIG, load_cohort(CONFIG))


@pytest.fixture(scope="module")
def inherited(prepared):
    people = []
    for s, fold in enumerate(make_folds(CONFIG, 3)):
        spread, scale = source_units(prepared, fold)
        params = network.init(jax.random.key(s), prepared.net, scale)
        people.append(folds.GenericModels(params, params, spread, scale))
    return jax.tree.map(lambda *x: jnp.stack(x), *people)


@pytest.fixture(scope="module")
def split(prepared):
    return split.split_rows(CONFIG, prepared)


def fit(prepared, inherited, split, settings, config=CONFIG.personalize):
    fixed = personal.Fixed(prepared.samples, inherited.spread, inherited.scale)
    return personal.fit(
        inherited.data, prepared.net, fixed, prepared.models, split.people, settings, config, prepared.taps
    )


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("residual", ["weak", "strong"])
def test_frozen_encoder_is_bit_identical_and_the_head_is_not(prepared, inherited, split, residual):
    config = CONFIG.personalize.model_copy(update={"residual": residual})
    fitted = fit(prepared, inherited, split, Settings(("head", "correction"), "angle", True), config)
    assert same(fitted.params["encoder"], inherited.data["encoder"])
    for a, b in zip(jax.tree.leaves(fitted.params["head"]), jax.tree.leaves(inherited.data["head"]), strict=True):
        assert not np.array_equal(a, b)
    assert float(jnp.abs(fitted.correction.gravity).max()) > 0
    assert np.isfinite(fitted.history).all()


def test_an_untrained_correction_stays_the_identity(prepared, inherited, split):
    fitted = fit(prepared, inherited, split, Settings(("head",), "angle_force", True))
    assert all(not np.any(x) for x in jax.tree.leaves(fitted.correction))


def test_everything_moves_when_everything_trains(prepared, inherited, split):
    fitted = fit(prepared, inherited, split, Settings(("encoder", "head"), "angle_force", False))
    for a, b in zip(jax.tree.leaves(fitted.params), jax.tree.leaves(inherited.data), strict=True):
        assert not np.array_equal(a, b)


def test_many_people_at_once_equal_one_after_the_other(prepared, inherited, split):
    settings = Settings(("head", "correction"), "angle", True)
    together = fit(prepared, inherited, split, settings)
    for s in range(3):
        one = lambda tree, s=s: jax.tree.map(lambda x: x[s : s + 1], tree)  # noqa: E731
        fixed = personal.Fixed(prepared.samples, one(inherited.spread), one(inherited.scale))
        alone = personal.fit(
            one(inherited.data),
            prepared.net,
            fixed,
            one(prepared.models),
            one(split.people),
            settings,
            CONFIG.personalize,
            prepared.taps,
        )
        for a, b in zip(jax.tree.leaves(one(together.params)), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_personalising_lowers_the_loss_it_minimises(prepared, inherited, split):
    config = CONFIG.personalize.model_copy(update={"steps": 100})
    fitted = fit(prepared, inherited, split, Settings(("head", "correction"), "angle_force", True), config)
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
def test_physics_reaches_encoder_angle_and_force_outputs_separately(prepared, inherited, form):
    spread, scale = jax.tree.map(lambda x: x[0], (inherited.spread, inherited.scale))
    params = jax.tree.map(lambda x: x[0], inherited.data)
    problem = loss.Problem(prepared.samples, prepared.models, spread, scale, loss.LossTerms(*jnp.ones(3)))
    rows = windows.rows_of(prepared.table, "all", subjects=(0,), window=prepared.net.window)
    segment = 1 if form == "strong" else len(prepared.taps.average)
    ends = jnp.asarray(rows[:40, None] + np.arange(segment), jnp.int32)

    def physics(p):
        return loss.terms(p, prepared.net, problem, ends, form=form, taps=prepared.taps).physics

    grads = jax.grad(physics)(params)
    for part in (grads["encoder"], grads["head"]["angle"], grads["head"]["force"], grads["head"]["hidden"]):
        for leaf in jax.tree.leaves(part):
            assert float(jnp.abs(leaf).max()) > 0


def test_training_is_the_same_for_the_same_key_and_stops_on_people_it_has_not_seen(prepared):
    fold = make_folds(CONFIG, 3)[0]
    spread, scale = source_units(prepared, fold)
    problem = loss.Problem(
        prepared.samples, prepared.models, spread, scale, loss.LossTerms(*(jnp.float32(w) for w in (1, 1, 0.1)))
    )
    rows = [
        windows.rows_of(prepared.table, "all", subjects=side, window=prepared.net.window)[:, None]
        for side in (fold.source, fold.held_out)
    ]
    a, b = (training.fit(jax.random.key(3), prepared.net, problem, *rows, CONFIG.train) for _ in range(2))
    assert same(a.params, b.params)
    assert a.history.shape == (2, 6) and np.isfinite(a.history).all()
    diverging = CONFIG.train.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(PitlError, match="diverged"):
        training.fit(jax.random.key(3), prepared.net, problem, *rows, diverging)
    other = training.fit(jax.random.key(4), prepared.net, problem, *rows, CONFIG.train)
    assert not same(a.params, other.params)


def test_jets_agree_with_finite_differences_along_a_recording_and_the_time_input_recipe_does_not(prepared, inherited):
    import dataclasses

    params, scale = jax.tree.map(lambda x: x[0], (inherited.data, inherited.scale))
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


def test_knobs_and_blocks_change_nothing_but_what_they_say(prepared, inherited, split):
    settings = Settings(("head", "correction"), "angle", True)
    fixed = personal.Fixed(prepared.samples, inherited.spread, inherited.scale)
    config = CONFIG.personalize
    knobs = search.grid((config.learning_rate, 1e-3), (0.0, 0.3))

    def run(config, **options):
        return personal.fit(
            inherited.data,
            prepared.net,
            fixed,
            prepared.models,
            split.people,
            settings,
            config,
            prepared.taps,
            **options,
        )

    together, in_blocks = run(config, knobs=knobs), run(config, knobs=knobs, at_once=8)
    assert together.history.shape[1] == in_blocks.history.shape[1] == 12
    for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(in_blocks.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    for k in range(4):
        rate, weight = float(knobs.learning_rate[k]), float(knobs.physics_weight[k])
        alone = run(config.model_copy(update={"learning_rate": rate, "physics_weight": weight}))
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[k::4], b, rtol=2e-3, atol=2e-4)


def test_a_search_prefers_the_setting_that_learns(prepared, inherited, split):
    people = split.people
    late = jnp.arange(people.rows.shape[1]) >= 2 * people.rows.shape[1] // 3
    judged = jnp.where(late[None], people.labelled, 0.0)
    seen = people._replace(labelled=people.labelled - judged)
    fixed = personal.Fixed(prepared.samples, inherited.spread, inherited.scale)
    knobs = search.grid((1e-7, 1e-2), (0.1,))
    settings = Settings(("head",), "angle_force", True)
    args = (inherited.data, prepared.net, fixed, prepared.models, seen, judged, settings)
    config = CONFIG.personalize.model_copy(update={"steps": 100})
    result = search.search(*args, config, prepared.taps, knobs)
    assert result.best == 1 and result.error.shape == (3, 2)
    assert np.all(result.error[:, 1] < result.error[:, 0])
