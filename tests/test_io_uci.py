"""The UCI lower-limb set: every trap of its files is a sentence here, on files made on the spot."""

import gzip
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pitl.errors import PitlError
from pitl.io import copies, goniometer, uci
from pitl.io.folder import read_folder
from pitl.recording import Cohort, Recording
from pitl.schema import DataConfig

SHORT = "File Name: x.log\r\n" + "".join(
    f"Channel {k}: '{name}', 8 values, engineering units: {unit}, no filters.\r\n"
    for k, (name, unit) in enumerate([("RF", "mV"), ("BF", "mV"), ("VM", "mV"), ("ST", "mV"), ("FX", "deg")], 1)
)
SPANISH = (
    SHORT.replace("'RF'", "'Recto Femoral'").replace("'BF'", "'Bíceps Femoral'").replace("'VM'", "'Vasto Medial'")
    .replace("'ST'", "'EMG Semitendinoso'").replace("'FX'", "'Flexo-Extensión'")
)  # fmt: skip
ROWS = ["0.1\t0.2\t0.3\t0.4\t10", "0.2\t0.3\t0.4\t0.5\t11", "0.3\t0.4\t0.5\t0.6\t12", "0.4\t0.5\t0.6\t0.7\t13"]
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


def refused(path: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        uci.read_file(path)
    for word in (path.name, *words):
        assert word in str(e.value)


@pytest.mark.parametrize("name", ["1Nsen.txt", "1Nsen.txt.gz"])
def test_millivolts_become_volts_and_every_row_is_read(tmp_path: Path, name: str) -> None:
    raw = uci.read_file(write(tmp_path / name, ROWS))
    np.testing.assert_allclose(raw.emg[0], [1e-4, 2e-4, 3e-4, 4e-4])
    np.testing.assert_allclose(raw.angle_deg, [10, 11, 12, 13])
    assert raw.valid.all() and raw.rate_hz == 1000 and "truncated" in raw.notes[0] and len(raw.notes) == 1


@pytest.mark.parametrize(
    "header",
    [
        SHORT,
        SPANISH,
        SHORT.replace("File Name: x.log\r\n", "") + "Digitals combined (event=16, d=8, c=4, b=2, a=1): 8 values, .\r\n",
        SHORT.replace("Channel", "CANAL") + "\r\nnotes of the day\r\n",
        SHORT.replace("\r\n", "\n"),
        SHORT.replace("\r\n", "\r\r\n"),
    ],
)
def test_headers_of_any_length_and_wording_are_understood(tmp_path: Path, header: str) -> None:
    raw = uci.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    np.testing.assert_allclose(raw.emg[:, 0], [1e-4, 2e-4, 3e-4, 4e-4])
    assert len(raw.angle_deg) == 4 and not any("usual order" in n for n in raw.notes)


def test_columns_follow_their_names(tmp_path: Path) -> None:
    header = SHORT.replace("'RF'", "'x'").replace("'BF'", "'RF'").replace("'x'", "'BF'")
    raw = uci.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    np.testing.assert_allclose(raw.emg[0], [2e-4, 1e-4, 3e-4, 4e-4])


def test_nameless_columns_are_taken_in_the_usual_order_and_it_is_said(tmp_path: Path) -> None:
    raw = uci.read_file(write(tmp_path / "1Nsen.txt", ROWS, SHORT.replace("'RF'", "'A'").replace("'FX'", "'B'")))
    np.testing.assert_allclose(raw.emg[0], [1e-4, 2e-4, 3e-4, 4e-4])
    assert any("does not name RF, FX: the usual order" in n for n in raw.notes)
    assert len(uci.read_file(write(tmp_path / "1Nsen.txt", ROWS, "")).emg) == 4


def test_a_sixth_constant_column_is_ignored(tmp_path: Path) -> None:
    raw = uci.read_file(write(tmp_path / "1Asen.txt", [f"{row}\t31" for row in ROWS]))
    np.testing.assert_allclose(raw.angle_deg, [10, 11, 12, 13])


@pytest.mark.parametrize("short", ["\t\t\t\t14.5", "0.1\t0.2\t0.3\t0.4\t", "0.1\t0.2\t0.3\t0.4", "14.5"])
def test_short_rows_at_the_end_are_left_out(tmp_path: Path, short: str) -> None:
    raw = uci.read_file(write(tmp_path / "1Nmar.txt", [*ROWS, short, short]))
    assert len(raw.emg) == 4 and raw.valid.all() and "2 incomplete row(s) at the end left out" in raw.notes


@pytest.mark.parametrize(
    "short", ["\t\t\t\t14.5", "0.1\t0.2\t0.3\t0.4\t", "0.1\t0.2\t0.3\t0.4", END, "1\t2\t3\tinf\tnan"]
)
def test_short_rows_in_the_middle_become_a_gap(tmp_path: Path, short: str) -> None:
    raw = uci.read_file(write(tmp_path / "1Nmar.txt", [*ROWS[:2], short, *ROWS[2:]]))
    assert raw.valid.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(raw.emg[2], (raw.emg[1] + raw.emg[3]) / 2)
    assert raw.angle_deg[2] == pytest.approx(11.5) and "the first in line 10" in " ".join(raw.notes)


def test_a_stray_letter_is_a_gap_and_its_place_is_told(tmp_path: Path) -> None:
    raw = uci.read_file(write(tmp_path / "1Nmar.txt", [ROWS[0], ROWS[1].replace("11", "11V"), *ROWS[2:]]))
    assert raw.valid.tolist() == [True, False, True, True]
    assert "line 9, column 5: found '11V' instead of a number" in " ".join(raw.notes)


def test_decimal_commas_and_other_separators_are_read(tmp_path: Path) -> None:
    for old, new in (("\t", ";"), ("\t", " ")):
        path = write(tmp_path / "1Nsen.txt", [row.replace(old, new).replace(".", ",") for row in ROWS])
        np.testing.assert_allclose(uci.read_file(path).emg[0], [1e-4, 2e-4, 3e-4, 4e-4])


def test_units_and_rates_in_the_header_are_believed(tmp_path: Path) -> None:
    said = "deg, no filters, extrapolated from 50 to 2000 samples per second"
    header = SHORT.replace("deg, no filters", said).replace("units: mV", "units: uV")
    raw = uci.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    assert raw.rate_hz == 2000 and raw.emg[0, 0] == pytest.approx(1e-7)
    assert "recorded at 50 Hz and interpolated to 2000 Hz" in " ".join(raw.notes)


def test_an_unusable_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "1Nsen.txt"
    refused(write(path, [row.rsplit("\t", 2)[0] for row in ROWS]), "line 8", "numbers in 3 column(s), expected five")
    refused(write(path, ["nan\t" * 4 + "nan"] * 4), "line 8", "numbers in 0 column(s)")
    refused(write(path, [*ROWS, *["a\tb\tc\td\te"] * 9]), "line 12, column 1: found 'a'", "8 more line(s)")
    refused(write(path, []), "no row of numbers")
    path.write_bytes(b"")
    refused(path, "the file is empty")
    packed = write(tmp_path / "1Npie.txt.gz", ROWS * 50)
    packed.write_bytes(packed.read_bytes()[:-20])
    refused(packed, "ends too early", "copy the file again")
    packed.write_bytes(b"no gzip")
    refused(packed, "cannot be read")


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(alphabet="0123456789.,;\t\r\n -+eEnaif'Channel:\0", max_size=300)))
def test_garbage_is_never_another_exception(garbage: bytes | str) -> None:
    raw = garbage.encode("latin-1") if isinstance(garbage, str) else garbage
    good = (SHORT + "\r\n" + "\r\n".join(ROWS) + "\r\n").encode()
    with tempfile.TemporaryDirectory() as name:
        for file, data in (("1Nsen.txt", raw), ("1Nsen.txt", good + raw), ("1Nsen.txt.gz", gzip.compress(good) + raw)):
            folder = Path(name) / str(len(data))
            folder.mkdir(exist_ok=True)
            (folder / file).write_bytes(data)
            try:
                uci.read_cohort(folder)
            except PitlError as e:
                assert name in str(e)
            (folder / file).unlink()


