"""Gains of muscles: the posterior is the one of the linear model, efforts tell muscles apart, and it says so."""

import jax
import jax.numpy as jnp
import method_cohort
import numpy as np
import pytest
from numpy.testing import assert_allclose

import pitl
from pitl.comparison import heads
from pitl.comparison.folds import GenericModels, make_folds
from pitl.comparison.run import grades
from pitl.comparison.task import Task
from pitl.config.methods import GRADES
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.load import load_cohort
from pitl.learn import gains, train
from pitl.learn.gains import GainPrior, TorqueRows
from pitl.learn.model import stack
from pitl.learn.prepare import prepare
from pitl.learn.split import split_rows
from pitl.mechanics import geometry, library
from pitl.net import network

ARM = np.asarray(geometry.moment_arm(library.load("wrist2"), jnp.zeros((1, 2)), 0)[0])  # m
MUSCLES, TERMS = len(ARM), len(gains.TERMS)
PRIOR = gains.population_prior(MUSCLES)


def made(directions, truth, seed=0, seconds=20.0):
    """Rows of isometric efforts: muscles that pull along each direction, and the torque of their true forces."""
    rng = np.random.default_rng(seed)
    basis, torque = [], []
    for towards in directions:
        pull = np.maximum(ARM @ np.array(towards), 0) / np.abs(ARM @ np.array(towards)).max()
        active = 200 * pull * rng.uniform(0.1, 1, (200, 1)) * np.exp(0.05 * rng.standard_normal((200, MUSCLES)))  # N
        phi = np.zeros((200, MUSCLES, TERMS))
        phi[..., 0] = active
        basis.append(phi)
        torque.append((active * truth) @ ARM + 0.02 * rng.standard_normal((200, 2)))
    count = 200 * len(directions)
    f = np.float32
    arrays = (np.concatenate(basis), np.tile(ARM, (count, 1, 1)), np.concatenate(torque))
    still = np.zeros((count, 2))
    trial = np.repeat(np.eye(len(directions)), 200, axis=0)
    weight = np.full(count, seconds / 200)
    return TorqueRows(*(jnp.asarray(x, f) for x in (*arrays, still, still, trial, weight)))


AROUND = [(np.cos(a), np.sin(a)) for a in np.arange(0, 2 * np.pi, np.pi / 4)]
TRUTH = np.array([1.3, 0.8, 1.0, 1.2, 0.7, 1.1])


def test_efforts_around_the_wrist_find_the_gains_and_one_direction_does_not():
    found = gains.posterior(made(AROUND, TRUTH), PRIOR)
    error = np.abs(np.asarray(found.mean[:, 0]) - TRUTH)
    known = np.sqrt(np.diag(found.covariance)[::TERMS])
    assert np.all(error < 3 * known)
    along = gains.posterior(made(AROUND[:1], TRUTH), PRIOR)
    before = np.abs(1 - TRUTH)
    assert np.mean(error) < 0.6 * np.mean(before) < np.mean(before)
    names = library.load("wrist2").muscles
    told = gains.verdicts(found, PRIOR, names)
    one = gains.verdicts(along, PRIOR, names)
    assert sum(v.by_data for v in told.values()) > sum(v.by_data for v in one.values())
    # extensors do nothing in flexion: what is known of them is what was known before
    assert not one["ECRB"].by_data and one["ECRB"].deviation > 0.9 * one["ECRB"].before


