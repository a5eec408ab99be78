"""Tables of text as makers of recorders export them: names, units and clocks are those that the file says."""

from pathlib import Path

import numpy as np
import pytest

from pitl.data.formats import csv, registry
from pitl.data.formats.signals import MOST_COLUMNS, Signals, Stream, unique
from pitl.errors import PitlError

N = 40
EMG = np.random.default_rng(0).normal(size=(N, 2))
ANGLE = 50 + 35 * np.sin(0.4 * np.arange(N))


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, text: str, encoding: str = "utf-8") -> Signals:
    return registry.read(put(path, text, encoding))


def only(path: Path, text: str, encoding: str = "utf-8") -> Stream:
    (stream,) = read(path, text, encoding).streams
    return stream


def rows(*columns: np.ndarray, separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(f"{v:.6f}" for v in row) + end for row in zip(*columns, strict=True))


def refused(path: Path, text: str, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        read(path, text)
    for word in (str(path), *words):
        assert word in str(e.value), str(e.value)


CLOCK = np.arange(N) / 500.0


@pytest.mark.parametrize(
    ("head", "factor"),
    [
        ("Time (min)", 60), ("Time [ms]", 1e-3), ("Time (msec)", 1e-3), ("time_ms", 1e-3), ("t (µs)", 1e-6),
        ("Time (hours)", 3600), ("Zeit [s]", 1), ("Temps (s)", 1), ("Tiempo (seg)", None), ("Elapsed time (s)", 1),
        ("X [s]", 1), ("Tempo", 1),
    ],
)  # fmt: skip
def test_a_clock_is_known_by_name_or_unit_and_its_unit_counts(tmp_path: Path, head: str, factor: float | None) -> None:
    text = f"{head},RF (mV)\n" + "".join(
        f"{t:.17g},{v}\n" for t, v in zip(CLOCK / (factor or 1), EMG[:, 0], strict=True)
    )
    if factor is None:
        refused(tmp_path / "x.csv", text, "'seg'", "unit of time", head)
        return
    s = only(tmp_path / "x.csv", text)
    assert s.time_s is not None
    np.testing.assert_allclose(s.time_s, CLOCK, rtol=1e-12, atol=1e-15)
    assert s.units[1] == "mV"


def test_a_unit_that_name_and_line_of_units_contradict_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "x.csv", "time,RF (mV)\ns,uV\n" + rows(CLOCK, EMG[:, 0]), "RF (mV)", "mV", "uV")


def test_moments_of_the_day_are_a_clock(tmp_path: Path) -> None:
    lines = [f"2024-01-01 10:00:00.{k:03d},{v}" for k, v in enumerate(EMG[:, 0])]
    s = only(tmp_path / "x.csv", "Time,RF\n" + "\n".join(lines))
    assert s.time_s is not None
    np.testing.assert_allclose(s.time_s, np.arange(N) / 1000)