@pytest.mark.parametrize(
    "name",
    ["1Nsen.txt", "N_TXT/1Nsen.txt", "a/b/1nSEN.TXT", "1N_sen.txt.gz", "subject-01N sen.txt", "1Nsen (2).txt"]
    + ["1Nsentado.txt"],
)  # fmt: skip
def test_files_are_found_in_any_layout(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, rows(knee("sen")))
    (tmp_path / "1Nsensors.txt").write_text("no")
    (tmp_path / "._1Nsen.txt").write_text("no")
    for cohort in (uci.read_cohort(tmp_path), read_folder(tmp_path, DataConfig(kind="auto"))):
        r = trials(cohort)["1Nsen"]
        assert (r.subject, r.task, r.posture, r.dofs) == ("1N", "sen", "seated", ("knee_flexion",))
        assert r.channels == ("RF", "BF", "VM", "ST") and r.source == str(path) and cohort.joint == "knee"


def test_a_packed_and_an_unpacked_copy_are_one_file_but_two_recordings_are_not(tmp_path: Path) -> None:
    write(tmp_path / "1Nsen.txt", rows(knee("sen")))
    write(tmp_path / "1Nsen.txt.gz", rows(knee("sen")))
    assert len(trials(uci.read_cohort(tmp_path))) == 1
    write(tmp_path / "1Nsen.txt.gz", rows(knee("sen", 5)))
    with pytest.raises(PitlError, match="same subject and task"):
        uci.read_cohort(tmp_path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PitlError, match="no file named like 1Nsen.txt"):
        uci.read_cohort(tmp_path)
    (tmp_path / "SEMG_DB1.rar").write_bytes(b"")
    with pytest.raises(PitlError, match="unpack SEMG_DB1.rar first"):
        uci.read_cohort(tmp_path)
    with pytest.raises(PitlError, match="'stand'"):
        uci.read_cohort(tmp_path, tasks=("stand",))


