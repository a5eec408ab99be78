"""Networks of one person alone: the equation of motion teaches them, and local ones count by how well they fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import changed, task

from pitl.comparison.methods import run_method
from pitl.comparison.siblings import own
from pitl.learn import alone, generic, loss

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile


@pytest.fixture(scope="module")
def work():
    return task()


def finite(answer, work):
    for predicted, rows in zip(answer.estimates, work.split.test, strict=True):
        assert predicted.angle.shape == (len(rows), 1) and predicted.force.shape == (len(rows), 5)
        assert np.isfinite(predicted.angle).all() and np.isfinite(predicted.force).all() and predicted.force.min() >= 0
    return True


def test_the_residual_teaches_angle_and_force_outputs_of_a_personal_network(work):
    prepared, settings = work.prepared, alone.settings_alone(work.config.train, work.config.personalize)
    rows = alone.segments(prepared, own.labelled_rows(work, 0), generic.segment_length(settings, prepared.taps))[:4]
    params, spread, scale = jax.tree.map(
        lambda x: x[0], (work.generic.data.params, work.generic.data.spread, work.generic.data.scale)
    )
    weights = loss.LossTerms(*(jnp.float32(1),) * 4)
    problem = loss.Problem(prepared.samples, prepared.limbs, spread, scale, weights, prepared.taps)

    def physics(p):
        return loss.terms(p, prepared.net, problem, jnp.asarray(rows, jnp.int32), form=settings.residual).physics

    grads = jax.jit(jax.grad(physics))(params)
    for part in (grads["encoder"], grads["head"]["angle"], grads["head"]["force"]):
        assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(part))


def test_physics_changes_what_a_personal_network_says_of_forces_that_nobody_labelled(work):
    unlabelled = work.but(supervision="angle")
    with_law = run_method("pi_cnn", unlabelled)
    without = run_method("pi_cnn", changed(unlabelled, personalize={"physics_weight": 0.0}))
    assert finite(with_law, work)
    assert np.abs(with_law.estimates[0].force - without.estimates[0].force).max() > 1e-3  # N


def test_a_personal_network_learns_its_person():
    work = task(steps=150)
    answer, truth = run_method("pi_cnn", work), np.asarray(work.prepared.samples.angle)
    for predicted, rows in zip(answer.estimates, work.split.test, strict=True):
        assert np.mean((predicted.angle - truth[rows]) ** 2) < 0.7 * np.mean((truth[rows] - truth[rows].mean()) ** 2)


def test_weights_of_local_models_sum_to_one_and_the_best_weighs_most():
    weights = own.fusion_weights(np.array([0.2, 0.1, 0.4]))
    assert weights.sum() == pytest.approx(1) and weights.argmax() == 1
    np.testing.assert_allclose(weights[1] / weights, [2, 1, 4])


def test_subdomains_share_no_row_and_each_holds_a_part_of_every_trial(work):
    rows = own.labelled_rows(work, 1)
    parts = own.subdomains(rows, work, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), rows)
    for part in parts:
        for t in work.prepared.table.trials:
            mine = part[(part >= t.start) & (part < t.stop)]
            assert t.subject != 1 or (len(mine) and np.all(np.diff(mine) == 1))


def test_distributed_networks_answer_for_everybody_and_a_local_error_is_smaller_where_it_trained(work):
    assert finite(run_method("distributed", work), work)
    longer = task(steps=100)
    first, last = (own.subdomains(own.labelled_rows(longer, 0), longer, 3)[k] for k in (0, 2))
    params, error = own.fit(longer, 0, first, jax.random.key(1))
    one = jax.tree.map(lambda x: x[0], longer.generic.physics).replace(params=params)
    assert error < alone.training_error(longer.prepared, last, one, "angle_force")


@pytest.mark.parametrize("method", ["pi_cnn", "distributed"])
def test_physics_in_part_of_the_rows_does_not_stop_the_networks_of_one_person(work, method):
    assert finite(run_method(method, changed(work, train={"physics_rows": 0.5}, personalize={"steps": 10})), work)