def test_sensors_of_different_rates_keep_their_own_clocks(tmp_path: Path) -> None:
    # as Delsys writes them: a row is not an instant, and slower sensors end earlier
    slow = 30
    fast, late = np.arange(N) / 1259.2593, np.arange(slow) / 1111.1111
    body = ""
    for k in range(N):
        tail = f"{late[k]:.6f},{ANGLE[k]:.4f}" if k < slow else ","
        body += f"{fast[k]:.6f},{EMG[k, 0]:.5f},{fast[k]:.6f},{EMG[k, 1]:.5f},{tail}\n"
    plain = "RF Time Series (s),RF EMG (mV),BF Time Series (s),BF EMG (mV),Knee Time Series (s),Knee angle (deg)\n"
    maker = (
        "Application:, Trigno Discover (1.7.0)\nDate/Time:, 01-01-2020\nCollection Length (seconds):, 6\n"
        "RF (80001), , BF (80002), , Goniometer (80003), \nsensor mode: 50, , sensor mode: 50, , sensor mode: 7, \n"
        "EMG 1 Time Series (s), EMG 1 (mV), EMG 1 Time Series (s), EMG 1 (mV), ANALOG A Time Series (s), ANALOG A (deg)"
        "\n"
        ", 1259.2593 Hz, , 1259.2593 Hz, , 1111.1111 Hz\n, 0.000794 s, , 0.000794 s, , 0.0009 s\n"
    )
    for text, names in (
        (plain, ("RF EMG (mV)", "BF EMG (mV)", "Knee angle (deg)")),
        (maker, ("RF EMG 1 (mV)", "BF EMG 1 (mV)", "Goniometer ANALOG A (deg)")),
    ):
        emg, knee = read(tmp_path / "x.csv", text + body).streams
        assert emg.columns[1::2] == names[:2] and emg.units[1::2] == ("mV", "mV") and knee.columns[1] == names[2]
        assert emg.time_s is not None and knee.time_s is not None and len(knee.values) == slow
        np.testing.assert_allclose(emg.time_s, fast, atol=1e-6)
        np.testing.assert_allclose(knee.time_s, late, atol=1e-6)
        np.testing.assert_allclose(knee.values[:, 1], ANGLE[:slow], atol=1e-4)


def test_clocks_that_repeat_under_one_name_are_still_clocks(tmp_path: Path) -> None:
    head = "Label: RF: EMG 1  Sampling frequency: 1259.2593 Unit: V\n\nX[s];RF: EMG 1[V];X[s];Knee[deg]\n"
    body = rows(CLOCK, EMG[:, 0], 2 * CLOCK, ANGLE, separator=";").replace(".", ",")
    emg, knee = read(tmp_path / "x.csv", head + body).streams
    assert emg.units == ("s", "V") and knee.units == ("s", "deg") and knee.time_s is not None
    np.testing.assert_allclose(knee.time_s, 2 * CLOCK)


