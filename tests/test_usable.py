"""One bad recording or silent channel costs itself and nothing else, and the user is told."""

from dataclasses import replace

import numpy as np
import pytest
from test_quality import RATE, TIME, cohort, good, with_channel

from pitl.data.checks import faults, usable
from pitl.errors import PitlError


def people(count: int = 4):
    return [good(10 * k + j, f"t{j}", f"S{k}") for k in range(count) for j in range(3)]


def test_good_recordings_are_left_alone() -> None:
    c = cohort(*people())
    assert usable.usable(c, 3.0, 0.4) == c


def test_a_recording_with_a_dead_channel_is_left_out_by_itself() -> None:
    rs = people()
    rs[4] = replace(rs[4], emg=rs[4].emg * [1, 0, 1])
    result = usable.usable(cohort(*rs))
    assert [len(s.recordings) for s in result.subjects] == [3, 2, 3, 3]
    assert result.left_out == ("S1/t1 was left out: channel b is dead",)


def test_a_channel_that_is_dead_in_most_is_left_out_for_everybody() -> None:
    rs = [replace(r, emg=r.emg * [1, 0, 1]) if r.subject != "S3" else r for r in people()]
    result = usable.usable(cohort(*rs))
    assert all(r.channels == ("a", "c") for s in result.subjects for r in s.recordings)
    assert len(result.subjects) == 4 and "channel b was left out for everybody" in result.left_out[0]


def test_too_few_people_would_be_left_so_the_channel_goes() -> None:
    rs = [replace(r, emg=r.emg * [1, 0, 1]) if r.subject == "S2" else r for r in people(3)]
    assert len(usable.usable(cohort(*rs)).subjects) == 3


@pytest.mark.parametrize("change", ["short", "gaps", "angle"])
def test_what_cannot_be_used_is_left_out_and_said(change: str) -> None:
    rs = people()
    r = rs[0]
    assert r.angle is not None
    rs[0] = {
        "short": lambda: replace(r, emg=r.emg[:1000], angle=r.angle[:1000]),
        "gaps": lambda: replace(r, valid=TIME < 0.1),
        "angle": lambda: replace(r, angle=0 * r.angle),
    }[change]()
    result = usable.usable(cohort(*rs), 3.0, 0.4)
    assert len(result.subjects[0].recordings) == 2 and result.left_out[0].startswith("S0/t0 was left out")


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(PitlError, match="no recording can be used"):
        usable.usable(cohort(*people(1)), 60.0)


def bump(at_s: float, size_v: float):
    return with_channel(lambda x: x + size_v * np.exp(-(((TIME - at_s) / 0.05) ** 2)))


def test_a_motion_artefact_is_masked_and_emg_beside_it_is_not() -> None:
    r = bump(2.0, 5e-3)
    masked = usable.mask(r)
    assert masked.valid is not None and not masked.valid[np.abs(TIME - 2.0) < 0.05].any()
    assert masked.valid[np.abs(TIME - 2.0) > 0.4].all() and "motion artefacts" in masked.notes[-1]
    assert usable.mask(bump(2.0, 2e-5)).valid is None


def test_saturated_stretches_are_masked() -> None:
    r = with_channel(lambda x: np.where((TIME > 1) & (TIME < 2), np.clip(5 * x, -2e-4, 2e-4), np.clip(x, -2e-4, 2e-4)))
    valid = usable.mask(r).valid
    assert valid is not None and not valid[(TIME > 1.2) & (TIME < 1.4)].all() and valid[TIME > 2.2].mean() > 0.9


def test_an_envelope_is_told_from_raw_emg() -> None:
    r = good()
    smooth = np.convolve(np.abs(r.emg[:, 0]), np.full(200, 1 / 200), "same")
    assert faults.is_envelope(smooth, RATE) and not faults.is_envelope(r.emg[:, 0], RATE)


def test_swapped_channels_are_found_and_others_are_not() -> None:
    rs = []
    for k in range(6):
        r = good(k, "t1", f"S{k}")
        up, down = 1 + 0.9 * np.sin(2 * np.pi * TIME), 1 - 0.9 * np.sin(2 * np.pi * TIME)
        noise = np.random.default_rng(k).normal(size=r.emg.shape)
        rs.append(replace(r, emg=1e-4 * noise * np.stack([up, down, np.ones_like(up)], axis=1)))
    assert faults.swapped(rs) == []
    rs[2] = replace(rs[2], emg=rs[2].emg[:, [1, 0, 2]])
    assert faults.swapped(rs) == [(2, 0, 1)]
    # one recording of three is chance: electrodes stay where they are
    assert (
        faults.swapped([*rs, *(replace(r, emg=r.emg[:, [1, 0, 2]], trial=f"{k}") for k, r in enumerate(rs[2:3] * 2))])
        == []
    )


NOISE = np.random.default_rng(5).normal(size=len(TIME))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: replace(r, emg=1e6 * r.emg), "the EMG varies by"),
        (lambda r: replace(r, angle=np.radians(r.angle)), "if it is in radians called degrees"),
        (lambda r: replace(r, emg=np.stack([r.emg[:, 0], 1e-6 * NOISE, r.emg[:, 2]], 1)), "b: the EMG is noise"),
        (lambda r: replace(r, emg=r.emg * [1, 1e6, 1]), "b: the EMG varies by"),
    ],
)
def test_who_would_teach_something_false_is_left_out_and_named(change, why: str) -> None:
    rs = [change(r) if r.subject == "S1" else r for r in people()]
    result = usable.usable(cohort(*rs), measured=True)
    assert [s.name for s in result.subjects] == ["S0", "S2", "S3"]
    assert result.left_out[0].startswith("S1/t0 was left out") and why in result.left_out[0]
    assert len(usable.usable(cohort(*rs)).subjects) == 4  # simulated people are as they were made
    alone = cohort(*(change(r) for r in people(1)))
    if why[:2] == "b:":  # then the others are used without this channel
        only = usable.usable(alone, measured=True)
        assert only.subjects[0].recordings[0].channels == ("a", "c") and why in only.left_out[0]
    else:
        with pytest.raises(PitlError, match=f"no recording can be used; .*{why}"):
            usable.usable(alone, measured=True)


def test_a_muscle_that_rests_in_one_task_and_not_in_another_is_no_loose_electrode() -> None:
    rs = people()
    rs[0] = replace(rs[0], emg=np.stack([rs[0].emg[:, 0], 1e-6 * NOISE, rs[0].emg[:, 2]], 1))
    assert not usable.usable(cohort(*rs), measured=True).left_out
