"""The README tells the truth: its commands and Python run, its example is read, its table is that of stored runs."""

import contextlib
import dataclasses
import functools
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

import pitl
import pitl.comparison
from benchmarks import readme
from pitl import cli
from pitl.data.cohort import read_cohort, write_cohort
from pitl.learn import api

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FEW = {"train": {"steps": 20, "check_every": 10, "batch": 32}, "personalize": {"steps": 5}}


def commands():
    blocks = [b for kind, b in re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) if not kind]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.split("\n")]
    return [line for line in lines if line.startswith("pitl ")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `recordings` of three people, one of them anna, where few steps are trained."""
    people = pitl.simulate(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=0)
    first, *others = people.subjects
    own = tuple(dataclasses.replace(r, subject="anna", trial="slow") for r in first.recordings)
    people = dataclasses.replace(people, subjects=(dataclasses.replace(first, name="anna", recordings=own), *others))
    write_cohort(people, tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    real = pitl.train, pitl.personalize  # looked up before they are replaced, so that they come back
    assert all(map(callable, real))
    monkeypatch.setattr(api, "train_model", functools.partial(api.train_model, train=FEW["train"]))
    monkeypatch.setattr(
        api, "personalize_model", functools.partial(api.personalize_model, personalize=FEW["personalize"])
    )
    monkeypatch.setattr(pitl, "train", api.train_model, raising=False)
    monkeypatch.setattr(pitl, "personalize", api.personalize_model, raising=False)
    return tmp_path


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 150


def test_its_python_runs(folder):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    space = {}
    exec(code, space)
    assert space["anna"].subject == "anna" and (folder / "answer.sto").is_file() and (folder / "anna").is_dir()


def test_from_a_folder_to_muscle_forces_in_the_commands_that_it_says(folder):
    steps = [c for c in commands() if c.split()[1] in ("init", "check", "train", "personalize", "predict")]
    assert [c.split()[1] for c in steps] == ["init", "check", "train", "personalize", "predict"]
    for command in steps:
        words = shlex.split(command)[1:]
        if words[0] == "init":
            (folder / "recordings" / "cohort.toml").rename(folder / "kept.toml")
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, (command, done.output, done.exception)
        if words[0] == "init":  # what a user corrects in the draft is not the README's matter
            (folder / "kept.toml").rename(folder / "recordings" / "cohort.toml")
        if words[0] == "personalize":
            assert "degrees off" in done.output
    assert "FCR_force" in (folder / "answers.sto").read_text()


@pytest.mark.slow
def test_a_folder_of_opensim_becomes_forces_in_five_commands(shared, tmp_path, monkeypatch):
    shutil.copytree(shared / "data" / "ceinms_lower_limb", tmp_path / "anna")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.split("#")[0].strip() for line in block.strip().split("\n")]
    assert len(lines) == 5
    for command in lines:
        done = CliRunner().invoke(cli.app, shlex.split(command)[1:])
        assert done.exit_code == 0, (command, done.output, done.exception)
    answers = sorted((tmp_path / "forces").glob("*.sto"))
    assert len(answers) == 2 and all("soleus_r_force" in a.read_text() for a in answers)


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[1] in ("run", "compare")])
def test_the_comparison_is_asked_for_as_it_says(command, folder, monkeypatch):
    asked = []
    work, report = ModuleType("pitl.comparison.run"), ModuleType("pitl.report")
    work.__dict__["evaluate"] = lambda config, out, console, models=False: asked.append((config, models))
    work.__dict__["show_step"] = lambda console, name: contextlib.nullcontext()
    report.__dict__["show"] = lambda out, console: None
    monkeypatch.setitem(sys.modules, "pitl.comparison.run", work)
    monkeypatch.setattr(pitl.comparison, "run", work, raising=False)
    monkeypatch.setitem(sys.modules, "pitl.report", report)
    monkeypatch.setattr(pitl, "report", report, raising=False)
    words = [str(ROOT / w) if w.startswith("configs/") else w for w in shlex.split(command)[1:]]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert asked and asked[0][1] == (words[0] == "run")


def test_the_scripts_and_pages_that_it_names_are_there():
    for name in (*re.findall(r"`(bin/\w+)`", TEXT), *re.findall(r"\]\(([\w/]+\.\w+)\)", TEXT)):
        assert (ROOT / name).is_file(), name


def test_its_example_of_a_cohort_is_read(tmp_path):
    (tmp_path / "cohort.toml").write_text(re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[0])
    t, rng = np.arange(8000) / 2000.0, np.random.default_rng(0)
    rows = np.column_stack([0.1 * rng.normal(size=(len(t), 5)), 30 * np.sin(2 * np.pi * t)])
    np.savetxt(tmp_path / "anna_slow.csv", rows, "%.5f", ",", header="FCR,FCU,ECRL,ECRB,ECU,flexion", comments="")
    (r,) = read_cohort(tmp_path).subjects[0].recordings
    assert r.subject == "anna" and r.posture == "pronated" and abs(float(r.angle.max()) - np.radians(30)) < 1e-3


def test_its_table_is_that_of_the_stored_runs():
    assert readme.render(TEXT) == TEXT
    assert (ROOT / "benchmarks" / "picture.svg").is_file()
