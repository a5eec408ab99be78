"""People of the UCI lower-limb set: files in any layout, copies, tasks, signs and zeros, and the user's say."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pitl.config.schema import DataConfig
from pitl.data import copies
from pitl.data.folder import read_folder
from pitl.data.recording import Cohort, Recording
from pitl.data.uci import goniometer, uci_cohort
from pitl.errors import PitlError

SHORT = "File Name: x.log\r\n" + "".join(
    f"Channel {k}: '{name}', 8 values, engineering units: {unit}, no filters.\r\n"
    for k, (name, unit) in enumerate([("RF", "mV"), ("BF", "mV"), ("VM", "mV"), ("ST", "mV"), ("FX", "deg")], 1)
)
END = "\t\t\t\t"


def write(path: Path, rows: list[str], header: str = SHORT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (header + "\r\n" + "\r\n".join([*rows, END]) + "\r\n").encode("latin-1")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def knee(task: str, seed: int = 0, seconds: float = 12.0) -> np.ndarray:
    """(T, 5) four EMG channels [mV] and knee flexion [deg] of somebody who rests, moves, and rests."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 1e-3)
    move = 0.5 - 0.5 * np.cos(2 * np.pi * t / 3)
    move = np.clip(1.6 * move - 0.3, 0, 1)
    angle = 80 - 75 * move if task == "sen" else 4 + 95 * move
    strong, weak = 0.005 + 0.1 * move, 0.005 + 0.01 * move
    loud = np.stack([strong, weak] * 2 if task == "sen" else [weak, strong] * 2, axis=1)
    return np.concatenate([loud * rng.normal(size=(len(t), 4)), angle[:, None]], axis=1)


def rows(table: np.ndarray) -> list[str]:
    return ["\t".join([*(f"{v:.4f}" for v in row[:4]), f"{row[4]:.1f}"]) for row in table]


def person(folder: Path, name: str = "1N", seed: int = 0, **changed: np.ndarray) -> Path:
    for k, task in enumerate(("sen", "pie")):
        write(folder / f"{name}{task}.txt", rows(changed.get(task, knee(task, 10 * seed + k))))
    return folder


def trials(cohort: Cohort) -> dict[str, Recording]:
    return {r.trial: r for s in cohort.subjects for r in s.recordings}


def degrees(r: Recording) -> np.ndarray:
    assert r.angle is not None
    return np.degrees(r.angle[:, 0])


@pytest.mark.parametrize(
    "name",
    ["1Nsen.txt", "N_TXT/1Nsen.txt", "a/b/1nSEN.TXT", "1N_sen.txt.gz", "subject-01N sen.txt", "1Nsen (2).txt"]
    + ["1Nsentado.txt"],
)  # fmt: skip
def test_files_are_found_in_any_layout(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, rows(knee("sen")))
    (tmp_path / "1Nsensors.txt").write_text("no")
    (tmp_path / "._1Nsen.txt").write_text("no")
    for cohort in (uci_cohort.read_cohort(tmp_path), read_folder(tmp_path, DataConfig(kind="auto"))):
        r = trials(cohort)["1Nsen"]
        assert (r.subject, r.task, r.posture, r.dofs) == ("1N", "sen", "seated", ("knee_flexion",))
        assert r.channels == ("RF", "BF", "VM", "ST") and r.source == str(path) and cohort.joint == "knee"


def test_a_packed_and_an_unpacked_copy_are_one_file_but_two_recordings_are_not(tmp_path: Path) -> None:
    write(tmp_path / "1Nsen.txt", rows(knee("sen")))
    write(tmp_path / "1Nsen.txt.gz", rows(knee("sen")))
    assert len(trials(uci_cohort.read_cohort(tmp_path))) == 1
    write(tmp_path / "1Nsen.txt.gz", rows(knee("sen", 5)))
    with pytest.raises(PitlError, match="same subject and task"):
        uci_cohort.read_cohort(tmp_path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PitlError, match="no file named like 1Nsen.txt"):
        uci_cohort.read_cohort(tmp_path)
    (tmp_path / "SEMG_DB1.rar").write_bytes(b"")
    with pytest.raises(PitlError, match="unpack SEMG_DB1.rar first"):
        uci_cohort.read_cohort(tmp_path)
    with pytest.raises(PitlError, match="'stand'"):
        uci_cohort.read_cohort(tmp_path, tasks=("stand",))


