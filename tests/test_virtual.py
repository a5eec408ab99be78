"""The virtual cohort: reproducible, plausible, and richer than the physics that learners know."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal

from pitl.config.schema import VirtualConfig
from pitl.data.recording import Cohort
from pitl.data.virtual import simulate
from pitl.data.virtual.surface_emg import HALF_NORMAL
from pitl.errors import PitlError
from pitl.mechanics import dynamics
from pitl.mechanics.joints import WRIST
from pitl.mechanics.planar import builtin

pytestmark = pytest.mark.deep

# tests share a length where they can: another one is another compilation
SHORT = {"seconds": 4.0, "rhythmic_trials": 1, "random_trials": 1}
# the learner's physics, exactly: nobody differs from the built-in wrist, and nothing is added
PLAIN = {"variation": 0.0, "friction": 0.0, "unrecorded_muscle": 0.0, "end_stiffness": 0.0, "measurement_noise": 0.0}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate(VirtualConfig(subjects=16, seconds=4.0, hold_trials=1))


@pytest.fixture(scope="module")
def quiet() -> Cohort:
    """Long, with EMG as simple as it can be."""
    return simulate(
        VirtualConfig(
            subjects=2,
            seconds=20.0,
            rhythmic_trials=1,
            cross_talk=0,
            emg_nonlinearity=0,
            mvc_error=0,
            measurement_noise=0,
        )
    )


def _recordings(cohort: Cohort):
    return [(s, r) for s in cohort.subjects for r in s.recordings]


def _truth(subject, recording, name: str) -> np.ndarray:
    return subject.truth[f"{recording.trial}/{name}"].astype(float)


def _assert_same(a: Cohort, b: Cohort) -> None:
    for x, y in zip(a.subjects, b.subjects, strict=True):
        assert (x.name, x.height_m, x.mass_kg) == (y.name, y.height_m, y.mass_kg)
        assert_array_equal(x.mvc, y.mvc)
        for key in x.truth:
            assert_array_equal(x.truth[key], y.truth[key], err_msg=key)
        for r, s in zip(x.recordings, y.recordings, strict=True):
            for field in ("emg", "angle", "force", "torque"):
                assert_array_equal(getattr(r, field), getattr(s, field), err_msg=f"{r.trial} {field}")


def test_the_same_seed_gives_the_same_bits():
    settings = VirtualConfig(subjects=2, seed=3, **SHORT)
    _assert_same(simulate(settings), simulate(settings))


# 20 people make more trials than are simulated together
@pytest.mark.parametrize("larger", [5, 20])
def test_more_subjects_leave_the_earlier_ones_as_they_were(larger):
    few = simulate(VirtualConfig(subjects=3, **SHORT))
    many = simulate(VirtualConfig(subjects=larger, **SHORT))
    _assert_same(few, Cohort(many.name, many.joint, many.subjects[:3]))


def test_another_seed_gives_other_people():
    a, b = (simulate(VirtualConfig(subjects=1, seed=seed, **SHORT)).subjects[0] for seed in (0, 1))
    assert a.truth["strength"][0] != b.truth["strength"][0]
    assert not np.array_equal(a.recordings[0].angle, b.recordings[0].angle)


def test_recordings_are_what_a_laboratory_has():
    settings = VirtualConfig(subjects=2, seconds=4.0, postures=("pronated", "neutral"), rest_trials=1)
    progress = []
    cohort = simulate(settings, lambda done, total: progress.append((done, total)))
    assert progress[-1] == (10, 10)
    assert cohort.joint == "wrist"
    for _, r in _recordings(cohort):
        assert r.channels == r.muscles == builtin("wrist").muscles
        assert r.dofs == ("wrist_flexion",)
        assert r.emg.shape == r.force.shape == (8000, 5)
        assert r.angle.shape == r.torque.shape == (8000, 1)
        assert {r.emg.dtype, r.angle.dtype, r.force.dtype, r.torque.dtype} == {np.dtype(np.float32)}
        assert r.force_source == "truth"
    assert [r.task for r in cohort.subjects[0].recordings] == ["rhythmic"] * 3 + ["random", "rest"]
    assert [r.posture for r in cohort.subjects[0].recordings][:3] == ["pronated", "neutral", "pronated"]


def test_nothing_to_do_is_an_error():
    with pytest.raises(PitlError, match="no trials"):
        simulate(VirtualConfig(rhythmic_trials=0, random_trials=0))
    with pytest.raises(PitlError, match="upside_down"):
        simulate(VirtualConfig(postures=("upside_down",)))


def test_movements_and_forces_are_plausible(cohort):
    for s, r in _recordings(cohort):
        angle = np.rad2deg(_truth(s, r, "angle"))
        assert np.abs(angle).max() < 73, (s.name, r.trial)
        if r.task == "rhythmic":
            assert 40 < np.ptp(angle) < 130, (s.name, r.trial)
        activation = _truth(s, r, "activation")
        assert activation.min() > 0 and activation.max() <= 1
        # an eccentric fibre gives at most 1.4, and this person's history a little more
        assert r.force.min() >= 0 and np.all(r.force.max(axis=0) < 1.6 * s.truth["strength"][:5])
        assert 3 < r.force.mean() < 150  # N
    slowest = [
        np.mean(np.abs(np.diff(_truth(s, r, "angle")))) for s, r in _recordings(cohort) if r.trial == "rhythmic1"
    ]
    fastest = [
        np.mean(np.abs(np.diff(_truth(s, r, "angle")))) for s, r in _recordings(cohort) if r.trial == "rhythmic3"
    ]
    assert np.median(fastest) > 1.5 * np.median(slowest)


def _own_balance(subject, recording) -> tuple[np.ndarray, np.ndarray]:
    """Inertial torque, and the sum of this person's torques, at the steps of the integration [N m]."""
    t, wrist = subject.truth, builtin("wrist")
    angle = _truth(subject, recording, "angle")
    rate = np.diff(angle) * recording.rate_hz
    acceleration = np.diff(rate) * recording.rate_hz  # rad/s2, at the inner samples
    q, qd = angle[1:-1], rate[:-1]
    posture = wrist.postures.index(recording.posture)
    down = np.array(WRIST["gravity"])[posture]
    orientation = WRIST["base_orientation"][posture] + t["flexion_sign"] * q
    weight = (
        t["flexion_sign"] * t["mass"] * t["lever"] * (down[1] * np.cos(orientation) - down[0] * np.sin(orientation))
    )
    rest = float(wrist.rest_angle[posture, 0]) + t["rest_shift"]
    passive = -t["damping"] * qd - t["stiffness"] * (q - rest)
    extra = sum(_truth(subject, recording, name)[1:-1] for name in ("friction", "ligament"))
    return t["inertia"] * acceleration, recording.torque[1:-1, 0] + weight + passive + extra


