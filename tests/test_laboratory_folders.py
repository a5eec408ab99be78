"""Folders as laboratories keep them, drafted and read: the given ones, and made ones of the same kinds."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy import signal
from scipy.io import savemat

from pitl.data import roles
from pitl.data.checks import quality
from pitl.data.cohort import read_cohort
from pitl.data.draft import draft
from pitl.data.recording import Cohort, Recording, Subject
from pitl.errors import PitlError

RATE = 1000


def read(folder: Path) -> list[Recording]:
    """The recordings of a folder whose cohort.toml is drafted if there is none."""
    if not (folder / "cohort.toml").exists():
        (folder / "cohort.toml").write_text(draft(folder).text)
    return [r for s in read_cohort(folder).subjects for r in s.recordings]


GIVEN = {  # channels, rate [Hz], seconds of each trial; the angle goes from 15 to 85 deg in all of them
    "01-time-in-minutes": (2, 500, [210.0]),
    "02-two-rates-in-one-mat": (2, 1000, [80.0]),
    "03-wrong-joint-chosen/a_whole_body": (4, 1000, [8.0]),
    "04-delsys-trigno-discover-csv/as_exported": (2, 1259.26, [6.0]),
    "04-delsys-trigno-discover-csv/emgworks": (1, 1259.26, [6.0]),
    "04-delsys-trigno-discover-csv/renamed": (2, 1259.26, [6.0]),
    "05-delsys-mat-export": (2, 2148.15, [6.0]),
    "06-both-legs-mixed": (2, 1000, [8.0]),
    "07-recordings-dropped-by-name": (2, 1000, [5.0] * 3),
    "09-second-emg-stream-dropped": (4, 1000, [5.0]),
    "10-angle-file-not-paired": (4, 1000, [5.0]),
    "14-c3d-angles-in-points": (4, 1000, [6.0]),
    "15-c3d-no-analog-rate": (2, 1000, [4.0] * 2),
    "17-c3d-unsigned-offset": (1, 1000, [4.0]),
    "19-opensim-header-counts": (4, 1000, [5.0] * 2),
    "20-opensim-emg-not-called-emg": (4, 1000, [5.0]),
    "21-vicon-nexus-csv": (2, 1000, [2.0]),
    "22-quoted-names-with-commas/a": (2, 1000, [3.0]),
    "23-labchart-and-acqknowledge-text/acqknowledge": (1, 1000, [3.0]),
    "23-labchart-and-acqknowledge-text/labchart": (1, 1000, [3.0]),
    "24-spaces-between-columns": (2, 1000, [3.0]),
    "25-rate-written-in-the-header/b": (2, 1000, [3.0]),
    "25-rate-written-in-the-header/c": (2, 1000, [3.0]),
    "27-mat-73-cells-and-struct-arrays": (2, 1000, [2.0] * 2),
    "28-hdf5-compound-table": (4, 1000, [3.0]),
    "31-time-in-other-languages": (2, 1000, [4.0]),
    "32-sparse-angle": (2, 1000, [6.0]),
    "33-rectified-emg": (2, 1000, [10.0]),
    "34-implausible-amplitude": (2, 1000, [6.0] * 3),
    "36-one-person-stops-the-run": (4, 500, [12.0] * 3 + [3.2]),
    "37-opensim-file-saved-by-excel": (4, 1000, [5.0]),
    "38-electrode-not-connected": (2, 1000, [10.0]),
}


@pytest.mark.parametrize("case", GIVEN)
def test_the_given_folders(shared: Path, tmp_path: Path, case: str) -> None:
    shutil.copytree(shared / "cases" / "laboratory" / case, tmp_path / "in")
    channels, rate, seconds = GIVEN[case]
    recordings = read(tmp_path / "in")
    assert [len(r.emg) / r.rate_hz for r in recordings] == pytest.approx(seconds, abs=0.02)
    for r in recordings[:3]:
        assert len(r.channels) == channels and r.rate_hz == pytest.approx(rate, rel=1e-4)
        assert r.angle is not None and "knee_flexion" in r.dofs
        angle = np.degrees(r.angle[:, 0] if r.valid is None else r.angle[r.valid, 0])
        assert (angle.min(), angle.max()) == pytest.approx((15, 85), abs=1.0)
        if case[:2] == "34":
            assert r.emg.std(axis=0) == pytest.approx(3e-5, rel=0.8)
    if case[:2] == "02" and recordings[0].angle is not None:  # at 1 s, which a wrong rate would put elsewhere
        assert np.degrees(recordings[0].angle[1000, 0]) == pytest.approx(70.57, abs=0.1)


@pytest.mark.parametrize("joint", ["b_elbow", "c_ankle"])
def test_a_joint_that_is_not_built_in_is_said_by_draft_and_check(shared: Path, tmp_path: Path, joint: str) -> None:
    shutil.copytree(shared / "cases" / "laboratory" / "03-wrong-joint-chosen" / joint, tmp_path / "in")
    result = draft(tmp_path / "in")
    (tmp_path / "in" / "cohort.toml").write_text(result.text)
    assert "no built-in joint" in result.questions[0]
    (first, *_) = quality.check_folder(tmp_path / "in")[1]
    assert first.severity == "error" and "pitl model import" in first.advice


def made(seconds: float = 5.0, channels: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times [s], EMG of about 30 uV [V] and a knee's angle from 15 to 85 deg."""
    t = np.arange(int(seconds * RATE)) / RATE
    band = signal.butter(2, (20, 400), "bandpass", fs=RATE, output="sos")
    emg = np.asarray(signal.sosfilt(band, np.random.default_rng(seed).normal(size=(len(t), channels)), axis=0))
    louder = 1.2 + np.sin(2 * np.pi * 0.4 * t[:, None] + np.pi * np.arange(channels))
    return t, 3e-5 * emg / emg.std() * louder, 50 + 35 * np.sin(2 * np.pi * 0.4 * t + seed)


