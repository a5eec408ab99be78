"""Hill curves, fibre lengths and activation dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import compiled

from pitl.errors import PitlError
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics import muscle as eager
from pitl.mechanics.planar import builtin

geometry = compiled(eager_geometry, "musculotendon_length", "moment_arm", "lengthening_velocity")
curves = ("active_force_length", "passive_force_length", "force_velocity")
forces = ("active_force_capacity", "passive_force", "hill_force", "normalised_fibre_length", "fibre_state")
muscle = compiled(eager, *curves, *forces, "excitation_shape")

LONGEST = {"wrist": 1.25, "knee": 1.15}  # optimal fibre lengths, for which the built-in slack lengths were calibrated


def angles(model, n=41, margin=0.0):
    low, high = np.asarray(model.angle_range[0])
    return jnp.linspace(low - margin, high + margin, n, dtype=jnp.float32)[:, None]


@pytest.mark.parametrize(
    ("curve", "at", "value", "tolerance"),
    [
        (muscle.active_force_length, 1.0, 1.0, 0.01),
        (muscle.active_force_length, 0.15, 0.0, 0.01),
        (muscle.active_force_length, 2.0, 0.0, 0.02),
        (muscle.passive_force_length, 1.0, 0.0, 0.003),
        (muscle.passive_force_length, 0.5, 0.0, 0.001),
        (muscle.passive_force_length, 1.6, 1.0, 1e-4),
        (muscle.force_velocity, 0.0, 1.0, 2e-4),
        (muscle.force_velocity, -1.0, 0.0, 0.011),
        (muscle.force_velocity, 1.0, 1.794, 0.001),
    ],
)
def test_curves_have_their_published_values(curve, at, value, tolerance):
    assert abs(curve(jnp.float32(at)) - value) < tolerance


@pytest.mark.parametrize(
    "curve", [muscle.active_force_length, muscle.passive_force_length, muscle.force_velocity], ids=lambda c: c.__name__
)
def test_curves_are_non_negative_with_finite_slopes_everywhere(curve):
    x = jnp.concatenate([jnp.linspace(-5, 5, 4001), jnp.array([0.14946, -50.0, 50.0])])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(curve)))(x)
    assert np.all(value >= 0) and np.all(np.isfinite(slope))


def test_active_force_peaks_at_optimal_length_and_force_rises_with_lengthening():
    length = jnp.linspace(0.3, 1.8, 301)
    assert abs(length[jnp.argmax(muscle.active_force_length(length))] - 1.0) < 0.06
    assert np.all(np.diff(muscle.force_velocity(jnp.linspace(-1.2, 1.2, 301))) > 0)
    assert np.all(np.diff(muscle.passive_force_length(jnp.linspace(0.9, 3.0, 301))) > 0)


@pytest.mark.parametrize("name", ["wrist", "knee"])
def test_hill_force_is_non_negative_with_finite_gradients_even_at_absurd_motion(name):
    model = builtin(name)
    q = angles(model, margin=4.0)
    qd = 20 * jnp.cos(37 * q)  # rad/s
    a = jnp.full((len(q), 5), 0.3)

    def total(model, a, q, qd):
        return muscle.hill_force(model, a, q, qd, 0).sum()

    assert np.all(muscle.hill_force(model, a, q, qd, 0) >= 0)
    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(model, a, q, qd)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))


def test_hill_force_is_activation_times_capacity_plus_passive_force():
    model = builtin("knee")
    q, qd = angles(model), jnp.full((41, 1), -2.0)
    a = jax.random.uniform(jax.random.key(0), (41, 5))
    whole = muscle.hill_force(model, a, q, qd, 1)
    parts = a * muscle.active_force_capacity(model, q, qd, 1) + muscle.passive_force(model, q, 1)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    with pytest.raises(PitlError, match="activation has shape"):
        muscle.hill_force(model, a[0], q, qd, 1)


def test_a_shortening_muscle_is_weaker_and_a_lengthening_one_stronger():
    model = builtin("wrist")
    q = jnp.zeros((1, 1))
    still, flexing = (muscle.active_force_capacity(model, q, jnp.full((1, 1), v), 0)[0] for v in (0.0, 5.0))
    stronger = dict(zip(model.muscles, np.asarray(flexing > still), strict=True))
    assert stronger == {"FCR": False, "FCU": False, "ECRL": True, "ECRB": True, "ECU": True}


def test_fibre_gearing_is_the_slope_of_fibre_length():
    model = builtin("knee")
    q = angles(model)
    _, rate = jax.jvp(lambda x: muscle.normalised_fibre_length(model, x, 0), (q,), (jnp.ones_like(q),))
    lengthening = geometry.lengthening_velocity(model, q, jnp.ones_like(q), 0)  # m/rad
    expected = lengthening * muscle.fibre_state(model, q, 0).gearing / model.optimal_fibre_length[None, :]
    np.testing.assert_allclose(rate, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["wrist", "knee"])
def test_built_in_slack_lengths_are_the_calibrated_ones(name):
    model = builtin(name)
    again = eager.calibrate_slack_length(model, longest=LONGEST[name])
    np.testing.assert_allclose(model.tendon_slack_length, again.tendon_slack_length, atol=2e-6)


@pytest.mark.parametrize("name", ["wrist", "knee"])
def test_fibres_work_near_their_plateau_over_the_range_of_the_joint(name):
    model = builtin(name)
    lengths = jnp.stack([muscle.normalised_fibre_length(model, angles(model), p) for p in (0, 1)])
    assert np.all(lengths > 0.45) and np.all(lengths < LONGEST[name] + 0.04)
    # the middle of the range is on the plateau
    strength = muscle.active_force_length(lengths)
    assert np.all(strength.mean(axis=(0, 1)) > 0.45)


def test_published_slack_lengths_would_leave_the_plateau():
    """FCU at 60 degrees: 0.38 of optimal length with the published 0.265 m, which is why lengths are calibrated."""
    model = builtin("wrist").replace(tendon_slack_length=jnp.array([0.244, 0.265, 0.244, 0.2223, 0.2285]))
    sixty = jnp.array([np.deg2rad(60)], jnp.float32)
    assert abs(muscle.normalised_fibre_length(model, sixty, 0)[1] - 0.377) < 0.003


def test_passive_muscle_torque_stays_mild_over_the_range():
    for name, most in (("wrist", 0.9), ("knee", 15.0)):  # N m
        model = builtin(name)
        for posture in (0, 1):
            q = angles(model)
            arm = geometry.moment_arm(model, q, posture)[..., 0]
            assert np.max(np.abs(jnp.sum(arm * muscle.passive_force(model, q, posture), axis=-1))) < most


def test_excitation_shape_keeps_rest_and_maximum_and_is_smooth_at_zero():
    u = jnp.linspace(0, 1, 11)[:, None]
    for a in (-3.0, -0.5, -1e-2, -1e-6, 0.0, 0.011, 2.0):
        shaped = muscle.excitation_shape(u, jnp.array([a]))
        assert shaped[0, 0] == 0 and abs(shaped[-1, 0] - 1) < 1e-6
        if abs(a) > 1e-3:
            exact = np.expm1(a * np.asarray(u, float)) / np.expm1(a)
            np.testing.assert_allclose(shaped, exact, atol=1e-6)
    np.testing.assert_allclose(muscle.excitation_shape(u, jnp.zeros(1)), u)
    slope = jax.grad(lambda a: muscle.excitation_shape(u, a).sum())(jnp.zeros(1))
    np.testing.assert_allclose(slope[0], np.sum(0.5 * np.asarray(u) * (np.asarray(u) - 1)), rtol=1e-4)
