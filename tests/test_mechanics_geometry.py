"""Musculotendon geometry: moment arms belong to lengths, and both to the published models."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain, compiled

from benchmarks.chains import chain as limb
from pitl.errors import PitlError
from pitl.mechanics import geometry as eager
from pitl.mechanics.planar import builtin

geometry = compiled(eager, "musculotendon_length", "moment_arm", "lengthening_velocity", "weighted_moment_arms")


def angles(model, n=41, margin=0.0):
    low, high = np.asarray(model.angle_range[0])
    return jnp.linspace(low - margin, high + margin, n, dtype=jnp.float32)[:, None]


@pytest.mark.parametrize("name", ["wrist", "knee"])
@pytest.mark.parametrize("posture", [0, 1])
@pytest.mark.parametrize("margin", [0.0, 0.5], ids=["inside", "beyond"])
def test_moment_arm_is_minus_the_derivative_of_length(name, posture, margin):
    model = builtin(name)
    q = angles(model, margin=margin) + 1e-4  # rad; clear of the corner at the limit
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda x: geometry.musculotendon_length(model, x, posture))))(q)
    np.testing.assert_allclose(geometry.moment_arm(model, q, posture), -slope, atol=3e-7)


@pytest.mark.parametrize("margin", [0.0, 0.7], ids=["inside", "beyond"])
def test_moment_arm_is_minus_the_derivative_of_length_for_two_coordinates(margin):
    model = chain(2)
    reach = 0.9 + margin  # rad
    q = jax.random.uniform(jax.random.key(0), (64, 2), minval=-reach, maxval=reach)
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda x: geometry.musculotendon_length(model, x, 0))))(q)
    np.testing.assert_allclose(geometry.moment_arm(model, q, 0), -slope, atol=1e-6)


@pytest.mark.parametrize("model", [builtin("knee"), chain(3), limb(4)], ids=["knee", "chain", "limb"])
def test_the_host_looks_up_what_the_device_does(model):
    rng, (low, high) = np.random.default_rng(0), np.asarray(model.angle_range).T
    q = rng.uniform(low - 0.4, high + 0.4, (64, len(low))).astype(np.float32)
    posture = rng.integers(0, len(model.postures), 64)
    result = eager.on_host(model, q, posture)
    at = (model, jnp.asarray(q), jnp.asarray(posture, jnp.int32))
    np.testing.assert_allclose(result.length, geometry.musculotendon_length(*at), atol=1e-6)
    np.testing.assert_allclose(result.arm, geometry.moment_arm(*at), atol=1e-6)


@pytest.mark.parametrize("beyond", [0.0, 0.7], ids=["inside", "beyond"])
@pytest.mark.parametrize("model", [builtin("knee"), builtin("wrist"), limb(4)], ids=["knee", "wrist", "limb"])
def test_the_torque_of_forces_is_their_moment_arms_times_them(model, beyond):
    keys = jax.random.split(jax.random.key(1), 3)
    low, high = np.asarray(model.angle_range, np.float32).T
    q = jax.random.uniform(keys[0], (64, len(low)), minval=low - beyond, maxval=high + beyond)
    force = 300 * jax.random.uniform(keys[1], (64, len(model.muscles)))  # N
    posture = jax.random.randint(keys[2], (64,), 0, len(model.postures))
    wanted = jnp.sum(geometry.moment_arm(model, q, posture) * force[..., None], axis=-2)  # N m
    scale = float(jnp.max(jnp.abs(wanted)))
    np.testing.assert_allclose(geometry.weighted_moment_arms(model, q, force, posture), wanted, atol=1e-5 * scale)


@pytest.mark.thorough
def test_a_muscle_costs_nothing_at_joints_that_it_does_not_cross():
    def work(joints):
        model = limb(joints)
        q, force = jnp.zeros((256, joints)), jnp.ones((256, len(model.muscles)))
        loss = jax.grad(lambda q, f: jnp.sum(eager.weighted_moment_arms(model, q, f, 0) ** 2), (0, 1))
        compiled_loss = jax.jit(loss).lower(q, force).compile()
        return compiled_loss.cost_analysis()["flops"], compiled_loss.memory_analysis().temp_size_in_bytes

    operations, memory = (big / small for small, big in zip(work(8), work(16), strict=True))
    assert memory < 2.3
    assert operations < 3.0  # muscles times joints would be 4; what is fused is counted where it is used


def test_lengthening_velocity_is_the_rate_of_length():
    for model in (builtin("knee"), chain(2)):
        d = len(model.dofs)
        q, qd = jnp.full((3, d), 0.4), jnp.full((3, d), -1.3)
        _, rate = jax.jvp(lambda x, m=model: geometry.musculotendon_length(m, x, 0), (q,), (qd,))
        np.testing.assert_allclose(geometry.lengthening_velocity(model, q, qd, 0), rate, atol=1e-6)


def test_an_impossible_angle_has_a_finite_length_and_the_arm_of_the_limit():
    model = builtin("wrist")
    far, limit = jnp.array([[30.0]]), jnp.array([[np.deg2rad(70)]], jnp.float32)
    np.testing.assert_allclose(geometry.moment_arm(model, far, 0), geometry.moment_arm(model, limit, 0))
    assert np.all(np.abs(geometry.musculotendon_length(model, far, 0)) < 1.0)


@pytest.mark.parametrize(
    ("name", "flexors", "extensors"),
    [("wrist", ("FCR", "FCU"), ("ECRL", "ECRB")), ("knee", ("BFLH", "BFSH", "MH"), ("RF", "VAS"))],
)
def test_flexors_have_positive_arms_and_extensors_negative_ones(name, flexors, extensors):
    model = builtin(name)
    for posture in (0, 1):
        arm = geometry.moment_arm(model, angles(model), posture)[..., 0]
        assert all(np.all(arm[:, model.muscles.index(m)] > 0) for m in flexors)
        assert all(np.all(arm[:, model.muscles.index(m)] < 0) for m in extensors)


def test_hip_flexion_stretches_hamstrings_and_slackens_rectus():
    model = builtin("knee")
    seated, standing = (geometry.musculotendon_length(model, jnp.array([0.8]), p) for p in (0, 1))
    change = dict(zip(model.muscles, np.asarray(seated - standing), strict=True))
    assert change["RF"] < -0.05 and change["BFLH"] > 0.05 and change["MH"] > 0.05
    assert change["VAS"] == change["BFSH"] == 0


def test_each_sample_can_have_its_own_posture():
    model = builtin("knee")
    q = jnp.array([[0.3], [0.9]])
    mixed = geometry.musculotendon_length(model, q, jnp.array([1, 0]))
    np.testing.assert_array_equal(mixed[0], geometry.musculotendon_length(model, q[0], 1))
    np.testing.assert_array_equal(mixed[1], geometry.musculotendon_length(model, q[1], 0))


def test_mismatched_shapes_are_refused_by_name():
    model = builtin("wrist")
    with pytest.raises(PitlError, match=r"posture has shape \(3,\), expected \(4,\)"):
        geometry.moment_arm(model, jnp.zeros((4, 1)), jnp.zeros(3, int))
    with pytest.raises(PitlError, match=r"q has shape \(4,\)"):
        geometry.moment_arm(model, jnp.zeros(4), 0)
    with pytest.raises(PitlError, match=r"qd has shape \(1, 1\), expected \(4, 1\)"):
        geometry.lengthening_velocity(model, jnp.zeros((4, 1)), jnp.zeros((1, 1)), 0)


def table(path, model):
    """(angle, muscle) -> (arm, length) of one model of a reference table."""
    with path.open() as f:
        rows = [list(r.values()) for r in csv.DictReader(f)]
    return {(float(r[1]), r[2].removesuffix("_r")): (float(r[3]), float(r[4])) for r in rows if r[0] == model}


def test_wrist_agrees_with_opensim(shared):
    reference = table(shared / "reference" / "wrist_flexion_moment_arms.csv", "MoBL-ARMS")
    model = builtin("wrist")
    tolerance_mm = {"FCR": 0.35, "FCU": 0.35, "ECRL": 0.4, "ECRB": 0.35, "ECU": 1.2}
    checked = 0
    for (angle, muscle), (arm, length) in reference.items():
        if muscle in model.muscles and abs(angle) <= 70:
            q, m = jnp.array([np.deg2rad(angle)], jnp.float32), model.muscles.index(muscle)
            ours = geometry.moment_arm(model, q, 0)[m, 0]
            assert abs(ours - arm) < tolerance_mm[muscle] * 1e-3, (angle, muscle, ours, arm)
            assert abs(geometry.musculotendon_length(model, q, 0)[m] - length) < 0.05e-3
            checked += 1
    assert checked == 75


def test_knee_agrees_with_opensim_standing(shared):
    reference = table(shared / "reference" / "knee_ankle_elbow_moment_arms.csv", "Rajagopal2016 knee")
    strength = {"vasmed": 2747.82, "vaslat": 5148.77, "vasint": 1697.36, "semimem": 2200.99, "semiten": 591.30}  # N
    lumps = {
        "RF": ("recfem",),
        "VAS": ("vasmed", "vaslat", "vasint"),
        "BFLH": ("bflh",),
        "BFSH": ("bfsh",),
        "MH": ("semimem", "semiten"),
    }
    model = builtin("knee")
    tolerance_mm = {"RF": 1.8, "VAS": 1.5, "BFLH": 0.1, "BFSH": 0.7, "MH": 0.4}
    standing = model.postures.index("standing")
    for angle in sorted({a for a, _ in reference if a <= 120}):
        q = jnp.array([np.deg2rad(angle)], jnp.float32)
        for m, (name, parts) in enumerate(lumps.items()):
            arm, length = np.average(
                [reference[angle, p] for p in parts], axis=0, weights=[strength.get(p, 1) for p in parts]
            )
            ours = geometry.moment_arm(model, q, standing)[m, 0]
            assert abs(ours - arm) < tolerance_mm[name] * 1e-3, (angle, name, ours, arm)
            assert abs(geometry.musculotendon_length(model, q, standing)[m] - length) < 0.2e-3