def test_gait_is_read_only_when_asked_for(tmp_path: Path) -> None:
    write(person(tmp_path) / "1Nmar.txt", rows(knee("pie", 9)))
    assert set(trials(uci_cohort.read_cohort(tmp_path))) == {"1Nsen", "1Npie"}
    assert trials(uci_cohort.read_cohort(tmp_path, tasks=("mar",)))["1Nmar"].posture == "standing"


@pytest.mark.parametrize("zero_deg", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("task", ["sen", "pie"])
def test_sign_and_zero_are_found(tmp_path: Path, task: str, sign: float, zero_deg: float) -> None:
    true = knee(task)
    seen = true.copy()
    seen[:, 4] = sign * (true[:, 4] + zero_deg)
    write(tmp_path / f"1N{task}.txt", rows(seen))
    r = trials(uci_cohort.read_cohort(tmp_path))[f"1N{task}"]
    assert np.abs(degrees(r) - true[:, 4]).max() < 4
    assert any(n.startswith(f"sign: {'kept' if sign > 0 else 'inverted'}, because") for n in r.notes)
    raw = trials(uci_cohort.read_cohort(tmp_path, offset="none"))[f"1N{task}"]
    np.testing.assert_allclose(degrees(raw), seen[:, 4], atol=0.06)


def test_only_the_calibration_part_decides(tmp_path: Path) -> None:
    table = knee("sen")
    late = table.copy()
    late[int(0.4 * len(table)) :] = -3 * late[int(0.4 * len(table)) :]
    a, b = (
        trials(uci_cohort.read_cohort(person(tmp_path / n, sen=t)))["1Nsen"] for n, t in (("a", table), ("b", late))
    )
    n = int(0.4 * len(table))
    np.testing.assert_array_equal(degrees(a)[:n], degrees(b)[:n])
    assert a.notes == b.notes


def test_a_knee_that_is_never_straight_when_seated_keeps_its_rest_posture(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] = 70 - 0.6 * (80 - table[:, 4])  # from 70 to 25 deg
    r = trials(uci_cohort.read_cohort(person(tmp_path, sen=table)))["1Nsen"]
    assert degrees(r).max() == pytest.approx(65, abs=0.5) and "not fully extended" in " ".join(r.notes)


def test_a_knee_that_does_not_move_is_left_as_recorded(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] = 80
    r = trials(uci_cohort.read_cohort(person(tmp_path, sen=table)))["1Nsen"]
    np.testing.assert_allclose(degrees(r), 80)
    assert "hardly moves" in " ".join(r.notes)


def test_disagreeing_witnesses_are_admitted() -> None:
    e = goniometer.Evidence(-50.0, 50.0, 0.0, 0.0, 0.0, 0.0)
    assert "please check" in goniometer.sign(e, "sen")[1]


def test_muscles_and_rest_outvote_an_undecided_range() -> None:
    e = goniometer.Evidence(-40.0, 45.0, 40.0, 0.8, 0.1, 1.0)  # seated, busy at the top, where it does not rest
    assert goniometer.sign(e._replace(rest_deg=-38.0), "sen")[0] == -1


def test_swapped_files_are_taken_as_each_other(tmp_path: Path) -> None:
    cohort = uci_cohort.read_cohort(person(tmp_path, sen=knee("pie"), pie=knee("sen", 1)))
    result = trials(cohort)
    assert (result["1Nsen"].task, result["1Nsen"].posture) == ("pie", "standing")
    assert (result["1Npie"].task, result["1Npie"].posture) == ("sen", "seated")
    assert any("1N: sen and pie are taken as each other, because" in n for n in cohort.notes)
    only = trials(uci_cohort.read_cohort(tmp_path, tasks=("sen",)))
    assert set(only) == {"1Npie"} and only["1Npie"].task == "sen"


def test_one_mislabelled_file_alone_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "1Npie.txt", rows(knee("sen")))
    assert trials(uci_cohort.read_cohort(tmp_path))["1Npie"].task == "sen"
    kept = trials(uci_cohort.read_cohort(tmp_path, overrides={"1Npie": {"task": "pie"}}))
    assert kept["1Npie"].task == "pie"


