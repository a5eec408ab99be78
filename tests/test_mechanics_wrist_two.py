"""The built-in wrist with flexion and deviation: paths as OpenSim's, a hand that moves as a rigid body does."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import compiled

from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics import library
from pitl.mechanics.muscle import calibrate_slack_length

dynamics = compiled(eager_dynamics, "mass_matrix", "gravity_torque")
geometry = compiled(eager_geometry, "musculotendon_length", "moment_arm")

# worst differences [mm] of length, flexion arm and deviation arm; FCU and PL gain a path point at some flexion
WORST_MM = {
    "FCR": (0.01, 0.03, 0.03),
    "FCU": (0.6, 1.2, 2.0),
    "PL": (0.25, 1.0, 1.05),
    "ECRL": (0.01, 0.02, 0.02),
    "ECRB": (0.02, 0.1, 0.1),
    "ECU": (0.01, 0.02, 0.02),
}


@pytest.fixture(scope="module")
def wrist():
    return library.load("wrist2")


def test_lengths_and_both_moment_arms_are_those_of_opensim(shared, wrist):
    with (shared / "reference" / "wrist_two_coordinates.csv").open() as f:
        rows = list(csv.DictReader(f))
    for m, muscle in enumerate(wrist.muscles):
        own = [r for r in rows if r["muscle"] == muscle]
        if muscle == "ECRL":  # without any deviation, and nowhere else, OpenSim's path leaves its wrapping surface
            own = [r for r in own if float(r["deviation_deg"]) != 0]
        pose = [[float(r["flexion_deg"]), float(r["deviation_deg"])] for r in own]
        q = jnp.asarray(np.deg2rad(pose), jnp.float32)
        length, arm = (np.asarray(f(wrist, q, 0))[:, m] for f in (geometry.musculotendon_length, geometry.moment_arm))
        ours = np.column_stack([length, arm])
        theirs = [[float(r[k]) for k in ("mtu_length_m", "flexion_arm_m", "deviation_arm_m")] for r in own]
        worst = 1e3 * np.abs(ours - np.array(theirs)).max(axis=0)
        assert len(own) > 90 and np.all(worst < WORST_MM[muscle]), (muscle, worst)


def test_moment_arms_are_the_derivatives_of_lengths(wrist):
    q = jnp.asarray(np.random.default_rng(0).uniform([-1.1, -0.3], [1.1, 0.5], (50, 2)), jnp.float32)
    slope = jax.vmap(jax.jacfwd(lambda x: eager_geometry.musculotendon_length(wrist, x, 0)))(q)
    np.testing.assert_allclose(geometry.moment_arm(wrist, q, 0), -slope, atol=1e-6)


def test_the_signs_are_those_of_anatomy(wrist):
    """Radial: FCR, ECRL, ECRB, PL; ulnar: FCU, ECU; a hand with the thumb up falls to the ulnar side."""
    arm = np.asarray(geometry.moment_arm(wrist, jnp.zeros(2), 0))
    flexes = dict(zip(wrist.muscles, arm[:, 0] > 0, strict=True))
    ulnar = dict(zip(wrist.muscles, arm[:, 1] > 0, strict=True))
    assert flexes == {"FCR": True, "FCU": True, "PL": True, "ECRL": False, "ECRB": False, "ECU": False}
    assert ulnar == {"FCR": False, "FCU": True, "PL": False, "ECRL": False, "ECRB": False, "ECU": True}
    weight = 0.58 * 0.049 * 9.81  # N m
    thumb_up, palm_down = (np.asarray(dynamics.gravity_torque(wrist, jnp.zeros(2), p)) for p in (0, 1))
    np.testing.assert_allclose(thumb_up, [0, -weight], atol=1e-6)  # radial muscles hold it
    np.testing.assert_allclose(palm_down, [-weight, 0], atol=1e-6)  # extensors hold it
    one = library.load("wrist")
    np.testing.assert_allclose(palm_down[:1], dynamics.gravity_torque(one, jnp.zeros(1), 1), atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(dynamics.mass_matrix(wrist, jnp.zeros(2), 0))[:1, :1],
        dynamics.mass_matrix(one, jnp.zeros(1), 0),
        rtol=1e-5,
    )


def test_the_hand_is_a_rigid_body_on_crossing_hinges(wrist):
    """Closed form: M_ff = I_along sin2 b + I_across cos2 b, M_dd constant, no coupling; b is the deviation."""
    b = np.linspace(-0.3, 0.5, 9)
    q = jnp.asarray(np.column_stack([np.linspace(-1, 1, 9), b]), jnp.float32)
    mass = np.asarray(dynamics.mass_matrix(wrist, q, 0))
    across = 1.48e-3  # kg m2, about the wrist
    about = across - 0.58 * 0.049**2
    along, through = about * (0.401 / 0.513) ** 2, about * (0.628 / 0.513) ** 2 + 0.58 * 0.049**2
    np.testing.assert_allclose(mass[:, 0, 0], along * np.sin(b) ** 2 + across * np.cos(b) ** 2, rtol=1e-4)
    np.testing.assert_allclose(mass[:, 1, 1], through, rtol=1e-4)
    np.testing.assert_allclose(mass[:, 0, 1], 0.0, atol=1e-8)


def test_fibres_work_near_their_plateau(wrist):
    again = calibrate_slack_length(wrist, 1.25)
    np.testing.assert_allclose(again.tendon_slack_length, wrist.tendon_slack_length, atol=1e-5)
