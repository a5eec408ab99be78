"""Static optimisation: least effort, exact torque, honest reserves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain, compiled
from scipy.optimize import lsq_linear, minimize

from pitl.errors import PitlError
from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics import muscle as eager_muscle
from pitl.mechanics.planar import builtin
from pitl.mechanics.redundancy import Effort, static_optimisation

dynamics = compiled(eager_dynamics, "muscle_torque")
geometry = compiled(eager_geometry, "moment_arm")
muscle = compiled(eager_muscle, "active_force_capacity", "passive_force", "hill_force")

CASES = {"wrist": (builtin("wrist"), 1.5), "knee": (builtin("knee"), 40.0), "chain": (chain(2), 3.0)}  # torque SD, N m


def frames(model, spread, n=300):
    rng = np.random.default_rng(0)
    low, high = np.asarray(model.angle_range).T
    q = rng.uniform(low, high, (n, len(low)))
    qd, torque = rng.normal(0, 2, q.shape), rng.normal(0, spread, q.shape)
    posture = rng.integers(0, len(model.postures), n)
    return *(jnp.asarray(x, jnp.float32) for x in (q, qd, torque)), jnp.asarray(posture)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_activations_agree_with_a_general_solver(name, exponent):
    model, spread = CASES[name]
    q, qd, torque, posture = frames(model, spread, 20)
    result = static_optimisation(model, q, qd, torque, posture, Effort(exponent=exponent))
    arm = np.asarray(geometry.moment_arm(model, q, posture), float)
    lever = np.moveaxis(arm * np.asarray(muscle.active_force_capacity(model, q, qd, posture))[..., None], 1, 2)
    wanted = np.asarray(torque) - np.einsum("nmd,nm->nd", arm, muscle.passive_force(model, q, posture))
    compared = 0
    for i in range(len(q)):
        size = np.linalg.norm(lever[i], axis=1)
        b, t = lever[i] / size[:, None], wanted[i] / size
        if 2 * lsq_linear(b, t, (0, 1)).cost > 1e-8:
            continue  # no activations give this torque
        exact = minimize(
            lambda a: np.sum(a**exponent),
            np.full(b.shape[1], 0.3),
            jac=lambda a: exponent * a ** (exponent - 1),
            bounds=[(0, 1)] * b.shape[1],
            constraints={"type": "eq", "fun": lambda a, b=b, t=t: b @ a - t, "jac": lambda a, b=b: b},
            options={"ftol": 1e-12, "maxiter": 300},
        )
        if exact.success:
            np.testing.assert_allclose(result.activation[i], exact.x, atol=0.01)
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real_muscles", [True, False])
def test_torque_is_met_within_bounds_and_what_is_missing_is_reserve(name, real_muscles):
    model, spread = CASES[name]
    q, qd, torque, posture = frames(model, 3 * spread)
    a, force, reserve = static_optimisation(model, q, qd, torque, posture, Effort(force_length_velocity=real_muscles))
    assert np.all((a >= 0) & (a <= 1)) and np.all(force >= 0)
    given = dynamics.muscle_torque(model, q, force, posture)
    np.testing.assert_allclose(given + reserve, torque, atol=2e-5 * np.max(np.abs(torque)))
    if real_muscles:
        np.testing.assert_allclose(force, muscle.hill_force(model, a, q, qd, posture), rtol=1e-5, atol=1e-3)


def test_a_torque_beyond_all_muscles_leaves_exactly_the_rest_as_reserve():
    model = builtin("wrist")
    zero = jnp.zeros((1, 1))
    result = static_optimisation(model, zero, zero, jnp.full((1, 1), 100.0), 0)
    np.testing.assert_allclose(result.activation[0], [1, 1, 0, 0, 0])
    assert abs(result.reserve[0, 0] - (100 - dynamics.muscle_torque(model, zero, result.force, 0)[0, 0])) < 1e-3
    assert result.reserve[0, 0] > 80


@pytest.mark.parametrize("name", CASES)
def test_reserves_are_the_least_possible(name):
    model, spread = CASES[name]
    q, qd, torque, posture = frames(model, 10 * spread, 20)
    reserve = static_optimisation(model, q, qd, torque, posture).reserve
    arm = np.asarray(geometry.moment_arm(model, q, posture), float)
    lever = np.moveaxis(arm * np.asarray(muscle.active_force_capacity(model, q, qd, posture))[..., None], 1, 2)
    wanted = np.asarray(torque) - np.einsum("nmd,nm->nd", arm, muscle.passive_force(model, q, posture))
    for i in range(len(q)):
        size = np.linalg.norm(lever[i], axis=1)
        least = np.sqrt(2 * lsq_linear(lever[i] / size[:, None], wanted[i] / size, (0, 1)).cost)
        assert abs(np.linalg.norm(reserve[i] / size) - least) < 2e-3 * max(1, least)


def test_stationary_zero_and_saturated_frames_have_finite_gradients():
    model = builtin("knee")
    q, zero = jnp.ones((4, 1)), jnp.zeros((4, 1))
    torque = jnp.array([[0.0], [5.0], [1000.0], [-3.0]])
    for p in (2.0, 3.0):
        g = jax.grad(lambda t, p=p: static_optimisation(model, q, zero, t, 0, Effort(exponent=p)).force.sum())(torque)
        assert np.all(np.isfinite(g))


def test_leading_dimensions_and_mapping_do_not_matter():
    model = builtin("wrist")
    q, qd, torque, posture = frames(model, 1.0, 12)
    flat = static_optimisation(model, q, qd, torque, posture)
    square = static_optimisation(model, *(x.reshape(3, 4, 1) for x in (q, qd, torque)), posture.reshape(3, 4))
    mapped = jax.vmap(lambda *x: static_optimisation(model, *x))(q, qd, torque, posture)
    np.testing.assert_allclose(flat.force, square.force.reshape(12, 5), rtol=1e-5)
    np.testing.assert_allclose(flat.force, mapped.force, rtol=1e-5)


def test_an_effort_without_a_unique_minimum_is_refused():
    model, zero = builtin("wrist"), jnp.zeros((1, 1))
    with pytest.raises(PitlError, match="above 1"):
        static_optimisation(model, zero, zero, zero, 0, Effort(exponent=1.0))


@pytest.mark.parametrize("name", CASES)
def test_activations_stay_within_bounds_that_are_given(name):
    model, spread = CASES[name]
    q, qd, torque, posture = frames(model, spread, 50)
    count = len(model.muscles)
    lower, upper = jnp.full(count, 0.03), jnp.linspace(0.2, 0.9, count)
    a, _, reserve = static_optimisation(model, q, qd, torque, posture, Effort(lower=lower, upper=upper))
    assert np.all(a >= lower[None] - 1e-6) and np.all(a <= upper[None] + 1e-6)
    assert np.any(a > 0.19) and np.any(np.abs(a - 0.03) < 1e-3)
    free = static_optimisation(model, q, qd, torque, posture).reserve
    assert float(jnp.abs(reserve).sum()) >= float(jnp.abs(free).sum()) - 1e-2  # bounds can only cost torque


def test_measured_envelopes_bring_co_contraction_back_and_the_torque_is_still_met():
    model = builtin("wrist")
    q, qd, _, posture = frames(model, 1.0, 40)
    rng = np.random.default_rng(1)
    true = jnp.asarray(rng.uniform(0.02, 0.3, (40, 5)), jnp.float32)  # flexors and extensors at once
    force = muscle.hill_force(model, true, q, qd, posture)
    torque = dynamics.muscle_torque(model, q, force, posture)
    blind = static_optimisation(model, q, qd, torque, posture)
    seeing = static_optimisation(model, q, qd, torque, posture, Effort(measured=true))
    wrong = [float(jnp.sqrt(jnp.mean((s.activation - true) ** 2))) for s in (blind, seeing)]
    assert wrong[1] < 0.2 * wrong[0]
    given = dynamics.muscle_torque(model, q, seeing.force, posture)
    np.testing.assert_allclose(given + seeing.reserve, torque, atol=1e-4)
    assert float(jnp.abs(seeing.reserve).max()) < 0.01 * float(jnp.abs(torque).max())


def test_a_muscle_without_an_electrode_is_left_to_least_effort():
    model = builtin("wrist")
    q, qd, torque, posture = frames(model, 1.0, 20)
    nothing = jnp.full((20, 5), jnp.nan)
    blind = static_optimisation(model, q, qd, torque, posture, Effort(lower=jnp.zeros(5)))
    unseen = static_optimisation(model, q, qd, torque, posture, Effort(measured=nothing))
    np.testing.assert_allclose(unseen.activation, blind.activation, atol=1e-5)
    told = static_optimisation(model, q, qd, torque, posture, Effort(measured=nothing.at[:, 0].set(0.5)))
    assert np.all(told.activation[:, 0] > blind.activation[:, 0] - 1e-4)
