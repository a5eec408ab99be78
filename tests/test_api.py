"""The Python face does what it promises, for one person, for two and for many."""

import re
import subprocess
import sys

import numpy as np
import pytest

import pitl
from pitl.errors import PitlError

FEW = {"steps": 20, "check_every": 10, "batch": 32}
QUICK = {"steps": 10}


@pytest.fixture(scope="module")
def people():
    return pitl.simulate(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1)


@pytest.fixture(scope="module")
def generic(people):
    return pitl.train(people.without("V01"), train=FEW)


@pytest.fixture(scope="module")
def own(generic, people):
    return pitl.personalize(generic, people["V01"], personalize=QUICK)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, pitl; dir(pitl); sys.exit(' '.join({'jax', 'numpy', 'pydantic'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_people_are_chosen_by_name_and_recordings_by_number(people):
    assert people.names == ("V01", "V02", "V03") and len(people) == 3
    assert people.without("V01", "V03").names == ("V02",)
    assert [p.names for p in people] == [("V01",), ("V02",), ("V03",)]
    assert people["V02"][1].trial == "random1" and people["V02"][-1].trial == "random1"
    for ask, says in (
        (lambda: people["V1"], "did you mean"),
        (lambda: people.without("bert"), "there are V01, V02, V03"),
        (lambda: people[0], "choose one by name first"),
        (lambda: people["V02"][5], "no number 5"),
    ):
        with pytest.raises(PitlError, match=says):
            ask()


def test_a_personal_model_knows_how_far_to_trust_it_and_learned_from_everything(own, people):
    assert own.subject == "V01" and own.history["trials"] == [r.trial for r in people["V01"].subjects[0].recordings]
    trust = own.history["trust"]
    assert trust["calibration_fraction"] == 0.4 and trust["angle_rmse_deg"] > 0 and len(trust["angle_half_rad"]) == 1


def test_the_encoder_is_inherited_and_the_inference_part_is_the_persons(own, generic):
    for a, b in zip(*(np.asarray(m.params["encoder"]["features"]["w"]) for m in (own, generic)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(own.params["head"]["angle"]["w"], generic.params["head"]["angle"]["w"])


def test_a_prediction_has_everything_and_goes_where_others_read_it(own, people, tmp_path):
    recording = people["V01"][0]
    answer = pitl.predict(own, recording)
    count = len(answer.time_s)
    assert answer.angle.shape == (count, 1) and answer.force.shape == (count, 5) and answer.torque.shape == (count, 1)
    assert answer.dofs == recording.dofs and answer.muscles == recording.muscles
    frame = answer.to_frame()
    assert list(frame)[:2] == ["time", "wrist_flexion"] and len(frame) == count
    np.testing.assert_allclose(np.radians(frame["wrist_flexion"]), answer.angle[:, 0], rtol=1e-6)
    assert (frame["wrist_flexion_low"] < frame["wrist_flexion_high"]).all()
    answer.write(tmp_path / "a.sto")
    from pitl.data.formats import opensim

    (stream,) = opensim.read(tmp_path / "a.sto").streams
    assert stream.columns == tuple(list(frame)[1:])
    np.testing.assert_allclose(stream.values, frame.to_numpy()[:, 1:], rtol=1e-9)
    answer.write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().startswith("time (s),wrist_flexion (deg)")
    with pytest.raises(PitlError, match="use .sto, .mot or .csv"):
        answer.write(tmp_path / "a.xls")
    assert answer._repr_png_()[:4] == b"\x89PNG"


def test_a_score_is_zero_for_the_truth_and_grows_with_the_error(own, people):
    recording = people["V01"][0]
    answer = pitl.predict(own, recording)
    at = np.round(answer.time_s * recording.rate_hz).astype(int)
    import dataclasses

    exact = dataclasses.replace(
        answer, angle=recording.angle[at], force=recording.force[at], torque=recording.torque[at]
    )
    perfect = pitl.score(exact, recording)
    assert perfect.angle_rmse_deg == {"wrist_flexion": 0.0} and perfect.force_r2["FCR"] == 1.0
    off = pitl.score(dataclasses.replace(exact, angle=exact.angle + np.radians(3.0)), recording)
    assert off.angle_rmse_deg["wrist_flexion"] == pytest.approx(3.0)
    assert pitl.score(answer, dataclasses.replace(recording, force=None, muscles=())).force_rmse_n is None


def test_a_model_comes_back_from_its_folder_and_answers_to_the_bit(own, people, tmp_path):
    own.save(tmp_path / "anna")
    back = pitl.Model.load(tmp_path / "anna")
    assert back.history == own.history and back.people == own.people and back.personalize == own.personalize
    a, b = (pitl.predict(m, people["V01"][0]) for m in (own, back))
    np.testing.assert_array_equal(a.angle, b.angle)
    np.testing.assert_array_equal(a.force, b.force)


def test_several_people_are_fitted_at_once_and_one_of_them_is_who_would_be_fitted_alone(generic, own, people):
    many = pitl.personalize(generic, people, personalize=QUICK)
    assert len(many) == 3 and many.people == people.names
    alone, together = (pitl.predict(m, people["V01"][0]) for m in (own, many["V01"]))
    np.testing.assert_allclose(together.angle, alone.angle, rtol=2e-3, atol=2e-3)
    with pytest.raises(PitlError, match="not of 'V09'"):
        many["V09"]


def test_one_person_needs_nobody_else(people):
    own = pitl.personalize(None, people["V02"], personalize=QUICK)
    assert own.subject == "V02" and own.history["from"] == "nothing"
    assert np.isfinite(pitl.predict(own, people["V02"][0]).force).all()


def test_two_people_make_a_generic_model_and_one_is_told_what_to_do_instead(people, generic):
    assert generic.history["trained_on"] == ["V02", "V03"] and generic.history["held_out"] == []
    with pytest.raises(PitlError, match=r"pitl.personalize\(None, person\)"):
        pitl.train(people["V01"], train=FEW)


def test_channels_are_found_by_name_and_a_missing_one_is_named(generic, people, own):
    import dataclasses

    def shuffled(order):
        person = people["V01"].subjects[0]
        recordings = tuple(
            dataclasses.replace(r, emg=r.emg[:, order], channels=tuple(r.channels[k] for k in order))
            for r in person.recordings
        )
        mvc = None if person.mvc is None else person.mvc[order]
        return dataclasses.replace(people, subjects=(dataclasses.replace(person, recordings=recordings, mvc=mvc),))

    again = pitl.personalize(generic, shuffled([4, 2, 0, 1, 3]), personalize=QUICK)
    a, b = (pitl.predict(m, people["V01"][0]) for m in (again, own))
    np.testing.assert_allclose(a.angle, b.angle, rtol=1e-4, atol=1e-5)
    with pytest.raises(PitlError, match="lacks channel ECU of the model"):
        pitl.personalize(generic, shuffled([0, 1, 2, 3]))


def test_settings_are_validated_and_labels_need_what_they_name(generic, people):
    import dataclasses

    with pytest.raises(PitlError, match="stepz"):
        pitl.train(people, train={"stepz": 3})
    person = people["V01"].subjects[0]
    blind = tuple(dataclasses.replace(r, angle=None, dofs=(), torque=None) for r in person.recordings)
    unlabelled = dataclasses.replace(people, subjects=(dataclasses.replace(person, recordings=blind),))
    with pytest.raises(PitlError, match="needs measured angles"):
        pitl.personalize(generic, unlabelled, labels="angle")
    with pytest.raises(PitlError, match="nothing to learn from"):
        pitl.personalize(None, unlabelled)


def test_a_folder_is_loaded_checked_and_left_out_by_name(people, tmp_path):
    from pitl.data.cohort import write_cohort

    write_cohort(people, tmp_path)
    (tmp_path / "V02_random1.csv").write_bytes(b"no table")
    loaded = pitl.load(tmp_path)
    assert loaded.names == people.names and any("V02/random1" in s for s in loaded.left_out)
    findings = pitl.check(tmp_path)
    assert any(f.severity == "error" and "V02/random1" in f.what for f in findings)


def test_the_lines_of_the_packages_own_description_run(people, tmp_path, monkeypatch):
    from pitl.data.cohort import write_cohort

    write_cohort(people, tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    text = (tmp_path / "recordings" / "cohort.toml").read_text().replace('"V01"', '"anna"')
    (tmp_path / "recordings" / "cohort.toml").write_text(text)
    lines = [line[4:] for line in pitl.__doc__.splitlines() if re.match(r"    \w", line)]
    code = (
        "\n".join(lines)
        .replace('without("anna"))', f'without("anna"), train={FEW})')
        .replace('people["anna"])  # its', f'people["anna"], personalize={QUICK})  # its')
    )
    space = {"pitl": pitl}
    exec(code, space)
    assert space["anna"].subject == "anna" and len(space["answer"].time_s) > 100
