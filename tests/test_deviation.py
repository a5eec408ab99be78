"""The personal model of an angle: recalibrated generic model and Gaussian process."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pitl.comparison import deviation as methods
from pitl.comparison.folds import GenericModels, make_folds
from pitl.comparison.task import Task
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.load import load_cohort
from pitl.learn import api, train
from pitl.learn import gaussian_process as gp
from pitl.learn import played as played_
from pitl.learn.model import Model, stack
from pitl.learn.prepare import prepare
from pitl.learn.split import split_rows
from pitl.net import network

RATE, CHANNELS, FEATURES = 25.0, 2, 3


def person(seed, count, gain=1.4, offset=0.2):
    """Rows of somebody whose angle is the generic one recalibrated, a bend in the EMG, and noise; and the angle."""
    rng = np.random.default_rng(seed)
    t = np.arange(count) / RATE
    emg = np.stack([np.sin(t * w + rng.uniform(0, 6)) for w in (2.0, 3.1)], axis=1)
    inputs = np.repeat(emg, gp.LAGS, axis=0).reshape(count, -1)
    generic = 0.5 * emg @ np.array([[1.0], [-0.6]])
    angle = offset + gain * generic + 0.2 * np.tanh(3 * emg[:, :1]) + 0.02 * rng.normal(size=(count, 1))
    features = rng.normal(size=(count, FEATURES)) * 0.1 + emg[:, :1]
    f = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    whole = jnp.zeros(count, jnp.int32)
    rows = gp.Rows(f(generic), f(inputs), f(features), whole, whole, f(t), jnp.ones(count, jnp.float32))
    return rows, f(angle)


def some(rows, at):
    return jax.tree.map(lambda x: x[at], rows)


def units_of(rows, angle):
    return gp.units(np.asarray(angle), [rows])


def naive(hyper, units, seen, angle, later):
    """Mean and variance as textbooks have them, in double precision and entry by entry."""
    e = {k: float(np.exp(2 * v)) for k, v in hyper._asdict().items() if k.endswith("_sd")}
    value = lambda rows, k: {  # noqa: E731
        "g": (np.float64(rows.generic[k, 0]) - float(units.mean[0])) / float(units.spread[0]),
        "x": np.asarray(rows.inputs[k], float) / np.asarray(units.inputs, float),
        "z": np.asarray(rows.features[k], float) / float(units.features),
        "p": int(rows.posture[k]),
        "r": int(rows.trial[k]),
        "t": float(rows.time[k]),
    }

    def k(a, b):
        same = float(a["p"] == b["p"])
        between = 1 / (1 + np.exp(-hyper.between))
        counts = np.exp(hyper.recent * np.linspace(-1, 1, gp.LAGS)[:, None] + np.asarray(hyper.channels, float)[None])
        far = np.mean((counts.ravel() * (a["x"] - b["x"])) ** 2) / np.exp(2 * hyper.length)
        near = np.exp(-0.5 * (far + (a["g"] - b["g"]) ** 2 / np.exp(2 * hyper.generic_length)))
        return (
            e["offset_sd"]
            + e["posture_sd"] * same
            + e["gain_sd"] * a["g"] * b["g"]
            + e["smooth_sd"] * near * (1.0 if same else between)
            + e["linear_sd"] * np.mean(a["z"] * b["z"])
        )

    a, b = ([value(rows, i) for i in range(len(rows.used))] for rows in (seen, later))
    noise = np.array(
        [
            [e["noise_sd"] * np.exp(-abs(x["t"] - y["t"]) / np.exp(hyper.noise_s)) * (x["r"] == y["r"]) for y in a]
            for x in a
        ]
    )
    noise += (e["white_sd"] + 1e-4) * np.eye(len(a))
    inverse = np.linalg.inv(np.array([[k(x, y) for y in a] for x in a]) + noise)
    across = np.array([[k(x, y) for y in a] for x in b])
    prior = lambda rows: np.array([hyper.offset + hyper.gain * x["g"] for x in rows])  # noqa: E731
    left = (np.asarray(angle[:, 0], float) - float(units.mean[0])) / float(units.spread[0]) - prior(a)
    mean = prior(b) + across @ inverse @ left
    own = np.array([k(x, x) for x in b]) - np.sum(across @ inverse * across, axis=1)
    variance = own + e["noise_sd"] + e["white_sd"] + 1e-4
    scale = float(units.spread[0])
    return float(units.mean[0]) + scale * mean, scale * np.sqrt(variance)


def test_closed_form_equals_a_naive_implementation_also_with_padding_postures_and_recordings():
    rows, angle = person(0, 90)
    rows = rows._replace(posture=rows.posture.at[40:].set(1), trial=rows.trial.at[20:60].set(1))
    channels = jnp.linspace(-0.4, 0.5, rows.inputs.shape[1] // gp.LAGS)
    units, hyper = units_of(rows, angle), gp.Hyper(offset=0.1, gain=0.8, channels=channels, recent=0.3)
    seen, later = some(rows, slice(0, 70, 2)), some(rows, slice(1, 90, 7))
    padded, padded_angle = gp.pad(seen, angle[0:70:2], 50)
    value, deviation = gp.predict(gp.fit((hyper,), units, padded, padded_angle), later)
    expected = naive(hyper, units, seen, angle[0:70:2], later)
    np.testing.assert_allclose(value[:, 0], expected[0], atol=2e-3)
    np.testing.assert_allclose(deviation[:, 0], expected[1], rtol=2e-2)


def test_two_processes_count_by_how_sure_each_is_of_a_window():
    rows, angle = person(0, 90)
    units = units_of(rows, angle)
    channels = jnp.zeros(CHANNELS)
    hyper = tuple(gp.Hyper(channels=channels, **gp.absent_parts(w)) for w in gp.PROCESSES)
    seen, later = some(rows, slice(0, 60, 2)), some(rows, slice(1, 90, 7))
    padded, padded_angle = gp.pad(seen, angle[0:60:2], 50)
    value, deviation = gp.predict(gp.fit(hyper, units, padded, padded_angle), later)
    each = [naive(h, units, seen, angle[0:60:2], later) for h in hyper]
    sure = np.array([sd**-8.0 for _, sd in each])
    share = sure / sure.sum(axis=0)
    mean = sum(w * m for w, (m, _) in zip(share, each, strict=True))
    spread = sum(w * (sd**2 + (m - mean) ** 2) for w, (m, sd) in zip(share, each, strict=True))
    np.testing.assert_allclose(value[:, 0], mean, atol=2e-3)
    np.testing.assert_allclose(deviation[:, 0], np.sqrt(spread), rtol=2e-2)


def test_far_from_what_was_shown_the_process_that_knows_the_generic_model_decides():
    rows, angle = person(1, 200)
    units = units_of(rows, angle)
    alone = gp.Hyper(smooth_sd=0.0, **gp.absent_parts(("generic", "linear")))  # which has to explain the whole angle
    hyper = (gp.Hyper(**gp.absent_parts(("linear",))), alone)
    padded, padded_angle = gp.pad(some(rows, slice(0, 100)), angle[:100], 110)
    fitted = gp.fit(hyper, units, padded, padded_angle)
    far = some(rows, slice(150, 200))
    far = far._replace(inputs=far.inputs + 30.0)
    knows, _ = (gp.predict(gp.fit((h,), units, padded, padded_angle), far)[0] for h in hyper)
    np.testing.assert_allclose(gp.predict(fitted, far)[0], knows, atol=0.02)


@pytest.mark.parametrize(("count", "padding"), [(10, 0), (30, 90), (64, 10), (300, 100)])
def test_the_rows_that_weigh_are_spread_evenly_over_those_with_labels(count, padding):
    used = jnp.concatenate([jnp.ones(count), jnp.zeros(padding)])
    at = np.asarray(gp.weighing_rows(used))
    seen = at[np.asarray(used)[at] > 0]
    assert len(set(seen.tolist())) == len(seen) == min(count, gp.WEIGHING_ROWS)
    assert {0, count - 1} <= set(seen.tolist())
    assert np.ptp(np.diff(np.sort(seen))) <= 1


def test_without_data_it_is_the_generic_model_and_its_interval_the_prior():
    rows, angle = person(1, 200)
    units = units_of(rows, angle)
    hyper = gp.Hyper(offset=0.0, gain=1.0)
    nobody = some(rows, slice(0, 10))._replace(used=jnp.zeros(10))
    value, deviation = gp.predict(gp.fit((hyper,), units, nobody, angle[:10]), rows)
    np.testing.assert_allclose(value, rows.generic, atol=1e-5)
    assert (deviation[:, 0] > float(units.spread[0]) * np.exp(hyper.smooth_sd)).all()


def test_with_much_data_it_is_a_regression_that_the_generic_model_no_longer_matters_to():
    rows, angle = person(2, 700)
    units, first, last = units_of(rows, angle), slice(0, 500), slice(500, 700)
    hyper = gp.Hyper()
    for generic in (rows.generic, 0.3 * jnp.cos(rows.time)[:, None]):
        own = rows._replace(generic=generic)
        value, _ = gp.predict(gp.fit((hyper,), units, some(own, first), angle[first]), some(own, last))
        error = jnp.sqrt(jnp.mean((value - angle[last]) ** 2))
        assert error < 0.25 * jnp.std(angle[last])


def test_neighbouring_rows_are_one_observation():
    """Four times as many rows of the same seconds hardly make the model surer; as many seconds more do."""
    rows, angle = person(3, 800)
    units = units_of(rows, angle)
    hyper = gp.Hyper(noise_sd=-0.5, noise_s=0.5, smooth_sd=-12.0, linear_sd=-12.0)
    later = some(rows, slice(790, 800))

    def sure(at):
        return float(gp.predict(gp.fit((hyper,), units, some(rows, at), angle[at]), later)[1].mean())

    few, dense, long = sure(slice(0, 100, 4)), sure(slice(0, 100)), sure(slice(0, 400, 4))
    assert few - dense < 0.2 * (few - long)


def played(seeds, first):
    """People played as new: some rows and the rest."""
    result = []
    for seed in seeds:
        rng = np.random.default_rng(100 + seed)
        rows, angle = person(seed, 260, gain=1 + 0.3 * rng.normal(), offset=0.2 * rng.normal())
        seen, seen_angle = gp.pad(some(rows, slice(0, first)), angle[:first], 100)
        later = some(rows, slice(first + 20, first + 140))
        result.append(gp.Played(seen, seen_angle, later, angle[first + 20 : first + 140]))
    return jax.tree.map(lambda *x: jnp.stack(x), *result)


@pytest.mark.thorough
def test_hyper_parameters_of_source_people_give_others_sharp_intervals_that_hold():
    join = lambda *x: jax.tree.map(lambda *v: jnp.concatenate(v), *x)  # noqa: E731
    source = join(played(range(6), 15), played(range(6), 100))
    every, angle = zip(*(person(s, 260) for s in range(6)), strict=True)
    units = gp.units(np.concatenate(angle), list(every))
    hyper = gp.fit_hyper(units, source)
    new = join(played(range(20, 30), 15), played(range(20, 30), 100))
    assert gp.log_density(hyper, units, new).mean() > gp.log_density(gp.Hyper(), units, new).mean()
    inside, wrong = [], []
    for k in range(20):
        one = jax.tree.map(lambda x, k=k: x[k], new)
        value, deviation = gp.predict(gp.fit((hyper,), units, one.seen, one.seen_angle), one.later)
        inside.append(np.mean(np.abs(value - one.later_angle) < 1.645 * deviation))
        wrong.append(float(jnp.sqrt(jnp.mean((value - one.later_angle) ** 2))))
    assert 0.8 < np.mean(inside) < 0.98
    assert np.mean(wrong[10:]) < np.mean(wrong[:10])


def test_a_part_that_is_left_out_has_no_effect():
    people = played(range(3), 60)
    rows, angle = person(0, 200)
    units = units_of(rows, angle)
    hyper = gp.fit_hyper(units, people, ("generic", "linear"))
    assert hyper.gain == 0.0
    one = jax.tree.map(lambda x: x[0], people)
    other = one._replace(
        seen=one.seen._replace(generic=-one.seen.generic, features=one.seen.features[::-1]),
        later=one.later._replace(generic=0 * one.later.generic),
    )
    a, b = (gp.predict(gp.fit((hyper,), units, p.seen, p.seen_angle), p.later)[0] for p in (one, other))
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def task():
    """Six virtual people with untrained generic models."""
    config = Config.model_validate(
        {
            "name": "small",
            "data": {"kind": "virtual"},
            "virtual": {"subjects": 6, "seconds": 8.0, "rhythmic_trials": 1, "random_trials": 1},
            "train": {"steps": 20, "check_every": 10, "batch": 64},
            "evaluate": {"folds": 2},
        }
    )
    prepared = prepare(config, load_cohort(config))
    folds = make_folds(config.evaluate, config.train, 6)
    models = {}
    for k, fold in enumerate(folds):
        units = train.source_units(prepared, fold.source, fold.held_out)
        for p in fold.target:
            limb = jax.tree.map(lambda x, p=p: x[p], prepared.limbs)
            params = network.init(jax.random.key(k), prepared.net, units[1])
            models[p] = train.kept_model(prepared, params, limb, units, {})
    models = stack([models[p] for p in range(6)])
    return Task(
        "angle", jax.random.key(0), config, prepared, split_rows(prepared), GenericModels(models, models), folds
    )


def spoilt(task, rows):
    """The same work with nonsense for the measured motion and forces of some rows."""
    table, samples = task.prepared.table, task.prepared.samples
    wrong = np.array(table.motion.angle)
    wrong[rows] = 9.0
    motion = table.motion._replace(angle=wrong)
    samples = samples._replace(angle=jnp.asarray(wrong, jnp.float32), force=samples.force.at[rows].set(1e4))
    return task.but(prepared=task.prepared._replace(table=table._replace(motion=motion), samples=samples))


@pytest.mark.parametrize(
    "name",
    ["deviation", "deviation_features", "gain_offset_shrunk", "linear_features", "gp_generic_mean", "gp_zero_mean"],
)
@pytest.mark.thorough
def test_no_truth_of_a_test_part_moves_an_answer(task, name):
    """Of the fold's own people nothing but the calibration enters; of its sources everything may."""
    target = task.folds[0].target
    tests = np.concatenate([task.split.test[p] for p in target])
    works = (work.but(folds=task.folds[:1]) for work in (task, spoilt(task, tests)))
    before, after = (methods.predict_people(w, methods.fit_people(w, methods.WITHOUT[name])) for w in works)
    for p in target:
        np.testing.assert_array_equal(before[p][0], after[p][0])
        assert np.isfinite(before[p][0]).all() and (before[p][1] > 0).all()
    assert callable(getattr(methods, name))


