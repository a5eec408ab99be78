"""One file of the UCI lower-limb set: every way of writing it down is understood, or refused in a sentence."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pitl.data.uci import uci_cohort
from pitl.errors import PitlError

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


def refused(path: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        uci_cohort.read_file(path)
    for word in (path.name, *words):
        assert word in str(e.value)


@pytest.mark.parametrize("name", ["1Nsen.txt", "1Nsen.txt.gz"])
def test_millivolts_become_volts_and_every_row_is_read(tmp_path: Path, name: str) -> None:
    raw = uci_cohort.read_file(write(tmp_path / name, ROWS))
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
    raw = uci_cohort.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    np.testing.assert_allclose(raw.emg[:, 0], [1e-4, 2e-4, 3e-4, 4e-4])
    assert len(raw.angle_deg) == 4 and not any("usual order" in n for n in raw.notes)


def test_columns_follow_their_names(tmp_path: Path) -> None:
    header = SHORT.replace("'RF'", "'x'").replace("'BF'", "'RF'").replace("'x'", "'BF'")
    raw = uci_cohort.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    np.testing.assert_allclose(raw.emg[0], [2e-4, 1e-4, 3e-4, 4e-4])


def test_nameless_columns_are_taken_in_the_usual_order_and_it_is_said(tmp_path: Path) -> None:
    raw = uci_cohort.read_file(write(tmp_path / "1Nsen.txt", ROWS, SHORT.replace("'RF'", "'A'").replace("'FX'", "'B'")))
    np.testing.assert_allclose(raw.emg[0], [1e-4, 2e-4, 3e-4, 4e-4])
    assert any("does not name RF, FX: the usual order" in n for n in raw.notes)
    assert len(uci_cohort.read_file(write(tmp_path / "1Nsen.txt", ROWS, "")).emg) == 4


def test_a_sixth_constant_column_is_ignored(tmp_path: Path) -> None:
    raw = uci_cohort.read_file(write(tmp_path / "1Asen.txt", [f"{row}\t31" for row in ROWS]))
    np.testing.assert_allclose(raw.angle_deg, [10, 11, 12, 13])


@pytest.mark.parametrize("short", ["\t\t\t\t14.5", "0.1\t0.2\t0.3\t0.4\t", "0.1\t0.2\t0.3\t0.4", "14.5"])
def test_short_rows_at_the_end_are_left_out(tmp_path: Path, short: str) -> None:
    raw = uci_cohort.read_file(write(tmp_path / "1Nmar.txt", [*ROWS, short, short]))
    assert len(raw.emg) == 4 and raw.valid.all() and "2 incomplete row(s) at the end left out" in raw.notes


@pytest.mark.parametrize(
    "short", ["\t\t\t\t14.5", "0.1\t0.2\t0.3\t0.4\t", "0.1\t0.2\t0.3\t0.4", END, "1\t2\t3\tinf\tnan"]
)
def test_short_rows_in_the_middle_become_a_gap(tmp_path: Path, short: str) -> None:
    raw = uci_cohort.read_file(write(tmp_path / "1Nmar.txt", [*ROWS[:2], short, *ROWS[2:]]))
    assert raw.valid.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(raw.emg[2], (raw.emg[1] + raw.emg[3]) / 2)
    assert raw.angle_deg[2] == pytest.approx(11.5) and "the first in line 10" in " ".join(raw.notes)


def test_a_stray_letter_is_a_gap_and_its_place_is_told(tmp_path: Path) -> None:
    raw = uci_cohort.read_file(write(tmp_path / "1Nmar.txt", [ROWS[0], ROWS[1].replace("11", "11V"), *ROWS[2:]]))
    assert raw.valid.tolist() == [True, False, True, True]
    assert "line 9, column 5: found '11V' instead of a number" in " ".join(raw.notes)


def test_decimal_commas_and_other_separators_are_read(tmp_path: Path) -> None:
    for old, new in (("\t", ";"), ("\t", " ")):
        path = write(tmp_path / "1Nsen.txt", [row.replace(old, new).replace(".", ",") for row in ROWS])
        np.testing.assert_allclose(uci_cohort.read_file(path).emg[0], [1e-4, 2e-4, 3e-4, 4e-4])


def test_units_and_rates_in_the_header_are_believed(tmp_path: Path) -> None:
    predicted = "deg, no filters, extrapolated from 50 to 2000 samples per second"
    header = SHORT.replace("deg, no filters", predicted).replace("units: mV", "units: uV")
    raw = uci_cohort.read_file(write(tmp_path / "1Nsen.txt", ROWS, header))
    assert raw.rate_hz == 2000 and raw.emg[0, 0] == pytest.approx(1e-7)
    assert "recorded at 50 Hz and interpolated to 2000 Hz" in " ".join(raw.notes)


def test_an_unusable_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "1Nsen.txt"
    refused(write(path, [row.rsplit("\t", 2)[0] for row in ROWS]), "line 8", "numbers in 3 column(s), expected five")
    refused(write(path, ["nan\t" * 4 + "nan"] * 4), "line 8", "numbers in 0 column(s)")
    refused(write(path, [*ROWS, *["a\tb\tc\td\te"] * 9]), "line 12, column 1: found 'a'", "8 more line(s)")
    refused(write(path, []), "no data follow")
    path.write_bytes(b"")
    refused(path, "is empty", "copy the file again")
    packed = write(tmp_path / "1Npie.txt.gz", ROWS * 50)
    packed.write_bytes(packed.read_bytes()[:-20])
    refused(packed, "damaged or truncated", "copy the file again")
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
                uci_cohort.read_cohort(folder)
            except PitlError as e:
                assert name in str(e)
            (folder / file).unlink()