def test_gait_is_read_only_when_asked_for(tmp_path: Path) -> None:
    write(person(tmp_path) / "1Nmar.txt", rows(knee("pie", 9)))
    assert set(trials(uci.read_cohort(tmp_path))) == {"1Nsen", "1Npie"}
    assert trials(uci.read_cohort(tmp_path, tasks=("mar",)))["1Nmar"].posture == "standing"


@pytest.mark.parametrize("zero_deg", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("task", ["sen", "pie"])
def test_sign_and_zero_are_found(tmp_path: Path, task: str, sign: float, zero_deg: float) -> None:
    true = knee(task)
    seen = true.copy()
    seen[:, 4] = sign * (true[:, 4] + zero_deg)
    write(tmp_path / f"1N{task}.txt", rows(seen))
    r = trials(uci.read_cohort(tmp_path))[f"1N{task}"]
    assert np.abs(degrees(r) - true[:, 4]).max() < 4
    assert any(n.startswith(f"sign: {'kept' if sign > 0 else 'inverted'}, because") for n in r.notes)
    raw = trials(uci.read_cohort(tmp_path, offset="none"))[f"1N{task}"]
    np.testing.assert_allclose(degrees(raw), seen[:, 4], atol=0.06)


def test_only_the_calibration_part_decides(tmp_path: Path) -> None:
    table = knee("sen")
    late = table.copy()
    late[int(0.4 * len(table)) :] = -3 * late[int(0.4 * len(table)) :]
    a, b = (trials(uci.read_cohort(person(tmp_path / n, sen=t)))["1Nsen"] for n, t in (("a", table), ("b", late)))
    n = int(0.4 * len(table))
    np.testing.assert_array_equal(degrees(a)[:n], degrees(b)[:n])
    assert a.notes == b.notes


def test_a_knee_that_is_never_straight_when_seated_keeps_its_rest_posture(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] = 70 - 0.6 * (80 - table[:, 4])  # from 70 to 25 deg
    r = trials(uci.read_cohort(person(tmp_path, sen=table)))["1Nsen"]
    assert degrees(r).max() == pytest.approx(65, abs=0.5) and "not fully extended" in " ".join(r.notes)


def test_a_knee_that_does_not_move_is_left_as_recorded(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] = 80
    r = trials(uci.read_cohort(person(tmp_path, sen=table)))["1Nsen"]
    np.testing.assert_allclose(degrees(r), 80)
    assert "hardly moves" in " ".join(r.notes)


def test_disagreeing_witnesses_are_admitted() -> None:
    e = goniometer.Evidence(-50.0, 50.0, 0.0, 0.0, 0.0, 0.0)
    assert "please check" in goniometer.sign(e, "sen")[1]


def test_muscles_and_rest_outvote_an_undecided_range() -> None:
    e = goniometer.Evidence(-40.0, 45.0, 40.0, 0.8, 0.1, 1.0)  # seated, busy at the top, where it does not rest
    assert goniometer.sign(e._replace(rest_deg=-38.0), "sen")[0] == -1


def test_swapped_files_are_taken_as_each_other(tmp_path: Path) -> None:
    cohort = uci.read_cohort(person(tmp_path, sen=knee("pie"), pie=knee("sen", 1)))
    found = trials(cohort)
    assert (found["1Nsen"].task, found["1Nsen"].posture) == ("pie", "standing")
    assert (found["1Npie"].task, found["1Npie"].posture) == ("sen", "seated")
    assert any("1Nsen is taken as 'pie', because" in n for n in cohort.notes)
    only = trials(uci.read_cohort(tmp_path, tasks=("sen",)))
    assert set(only) == {"1Npie"} and only["1Npie"].task == "sen"


def test_one_mislabelled_file_alone_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "1Npie.txt", rows(knee("sen")))
    assert trials(uci.read_cohort(tmp_path))["1Npie"].task == "sen"
    kept = trials(uci.read_cohort(tmp_path, overrides={"1Npie": {"task": "pie"}}))
    assert kept["1Npie"].task == "pie"


