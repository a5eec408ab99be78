"""Muscles calibrated on measured net moments: on a small simulated person, and on a real walk with force plates."""

import dataclasses
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import pitl
from pitl import cli
from pitl.data.cohort import read_cohort, write_cohort
from pitl.data.formats import ceinms
from pitl.errors import PitlError
from pitl.learn import hill, measured
from pitl.learn.synergists import channels_for
from pitl.mechanics import library

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def person():
    """One person with two trials, whose moments are those of known muscles and count as measured."""
    people = pitl.simulate(subjects=1, seconds=6.0, rhythmic_trials=2, random_trials=0)
    (subject,) = people.subjects
    recordings = tuple(dataclasses.replace(r, force=None, muscles=(), force_source=None) for r in subject.recordings)
    known = pitl.personalize(None, with_recordings(people, recordings[:1]), hill={"steps": 60})
    return with_recordings(people, tuple(by_known_muscles(known, r) for r in recordings))


def with_recordings(people, recordings):
    """The first person with other recordings."""
    return dataclasses.replace(people, subjects=(dataclasses.replace(people.subjects[0], recordings=recordings),))


def by_known_muscles(known, recording):
    answer, clock = pitl.predict(known, recording), np.arange(len(recording.emg)) / recording.rate_hz
    return dataclasses.replace(recording, torque=np.interp(clock, answer.time_s, answer.torque[:, 0])[:, None])


@pytest.fixture(scope="module")
def model(person):
    return pitl.personalize(None, person, hill={"steps": 60})


def test_measured_moments_are_the_labels_where_there_is_no_generic_model(model, person):
    assert model.history["labels"] == "torque" and model.history["method"] == "emg_driven_measured"
    by_trial = model.history["trust"]["torque_r2_by_trial"]
    assert set(by_trial) == {r.trial for r in person.subjects[0].recordings}
    assert all(v > 0.5 for r2 in by_trial.values() for v in r2.values()), by_trial


def test_the_truth_about_a_simulation_is_no_measurement(person):
    truth = tuple(dataclasses.replace(r, force_source="truth") for r in person.subjects[0].recordings)
    assert truth[0].measured_torque is None and person[0].measured_torque is not None


def test_forces_and_moments_are_written_and_the_model_comes_back(model, person, tmp_path):
    answer = pitl.predict(model, person[0])
    model.save(tmp_path / "kept")
    again = pitl.predict(pitl.Model.load(tmp_path / "kept"), person[0])
    np.testing.assert_allclose(again.force, answer.force, rtol=1e-5)
    np.testing.assert_allclose(again.torque, answer.torque, rtol=1e-4, atol=1e-5)
    answer.to_sto(tmp_path / "answer.sto")
    text = (tmp_path / "answer.sto").read_text()
    assert "FCR_force" in text and "wrist_flexion_moment" in text
    done = CliRunner().invoke(cli.app, ["stream", str(tmp_path / "kept"), "--source", "replay:none.csv"])
    assert done.exit_code == 1 and "needs the measured motion" in done.output


def test_without_measured_angles_it_says_what_is_missing(model, person):
    bare = dataclasses.replace(person[0], angle=None, torque=None, dofs=())
    with pytest.raises(PitlError, match="needs the measured angles wrist_flexion"):
        pitl.predict(model, bare)


def test_shuffled_moments_cannot_be_followed(person):
    first, second = person.subjects[0].recordings
    rng = np.random.default_rng(0)
    shuffled = tuple(dataclasses.replace(r, torque=rng.permutation(r.torque)) for r in (first, second))
    by_trial = pitl.personalize(None, with_recordings(person, shuffled), hill={"steps": 60}).history["trust"][
        "torque_r2_by_trial"
    ]
    assert all(v < 0.1 for r2 in by_trial.values() for v in r2.values()), by_trial


