import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

import pitl.comparison
from pitl import cli, files
from pitl.config import toml
from pitl.errors import PitlError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("[train]\nsteps = 10\n", encoding="utf-8")
    return path


@pytest.fixture
def job(monkeypatch, tmp_path):
    """Takes the place of the real work, and keeps what it was asked to do."""
    asked = []
    work = SimpleNamespace(asked=asked)
    work.run = lambda config, out, console, models=False: asked.append((models, config, out))
    module, report = ModuleType("pitl.comparison.run"), ModuleType("pitl.report")
    module.evaluate = lambda *a, **k: work.run(*a, **k)
    module.show_step = lambda console, name: contextlib.nullcontext()
    report.show = lambda out, console: None
    for name, fake in (("comparison.run", module), ("report", report)):
        monkeypatch.setitem(sys.modules, f"pitl.{name}", fake)
    monkeypatch.setattr(pitl.comparison, "run", module, raising=False)
    monkeypatch.setattr(pitl, "report", report, raising=False)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    return work


def _pitl(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_help_does_not_wait_for_jax():
    code = (
        "import sys, pitl.cli; sys.exit(' '.join({'jax', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", ["run", "compare", "simulate", "check", "train", "personalize", "predict", "report", "config"]
)
def test_every_command_explains_itself_with_an_example(command):
    shown = _pitl(command, "--help")
    assert shown.exit_code == 0
    assert f"  pitl {command}" in shown.output


def test_the_version():
    assert re.match(rf"pitl {pitl.__version__}, JAX [\d.]+ on \w+.*, Python 3", _pitl("--version").output)


@pytest.mark.parametrize(("command", "models"), [("run", True), ("compare", False)])
def test_the_work_gets_configuration_and_folder(job, file, command, models):
    shown = _pitl(command, file, "train.batch=8", "--out", "here", "name=x")
    assert shown.exit_code == 0, shown.output
    [(with_models, result, out)] = job.asked
    assert (with_models, out) == (models, Path("here"))
    assert (result.train.steps, result.train.batch, result.name) == (10, 8, "x")


def test_results_go_to_runs_by_default(job, file):
    _pitl("run", file)
    assert job.asked[0][2] == Path("runs/small")


def test_data_takes_the_place_of_what_the_file_says(job, file, tmp_path):
    _pitl("run", file, "data.kind=uci", "--data", tmp_path)
    assert job.asked[0][1].data.dir == str(tmp_path)


def test_what_the_user_can_mend_is_one_sentence(job, file, tmp_path):
    for arguments, says in (
        (["data.kind=uci"], "name their folder with --data DIR"),
        (["data.kind=uci", "--data", tmp_path / "no"], "does not exist"),
        (["data.kind=uci", "--data", file], "is a file, not a folder"),
        (["data.kind=uci", f"data.dir={tmp_path}/no"], "does not exist"),
        (["--data", tmp_path], "leave --data away, or add data.kind=auto"),
        (["train.stepz=3"], "did you mean train.steps?"),
    ):
        shown = _pitl("run", file, *arguments)
        assert shown.exit_code == 1
        assert says in shown.stderr
        assert shown.stderr.count("\n") == 1
        assert shown.stdout == ""
    assert job.asked == []


def test_an_error_in_the_work_is_one_sentence(job, file):
    def fail(*_, **__):
        raise PitlError("the file is empty; record again.")

    job.run = fail
    shown = _pitl("run", file)
    assert (shown.exit_code, shown.stderr) == (1, "pitl: the file is empty; record again.\n")


def test_after_an_interruption_it_says_how_to_go_on(job, file):
    def stop(*_, **__):
        raise KeyboardInterrupt

    job.run = stop
    shown = _pitl("run", file, "--out", "here")
    assert shown.exit_code == 130
    assert "kept in here; the same command goes on from there" in shown.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a POSIX timer")
def test_an_interruption_that_is_swallowed_comes_again(job, file, monkeypatch):
    def swallow(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        except KeyboardInterrupt:
            time.sleep(30)

    monkeypatch.setattr(cli.shell, "_AGAIN_S", 0.01)
    job.run = swallow
    handler = signal.getsignal(signal.SIGINT)
    assert _pitl("run", file).exit_code == 130
    assert signal.getsignal(signal.SIGINT) == handler


def test_the_printed_configuration_is_a_configuration(file, tmp_path):
    shown = _pitl("config", file, "train.batch=8")
    copy = tmp_path / "copy.toml"
    copy.write_text(shown.output, encoding="utf-8")
    assert toml.load(copy) == toml.load(file, ["train.batch=8"])
    assert "# optimiser steps; default 600\nsteps = 10\n" in shown.output


def test_a_cache_that_cannot_be_made_is_no_error(monkeypatch, file):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    files.keep_compiled_programs()


def test_a_compiler_is_asked_only_for_what_it_knows(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.12.0")
    assert files.quick_compiler() == {}
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    files.compile_quickly("--xla_backend_optimization_level=0")
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.parametrize(
    ("words", "says"),
    [(["train.stepz=4"], "did you mean train.steps"), (["--data", "."], "is a folder of recordings already")],
)
def test_what_is_asked_of_a_folder_of_one_person_is_not_passed_over(words, says, tmp_path):
    done = CliRunner().invoke(cli.app, ["run", str(tmp_path), *words])
    assert done.exit_code != 0 and says in " ".join(done.output.split())


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.name)
def test_the_configurations_of_the_project_are_valid(path):
    assert toml.load(path).name == path.stem


@pytest.mark.parametrize("name", ["bin/environment", "bin/quickstart", "bin/test", ".ci/run"])
def test_scripts_parse(name):
    done = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["train"], ["personalize", "none"]])
def test_a_model_is_not_to_replace_recordings_which_is_said_before_they_are_read(words, tmp_path):
    (tmp_path / "a.csv").write_text("no recording", encoding="utf-8")
    result = _pitl(*words, tmp_path, "--out", tmp_path)
    assert result.exit_code == 1
    assert "a.csv, which is no part of a model" in " ".join(result.output.split())
    assert (tmp_path / "a.csv").exists()


def test_an_interrupted_command_leaves_at_once(monkeypatch):
    """Python would take itself apart while something still computes, and may fall over that."""
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    for code in (130, 1):
        monkeypatch.setattr(cli, "app", lambda code=code: sys.exit(code))
        with pytest.raises(SystemExit):
            cli.main()
    assert codes == [130]
