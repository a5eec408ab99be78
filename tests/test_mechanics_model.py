"""The model as a value: known joints, scaling to a body, corrections, storage."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain, compiled

from pitl.errors import PitlError
from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics import muscle as eager_muscle
from pitl.mechanics.correction import SPREAD, apply_correction, describe, identity_correction, log_prior
from pitl.mechanics.model import body_properties, model_from_dict, model_to_dict, posture_index
from pitl.mechanics.planar import builtin
from pitl.mechanics.scaling import scale_to_body

dynamics = compiled(eager_dynamics, "mass_matrix", "gravity_torque", "residual", "terms")
geometry = compiled(eager_geometry, "musculotendon_length", "moment_arm")
muscle = compiled(eager_muscle, "normalised_fibre_length", "active_force_capacity", "hill_force")


def test_an_unknown_joint_or_posture_names_the_known_ones():
    with pytest.raises(PitlError, match="'elbow'; known are knee, wrist"):
        builtin("elbow")
    with pytest.raises(PitlError, match="known are seated, standing"):
        posture_index(builtin("knee"), "lying")


@pytest.mark.parametrize("name", ["wrist", "knee"])
def test_built_in_constants_are_float32_of_the_declared_shapes(name):
    model = builtin(name)
    p, m, d, b = len(model.postures), len(model.muscles), len(model.dofs), len(model.bodies)
    assert model.path_reference.shape == (p, m) and model.path_scale.shape == (m,)
    assert model.pseudo_inertia.shape == (p, b, 4, 4) and model.gravity.shape == (p, 3)
    assert model.angle_range.shape == model.limit_angle.shape == (d, 2)
    assert model.rest_angle.shape == (p, d)
    for per_muscle in ("max_isometric_force", "optimal_fibre_length", "tendon_slack_length", "pennation"):
        assert getattr(model, per_muscle).shape == (m,) and np.all(getattr(model, per_muscle) >= 0)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(model))


@pytest.mark.parametrize(("name", "inertia", "weight"), [("wrist", 1.48e-3, 0.279), ("knee", 0.45, 13.26)])
def test_built_in_inertia_and_weight_about_the_joint(name, inertia, weight):
    model = builtin(name)
    assert abs(dynamics.mass_matrix(model, jnp.zeros(1))[0, 0] / inertia - 1) < 1e-5
    body = body_properties(model)
    assert abs(body.mass[0] * body.centre[0, 0] * 9.81 / weight - 1) < 1e-3


def test_a_body_twice_as_tall_and_eight_times_as_heavy_is_the_same_shape():
    model = builtin("knee")
    big = scale_to_body(model, height_m=2 * 1.70, mass_kg=8 * 75.0)
    q, qd = jnp.full((1, 1), 0.7), jnp.full((1, 1), 1.0)
    close = {"rtol": 2e-5}
    np.testing.assert_allclose(geometry.moment_arm(big, q, 0), 2 * geometry.moment_arm(model, q, 0), **close)
    np.testing.assert_allclose(dynamics.mass_matrix(big, q), 32 * dynamics.mass_matrix(model, q), **close)
    np.testing.assert_allclose(dynamics.gravity_torque(big, q, 0), 16 * dynamics.gravity_torque(model, q, 0), **close)
    np.testing.assert_allclose(
        muscle.normalised_fibre_length(big, q, 0), muscle.normalised_fibre_length(model, q, 0), **close
    )
    np.testing.assert_allclose(
        muscle.active_force_capacity(big, q, qd, 0), 4 * muscle.active_force_capacity(model, q, qd, 0), rtol=1e-4
    )
    back = scale_to_body(big, height_m=1.70, mass_kg=75.0)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_unknown_height_and_weight_leave_the_model_as_it_is():
    model = builtin("wrist")
    same = scale_to_body(model)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)
    heavy = scale_to_body(model, mass_kg=150.0)
    np.testing.assert_array_equal(heavy.path_reference, model.path_reference)
    np.testing.assert_allclose(heavy.pseudo_inertia, 2 * model.pseudo_inertia)


def test_an_angle_offset_evaluates_all_mechanics_at_the_shifted_angle():
    for plain in (builtin("knee"), chain(2).replace(angle_offset=jnp.zeros(2))):
        d, m = len(plain.dofs), len(plain.muscles)
        shifted = plain.replace(angle_offset=jnp.full(d, 0.2))
        q, qd, force = jnp.full((4, d), 0.3), jnp.full((4, d), 0.5), jnp.full((4, m), 20.0)
        ours = dynamics.residual(shifted, q, qd, qd, force, 0)
        np.testing.assert_allclose(ours, dynamics.residual(plain, q + 0.2, qd, qd, force, 0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            muscle.hill_force(shifted, 0.01 * force, q, qd, 0), muscle.hill_force(plain, 0.01 * force, q + 0.2, qd, 0)
        )


@pytest.mark.parametrize("model", [builtin("wrist"), chain(2)], ids=["wrist", "chain"])
def test_the_identity_correction_changes_no_bit_and_costs_nothing(model):
    z = identity_correction(model)
    for a, b in zip(jax.tree.leaves(apply_correction(model, z)), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert log_prior(z) == 0
    assert all(np.all(v == (0 if k == "angle_offset_deg" else 1)) for k, v in describe(z, model).items())


@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_corrections_never_leave_their_bounds(extreme):
    model = chain(2)
    z = jax.tree.map(lambda x: jnp.full_like(x, extreme), identity_correction(model))
    for name, value in describe(z, model).items():
        if name == "angle_offset_deg":
            np.testing.assert_allclose(np.abs(value), 20.0, rtol=1e-5)
        else:
            np.testing.assert_allclose(value, SPREAD[name].bound ** np.sign(extreme), rtol=1e-5)
    assert log_prior(z) < 0


def test_one_standard_deviation_is_one_z_score_and_each_quantity_moves_alone():
    model = builtin("knee")
    zero = identity_correction(model)
    q, qd, force = jnp.full((1, 1), 0.4), jnp.full((1, 1), 2.0), jnp.full((1, 5), 80.0)

    @jax.jit
    def terms(z):
        return dynamics.terms(apply_correction(model, z), q, qd, qd, force, 0)

    before = terms(zero)
    moved = {"inertia": "inertia", "gravity": "gravity", "damping": "passive", "moment_arm": "muscle"}
    for name, term in moved.items():
        after = terms(zero.replace(**{name: 0.1 + getattr(zero, name)}))
        for other in ("inertia", "gravity", "passive", "muscle"):
            same = np.allclose(getattr(after, other), getattr(before, other), rtol=1e-6)
            assert same == (other != term), (name, other)
    ratio = terms(zero.replace(inertia=jnp.full(1, 0.1))).inertia / before.inertia
    np.testing.assert_allclose(ratio, np.exp(0.1 * SPREAD["inertia"].deviation), rtol=1e-4)


def test_a_corrected_moment_arm_is_still_minus_the_derivative_of_length():
    z = identity_correction(chain(2)).replace(moment_arm=jnp.linspace(-2.0, 2.0, 7))
    model = apply_correction(chain(2), z)
    q = jnp.array([0.3, -0.4])
    slope = jax.jacfwd(lambda x: geometry.musculotendon_length(model, x, 0))(q)
    np.testing.assert_allclose(geometry.moment_arm(model, q, 0), -slope, atol=1e-6)


def test_physics_gradients_reach_every_correction():
    model = builtin("knee")
    q, qd, a = jnp.full((3, 1), 0.6), jnp.full((3, 1), 1.0), jnp.full((3, 5), 0.2)

    def loss(z):
        m = apply_correction(model, z)
        return jnp.sum(dynamics.residual(m, q, qd, qd, muscle.hill_force(m, a, q, qd, 0), 0) ** 2)

    gradient = jax.jit(jax.grad(loss))(identity_correction(model))
    assert all(np.all(np.isfinite(g)) and np.all(g != 0) for g in jax.tree.leaves(gradient))


def test_a_correction_of_another_model_is_refused():
    with pytest.raises(PitlError, match="7 muscles and 2 coordinates, the wrist model has 5 and 1"):
        describe(identity_correction(chain(2)), builtin("wrist"))


@pytest.mark.parametrize("model", [builtin("knee"), chain(3)], ids=["knee", "chain"])
def test_a_stored_model_comes_back_bit_by_bit(model):
    names, arrays = model_to_dict(model)
    again = model_from_dict(json.loads(json.dumps(names)), arrays)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    del arrays["damping"]
    with pytest.raises(PitlError, match="lacks .'damping'."):
        model_from_dict(names, arrays)
