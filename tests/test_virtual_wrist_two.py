"""The virtual wrist with two coordinates: the library's mechanics, measured efforts, people who differ."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import signal

from pitl.config.schema import VirtualConfig
from pitl.data.recording import Cohort
from pitl.data.virtual import cohort as virtual_cohort
from pitl.data.virtual import foreign, simulate, wrist_two
from pitl.data.virtual.subject import draw
from pitl.errors import PitlError
from pitl.mechanics import dynamics, geometry, library
from pitl.mechanics.model import pseudo_inertia
from pitl.mechanics.muscle import calibrate_slack_length
from pitl.mechanics.planar import builtin

pytestmark = pytest.mark.deep

SETTINGS = VirtualConfig(
    joint="wrist2", subjects=2, seconds=4.0, rhythmic_trials=1, effort_trials=5, postures=("pronated", "neutral")
)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate(SETTINGS)


@pytest.fixture(scope="module")
def people():
    wrist = library.load("wrist2")
    parts = (wrist_two.draw_hand, wrist_two.draw_muscles)
    return [draw(VirtualConfig(joint="wrist2"), wrist, k, parts) for k in range(200)]


def test_torque_is_the_sum_of_arms_times_forces(cohort):
    """Moment arms by finite differences of the lengths in the truth."""
    wrist = library.load("wrist2")
    order = wrist_two.muscle_order(wrist.muscles)
    for s in cohort.subjects:
        for r in s.recordings:
            angle = s.truth[f"{r.trial}/angle"].astype(float)[::400]
            length = s.truth["musculotendon_length"][wrist.postures.index(r.posture)]

            def lengths(q, length=length):
                return np.prod(q[:, None, :] ** wrist_two.POWERS, axis=-1) @ length.T

            step = 1e-5
            arms = [-(lengths(angle + d) - lengths(angle - d)) / (2 * step) for d in step * np.eye(2)]
            expected = np.stack([np.sum(a * r.force[::400][:, order], axis=1) for a in arms], axis=1)
            assert_allclose(r.torque[::400], expected, atol=2e-4)


def test_the_hand_obeys_the_librarys_equation_of_motion(cohort):
    """Inverse dynamics by `pitl.mechanics`, which shares no formula with the simulation, gives the muscles' torque."""
    slow = signal.butter(2, 30, fs=2000, output="sos")
    wrist = library.load("wrist2")
    for s in cohort.subjects:
        t, r = s.truth, s.recordings[0]
        inertia = np.diag(t["inertia"] - t["mass"] * t["lever"] ** 2 * np.array([0.0, 1.0, 1.0]))
        body = pseudo_inertia(float(t["mass"]), np.array([t["lever"], 0.0, 0.0]), inertia)
        own = dataclasses.replace(
            wrist,
            pseudo_inertia=jnp.asarray(np.stack([body[None]] * 2), jnp.float32),
            damping=jnp.asarray(t["damping"], jnp.float32),
            stiffness=jnp.asarray(t["stiffness"], jnp.float32),
            rest_angle=jnp.asarray(np.stack([t["rest_shift"]] * 2), jnp.float32),
            limit_stiffness=jnp.zeros(2, jnp.float32),
        )
        angle = signal.sosfiltfilt(slow, t[f"{r.trial}/angle"].astype(float), axis=0)
        rate = np.gradient(angle, 1 / r.rate_hz, axis=0)
        motion = [jnp.asarray(x, jnp.float32) for x in (angle, rate, np.gradient(rate, 1 / r.rate_hz, axis=0))]
        q, qd, qdd = motion
        needed = np.asarray(dynamics.inverse_dynamics(own, q, qd, qdd, wrist.postures.index(r.posture)))
        given = r.torque + t[f"{r.trial}/friction"] + t[f"{r.trial}/ligament"]
        error = signal.sosfiltfilt(slow, given - needed, axis=0)[400:-400]
        assert np.std(error) < 4e-3, s.name
        assert np.std(r.torque) > 10 * np.std(error)


def test_an_effort_is_still_and_its_torque_is_measured(cohort):
    s = cohort.subjects[0]
    efforts = {str(s.truth[f"{r.trial}/direction"]): r for r in s.recordings if r.dynamometer is not None}
    assert tuple(efforts) == wrist_two.DIRECTIONS
    peak = {}
    for name, r in efforts.items():
        assert np.ptp(s.truth[f"{r.trial}/angle"], axis=0).max() == 0
        # muscles alone, but for the hand's weight and the joint's stiffness, which do not change
        difference = r.dynamometer - r.torque
        assert np.all(difference.std(axis=0) < 0.03 + 0.06 * np.abs(r.torque).max())
        peak[name] = r.dynamometer[np.argmax(np.linalg.norm(r.dynamometer, axis=1))]
    assert peak["flexion"][0] > 2 and peak["extension"][0] < -2 and peak["ulnar"][1] > 2 and peak["radial"][1] < -2
    assert all(s.truth[f"{r.trial}/activation"].max() > 0.6 for r in efforts.values())