def test_the_posterior_is_the_linear_models_own():
    """The same by a dense Kalman-like update of all unknowns, row by row, in double precision."""
    rows = made(AROUND[:2], TRUTH, seconds=2.0)
    few = jax.tree.map(lambda x: x[::40], rows)
    found = gains.posterior(few, PRIOR)
    count, trials = MUSCLES * TERMS, few.trial.shape[1]
    covariance = np.zeros((count + 4 * MUSCLES + 14 + 2 * trials,) * 2)
    covariance[:count, :count] = PRIOR.covariance
    mean = np.zeros(len(covariance))
    mean[:count] = np.asarray(PRIOR.mean).ravel()
    covariance[count:, count:] = np.eye(len(covariance) - count)
    noise = gains.NOISE
    for t in range(len(few.torque)):
        phi, arm = np.asarray(few.basis[t], float), np.asarray(few.arm[t], float)
        for d in range(2):
            h = np.zeros(len(mean))
            h[:count] = (arm[:, d, None] * phi).ravel()
            lever = arm[:, d] * (phi * np.asarray(PRIOR.mean)).sum(axis=1)
            at = count + d * 2 * MUSCLES
            h[at : at + MUSCLES] = gains._ARM_ERROR * lever  # no angle, so no tilt
            h[count + 4 * MUSCLES + 14 + d * trials :][:trials] = gains._OFFSET_NM * np.asarray(few.trial[t])
            variance = (noise.floor[1] ** 2 + noise.share[1] ** 2 * (lever**2).sum()) / (
                float(few.weight[t]) * noise.independent[1]
            )
            gain = covariance @ h / (h @ covariance @ h + variance)
            mean = mean + gain * (float(few.torque[t, d]) - h @ mean)
            covariance = covariance - np.outer(gain, h @ covariance)
    assert_allclose(found.mean.ravel(), mean[:count], atol=3e-3)
    assert_allclose(np.sqrt(np.diag(found.covariance)), np.sqrt(np.diag(covariance)[:count]), atol=3e-3)


def test_factors_bring_the_network_to_the_muscles_as_far_as_they_are_known():
    rows = made(AROUND, TRUTH)
    told = gains.posterior(rows, PRIOR)
    network = 0.8 * jnp.sum(rows.basis * PRIOR.mean[None], axis=-1)  # N
    brought = gains.bring_network(told, rows.basis, network)
    exact = gains.bring_network(told._replace(covariance=0 * told.covariance), rows.basis, network)
    seen, factor = np.asarray(told.mean[:, 0]) / 0.8, np.asarray(brought.factor)
    assert np.all(np.abs(factor - 1) < np.abs(np.asarray(exact.factor) - 1) + 1e-6)
    assert np.all((factor - 1) * (seen - 1) > 0) and np.all(np.abs(factor - 1) < np.abs(seen - 1))
    assert np.all(brought.factor_deviation > exact.factor_deviation)
    nothing = gains.bring_network(told._replace(covariance=1e6 * PRIOR.covariance), rows.basis, network)
    assert_allclose(nothing.factor, np.ones(MUSCLES), atol=1e-3)
    assert_allclose(nothing.factor_deviation, np.full(MUSCLES, np.hypot(0.20, 0.25)), rtol=1e-3)
    half = gains.relative_half(brought)
    assert_allclose(half, 1.645 * np.hypot(brought.factor_deviation / factor, brought.unexplained), rtol=1e-5)


def test_rows_of_no_weight_say_nothing():
    rows = made(AROUND, TRUTH)._replace(weight=jnp.zeros(200 * len(AROUND)))
    found = gains.posterior(rows, PRIOR)
    assert_allclose(found.mean, PRIOR.mean, atol=1e-3)
    assert_allclose(np.sqrt(np.diag(found.covariance)), np.sqrt(np.diag(PRIOR.covariance)), rtol=1e-2)


def test_the_next_effort_points_where_the_widest_interval_is():
    found = gains.posterior(made(AROUND[:1], TRUTH), PRIOR)
    strength = 0.5 * library.load("wrist2").max_isometric_force
    widest, towards = gains.next_effort(found, jnp.asarray(ARM), strength)
    assert float(ARM[widest] @ np.asarray(towards)) > 0  # an effort with which this muscle helps
    before = float(found.covariance[widest * TERMS, widest * TERMS])
    more = gains.posterior(made([AROUND[0], tuple(np.asarray(towards))], TRUTH), PRIOR)
    assert float(more.covariance[widest * TERMS, widest * TERMS]) < 0.8 * before