def write(path: Path, names: list[str], columns: list, separator: str = ",") -> None:
    """A table; cells of NaN are empty."""
    rows = [separator.join(names)]
    for row in zip(*columns, strict=True):
        rows.append(separator.join(c if isinstance(c, str) else "" if np.isnan(c) else f"{c:.9g}" for c in row))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def right(r: Recording) -> None:
    """Asserts that a recording is what `made` made."""
    assert r.rate_hz == pytest.approx(RATE, rel=1e-3) and r.seconds == pytest.approx(5.0, abs=0.06)
    assert r.angle is not None and len(r.channels) == 2
    assert (np.degrees(r.angle).min(), np.degrees(r.angle).max()) == pytest.approx((15, 85), abs=1.0)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("Time [hr]", 1 / 3600), ("time_usec", 1e6), ("Time (msec)", 1e3), ("sec", 1), ("Sekunden", 1),
        ("Tempo [minutos]", 1 / 60), ("Time, s", 1), ("timestamp_us", 1e6),
    ],
)  # fmt: skip
def test_a_clock_in_other_words(tmp_path: Path, name: str, factor: float) -> None:
    t, emg, angle = made()
    write(tmp_path / "S1_a.csv", [name, "RF (mV)", "BF (mV)", "Knee angle (deg)"], [t * factor, *emg.T * 1e3, angle])
    (r,) = read(tmp_path)
    right(r)
    assert r.emg.std() == pytest.approx(3e-5, rel=0.7)


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%H:%M:%S.%f"])
def test_moments_of_the_day_are_a_clock_also_past_midnight(tmp_path: Path, form: str) -> None:
    t, emg, angle = made()
    start = datetime(2024, 1, 31, 23, 59, 58)
    moments = [(start + timedelta(seconds=float(x))).strftime(form) for x in t]
    write(tmp_path / "S1_a.csv", ["Moment", "RF (mV)", "BF (mV)", "Knee angle (deg)"], [moments, *emg.T * 1e3, angle])
    right(*read(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        ["Droit fémoral gauche", "Biceps fémoral gauche", "Droit fémoral droite", "Biceps fémoral droite",
         "Genou gauche (deg)", "Genou droit (deg)"],
        ["RF (left)", "BF (left)", "RF (right)", "BF (right)", "knee angle left (deg)", "knee angle right (deg)"],
    ],
)  # fmt: skip
def test_sides_in_brackets_and_beside_a_straight_muscle(tmp_path: Path, names: list[str]) -> None:
    t, emg, angle = made(channels=4)
    write(tmp_path / "S1_a.csv", ["Time (s)", *names], [t, *emg.T * 1e3, 100 - angle, angle])
    (r,) = read(tmp_path)
    right(r)
    assert np.allclose(r.emg[:, 0] / emg[:, 2], r.emg[9, 0] / emg[9, 2], rtol=1e-3)  # the right one's


