"""The equation of motion: energies, closed forms, signs and balance."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain, compiled, segments

from pitl.errors import PitlError
from pitl.mechanics import dynamics as eager
from pitl.mechanics import muscle as eager_muscle
from pitl.mechanics.planar import builtin

torques = ("coriolis_torque", "gravity_torque", "passive_torque", "muscle_torque")
motions = ("mass_matrix", "inverse_dynamics", "residual", "terms", "forward_acceleration")
dynamics = compiled(eager, *torques, *motions)
muscle = compiled(eager_muscle, "hill_force")


def places(model, q):
    """Centres of mass (D, 2) [m] and orientations (D,) [rad], segment by segment along the chain."""
    s = {k: jnp.asarray(v, jnp.float32) for k, v in segments(len(model.dofs)).items()}
    joint, theta, centres, orientations = jnp.zeros(2), s["base_orientation"][0], [], []
    for d in range(len(model.dofs)):
        theta = theta + s["flexion_sign"][d] * (q[d] + model.angle_offset[d])
        along = jnp.stack([jnp.cos(theta), jnp.sin(theta)])
        centres.append(joint + s["segment_com"][d] * along)
        orientations.append(theta)
        joint = joint + s["segment_length"][d] * along
    return jnp.stack(centres), jnp.stack(orientations)


def kinetic(model, q, qd):
    s = {k: jnp.asarray(v, jnp.float32) for k, v in segments(len(model.dofs)).items()}
    (_, (velocity, spin)) = jax.jvp(lambda x: places(model, x), (q,), (qd,))
    return 0.5 * jnp.sum(s["segment_mass"] * jnp.sum(velocity**2, -1) + s["segment_inertia"] * spin**2)  # J


def potential(model, q):
    s = {k: jnp.asarray(v, jnp.float32) for k, v in segments(len(model.dofs)).items()}
    weight = model.gravity_scale * s["segment_mass"]  # kg
    return -jnp.sum(weight * jnp.einsum("dx,x->d", places(model, q)[0], s["gravity"][0]))  # J


def state(d, seed=0):
    return jax.random.normal(jax.random.key(seed), (3, d))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_mass_matrix_is_the_hessian_of_kinetic_energy_and_positive_definite(d):
    model = chain(d)
    q, qd, _ = state(d)
    ours = dynamics.mass_matrix(model, q)
    np.testing.assert_allclose(ours, jax.jit(jax.hessian(lambda v: kinetic(model, q, v)))(qd), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours, ours.T, rtol=1e-6)
    assert np.all(np.linalg.eigvalsh(ours) > 0)


def test_the_inertia_of_a_hinge_is_that_of_its_posture_at_every_angle():
    model = builtin("wrist")
    loaded = replace(model, pseudo_inertia=model.pseudo_inertia * jnp.asarray([1.0, 2.0])[:, None, None, None])
    q, posture = jnp.linspace(-0.9, 0.9, 6)[:, None], jnp.asarray([0, 1, 0, 1, 0, 1])
    everywhere = dynamics.mass_matrix(loaded, q, posture)
    one = dynamics.mass_matrix(model, jnp.zeros(1), 0)
    np.testing.assert_allclose(everywhere[:, 0, 0], float(one[0, 0]) * np.array([1, 2] * 3), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(eager._inertia)(loaded, q, posture), everywhere, rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_coriolis_torque_follows_from_lagrange_s_equation(d):
    model = chain(d)
    q, qd, _ = state(d)

    @jax.jit
    def lagrange(q, qd):
        momentum_rate = jax.jvp(lambda x: jax.grad(lambda v: kinetic(model, x, v))(qd), (q,), (qd,))[1]
        return momentum_rate - jax.grad(lambda x: kinetic(model, x, qd))(q)

    expected = lagrange(q, qd)
    np.testing.assert_allclose(dynamics.coriolis_torque(model, q, qd), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gravity_torque_is_the_gradient_of_potential_energy(d):
    model = chain(d)
    q = state(d)[0]
    expected = jax.jit(jax.grad(lambda x: potential(model, x)))(q)
    np.testing.assert_allclose(dynamics.gravity_torque(model, q, 0), expected, rtol=1e-5, atol=1e-5)


def simulate(acceleration, q, qd, dt, steps):
    """Classical Runge-Kutta; (steps, D) angles and velocities."""

    def slope(x):
        return jnp.stack([x[1], acceleration(x[0], x[1])])

    def step(x, _):
        a = slope(x)
        b = slope(x + 0.5 * dt * a)
        c = slope(x + 0.5 * dt * b)
        d = slope(x + dt * c)
        return x + dt / 6 * (a + 2 * b + 2 * c + d), x

    _, path = jax.lax.scan(step, jnp.stack([q, qd]), None, length=steps)
    return path[:, 0], path[:, 1]


@pytest.mark.parametrize("d", [1, 2])
def test_an_undamped_unforced_chain_keeps_its_energy(d):
    model = chain(d, passive=False)
    idle = jnp.zeros(len(model.muscles))
    q, qd = simulate(
        lambda q, qd: dynamics.forward_acceleration(model, q, qd, idle, 0),
        jnp.full(d, 0.6),
        jnp.full(d, -0.5),
        1e-3,
        2000,
    )
    height = jax.jit(jax.vmap(lambda q: potential(model, q)))(q)
    energy = height + jax.jit(jax.vmap(lambda q, qd: kinetic(model, q, qd)))(q, qd)
    exchanged = np.ptp(height)
    assert exchanged > 0.5  # J, else nothing was tested
    assert np.ptp(energy) < 1e-4 * exchanged


def test_a_hanging_leg_swings_at_the_frequency_of_a_pendulum():
    model = builtin("knee")
    model = replace(model, damping=jnp.zeros(1), stiffness=jnp.zeros(1), limit_stiffness=jnp.zeros(1))
    seated = model.postures.index("seated")
    down, dt = np.pi / 2, 1e-3
    q, _ = simulate(
        lambda q, qd: dynamics.forward_acceleration(model, q, qd, jnp.zeros(5), seated),
        jnp.array([down + 0.02], jnp.float32),
        jnp.zeros(1),
        dt,
        3000,
    )
    crossing = np.flatnonzero(np.diff(np.sign(np.asarray(q[:, 0]) - down)) < 0)
    period = np.mean(np.diff(crossing)) * dt
    expected = 2 * np.pi * np.sqrt(0.45 / (5.3 * 9.81 * 0.255))
    assert abs(period / expected - 1) < 2e-3


def test_gravity_pulls_the_way_each_posture_says():
    knee, wrist = builtin("knee"), builtin("wrist")
    straight, bent = jnp.array([0.0]), jnp.array([np.pi / 2], jnp.float32)
    weight = 5.3 * 9.81 * 0.255  # N m
    for posture, at, expected in (
        ("seated", straight, -weight),  # a straight seated leg is held up by extensors
        ("seated", bent, 0.0),
        ("standing", straight, 0.0),
        ("standing", bent, weight),  # a bent standing leg is held up by flexors
    ):
        torque = dynamics.gravity_torque(knee, at, knee.postures.index(posture))[0]
        assert abs(torque - expected) < 1e-4, posture
    np.testing.assert_allclose(dynamics.gravity_torque(wrist, straight, wrist.postures.index("neutral")), 0.0)
    held = dynamics.gravity_torque(wrist, straight, wrist.postures.index("pronated"))[0]
    assert abs(held + 0.58 * 9.81 * 0.049) < 1e-5  # extensors hold a palm-down hand level


@pytest.mark.parametrize(("name", "sign"), [("FCR", 1), ("FCU", 1), ("ECRL", -1), ("ECRB", -1)])
def test_pulling_on_a_flexor_flexes_and_on_an_extensor_extends(name, sign):
    model = builtin("wrist")
    force = jnp.zeros(5).at[model.muscles.index(name)].set(50.0)
    assert sign * dynamics.forward_acceleration(model, jnp.zeros(1), jnp.zeros(1), force, 0)[0] > 0


def test_passive_torque_opposes_motion_and_pushes_back_beyond_the_limits():
    model = builtin("wrist")
    zero = jnp.zeros((1, 1))
    assert dynamics.passive_torque(model, zero, jnp.ones((1, 1)), 0)[0, 0] > 0
    inside, beyond = (dynamics.passive_torque(model, jnp.full((1, 1), q), zero, 0)[0, 0] for q in (1.0, 1.8))
    assert abs(inside - 0.3) < 0.01  # stiffness alone
    assert beyond - 0.3 * 1.8 > 2.0 * 0.4


@pytest.mark.parametrize("d", [1, 2])
def test_residual_vanishes_on_motion_that_obeys_the_equation(d):
    model = chain(d)
    q, qd, push = (0.5 * x for x in state(d))
    force = muscle.hill_force(model, jnp.linspace(0.1, 0.4, 7), q, qd, 0)
    qdd = dynamics.forward_acceleration(model, q, qd, force, 0, external=push)
    left = dynamics.residual(model, q, qd, qdd, force, 0, external=push)
    assert np.max(np.abs(left)) < 2e-5 * np.max(np.abs(dynamics.muscle_torque(model, q, force, 0)))
    wanted = dynamics.inverse_dynamics(model, q, qd, qdd, 0, external=push)
    np.testing.assert_allclose(wanted, dynamics.muscle_torque(model, q, force, 0), rtol=2e-4, atol=2e-4)


def test_terms_add_up_to_the_residual():
    model = chain(2)
    q, qd, qdd = (jax.random.normal(jax.random.key(i), (9, 2)) for i in range(3))
    t = dynamics.terms(model, q, qd, qdd, jnp.full((9, 7), 30.0), 0, external=0.1 * q)
    total = t.inertia + t.coriolis + t.gravity + t.passive - t.muscle - t.external
    np.testing.assert_allclose(total, t.residual, rtol=1e-6)


@pytest.mark.parametrize("model", [builtin("knee"), chain(2)], ids=["knee", "chain"])
def test_batched_equals_mapped_equals_single_and_compiled(model):
    d, m = len(model.dofs), len(model.muscles)
    q, qd, qdd = (0.5 * jax.random.normal(jax.random.key(i), (2, 3, d)) for i in range(3))
    force = 100 * jax.random.uniform(jax.random.key(4), (2, 3, m))
    posture = jnp.arange(6).reshape(2, 3) % len(model.postures)
    batched = dynamics.residual(model, q, qd, qdd, force, posture)
    one = lambda *x: dynamics.residual(model, *x)  # noqa: E731
    mapped = jax.jit(jax.vmap(jax.vmap(one)))(q, qd, qdd, force, posture)
    single = one(q[1, 2], qd[1, 2], qdd[1, 2], force[1, 2], posture[1, 2])
    np.testing.assert_allclose(batched, mapped, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(batched[1, 2], single, rtol=1e-4, atol=1e-4)


def test_column_against_row_is_refused(unchecked):
    model = builtin("wrist")
    column, row, force = jnp.zeros((4, 1)), jnp.zeros(4), jnp.zeros((4, 5))
    for arguments, name in (
        ((column, column, row, force), "qdd"),
        ((column, row, column, force), "qd"),
        ((row, row, row, force), "q"),
        ((column, column, column, force[:1]), "force"),
        ((column, column, column, force[:, :1]), "force"),
    ):
        with pytest.raises(PitlError, match=f"^{name} has shape"):
            dynamics.residual(model, *arguments, 0)
    with pytest.raises(PitlError, match="external has shape"):
        dynamics.residual(model, column, column, column, force, 0, external=row)
    with pytest.raises(PitlError, match="posture has shape"):
        dynamics.residual(model, column, column, column, force, jnp.zeros((4, 1), int))


def test_physics_gradients_reach_angles_and_forces():
    model = builtin("knee")
    q, qd, qdd = (jax.random.normal(jax.random.key(i), (5, 1)) for i in range(3))
    force = jnp.full((5, 5), 50.0)

    def loss(q, qd, qdd, force):
        return jnp.mean(dynamics.residual(model, q, qd, qdd, force, 0) ** 2)

    for gradient in jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(q, qd, qdd, force):
        assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
