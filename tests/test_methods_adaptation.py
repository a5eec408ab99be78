"""Domain adaptation: features of two domains are drawn together, and the target teaches as well as the sources."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import task

from pitl.comparison.methods import run_method
from pitl.comparison.siblings import adaptation

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile


def test_discrepancy_is_zero_for_equal_samples_and_grows_with_the_distance():
    a = jax.random.normal(jax.random.key(0), (200, 6))
    b = jax.random.normal(jax.random.key(1), (200, 6))
    near, far = (float(adaptation.discrepancy(a, b + shift)) for shift in (0.0, 1.0))
    assert float(adaptation.discrepancy(a, a)) == pytest.approx(0, abs=1e-6)
    assert 0 <= near < 0.1 * far


def test_gradient_steps_on_the_discrepancy_bring_features_together():
    a = jax.random.normal(jax.random.key(0), (100, 4))
    b = jax.random.normal(jax.random.key(1), (100, 4)) + 1.5
    slope = jax.jit(jax.grad(adaptation.discrepancy, argnums=1))
    moved = b
    for _ in range(100):
        moved = moved - 50.0 * slope(a, moved)
    before, after = (float(adaptation.discrepancy(a, x)) for x in (b, moved))
    assert after < 0.3 * before and float(jnp.abs(moved.mean() - a.mean())) < float(jnp.abs(b.mean() - a.mean()))


def test_both_streams_and_the_discrepancy_are_in_the_loss_and_everybody_is_answered():
    work = task("angle")
    prepared, source, target = work.prepared, jnp.arange(100, 150), jnp.arange(1500, 1550)
    params, spread, scale = jax.tree.map(
        lambda x: x[0], (work.generic.data.params, work.generic.physics.spread, work.generic.physics.scale)
    )
    domains = adaptation.Domains(source, target, spread, scale)

    def value(source, target, weight, forces=False):
        return float(
            adaptation.objective(params, prepared.net, prepared.samples, domains, source, target, forces, weight)
        )

    plain = value(source, target, 0.0)
    assert value(source, target, 1.0) > plain  # these are other people's muscles
    assert value(source, target + 20, 0.0) != plain and value(source + 20, target, 0.0) != plain
    assert value(source, target, 0.0, forces=True) > plain
    answer = run_method("domain_adaptation", work)
    for predicted, rows in zip(answer.estimates, work.split.test, strict=True):
        assert (
            predicted.angle.shape == (len(rows), 1)
            and np.isfinite(predicted.angle).all()
            and predicted.force.min() >= 0
        )
