"""From a folder of files to a cohort, as an OpenSim user and as a person with one CSV per trial."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from io_samples import mat
from typer.testing import CliRunner

from pitl import cli
from pitl.data.checks import quality
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
    np.testing.assert_allclose(r.torque[:, 0], -0.5 * truth, atol=0.01)  # the moment is about the same coordinate
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
        "evaluate.methods=head_physics",
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


def emg_of(
    folder: Path, *people: str, names: str = "RF (mV),BF (mV)", angle: str = "Knee angle (deg)", scale: float = 1e3
) -> Path:
    """A CSV a person, with raw EMG."""
    folder.mkdir(parents=True, exist_ok=True)
    knee = np.interp(T, SLOW, KNEE_DEG)
    for k, person in enumerate(people):
        angles = [knee + 3 * j for j in range(len(angle.split(",")))]
        table = np.column_stack([T, scale * emg(k, len(names.split(","))), *angles])
        np.savetxt(folder / f"{person}.csv", table, "%.7g", ",", header=f"Time (s),{names},{angle}", comments="")
    return folder


def ceinms_folder(folder: Path) -> Path:
    """A person as CEINMS keeps one: a folder per trial, envelopes, motion and moments in files of their own."""
    clock = np.arange(1000) / 100.0
    coordinates = [f"{c}_{s}" for s in "rl" for c in ("hip_flexion", "knee_angle", "ankle_angle")]
    motion = np.stack([20 * np.sin(5.6 * clock + j) - 25 for j in range(6)], axis=1)
    for k, trial in enumerate(("walk36", "walk45")):
        own = folder / trial
        own.mkdir(parents=True)
        envelopes = 0.02 + np.abs(np.sin(2 * np.pi * 0.9 * clock[:, None] + np.arange(3) + k)) ** 4
        lines = [f"{t:.2f}\t" + "\t".join(f" {v:.6f}" for v in r) for t, r in zip(clock, envelopes, strict=True)]
        head = "Normalized EMG Linear Envelopes\nnRows=1000\nnColumns=4\n\nendheader\n"
        head += "time\t  soleus_r\t rect_fem_r\tvas_med_r\t\n"
        (own / "emgFilt.sto").write_text(head + "\t\n".join(lines) + "\t\n")
        opensim.write(own / "ik.sto", Stream("Coordinates", tuple(coordinates), ("deg",) * 6, motion, clock))
        names = tuple(f"{c}_moment" for c in coordinates)
        opensim.write(own / "id.sto", Stream("Inverse Dynamics", names, ("N m",) * 6, motion, clock))
        names = ("ground_force_vx", "ground_force_vy")
        opensim.write(own / "grf.mot", Stream("grf", names, ("N", "N"), motion[:, :2], clock))
    (folder / "scaled.osim").write_text("<OpenSimDocument/>")
    (folder / "subject.xml").write_text("<subject/>")
    return folder


COORDINATES = ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")


def test_a_folder_per_trial_of_one_person_is_told_apart_by_content(tmp_path: Path) -> None:
    folder = ceinms_folder(tmp_path / "maria")
    result = draft(folder)
    assert len(result.questions) <= 2 and result.trials == 2
    assert result.model == folder / "scaled.osim" and result.coordinates == COORDINATES
    assert "subject.xml" in result.text and "walk36/grf.mot" in result.text  # named, though not used
    (folder / "cohort.toml").write_text(result.text)
    cohort = read_cohort(folder)
    assert cohort.names == ("maria",) and [r.trial for r in cohort.subjects[0].recordings] == ["walk36", "walk45"]
    r = cohort.subjects[0].recordings[0]
    assert (r.emg_kind, r.emg_unit, r.channels) == ("envelope", "1", ("soleus", "rect_fem", "vas_med"))
    assert r.angle is not None and r.torque is not None and r.posture == "standing"
    np.testing.assert_allclose(np.degrees(r.angle), r.torque, atol=1e-6)  # signs are turned together
    assert float(np.median(r.angle)) > 0 and r.emg.max() > 0.5


def test_the_model_beside_the_recordings_is_imported_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pitl.mechanics import importing, library

    folder = ceinms_folder(tmp_path / "maria")
    asked: list[tuple[str, ...]] = []

    def fake(path: Path, coordinates: tuple[str, ...], **_: object) -> SimpleNamespace:
        asked.append(tuple(coordinates))
        limb = SimpleNamespace(dofs=coordinates, muscles=("soleus_r", "rect_fem_r"), postures=("default",))
        return SimpleNamespace(model=limb, about={}, sentences=("one muscle was smoothed",))

    monkeypatch.setattr(importing, "import_model", fake)
    monkeypatch.setattr(importing, "muscles_across", lambda path, coordinates: ["soleus_r", "rect_fem_r"])
    monkeypatch.setattr(library, "save", lambda folder, *_: folder.mkdir())
    done = run("init", folder, "--model")
    assert done.exit_code == 0 and asked == [COORDINATES]
    cohort = read_cohort(folder)
    r = cohort.subjects[0].recordings[0]
    assert cohort.joint == str(folder / "model") and r.dofs == COORDINATES
    assert r.torque is not None and r.posture == "default"
    # the hip moves muscles of the thigh; its own have no electrodes, so its moment is no label
    assert np.isfinite(r.torque).all(axis=0).tolist() == [False, True, True]

    def hopeless(*_: object, **__: object) -> None:
        raise PitlError("one muscle jumps.")

    monkeypatch.setattr(importing, "import_model", hopeless)
    done = run("init", folder, "--model", "--force")
    assert done.exit_code == 0 and "one muscle jumps" in done.output and read_cohort(folder).joint == "knee"


WHOLE_BODY = "hip_flexion_r (deg),knee_angle_r (deg),ankle_angle_r (deg)"


@pytest.mark.parametrize(
    ("names", "angle", "joint", "column"),
    [
        ("soleus,vastus,rectus_femoris", WHOLE_BODY, "knee", "knee_angle_r"),
        ("FCR,ECU", "Wrist flexion (deg)", "wrist", "Wrist flexion"),
        ("Biceps,Triceps", "Elbow flexion (deg)", "elbow", "Elbow flexion"),
        ("TA,SOL", "Ankle dorsiflexion (deg)", "ankle", "Ankle dorsiflexion"),
    ],
)
def test_the_joint_is_the_one_that_was_recorded(
    tmp_path: Path, names: str, angle: str, joint: str, column: str
) -> None:
    result = draft(emg_of(tmp_path, "S01_bend", names=names, angle=angle))
    assert f'joint = "{joint}"' in result.text and f'= "{column}' in result.text.split("[angle]")[1]
    told = " ".join(result.questions)
    assert ("no built-in joint" in told and "pitl model import" in told) == (joint in ("elbow", "ankle"))


@pytest.mark.parametrize(
    ("names", "angle"),
    [
        ("L Rect (mV),L Hams (mV),R Rect (mV),R Hams (mV)", "Left knee flexion (deg),Right knee flexion (deg)"),
        ("LT RF (mV),LT BF (mV),RT RF (mV),RT BF (mV)", "knee LT (deg),knee RT (deg)"),
        ("RF links (mV),BF links (mV),RF rechts (mV),BF rechts (mV)", "Knie links (deg),Knie rechts (deg)"),
        ("RF_l (mV),BF_l (mV),RF_r (mV),BF_r (mV)", "knee_angle_l (deg),knee_angle_r (deg)"),
    ],
)
def test_one_side_is_taken_with_its_own_knee_and_a_word(tmp_path: Path, names: str, angle: str) -> None:
    folder = emg_of(tmp_path, "P01_walk", names=names, angle=angle)
    for side, first in (("r", 2), ("l", 0)):
        result = draft(folder, side=side)
        channels = result.text.split("[emg.channels]")[1].split("[angle]")[0]
        assert [n in channels for n in names.split(",")] == [first <= k < first + 2 for k in range(4)]
        assert angle.split(",")[first // 2] in result.text.split("[angle]")[1]
    assert any("both sides" in q for q in draft(folder).questions)


def test_no_recording_is_dropped_for_its_name(tmp_path: Path) -> None:
    folder = emg_of(tmp_path, "P01_static", "P01_motion", "P01_force", "Session")
    (folder / "Session.txt").write_bytes((folder / "Session.csv").read_bytes())
    (folder / "cohort.toml").write_text(draft(folder).text)
    names = [f"{s.name}/{r.trial}" for s in read_cohort(folder).subjects for r in s.recordings]
    assert sorted(names)[:3] == ["P01/force", "P01/motion", "P01/static"] and len(set(names)) == 5


def test_an_angle_file_goes_with_the_only_emg_beside_it_or_is_named(tmp_path: Path) -> None:
    opensim.write(tmp_path / "muscles.sto", Stream("e", ("RF", "BF"), ("",) * 2, emg(0, 2), T))
    knee = Stream("Coordinates", ("knee_angle_r",), ("deg",), KNEE_DEG[:, None], SLOW)
    opensim.write(tmp_path / "coordinates.mot", knee)
    assert 'angle = "coordinates.mot"' in draft(tmp_path).text
    opensim.write(tmp_path / "others.sto", Stream("e", ("RF", "BF"), ("",) * 2, emg(1, 2), T))
    result = draft(tmp_path)
    assert result.trials == 2 and "coordinates.mot has angles" in result.text.split("# Not used:")[1]


def test_people_whose_files_are_in_other_units_come_out_alike_or_are_found(tmp_path: Path) -> None:
    folder = emg_of(tmp_path, "S02_bend", "S03_bend", names="RF,BF")
    emg_of(folder, "S01_bend", names="RF,BF", scale=1e6)
    text = draft(folder).text
    (folder / "cohort.toml").write_text(text)
    sizes = [r.emg.std() for s in read_cohort(folder).subjects for r in s.recordings]
    assert len(sizes) == 3 and max(sizes) < 2 * min(sizes)
    (folder / "cohort.toml").write_text(text.replace("emg_unit", "# emg_unit").replace('unit = "mV"', 'unit = "uV"'))
    told = [f"{f.where} {f.what}" for f in quality.check(read_cohort(folder)) if f.severity == "error"]
    assert any("S02" in w and "is the unit mV instead of uV?" in w for w in told)


def test_counts_of_a_converter_and_rectified_emg_are_called_so(tmp_path: Path) -> None:
    head = (
        '# OpenSignals Text File Format\n# {"x": {"column": ["nSeq", "A1"], "sampling rate": 1000, "label": ["A1"]}}\n'
    )
    counts = np.round(512 + 40 * emg(0, 1)[:, 0] / 1e-4)
    rows = "".join(f"{k % 16}\t{v:.0f}\t\n" for k, v in enumerate(counts))
    (tmp_path / "a_1.txt").write_text(f"{head}# EndOfHeader\n{rows}")
    (tmp_path / "cohort.toml").write_text(draft(tmp_path).text)
    (r,) = read_cohort(tmp_path).subjects[0].recordings
    assert (r.channels, r.rate_hz, r.emg_unit, r.emg_kind) == (("A1",), 1000.0, "1", "raw")
    folder = emg_of(tmp_path / "b", "S01_bend")
    table = np.loadtxt(folder / "S01_bend.csv", delimiter=",", skiprows=1)
    table[:, 1:3] = np.abs(table[:, 1:3])
    np.savetxt(folder / "S01_bend.csv", table, "%.7g", ",", header="Time (s),RF (mV),BF (mV),Knee (deg)", comments="")
    assert 'kind = "rectified"' in draft(folder).text


def test_files_that_could_not_be_read_are_named_where_nothing_has_emg(tmp_path):
    (tmp_path / "a.c3d").write_bytes(b"PK\x03\x04garbage")
    (tmp_path / "b.mat").write_bytes(b"garbage" * 40)
    with pytest.raises(
        PitlError,
        match=r"no file with EMG\. a.c3d: .*does not begin as a C3D file.*b.mat.*named after",
    ):
        draft(tmp_path)


def test_columns_called_force_are_no_emg_even_where_they_name_a_muscle(tmp_path):
    names = ("emg_FCR", "emg_FCU", "angle_wrist_flexion", "force_FCR", "force_FCU", "grip force")
    values = np.column_stack([emg(0, 2), np.interp(T, SLOW, KNEE_DEG / 60), 40 + 1e5 * emg(1, 2), 1e5 * emg(2, 1)])
    np.savetxt(tmp_path / "S01_slow.csv", values, "%.7g", ",", header=",".join(names), comments="")
    text = draft(tmp_path).text
    assert 'FCR = "emg_FCR"\nFCU = "emg_FCU"\n\n' in text and "has forces of force_FCR, force_FCU;" in text
