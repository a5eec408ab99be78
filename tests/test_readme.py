"""The README tells the truth: its commands run, its example is read, its tables are those of the stored runs."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import cli
from pitl.config import toml
from pitl.data.cohort import read_cohort
from pitl.mechanics import library
from pitl.mechanics.planar import builtin

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def commands():
    lines = [
        line.split("#")[0].strip() for block in re.findall(r"```\n(.*?)```", TEXT, re.S) for line in block.split("\n")
    ]
    return [line for line in lines if line]


def example(folder):
    (folder / "cohort.toml").write_text(re.findall(r"```toml\n(.*?)```", TEXT, re.S)[0])
    t = np.arange(8000) / 2000.0
    rng = np.random.default_rng(0)
    rows = np.column_stack([0.1 * rng.normal(size=(len(t), 5)), 30 * np.sin(2 * np.pi * t)])
    np.savetxt(folder / "anna_slow.csv", rows, "%.5f", ",", header="FCR,FCU,ECRL,ECRB,ECU,flexion", comments="")


def imported(folder, command):
    """An OpenSim model, or what the import made of it."""
    if " import " in command:
        pytest.importorskip("opensim", reason="OpenSim's Python package is not installed: pip install 'pitl[opensim]'")
        from opensim_models import two_links

        return {"ARM.osim": str(two_links(folder)), "method": str(folder / "method")}
    library.save(folder / "method", builtin("wrist"), {})
    return {k: k.replace("method", str(folder / "method"), 1) for k in ("method", "arm.png", "model.name=method")}


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("bin/")])
def test_scripts_exist_and_may_be_run(command):
    path = ROOT / command.split()[0]
    assert path.is_file() and path.stat().st_mode & 0o100


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("pitl ")])
def test_every_command_is_understood(command, tmp_path, monkeypatch):
    asked = []
    job = ModuleType("pitl.comparison.run")
    job.__dict__["run"] = lambda config, out, console: asked.append(config)
    monkeypatch.setitem(__import__("sys").modules, "pitl.comparison.run", job)
    monkeypatch.setattr(__import__("pitl"), "run", job, raising=False)
    monkeypatch.chdir(ROOT)
    example(tmp_path)
    places = {"DIR": str(tmp_path), "check.html": str(tmp_path / "check.html")}
    if command.startswith("pitl model") or "model.name=method" in command:
        places |= imported(tmp_path, command)
    words = [places.get(w, w) for w in shlex.split(command)[1:]]
    if words[0] == "init":
        (tmp_path / "cohort.toml").unlink()
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert (words[0] != "run") or asked


def test_the_example_of_your_own_recordings_is_read(tmp_path):
    example(tmp_path)
    cohort = read_cohort(tmp_path)
    (r,) = cohort.subjects[0].recordings
    assert r.subject == "anna" and r.posture == "pronated" and abs(float(r.angle.max()) - np.radians(30)) < 1e-3


def test_the_example_of_a_configuration_is_valid(tmp_path):
    folder = shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (folder / "mine.toml").write_text(re.findall(r"```toml\n(.*?)```", TEXT, re.S)[1])
    read = toml.load(folder / "mine.toml")
    assert read.name == "mine" and read.data.kind == "cohort" and read.data.force_labels == "recorded"
    assert read.train.gain_augmentation > 0


def test_the_tables_are_those_of_the_stored_runs():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render(TEXT) == TEXT
    assert (ROOT / "benchmarks" / "picture.svg").is_file()
