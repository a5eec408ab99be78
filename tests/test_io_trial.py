"""Files on clocks of their own become one recording; what is wrong with them is a sentence."""

from pathlib import Path

import numpy as np
import pytest

from pitl.data.cohort import read_cohort
from pitl.data.formats import hdf5, opensim
from pitl.data.formats.signals import Signals, Stream
from pitl.data.load import read_recording
from pitl.data.recording import Recording
from pitl.errors import PitlError

RATE = 1000.0
T = np.arange(5000) / RATE
SLOW = np.arange(100, 400) / 100.0  # 1.00 to 3.99 s
EMG = 1e-4 * np.random.default_rng(0).normal(size=(5000, 2))
TWO = np.stack([30 * np.sin(2 * SLOW), 20 * np.cos(SLOW)], axis=1)

COHORT = """
joint = "leg"
[emg]
unit = "V"
[emg.channels]
RF = "RF"
BF = "BF"
[angle]
coordinates = { hip_flexion = "hip", knee_flexion = "-knee" }
[[trial]]
subject = "anna"
trial = "one"
task = "squat"
posture = "standing"
emg = "emg.h5"
angle = "ik.mot"
"""


def folder_with(folder: Path, text: str = COHORT) -> Path:
    (folder / "cohort.toml").write_text(text)
    streams = (Stream("amplifier", ("RF", "BF"), ("V", "V"), EMG, T),)
    hdf5.write(folder / "emg.h5", Signals(folder / "emg.h5", streams))
    opensim.write(folder / "ik.mot", Stream("Coordinates", ("hip", "knee"), ("deg", "deg"), TWO, SLOW))
    return folder


def only(folder: Path) -> Recording:
    (r,) = read_cohort(folder).subjects[0].recordings
    return r


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        read_cohort(folder)
    for word in words:
        assert word in str(e.value), str(e.value)


def test_two_rates_and_two_coordinates_become_one_clock(tmp_path: Path) -> None:
    r = only(folder_with(tmp_path))
    assert r.rate_hz == RATE and r.dofs == ("hip_flexion", "knee_flexion") and r.valid is None
    np.testing.assert_array_equal(r.emg, EMG[1000:3991])  # where both exist, samples untouched
    clock = T[1000:3991]
    assert r.angle is not None
    truth = np.radians(np.stack([30 * np.sin(2 * clock), -20 * np.cos(clock)], axis=1))
    np.testing.assert_allclose(r.angle, truth, atol=1e-4)
    assert any("2.01 s of EMG" in n for n in r.notes)


def test_the_offset_of_the_emg_is_a_matter_of_one_number(tmp_path: Path) -> None:
    r = only(folder_with(tmp_path, COHORT + "emg_offset_s = 0.25\n"))
    np.testing.assert_array_equal(r.emg, EMG[750:3741])
    assert any("+0.250 s later (as asked)" in n for n in r.notes)
    refused(folder_with(tmp_path, COHORT + 'emg_offset_s = "estimate"\n'), "emg.h5", "cannot be told", "emg_offset_s")
    refused(folder_with(tmp_path, COHORT + "emg_offset_s = 100.0\n"), "no time in common", "emg_offset_s")