def test_source_people_teach_mean_and_spread():
    rng = np.random.default_rng(1)
    true = np.exp(0.3 * rng.standard_normal((40, MUSCLES)))
    phi = rng.uniform(5, 100, (40, 300, MUSCLES, TERMS))
    phi[..., 1:] *= 1e-3
    force = phi[..., 0] * true[:, None]
    prior = gains.learn_prior(*(jnp.asarray(x, jnp.float32) for x in (phi, force, np.ones((40, 300)))))
    assert isinstance(prior, GainPrior)
    assert_allclose(prior.mean[:, 0], true.mean(axis=0), rtol=0.03)
    assert_allclose(np.sqrt(np.diag(prior.covariance)[::TERMS]), true.std(axis=0), rtol=0.12)


@pytest.mark.slow
def test_a_person_who_makes_efforts_gets_gains_with_intervals(tmp_path):
    people = pitl.simulate(
        subjects=3, joint="wrist2", seconds=6.0, rhythmic_trials=1, effort_trials=5, postures=("pronated",)
    )
    settings = change(Config(), train={"steps": 20, "check_every": 10}, personalize={"steps": 5})
    generic = pitl.train(people.without("V03"), settings)
    assert generic.gain_prior is not None and generic.gains is None
    anna = pitl.personalize(generic, people["V03"])
    answer = pitl.predict(anna, people["V03"][0])
    assert answer.force_half is not None and answer.force_half.shape == answer.force.shape
    assert np.all(answer.force >= 0) and np.all(answer.force_half > 0)
    known = anna.history["gains"]
    assert set(known) == set(anna.limb.muscles) and any(v["by_data"] for v in known.values())
    assert anna.history["next_effort"]["muscle"] in anna.limb.muscles
    anna.save(tmp_path / "anna")
    again = pitl.predict(pitl.Model.load(tmp_path / "anna"), people["V03"][0])
    assert_allclose(again.force, answer.force, rtol=1e-5)


@pytest.mark.slow
def test_measured_torque_is_a_grade_of_supervision_of_the_comparison():
    settings = change(
        method_cohort.CONFIG,
        virtual={"subjects": 3, "joint": "wrist2", "seconds": 6.0, "rhythmic_trials": 1, "random_trials": 1,
                 "effort_trials": 5},
    )  # fmt: skip
    prepared = prepare(settings, load_cohort(settings))
    wanted = change(settings, evaluate={"supervision": GRADES})
    assert grades(wanted, prepared, "head_physics") == list(GRADES)
    folds = make_folds(settings.evaluate, settings.train, 3)
    fold = folds[0]
    start = train.kept_model(
        prepared,
        network.init(jax.random.key(0), prepared.net, train.source_units(prepared, fold.source, fold.held_out)[1]),
        jax.tree.map(lambda x: x[0], prepared.limbs),
        train.source_units(prepared, fold.source, fold.held_out),
        {},
    )
    everybody = stack([start] * 3).replace(limb=prepared.limbs)
    task = Task("angle_torque", jax.random.key(0), settings, prepared, split_rows(prepared),
                GenericModels(everybody, everybody), folds)  # fmt: skip
    told, plain = heads.head_physics(task), heads.head_physics(task.but(supervision="angle"))
    for a, b, factor in zip(told.estimates, plain.estimates, told.fitted.model.gains.factor, strict=True):
        assert_allclose(a.angle, b.angle, rtol=1e-5, atol=1e-6)
        assert_allclose(a.force, b.force * np.asarray(factor), rtol=1e-3, atol=1e-3)
        assert np.abs(np.asarray(factor) - 1).max() > 0.05
    assert "angle_torque" not in grades(wanted, method_cohort.ready(True)[0], "head_physics")