def test_a_unit_that_nobody_knows_is_never_replaced_by_a_guess(tmp_path: Path) -> None:
    t, emg, angle = made()
    write(tmp_path / "S1_a.csv", ["Time (s)", "RF (furlong)", "Knee angle (deg)"], [t, emg[:, 0], angle])
    assert any("furlong" in q for q in draft(tmp_path).questions)
    with pytest.raises(PitlError, match="'RF .furlong.' in 'furlong'; add unit"):
        read(tmp_path)


def test_names_that_hold_the_separator_are_refused_where_the_unit_does_not_tell(tmp_path: Path) -> None:
    t, emg, angle = made()
    write(tmp_path / "S1_a.csv", ["Time (s)", "RF, upper", "BF", "Knee angle (deg)"], [t, *emg.T * 1e3, angle])
    with pytest.raises(PitlError, match="5 names above 4 columns"):
        draft(tmp_path)


def test_clocks_that_are_named_after_their_part(tmp_path: Path) -> None:
    t, emg, angle = made()
    slow = np.arange(0, len(t), 10)
    padded = [np.append(x[slow], np.full(len(t) - len(slow), np.nan)) for x in (t, angle)]
    write(tmp_path / "S1_a.csv", ["t_emg", "RF (mV)", "BF (mV)", "t_knee", "Knee (deg)"], [t, *emg.T * 1e3, *padded])
    right(*read(tmp_path))


def test_bars_and_wide_blanks_separate(tmp_path: Path) -> None:
    t, emg, angle = made()
    for name, separator in (("S1_a.txt", "|"), ("S2_b.txt", "    ")):
        write(
            tmp_path / name, ["Time (s)", "RF (mV)", "BF (mV)", "Knee angle (deg)"], [t, *emg.T * 1e3, angle], separator
        )
    for r in read(tmp_path):
        right(r)


def cells(items: list) -> np.ndarray:
    """A cell array."""
    out = np.empty(len(items), object)
    out[:] = items
    return out


@pytest.mark.parametrize("layout", ["struct", "named", "cells", "array"])
def test_trials_within_one_file_are_trials(tmp_path: Path, layout: str) -> None:
    both = [made(seed=k) for k in (0, 1)]
    each = [{"emg": e, "knee_angle": a, "fs": float(RATE)} for _, e, a in both]
    beside = {
        "emg": cells([e for _, e, _ in both]),
        "knee_angle": cells([a[:, None] for _, _, a in both]),
        "fs": 1000.0,
    }
    whole = {
        "struct": {"data": {"trial_1": each[0], "trial_2": each[1]}}, "named": {"walk1": each[0], "walk2": each[1]},
        "cells": beside, "array": {"trial": cells(each)},
    }[layout]  # fmt: skip
    savemat(tmp_path / "S1_walks.mat", whole)
    recordings = read(tmp_path)
    assert len({r.trial for r in recordings}) == 2 and {r.subject for r in recordings} == {"S1"}
    for r, (_, emg, angle) in zip(recordings, both, strict=True):
        right(r)
        assert r.angle is not None
        np.testing.assert_allclose(np.degrees(r.angle[:, 0]), angle, atol=1e-6)
        np.testing.assert_allclose(np.corrcoef(r.emg[:, 0], emg[:, 0])[0, 1], 1, atol=1e-9)