def test_a_person_recorded_twice_is_kept_once(tmp_path: Path) -> None:
    for name in ("1N", "2N"):
        person(tmp_path, name)
    write(tmp_path / "2Nmar.txt", rows(knee("pie", 9)))
    person(tmp_path, "10N", seed=1)
    cohort = uci_cohort.read_cohort(tmp_path, tasks=("sen", "pie", "mar"))
    assert [s.name for s in cohort.subjects] == ["1N", "10N"]
    assert "2Nsen is a copy of 1Nsen: left out" in " ".join(cohort.notes)
    assert "2Nmar left out too: 2N may be the same person as 1N" in cohort.notes
    kept = uci_cohort.read_cohort(tmp_path, overrides={"2N": {"drop": False}})
    assert [s.name for s in kept.subjects] == ["1N", "2N", "10N"]


def test_a_truncated_shifted_or_mirrored_copy_is_a_copy(tmp_path: Path) -> None:
    whole = knee("sen")
    part = whole[3000:9000].copy()
    part[:, 4] *= -1
    write(tmp_path / "1Nsen.txt", rows(whole))
    write(tmp_path / "2Nsen.txt", rows(part))
    write(tmp_path / "3Nsen.txt", rows(np.concatenate([knee("sen", 8)[:8000], whole[:4000]])))
    cohort = uci_cohort.read_cohort(tmp_path)
    assert [s.name for s in cohort.subjects] == ["1N"]
    assert "3Nsen shares 33% of its samples with 1Nsen" in " ".join(cohort.notes)


def test_silence_is_not_a_copy() -> None:
    still = {k: np.zeros((5000, 4)) + v for k, v in (("a", 0.0), ("b", 0.0), ("c", 1e-6))}
    assert copies.pairs(still) == [] and copies.pairs({"a": still["a"][:3], "b": still["b"][:0]}) == []
    noise = np.random.default_rng(0).normal(size=(500, 4)) * 1e-5
    assert copies.pairs({"a": noise, "b": noise[100:]}) == [("a", "b", 1.0)]


def test_the_user_has_the_last_word(tmp_path: Path) -> None:
    person(person(tmp_path), "2N", seed=1)
    asked = {"1nSEN": {"sign": -1, "offset_deg": 3.5}, "2N": {"drop": True}}
    result = trials(uci_cohort.read_cohort(tmp_path, overrides=asked))
    assert set(result) == {"1Nsen", "1Npie"}
    np.testing.assert_allclose(degrees(result["1Nsen"]), -knee("sen")[:, 4] - 3.5, atol=0.06)
    assert result["1Nsen"].notes[-2:] == ("sign: -1, as asked", "zero: +3.5 deg taken off, as asked")
    with pytest.raises(PitlError, match="nothing is left"):
        uci_cohort.read_cohort(tmp_path, overrides={"1N": {"drop": True}, "2N": {"drop": True}})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"1Nsem": {}}, "did you mean 1Nsen"),
        ({"9A": {}}, "not in the folder"),
        ({"1N": {"sgin": 1}}, "did you mean sign"),
        ({"1N": {"sign": 2}}, "expected 1 or -1"),
        ({"1N": {"offset_deg": "x"}}, "expected a number"),
        ({"1N": {"task": "run"}}, "expected one of sen"),
        ({"1N": {"drop": "yes"}}, "true or false"),
        ({"1N": 3}, "expected a table"),
    ],
)
def test_a_wrong_override_is_a_sentence(tmp_path: Path, asked: dict, words: str) -> None:
    with pytest.raises(PitlError, match=words):
        uci_cohort.read_cohort(person(tmp_path), overrides=asked)


