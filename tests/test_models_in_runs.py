"""Imported models in a run: any number of joints, everybody's own model, and what does not fit."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain

from pitl.comparison import folds
from pitl.config import toml
from pitl.config.schema import VirtualConfig
from pitl.data import load
from pitl.data.virtual import imported
from pitl.errors import PitlError
from pitl.learn import limbs, prepare, train
from pitl.mechanics import geometry, library
from pitl.mechanics.planar import builtin
from pitl.mechanics.scaling import conform, scale_to_body

SHORT = ["virtual.subjects=3", "virtual.seconds=6.0", "virtual.random_trials=1", "virtual.rhythmic_trials=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "chain"
    library.save(path, strong_chain(), {})
    return path


def strong_chain():
    return chain(2).replace(max_isometric_force=jnp.full(7, 3000.0), angle_offset=jnp.zeros(2))


def configuration(folder, *changes):
    return loaded(folder.parent, f"model.name={folder}", *changes)


def loaded(folder, *changes):
    path = folder / "short.toml"
    path.write_text("")
    return toml.load(path, [*SHORT, *changes])


def test_a_virtual_cohort_of_any_model_obeys_the_law_of_motion(folder):
    cohort = imported.simulate(library.load(folder), str(folder), VirtualConfig(subjects=2, seconds=5.0))
    again = imported.simulate(library.load(folder), str(folder), VirtualConfig(subjects=2, seconds=5.0))
    for subject, same in zip(cohort.subjects, again.subjects, strict=True):
        for r, other in zip(subject.recordings, same.recordings, strict=True):
            np.testing.assert_array_equal(r.emg, other.emg)
            assert r.angle is not None and r.angle.shape[1] == 2 and r.force is not None and r.torque is not None
            assert np.all(r.force >= 0) and np.ptp(r.torque, axis=0).min() > 0.1
            level = np.abs(r.emg).mean(axis=0) / (subject.mvc if subject.mvc is not None else 1)
            assert np.corrcoef(level, (r.force / 3000.0).mean(axis=0))[0, 1] > 0.5  # who works more shows more EMG


def test_a_cohort_with_two_joints_is_prepared_with_everybody_s_own_scaled_model(folder):
    settings = configuration(folder, "model.damping=[0.3,0.4]")
    prepared = prepare.prepare(settings, load.load_cohort(settings))
    assert prepared.samples.angle.shape[1] == 2 and prepared.limbs.damping.shape == (3, 2)
    np.testing.assert_allclose(np.asarray(prepared.limbs.damping).mean(), 0.35, rtol=0.3)
    assert len(np.unique(np.asarray(prepared.limbs.body_mass))) == 3


def test_settings_that_do_not_fit_the_model_are_refused(folder):
    settings = configuration(folder, "model.damping=[0.3]")
    with pytest.raises(PitlError, match=r"model.damping has 1 value\(s\); the model chain has 2"):
        load.load_cohort(settings)
    settings = configuration(folder)
    cohort = load.load_cohort(settings)
    with pytest.raises(PitlError, match="angles are of joint0, joint1; the model wrist has wrist_flexion"):
        limbs.choose_limb(loaded(folder.parent, "model.name=wrist").model, cohort)


def test_a_person_s_own_model_is_put_on_the_common_grid():
    common = strong_chain()
    tall = scale_to_body(common, height_m=1.9)
    group = common.paths[0]
    # the same person's model, sampled on another grid
    fine = chain_on_grid(tall, 29)
    assert fine.paths != common.paths
    own = conform(fine, common, "S1")
    assert own.paths == common.paths and own.paths[0] == group
    q = jnp.asarray(np.random.default_rng(0).uniform(-0.9, 0.9, (20, 2)), jnp.float32)
    for of in (geometry.musculotendon_length, geometry.moment_arm):
        np.testing.assert_allclose(of(own, q, 0), of(tall, q, 0), atol=2e-5)
    with pytest.raises(PitlError, match="the model of S1 has the dofs wrist_flexion; the others have joint0, joint1"):
        conform(builtin("wrist"), common, "S1")


def chain_on_grid(model, size):
    from pitl.mechanics import splines

    group = model.paths[0]
    span = [(c - 1) * h for c, h in zip(group.count, group.step, strict=True)]
    other = group._replace(count=(size, size), step=tuple(s / (size - 1) for s in span))
    length = np.asarray(geometry.musculotendon_length(model, jnp.asarray(splines.nodes(other), jnp.float32), 0), float)
    above = length - np.asarray(model.path_reference[0], float)
    table = splines.interpolate(above.reshape(size, size, -1)).reshape(1, -1, above.shape[1])
    one = jnp.ones_like(model.path_scale)
    return replace(model, paths=(other,), path_coefficients=(jnp.asarray(table, jnp.float32),), path_scale=one)


@pytest.mark.parametrize("sex", ["female", "male"])
def test_a_woman_and_a_man_of_the_same_size_differ_as_the_regression_says(sex):
    knee = builtin("knee")  # of a man
    scaled = scale_to_body(knee, 1.70, 75.0, sex)
    ratio = np.asarray(scaled.pseudo_inertia[0, 0, 3, 3] / knee.pseudo_inertia[0, 0, 3, 3])
    np.testing.assert_allclose(ratio, (0.0481 + 0.0129) / (0.0433 + 0.0137) if sex == "female" else 1.0, rtol=1e-5)
    with pytest.raises(PitlError, match="knows female and male"):
        scale_to_body(knee, 1.7, 70.0, "other")


@pytest.mark.slow
def test_two_joints_go_through_a_whole_run(folder, tmp_path):
    import json

    from rich.console import Console

    from pitl.comparison import run

    few = ["train.steps=40", "train.check_every=20", "personalize.steps=20", "hill.steps=20", "evaluate.folds=3"]
    settings = configuration(folder, *few, "evaluate.supervision=angle")
    run.run(settings, tmp_path / "out", Console(quiet=True))
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())["rows"]
    assert {r["method"] for r in rows} == set(settings.evaluate.methods)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The musculoskeletal model" in page and "data:image/png" in page
    told = json.loads((tmp_path / "out" / "hill-angle.json").read_text())
    assert set(told) == {"V01", "V02", "V03"} and "strength muscle0" in told["V01"]


@pytest.mark.thorough
def test_without_force_labels_the_hill_term_teaches_forces_and_its_muscles(folder):
    import jax

    from pitl.learn import emg_driven, loss
    from pitl.learn import generic as training
    from pitl.net import network
    from pitl.signals import windows

    settings = configuration(folder, "data.force_labels=none", "train.hill_weight=1.0", "train.steps=150")
    settings = settings.model_copy(
        update={"train": settings.train.model_copy(update={"check_every": 50, "batch": 128})}
    )
    prepared = prepare.prepare(settings, load.load_cohort(settings))
    assert prepared.force_source == "none"
    fold = folds.Fold((0, 1), (2,), ())
    spread, scale = train.source_units(prepared, fold.source, fold.held_out)
    weights = loss.LossTerms(*(jnp.float32(w) for w in (1.0, 0.0, 0.1, settings.train.hill_weight)))
    electrodes = emg_driven.electrodes(prepared)
    problem = loss.Problem(prepared.samples, prepared.limbs, spread, scale, weights, prepared.taps, electrodes)
    rows = [
        windows.rows_of(prepared.table, "all", subjects=side, window=prepared.net.window)[:, None]
        for side in (fold.source, fold.held_out)
    ]
    trained = training.fit(jax.random.key(0), prepared.net, problem, *rows, settings.train)
    at = jnp.asarray(rows[0][::5], jnp.int32)
    fresh = network.init(jax.random.key(0), prepared.net, scale)
    fresh["muscles"] = jax.tree.map(jnp.zeros_like, trained.muscles)
    learned = {**trained.params, "muscles": trained.muscles}
    before, after = (float(loss.terms(p, prepared.net, problem, at).hill) for p in (fresh, learned))
    assert after < 0.2 * before  # the network's forces and those of the source people's muscles have met
    assert trained.muscles is not None
    moved = [float(jnp.abs(x[:2]).max()) for x in jax.tree.leaves(trained.muscles)]
    assert sum(m > 1e-3 for m in moved) >= 6  # the source people's muscles were learned
    assert all(float(jnp.abs(x[2]).max()) < 1e-6 for x in jax.tree.leaves(trained.muscles))  # nobody else's
    assert set(trained.params) == {"encoder", "head"}