def test_the_equation_of_motion_closes_with_the_hidden_terms(cohort):
    slow = signal.butter(2, 40, fs=2000, output="sos")  # angles are float32, twice differenced
    for s, r in _recordings(cohort)[:12]:
        inertial, applied = (signal.sosfiltfilt(slow, x) for x in _own_balance(s, r))
        assert np.std(inertial - applied) < 2e-3, (s.name, r.trial)
        assert np.std(inertial) > 2e-3 or r.task == "hold"


def test_torque_is_the_sum_over_muscles(cohort):
    for s, r in _recordings(cohort)[:8]:
        angle = _truth(s, r, "angle")
        length = s.truth["musculotendon_length"][builtin("wrist").postures.index(r.posture)]
        methods = np.stack([-np.polynomial.Polynomial(c).deriv()(angle) for c in length], axis=1)  # m
        expected = np.sum(methods[:, :5] * r.force, axis=1) + _truth(s, r, "unrecorded")
        assert_allclose(r.torque[:, 0], expected, atol=2e-5)


def _learners_residual(cohort: Cohort) -> float:
    """Root mean square residual of the built-in wrist along the true motion with the true forces [N m]."""
    wrist = builtin("wrist")
    slow = signal.butter(2, 40, fs=2000, output="sos")
    squares = []
    for s, r in _recordings(cohort):
        angle = _truth(s, r, "angle")[:, None]
        smooth = signal.sosfiltfilt(slow, angle, axis=0)
        rate = np.gradient(smooth, axis=0) * r.rate_hz
        acceleration = np.gradient(rate, axis=0) * r.rate_hz
        motion = (x.astype(np.float32) for x in (smooth, rate, acceleration))
        residual = dynamics.residual(wrist, *map(jnp.asarray, (*motion, r.force)), wrist.postures.index(r.posture))
        squares.append(np.mean(np.square(residual[200:-200])))
    return float(np.sqrt(np.mean(squares)))


