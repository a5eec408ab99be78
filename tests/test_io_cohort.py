"""A cohort's folder: what is written is read back, and every trap is a sentence."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pitl.config.schema import DataConfig
from pitl.data import cohort as cohorts
from pitl.data.folder import read_folder
from pitl.data.recording import Cohort, Load, Recording, Subject
from pitl.errors import PitlError

HEADER = """
joint = "wrist"
[emg]
channels = { FCR = "a", ECRL = "b" }
unit = "mV"
rate_hz = 1000
[angle]
coordinates = { wrist_flexion = "q" }
unit = "deg"
[[trial]]
file = "one.csv"
subject = "S1"
task = "bend"
trial = "t1"
posture = "neutral"
"""
ROWS = ["a,b,q", "1,-1,10", "2,-2,20", "3,-3,30", "4,-4,40"]


def folder_with(folder: Path, header: str = HEADER, rows: list[str] | str = ROWS) -> Path:
    (folder / "cohort.toml").write_text(header)
    (folder / "one.csv").write_text(rows if isinstance(rows, str) else "\n".join(rows) + "\n")
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        cohorts.read_cohort(folder)
    for word in words:
        assert word in str(e.value)


def recording(subject: str, trial: str, seed: int, **more) -> Recording:
    rng = np.random.default_rng(seed)
    angle = rng.normal(size=(50, 1))
    values = {
        "emg": 1e-5 * rng.normal(size=(50, 2)), "channels": ("FCR", "ECRL"), "angle": angle, "dofs": ("flexion",),
        "force": 100 * rng.random((50, 3)), "muscles": ("FCR", "ECRL", "ECU"), "force_source": "truth",
        "torque": 2 * angle, **more,
    }  # fmt: skip
    return Recording(subject, "bend", trial, "neutral", values.pop("rate_hz", 1000.0), **values)


def test_units_and_names_follow_the_header(tmp_path: Path) -> None:
    r = cohorts.read_cohort(folder_with(tmp_path)).subjects[0].recordings[0]
    np.testing.assert_allclose(r.emg, np.array([[1, -1], [2, -2], [3, -3], [4, -4]]) * 1e-3)
    assert r.angle is not None
    np.testing.assert_allclose(r.angle[:, 0], np.radians([10, 20, 30, 40]))
    assert r.channels == ("FCR", "ECRL") and r.dofs == ("wrist_flexion",) and r.valid is None and r.rate_hz == 1000


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    mask = np.arange(50) % 7 != 0
    one = (recording("S/1", "t 1", 0), recording("S/1", "t_1", 1, valid=mask, rate_hz=2000.0, notes=('a "note"\\',)))
    bare = {"force": None, "torque": None, "muscles": (), "force_source": None}
    two = (recording("Ünal", "t1", 2, **bare), recording("Ünal", "t2", 3, angle=None, torque=None))
    people = (Subject("S/1", one, 1.8, 75.5, np.array([1e-4, 2e-4])), Subject("Ünal", two))
    cohort = Cohort("mine", "method", people, ("somebody was left out.",))
    cohorts.write_cohort(cohort, tmp_path / "new")
    back = cohorts.read_cohort(tmp_path / "new")
    assert (back.name, back.joint, back.notes) == (cohort.name, cohort.joint, cohort.notes)
    for s, z in zip(cohort.subjects, back.subjects, strict=True):
        assert (s.name, s.height_m, s.mass_kg) == (z.name, z.height_m, z.mass_kg)
        np.testing.assert_array_equal(s.mvc, z.mvc) if s.mvc is not None else None
        assert (s.mvc is None) == (z.mvc is None)
        for r, b in zip(s.recordings, z.recordings, strict=True):
            for key in ("subject", "task", "trial", "posture", "rate_hz", "channels", "dofs", "force_source", "notes"):
                assert getattr(r, key) == getattr(b, key), key
            assert r.force is None or r.muscles == b.muscles
            for key in ("emg", "angle", "force", "torque", "valid"):
                x, y = getattr(r, key), getattr(b, key)
                assert (x is None) == (y is None), key
                if x is not None:
                    np.testing.assert_allclose(x, y, rtol=1e-6, err_msg=key)


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    cohorts.write_cohort(Cohort("c", "method", (Subject("S", (recording("S", "t", 0),)),)), tmp_path / "a")
    cohorts.write_cohort(cohorts.read_cohort(tmp_path / "a"), tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_recordings_with_other_muscles_do_not_share_a_folder(tmp_path: Path) -> None:
    other = recording("S", "t2", 1, muscles=("x", "y", "z"))
    cohort = Cohort("c", "method", (Subject("S", (recording("S", "t", 0), other)),))
    with pytest.raises(PitlError, match="S/t2 has muscles"):
        cohorts.write_cohort(cohort, tmp_path)


@pytest.mark.parametrize("cell", ["", "nan", "NA", "inf"])
def test_missing_samples_are_marked_invalid_and_filled(tmp_path: Path, cell: str) -> None:
    rows = [*ROWS[:3], f"3,{cell},{cell}", ROWS[4]]
    r = cohorts.read_cohort(folder_with(tmp_path, rows=rows)).subjects[0].recordings[0]
    assert r.valid is not None and r.valid.tolist() == [True, True, False, True]
    assert np.isfinite(r.emg).all() and r.angle is not None
    assert np.degrees(r.angle[2, 0]) == pytest.approx(30)
    assert "line 4" in r.notes[0] and "1 of 4" in r.notes[0]


def test_a_column_without_any_number_is_named(tmp_path: Path) -> None:
    refused(folder_with(tmp_path, rows=["a,b,q", "1,,1", "2,,2"]), "one.csv", "'b'", "empty")


def test_text_in_a_number_column_is_named_by_line_and_column(tmp_path: Path) -> None:
    refused(
        folder_with(tmp_path, rows=[*ROWS[:3], "3,oops,30", ROWS[4]]), "one.csv", "line 4", "'b'", "'oops'", "number"
    )


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    header = HEADER.replace('"q"', '"angel"')
    refused(folder_with(tmp_path, header, [ROWS[0].replace("q", "angle"), *ROWS[1:]]), "'angel'", "'angle'")


def test_a_mistyped_key_names_the_nearest(tmp_path: Path) -> None:
    refused(folder_with(tmp_path, HEADER.replace("posture", "postrue")), "trial.1.postrue", "'posture'")
    refused(folder_with(tmp_path, HEADER.replace("rate_hz", "rate_Hz")), "rate")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('unit = "mV"', 'unit = "kV"', ("emg.unit", "kV")),
        ('subject = "S1"\n', "", ("trial.1.subject", "missing")),
        ('{ FCR = "a", ECRL = "b" }', "{}", ("emg.channels", "at least 1")),
        ("wrist_flexion", "wrist_flexoin", ("angle.coordinates", "wrist_flexoin", "the joint 'wrist' has")),
        ('"neutral"', '"neutrl"', ("trial.1.posture", "'neutrl'", "'neutral'")),
        ("1000", "-1000", ("rate_hz", "-1000")),
        ("1000", "nan", ("rate_hz",)),
        ("1000", '"fast"', ("rate_hz", "fast")),
        ("one.csv", "two.csv", ("two.csv", "does not exist")),
        ('ECRL = "b"', 'FCR = "b"', ("TOML",)),
        ('ECRL = "b"', 'ECRL = "a"', ("column 'a'", "twice", "emg.channels")),
        ("joint = ", "joint = = ", ("TOML", "line 2")),
    ],
)
def test_a_wrong_header_is_a_sentence(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    refused(folder_with(tmp_path, HEADER.replace(old, new)), *words)


def test_a_trial_listed_twice_is_refused(tmp_path: Path) -> None:
    again = HEADER[HEADER.index("[[trial]]") :].replace("one.csv", "two.csv")
    refused(folder_with(tmp_path, HEADER + again), "trial", "S1/t1", "twice")


def test_a_subject_listed_twice_or_without_trial_is_refused(tmp_path: Path) -> None:
    person = '[[subject]]\nname = "S1"\n'
    refused(folder_with(tmp_path, HEADER + 2 * person), "subject", "'S1'", "twice")
    refused(folder_with(tmp_path, HEADER + person.replace("S1", "S2")), "'S2'", "'S1'")


def test_degrees_declared_as_radians_are_noticed(tmp_path: Path) -> None:
    refused(folder_with(tmp_path, HEADER.replace('"deg"', '"rad"')), "one.csv", "line 5", "'q'", "unit = 'deg'")


def test_a_time_column_contradicts_a_wrong_rate(tmp_path: Path) -> None:
    rows = ["time,a,b,q"] + [f"{i / 500},{row}" for i, row in enumerate(ROWS[1:])]
    refused(folder_with(tmp_path, rows=rows), "500", "rate_hz = 1000")
    cohorts.read_cohort(folder_with(tmp_path, HEADER.replace("1000", "500"), rows))


@pytest.mark.parametrize("rows", ["", "\n\n", "a,b,q", "a,b,q\n"])
def test_an_empty_file_is_refused(tmp_path: Path, rows: str) -> None:
    refused(folder_with(tmp_path, rows=rows), "one.csv", "expected")


def test_a_line_with_too_many_cells_is_named(tmp_path: Path) -> None:
    refused(folder_with(tmp_path, rows=[*ROWS[:2], "1,2,3,4", ROWS[4]]), "line 3", "cells")
    refused(folder_with(tmp_path, rows=[ROWS[0], *(row + ",7" for row in ROWS[1:])]), "line 2", "cells")


def test_semicolons_and_decimal_commas_are_read(tmp_path: Path) -> None:
    rows = ["a;b;q", "1,5;2,5;10,5", "1,5;2,5;11"]
    r = cohorts.read_cohort(folder_with(tmp_path, rows=rows)).subjects[0].recordings[0]
    np.testing.assert_allclose(r.emg, [[1.5e-3, 2.5e-3]] * 2)


def test_a_missing_header_is_a_sentence(tmp_path: Path) -> None:
    refused(tmp_path, "cohort.toml", "does not exist")


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet='0123456789.,;\t\n\r"eE-+naifxab#\0 ', max_size=200)))
def test_garbage_is_never_another_exception(garbage: bytes | str) -> None:
    raw = garbage if isinstance(garbage, bytes) else garbage.encode()
    with tempfile.TemporaryDirectory() as name:
        folder = folder_with(Path(name))
        for file, prefix in (("one.csv", b""), ("one.csv", b"a,b,q\n1,2,3\n"), ("cohort.toml", b"")):
            folder_with(folder)
            (folder / file).write_bytes(prefix + raw)
            try:
                cohorts.read_cohort(folder)
            except PitlError as e:
                assert file in str(e)


def test_a_folder_without_recordings_says_what_was_looked_for(tmp_path: Path) -> None:
    data = DataConfig(kind="auto")
    with pytest.raises(PitlError, match="does not exist"):
        read_folder(tmp_path / "nowhere", data)
    with pytest.raises(PitlError, match="is empty; looked for cohort.toml"):
        read_folder(tmp_path, data)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(PitlError, match="holds notes.txt; looked for"):
        read_folder(tmp_path, data)
    assert read_folder(folder_with(tmp_path), data).joint == "wrist"


def test_the_torque_of_an_effort_is_the_dynamometers(tmp_path: Path) -> None:
    exerted = np.linspace(-1, 1, 50)[:, None]  # N m
    held = recording("S1", "t2", 1, torque=None, dynamometer=exerted)
    cohorts.write_cohort(Cohort("c", "own", (Subject("S1", (recording("S1", "t1", 0), held)),)), tmp_path)
    moved, effort = cohorts.read_cohort(tmp_path).subjects[0].recordings
    assert moved.dynamometer is None and moved.torque is not None
    assert effort.dynamometer is not None and effort.torque is None
    np.testing.assert_allclose(effort.dynamometer, exerted, atol=1e-6)
    header = tmp_path / "cohort.toml"
    header.write_text(header.read_text().replace("dynamometer = true", 'dynamometer = true\nlacks = ["angle"]'))
    refused(tmp_path, "dynamometer", "no angle")


def test_a_weight_that_was_carried_is_a_line_of_the_trial(tmp_path: Path) -> None:
    carried = Load(1.5, (0.06, 0.0, -0.01), "hand")
    trials = (recording("S1", "t1", 0), recording("S1", "t2", 1, load=carried))
    cohorts.write_cohort(Cohort("c", "own", (Subject("S1", trials),)), tmp_path)
    empty, loaded = cohorts.read_cohort(tmp_path).subjects[0].recordings
    assert empty.load is None and loaded.load == carried
    header = tmp_path / "cohort.toml"
    header.write_text(header.read_text().replace("mass_kg = 1.5", "mass_kg = -1"))
    refused(tmp_path, "load", "mass_kg")


def test_moments_that_are_known_in_part_of_a_trial_come_back_and_no_sample_is_lost(tmp_path: Path) -> None:
    walk = recording("S1", "t1", 0)
    assert walk.torque is not None
    torque = walk.torque.copy()
    torque[[*range(5), *range(20, 31)]] = np.nan
    walk = dataclasses.replace(walk, torque=torque)
    cohorts.write_cohort(Cohort("c", "own", (Subject("S1", (walk,)),)), tmp_path)
    (back,) = cohorts.read_cohort(tmp_path).subjects[0].recordings
    assert back.torque is not None and (back.valid is None or back.valid.all())
    np.testing.assert_allclose(back.torque, torque, rtol=1e-6)
