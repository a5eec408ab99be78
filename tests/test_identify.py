"""A known load tells how heavy a hand is; motion and EMG alone do not, and it is the code that says so."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pitl.identify import evidence, unknowns, verdict
from pitl.identify.fit import fit

from pitl.config.schema import EmgConfig
from pitl.config.toml import Config
from pitl.config.schema import DataConfig
from pitl.data.recording import Load, Recording, Subject
from pitl.data.virtual import simulate
from pitl.config.schema import VirtualConfig
from pitl.errors import PitlError
from pitl.learn import emg_driven, external, hill
from pitl.learn.prepare import prepare
from pitl.mechanics import dynamics, loads
from pitl.mechanics.muscle import calibrate_slack_length
from pitl.mechanics.planar import builtin
from pitl.signals import windows

MODEL = calibrate_slack_length(builtin("wrist"))
ON = hill.Electrodes(jnp.eye(5), jnp.ones(5))
KINDS = ("motion", "load")


def test_a_weight_that_differs_from_row_to_row_is_the_weight_that_is_carried():
    rng = np.random.default_rng(0)
    q, qd, qdd = (jnp.asarray(rng.uniform(-1, 1, (6, 1)) * s, jnp.float32) for s in (1.0, 5.0, 40.0))
    posture = jnp.array([0, 1, 1, 0, 1, 1])
    place = jnp.tile(jnp.array([[0.07, 0.01, 0.0]]), (6, 1))
    heavier = loads.carry(MODEL, "hand", 1.5, place[0])
    expected = dynamics.inverse_dynamics(heavier, q, qd, qdd, posture) - dynamics.inverse_dynamics(
        MODEL, q, qd, qdd, posture
    )
    result = loads.weight_torque(MODEL, q, qd, qdd, posture, "hand", jnp.full(6, 1.5), place)
    np.testing.assert_allclose(result, -expected, rtol=2e-4, atol=2e-5)


def test_loads_leave_the_other_trials_as_they_were_and_their_own_torque_is_the_load_s():
    common = {"subjects": 2, "seconds": 4.0, "rhythmic_trials": 1, "random_trials": 0, "measurement_noise": 0.0}
    bare = simulate(VirtualConfig(**common))
    loaded = simulate(VirtualConfig(**common, load_trials=2, load_kg=(1.0,), load_place_m=(0.07, -0.07)))
    for a, b in zip(bare.subjects, loaded.subjects, strict=True):
        for name in ("emg", "angle", "force", "torque"):
            np.testing.assert_array_equal(getattr(a.recordings[0], name), getattr(b.recordings[0], name))
        held, lifted = b.recordings[1:]
        assert held.load == Load(1.0, (0.07, 0.0, 0.0), "hand") and a.recordings[0].load is None
        # palm down, the weight turns the hand into flexion, and behind the wrist out of it
        own = b.truth["mass"] * b.truth["lever"] * 9.81
        assert held.torque.mean() < -own - 0.3 and lifted.torque.mean() > 0.2
        assert b.truth["load1/load_place"] == 0.07


def test_a_load_of_nothing_is_refused():
    with pytest.raises(PitlError, match="the load of 0.0 kg"):
        recording(load=Load(0.0, (0.07, 0.0, 0.0), "hand"))


def recording(load=None, **changes):
    columns = {"emg": np.zeros((4000, 5)), "angle": np.zeros((4000, 1)), "dofs": ("wrist_flexion",)}
    rest = {"subject": "A", "task": "hold", "trial": "hold1", "posture": "pronated", "rate_hz": 2000.0}
    return Recording(**(rest | columns | changes), channels=MODEL.muscles, load=load)


def test_what_a_trial_is_as_evidence():
    assert evidence.kind_of(recording()) == "hold"
    assert evidence.kind_of(recording(task="random")) == "motion"
    assert evidence.kind_of(recording(load=Load(2.0, (-0.07, 0, 0), "hand"))) == "load 2 kg at -7 cm"


def test_a_person_without_a_single_angle_is_refused():
    blind = Subject("A", (recording(angle=None),), mvc=np.ones(5))
    with pytest.raises(PitlError, match="A: no recording has an angle"):
        evidence.gather(blind, MODEL, ("hold",), EmgConfig())


def rows(count=160):
    """Slow motion in both postures; the second half carries a kilogram in front of the wrist or behind it."""
    rng = np.random.default_rng(3)
    t = np.arange(count) / 10.0
    w = rng.uniform(1.0, 3.0, 3)[:, None]
    angle = 0.35 * np.sin(w * t + rng.uniform(0, 6, 3)[:, None]).sum(axis=0)
    rate = np.gradient(angle, 0.1)
    motion = [jnp.asarray(x[:, None], jnp.float32) for x in (angle, rate, np.gradient(rate, 0.1))]
    loaded = np.arange(count) >= count // 2
    posture = np.where(loaded, 1, (np.arange(count) // 20) % 2)
    place = np.where(np.arange(count) < 3 * count // 4, 0.07, -0.07)
    place = np.stack([place, 0 * place, 0 * place], axis=1)
    jets = jnp.zeros((count, 3, 5), jnp.float32)
    made = unknowns.Rows(jets, *motion, jnp.asarray(posture, jnp.int32), jnp.asarray(loaded, jnp.float32), f32(place))
    return made, np.where(loaded, 1, 0)


def f32(x):
    return jnp.asarray(x, jnp.float32)


def emg_for(made, z):
    """Envelopes with which a person of these values gives just the torque that the motion takes."""
    known = unknowns.known(MODEL, "hand", made)
    v = unknowns.values(z)
    flexor = jnp.asarray([1.0, 1.0, 0.0, 0.0, 0.0])
    rng = np.random.default_rng(5)
    share = f32(rng.uniform(0.8, 1.2, (len(made.angle), 5)))

    @jax.jit
    def over(x):
        u = share * (0.04 + jnp.where(flexor[None] > 0, jnp.maximum(x, 0), jnp.maximum(-x, 0)))
        jets = made.jets.at[:, 0].set(u)
        b = unknowns.balance(MODEL, v, ON, jets, known)
        return (b.muscle - b.needed)[:, :1], jets

    low, high = jnp.full((len(made.angle), 1), -0.9), jnp.full((len(made.angle), 1), 0.9)
    for _ in range(40):
        middle = 0.5 * (low + high)
        above = over(middle)[0] > 0
        low, high = jnp.where(above, low, middle), jnp.where(above, middle, high)
    left, jets = over(0.5 * (low + high))
    assert np.abs(left).max() < 1e-3
    return made._replace(jets=jets)


@pytest.fixture(scope="module")
def heavy():
    """Somebody a third heavier and as much stronger than the model, in every respect that motion alone confuses."""
    z = unknowns.none(MODEL, 5)
    more = {k: f32(np.log(1.33) / unknowns.PRIOR[k].deviation) for k in ("mass", "strong", "damping", "stiffness")}
    z = z._replace(**{k: getattr(z, k) + x for k, x in more.items()})
    made, kind = rows()
    return emg_for(made, z), jnp.asarray(kind, jnp.int32)


def fitted(heavy, used):
    made, kind = heavy
    one = [jax.tree.map(lambda x: x[None], x) for x in (MODEL, ON, made, kind)]
    trial = jnp.eye(4)[jnp.arange(len(kind)) // 40][None]
    seen = jnp.asarray([float(k in used) for k in KINDS])
    z, size, information = fit(*one, trial, seen, "hand", 2)
    z = jax.tree.map(lambda x: x[0], z)
    predicted = verdict.verdicts(z, np.asarray(information[0]), KINDS, used, MODEL.muscles, MODEL.bodies)
    return float(size[0]), {v.name: v for v in predicted}


def test_a_known_load_brings_back_the_weight_and_the_code_says_that_it_was_the_load(heavy):
    size, predicted = fitted(heavy, KINDS)
    weight = predicted["weight hand"]
    assert size < 0.3  # of the errors that are expected
    assert abs(weight.factor / 1.33 - 1) < 0.07
    assert weight.identified and all("load" in s for s in weight.by)
    assert "identified by" in verdict.sentence(weight)


def test_without_a_load_the_weight_is_said_not_to_be_identified_and_stays_nearer_to_the_prior(heavy):
    _, bare = fitted(heavy, ("motion",))
    _, with_load = fitted(heavy, KINDS)
    weight = bare["weight hand"]
    assert not weight.identified and weight.by == ()
    assert weight.deviation > 2 * with_load["weight hand"].deviation
    assert abs(np.log(weight.factor)) < 0.75 * np.log(1.33)
    assert "not identified" in verdict.sentence(weight)
    assert weight.tied_to in ("strong", "damping", "stiffness")  # what grows with it


def test_more_evidence_never_makes_the_deviation_larger(heavy):
    made, kind = heavy
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 12, 12))
    information = a @ a.transpose(0, 2, 1)
    wide = [np.diag(verdict.posterior(information, list(s))) for s in ((0,), (0, 1), (0, 1, 2))]
    assert np.all(wide[1] <= wide[0]) and np.all(wide[2] <= wide[1])


def test_the_balance_of_the_fit_is_the_project_s_own_mechanics():
    made, _ = rows(40)
    z = unknowns.none(MODEL, 5)
    z = z._replace(mass=z.mass + 1.0, length=z.length - 1.0, damping=z.damping + 0.5, stiffness=z.stiffness - 0.5)
    v = unknowns.values(z)
    segment = jnp.append(jnp.full(3, v["length"][0]), 1.0)
    own = replace(
        MODEL,
        pseudo_inertia=MODEL.pseudo_inertia * v["mass"][0] * (segment[:, None] * segment[None, :])[None, None],
        damping=MODEL.damping * v["damping"],
        stiffness=MODEL.stiffness * v["stiffness"],
    )
    motion = made.angle, made.rate, made.acceleration, made.posture
    carried = loads.weight_torque(MODEL, *motion, "hand", made.load, made.place)
    expected = dynamics.inverse_dynamics(own, *motion, carried)
    result = unknowns.balance(MODEL, v, ON, made.jets, unknowns.known(MODEL, "hand", made)).needed
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", unknowns.PRIOR)
def test_no_unknown_leaves_its_bounds(name):
    for z in (-1e4, 1e4):
        x = unknowns.values(jax.tree.map(lambda a, z=z: jnp.full_like(a, z), unknowns.none(MODEL, 5)))[name]
        low, high = (-unknowns.PRIOR[name].bound, unknowns.PRIOR[name].bound)
        if name not in ("slack", "shape", "delay", "bias"):
            low, high = np.exp(low), np.exp(high)
        assert np.all(x >= low - 1e-5) and np.all(x <= high + 1e-5)


def test_labels_and_calibration_of_a_loaded_trial_count_the_load():
    cohort = simulate(
        VirtualConfig(
            subjects=3,
            seconds=6.0,
            rhythmic_trials=1,
            random_trials=0,
            load_trials=1,
            load_kg=(1.5,),
            variation=0.0,
            friction=0.0,
            unrecorded_muscle=0.0,
            end_stiffness=0.0,
            measurement_noise=0.0,
        )
    )
    config = Config(name="loaded", data=DataConfig(kind="virtual", force_labels="none"))
    unknown = replace(
        cohort,
        subjects=tuple(
            replace(s, recordings=tuple(replace(r, torque=None) for r in s.recordings)) for s in cohort.subjects
        ),
    )
    prepared = prepare(config, unknown)
    truth = windows.tabulate(cohort, config, MODEL.postures, 1).torque
    for t in prepared.table.trials:
        rows = np.arange(t.start + 100, t.stop - 50)
        np.testing.assert_allclose(prepared.samples.torque[rows], truth[rows], atol=0.03)
        mask = np.ones(len(rows), bool)
        calibrated = emg_driven.rows_of(prepared, t.subject, rows, len(rows), mask, False)
        np.testing.assert_allclose(calibrated.torque, prepared.samples.torque[rows], atol=1e-5)
    assert external.torque(prepared.table._replace(trials=()), prepared.models) is None