def test_an_angle_beyond_a_full_turn_is_refused(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] *= 100
    with pytest.raises(PitlError, match="1Nsen.*FX reaches"):
        uci_cohort.read_cohort(person(tmp_path, sen=table))


@pytest.fixture(scope="module")
def real(shared: Path) -> SimpleNamespace:
    return SimpleNamespace(cohort=uci_cohort.read_cohort(shared / "data" / "uci_lower_limb_emg", ("sen", "pie", "mar")))


def test_known_inverted_real_recordings_are_inverted_and_no_others(real: SimpleNamespace) -> None:
    inverted = {k for k, r in trials(real.cohort).items() if any(n.startswith("sign: inverted") for n in r.notes)}
    people = ("1A", "8A", "9A", "3N", "4N", "6N")
    assert inverted == {p + t for p in people for t in ("sen", "pie", "mar")} | {"7Nsen", "7Npie"}


def test_real_people_are_kept_once_and_swapped_files_put_right(real: SimpleNamespace) -> None:
    result = trials(real.cohort)
    assert len(real.cohort.subjects) == 15 and "2N" not in {s.name for s in real.cohort.subjects}
    assert {k for k, r in result.items() if not k.endswith(r.task)} == {"2Asen", "2Apie"}
    for r in result.values():
        assert degrees(r).min() > -15 and degrees(r).max() < 130 and np.ptp(degrees(r)) > 40
        assert len(r.emg) > 5000 and np.isfinite(r.emg).all() and 1e-3 > np.abs(r.emg).std() > 1e-6


def test_sign_and_zero_may_be_decided_in_a_longer_part_than_calibrates(tmp_path):
    # at first nobody moves, so that the straightest knee has not been seen
    table = knee("sen")
    late = np.concatenate([np.tile(table[:1], (2000, 1)), table])
    person(tmp_path, sen=late)

    def seated(**settings):
        result = read_folder(tmp_path, DataConfig(kind="uci", **settings)).subjects[0].recordings
        return degrees(next(r for r in result if r.task == "sen"))

    shown = seated(calibration_fraction=0.1, test_after=0.6, offset_fraction=0.5)
    np.testing.assert_array_equal(shown, seated(calibration_fraction=0.5))
    assert abs(np.median(shown - seated(calibration_fraction=0.1))) > 1


def test_sign_and_zero_are_never_looked_up_in_the_test_part():
    with pytest.raises(ValueError, match="looks into the test part, which begins at 0.4"):
        DataConfig(offset_fraction=0.5)


def test_the_recorders_own_files_beside_the_text_do_not_stop_the_reading(tmp_path: Path) -> None:
    for task in ("sen", "pie"):
        write(tmp_path / f"1N{task}.txt", rows(knee(task)))
        (tmp_path / f"1N{task}.log").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "2Nsen.log").write_bytes(b"BIO\0\0\0" * 2000)
    cohort = uci_cohort.read_cohort(tmp_path)
    assert cohort.names == ("1N",) and any(".log file(s)" in n for n in cohort.notes)
    assert any("2Nsen was left out" in w for w in cohort.left_out)


def test_people_behind_a_link_are_found(tmp_path: Path) -> None:
    write(tmp_path / "far" / "1Nsen.txt", rows(knee("sen")))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "N_TXT").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    assert [k.subject for k in uci_cohort.find(tmp_path / "set", ("sen",))] == ["1N"]


@pytest.mark.parametrize("line", ["1" * 200_000, "from 1 to " + "9" * 400 + " samples", "x: " + "1" * 5000 + " values"])
def test_long_numbers_in_a_header_are_no_trap(tmp_path: Path, line: str) -> None:
    write(tmp_path / "1Nsen.txt", rows(knee("sen", seconds=1.0)), header=line + "\r\n" + SHORT)
    assert uci_cohort.read_file(tmp_path / "1Nsen.txt").rate_hz == 1000.0