def test_learners_physics_holds_only_when_the_effects_are_switched_off():
    settings = {"subjects": 1, "seconds": 4.0}
    assert _learners_residual(simulate(VirtualConfig(**settings, **PLAIN))) < 3e-3
    for effect in ("friction", "unrecorded_muscle"):
        assert _learners_residual(simulate(VirtualConfig(**settings, **(PLAIN | {effect: 1.0})))) > 0.015, effect
    # of a person who is not the average one, the built-in wrist knows far less
    assert _learners_residual(simulate(VirtualConfig(**settings))) > 0.05


def test_each_effect_can_be_switched_off():
    off = simulate(
        VirtualConfig(
            subjects=2,
            **SHORT,
            friction=0,
            unrecorded_muscle=0,
            end_stiffness=0,
            co_contraction=0,
            force_memory=0,
            elastic_tendon=0,
            cross_talk=0,
            emg_nonlinearity=0,
            mvc_error=0,
            measurement_noise=0,
            drive_noise=0,
        )
    )
    on = simulate(VirtualConfig(subjects=2, **SHORT))
    for s, full in zip(off.subjects, on.subjects, strict=True):
        t = s.truth
        for name in ("friction", "end_torque", "co_contraction", "memory", "noise", "slide", "floor", "hum"):
            assert np.all(t[name] == 0) and np.all(full.truth[name] != 0), name
        assert t["strength"][5] == 0 and t["tendon_strain"] < 0.1 * full.truth["tendon_strain"]
        assert_array_equal(t["cross_talk"], np.eye(5, 6))
        assert_array_equal(t["exponent"], 1)
        assert_array_equal(t["mvc_factor"], 1)
        # the person stays the same
        for name in ("inertia", "fibre", "gain", "share", "delay_s", "arm_factor"):
            assert_array_equal(t[name], full.truth[name], err_msg=name)
        for r in s.recordings:
            for name in ("friction", "ligament", "unrecorded"):
                assert np.all(_truth(s, r, name) == 0)
            assert_array_equal(r.angle[:, 0], t[f"{r.trial}/angle"])


@pytest.mark.parametrize("effect", ["elastic_tendon", "force_memory", "co_contraction"])
def test_effects_on_muscles_change_true_forces(effect):
    on, off = (simulate(VirtualConfig(subjects=2, **SHORT, **{effect: strength})) for strength in (1.0, 0.0))
    change = [np.std(a.force - b.force) for (_, a), (_, b) in zip(_recordings(on), _recordings(off), strict=True)]
    assert min(change) > 0.3  # N


def test_without_variation_everybody_is_the_built_in_wrist():
    cohort = simulate(VirtualConfig(subjects=2, **SHORT, variation=0, mvc_error=0))
    wrist = builtin("wrist")
    for s in cohort.subjects:
        assert_allclose(s.truth["strength"][:5], wrist.max_isometric_force, rtol=1e-6)
        assert_allclose(s.truth["musculotendon_length"][:, :5], WRIST["length_coefficients"], rtol=1e-5)
        assert_allclose(s.truth["inertia"], 1.48e-3, rtol=1e-3)
        assert_allclose([s.height_m, s.mass_kg], [wrist.body_height, wrist.body_mass], rtol=1e-6)


def test_people_differ_as_much_as_people_do():
    people = simulate(VirtualConfig(subjects=64, seconds=0.2, rhythmic_trials=1, random_trials=0)).subjects
    spread = {}
    for name in ("strength", "inertia", "mass", "lever", "arm_factor", "gain", "delay_s", "share"):
        values = np.log([np.atleast_1d(p.truth[name])[0] for p in people])
        spread[name] = np.std(values)
    bounds = {
        "strength": (0.20, 0.40),
        "inertia": (0.20, 0.50),
        "mass": (0.12, 0.28),
        "lever": (0.06, 0.14),
        "arm_factor": (0.07, 0.14),
        "gain": (0.35, 0.75),
        "delay_s": (0.15, 0.45),
        "share": (0.25, 0.45),
    }
    for name, (low, high) in bounds.items():
        assert low < spread[name] < high, (name, spread[name])
    # height and weight tell something about the hand, not everything
    mass, own = np.log([p.mass_kg for p in people]), np.log([float(p.truth["mass"]) for p in people])
    assert 0.5 < np.corrcoef(mass, own)[0, 1] < 0.98