def test_strengths_differ_between_people_as_muscle_volumes_do(people):
    wrist = library.load("wrist2")
    order = wrist_two.muscle_order(wrist.muscles)
    relative = []
    for p in people:
        likely = np.asarray(wrist.max_isometric_force)[order] * (p.mass / float(wrist.body_mass)) ** (2 / 3)
        relative.append(np.log(p.muscles.strength / likely))
    together = np.corrcoef(np.array(relative).T)[np.triu_indices(6, 1)]
    assert np.all((np.std(relative, axis=0) > 0.15) & (np.std(relative, axis=0) < 0.25))
    assert 0.2 < together.mean() < 0.5


def test_without_variation_everybody_is_the_built_in_wrist(people):
    wrist = library.load("wrist2")
    p = draw(VirtualConfig(joint="wrist2", variation=0.0), wrist, 0, (wrist_two.draw_hand, wrist_two.draw_muscles))
    q = np.array([0.4, 0.2])
    length, arm = wrist_two.geometry(jnp.asarray(p.muscles.length[0]), jnp.asarray(q))
    order = jnp.asarray(wrist_two.muscle_order(wrist.muscles))
    at = jnp.asarray(q[None], jnp.float32)
    assert_allclose(length, geometry.musculotendon_length(wrist, at, 0)[0][order], atol=2e-5)
    assert_allclose(arm, geometry.moment_arm(wrist, at, 0)[0][order], atol=2e-4)
    assert_allclose(p.muscles.strength, wrist.max_isometric_force[order], rtol=1e-6)


def test_efforts_need_two_coordinates():
    with pytest.raises(PitlError, match="wrist2"):
        simulate(VirtualConfig(effort_trials=1))


# MuJoCo's wrist


def _foreign_trial(task="effort"):
    settings = VirtualConfig(joint="wrist2", seed=4, seconds=1.0, effort_trials=1, postures=("neutral",))
    wrist = calibrate_slack_length(builtin("wrist2"))
    person = draw(settings, wrist, 0, (wrist_two.draw_hand, wrist_two.draw_muscles))
    asked = next(t for t in virtual_cohort._tasks(settings, 0) if t.task == task)
    return virtual_cohort._prepare(settings, wrist, person, asked, 2000, 2000.0)


def test_mujocos_hand_obeys_the_same_equation_of_motion_and_has_the_same_arms_in_the_middle():
    mujoco = pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'pitl[mujoco]'")
    trial, _, _ = _foreign_trial("random")
    model = mujoco.MjModel.from_xml_string(foreign.mjcf(trial))
    model.dof_frictionloss[:] = 0
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    mujoco.mj_forward(model, data)
    own = wrist_two.geometry(jnp.asarray(trial.length), jnp.zeros(2))[1]
    np.testing.assert_allclose(-foreign._moment(data, model), own, atol=1e-5)
    joint = trial.joint
    for _ in range(5):
        q, qd, qdd = (jnp.asarray(x * rng.uniform(-1, 1, 2), jnp.float32) for x in (np.array([0.5, 0.15]), 3.0, 20.0))
        data.qpos[:], data.qvel[:], data.qacc[:] = q, qd, qdd
        mujoco.mj_inverse(model, data)
        asked = wrist_two._mass(joint, jnp.asarray(q)) * qdd + wrist_two._coriolis(
            joint, jnp.asarray(q), jnp.asarray(qd)
        )
        asked -= wrist_two.weight_torque(joint, trial.down, q)
        asked += joint.damping * qd + joint.stiffness * (q - joint.rest_shift)
        np.testing.assert_allclose(data.qfrc_inverse - data.qfrc_constraint, asked, atol=2e-4)


def test_a_held_hand_of_mujocos_stays_and_the_device_reads_what_its_muscles_give():
    pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'pitl[mujoco]'")
    sample = foreign.run(*_foreign_trial(), 5e-4, 20)
    assert np.degrees(np.ptp(sample.angle, axis=0)).max() < 0.1
    assert np.all(sample.force >= 0) and sample.force.max() > 20  # N
    assert np.all((sample.drive >= 0) & (sample.drive <= 1))
    given = np.sum(sample.arm * sample.force[..., None], axis=1)  # N m
    change = sample.exerted - sample.exerted[:1]  # the hand's weight and its tissues do not change
    np.testing.assert_allclose(change[200:], (given - given[:1])[200:], atol=5e-3)


def test_a_cohort_by_mujoco_is_one_like_ours(cohort):
    pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'pitl[mujoco]'")
    asked = SETTINGS.model_copy(update={"dynamics": "mujoco", "subjects": 1, "random_trials": 0, "effort_trials": 0})
    (a,), b = simulate(asked).subjects[0].recordings, cohort.subjects[0].recordings[0]
    assert (a.trial, a.channels, a.muscles, a.dofs) == (b.trial, b.channels, b.muscles, b.dofs)
    assert a.emg.shape == b.emg.shape and a.force.shape == b.force.shape and a.torque.shape == b.torque.shape
    assert np.all(a.force >= 0) and 0.3 < a.force.mean() / b.force.mean() < 3  # the same person does the same
    assert np.abs(a.force - b.force).max() > 1  # N, with other dynamics
    with pytest.raises(PitlError, match="two coordinates alone"):
        simulate(VirtualConfig(dynamics="mujoco"))
