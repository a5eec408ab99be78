"""The UCI lower-limb files are read as they are, and every decision about them is right and written down."""

import gzip

import numpy as np
import pytest

from pitl.data.uci import uci_cohort
from pitl.errors import PitlError

NAMES = ("RF", "BF", "VM", "ST", "FX")


def trial(task, seconds=12.0, seed=0, inverted=False, offset=0.0):
    """Raw EMG [mV] and a knee angle [deg] of somebody who moves as the task asks."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 1000)) / 1000.0
    move = 0.5 - 0.5 * np.cos(2 * np.pi * 0.25 * t)  # 0 at rest, 1 at the far end
    effort = 0.01 + 0.1 * move
    quadriceps, hamstrings = (effort, 0.2 * effort) if task == "sen" else (0.2 * effort, effort)
    emg = rng.normal(size=(len(t), 4)) * np.stack([quadriceps, hamstrings, quadriceps, hamstrings], axis=1)
    flexion = 80 - 75 * move if task == "sen" else 3 + 95 * move
    return emg, (-1 if inverted else 1) * (flexion + offset)


def text(emg, angle, *, names=NAMES, sixth=False, end="\t\t\t\t\n", extra_header=()):
    lines = ["File Name: x.log", *extra_header]
    lines += [
        f"Channel {k + 1}: '{n}', {len(emg)} values, engineering units: mV, no filters." for k, n in enumerate(names)
    ]
    lines += ["Digitals combined (event=16): 1 values, ."] if sixth else []
    rows = np.concatenate([emg, angle[:, None]], axis=1)
    body = "\n".join("\t".join(f"{v:.4f}" for v in r) + ("\t31" if sixth else "") for r in rows)
    return "\r\n".join([*lines, ""]) + "\r\n" + body.replace("\n", "\r\n") + "\r\n" + end


def write(folder, name, task, **changes):
    options = {k: changes.pop(k) for k in ("seed", "inverted", "offset", "seconds") if k in changes}
    content = text(*trial(task, **options), **changes).encode("latin-1")
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def only(folder, **options):
    return uci_cohort.read_cohort(folder, **options).subjects[0].recordings


def test_units_are_si_and_flexion_is_positive(tmp_path):
    write(tmp_path, "1Nsen.txt", "sen")
    (r,) = only(tmp_path)
    assert r.channels == ("RF", "BF", "VM", "ST") and r.rate_hz == 1000.0 and r.posture == "seated"
    emg, angle = trial("sen")
    np.testing.assert_allclose(r.emg, 1e-3 * emg, atol=1e-7)
    np.testing.assert_allclose(np.ptp(r.angle), np.radians(np.ptp(angle)), rtol=1e-3)


@pytest.mark.parametrize("task", ["sen", "pie"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("offset", [-9.0, 0.0, 20.0])
def test_sign_and_zero_are_found_from_the_recording_itself(tmp_path, task, inverted, offset):
    write(tmp_path, f"1N{task}.txt.gz", task, inverted=inverted, offset=offset)
    (r,) = only(tmp_path)
    _, flexion = trial(task)
    np.testing.assert_allclose(np.degrees(r.angle[:, 0]), flexion, atol=4.0)
    assert any(("inverted" if inverted else "kept") in n for n in r.notes)


def test_decisions_look_at_the_calibration_part_alone(tmp_path):
    emg, angle = trial("sen")
    (tmp_path / "1Nsen.txt").write_text(text(emg, angle))
    first = only(tmp_path)[0].notes
    (tmp_path / "1Nsen.txt").write_text(text(emg, np.where(np.arange(len(angle)) < 6000, angle, -90.0)))
    assert only(tmp_path)[0].notes == first


def test_headers_of_any_length_and_wording_and_a_sixth_column_are_read(tmp_path):
    spanish = ("Recto Femoral", "Bíceps Femoral", "Vasto Medial", "EMG Semitendinoso", "Flexo-Extension")
    write(tmp_path, "10Apie.txt", "pie", names=spanish, sixth=True, extra_header=("Operator: x", "Note"))
    shuffled = ("Flexo", "Vasto", "Recto", "Biceps", "Semi")
    emg, angle = trial("pie", seed=5)
    rows = np.column_stack([emg[:, 2], emg[:, 0], emg[:, 1], emg[:, 3]])
    content = text(rows, angle, names=shuffled)
    head, body = content.split("\r\n\r\n")
    body = "\r\n".join("\t".join(np.roll(line.split("\t"), 1)) for line in body.split("\r\n")[:-1])
    (tmp_path / "11Npie.txt").write_bytes((head + "\r\n\r\n" + body + "\r\n").encode("latin-1"))
    a, b = (s.recordings[0] for s in uci_cohort.read_cohort(tmp_path).subjects)
    np.testing.assert_allclose(a.emg, 1e-3 * trial("pie")[0], atol=1e-7)
    np.testing.assert_allclose(b.emg, 1e-3 * emg, atol=1e-7)
    np.testing.assert_allclose(b.angle, a.angle)


def test_short_rows_at_the_end_go_and_in_the_middle_are_unusable(tmp_path):
    emg, angle = trial("sen")
    lines = text(emg, angle, end="\t\t\t\t5.1\r\n0.1\t0.1\t0.1\t0.1\r\n\t\t\t\t\r\n").split("\r\n")
    lines[3000] = "\t\t\t\t40.0"
    (tmp_path / "1Nsen.txt").write_text("\r\n".join(lines), newline="")
    (r,) = only(tmp_path)
    assert len(r.emg) == len(emg) and r.valid is not None and int((~r.valid).sum()) == 1
    assert np.isfinite(r.emg).all()
    assert any("2 incomplete row(s) at the end" in n for n in r.notes)


def test_one_person_recorded_under_two_names_is_one_subject(tmp_path):
    for n in ("1N", "2N", "3N"):
        write(tmp_path, f"N_TXT/{n}sen.txt", "sen", seed=3 if n == "3N" else 0)
    cohort = uci_cohort.read_cohort(tmp_path)
    assert [s.name for s in cohort.subjects] == ["1N", "3N"]
    assert any("2Nsen is a copy of 1Nsen" in n for n in cohort.notes)


def test_swapped_files_are_taken_as_each_other_and_right_ones_are_not(tmp_path):
    write(tmp_path, "1Nsen.txt", "sen")
    write(tmp_path, "1Npie.txt", "pie", seed=1)
    write(tmp_path, "2Asen.txt", "pie", seed=2)
    write(tmp_path, "2Apie.txt", "sen", seed=3)
    cohort = uci_cohort.read_cohort(tmp_path)
    tasks = {r.trial: (r.task, r.posture) for s in cohort.subjects for r in s.recordings}
    assert tasks == {
        "1Nsen": ("sen", "seated"),
        "1Npie": ("pie", "standing"),
        "2Asen": ("pie", "standing"),
        "2Apie": ("sen", "seated"),
    }
    assert any(n.startswith("2A: sen and pie are taken as each other") for n in cohort.notes)


def test_the_user_has_the_last_word(tmp_path):
    write(tmp_path, "1Nsen.txt", "sen")
    write(tmp_path, "3Nsen.txt", "sen", seed=1)
    changed = {"1Nsen": {"sign": -1, "offset_deg": 5.0}, "3N": {"drop": True}}
    cohort = uci_cohort.read_cohort(tmp_path, overrides=changed)
    (r,) = cohort.subjects[0].recordings
    np.testing.assert_allclose(np.degrees(r.angle[:, 0]), -trial("sen")[1] - 5.0, atol=0.1)
    assert len(cohort.subjects) == 1
    raw = only(tmp_path, offset="none")[0]
    np.testing.assert_allclose(np.degrees(raw.angle[:, 0]), trial("sen")[1], atol=0.1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "damaged or truncated"),
        (lambda p: p.write_bytes(gzip.compress(b"hello\nworld\n")), "not a file of the UCI"),
        (lambda p: p.write_bytes(gzip.compress(text(*trial("sen")).split("\r\n\r\n")[0].encode())), "no data follow"),
        (
            lambda p: p.write_bytes(gzip.compress(text(*trial("sen")).replace("\r\n0.0", "\r\nx.0").encode())),
            "expected a number",
        ),
    ],
)
def test_a_damaged_file_is_one_sentence_that_names_it(tmp_path, spoil, sentence):
    spoil(write(tmp_path, "1Nsen.txt.gz", "sen"))
    with pytest.raises(PitlError, match=sentence) as caught:
        uci_cohort.read_cohort(tmp_path)
    assert "1Nsen.txt.gz" in str(caught.value)
    write(tmp_path, "3Nsen.txt.gz", "sen")  # with another file beside it, only the damaged one is left out
    cohort = uci_cohort.read_cohort(tmp_path)
    assert [s.name for s in cohort.subjects] == ["3N"]
    assert len(cohort.left_out) == 1 and "1Nsen.txt.gz" in cohort.left_out[0]


def test_nothing_found_and_overrides_of_nobody_are_said(tmp_path):
    with pytest.raises(PitlError, match="no file named like"):
        uci_cohort.read_cohort(tmp_path)
    write(tmp_path, "1Nsen.txt", "sen")
    with pytest.raises(PitlError, match="did you mean 1Nsen"):
        uci_cohort.read_cohort(tmp_path, overrides={"1Nsenn": {"sign": 1}})
    with pytest.raises(PitlError, match="not one of sign"):
        uci_cohort.read_cohort(tmp_path, overrides={"1Nsen": {"signn": 1}})


def test_the_known_traps_of_the_real_recordings_are_seen(shared):
    cohort = uci_cohort.read_cohort(shared / "data" / "uci_lower_limb_emg")
    inverted = {r.trial for s in cohort.subjects for r in s.recordings if any("sign: inverted" in n for n in r.notes)}
    expected = {n + t for n in ("1A", "8A", "9A", "3N", "4N", "6N", "7N") for t in ("sen", "pie")}
    assert inverted == expected
    assert len(cohort.subjects) == 15 and "2N" not in {s.name for s in cohort.subjects}
    tasks = {r.trial: r.task for s in cohort.subjects for r in s.recordings}
    assert {t: k for t, k in tasks.items() if not t.endswith(k)} == {"2Asen": "pie", "2Apie": "sen"}
    for s in cohort.subjects:
        for r in s.recordings:
            assert np.degrees(r.angle.min()) > -15 and 45 < np.degrees(r.angle.max()) < 140
