"""Gait without force plates: swings are found from the motion, and moments count in them alone."""

import numpy as np
import pytest

from pitl.data import swing
from pitl.data.cohort import read_cohort
from pitl.errors import PitlError

RATE = 100.0


def foot(stance=0.65, steps=10, direction=1.0):
    """Place of a foot seen from the pelvis [m]: back evenly in stance, forward in swing, a step a second."""
    phase = np.arange(int(steps * RATE)) / RATE % 1.0
    forth = 0.5 - 0.5 * np.cos(np.pi * (phase - stance) / (1 - stance))
    return direction * np.where(phase < stance, 0.3 - 0.6 * phase / stance, -0.3 + 0.6 * forth), phase


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_swing_is_where_the_foot_goes_forward_whatever_is_forward(direction):
    place, phase = foot(direction=direction)
    found = swing.swing_phases(place, RATE)
    assert 0.2 < found.mean() < 0.33  # of .35, less what both ends lose
    assert (phase[found] > 0.65).all()


def test_somebody_who_stands_makes_no_swing():
    sway = 0.02 * np.sin(np.arange(2000) / RATE)
    assert not swing.swing_phases(sway, RATE).any()


def test_moments_outside_marked_swings_are_unknown_and_a_sentence_says_why():
    clock = np.arange(300) / RATE + 5.0
    kept, why = swing.keep(np.ones((300, 2)), clock, [(5.5, 6.0), (7.0, 7.2)], "t")
    assert np.isfinite(kept).all(axis=1).sum() == 51 + 21 and np.isnan(kept[0]).all()
    assert "no force plates" in why and "2 swing(s), marked" in why
    with pytest.raises(PitlError, match=r"between 5.00 and 7.99 s"):
        swing.keep(np.ones((300, 2)), clock, [(0.5, 1.0)], "t")


HEADER = """joint = "knee"
[emg]
channels = { RF = "rf" }
kind = "envelope"
[angle]
coordinates = { knee_flexion = "knee" }
unit = "deg"
[torque]
coordinates = { knee_flexion = "moment" }
[[trial]]
subject = "anna"
trial = "walk"
task = "walk"
posture = "standing"
file = "walk.csv"
"""


def test_a_trial_says_swing_in_the_clock_of_its_files(tmp_path):
    clock = 2 + np.arange(800) / RATE
    rows = [f"{t:.2f},{0.2 + 0.1 * np.sin(t):.4f},{30 + 20 * np.sin(t):.4f},{np.cos(t):.4f}" for t in clock]
    (tmp_path / "walk.csv").write_text("\n".join(["time [s],rf,knee,moment", *rows]))
    (tmp_path / "cohort.toml").write_text(HEADER + "swing = [[3.0, 4.0], [6.0, 7.0]]\n")
    (recording,) = read_cohort(tmp_path).subjects[0].recordings
    known = np.isfinite(recording.torque[:, 0])
    assert known[100:201].all() and known.sum() == 202 and recording.valid is None
    assert any("no force plates" in n for n in recording.notes)
    (tmp_path / "cohort.toml").write_text(HEADER.replace('[torque]\ncoordinates = { knee_flexion = "moment" }\n', "")
                                          + 'swing = "find"\n')  # fmt: skip
    with pytest.raises(PitlError, match="run inverse dynamics without external forces"):
        read_cohort(tmp_path)


def columns(path, *names):
    lines = path.read_text().splitlines()
    head = lines.index("endheader") + 1
    every = lines[head].split()
    table = np.array([line.split() for line in lines[head + 1 :] if line.strip()], float)
    return (table[:, every.index(n)] for n in names)


@pytest.mark.parametrize("walk", ["walk36", "walk45"])
def test_swings_of_a_real_walk_are_where_the_foot_is_free(shared, walk):
    """Two segments' angles say it; the ankle's moment, of force plates, is nearly nothing there, seldom elsewhere."""
    folder = shared / "data" / "ceinms_lower_limb" / walk
    hip, knee = (np.radians(x) for x in columns(folder / "ik.sto", "hip_flexion_r", "knee_angle_r"))
    (ankle,) = columns(folder / "id.sto", "ankle_angle_r_moment")
    found = swing.swing_phases(0.4 * np.sin(hip) + 0.4 * np.sin(hip + knee), RATE)
    assert 0.2 < found.mean() < 0.35
    assert np.mean(np.abs(ankle[found]) < 3.0) > 0.9 and np.mean(np.abs(ankle[~found]) < 3.0) < 0.3
