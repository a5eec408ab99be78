"""Errors are what they say, and the baselines do what people do today."""

import jax.numpy as jnp
import numpy as np
import pytest

from pitl.comparison import evaluate
from pitl.comparison.baselines import recalibration
from pitl.learn import loss, units

RNG = np.random.default_rng(0)
ANGLE = np.sin(np.linspace(0, 20, 500))[:, None]
FORCE = 50 + 10 * RNG.normal(size=(500, 3))
TORQUE = RNG.normal(size=(500, 1))


def scored(angle=ANGLE, force=FORCE, torque=TORQUE, residual=None):
    truth = evaluate.Truth(ANGLE, FORCE, TORQUE)
    return evaluate.score(truth, evaluate.TestPrediction(angle, force, torque, residual), np.array([5.0, 10.0, 20.0]))


def test_a_perfect_answer_has_no_error():
    m = scored()
    assert m.angle_rmse_deg == 0 and m.force_rmse_n == 0 and m.torque_rmse_nm == 0
    assert m.angle_r2 == 1 and m.force_r2 == 1 and m.angle_r == pytest.approx(1)


def test_a_constant_error_is_reported_in_its_unit():
    m = scored(ANGLE + np.radians(3), FORCE + 10, TORQUE - 0.5, np.full((9, 1), -0.2))
    assert m.angle_rmse_deg == pytest.approx(3)
    assert m.force_rmse_n == pytest.approx(10)
    assert m.force_nrmse == pytest.approx(np.mean([10 / 5, 10 / 10, 10 / 20]))
    assert m.torque_rmse_nm == pytest.approx(0.5)
    assert m.residual_nm == pytest.approx(0.2)


def test_a_gain_error_changes_everything_but_pearson_r():
    m = scored(2 * ANGLE)
    assert m.angle_r == pytest.approx(1) and m.angle_r2 < 0.1 and m.angle_rmse_deg > 30


def test_the_mean_explains_nothing():
    assert scored(np.full_like(ANGLE, ANGLE.mean())).angle_r2 == pytest.approx(0, abs=1e-9)


def test_an_arm_without_forces_has_no_force_error():
    m = scored(force=None, torque=None)
    assert m.force_rmse_n is None and m.torque_rmse_nm is None and m.residual_nm is None


def test_gain_and_offset_undo_a_gain_and_an_offset_and_leave_unlabelled_forces_alone():
    generic = (ANGLE - 0.3) / 1.7
    fitted = recalibration.fit(ANGLE, generic, FORCE, FORCE / 2)
    angle, force = recalibration.apply(fitted, generic, FORCE / 2)
    np.testing.assert_allclose(angle, ANGLE, atol=1e-9)
    np.testing.assert_allclose(force, FORCE, atol=1e-9)
    unlabelled = recalibration.fit(ANGLE, generic, None, FORCE)
    np.testing.assert_array_equal(recalibration.apply(unlabelled, generic, FORCE)[1], FORCE)


def test_units_of_the_loss_come_from_the_source_people():
    spread, scale = units.source_statistics(ANGLE, FORCE, TORQUE, np.array([100.0, 100.0, 100.0]))
    np.testing.assert_allclose(spread.angle, ANGLE.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread.force, FORCE.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale.force_mean, FORCE.mean(axis=0), rtol=1e-6)


def test_a_row_without_a_label_does_not_count_even_if_it_is_not_a_number():
    error = jnp.array([[1.0], [jnp.nan], [3.0]])
    got = loss.squared(error, jnp.array([2.0]), jnp.array([1.0, 0.0, 1.0]))
    assert float(got) == pytest.approx((0.25 + 2.25) / 2)