def test_a_run_of_one_person_ends_in_a_model_and_forces(person, tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "_SLACK_STARTS", (0.0,))
    write_cohort(person, tmp_path / "data")
    (tmp_path / "data" / "subject.xml").write_text(subject_file(FCR=(0.06, 0.24, 400.0)))
    header = tmp_path / "data" / "cohort.toml"
    header.write_text(header.read_text().replace("[[subject]]", '[[subject]]\nceinms = "subject.xml"'))
    done = CliRunner().invoke(cli.app, ["run", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "too few for a generic model" in done.output and "ridge regression" in done.output
    assert "CEINMS's parameters in our muscle model" in done.output
    name = person.subjects[0].name
    assert len(list((tmp_path / "out" / "answers" / name).glob("*.sto"))) == 2
    assert pitl.Model.load(tmp_path / "out" / "models" / name).muscles is not None


def subject_file(tag="mtu", **muscles):
    """As CEINMS writes it: fibre [m], slack [m], strength [N] of each muscle, a coefficient of one half."""
    one = (
        "<{0}><name>{1}</name><optimalFiberLength>{2}</optimalFiberLength><tendonSlackLength>{3}</tendonSlackLength>"
        "<maxIsometricForce>{4}</maxIsometricForce><strengthCoefficient>0.5</strengthCoefficient></{0}>"
    )
    listed = "".join(one.format(tag, name, *numbers) for name, numbers in muscles.items())
    around = {"mtu": "mtuSet", "muscle": "muscles"}[tag]
    default = "<mtuDefault><shapeFactor>-1.5</shapeFactor></mtuDefault>"
    return f'<?xml version="1.0"?>\n<subject>{default}<{around}>{listed}</{around}></subject>'


@pytest.mark.parametrize("tag", ["mtu", "muscle"])
def test_subjects_of_ceinms_are_read_in_both_layouts(tmp_path, tag):
    path = tmp_path / "anybody.xml"
    path.write_text(subject_file(tag, FCR=(0.06, 0.24, 400.0), other_r=(0.1, 0.2, 10.0)))
    assert ceinms.is_subject(path)
    assert ceinms.read(path)["FCR"] == (0.06, 0.24, 200.0, -1.5)
    limb = library.load("wrist")
    own = measured.with_ceinms(limb, path)
    fcr, fcu = own.muscles.index("FCR"), own.muscles.index("FCU")
    assert (own.tendon_slack_length[fcr], own.max_isometric_force[fcr]) == pytest.approx((0.24, 200.0))
    assert own.tendon_slack_length[fcu] == limb.tendon_slack_length[fcu]
    for text, words in (
        (subject_file(tag, FCR=(0.06, 0.24, -1.0)), "'FCR' lacks a positive"), ("<subject>", "not valid XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>" + subject_file(tag), "entities"), (subject_file(tag), "no muscle"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(PitlError, match=words):
            ceinms.read(path)


def test_shapes_come_back_from_their_scores():
    z = hill.initial(library.load("wrist"), 5)
    shapes = np.array([-2.9, -1.0, -0.5, 0.0, -2.0])
    own = z.replace(shape=np.asarray(hill.z_of_shape(shapes), np.float32))
    np.testing.assert_allclose(hill.values(own)["shape"], shapes, atol=1e-5)


def test_rest_is_found_in_each_trial_and_taken_away():
    rng = np.random.default_rng(1)
    effort = np.maximum(np.sin(np.linspace(0, 40, 2000)), 0.0)[:, None] * np.ones((1, 2))
    jets = np.stack([effort, rng.normal(size=effort.shape), rng.normal(size=effort.shape)], axis=1)
    noisy = jets + np.array([0.3, 0.0])[None, None, :] * np.array([1.0, 0.0, 0.0])[None, :, None]
    np.testing.assert_allclose(hill.clean(noisy, 100.0), hill.clean(jets, 100.0), atol=1e-12)


@pytest.mark.parametrize(
    ("muscle", "channels"),
    [
        ("semiten_r", ("semimem",)),
        ("bifemsh_r", ("bifemlh",)),
        ("vas_int_r", ("vas_lat", "vas_med")),
        ("tib_post_r", ("soleus",)),
        ("ext_dig_r", ("tib_ant",)),
        ("soleus_r", ("soleus",)),
        ("grac_r", ()),
    ],
)
def test_muscles_without_an_electrode_take_those_of_synergists(muscle, channels):
    names = ("soleus", "med_gas", "lat_gas", "tib_ant", "semimem", "bifemlh", "vas_lat", "rect_fem", "vas_med")
    assert channels_for(muscle, names) == channels


@pytest.mark.slow
def test_a_real_walk_from_its_folder_to_moments_at_another_speed(shared, tmp_path):
    """Calibrated on the slow walk, judged on the fast one: no file is written by hand."""
    folder = tmp_path / "anna"
    shutil.copytree(shared / "data" / "ceinms_lower_limb", folder)
    done = CliRunner().invoke(cli.app, ["init", str(folder), "--model"])
    assert done.exit_code == 0, done.output
    assert "subjectCalibrated.xml is a subject of CEINMS" in done.output
    people = read_cohort(folder)
    slow, fast = people[0], people[1]
    assert slow.dofs == ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")
    assert np.isnan(slow.torque[:, 0]).all() and np.isfinite(slow.torque[:, 1:]).all()
    one = with_recordings(people, (slow,))
    model = pitl.personalize(None, one)
    score = pitl.score(pitl.predict(model, fast), fast).torque_r2
    assert score["knee_angle_r"] == pytest.approx(0.83, abs=0.04) and score["knee_angle_r"] >= 0.78
    assert score["ankle_angle_r"] == pytest.approx(0.885, abs=0.04)
    assert set(score) == {"knee_angle_r", "ankle_angle_r"}
    back = pitl.personalize(None, with_recordings(people, (fast,)))
    assert back.history["extrapolated"] == {}
    # an electrode of the slow walk comes loose for its last ten seconds: .56 without the others in its place
    assert pitl.score(pitl.predict(back, slow), slow).torque_r2["knee_angle_r"] == pytest.approx(0.71, abs=0.05)
    assert model.history["extrapolated"] == {slow.trial: ["vas_lat from 51 to 61 s"]}
    theirs = pitl.predict(measured.ceinms_model(model, one), fast)
    assert all(v < score[d] - 0.1 for d, v in pitl.score(theirs, fast).torque_r2.items())
