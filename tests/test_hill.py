"""The EMG-driven model: known muscles are found again where the torque tells; elsewhere the prior decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pitl.errors import PitlError
from pitl.learn import hill, units
from pitl.learn.identification import identification
from pitl.mechanics import dynamics
from pitl.mechanics.planar import builtin

pytestmark = pytest.mark.deep

MODEL = builtin("wrist")
CHANNELS = MODEL.muscles
ON = hill.Electrodes(jnp.eye(5), jnp.full(5, 1.0))
SPREAD = units.Spread(jnp.full(1, 0.4), jnp.full(5, 20.0), jnp.full(1, 0.3))


def recording(z, rows=600, seed=0):
    """A motion, and EMG of a person with muscles z whose torque is exactly that of their muscles."""
    rng = np.random.default_rng(seed)
    time = jnp.linspace(0, 12.0, rows)
    w = jnp.asarray(rng.uniform(2.0, 7.0, 5), jnp.float32)
    phase = jnp.asarray(rng.uniform(0, 6.0, 5), jnp.float32)

    def envelope(t):
        return 0.06 * (1.1 + jnp.sin(w * t + phase))

    u, ud = jax.vmap(lambda t: jax.jvp(envelope, (t,), (jnp.ones(()),)))(time)
    udd = jax.vmap(lambda t: jax.jvp(jax.jacfwd(envelope), (t,), (jnp.ones(()),))[1])(time)
    jets = jnp.stack([u, ud, udd], axis=1)
    angle = 0.7 * jnp.sin(1.9 * time)[:, None]
    rate = 0.7 * 1.9 * jnp.cos(1.9 * time)[:, None]
    posture = jnp.zeros(rows, jnp.int32)
    force = jax.jit(hill.forces)(MODEL, z, ON, jets, angle, rate, posture)
    torque = dynamics.muscle_torque(MODEL, angle, force, 0)
    ones = jnp.ones(rows)
    return hill.MuscleRows(jets, angle, rate, posture, torque, force, ones, jnp.zeros(rows))


NONE = hill.initial(MODEL, 5)
STRONG_FLEXORS = NONE.replace(strength=jnp.array([1.2, 1.2, -1.0, -1.0, 0.0]), delay=jnp.array(1.5))


def fit(rows, prior_weight=1e-4, steps=500):
    everything = (MODEL, ON, rows, SPREAD, hill.as_it_came(MODEL, 5))
    *one, belief = (jax.tree.map(lambda x: x[None], tree) for tree in everything)
    z, losses = hill.calibrate(*one, prior_weight, hill.MuscleLearner(steps), belief)
    return jax.tree.map(lambda x: x[0], z), np.asarray(losses)[:, 0]


@pytest.fixture(scope="module")
def fitted():
    rows = recording(STRONG_FLEXORS)
    return rows, *fit(rows)


def test_torque_of_known_muscles_is_met_and_the_forces_are_nearer_than_before(fitted):
    rows, z, losses = fitted
    assert losses[-1] < 0.02 * losses[0]

    def wrong(z):
        force = hill.forces(MODEL, z, ON, rows.jets, rows.angle, rows.rate, rows.posture)
        return float(jnp.sqrt(jnp.mean((force - rows.force) ** 2)))

    assert wrong(z) < 0.5 * wrong(NONE)


def test_a_known_delay_is_found(fitted):
    true, result = (float(hill.values(z)["delay"]) for z in (STRONG_FLEXORS, fitted[1]))
    assert true > 0.02 and abs(result - true) < 0.006


def test_force_labels_make_the_forces_right():
    rows = recording(STRONG_FLEXORS)
    z, _ = fit(rows._replace(force_weight=jnp.ones(600)))
    force = hill.forces(MODEL, z, ON, rows.jets, rows.angle, rows.rate, rows.posture)
    assert float(jnp.sqrt(jnp.mean((force - rows.force) ** 2))) < 1.0  # N


def test_an_envelope_that_comes_earlier_means_a_later_force():
    jets = jnp.zeros((1, 3, 5)).at[:, 0].set(0.1).at[:, 1].set(1.0)  # rising
    late = hill.activation(NONE.replace(delay=jnp.array(1.0)), ON, jets)
    assert np.all(late < hill.activation(NONE, ON, jets))


def test_a_muscle_without_data_stays_with_its_prior_and_is_said_to():
    silent = NONE.replace(gain=NONE.gain)
    rows = recording(silent)
    quiet = rows._replace(jets=rows.jets.at[..., 4].set(0.0))
    force = hill.forces(MODEL, silent, ON, quiet.jets, quiet.angle, quiet.rate, quiet.posture)
    rows = quiet._replace(torque=dynamics.muscle_torque(MODEL, quiet.angle, force, 0))
    result = {i.name: i for i in identification(MODEL, silent, ON, CHANNELS, rows, SPREAD, 400)}
    assert result["gain ECU"].deviation > 0.99 and not result["gain ECU"].by_data
    assert result["delay"].by_data and result["delay"].deviation < 0.3
    assert len(result) == 4 * 5 + 5 + 1 + 3


def test_more_data_identify_more():
    rows = recording(STRONG_FLEXORS)
    few, many = (
        np.array([i.deviation for i in identification(MODEL, STRONG_FLEXORS, ON, CHANNELS, rows, SPREAD, n)])
        for n in (5, 500)
    )
    assert np.all(many <= few + 1e-6) and many.mean() < 0.9 * few.mean()


@pytest.mark.parametrize("extreme", [-1e3, 1e3])
def test_parameters_never_leave_their_bounds(extreme):
    z = jax.tree.map(lambda x: jnp.full_like(x, extreme), NONE)
    v = hill.values(z)
    assert np.all(v["strength"] <= 2.51) and np.all(v["strength"] >= 0.39)
    assert abs(float(v["delay"])) <= 0.0601 and np.all(np.abs(v["slack"]) <= 0.351)
    rows = recording(NONE, rows=20)
    assert np.all(np.isfinite(hill.forces(MODEL, z, ON, rows.jets, rows.angle, rows.rate, rows.posture)))


def test_no_parameters_changed_leaves_the_model_as_it_is():
    own = hill.fitted_model(MODEL, NONE)
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(MODEL), strict=True):
        np.testing.assert_array_equal(a, b)


def test_electrodes_are_found_by_name_or_as_told():
    envelope = np.random.default_rng(0).uniform(0, 2, (100, 4))
    knee = builtin("knee")
    on = hill.electrodes(knee, ("RF", "BF", "VM", "ST"), {}, envelope, None)
    np.testing.assert_array_equal(np.asarray(on.share).argmax(axis=1), [0, 2, 1, 1, 3])
    told = hill.electrodes(knee, ("RF", "BF", "VM", "ST"), {"MH": ("ST", "BF")}, envelope, np.ones(4))
    np.testing.assert_allclose(told.share[4], [0, 0.5, 0, 0.5])
    with pytest.raises(PitlError, match="model.electrodes names 'SM'"):
        hill.electrodes(knee, ("RF", "BF", "VM", "ST"), {"MH": ("SM",)}, envelope, None)
    with pytest.raises(PitlError, match="no channel .* is called like a muscle"):
        hill.electrodes(knee, ("a", "b"), {}, envelope[:, :2], None)


@pytest.mark.thorough
def test_the_gradient_reaches_every_parameter():
    rows = recording(NONE, rows=60)
    z = jax.tree.map(lambda x: x + 0.3, NONE)
    gradient = jax.jit(jax.grad(hill.objective))(z, MODEL, ON, rows, SPREAD, 0.0)
    for name in hill.PRIOR:
        assert np.all(np.isfinite(getattr(gradient, name))) and np.any(np.abs(getattr(gradient, name)) > 0), name