def test_a_person_recorded_twice_is_kept_once(tmp_path: Path) -> None:
    for name in ("1N", "2N"):
        person(tmp_path, name)
    write(tmp_path / "2Nmar.txt", rows(knee("pie", 9)))
    person(tmp_path, "10N", seed=1)
    cohort = uci.read_cohort(tmp_path, tasks=("sen", "pie", "mar"))
    assert [s.name for s in cohort.subjects] == ["1N", "10N"]
    assert "2Nsen is a copy of 1Nsen: left out" in " ".join(cohort.notes)
    assert "2Nmar left out too: 2N may be the same person as 1N" in cohort.notes
    kept = uci.read_cohort(tmp_path, overrides={"2N": {"drop": False}})
    assert [s.name for s in kept.subjects] == ["1N", "2N", "10N"]


def test_a_truncated_shifted_or_mirrored_copy_is_a_copy(tmp_path: Path) -> None:
    whole = knee("sen")
    part = whole[3000:9000].copy()
    part[:, 4] *= -1
    write(tmp_path / "1Nsen.txt", rows(whole))
    write(tmp_path / "2Nsen.txt", rows(part))
    write(tmp_path / "3Nsen.txt", rows(np.concatenate([knee("sen", 8)[:8000], whole[:4000]])))
    cohort = uci.read_cohort(tmp_path)
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
    found = trials(uci.read_cohort(tmp_path, overrides=asked))
    assert set(found) == {"1Nsen", "1Npie"}
    np.testing.assert_allclose(degrees(found["1Nsen"]), -knee("sen")[:, 4] - 3.5, atol=0.06)
    assert found["1Nsen"].notes[-2:] == ("sign: -1, as asked", "zero: +3.5 deg taken off, as asked")
    with pytest.raises(PitlError, match="nothing is left"):
        uci.read_cohort(tmp_path, overrides={"1N": {"drop": True}, "2N": {"drop": True}})


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
        uci.read_cohort(person(tmp_path), overrides=asked)


def test_an_angle_beyond_a_full_turn_is_refused(tmp_path: Path) -> None:
    table = knee("sen")
    table[:, 4] *= 100
    with pytest.raises(PitlError, match="1Nsen.*FX reaches"):
        uci.read_cohort(person(tmp_path, sen=table))


@pytest.fixture(scope="module")
def real(shared: Path) -> SimpleNamespace:
    return SimpleNamespace(cohort=uci.read_cohort(shared / "data" / "uci_lower_limb_emg", ("sen", "pie", "mar")))


def test_known_inverted_real_recordings_are_inverted_and_no_others(real: SimpleNamespace) -> None:
    inverted = {k for k, r in trials(real.cohort).items() if any(n.startswith("sign: inverted") for n in r.notes)}
    people = ("1A", "8A", "9A", "3N", "4N", "6N")
    assert inverted == {p + t for p in people for t in ("sen", "pie", "mar")} | {"7Nsen", "7Npie"}


def test_real_people_are_kept_once_and_swapped_files_put_right(real: SimpleNamespace) -> None:
    found = trials(real.cohort)
    assert len(real.cohort.subjects) == 15 and "2N" not in {s.name for s in real.cohort.subjects}
    assert {k for k, r in found.items() if not k.endswith(r.task)} == {"2Asen", "2Apie"}
    for r in found.values():
        assert degrees(r).min() > -15 and degrees(r).max() < 130 and np.ptp(degrees(r)) > 40
        assert len(r.emg) > 5000 and np.isfinite(r.emg).all() and 1e-3 > np.abs(r.emg).std() > 1e-6