def test_a_rate_that_names_nothing_known_goes_where_it_fits(tmp_path: Path) -> None:
    _, emg, angle = made()
    savemat(tmp_path / "S1_a.mat", {"emg": emg, "fs_emg": 1000.0, "knee_angle": angle[::20], "fs_vicon": 50.0})
    right(*read(tmp_path))


def recording(emg: np.ndarray, angle: np.ndarray, subject: str = "A", kind: str = "raw") -> Recording:
    """Of a knee."""
    return Recording(
        subject, "bend", "bend", "seated", RATE, emg, ("RF", "BF"), np.radians(angle)[:, None], ("knee_flexion",),
        source="made", emg_kind=kind,
    )  # fmt: skip


def said(*recordings: Recording) -> str:
    """What check says."""
    people = tuple(Subject(r.subject, (r,)) for r in recordings)
    return "; ".join(f"{f.where}: {f.what}" for f in quality.check(Cohort("made", "knee", people)) if f.advice)


def test_what_no_electrode_gives_is_found_in_each_kind_of_emg() -> None:
    t, emg, angle = made(10.0)
    noise = 1e-6 * np.random.default_rng(3).normal(size=len(t))
    hum = 1e-5 * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 3, 5))
    assert said(recording(emg, angle)) == ""
    for other, kind, words in (
        (noise, "rectified", "BF: the EMG is noise"),
        (hum + noise, "raw", "power line's 50 Hz"),
    ):
        both = np.stack([emg[:, 0], other], axis=1)
        assert words in said(recording(both if kind == "raw" else np.abs(both), angle, kind=kind))
    slow = signal.butter(2, 6, fs=RATE, output="sos")
    envelope = np.asarray(signal.sosfiltfilt(slow, np.abs(np.stack([emg[:, 0], 20 * noise], axis=1)), axis=0))
    assert "BF: the envelope varies by" in said(recording(envelope, angle, kind="envelope"))


@pytest.mark.parametrize("copy", [lambda e: 0.9 * e, lambda e: e + 1e-5, lambda e: e[:, ::-1]])
def test_a_copy_is_found_in_another_unit_offset_or_order(copy) -> None:
    _, emg, angle = made()
    _, other, _ = made(seed=7)
    assert "identical to that of A" in said(recording(emg, angle), recording(copy(emg), angle, "B"))
    assert said(recording(emg, angle), recording(other, angle, "B")) == ""
    assert "RF and BF are the same signal" in said(recording(emg[:, :1] * [1, 0.5], angle))


@pytest.mark.parametrize("path", ["lab/2024/{}/walk", "day1/{}/walk", "walking/{}/a", "{}/day1/walk"])
def test_people_are_told_apart_wherever_their_folders_lie(path):
    folder = Path("lab")
    keys = [roles._whose(folder, Path(path.format(p)) / "emg.csv", False) for p in ("P01", "P02")]
    assert [k[0] for k in keys] == ["P01", "P02"] and keys[0][1] == keys[1][1]


@pytest.mark.parametrize("folder_of", ["2024/{}", "2024-03-01/{}", "2024/{}/walk", "{}/2024"])
def test_a_date_is_nobody(tmp_path, folder_of):
    people = [roles._whose(tmp_path, Path(folder_of.format(p)) / "walk1.csv", False)[0] for p in ("anna", "bob")]
    assert people == ["anna", "bob"]
    assert roles._whose(tmp_path, Path("20240301/walk/emg.csv"), False)[0] == "20240301"
