"""A generic model from a store: the same rows and units as from memory, people read one at a time."""

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import bundle, cli, config, prepare, pretrain, store, virtual
from pitl.errors import PitlError
from pitl.io.cohort import each_person, read_cohort, write_cohort
from pitl.live import calibrate

TINY = [
    "virtual.subjects=3", "virtual.seconds=6.0", "virtual.rhythmic_trials=1", "virtual.random_trials=1",
    "train.steps=20", "train.check_every=10", "train.batch=32", "net.channels=[4, 4]", "net.features=8", "net.hidden=8",
]  # fmt: skip


def settings(*changes):
    return config.load("configs/virtual_wrist.toml", [*TINY, *changes])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(virtual.simulate(virtual.VirtualSettings(**settings().virtual.model_dump())), folder)
    return folder


def of(folder, *changes):
    return settings('data.kind="cohort"', f'data.dir="{folder}"', *changes)


@pytest.fixture(scope="module")
def made(recordings, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("out"), []
    return out, pretrain.pretrain(of(recordings), out, said.append), said


def test_the_store_holds_the_rows_that_would_be_in_memory(made, recordings):
    whole = prepare.prepare(of(recordings), prepare.load_cohort(of(recordings)))
    found = store.opened(made[0] / "recordings.h5")
    jax.tree.map(np.testing.assert_array_equal, store.read(found, 0, found.rows), whole.samples)


def test_units_are_those_of_the_source_people(made):
    model, found = made[1], store.opened(made[0] / "recordings.h5")
    names = [t.name.partition("/")[0] for t in found.trials]
    mine = [t for t, name in zip(found.trials, names, strict=True) if name in model.about["trained_on"]]
    angle = np.concatenate([store.read(found, t.start, t.stop).angle for t in mine])
    np.testing.assert_allclose(model.scale.angle_mean, angle.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(model.spread.angle, angle.std(axis=0), rtol=1e-5)
    assert set(model.about["held_out"]).isdisjoint(model.about["trained_on"])


def test_the_same_command_trains_once_and_other_settings_are_refused(made, recordings):
    out, model, _ = made
    said = []
    again = pretrain.pretrain(of(recordings), out, said.append)
    assert not said
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    with pytest.raises(PitlError, match="another train.steps"):
        pretrain.pretrain(of(recordings, "train.steps=30"), out, said.append)


def test_the_command_says_where_the_model_is(recordings, tmp_path):
    words = [
        "configs/virtual_wrist.toml",
        "--out",
        str(tmp_path / "out"),
        "--data",
        str(recordings),
        "data.kind=cohort",
    ]
    found = CliRunner().invoke(cli.app, ["pretrain", *words, *TINY])
    assert found.exit_code == 0 and f"Wrote {tmp_path / 'out' / 'model'}" in found.output


def test_the_model_answers_a_person_it_has_never_seen(made):
    person = virtual.simulate(virtual.VirtualSettings(subjects=1, seed=9, seconds=6.0, rhythmic_trials=1)).subjects[0]
    model = calibrate.provisional(bundle.load(made[0] / "model"))
    said = bundle.estimate(model, person.recordings[0])
    assert np.isfinite(said.angle).all() and np.isfinite(said.force).all()


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
    said = []
    with pytest.raises(PitlError, match="1 usable person"):
        pretrain.pretrain(of(broken), tmp_path / "out", said.append)
    assert any("V02 is left out" in s for s in said)
    assert not (tmp_path / "out" / "recordings.h5").exists()


@pytest.mark.parametrize(
    "change", ['train.derivative="finite_difference"', "train.hill_weight=0.3", "train.curriculum=2"]
)
def test_what_needs_everything_in_memory_is_refused_before_anything_is_read(change, tmp_path):
    with pytest.raises(PitlError, match="needs all recordings in memory"):
        pretrain.pretrain(settings(change), tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out").exists()
