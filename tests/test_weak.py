"""The weak residual is the strong one averaged, with no derivative of the angle ever taken."""

import jax.numpy as jnp
import numpy as np
import pytest

from pitl.mechanics import dynamics, weak
from pitl.mechanics.planar import builtin

pytestmark = pytest.mark.deep

RATE = 100.0
TAPS = weak.kernel(0.06, RATE)


def motion(t, centre=0.3):
    q = centre + 0.6 * np.sin(2 * np.pi * 0.8 * t)
    qd = 0.6 * 2 * np.pi * 0.8 * np.cos(2 * np.pi * 0.8 * t)
    qdd = -0.6 * (2 * np.pi * 0.8) ** 2 * np.sin(2 * np.pi * 0.8 * t)
    return [jnp.asarray(x[:, None], jnp.float32) for x in (q, qd, qdd)]


def test_kernel_is_exact_for_polynomials():
    k = (len(TAPS.average) - 1) // 2
    t = np.arange(-k, k + 1) / RATE
    np.testing.assert_allclose([TAPS.average.sum(), TAPS.rate @ t, TAPS.acceleration @ t**2 / 2], 1.0, rtol=1e-9)
    np.testing.assert_allclose([TAPS.rate.sum(), TAPS.rate @ t**2, TAPS.acceleration.sum()], 0.0, atol=1e-8)
    np.testing.assert_allclose(TAPS.acceleration @ t, 0.0, atol=1e-8)


def test_kernel_has_the_width_that_it_says():
    half = TAPS.average > TAPS.average.max() / 2
    assert 0.04 <= half.sum() / RATE <= 0.08


def test_averages_along_samples_have_the_value_rate_and_acceleration_of_a_parabola():
    t = np.arange(60) / RATE
    q = jnp.asarray(np.stack([1 + 2 * t + 3 * t**2, -t], axis=1)[None], jnp.float32)  # (1, T, 2)
    middle = t[8:-8]
    value, rate, acceleration = (np.asarray(weak.smooth(taps, q))[0] for taps in TAPS)
    spread = TAPS.average @ (np.arange(-8, 9) / RATE) ** 2  # s2, added to t^2
    np.testing.assert_allclose(value, np.stack([1 + 2 * middle + 3 * (middle**2 + spread), -middle], axis=1), atol=1e-5)
    np.testing.assert_allclose(rate, np.stack([2 + 6 * middle, -np.ones_like(middle)], axis=1), atol=1e-3)
    np.testing.assert_allclose(acceleration, np.tile([6.0, 0.0], (len(middle), 1)), atol=0.03)


@pytest.mark.parametrize("joint", ["wrist", "knee"])
def test_weak_residual_is_the_average_of_the_strong_one(joint):
    model = builtin(joint)
    t = np.arange(300) / RATE
    q, qd, qdd = motion(t, {"wrist": 0.3, "knee": 0.9}[joint])  # within the joint's range
    posture = jnp.ones(300, jnp.int32)
    force = jnp.asarray(10 + 5 * np.sin(2 * np.pi * np.outer(t, np.arange(1, 6) / 5)), jnp.float32)
    strong = dynamics.residual(model, q, qd, qdd, force, posture)
    average = weak.smooth(TAPS.average, strong)
    got = weak.weak_residual(model, q, force, posture, TAPS)
    size = float(jnp.std(strong))
    np.testing.assert_allclose(got, average, atol=0.02 * size)


def test_noise_on_the_angle_hurts_the_weak_residual_far_less_than_a_second_difference():
    model = builtin("wrist")
    t = np.arange(400) / RATE
    q = motion(t)[0]
    noisy = q + 1e-3 * jnp.asarray(np.random.default_rng(0).normal(size=q.shape), jnp.float32)
    force = jnp.full((400, 5), 10.0)
    posture = jnp.zeros(400, jnp.int32)
    change = weak.weak_residual(model, noisy, force, posture, TAPS) - weak.weak_residual(model, q, force, posture, TAPS)
    second = jnp.diff(noisy - q, n=2, axis=0) * RATE**2 * 1.48e-3
    assert float(jnp.std(change)) < 0.25 * float(jnp.std(second))