def test_a_gap_in_the_motion_is_masked(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    keep = (SLOW < 2.0) | (SLOW > 2.2)
    opensim.write(folder / "ik.mot", Stream("C", ("hip", "knee"), ("deg", "deg"), TWO[keep], SLOW[keep]))
    r = only(folder)
    clock = T[1000:3991]
    assert r.valid is not None
    np.testing.assert_array_equal(~r.valid, (clock > 1.9901) & (clock < 2.2099))
    assert any("samples were not recorded" in n for n in r.notes)


def test_a_notch_takes_hum_out_and_says_so(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, COHORT.replace('unit = "V"', 'unit = "V"\nnotch_hz = 50'))
    noisy = EMG + 1e-3 * np.sin(2 * np.pi * 50 * T)[:, None]
    hdf5.write(folder / "emg.h5", Signals(folder, (Stream("a", ("RF", "BF"), ("V", "V"), noisy, T),)))
    r = only(folder)
    assert r.emg[1000:].std() < 1.2 * EMG.std() and any("50 Hz was taken out" in n for n in r.notes)
    refused(folder_with(tmp_path, COHORT.replace('unit = "V"', 'unit = "V"\nnotch_hz = 600')), "notch_hz", "too high")


def test_a_damaged_trial_does_not_stop_the_others(tmp_path: Path) -> None:
    more = COHORT[COHORT.index("[[trial]]") :].replace('"one"', '"two"').replace("emg.h5", "lost.h5")
    cohort = read_cohort(folder_with(tmp_path, COHORT + more))
    assert [r.trial for s in cohort.subjects for r in s.recordings] == ["one"]
    assert (
        len(cohort.left_out) == 1 and "anna/two was left out" in cohort.left_out[0] and "lost.h5" in cohort.left_out[0]
    )


def test_nothing_readable_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    more = COHORT[COHORT.index("[[trial]]") :].replace('"one"', '"two"').replace("emg.h5", "lost.h5")
    folder = folder_with(tmp_path, COHORT + more)
    (folder / "emg.h5").write_bytes(b"")
    refused(folder, "none of 2 trials", "emg.h5", "is empty")


def test_a_subject_has_a_body_a_model_and_maximum_contractions(tmp_path: Path) -> None:
    person = '[[subject]]\nname = "anna"\nheight_m = 1.7\nmass_kg = 60\nsex = "female"\nmodel = "anna.osim"\n'
    text = COHORT + person + 'mvc_files = ["emg.h5", "lost.h5"]\n'
    refused(folder_with(tmp_path, text), "anna.osim", "does not exist")
    (tmp_path / "anna.osim").write_text("<x/>")
    cohort = read_cohort(folder_with(tmp_path, text))
    s = cohort.subjects[0]
    assert (s.height_m, s.mass_kg, s.sex, s.model) == (1.7, 60, "female", tmp_path / "anna.osim")
    (contraction,) = s.contractions
    assert contraction.rate_hz == 1000.0 and contraction.places == (0, 1)
    assert "lost.h5" in cohort.left_out[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('unit = "V"', 'unit = "mV"', ("emg.h5", "in V", "unit = 'mV'", "correct the wrong one")),
        ('unit = "V"', 'unit = "V"\nrate_hz = 2000', ("emg.h5", "1000", "rate_hz = 2000")),
        ('RF = "RF"', 'RF = "RFF"', ("emg.h5", "'RFF'", "did you mean 'RF'", "[emg]")),
        ('"-knee" }', '"-knee" }\nunit = "rad"', ("ik.mot", "in deg", "unit = 'rad'")),
        ("sub", "posture_ = 1\nsub", ("trial.1.posture_", "'posture'")),
        ('emg = "emg.h5"\n', "", ("trial.1", "names no file")),
        ('"emg.h5"', '"."', ("is not read", "export")),
        ('angle = "ik.mot"', 'angle = "emg.h5"', ("emg.h5", "no column 'hip'")),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    text = COHORT.replace(old, new, 1)
    assert text != COHORT
    if words[0] == "is not read":
        words = ("files ending in",)
    refused(folder_with(tmp_path, text), *words)


def test_degrees_in_a_file_that_says_radians_are_noticed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    opensim.write(folder / "ik.mot", Stream("C", ("hip", "knee"), ("rad", "rad"), TWO, SLOW))
    refused(folder, "ik.mot", "line 301", "'hip'", "30 rad", "inDegrees=yes")


def test_a_file_that_says_no_unit_asks_for_it(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, COHORT.replace('unit = "V"\n', ""))
    hdf5.write(folder / "emg.h5", Signals(folder, (Stream("a", ("RF", "BF"), ("", ""), EMG, T),)))
    refused(folder, "emg.h5", "does not say the unit of 'RF'", "[emg]")
    hdf5.write(folder / "emg.h5", Signals(folder, (Stream("a", ("RF", "BF"), ("V", "V"), EMG),)))
    refused(folder, "emg.h5", "no time column", "rate_hz")


def test_a_file_of_which_nothing_is_said_is_told_to_be_drafted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(PitlError, match=r"a\.csv: no cohort\.toml .* `pitl init"):
        read_recording(tmp_path / "a.csv")
