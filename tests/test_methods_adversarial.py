"""The low-shot network: data, equation of motion and discriminator each move the generator, and few labels are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import task

from pitl.comparison.methods import run_method
from pitl.comparison.siblings import adversarial, own
from pitl.learn.alone import segments

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile


@pytest.fixture(scope="module")
def work():
    return task()


@pytest.fixture(scope="module")
def few(work):
    prepared = work.prepared
    rows = own.labelled_rows(work, 0)
    shots = rows[np.linspace(0, len(rows) - 1, adversarial.SHOTS).astype(int)]
    along = segments(prepared, work.split.calibration[0], len(prepared.taps.average) + 4)[::20]
    model, spread, scale = jax.tree.map(
        lambda x: x[0], (prepared.limbs, work.generic.physics.spread, work.generic.physics.scale)
    )
    return adversarial.Few(jnp.asarray(shots, jnp.int32), jnp.asarray(along, jnp.int32), model, spread, scale)


def test_each_term_moves_the_generator_and_the_discriminator_learns_to_tell(work, few):
    params, net = jax.tree.map(lambda x: x[0], work.generic.data.params), work.prepared.net
    samples, along = work.prepared.samples, few.segments[:6]
    judge = adversarial.discriminator(jax.random.key(3), 2 * net.inputs + net.postures + 6)
    args = (judge, net, samples, few, along, work.prepared.taps, True)
    jacobian = jax.jacrev(lambda p: jnp.stack(adversarial.generator_terms(p, *args)))(params)
    for term in range(3):
        for part in (jacobian["encoder"], jacobian["head"]["angle"], jacobian["head"]["force"]):
            assert all(float(jnp.abs(leaf[term]).max()) > 0 for leaf in jax.tree.leaves(part)), term

    def against(judge):
        return adversarial.discriminator_loss(judge, params, net, samples, few, along, True, jax.random.key(0))

    better, slope = judge, jax.jit(jax.grad(against))
    for _ in range(60):
        better = jax.tree.map(lambda x, g: x - 0.003 * g, better, slope(better))
    assert float(against(better)) < 0.95 * float(against(judge))


def test_labels_beyond_the_few_shots_change_nothing(work):
    rows = own.labelled_rows(work, 0)
    shots = rows[np.linspace(0, len(rows) - 1, adversarial.SHOTS).astype(int)]
    others = np.setdiff1d(rows, shots)
    samples = work.prepared.samples
    spoilt = samples._replace(angle=samples.angle.at[others].set(9.0), force=samples.force.at[others].set(1e4))
    a = run_method("low_shot", work)
    b = run_method("low_shot", work.but(prepared=work.prepared._replace(samples=spoilt)))
    np.testing.assert_array_equal(a.estimates[0].angle, b.estimates[0].angle)
    assert all(np.isfinite(s.angle).all() and s.force is not None and s.force.min() >= 0 for s in a.estimates)
