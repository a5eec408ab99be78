"""The whole job on a small virtual cohort: it ends, it resumes, and what it leaves is complete and usable."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from pitl import report
from pitl.comparison import results, run
from pitl.config import toml
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data import virtual
from pitl.errors import PitlError
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.learn.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Config.model_validate(
    {
        "name": "tiny",
        "virtual": {"subjects": 3, "seconds": 6.0, "rhythmic_trials": 1, "random_trials": 1},
        "train": {"steps": 40, "check_every": 20, "batch": 64},
        "personalize": {"steps": 20, "batch": 64},
        "hill": {"steps": 20},
        "evaluate": {"folds": 3, "supervision": ["angle_force", "angle", "none"]},
    }
)
QUIET = Console(quiet=True)
pytestmark = pytest.mark.thorough  # whole runs with every default method
KEYS = {
    "subject", "task", "method", "supervision", "seed", "angle_rmse_deg", "angle_nrmse", "angle_r2", "angle_r",
    "force_rmse_n", "force_nrmse", "force_r2", "torque_rmse_nm", "residual_nm", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    # the mechanics' own tests forbid promotions; here the whole job runs as users run it
    folder = tmp_path_factory.mktemp("tiny")
    run.evaluate(CONFIG, folder, QUIET, models=True)
    return folder


def test_every_method_grade_and_person_has_a_row(out):
    result = json.loads((out / "metrics.json").read_text())
    assert result["schema"] == 2 and result["environment"]["jax"] == jax.__version__
    rows = result["rows"]
    assert all(set(r) == KEYS for r in rows)
    pairs = {(r["method"], r["supervision"]) for r in rows}
    labelled = ("gain_offset", "head_data", "head_physics", "deviation", "scratch", "ridge", "emg_driven_measured")
    assert pairs == {
        ("generic_data", "none"),
        ("generic_physics", "none"),
        ("head_physics", "none"),
        *((a, s) for a in labelled for s in ("angle_force", "angle")),
    }
    for pair in pairs:
        people = {r["subject"] for r in rows if (r["method"], r["supervision"]) == pair and r["task"] == "all"}
        assert people == {"V01", "V02", "V03"}
    assert all(np.isfinite(r["angle_rmse_deg"]) for r in rows)


def test_a_saved_person_is_a_model_that_needs_nothing_else(out):
    saved = Model.load(results.folder_of(out, "V02", "angle"))
    cohort = virtual.simulate(CONFIG.virtual)
    recording = cohort.subjects[1].recordings[0]
    estimate = predict_recording(saved, recording)
    with np.load(out / "predictions" / "seed0" / "deviation-angle.npz") as predicted:
        prepared = prepare(CONFIG, cohort)
        trial = next(t for t in prepared.table.trials if t.subject == 1)
        count = trial.stop - trial.test_start
        np.testing.assert_allclose(estimate.angle[-count:], predicted["angle1"][:count], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(estimate.force[-count:], predicted["force1"][:count], rtol=1e-3, atol=1e-3)


def test_the_final_models_have_seen_everything_and_say_how_far_to_trust_them(out):
    own = Model.load(out / "models" / "V02")
    assert own.subject == "V02" and own.history["kind"] == "personal" and own.history["labels"] == "angle"
    # by the generic model that has not seen this person, as the comparison says
    rows = json.loads((out / "metrics.json").read_text())["rows"]
    found = [r for r in rows if (r["subject"], r["method"], r["supervision"]) == ("V02", "deviation", "angle")]
    compared = next(r["angle_rmse_deg"] for r in found if r["task"] == "all")
    assert own.history["trust"]["angle_rmse_deg"] == pytest.approx(compared, rel=1e-3)
    generic = Model.load(out / "models" / "generic")
    assert generic.channel_scale is None and generic.history["trained_on"] == ["V01", "V02", "V03"]
    recording = virtual.simulate(CONFIG.virtual).subjects[1].recordings[0]
    answer = predict_recording(own, recording)
    assert (
        np.isfinite(answer.angle).all() and answer.angle_half is not None and answer.torque.shape == answer.angle.shape
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.unlink(),
        lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
        lambda p: p.write_bytes(b"no archive at all"),
    ],
    ids=["lost", "cut", "overwritten"],
)
def test_a_run_that_lost_or_damaged_what_it_had_finished_makes_it_again_and_gives_the_same(out, tmp_path, damage):
    again = tmp_path / "again"
    shutil.copytree(out, again)
    (again / "metrics.json").unlink()
    damage(again / "predictions" / "seed0" / "ridge-angle.npz")
    kept = (again / "generic" / "seed0" / "fold0" / "data").stat().st_mtime_ns
    run.evaluate(CONFIG, again, QUIET)
    assert (again / "generic" / "seed0" / "fold0" / "data").stat().st_mtime_ns == kept

    def numbers(folder):
        rows = json.loads((folder / "metrics.json").read_text())["rows"]
        return [(r["subject"], r["task"], r["method"], r["supervision"], r["angle_rmse_deg"]) for r in rows]

    for a, b in zip(numbers(out), numbers(again), strict=True):
        assert a[:4] == b[:4]
        np.testing.assert_allclose(a[4], b[4], rtol=1e-4)


def test_a_folder_of_another_configuration_is_refused(out):
    other = change(CONFIG, personalize={"steps": 21})
    with pytest.raises(PitlError, match="another configuration"):
        run.evaluate(other, out, QUIET)


def test_a_generic_model_says_that_it_needs_a_person(out):
    generic = Model.load(out / "generic" / "seed0" / "fold0" / "physics")
    cohort = virtual.simulate(CONFIG.virtual)
    with pytest.raises(PitlError, match="personalise it first"):
        predict_recording(generic, cohort.subjects[0].recordings[0])


def test_the_quickstart_ends_in_a_report_and_in_models(tmp_path):
    tiny = ["virtual.subjects=4", "virtual.seconds=8.0", "virtual.rhythmic_trials=2", "virtual.random_trials=1"]
    tiny += ["train.steps=6", "train.check_every=2", "train.batch=32", "personalize.steps=4", "hill.steps=4"]
    config = toml.load(ROOT / "configs" / "quickstart.toml", tiny)
    run.evaluate(config, tmp_path, QUIET, models=True)
    assert json.loads((tmp_path / "learned.json").read_text()).keys() == {"V01", "V02", "V03", "V04"}
    assert not (tmp_path / "generic" / "seed0" / "fold0" / "data").exists()  # no method starts from it
    own = Model.load(tmp_path / "models" / "V03")
    assert own.deviation is not None and own.history["trust"]["angle_rmse_deg"] > 0
    report.write(tmp_path)
    assert "V03" in (tmp_path / "report.html").read_text(encoding="utf-8")
