"""Our mechanics against OpenSim's, on published models and on one made here. The worst difference counts."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import compiled
from scipy import signal

from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics.redundancy import Effort, static_optimisation

pytestmark = pytest.mark.deep

opensim = pytest.importorskip(
    "opensim", reason="OpenSim's Python package is not installed: pip install 'pitl[opensim]'"
)
import opensim_reference as reference  # noqa: E402
from opensim_models import two_links  # noqa: E402

from pitl.mechanics import importing  # noqa: E402
from pitl.mechanics.opensim.sampler import open_model  # noqa: E402

dynamics = compiled(eager_dynamics, "mass_matrix", "gravity_torque", "inverse_dynamics", "base_torque")
geometry = compiled(eager_geometry, "musculotendon_length", "moment_arm")

SWING_S = (2.5, 2.8)  # s, right foot in the air in the recorded step
LEG = ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")
SHOULDER = {"r_shoulder_elev": (np.deg2rad(-60.0), np.deg2rad(28.0))}
# file, coordinates, muscles (None is all), ranges, muscles whose paths jump in OpenSim itself: smoothed or left out
CASES = {
    "arm26": ("arm26", ("r_shoulder_elev", "r_elbow_flex"), None, SHOULDER, ()),
    "gait knee": ("gait10dof18musc", LEG[1:2], None, {}, ()),
    "gait leg": ("gait10dof18musc", LEG, None, {}, ("iliopsoas_r", "rect_fem_r")),
    "Rajagopal knee": ("Rajagopal2016", LEG[1:2], None, {}, ("gaslat_r", "gasmed_r")),
    "Rajagopal ankle": ("Rajagopal2016", LEG[2:], None, {}, ()),
    "wrist flexion": ("wrist", ("flexion",), ("FCR", "FCU", "ECRL", "ECRB", "ECU_pre-surgery"), {}, ()),
    "wrist": ("wrist", ("flexion", "deviation"), ("FCR", "FCU", "ECRL", "ECRB", "ECU_pre-surgery"), {}, ("FCU",)),
}


def some(x):
    return jnp.asarray(x, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_lengths_and_moment_arms_of_published_models(shared, case):
    name, coordinates, muscles, ranges, refused = CASES[case]
    path = shared / "models" / f"{name}.osim"
    imported = importing.import_model(path, coordinates, ranges=ranges, muscles=muscles)
    assert {f.muscle for f in imported.fits if f.smoothed or not f.accepted} == set(refused)
    assert all(
        re.search("jumps|differs|sharply|no number", f.reason) for f in imported.fits if f.smoothed or not f.accepted
    )
    compare_paths(imported, open_model(path, coordinates, None, ranges))


def test_lengths_and_moment_arms_of_a_made_up_model(tmp_path):
    path = two_links(tmp_path)
    imported = importing.import_model(path, ("shoulder", "elbow"))
    assert imported.model.muscles == ("monoarticular", "biarticular", "wrapping")
    compare_paths(imported, open_model(path, ("shoulder", "elbow")))


def compare_paths(imported, sampler, count=150):
    """At random poses, which are not nodes of any grid: moment arms within 0.5 mm, or 1 mm of paths that bend."""
    model, refused = imported.model, {f.muscle for f in imported.fits if f.smoothed or not f.accepted}
    poses = sampler.random(np.random.default_rng(123), count)
    lengths = np.asarray(geometry.musculotendon_length(model, some(poses), 0))
    arms = np.asarray(geometry.moment_arm(model, some(poses), 0))
    bends = {m: bool(sampler.muscle(m).geometry) for m in model.muscles}  # wraps, or gains points
    for k, q in enumerate(poses):
        sampler.pose(q)
        for m, muscle in enumerate(model.muscles):
            if muscle in refused:
                continue
            wrong = 1e3 * np.abs(arms[k, m] - sampler.arms(muscle)).max()
            assert wrong < (1.0 if bends[muscle] else 0.5), (muscle, np.rad2deg(q), wrong)
            off = 1e3 * abs(lengths[k, m] - sampler.lengths([muscle])[0])
            assert off < (1.0 if bends[muscle] else 0.05), (muscle, np.rad2deg(q), off)


DYNAMIC = {
    "arm26": ("arm26", ("r_shoulder_elev", "r_elbow_flex"), ("BRA",)),
    "gait leg": ("gait10dof18musc", LEG, ("soleus_r",)),
    "Rajagopal leg": ("Rajagopal2016", LEG, ("soleus_r",)),
    "Rajagopal hip in space": ("Rajagopal2016", ("hip_flexion_r", "hip_adduction_r", "hip_rotation_r"), ("piri_r",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DYNAMIC)
def test_mass_matrix_gravity_and_inverse_dynamics_of_published_models(shared, case):
    name, coordinates, muscles = DYNAMIC[case]
    compare_dynamics(shared / "models" / f"{name}.osim", coordinates, muscles)


def test_mass_matrix_gravity_and_inverse_dynamics_of_a_made_up_model(tmp_path):
    compare_dynamics(two_links(tmp_path), ("shoulder", "elbow"), None)


def compare_dynamics(path, coordinates, muscles):
    model = importing.import_model(path, coordinates, muscles=muscles).model
    sampler = open_model(path, coordinates)
    q, qd, qdd = smooth_motion(sampler, 60)
    exact = reference.mechanics(sampler, q, qd, qdd)
    still = reference.mechanics(sampler, q, 0 * qd, 0 * qdd)
    mass = np.asarray(dynamics.mass_matrix(model, some(q), 0))
    np.testing.assert_allclose(mass, exact.mass, atol=1e-3 * np.abs(exact.mass).max())
    for ours, theirs in (
        (dynamics.gravity_torque(model, some(q), 0), still.torque),
        (dynamics.inverse_dynamics(model, some(q), some(qd), some(qdd), 0), exact.torque),
    ):
        worst = np.abs(np.asarray(ours) - theirs).max(axis=0) / np.ptp(theirs, axis=0)
        assert np.all(worst < 0.01), worst


def smooth_motion(sampler, count):
    """A random sum of sines within the middle of the ranges: angles, velocities, accelerations (N, D)."""
    rng = np.random.default_rng(4)
    low, high = (np.array([getattr(c, k) for c in sampler.coordinates]) for k in ("low", "high"))
    time = np.linspace(0, 3, count)[:, None, None]  # s
    w = 2 * np.pi * rng.uniform(0.3, 1.5, (1, 4, len(low)))  # rad/s
    phase, size = rng.uniform(0, 2 * np.pi, w.shape), 0.2 * (high - low) / 2
    x = w * time + phase
    return (
        (low + high) / 2 + (size * np.sin(x)).sum(1),
        (size * w * np.cos(x)).sum(1),
        -(size * w**2 * np.sin(x)).sum(1),
    )


PELVIS = tuple(f"pelvis_{k}" for k in ("tilt", "list", "rotation", "tx", "ty", "tz"))


def test_inverse_dynamics_of_a_swinging_leg_on_a_moving_pelvis(shared):
    """One recorded step: hip, knee and ankle move, and the pelvis that carries them does as well."""
    gait = shared / "data" / "opensim_gait"
    table = opensim.TimeSeriesTable(str(gait / "IK_gait.mot"))
    time = np.array(table.getIndependentColumn())
    sos = signal.butter(2, 6.0, fs=1 / np.diff(time).mean(), output="sos")  # zero-phase, 6 Hz
    moves = {}
    for name in (*PELVIS, *LEG):
        raw = table.getDependentColumn(name).to_numpy()
        moves[name] = signal.sosfiltfilt(sos, raw if name[:8] == "pelvis_t" and name[8:] != "ilt" else np.deg2rad(raw))
    path = gait / "ScaledModel.osim"
    model = importing.import_model(path, LEG, muscles=("soleus_r",)).model
    q = np.stack([moves[c] for c in LEG], axis=1)
    qd = np.gradient(q, time, axis=0)
    qdd = np.gradient(qd, time, axis=0)
    torque = dynamics.inverse_dynamics(model, some(q), some(qd), some(qdd), 0)
    base = moving_pelvis(path, moves, q, time)
    torque = np.asarray(torque + dynamics.base_torque(model, some(q), some(qd), 0, base))
    exact = reference.inverse_dynamics(open_model(path, LEG), moves, time)
    recorded = opensim.TimeSeriesTable(str(gait / "ID_gait.sto"))
    at = np.array(recorded.getIndependentColumn())
    swing = (time > SWING_S[0]) & (time < SWING_S[1])
    assert swing.sum() > 20
    for d, name in enumerate(LEG):
        span = np.ptp(exact[name][swing])
        assert np.abs(torque[:, d] - exact[name])[swing].max() < 0.01 * span, name
        # the stored moments are of the whole leg, with the hip turning in all directions and a filter of their own
        theirs = np.interp(time, at, recorded.getDependentColumn(f"{name}_moment").to_numpy())
        assert np.abs(torque[:, d] - theirs)[swing].max() < 0.15 * np.ptp(theirs[swing]), name


def moving_pelvis(path, moves, q, time):
    """The recorded pelvis as the base of a model that was sampled with a still one."""
    sampler = open_model(path, LEG)
    sampler.pose(q[0])
    held = np.vstack([sampler.frames(["pelvis"])[0], [0, 0, 0, 1]])
    pose = []
    for k in range(len(time)):
        for name in PELVIS:
            sampler.model.getCoordinateSet().get(name).setValue(sampler.state, float(moves[name][k]), False)
        sampler.pose(q[k])
        pose.append(np.vstack([sampler.frames(["pelvis"])[0], [0, 0, 0, 1]]))
    pose = np.array(pose)
    first = np.gradient(pose, time, axis=0)
    back, away = np.linalg.inv(pose), np.linalg.inv(held)
    spin, acceleration = held @ back @ first @ away, held @ back @ np.gradient(first, time, axis=0) @ away
    gravity = np.einsum("ij,njk,k->ni", held[:3, :3], back[:, :3, :3], sampler.gravity())
    return eager_dynamics.Base(some(spin[:, :3]), some(acceleration[:, :3]), some(gravity))


def test_static_optimisation_of_arm26(shared, tmp_path):
    """The same objective, ideal muscles, OpenSim's own tool: forces within 2 % of each muscle's strength."""
    path = shared / "models" / "arm26.osim"
    coordinates = ("r_shoulder_elev", "r_elbow_flex")
    time = np.arange(0, 0.601, 0.01)
    size, centre = np.deg2rad([15.0, 30.0]), np.deg2rad([0.0, 60.0])  # rad
    w, phase = 2 * np.pi * np.array([0.7, 0.9]), np.array([0.0, 1.0])  # rad/s
    x = time[:, None] * w + phase
    q, qd, qdd = centre + size * np.sin(x), size * w * np.cos(x), -size * w**2 * np.sin(x)
    theirs = reference.static_optimisation(path, tmp_path, time, dict(zip(coordinates, q.T, strict=True)))
    model = importing.import_model(path, coordinates, ranges=SHOULDER).model
    torque = dynamics.inverse_dynamics(model, some(q), some(qd), some(qdd), 0)
    least = jnp.full(6, 0.01)  # the file's min_control
    ours = static_optimisation(model, some(q), some(qd), torque, 0, Effort(force_length_velocity=False, lower=least))
    assert float(jnp.abs(ours.reserve).max()) < 0.01
    for m, muscle in enumerate(model.muscles):
        off = np.abs(np.asarray(ours.force)[:, m] - theirs[2][muscle]) / float(model.max_isometric_force[m])
        assert off.max() < 0.02, (muscle, off.max())
    assert max(np.ptp(f) / s for f, s in zip(theirs[2].values(), model.max_isometric_force, strict=True)) > 0.1
