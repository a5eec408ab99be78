"""The muscle part of the modified physics, and a blend of members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import changed, task

from pitl.comparison import blend
from pitl.comparison.methods import run_method
from pitl.comparison.task import MethodResult
from pitl.learn import muscle_part, predict

pytestmark = pytest.mark.deep


def quick(work, **hill):
    return changed(work, hill={"steps": 40, **hill})


def belief_of(work):
    sources = [work.sources(p) for p in range(3)]
    return muscle_part.prior_of_sources(work.prepared, sources, work.config.hill, with_forces=True)


def targets(work, belief=None, fitted=True):
    return muscle_part.target_forces(
        work.prepared,
        work.split,
        work.generic.physics,
        work.supervision,
        work.config.hill,
        belief_of(work) if belief is None else belief,
        lowpass_hz=work.config.data.angle_lowpass_hz,
        fitted=fitted,
    )


@pytest.fixture(scope="module")
def work():
    return quick(task("angle"))


@pytest.mark.thorough
def test_the_equation_of_motion_fits_muscles_that_the_source_people_only_suggest(work):
    fitted, suggested = (targets(work, fitted=b) for b in (True, False))
    assert (fitted.fitted.loss[-1] < fitted.fitted.loss[0]).all()
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), fitted.fitted.z, suggested.fitted.z)
    assert moved.strength > 0.05 and moved.gain > 0.05
    np.testing.assert_array_equal(fitted.weight, suggested.weight)  # the control counts the same rows


def test_forces_to_learn_lie_between_the_muscles_and_the_generic_model(work):
    theirs, mixed, muscles = (targets(quick(work, share=b)).force for b in (0.0, 0.25, 1.0))
    np.testing.assert_allclose(mixed, 0.75 * theirs + 0.25 * muscles, rtol=1e-4, atol=1e-3)
    assert not np.allclose(theirs, muscles, rtol=0.1)
    generic = predict.predict_rows(work.generic.physics, work.prepared.samples, work.split.calibration)
    for s, predicted in enumerate(generic):
        np.testing.assert_allclose(theirs[s, : len(predicted.force)], predicted.force, rtol=1e-5)


def test_nobody_s_own_force_labels_reach_their_forces_to_learn(work):
    samples = work.prepared.samples
    mine = samples.subject == 0
    wrong = samples._replace(force=jnp.where(mine[:, None], 7.0, samples.force))
    other = work.but(prepared=work.prepared._replace(samples=wrong))
    a, b = (targets(w).force for w in (work, other))
    assert np.array_equal(a[0], b[0])
    assert not np.array_equal(a[1], b[1])  # person 0 is a source of person 1


def test_without_labels_the_measured_motion_is_not_read(work):
    motion = work.prepared.table.motion
    wrong = work.prepared._replace(table=work.prepared.table._replace(motion=motion._replace(angle=motion.angle + 1.0)))
    blind = work.but(supervision="none", split=work.split)
    belief = belief_of(blind)  # source people keep their labels
    a, b = (targets(w, belief).force for w in (blind, blind.but(prepared=wrong)))
    assert np.array_equal(a, b)


@pytest.mark.thorough
def test_the_head_follows_the_forces_it_is_drawn_to(work):
    towards = targets(work)
    distance = []
    for muscle in (False, True):
        strong = changed(work, personalize={"muscle": muscle, "muscle_weight": 30.0, "steps": 60})
        result = run_method("head_physics", strong)
        predicted = predict.predict_rows(result.fitted.model, work.prepared.samples, work.split.calibration)
        apart = [np.abs(a.force - np.asarray(towards.force[s])[: len(a.force)]).mean() for s, a in enumerate(predicted)]
        distance.append(np.mean(apart))
    assert distance[1] < 0.7 * distance[0]


def test_weights_of_a_blend_follow_the_end_of_the_calibration_alone(work, monkeypatch):
    good = {"generic_physics": 0.5, "gain_offset": 0.1}

    def member(error):
        def run(task):
            angle = np.asarray(task.prepared.samples.angle)
            return MethodResult(
                tuple(predict.Estimate(angle[r] + error, np.ones((len(r), 5))) for r in task.split.test)
            )

        return run

    monkeypatch.setattr(blend, "MEMBERS", {k: member(e) for k, e in good.items()})
    monkeypatch.setattr(blend, "METHOD", "gain_offset")
    for weight in blend.weights(work):
        assert weight["gain_offset"] == pytest.approx(25 / 26)
    halves = blend.split(work)
    for s, (first, last) in enumerate(zip(halves.rows.calibration, halves.rows.test, strict=True)):
        assert set(first) | set(last) <= set(work.split.calibration[s])
        assert not set(first) & set(last) and not set(last) & set(work.split.test[s])
    predicted = blend.blend(work).estimates[0]
    truth = np.asarray(work.prepared.samples.angle)[work.split.test[0]]
    np.testing.assert_allclose(predicted.angle - truth, 0.5 / 26 + 0.1 * 25 / 26, atol=1e-5)
