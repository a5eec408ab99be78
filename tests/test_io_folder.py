"""A folder of recordings: what lies outside it stays there, and one bad file costs nobody else anything."""

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import cli
from pitl.config import toml
from pitl.data.checks import quality
from pitl.data.cohort import read_cohort
from pitl.data.draft import draft
from pitl.data.formats import registry
from pitl.data.walk import files_below
from pitl.errors import PitlError, printable

COHORT = """joint = "knee"
[emg]
channels = {{ RF = "RF (mV)" }}
[angle]
coordinates = {{ knee_flexion = "Knee (deg)" }}
"""
TRIAL = '[[trial]]\nsubject = "{}"\ntrial = "1"\ntask = "bend"\nposture = "seated"\nfile = "{}"\n'


def table(path: Path, seed: int = 0) -> Path:
    t = np.arange(4000) / 1000.0
    emg = 0.05 * np.random.default_rng(seed).normal(size=len(t)) * (1.1 + np.sin(4 * t))
    columns = np.column_stack([t, emg, 50 + 35 * np.sin(3 * t)])
    np.savetxt(path, columns, "%.5f", ",", header="Time (s),RF (mV),Knee (deg)", comments="")
    return path


def cohort(folder: Path, *files: str, more: str = "") -> Path:
    trials = "".join(TRIAL.format(f"p{k}", f) for k, f in enumerate(files))
    (folder / "cohort.toml").write_text(more + COHORT.format() + trials)
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        read_cohort(folder)
    for word in words:
        assert word in str(e.value), str(e.value)


