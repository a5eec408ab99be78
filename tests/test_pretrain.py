"""A generic model from a store: the same rows and units as from memory, people read one at a time."""

import os

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import cli
from pitl.config import toml
from pitl.config.schema import VirtualConfig
from pitl.data import load, virtual
from pitl.data.cohort import each_person, read_cohort, write_cohort
from pitl.errors import PitlError
from pitl.files import sweep
from pitl.learn import prepare, pretrain, store
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.live import calibrate

TINY = [
    "virtual.subjects=3", "virtual.seconds=6.0", "virtual.rhythmic_trials=1", "virtual.random_trials=1",
    "train.steps=20", "train.check_every=10", "train.batch=32", "net.channels=[4, 4]", "net.features=8", "net.hidden=8",
]  # fmt: skip


def settings(*changes):
    return toml.load("configs/virtual_wrist.toml", [*TINY, *changes])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(virtual.simulate(settings().virtual), folder)
    return folder


def of(folder, *changes):
    return settings('data.kind="cohort"', f'data.dir="{folder}"', *changes)


@pytest.fixture(scope="module")
def made(recordings, tmp_path_factory):
    out, predicted = tmp_path_factory.mktemp("out"), []
    return out, pretrain.pretrain(of(recordings), out, predicted.append), predicted


def test_the_store_holds_the_rows_that_would_be_in_memory(made, recordings):
    whole = prepare.prepare(of(recordings), load.load_cohort(of(recordings)))
    result = store.open_store(made[0] / "recordings.h5")
    jax.tree.map(np.testing.assert_array_equal, store.read(result, 0, result.rows), whole.samples)


def test_units_are_those_of_the_source_people(made):
    model, result = made[1], store.open_store(made[0] / "recordings.h5")
    names = [t.name.partition("/")[0] for t in result.trials]
    mine = [t for t, name in zip(result.trials, names, strict=True) if name in model.history["trained_on"]]
    angle = np.concatenate([store.read(result, t.start, t.stop).angle for t in mine])
    np.testing.assert_allclose(model.scale.angle_mean, angle.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(model.spread.angle, angle.std(axis=0), rtol=1e-5)
    assert set(model.history["held_out"]).isdisjoint(model.history["trained_on"])


def test_the_same_command_trains_once_and_other_settings_are_refused(made, recordings):
    out, model, _ = made
    predicted = []
    again = pretrain.pretrain(of(recordings), out, predicted.append)
    assert not predicted
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    with pytest.raises(PitlError, match="another train.steps"):
        pretrain.pretrain(of(recordings, "train.steps=30"), out, predicted.append)


def test_the_command_says_where_the_model_is(recordings, tmp_path):
    words = [
        "configs/virtual_wrist.toml",
        "--out",
        str(tmp_path / "out"),
        "--data",
        str(recordings),
        "data.kind=cohort",
    ]
    result = CliRunner().invoke(cli.app, ["pretrain", *words, *TINY])
    assert result.exit_code == 0 and f"Wrote {tmp_path / 'out' / 'model'}" in result.output


def test_the_model_answers_a_person_it_has_never_seen(made):
    person = virtual.simulate(VirtualConfig(subjects=1, seed=9, seconds=6.0, rhythmic_trials=1)).subjects[0]
    model = calibrate.provisional(Model.load(made[0] / "model"))
    predicted = predict_recording(model, person.recordings[0])
    assert np.isfinite(predicted.angle).all() and np.isfinite(predicted.force).all()


def test_one_person_at_a_time_is_the_cohort(recordings):
    whole = {s.name: s for s in read_cohort(recordings).subjects}
    for name, read in each_person(recordings):
        (one,) = read().subjects
        assert one.name == name
        for a, b in zip(one.recordings, whole[name].recordings, strict=True):
            np.testing.assert_array_equal(a.emg, b.emg)


def test_who_cannot_be_read_is_left_out_by_name_and_one_person_is_too_few(recordings, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in recordings.iterdir():
        if not path.name.startswith(("V02", "V03")):
            (broken / path.name).write_bytes(path.read_bytes())
    predicted = []
    with pytest.raises(PitlError, match="1 usable person"):
        pretrain.pretrain(of(broken), tmp_path / "out", predicted.append)
    assert any("V02 is left out" in s for s in predicted)
    assert not (tmp_path / "out" / "recordings.h5").exists()


@pytest.mark.parametrize(
    "change", ['train.derivative="finite_difference"', "train.hill_weight=0.3", "train.curriculum=2"]
)
def test_what_needs_everything_in_memory_is_refused_before_anything_is_read(change, tmp_path):
    with pytest.raises(PitlError, match="needs all recordings in memory"):
        pretrain.pretrain(settings(change), tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["people", "model", "recordings.h5"])
def test_what_is_not_ours_is_refused_before_anything_is_read_and_stays(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pretrain, "people_one_by_one", lambda *_: pytest.fail("it was read"))
    there = tmp_path / name if name.endswith(".h5") else tmp_path / name / "anna.csv"
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    with pytest.raises(PitlError, match=name):
        pretrain.pretrain(settings(), tmp_path, print)
    assert there.read_text() == "mine"


def test_what_a_killed_collection_was_writing_is_swept(tmp_path):
    with pytest.raises(KeyboardInterrupt), store.writer(tmp_path / "recordings.h5"):
        (left,) = tmp_path.iterdir()
        raise KeyboardInterrupt
    name, me = left.name, str(os.getpid())
    (tmp_path / name.replace(me, str(2**22 + 1))).write_text("half")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
