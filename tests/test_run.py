"""The whole job on a small virtual cohort: it ends, it resumes, and what it leaves is complete and usable."""

import json
import shutil

import jax
import numpy as np
import pytest
from rich.console import Console

from pitl.comparison import run
from pitl.config.toml import Config
from pitl.config.schema import EvaluateConfig
from pitl.config.schema import PersonalizeConfig
from pitl.config.schema import TrainConfig
from pitl.config.schema import VirtualConfig
from pitl.data import virtual
from pitl.errors import PitlError
from pitl.learn import prepare
from pitl.learn.model import load_model
from pitl.learn.predict import predict_recording

CONFIG = Config(
    name="tiny",
    virtual=VirtualConfig(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1),
    train=TrainConfig(steps=40, check_every=20, batch=64),
    personalize=PersonalizeConfig(steps=20, batch=64),
    evaluate=EvaluateConfig(folds=3, supervision=("angle_force", "angle", "none")),
)
KEYS = {
    "subject", "task", "method", "supervision", "seed", "angle_rmse_deg", "angle_nrmse", "angle_r2", "angle_r",
    "force_rmse_n", "force_nrmse", "force_r2", "torque_rmse_nm", "residual_nm", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    # the mechanics' own tests forbid promotions; here the whole job runs as users run it
    folder = tmp_path_factory.mktemp("tiny")
    run.run(CONFIG, folder, Console(quiet=True))
    return folder


def test_every_arm_grade_and_person_has_a_row(out):
    result = json.loads((out / "metrics.json").read_text())
    assert result["schema"] == 1 and result["environment"]["jax"] == jax.__version__
    rows = result["rows"]
    assert all(set(r) == KEYS for r in rows)
    pairs = {(r["method"], r["supervision"]) for r in rows}
    labelled = ("gain_offset", "head_data", "head_physics", "full_finetune", "scratch", "ridge", "hill_calibrated")
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


def test_the_report_stands_alone(out):
    html = (out / "report.html").read_text()
    assert "<svg" in html and "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "")


def test_a_saved_person_is_a_model_that_needs_nothing_else(out):
    saved = load_model(out / "personalized" / "V02-angle")
    cohort = virtual.simulate(VirtualConfig(**CONFIG.virtual.model_dump()))
    recording = cohort.subjects[1].recordings[0]
    estimate = predict_recording(saved, recording)
    with np.load(out / "predictions" / "seed0" / "head_physics-angle.npz") as predicted:
        prepared = prepare.prepare(CONFIG, cohort)
        trial = next(t for t in prepared.table.trials if t.subject == 1)
        count = trial.stop - trial.test_start
        np.testing.assert_allclose(estimate.angle[-count:], predicted["angle1"][:count], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(estimate.force[-count:], predicted["force1"][:count], rtol=1e-3, atol=1e-3)


def test_a_killed_run_goes_on_where_it_stopped_and_gives_the_same(out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(out, again)
    for lost in ("said/seed0/scratch-angle.npz", "metrics.json", "report.html"):
        (again / lost).unlink()
    kept = (again / "generic" / "seed0" / "fold0" / "data").stat().st_mtime_ns
    run.run(CONFIG, again, Console(quiet=True))
    assert (again / "generic" / "seed0" / "fold0" / "data").stat().st_mtime_ns == kept

    def numbers(folder):
        rows = json.loads((folder / "metrics.json").read_text())["rows"]
        return [(r["subject"], r["task"], r["method"], r["supervision"], r["angle_rmse_deg"]) for r in rows]

    for a, b in zip(numbers(out), numbers(again), strict=True):
        assert a[:4] == b[:4]
        np.testing.assert_allclose(a[4], b[4], rtol=1e-4)


def test_a_folder_of_another_configuration_is_refused(out):
    other = CONFIG.model_copy(update={"personalize": PersonalizeConfig(steps=21)})
    with pytest.raises(PitlError, match="another configuration"):
        run.run(other, out, Console(quiet=True))


def test_a_generic_model_says_that_it_needs_a_person(out):
    generic = load_model(out / "generic" / "seed0" / "fold0" / "physics")
    cohort = virtual.simulate(VirtualConfig(**CONFIG.virtual.model_dump()))
    with pytest.raises(PitlError, match="personalise it first"):
        predict_recording(generic, cohort.subjects[0].recordings[0])