def test_files_outside_the_folder_are_read_only_when_the_user_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    table(tmp_path / "secret.csv")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    for name in ("../secret.csv", str(tmp_path / "secret.csv"), "link.csv"):
        refused(cohort(folder, name), "outside the folder", "outside = true")
        assert len(read_cohort(cohort(folder, name, more="outside = true\n")).subjects) == 1
    refused(cohort(folder, "a\\u0000.csv"), "cannot be the name of a file")
    refused(cohort(folder, "x" * 900 + ".csv"), "File name too long", "correct the file name")
    (folder / "circle.csv").symlink_to("circle.csv")
    refused(cohort(folder, "circle.csv"), "circle.csv")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[emg]", "[emg]\nrate_hz = 1e300", ("emg.rate_hz", "1e+300")),
        ("[emg]", "[emg]\nrate_hz = 1e-300", ("emg.rate_hz",)),
        ("[emg]", "[emg]\nrate_hz = nan", ("emg.rate_hz",)),
        ("[emg]", "[emg]\nnotch_hz = 1e-300", ("emg.notch_hz",)),
        ("[emg]", '[emg]\nkind = "smooth"', ("emg.kind", "'raw', 'rectified' or 'envelope'")),
        ('task = "bend"', 'task = "bend"\nemg_offset_s = 1e300', ("emg_offset_s",)),
        ('task = "bend"', 'task = "bend"\nrate_hz = ' + 5000 * "1", ("not valid TOML",)),
        ('joint = "knee"', 'joint = "knee"\nnotes = ' + 3000 * "[" + 3000 * "]", ("too deep",)),
        ('"p0"', '"a\\u0000b"', ("subject", "control characters")),
        ('"p0"', '"' + "x" * 300 + '"', ("subject",)),
    ],
)
def test_absurd_settings_are_sentences(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    table(tmp_path / "a.csv")
    text = (cohort(tmp_path, "a.csv") / "cohort.toml").read_text()
    (tmp_path / "cohort.toml").write_text(text.replace(old, new, 1))
    refused(tmp_path, "cohort.toml", *words)


def test_many_trials_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    refused(cohort(tmp_path, *(f"{k}.csv" for k in range(10_001))), "trial")


def test_chains_of_configurations_end(tmp_path: Path) -> None:
    for k in range(40):
        (tmp_path / f"c{k}.toml").write_text(f'base = "c{k + 1}.toml"\n')
    (tmp_path / "deep.toml").write_text("x = " + 3000 * "[" + 3000 * "]")
    (tmp_path / "long.toml").write_text(f'base = "{"a" * 300}.toml"')
    (tmp_path / "digits.toml").write_text("[train]\nsteps = " + 5000 * "1")
    for name, word in (
        ("c0", "base of a base"),
        ("deep", "too deep"),
        ("long", "too long"),
        ("digits", "not valid TOML"),
    ):
        with pytest.raises(PitlError, match=word):
            toml.load(tmp_path / f"{name}.toml")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name, word in (("pipe.csv", "a pipe or device"), ("zero.csv", "a pipe or device"), ("folder.csv", "a folder")):
        with pytest.raises(PitlError, match=word):
            registry.read(tmp_path / name)
    with pytest.raises(PitlError, match="no regular file"):
        toml.load(tmp_path / "zero.csv")


def test_one_bad_file_of_a_folder_is_named_and_the_others_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        table(tmp_path / f"p{k}_bend.csv", k)
    (tmp_path / "p3_bend.csv").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "p4_bend.mot").write_bytes(b"")
    os.mkfifo(tmp_path / "p5_bend.csv")
    (tmp_path / "p6_bend.csv").symlink_to("p6_bend.csv")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / os.fsdecode(b"p7_\xff.csv")).write_text("a,b\n1,2\n")
    (tmp_path / "p8_bend.csv").write_text("x,y\n1,2\n2,3\n")
    original = registry.importlib.import_module

    def broken(name: str):
        if name.endswith(".mat"):
            raise RecursionError("far too deep")
        return original(name)

    (tmp_path / "p9.mat").write_bytes(b"MATLAB 5.0")
    monkeypatch.setattr(registry.importlib, "import_module", broken)
    result = draft(tmp_path)
    assert result.trials == 3
    for name in ("p3_bend.csv", "p4_bend.mot", "p8_bend.csv", "p9.mat"):
        assert name in result.text.split("# Not used:")[1]
    assert "rename it in UTF-8" in result.text
    (tmp_path / "cohort.toml").write_text(
        result.text + TRIAL.format("p3", "p3_bend.csv") + TRIAL.format("p9", "p9.mat")
    )
    cohort, findings = quality.check_folder(tmp_path)
    assert cohort.names == ("p0", "p1", "p2") and sum("was left out" in f.what for f in findings) == 2


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "lab" / "a").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x.csv").write_text("1")
    (tmp_path / "lab" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "lab" / "a" / "up").symlink_to(tmp_path / "lab")
    assert [p.name for p in files_below(tmp_path / "lab")] == ["x.csv"]


def test_recordings_behind_a_link_are_drafted_and_read(tmp_path: Path) -> None:
    for name in ("lab", "far"):
        (tmp_path / name).mkdir()
    table(tmp_path / "far" / "p0_bend.csv")
    (tmp_path / "lab" / "data").symlink_to(tmp_path / "far")
    result = draft(tmp_path / "lab")
    assert "outside = true" in result.text and any("lead out" in d for d in result.decisions)
    (tmp_path / "lab" / "cohort.toml").write_text(result.text)
    assert len(read_cohort(tmp_path / "lab").subjects) == 1


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    table(tmp_path / "p0_bend.csv")
    (tmp_path / "p\x1b[2J\nsubject = 1.csv").write_text("no table")
    done = CliRunner().invoke(cli.app, ["init", str(tmp_path)])
    assert done.exit_code == 0 and "\x1b" not in done.output and "\\x1b" in done.output
    assert read_cohort(tmp_path).names == ("p0",)
    assert str(PitlError("a\x1b[2Jb\nc\udcff")) == "a\\x1b[2Jb c\\udcff"
    assert printable("Ünal µV") == "Ünal µV"
