"""What a damaged folder of a run does: it is made again and said, or a sentence names the file."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from live_models import wrist_model
from rich.console import Console

from pitl import files
from pitl.comparison import folds, results, run
from pitl.comparison.folds import Fold
from pitl.comparison.task import MethodResult
from pitl.config.schema import Config
from pitl.errors import PitlError
from pitl.learn.predict import Estimate

CONFIG = Config(name="a")


@pytest.fixture
def console():
    return Console(record=True, width=1000, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 5000, '{"digest": 3}'])
def test_nobody_knows_whose_a_folder_with_a_damaged_mark_is(tmp_path, console, text):
    run.start(CONFIG, tmp_path, console)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(PitlError, match="run.json is damaged|another configuration"):
        run.start(CONFIG, tmp_path, console)


@pytest.mark.parametrize("name", ["generic", "predictions", "models", "metrics.json"])
def test_a_folder_without_its_mark_is_not_taken_up(tmp_path, console, name):
    (tmp_path / name).mkdir()
    with pytest.raises(PitlError, match=f"holds {name} but no run.json"):
        run.start(CONFIG, tmp_path, console)


@pytest.mark.parametrize("text", ["", "[1]", '{"data": "a"}', '{"data": NaN}', '{"data": [1]}', "9" * 5000])
def test_damaged_wall_times_are_forgotten_and_said(tmp_path, console, text):
    (tmp_path / "seconds.json").write_text(text)
    assert run.start(CONFIG, tmp_path, console).seconds == {}
    assert "seconds.json is damaged" in console.export_text()


def test_what_a_killed_run_was_writing_is_swept(tmp_path, console):
    half = tmp_path / "models" / f".V01.{2**22 + 1}@{files._machine()}-abcd1234"
    run.start(CONFIG, tmp_path, console)
    half.mkdir(parents=True)
    (half / "pitl.json").write_text("{")
    run.start(CONFIG, tmp_path, console)
    assert list((tmp_path / "models").iterdir()) == []


ROWS = [np.arange(5), np.arange(7)]


def _kept(out, method="ridge", seed=0, change=lambda x: x):
    estimates = [Estimate(change(np.ones((len(r), 1))), np.ones((len(r), 2))) for r in ROWS]
    path = results.path_of(out, 0, "ridge", "angle")
    results.keep(path, (method, "angle", seed), MethodResult(tuple(estimates), None), 1.0)  # pyright: ignore
    return results.read_result(path, ROWS)


def test_estimates_that_are_not_whole_or_not_of_their_place_are_made_again(tmp_path):
    good = _kept(tmp_path)
    assert good is not None and good.estimates[1].angle.shape == (7, 1)
    assert _kept(tmp_path, method="svr") is None and _kept(tmp_path, seed=1) is None
    assert _kept(tmp_path, change=lambda x: x * np.nan) is None and _kept(tmp_path, change=lambda x: x[1:]) is None
    for change in (lambda x: x[:, :0], lambda x: x[:, 0], lambda x: x + 1j, lambda x: np.ones((len(x), len(x)))):
        assert _kept(tmp_path, change=change) is None


def _trained(tmp_path, monkeypatch, kind="physics", fold=0):
    """What `train_fold` gives and says, with training that gives another network each time."""
    seeds = iter((7, 8))

    def train(*_args, with_physics):
        made = wrist_model(generic=True, seed=next(seeds)).with_history(loss=1.0)
        return made, SimpleNamespace(steps=10)

    monkeypatch.setattr(folds.train, "train_generic", train)
    said = []
    prepared = SimpleNamespace(cohort=SimpleNamespace(subjects=[SimpleNamespace(name="anna")]))
    made = folds.train_fold(CONFIG.train, prepared, Fold((1,), (2,), (0,)), fold, 0, kind, tmp_path / "m", said.append)  # pyright: ignore
    return made, " ".join(said)


@pytest.mark.parametrize("damage", ["cut", "lost array", "another kind", "another fold"])
def test_a_generic_model_that_is_damaged_or_another_is_trained_again_and_said(tmp_path, monkeypatch, damage):
    _, said = _trained(tmp_path, monkeypatch)
    assert "steps, loss" in said
    assert _trained(tmp_path, monkeypatch)[1] == ""  # it is read back
    marker = tmp_path / "m" / "pitl.json"
    if damage == "cut":
        marker.write_text(marker.read_text()[:-100])
    elif damage == "lost array":
        max((p for p in marker.parent.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size).unlink()
    asked = {"another kind": {"kind": "data"}, "another fold": {"fold": 1}}.get(damage, {})
    made, said = _trained(tmp_path, monkeypatch, **asked)
    assert "It is made again now." in said and "steps, loss" in said
    assert (made.history["kind"], made.history["fold"]) == (asked.get("kind", "physics"), asked.get("fold", 0))
    assert _trained(tmp_path, monkeypatch, **asked)[1] == ""


def test_a_person_s_model_that_is_another_s_or_damaged_is_not_used(tmp_path, console):
    job = run.start(CONFIG, tmp_path, console)
    wrist_model().save(tmp_path / "m")
    assert run._usable(job, tmp_path / "m", "anna") is not None and run._usable(job, tmp_path / "no", "anna") is None
    assert run._usable(job, tmp_path / "m", "bert") is None and run._usable(job, tmp_path / "m", None) is None
    (tmp_path / "m" / "pitl.json").write_text(json.dumps({"format": "pitl"}))
    assert run._usable(job, tmp_path / "m", "anna") is None
    assert console.export_text().count("It is made again now.") == 3
