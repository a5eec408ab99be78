"""Forward dynamics plus a residual: without a residual it is the simulation, with one it is nearer to the person."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import changed, task

from pitl.comparison.methods import run_method
from pitl.comparison.siblings import penn

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile


def test_a_residual_that_was_not_trained_adds_nothing_and_a_trained_one_finds_the_error():
    seen = jax.random.normal(jax.random.key(0), (400, 6))
    fresh = penn.begin(jax.random.key(1), 6, 1)
    np.testing.assert_array_equal(penn.correction(fresh, seen), np.zeros((400, 1)))
    wrong = jnp.tanh(seen[:, :1] - seen[:, 1:2])
    result = penn.train(jax.random.key(1), seen, wrong, jnp.ones(400, bool), 200)
    assert float(jnp.mean((penn.correction(result, seen) - wrong) ** 2)) < 0.1 * float(jnp.var(wrong))


def test_with_a_zero_residual_the_answer_is_the_simulation_and_no_measured_angle_starts_it(monkeypatch):
    work = task("angle")
    work = changed(work, hill={"steps": 5})
    corrected = run_method("penn", work)
    monkeypatch.setattr(penn, "train", lambda key, seen, wrong, usable, steps: penn.begin(key, seen.shape[1], 1))
    plain = run_method("penn", work.but())  # of this work the corrected answer is kept
    course = penn.simulate(work, plain.muscles, work.split.test)
    for p, (predicted, rows) in enumerate(zip(plain.estimates, work.split.test, strict=True)):
        np.testing.assert_allclose(predicted.angle, course[p][0])
        assert np.abs(corrected.estimates[p].angle - predicted.angle).max() > 1e-3
        assert (
            predicted.force.shape == (len(rows), 5)
            and np.isfinite(predicted.force).all()
            and predicted.force.min() >= 0
        )
    samples = work.prepared.samples
    test = np.concatenate(work.split.test)
    blind = work.but(prepared=work.prepared._replace(samples=samples._replace(angle=samples.angle.at[test].set(9.0))))
    np.testing.assert_array_equal(penn.simulate(blind, plain.muscles, work.split.test)[0][0], course[0][0])
