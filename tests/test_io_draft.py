"""From a folder of files to a cohort, as an OpenSim user and as a person with one CSV per trial."""

from pathlib import Path

import numpy as np
import pytest
from io_samples import mat
from typer.testing import CliRunner

from pitl import cli
from pitl.data.cohort import read_cohort
from pitl.data.draft import draft
from pitl.data.formats import opensim
from pitl.data.formats.signals import Stream
from pitl.errors import PitlError

RATE = 1000.0
T = np.arange(6000) / RATE
SLOW = np.arange(610) / 100.0 - 0.05
KNEE_DEG = 40 + 35 * np.sin(2 * np.pi * 0.5 * SLOW)


def emg(seed: int, channels: int) -> np.ndarray:
    return 1e-4 * np.random.default_rng(seed).normal(size=(len(T), channels)) * (1.2 + np.sin(np.pi * T))[:, None]


def opensim_folder(folder: Path) -> Path:
    for k, person in enumerate(("anna", "ben", "cleo")):
        own = folder / person
        own.mkdir(parents=True)
        names = ("RF_r", "BF_r", "RF_l", "BF_l")
        opensim.write(own / "EMG_squat1.mot", Stream("e", names, ("",) * 4, emg(k, 4), T))
        angles = np.stack([-KNEE_DEG, 0.3 * KNEE_DEG, KNEE_DEG], axis=1)
        names = ("knee_angle_r", "hip_flexion_r", "knee_angle_l")
        opensim.write(own / "IK_squat1.mot", Stream("Coordinates", names, ("deg",) * 3, angles, SLOW))
        moment = Stream("Inverse Dynamics", ("knee_angle_r_moment",), ("N m",), 0.5 * KNEE_DEG[:, None], SLOW)
        opensim.write(own / "ID_squat1.sto", moment)
        opensim.write(own / "EMG_MVC.mot", Stream("e", ("RF_r", "BF_r"), ("",) * 2, 3 * emg(9, 2), T))
    return folder


def csv_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    angle = np.interp(T, SLOW, KNEE_DEG - 40)
    for k, person in enumerate(("anna", "ben", "cleo")):
        table = np.column_stack([T, 1e3 * emg(k, 2), angle])
        head = "Time,EMG FCR (mV),EMG ECU (mV),Wrist flexion (deg)"
        np.savetxt(folder / f"{person}_slow.csv", table, "%.6f", ",", header=head, comments="")
    return folder


def run(*words: object):
    return CliRunner().invoke(cli.app, [str(w) for w in words])


def test_an_opensim_user_gets_a_cohort_that_is_read(tmp_path: Path) -> None:
    folder = opensim_folder(tmp_path / "lab")
    done = run("init", folder)
    assert done.exit_code == 0 and "3 trial(s)" in done.output and "the right one was taken" in done.output
    cohort = read_cohort(folder)
    assert (
        cohort.joint == "knee" and [s.name for s in cohort.subjects] == ["anna", "ben", "cleo"] and not cohort.left_out
    )
    (r,) = cohort.subjects[1].recordings
    assert r.channels == ("RF", "BF") and r.rate_hz == RATE and r.dofs == ("knee_flexion",)
    np.testing.assert_allclose(r.emg, emg(1, 4)[:, :2][: len(r.emg)])
    clock = np.arange(len(r.emg)) / RATE
    assert r.angle is not None and r.torque is not None
    truth = 40 + 35 * np.sin(2 * np.pi * 0.5 * clock)  # flexion was recorded as negative: the sign is turned
    np.testing.assert_allclose(np.degrees(r.angle[:, 0]), truth, atol=0.01)
    np.testing.assert_allclose(r.torque[:, 0], 0.5 * truth, atol=0.01)
    (mvc,) = cohort.subjects[0].contractions
    assert mvc.emg.shape == (6000, 2) and (np.abs(mvc.emg).max(axis=0) > 1e-4).all()


def test_one_csv_per_trial_becomes_a_cohort_that_is_read(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path)
    assert run("init", folder).exit_code == 0
    cohort = read_cohort(folder)
    (r,) = cohort.subjects[2].recordings
    assert cohort.joint == "wrist" and r.channels == ("FCR", "ECU") and (r.subject, r.trial) == ("cleo", "slow")
    np.testing.assert_allclose(r.emg, emg(2, 2), atol=1e-9)
    done = run("check", folder, "--out", tmp_path / "page.html")
    assert done.exit_code == 0 and (tmp_path / "page.html").read_text().count("<svg") == 3
    assert sorted(p.suffix for p in folder.iterdir()) == [".csv", ".csv", ".csv", ".html", ".toml"]


@pytest.mark.slow
@pytest.mark.parametrize("lab", [opensim_folder, csv_folder])
def test_from_a_folder_to_a_report(lab, tmp_path: Path) -> None:
    folder = lab(tmp_path / "lab")
    assert run("init", folder).exit_code == 0
    config = Path(__file__).resolve().parents[1] / "configs" / "own.toml"
    short = (
        "train.steps=4",
        "train.check_every=2",
        "train.batch=16",
        "personalize.steps=2",
        "evaluate.arms=head_physics",
    )
    done = run("run", config, *short, "--data", folder, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()


def test_a_cohort_file_is_only_replaced_on_request(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path)
    (folder / "cohort.toml").write_text("mine")
    done = run("init", folder)
    assert done.exit_code == 1 and "--force" in done.output and (folder / "cohort.toml").read_text() == "mine"
    assert run("init", folder, "--force").exit_code == 0 and "joint" in (folder / "cohort.toml").read_text()


def test_a_folder_without_emg_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PitlError, match=r"no file with EMG.*\.mot.*\.xdf"):
        draft(tmp_path)
    (tmp_path / "notes.csv").write_text("hello")
    with pytest.raises(PitlError, match="notes.csv"):
        draft(tmp_path)


def test_what_is_missing_in_the_files_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a_1.csv").write_text("RF,BF\n" + "\n".join(f"{(-1) ** k * k % 7},{k % 5}" for k in range(200)))
    result = draft(tmp_path)
    told = " ".join(result.questions)
    assert "no angle" in told and "rate_hz" in told and "# rate_hz" in result.text


def test_a_mat_file_is_drafted_by_its_own_names(tmp_path: Path) -> None:
    mat(tmp_path / "s1_bend.mat")
    result = draft(tmp_path)
    assert "RF" in result.text and result.trials == 1


def test_the_real_gait_trial_is_drafted_and_read(shared: Path, tmp_path: Path) -> None:
    for name in ("EMG_gait.mot", "IK_gait.mot", "ID_gait.sto", "GRF_gait.mot"):
        (tmp_path / name).write_bytes((shared / "data" / "opensim_gait" / name).read_bytes())
    assert run("init", tmp_path).exit_code == 0
    (r,) = read_cohort(tmp_path).subjects[0].recordings
    assert r.rate_hz == 1000 and r.seconds == pytest.approx(2.17, abs=0.01)
    assert r.angle is not None and np.degrees(r.angle.max()) == pytest.approx(67, abs=1)
    assert any("s of EMG have no other measurements" in n for n in r.notes)