@pytest.mark.thorough
def test_no_label_of_a_target_enters_the_hyper_parameters(task):
    fold = task.folds[0]
    rows = np.concatenate([np.r_[task.split.calibration[p], task.split.test[p]] for p in fold.target])
    (units, a), (others, b) = (methods.play(work, 0) for work in (task, spoilt(task, rows)))
    for x, y in zip(jax.tree.leaves((units, a)), jax.tree.leaves((others, b)), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.thorough
def test_a_personal_model_answers_with_intervals_and_is_read_back(task, tmp_path):
    people = task.prepared.cohort
    generic = api.train_model(people.without("V01"), task.config, personalize={"steps": 10})
    assert generic.angle_prior is not None
    generic.save(tmp_path / "generic")
    own = api.personalize_model(Model.load(tmp_path / "generic"), people["V01"])
    recording = people["V01"].subjects[0].recordings[0]
    answer = api.predict(own, recording)
    assert answer.angle_half is not None and answer.angle_half.shape == answer.angle.shape
    assert (answer.angle_half > 0).all() and np.isfinite(answer.angle).all()
    own.save(tmp_path / "own")
    again = api.predict(Model.load(tmp_path / "own"), recording)
    np.testing.assert_allclose(again.angle, answer.angle, atol=1e-6)
    assert api.train_model(people.without("V01"), task.config, personalize={"deviation": False}).angle_prior is None


@pytest.mark.parametrize(("people", "count"), [(8, 4), (9, 9), (12, 3)])
def test_nobody_is_played_by_a_model_that_knows_them_or_whom_they_stand_for(monkeypatch, unchecked, people, count):
    trained = []

    def train(prepared, others, settings, key):
        trained.append(others)
        return others

    monkeypatch.setattr(played_, "train_quickly", train)
    monkeypatch.setattr(played_, "play_sources", lambda prepared, models: models)
    config, kept = Config(), {}

    def share(name, make):
        if name not in kept:
            kept[name] = make()
        return kept[name]

    folds = make_folds(change(config.evaluate, folds=count), config.train, people)
    task = SimpleNamespace(
        config=config,
        prepared=SimpleNamespace(cohort=SimpleNamespace(subjects=range(people))),
        folds=folds,
        key=jax.random.key(0),
        share=share,
    )
    for k, fold in enumerate(folds):
        models = methods.play(task, k)  # pyright: ignore[reportArgumentType]
        assert sorted(models) == sorted((*fold.source, *fold.held_out))
        for person, knows in models.items():
            assert person not in knows and not set(fold.target) & set(knows) and len(knows) >= people // 3
    assert len(trained) <= (10 if count >= 4 else 9)