def test_emg_is_band_limited_and_in_volts(cohort):
    for _, r in _recordings(cohort)[:8]:
        frequency, power = signal.welch(r.emg, r.rate_hz, nperseg=2048, axis=0)
        total = power.sum(axis=0)
        assert np.all(power[frequency < 10].sum(axis=0) < 0.03 * total)
        assert np.all(power[frequency > 550].sum(axis=0) < 0.03 * total)
        median = frequency[np.argmax(np.cumsum(power, axis=0) > total / 2, axis=0)]
        assert np.all((median > 50) & (median < 160))
        assert np.all((r.emg.std(axis=0) > 2e-6) & (r.emg.std(axis=0) < 1e-3))  # V


def _drive(subject, recording) -> np.ndarray:
    """Excitation that made the activation: the inverse of the activation dynamics, (T - 1, 5)."""
    a = _truth(subject, recording, "activation")[:, :5]
    rise, fall = subject.truth["rise_s"], subject.truth["fall_s"]
    change = np.diff(a, axis=0) * recording.rate_hz
    pace = 0.5 + 1.5 * a[:-1]
    return a[:-1] + change * np.where(change > 0, rise * pace, fall / pace)


def test_emg_follows_the_drive_and_comes_before_it_by_the_delay(quiet):
    slow = signal.butter(2, 6, fs=2000, output="sos")
    for s in quiet.subjects:
        delays, gains = [], []
        for r in s.recordings:
            drive = signal.sosfiltfilt(slow, _drive(s, r), axis=0)
            power = signal.sosfiltfilt(slow, np.abs(r.emg[:-1]), axis=0) / HALF_NORMAL  # V
            for channel in range(5):
                lags = np.arange(0, 200, 4)
                x = drive[200:, channel] - drive[200:, channel].mean()
                match = [np.dot(x, power[200 - k : len(power) - k, channel]) for k in lags]
                delays.append(lags[int(np.argmax(match))] / 2000)
                gains.append(power[:, channel].mean() / drive[:, channel].mean() / s.truth["gain"][channel])
        assert abs(np.median(delays) - s.truth["delay_s"]) < 0.012, (delays, s.truth["delay_s"])
        assert_allclose(np.median(gains), 1, atol=0.05)
        assert_allclose(s.mvc, HALF_NORMAL * s.truth["gain"][:5])


def test_measurements_have_their_errors(cohort):
    offsets, mvc_errors = [], []
    for s in cohort.subjects:
        r = s.recordings[0]
        error = r.angle[:, 0].astype(float) - s.truth["goniometer_gain"] * _truth(s, r, "angle")
        offsets.append(np.rad2deg(error.mean()))
        assert_allclose(error.mean(), s.truth["goniometer_offset"], atol=1e-3)
        assert 0.05 < np.rad2deg(error.std()) < 0.6
        steps = np.unique(np.round(np.diff(np.unique(r.angle)) / s.truth["goniometer_step"], 2))
        assert_allclose(steps, np.round(steps), atol=0.02)
        mvc_errors.extend(np.log(s.mvc / (HALF_NORMAL * s.truth["gain"][:5])))
    assert 2 < np.std(offsets) < 7  # deg
    assert 0.1 < np.std(mvc_errors) < 0.2


def test_a_finer_step_moves_the_same_way():
    """Half the integration step, by asking for twice the rate."""
    coarse, fine = (simulate(VirtualConfig(subjects=4, **SHORT, emg_rate_hz=rate)) for rate in (2000.0, 4000.0))
    for (s, r), (s2, r2) in zip(_recordings(coarse), _recordings(fine), strict=True):
        assert np.rad2deg(np.abs(_truth(s, r, "angle") - _truth(s2, r2, "angle")[::2]).max()) < 1.0
        assert np.abs(r.force - r2.force[::2]).max() < 2.0  # N


def test_a_coarser_rate_keeps_the_step():
    (s, r), *_ = _recordings(simulate(VirtualConfig(subjects=1, **SHORT, emg_rate_hz=1000.0)))
    (s2, r2), *_ = _recordings(simulate(VirtualConfig(subjects=1, **SHORT, emg_rate_hz=2000.0)))
    assert r.rate_hz == 1000.0 and len(r.emg) == 4000
    assert_allclose(_truth(s, r, "angle"), _truth(s2, r2, "angle")[::2], atol=1e-4)
