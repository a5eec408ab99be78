"""A study goes on where it stopped, its cells are pure, workers share them; what fails is named and hurts nobody."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import cli
from pitl.comparison import simple, study
from pitl.comparison.study import plan, table, work
from pitl.errors import PitlError

pytestmark = pytest.mark.thorough  # a whole study, however small

BASE = """
[virtual]
subjects = 3
seconds = 6.0
rhythmic_trials = 1
[train]
steps = 20
check_every = 10
batch = 64
[personalize]
steps = 20
[evaluate]
folds = 3
"""
STUDY = """
title = "tiny"
[[cell]]
name = "virtual"
base = "base.toml"
methods = ["generic_physics", "gain_offset", "head_data"]
supervision = ["angle"]
[[curve]]
name = "calibration"
cell = "virtual"
keys = ["data.calibration_fraction"]
values = [0.15, 0.3]
generic = "reference"
methods = ["generic_physics", "gain_offset"]
supervision = ["angle"]
set = { "data.test_after" = 0.5 }
[[curve]]
name = "lost"
cell = "virtual"
keys = ["perturb.lost"]
values = [0, 1]
methods = ["generic_physics"]
"""


def written(folder, text=STUDY):
    (folder / "base.toml").write_text(BASE)
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def quietly(_):
    pass


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def out(home):
    study.run(written(home), None, home / "out", 1, quietly)
    return home / "out"


def same(a, b):
    """The same tables, wall time aside."""
    first, second = table.read(a / "study.csv"), table.read(b / "study.csv")
    assert len(first) == len(second)
    for x, y in zip(first, second, strict=True):
        for key in set(x) - {"seconds"}:
            if isinstance(x[key], float):
                np.testing.assert_allclose(x[key], y[key], rtol=1e-3)
            else:
                assert x[key] == y[key], key


def of(out, **where):
    return [r for r in table.read(out / "study.csv") if all(r[k] == v for k, v in where.items())]


def test_every_cell_method_and_person_has_a_row(out):
    result = {(r["cell"], r["method"], r["subject"]) for r in of(out, task="all")}
    wanted = {("virtual", a) for a in ("generic_physics", "gain_offset", "head_data")}
    wanted |= {(f"calibration-{x}", a) for x in ("0.15", "0.3") for a in ("generic_physics", "gain_offset")}
    wanted |= {(f"lost-{x}", "generic_physics") for x in ("0", "1")}
    assert result == {(*w, p) for w in wanted for p in ("V01", "V02", "V03")}
    about = json.loads((out / "study.json").read_text())
    assert not about["failures"] and not about["missing"]


def test_source_models_of_a_curve_are_the_references(out):
    (only,) = (out / "generic").iterdir()
    assert len(list(only.glob("seed*/fold*/*"))) == 6


def test_a_cell_with_the_same_configuration_is_not_computed_twice(out):
    whole = [r | {"cell": ""} for r in of(out, cell="virtual", method="generic_physics", task="all")]
    again = [r | {"cell": ""} for r in of(out, cell="lost-0", method="generic_physics", task="all")]
    for a, b in zip(whole, again, strict=True):
        assert {k: a[k] for k in table.ANSWER} == {k: b[k] for k in table.ANSWER}
    assert len(list((out / "cells").iterdir())) == 4


def test_the_test_part_does_not_move_with_the_calibration(out):
    marks = [
        {r["subject"]: (r["test_mark"], r["test_rows"]) for r in of(out, cell=f"calibration-{x}")} for x in (0.15, 0.3)
    ]
    assert marks[0] == marks[1]
    seconds = [of(out, cell=f"calibration-{x}")[0]["calibration_s"] for x in (0.15, 0.3)]
    assert seconds == [pytest.approx(1.8, abs=0.05), pytest.approx(3.6, abs=0.05)]


def test_lost_channels_cost_something_and_leave_the_rows_as_they_were(out):
    whole, lost = (of(out, cell=f"lost-{n}", task="all") for n in (0, 1))
    assert [r["test_mark"] for r in whole] == [r["test_mark"] for r in lost]
    assert all(a["angle_rmse_deg"] != b["angle_rmse_deg"] for a, b in zip(whole, lost, strict=True))


def test_a_killed_study_goes_on_where_it_stopped_and_gives_the_same_table(home, out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(out, again)
    (again / "study.csv").unlink()
    lost = sorted((again / "cells").glob("*/*.csv"))
    for path in lost[::2]:
        path.unlink()
    (model,) = (again / "generic").glob("*/seed0/fold1/data")
    shutil.rmtree(model)
    kept = lost[1].stat().st_mtime_ns
    heard = []

    def interrupted(text):
        heard.append(text)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(home / "study.toml", None, again, 1, interrupted)
    assert json.loads((again / "study.json").read_text())["missing"] > 0
    study.run(home / "study.toml", None, again, 1, quietly)
    assert lost[1].stat().st_mtime_ns == kept
    same(out, again)


def test_two_workers_share_the_work_and_give_the_table_of_one(home, out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(out / "generic", again / "generic")
    predicted = ([], [])
    result = plan.read(home / "study.toml", None)
    threads = [
        threading.Thread(target=work.work, args=(result, again, own.append), kwargs={"share": (n, 2)})
        for n, own in enumerate(predicted)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    done = [text.split("] ")[1].rpartition(",")[0] for own in predicted for text in own]
    assert len(done) == len(set(done)) == 8  # nobody did what another had done
    study.run(home / "study.toml", None, again, 1, quietly)
    same(out, again)


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(home, out, tmp_path):
    study.run(home / "study.toml", None, tmp_path / "two", 2, quietly)
    same(out, tmp_path / "two")


@pytest.mark.slow
def test_a_study_whose_processes_are_killed_goes_on(home, out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(out / "generic", again / "generic")
    command = [sys.executable, "-m", "pitl", "study", home / "study.toml", "--out", again, "--processes", "2"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    first = child.stdout.readline()
    child.kill()  # it cannot tell its workers, who have to notice
    rest = child.stdout.read()  # ends when the last worker has
    assert first.count("[1/8]") == 1 and "[8/8]" not in rest
    study.run(home / "study.toml", None, again, 1, quietly)
    same(out, again)


def test_the_command_ends_on_the_page_and_says_what_failed(home, out, tmp_path):
    again = shutil.copytree(out, tmp_path / "out")
    done = CliRunner().invoke(cli.app, ["study", str(home / "study.toml"), "--out", str(again)])
    assert done.exit_code == 0 and done.output == f"Report: {again / 'report.html'}\n"
    page = (again / "report.html").read_text()
    (again / "report.html").unlink()
    assert CliRunner().invoke(cli.app, ["report", str(again)]).exit_code == 0
    assert (again / "report.html").read_text() == page
    bad = written(tmp_path, STUDY.replace("values = [0, 1]", "values = [0, 9]"))
    done = CliRunner().invoke(cli.app, ["study", str(bad), "--out", str(again)])
    assert done.exit_code == 1 and "failed: lost-9 0 generic_physics none perturb.lost = 9 silences" in done.output
    missing = CliRunner().invoke(cli.app, ["study", str(tmp_path / "no.toml"), "--out", str(again)])
    assert missing.exit_code == 1 and "cannot read the study" in missing.output


def test_a_part_may_be_worked_on_first(home, out, tmp_path):
    shutil.copytree(out / "generic", tmp_path / "out" / "generic")
    about = study.run(home / "study.toml", None, tmp_path / "out", 1, quietly, only=("lost-*",))
    assert {r["cell"] for r in of(tmp_path / "out")} >= {"lost-0", "lost-1"}
    assert not of(tmp_path / "out", cell="calibration-0.3") and about["missing"] == 6
    with pytest.raises(PitlError, match="no cell of .* is called like 'uci'; there are virtual, calibration, lost"):
        study.run(home / "study.toml", None, tmp_path / "out", 1, quietly, only=("uci",))


def test_what_fails_is_named_and_hurts_nobody_else(home, out, tmp_path):
    text = STUDY + '\n[[curve]]\nname = "bad"\ncell = "virtual"\nkeys = ["perturb.lost"]\nvalues = [9]\n'
    text += (
        'methods = ["generic_physics"]\n[[curve]]\nname = "typo"\ncell = "virtual"\nkeys = ["data.gap"]\nvalues = [1]'
    )
    path = written(tmp_path, text)
    shutil.copytree(out, tmp_path / "out")
    about = study.run(path, None, tmp_path / "out", 1, quietly)
    why = {f["cell"]: f["why"] for f in about["failures"]}
    assert set(why) == {"bad-9", "typo-1"}
    assert "silences all 5 channels" in why["bad-9"] and "did you mean data.gap_s" in why["typo-1"]
    assert len(of(tmp_path / "out", task="all")) == len(of(out, task="all"))
    (told,) = (tmp_path / "out" / "cells").glob("*/*.failed.txt")
    assert "silences all 5 channels" in told.read_text()
    study.run(written(tmp_path), None, tmp_path / "out", 1, quietly)
    assert json.loads((tmp_path / "out" / "study.json").read_text())["failures"] == []


def test_a_crash_inside_a_method_is_a_failure_with_its_place(home, out, tmp_path, monkeypatch):
    def broken(task):
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(simple, "gain_offset", broken)
    shutil.copytree(out, tmp_path / "out")
    for path in (tmp_path / "out" / "cells").glob("*/seed0-gain_offset-angle.csv"):
        path.unlink()
    about = study.run(home / "study.toml", None, tmp_path / "out", 1, quietly)
    assert len(about["failures"]) == 3
    assert all("ZeroDivisionError in test_study.py" in f["why"] for f in about["failures"])
    monkeypatch.undo()
    assert not study.run(home / "study.toml", None, tmp_path / "out", 1, quietly)["failures"]
    same(out, tmp_path / "out")


def test_results_of_other_defaults_are_not_mixed_in(home, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    (settings,) = (tmp_path / "out" / "generic").glob("*/settings.json")
    settings.write_text(settings.read_text().replace('"physics_weight": 0.1', '"physics_weight": 0.2'))
    for path in (tmp_path / "out" / "cells").glob("*/seed0-head_data-angle.csv"):
        path.unlink()
    about = study.run(home / "study.toml", None, tmp_path / "out", 1, quietly)
    assert [f["method"] for f in about["failures"]] == ["head_data"]
    assert "was made when train.physics_weight was 0.2, now it is 0.1" in about["failures"][0]["why"]


def test_real_recordings_are_left_out_without_their_folder(tmp_path):
    text = STUDY + '\n[[cell]]\nname = "uci"\nbase = "base.toml"\nset = { "data.kind" = "uci" }\n'
    result = plan.read(written(tmp_path, text), None)
    assert result.left_out == ("uci: is on real recordings, name their folder with --data",)
    assert "uci" not in {c.cohort for c in result.cells}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (STUDY.replace("gain_offset", "gain_ofset"), "cell.0.methods"),
        (STUDY.replace('cell = "virtual"', 'cell = "wrist"'), "there is no cell 'wrist'; the cells are virtual"),
        (STUDY.replace("[0.15, 0.3]", "[0.3, 0.3]"), "calibration-0.3 is there twice"),
        ("[[cell]\n", "is not valid TOML"),
        ('method = "haed_physics"\n' + STUDY, "did you mean 'head_physics'"),
        (STUDY.replace('title = "tiny"', 'titel = "tiny"'), "titel"),
    ],
)
def test_a_study_file_that_cannot_be_is_refused_in_a_sentence(tmp_path, text, sentence):
    with pytest.raises(PitlError) as result:
        plan.read(written(tmp_path, text), None)
    assert sentence in str(result.value) and "\n" not in str(result.value)


@pytest.mark.slow
def test_the_quick_study_answers_everything_and_leaves_its_page(tmp_path):
    root, out = Path(__file__).resolve().parents[1], tmp_path / "out"
    command = [sys.executable, "-m", "pitl", "study", str(root / "configs/study/quick.toml"), "--out", str(out)]
    done = subprocess.run([*command, "--processes", "2"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((out / "study.json").read_text())
    assert result["missing"] == 0 and not result["failures"] and not result["left_out"]
    assert {r["curve"] for r in table.read(out / "study.csv")} >= {"virtual_calibration", "virtual_lost"}
    assert "Primary comparison: " in (out / "report.html").read_text()