def test_sections_of_vicon_nexus_are_streams_with_their_rates(tmp_path: Path) -> None:
    devices = "".join(f"{1 + k // 10},{k % 10},{a:.6f},{b:.6f},,\n" for k, (a, b) in enumerate(EMG))
    angles = "".join(f"{k + 1},0,{ANGLE[k]:.4f},3.0,0.0,\n" for k in range(N // 10))
    text = (
        "Devices,,,,,\n1000,,,,,\n,,Delsys - Sensor 1,Delsys - Sensor 2,,\n"
        "Frame,Sub Frame,EMG1,EMG2,,\n,,V,V,,\n" + devices
        + "\nModel Outputs\n100\n,,S01:RKneeAngles,,\nFrame,Sub Frame,X,Y,Z,\n,,deg,deg,deg,\n" + angles
    )  # fmt: skip
    emg, knee = read(tmp_path / "x.csv", text).streams
    assert emg.columns == ("EMG1", "EMG2") and emg.units == ("V", "V")
    assert knee.columns[0] == "RKneeAngles X" and knee.units[0] == "deg"
    np.testing.assert_allclose(emg.time_s, np.arange(N) / 1000)
    np.testing.assert_allclose(knee.time_s, np.arange(N // 10) / 100)
    np.testing.assert_allclose(emg.values, EMG, atol=1e-6)


def test_labchart_acqknowledge_opensignals_and_openbci_say_names_units_and_rates(tmp_path: Path) -> None:
    chart = "Interval=\t0.002 s\nTimeFormat=\tStartOfBlock\nChannelTitle=\tRF\tKnee\nRange=\t10.0 mV\t10.0 mV\n"
    s = only(tmp_path / "a.txt", chart + rows(CLOCK, EMG[:, 0], ANGLE, separator="\t"))
    assert s.columns == ("Time", "RF", "Knee") and s.units == ("s", "mV", "mV")
    acq = "x.acq\r\n2 msec/sample\r\n2 channels\r\nRF\r\nmV\r\nKnee angle\r\ndeg\r\nmin\tCH1\tCH2\t\r\n\t40\t40\t\r\n"
    minutes = "".join(f"{t:.9f}\t{v:.6f}\t1\t\r\n" for t, v in zip(CLOCK / 60, EMG[:, 0], strict=True))
    s = only(tmp_path / "b.txt", acq + minutes)
    assert s.columns == ("Time", "RF", "Knee angle") and s.units == ("min", "mV", "deg") and s.time_s is not None
    np.testing.assert_allclose(s.time_s, CLOCK, atol=1e-7)
    signals = '{"x": {"sensor": ["EMG"], "column": ["nSeq", "I1", "A1"], "sampling rate": 1000, "label": ["A1"]}}'
    plux = f"# OpenSignals Text File Format\n# {signals}\n# EndOfHeader\n"
    s = only(tmp_path / "c.txt", plux + "".join(f"{k % 16}\t1\t{500 + k % 7}\t\n" for k in range(N)))
    assert s.columns == ("nSeq", "I1", "A1") and s.units[2] == "counts" and s.rate_hz == 1000
    bci = "%OpenBCI Raw EXG Data\n%Sample Rate = 500 Hz\n"
    bci += "Sample Index, EXG 0, Other, Timestamp, Other, Timestamp (Formatted)\n"
    body = "".join(
        f"{k}.0, {v:.4f}, 0.0, {1.6e9 + k / 500:.4f}, 0.0, 2020-01-01 10:00\n" for k, v in enumerate(EMG[:, 0])
    )
    s = only(tmp_path / "d.txt", bci + body)
    assert s.columns[2:5:2] == ("Other (1)", "Other (2)") and s.time_s is not None
    np.testing.assert_allclose(np.diff(s.time_s), 1 / 500, atol=1e-6)


def test_quotes_hold_separators_and_words_do_not_hide_the_table(tmp_path: Path) -> None:
    head = 'type,Noraxon\nfrequency,500\n\ntime,Activity,Marker,"RT RECTUS,uV","RT Knee,deg"\n'
    body = "".join(f"{t:.3f},Activity 1,,{v:.5f},{a:.3f}\n" for t, v, a in zip(CLOCK, EMG[:, 0], ANGLE, strict=True))
    s = only(tmp_path / "x.csv", head + body)
    assert s.columns[3:] == ("RT RECTUS,uV", "RT Knee,deg") and s.units[3:] == ("uV", "deg")
    np.testing.assert_allclose(s.values[:, 3], EMG[:, 0], atol=1e-5)
    assert "'Activity 1'" in s.flaws["Activity"]
    quoted = "File: x,,\n\"Channel 1: 'RF', 40 values, raw.\",,\n\"Channel 2: 'BF', 40 values, raw.\",,\n,,\n"
    assert only(tmp_path / "y.csv", quoted + rows(*EMG.T, ANGLE)).columns == ("column 1", "column 2", "column 3")


def test_columns_that_blanks_separate_are_columns(tmp_path: Path) -> None:
    s = only(tmp_path / "x.txt", "# time RF knee_angle\n" + rows(CLOCK, EMG[:, 0], ANGLE, separator=" "))
    assert s.columns == ("time", "RF", "knee_angle") and s.time_s is not None
    np.testing.assert_allclose(s.values[:, 2], ANGLE, atol=1e-6)


def test_a_column_that_is_filled_in_every_tenth_row_is_slower(tmp_path: Path) -> None:
    n = 200
    body = "".join(f"{k / 1000},{k % 3},{20 + k / 10 if k % 10 == 0 else ''}\n" for k in range(n))
    emg, knee = read(tmp_path / "x.csv", "time,RF (mV),Knee (deg)\n" + body).streams
    assert knee.columns == ("Knee (deg)",) and emg.columns == ("time", "RF (mV)")
    np.testing.assert_allclose(knee.time_s, np.arange(0, n, 10) / 1000)
    np.testing.assert_allclose(knee.values[:, 0], 20 + np.arange(20))


def test_names_units_and_minus_signs_survive_old_code_pages(tmp_path: Path) -> None:
    text = "Zeit [s];Vaste médial [µV];Winkel [°]\r\n" + rows(CLOCK, EMG[:, 0], ANGLE, separator=";").replace(".", ",")
    s = only(tmp_path / "x.csv", text, "cp1252")
    assert s.columns[1] == "Vaste médial [µV]" and s.units == ("s", "uV", "deg")
    np.testing.assert_allclose(s.values[:, 1], EMG[:, 0], atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "time,a,b\r\r\n0,1,2\r\r\n0.001,2,3\r\r\n0.002,3,4\r\r\n",
        "time,a,b\n\n0,1,2\n0.001,2,3\n0.002,3,4\n",
        "time,a,b\ns,mV\n0,1,2\n0.001,2,3\n0.002,3,4\n",
        "time,a,b,\n0,1,2,\n0.001,2,3,\n0.002,3,4,\n",
    ],
)
def test_lines_that_end_twice_blank_lines_and_short_lines_of_units_do_no_harm(tmp_path: Path, text: str) -> None:
    s = only(tmp_path / "x.csv", text)
    assert s.columns == ("time", "a", "b")
    np.testing.assert_array_equal(s.values, [[0, 1, 2], [0.001, 2, 3], [0.002, 3, 4]])
    np.testing.assert_array_equal(s.time_s, [0, 0.001, 0.002])


@pytest.mark.parametrize(
    "text",
    [
        "time,a\n0," + 5000 * "9" + "\n0.1,2\n",
        "time,a\n٠,²\n0.1,2\n0.2,3\n",
        "1_0,2_0\n3_0,4_0\n",
        'time,a,b\n0,"1,2\n0,"1,2\n',
        "time,a\n1e308,1\n-1e308,2\n1e309,3\n",
        "time," + 20_000 * "(" + "\n0,1\n1,2\n",
        "frequency " + 100_000 * "1" + "\ntime,a\n0,1\n1,2\n",
        "a" * 200_000 + "\n1\n2\n3\n",
        20_000 * "\r" + "time,a\r\n0,1\r\n",
    ],
)
def test_hostile_tables_are_read_or_refused_at_once(tmp_path: Path, text: str) -> None:
    try:
        read(tmp_path / "x.csv", text)
    except PitlError as e:
        assert str(tmp_path) in str(e) and len(str(e)) < 1000  # noqa: PT017


def test_budgets_on_columns_and_unpacked_bytes_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    from pitl.data.formats import signals

    wide = ",".join("1" for _ in range(MOST_COLUMNS + 2)) + "\n"
    refused(tmp_path / "x.csv", 3 * wide, "columns")
    monkeypatch.setattr(signals, "MOST_BYTES", 100_000)
    packed = gzip.compress(b"0" * 200_000)
    assert len(packed) < 1000
    (tmp_path / "x.txt").write_bytes(packed)
    with pytest.raises(PitlError, match="unpacks to more than"):
        registry.read(tmp_path / "x.txt")
    refused(tmp_path / "y.csv", "x" * 100_001, "MiB")


def test_thousands_of_columns_without_numbers_are_told_at_once(tmp_path: Path) -> None:
    path, count = tmp_path / "a.csv", 4000
    rows = [[name] * count for name in ("1.5", "1.5", "1.0000.0.01", " -1,5 ", '"n/a"', "1_0", "٣")]
    head = ["time", *(f"c{k}" for k in range(count))]
    path.write_text("\n".join(";".join([*row]) for row in (head, *([f"0,{k}", *row] for k, row in enumerate(rows)))))
    (stream,) = registry.read(path).streams
    assert len(stream.columns) == 1 + count and len(stream.flaws) == count
    np.testing.assert_array_equal(stream.values[:, 8], [1.5, 1.5, np.nan, -1.5, np.nan, np.nan, np.nan])
    assert "line 4, column 'c7': found '1.0000.0.01', expected a number" in stream.flaws["c7"]


def test_many_equal_names_are_numbered_in_no_time() -> None:
    names = unique(["EMG"] * 20_000)
    assert names[:2] == ("EMG", "EMG (2)") and len(set(names)) == 20_000


def test_a_cell_that_we_write_is_no_formula_and_is_read_back(tmp_path: Path) -> None:
    names = ["=cmd()", "@a", "+b", "-c", "d"]
    csv.write(tmp_path / "x.csv", names, list(np.ones((5, 3))))
    head = (tmp_path / "x.csv").read_text().splitlines()[0]
    assert head == "'=cmd(),'@a,'+b,'-c,d"
    assert only(tmp_path / "x.csv", (tmp_path / "x.csv").read_text()).columns == tuple(names)


@pytest.mark.parametrize(
    ("text", "rate_hz"),
    [
        ("Frequenz: 1000 Hz\n\nRF [uV];Knie [deg]\n", 1000.0),
        ("Abtastrate: 1,5 kHz\nRF [uV];Knie [deg]\n", 1500.0),
        ("Fréquence d'échantillonnage;500 Hz\nRF [uV];Genou [deg]\n", 500.0),
        ("Sampling rate: 1,000 Hz\nRF [uV];Knee [deg]\n", None),  # one or a thousand
        ("FREQUENCY;200\nCHANNEL_NAMES;RF;Knee\n", 200.0),  # Qualisys
    ],
)
def test_a_rate_above_the_names_is_read_in_its_language(tmp_path: Path, text: str, rate_hz: float | None) -> None:
    s = only(tmp_path / "a.csv", text + rows(EMG[:, 0], ANGLE, separator=";"))
    assert s.rate_hz == rate_hz and len(s.columns) == 2 and s.columns[0][:2] == "RF"


def test_two_tables_side_by_side_and_equal_names_are_both_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{t:.3f},{v:.6f},{v:.5f},,{t / 2:.4f},{a:.4f}\n" for t, v, a in zip(CLOCK, EMG[:, 0], ANGLE, strict=True)]
    path.write_text("time,EMG (uV),EMG (uV),,time,knee (deg)\n" + "".join(lines))
    emg, knee = csv.read(path).streams
    assert emg.columns[1:] == ("EMG (uV) (1)", "EMG (uV) (2)") and not emg.flaws
    assert knee.time_s is not None and knee.columns[1] == "knee (deg)"
    np.testing.assert_allclose(knee.time_s, CLOCK / 2, atol=1e-4)


def test_words_for_missing_samples_are_none_and_another_word_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,RF_uV,knee_deg\n0,1,2\n\n0.001,-,#N/A\n0.002,3,NULL\n0.003,4,bad\n")
    s = csv.read(path).streams[0]
    assert s.units[1:] == ("uV", "deg") and np.isnan(s.values[1, 1]) and np.isnan(s.values[2, 2])
    assert "line 6, column 'knee_deg': found 'bad'" in s.flaws["knee_deg"]


def test_a_name_that_is_only_a_unit_of_time_is_a_clock(tmp_path: Path) -> None:
    s = only(tmp_path / "a.txt", "min\tRF (uV)\n" + rows(CLOCK / 60, EMG[:, 0], separator="\t"))
    assert s.time_s is not None
    np.testing.assert_allclose(s.time_s, CLOCK, atol=1e-3)


def test_times_that_are_no_seconds_and_commas_for_two_purposes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("timestamp,RF (uV)\n" + "".join(f"{1_700_000_000_000 + k},1\n" for k in range(9)))
    with pytest.raises(PitlError, match="no seconds; call it 'timestamp .ms.'"):
        csv.read(path)
    path.write_text("time,RF (uV)\n0,001,1,5\n0,002,1,6\n")
    with pytest.raises(PitlError, match="commas are decimal too: export with points"):
        csv.read(path)


def test_numbers_without_names_are_columns_whatever_separates_them(tmp_path: Path) -> None:
    s = only(tmp_path / "a.txt", rows(CLOCK, EMG[:, 0], ANGLE, separator="\t"))
    assert s.columns == ("column 1", "column 2", "column 3") and len(s.values) == N
