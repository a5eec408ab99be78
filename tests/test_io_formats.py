"""Every reader gives what its file holds: names, units, clocks; writers close the loop to the last bit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from io_samples import MAKERS, TIME, VALUES

from pitl.data.formats import hdf5, opensim, registry
from pitl.data.formats.signals import Signals, Stream, column
from pitl.errors import PitlError


def only(path: Path) -> Stream:
    (stream,) = registry.read(path).streams
    return stream


def refused(path: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        registry.read(path)
    for word in (str(path), *words):
        assert word in str(e.value)


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


MOT = "Coordinates\nversion=1\nnRows=2\nnColumns=3\ninDegrees={}\nendheader\n"
MOT += "time\tknee\tpelvis_tx\n0\t10\t1\n0.01\t11\t2\n"
SIMM = "name data.mot\ndatacolumns 3\ndatarows 2\nrange 0 0.01\nendheader\ntime knee hip\n0 10 1\n0.01 11 2\n"


@pytest.mark.parametrize(("flag", "unit"), [("yes", "deg"), ("no", "rad")])
def test_the_degrees_flag_is_respected_and_translations_are_metres(tmp_path: Path, flag: str, unit: str) -> None:
    s = only(put(tmp_path / "ik.mot", MOT.format(flag)))
    assert s.columns == ("knee", "pelvis_tx") and s.units == (unit, "m")
    np.testing.assert_array_equal(s.values, [[10, 1], [11, 2]])
    np.testing.assert_array_equal(s.time_s, [0, 0.01])


def test_the_older_header_is_read_and_says_no_unit(tmp_path: Path) -> None:
    s = only(put(tmp_path / "ik.mot", SIMM))
    assert s.columns == ("knee", "hip") and s.units == ("", "")


def test_the_table_holds_where_its_header_counts_otherwise(tmp_path: Path) -> None:
    (tmp_path / "ik.mot").write_text(MOT.format("yes").replace("nColumns=3", "nColumns=40"))
    result = registry.read(tmp_path / "ik.mot")
    assert result.streams[0].columns == ("knee", "pelvis_tx") and "40 columns, 3 were found" in result.notes[0]
    rows = "".join(f"{k / 100}\t{k}\t1\n" for k in range(500))
    text = MOT.format("yes").replace("nRows=2", "nRows=501").split("0\t10")[0] + rows
    result = registry.read(put(tmp_path / "ik2.mot", text))
    assert len(result.streams[0].values) == 500 and "501 rows" in result.notes[0]


def test_a_table_that_a_spreadsheet_saved_is_the_same_table(tmp_path: Path) -> None:
    want = only(put(tmp_path / "ik.mot", MOT.format("yes")))
    head, _, table = MOT.format("yes").partition("endheader\n")
    for separator, point in ((",", "."), (";", ",")):
        filler = 2 * separator
        text = "".join(f"{line}{filler}\r\n" for line in (head + "endheader").splitlines())
        text += table.replace(".", point).replace("\t", separator).replace("\n", "\r\n")
        got = only(put(tmp_path / "x.mot", text))
        assert got.columns == want.columns and got.units == want.units
        np.testing.assert_array_equal(got.values, want.values)
        np.testing.assert_array_equal(got.time_s, want.time_s)


def test_the_degrees_flag_speaks_of_coordinates_and_not_of_muscles(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(200, 2))
    rows = "".join(f"{k / 1000}\t{a}\t{b}\t{k}\n" for k, (a, b) in enumerate(noise))
    head = "Electromyography\nversion=1\nnRows=200\nnColumns=4\ninDegrees=no\nendheader\n"
    s = only(put(tmp_path / "raw_walk.sto", head + "time\tRF\tsensor 7\tknee_angle_r\n" + rows))
    assert s.units == ("", "", "")
    s = only(
        put(tmp_path / "walk.sto", head.replace("Electromyography", "x") + "time\tRF\tsensor 7\tknee_angle_r\n" + rows)
    )
    assert s.units == ("", "", "rad")


def test_a_header_that_contradicts_itself_about_degrees_is_refused(tmp_path: Path) -> None:
    text = MOT.format("no").replace("endheader", "Angles are in degrees.\nendheader")
    refused(put(tmp_path / "ik.mot", text), "inDegrees=no", "correct the wrong one")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("endheader", "header", ("endheader",)),
        ("nRows=2", "nRows=3", ("3 rows", "only 2", "cut off")),
        ("nRows=2", "nRows=two", ("'two' rows", "expected a number")),
        ("nRows=2", "nRows=\u00b2", ("rows", "expected a number")),
        ("nColumns=3", "nColumns=" + 5000 * "3", ("columns", "expected a number")),
        ("0.01\t11\t2", "0.01\t11", ("line 9", "2 values for 3 columns", "cut off")),
        ("0\t10\t1", "0\t10", ("line 8", "2 values for 3 columns")),
        ("0\t10\t1", "0\tten\t1", ("line 8", "'knee'", "'ten'", "number")),
        ("time", "t", ("line 7", "expected 'time'")),
        ("tknee\tpelvis_tx\n0\t10\t1\n0.01\t11\t2\n", "tknee\tpelvis_tx\n", ("no samples",)),
    ],
)
def test_a_wrong_table_is_a_sentence(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    text = MOT.format("yes").replace("\tknee", "\tknee")
    assert old.replace("tknee", "\tknee") in text
    refused(
        put(tmp_path / "ik.mot", text.replace(old.replace("tknee", "\tknee"), new.replace("tknee", "\tknee"))), *words
    )


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        float,
        st.tuples(st.integers(1, 20), st.integers(1, 4)),
        elements=st.floats(allow_nan=False, width=64, allow_infinity=False),
    )
)
def test_sto_and_hdf5_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("loop")
    names = tuple(f"m {k}" for k in range(values.shape[1]))
    stream = Stream("labels", names, ("deg",) * len(names), values, np.arange(len(values)) / 3.0)
    opensim.write(folder / "x.sto", stream)
    back = only(folder / "x.sto")
    np.testing.assert_array_equal(back.values, values)
    np.testing.assert_array_equal(back.time_s, stream.time_s)
    assert back.columns == names and back.units == stream.units
    signals = Signals(folder / "x.h5", (stream, Stream("other", ("a",), ("V",), values[:, :1], None, 7.0)), ("a note",))
    hdf5.write(folder / "x.h5", signals)
    again = registry.read(folder / "x.h5")
    assert again.notes == signals.notes
    for a, b in zip(signals.streams, again.streams, strict=True):
        assert (a.name, a.columns, a.units, a.rate_hz) == (b.name, b.columns, b.units, b.rate_hz)
        np.testing.assert_array_equal(a.values, b.values)
        assert (a.time_s is None) == (b.time_s is None)


def test_angles_in_two_units_do_not_go_into_one_sto(tmp_path: Path) -> None:
    with pytest.raises(PitlError, match="one unit"):
        opensim.write(tmp_path / "x.sto", Stream("s", ("a", "b"), ("deg", "rad"), VALUES, TIME))


def test_c3d_gives_analog_channels_with_units_and_points(tmp_path: Path) -> None:
    result = registry.read(MAKERS["a.c3d"](tmp_path / "a.c3d"))
    analog, points = result.streams
    assert analog.columns == ("EMG1", "EMG2") and analog.units == ("V", "V") and analog.rate_hz == 1000
    np.testing.assert_allclose(analog.values, VALUES, atol=1e-6)
    assert points.columns == ("KNEE/x", "KNEE/y", "KNEE/z") and points.units == ("mm",) * 3
    assert analog.time_s is not None and points.time_s is not None
    assert analog.time_s[0] == points.time_s[0] and np.diff(points.time_s)[0] == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["a.mat", "b.mat"])
def test_mat_files_of_both_kinds(tmp_path: Path, name: str) -> None:
    result = registry.read(MAKERS[name](tmp_path / name))
    stream = next(s for s in result.streams if s.values.shape[1] == 2)
    np.testing.assert_array_equal(stream.values, VALUES)
    if name == "a.mat":
        assert stream.columns == ("RF", "BF") and stream.rate_hz == 100
        assert column(result, "angle", "").values.tolist() == TIME.tolist()
    else:
        assert stream.columns == ("emg_1", "emg_2")
        np.testing.assert_array_equal(stream.time_s, TIME)


def test_xdf_streams_come_onto_one_clock(tmp_path: Path) -> None:
    result = registry.read(MAKERS["a.xdf"](tmp_path / "a.xdf"))
    emg, gonio = result.streams
    assert emg.columns == ("RF", "BF") and emg.units == ("uV", "uV") and gonio.columns == ("knee",)
    np.testing.assert_array_equal(emg.values, VALUES)
    assert emg.time_s is not None and gonio.time_s is not None
    np.testing.assert_allclose(emg.time_s, TIME, atol=1e-6)
    np.testing.assert_allclose(gonio.time_s, TIME[::2], atol=1e-6)


def test_csv_of_a_laboratory_with_preamble_units_and_decimal_commas(tmp_path: Path) -> None:
    text = "Export 7\nSubject;Anna\n\nTime;EMG 1;Knee [deg]\ns;mV;\n0,000;0,1;10,5\n0,001;;11\n"
    s = only(put(tmp_path / "x.txt", text))
    assert s.columns == ("Time", "EMG 1", "Knee [deg]") and s.units == ("s", "mV", "deg")
    np.testing.assert_array_equal(s.time_s, [0, 0.001])
    np.testing.assert_array_equal(s.values[:, 1:], [[0.1, 10.5], [np.nan, 11]])
    assert s.at(1) == "line 7"


def test_a_csv_without_names_numbers_its_columns(tmp_path: Path) -> None:
    assert only(put(tmp_path / "x.csv", "1,2\n3,4\n")).columns == ("column 1", "column 2")


def test_milliseconds_are_seconds(tmp_path: Path) -> None:
    np.testing.assert_allclose(only(put(tmp_path / "x.csv", "time_ms,a\n0,1\n2,1\n")).time_s, [0, 0.002])


@pytest.mark.parametrize("name", MAKERS)
def test_a_truncated_file_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = MAKERS[name](tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    if name.endswith("csv"):  # a shorter table is a table
        assert len(registry.read(path).streams[0].values) < 200
    else:
        refused(path)


@pytest.mark.parametrize("name", MAKERS)
def test_an_empty_file_and_a_file_of_another_kind_are_sentences(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    refused(path)
    path.unlink()
    refused(path, "does not exist")


def test_an_unknown_ending_says_what_to_do(tmp_path: Path) -> None:
    refused(put(tmp_path / "x.xlsx", "x"), "save the sheet as CSV")
    refused(put(tmp_path / "x.foo", "x"), ".mot", ".xdf")


def test_the_real_gait_trial_is_read(shared: Path) -> None:
    folder = shared / "data" / "opensim_gait"
    ik, emg, torque, grf = (only(folder / n) for n in ("IK_gait.mot", "EMG_gait.mot", "ID_gait.sto", "GRF_gait.mot"))
    assert ik.values.shape == (461, 37) and ik.units[ik.columns.index("knee_angle_r")] == "deg"
    assert ik.units[ik.columns.index("pelvis_tx")] == "m"
    assert emg.values.shape == (4610, 24) and set(emg.units) == {""}
    assert torque.units[torque.columns.index("knee_angle_r_moment")] == "N m"
    assert grf.units[:4] == ("N", "N", "N", "m")
    with pytest.raises(PitlError, match="inverse kinematics"):
        registry.read(folder / "TRC_gait.trc")
