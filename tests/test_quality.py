"""Faults of recordings are found, and good recordings are left in peace."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import signal

from pitl.data.checks import quality, usable
from pitl.data.cohort import write_cohort
from pitl.data.recording import Cohort, Recording, Subject

RATE = 1000.0
TIME = np.arange(5000) / RATE


def good(seed: int = 0, trial: str = "t1", subject: str = "S1") -> Recording:
    rng = np.random.default_rng(seed)
    sos = signal.butter(2, (20, 400), "bandpass", fs=RATE, output="sos")
    noise = np.asarray(signal.sosfilt(sos, rng.normal(size=(len(TIME), 3)), axis=0))
    emg = 1e-4 * noise * (1.05 + np.sin(2 * np.pi * TIME))[:, None]
    angle = np.radians(40 + 30 * np.sin(2 * np.pi * TIME))[:, None]
    return Recording(subject, "bend", trial, "seated", RATE, emg, ("a", "b", "c"), angle, ("knee_flexion",))


def cohort(*recordings: Recording) -> Cohort:
    names = dict.fromkeys(r.subject for r in recordings)
    return Cohort("c", "knee", tuple(Subject(n, tuple(r for r in recordings if r.subject == n)) for n in names))


def findings(*recordings: Recording) -> str:
    return "\n".join(f"{f.severity} {f.where} {f.what}" for f in quality.check(cohort(*recordings)))


def with_channel(change, channel: int = 1) -> Recording:
    r = good()
    emg = r.emg.copy()
    emg[:, channel] = change(emg[:, channel])
    return replace(r, emg=emg)


def test_good_recordings_raise_no_finding() -> None:
    assert findings(*(good(i, f"t{i}") for i in range(20))) == ""


def test_a_dead_channel_is_an_error() -> None:
    for level in (0.0, 1e-9):
        assert "error S1/t1, b the channel is dead" in findings(with_channel(lambda x, c=level: c * x))


def test_saturation_is_found() -> None:
    assert "S1/t1, b" in (result := findings(with_channel(lambda x: np.clip(x, -5e-5, 5e-5)))) and "extreme" in result


def test_coarse_quantisation_is_not_saturation() -> None:
    assert findings(with_channel(lambda x: np.round(x / 2e-6) * 2e-6)) == ""


def test_a_dropout_is_found_and_masked() -> None:
    r = with_channel(lambda x: np.where((TIME >= 1) & (TIME < 1.2), 0.0, x))
    assert "0.20 s stand still (dropouts), the first at 1.00 s" in findings(r)
    masked = usable.mask(r)
    assert masked.valid is not None and r.valid is None
    np.testing.assert_array_equal(masked.valid, (TIME < 1) | (TIME >= 1.2))
    assert "4.00% of the samples are unusable" in findings(masked) and "stand still" not in findings(masked)


def test_masking_keeps_what_was_invalid_and_leaves_good_data_alone() -> None:
    assert usable.mask(r := good()) is r
    dropped = with_channel(lambda x: np.where(TIME < 0.1, 0.0, x))
    masked = usable.mask(replace(dropped, valid=TIME < 4)).valid
    assert masked is not None
    np.testing.assert_array_equal(masked, (TIME >= 0.1) & (TIME < 4))


def test_identical_samples_for_fifty_milliseconds_are_no_dropout() -> None:
    r = with_channel(lambda x: np.where((TIME > 1.0005) & (TIME < 1.0505), 0.0, x))
    assert usable.mask(r) is r


@pytest.mark.parametrize("line", [50, 60])
def test_power_line_hum_is_found(line: int) -> None:
    r = with_channel(lambda x: x + 0.7 * x.std() * np.sin(2 * np.pi * line * TIME))
    assert f"S1/t1, b the power line's {line} Hz" in findings(r)


def test_copies_between_subjects_are_found() -> None:
    assert "error S2/t9 the EMG is identical to that of S1/t1" in findings(good(), good(0, "t9", "S2"))


def test_short_slow_and_angleless_recordings_are_found() -> None:
    r = good()
    assert r.angle is not None
    short = replace(r, emg=r.emg[:2000], angle=r.angle[:2000])
    assert "lasts only 2.00 s" in findings(short)
    assert "error S1/t1 100 samples per second is too slow" in findings(replace(r, rate_hz=100.0))
    assert "there is no angle" in findings(replace(r, angle=None))


def test_wrong_angles_are_found() -> None:
    r = good()
    assert r.angle is not None
    assert "hardly changes" in findings(replace(r, angle=np.radians(r.angle)))
    assert "from -70 to -10 deg" in findings(replace(r, angle=-r.angle))


def test_mostly_invalid_recordings_are_errors() -> None:
    assert "error S1/t1 60.00% of the samples" in findings(replace(good(), valid=TIME >= 3))
    assert "100.00%" in findings(replace(good(), valid=TIME < 0))


def test_a_checked_folder_shows_recordings_decisions_and_findings(tmp_path: Path) -> None:
    noted = replace(good(), notes=("[two] files were swapped.",), angle=None)
    whole = replace(cohort(noted, good(1, "t2")), notes=("somebody was left out.",))
    write_cohort(whole, tmp_path)
    read, result = quality.check_folder(tmp_path)
    console = Console(width=150, record=True, quiet=False, file=(tmp_path / "log").open("w"))
    quality.render(read, result, console)
    text = console.export_text()
    for part in ("10 to 70", "1000", "5.0", "[two] files were swapped.", "somebody was left out.", "there is no angle"):
        assert part in text
    assert text.count("swapped") == 1
    assert [f.severity for f in result] == ["warning", "info", "info"]


def test_a_part_of_another_recording_is_found() -> None:
    r = good()
    assert r.angle is not None
    part = replace(good(0, "t2"), emg=r.emg[1000:], angle=r.angle[1000:])
    assert "error S1/t2 the EMG is identical to that of S1/t1" in findings(r, part)
    mixed = replace(good(0, "t2"), emg=np.concatenate([r.emg[:1500], good(1).emg[1500:]]))
    assert "error S1/t2 the EMG shares 29% of its samples with that of S1/t1" in findings(r, mixed)


def test_a_posture_that_contradicts_the_recording_is_found() -> None:
    rng = np.random.default_rng(0)
    move = 0.5 - 0.5 * np.cos(2 * np.pi * TIME / 2.5)
    strong, weak = 1e-6 + 1e-4 * move**2, 1e-6 + 1e-5 * move**2
    emg = rng.normal(size=(len(TIME), 4)) * np.stack([strong, weak] * 2, axis=1)
    seated = replace(good(), emg=emg, channels=("RF", "BF", "VM", "ST"), angle=np.radians(80 - 75 * move)[:, None])
    assert findings(seated) == ""
    assert "warning S1/t1 contradicts its posture 'standing': it rests at" in findings(
        replace(seated, posture="standing")
    )


def test_an_electrode_without_a_muscle_is_found() -> None:
    rng = np.random.default_rng(3)
    told = findings(with_channel(lambda x: 1e-6 * rng.normal(size=len(x))))
    assert "error S1/t1, b the EMG is noise that does not change with the movement" in told
    told = findings(with_channel(lambda x: 1e-4 * np.sin(2 * np.pi * 50 * TIME) + 0.01 * x))
    assert "error S1/t1, b" in told and "power line's 50 Hz" in told


def test_an_impossible_size_is_found_with_the_likely_unit() -> None:
    for factor, word in ((1e-3, "mV instead of uV"), (1e3, "uV instead of mV"), (1e6, "uV instead of V")):
        r = good()
        assert word in findings(replace(r, emg=factor * r.emg))
    assert findings(replace(good(), emg=1e5 * good().emg, emg_unit="1")) == ""


def test_people_a_thousand_times_apart_are_found() -> None:
    people = [good(k, subject=f"S{k}") for k in range(3)]
    people[2] = replace(people[2], emg=1e-3 * people[2].emg, emg_unit="1")
    people[:2] = [replace(p, emg_unit="1") for p in people[:2]]
    assert "S2/t1 the EMG is 0.001 times that of the other people" in findings(*people)


def test_radians_that_are_called_degrees_are_found() -> None:
    r = good()
    assert r.angle is not None
    assert "error S1/t1, knee_flexion the angle hardly changes" in findings(replace(r, angle=np.radians(r.angle)))


def test_rectified_emg_is_found_and_left_in_peace_when_it_is_said() -> None:
    r = good()
    rectified = replace(r, emg=np.abs(r.emg))
    assert "no sample is below zero: it was rectified" in findings(rectified)
    assert findings(replace(rectified, emg_kind="rectified")) == ""
    assert "below zero" in findings(replace(r, emg_kind="rectified"))


def test_an_envelope_that_is_said_to_be_one_is_left_in_peace() -> None:
    r = good()
    sos = signal.butter(2, 5.0, fs=RATE, output="sos")
    smooth = np.maximum(np.asarray(signal.sosfiltfilt(sos, np.abs(r.emg), axis=0)), 0)
    assert "this is an envelope" in findings(replace(r, emg=smooth))
    assert findings(replace(r, emg=smooth, emg_kind="envelope")) == ""


def test_who_has_nothing_to_test_on_is_named_and_left_out() -> None:
    valid = TIME < 2.1
    short = replace(good(1, subject="D"), valid=valid)
    assert "error D the test part" in findings(good(), short)
    left = usable.usable(cohort(good(), short), 0.0, 0.4, 0.4, 0.5)
    assert left.names == ("S1",) and any("D was left out: the test part" in w for w in left.left_out)


def test_a_copied_person_is_left_out_of_what_is_learned() -> None:
    copy = replace(good(), subject="B")
    left = usable.without_copies(cohort(good(), copy))
    assert left.names == ("S1",) and "B/t1 was left out: its EMG is that of S1/t1" in left.left_out[0]


def test_a_channel_that_comes_loose_for_a_while_is_said() -> None:
    rng, clock = np.random.default_rng(4), np.arange(6000) / 100
    bursts = np.exp(3 * (np.cos(2 * np.pi * clock[:, None] - np.array([0.0, 2.0, 4.0])) - 1))
    emg = bursts @ np.full((3, 3), 0.1) * np.array([1.0, 0.5, 0.7]) + 0.005 * rng.random((6000, 3))
    emg[5000:, 1] += 0.3 * rng.random(1000)
    angle = np.radians(40 + 30 * np.sin(2 * np.pi * clock))[:, None]
    walk = Recording(
        "S1", "walk", "t", "seated", 100.0, emg, ("a", "b", "c"), angle, ("knee_flexion",), emg_kind="envelope",
        emg_unit="1",
    )  # fmt: skip
    assert "warning S1/t, b from 50 to 60 s it does not follow the other channels" in findings(walk)


def as_envelopes(r: Recording) -> Recording:
    smooth = signal.sosfiltfilt(signal.butter(2, 4.0, fs=RATE, output="sos"), np.abs(r.emg), axis=0)
    return replace(r, emg=np.maximum(np.asarray(smooth), 0.0), emg_kind="envelope")


@pytest.mark.parametrize("alone", ["noise", "hum"])
def test_an_envelope_of_nothing_but_noise_or_hum_is_told_though_it_was_not_smoothed(alone: str) -> None:
    rng, r = np.random.default_rng(5), as_envelopes(good())
    wave = rng.normal(size=len(TIME)) if alone == "noise" else np.sin(2 * np.pi * 50 * TIME)
    emg = r.emg.copy()
    emg[:, 1] = 5e-6 * np.abs(wave)
    assert "S1/t1, b the envelope varies by" in findings(replace(r, emg=emg))
    assert "varies by" not in findings(r)


def test_a_person_who_is_another_times_something_is_a_copy_also_as_envelopes() -> None:
    first, other = as_envelopes(good(1)), as_envelopes(good(2, subject="S2"))
    assert "identical" not in findings(first, other)
    assert "S2/t1 the EMG is identical to that of S1/t1" in findings(
        first, replace(first, subject="S2", emg=1.7 * first.emg)
    )
