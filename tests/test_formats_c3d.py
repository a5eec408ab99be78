"""C3D as laboratories have it: other processors, odd offsets, no analog rate, angles among the points, force plates."""

from pathlib import Path

import numpy as np
import pytest
from c3d_samples import C3D, write

from pitl.data.formats import registry
from pitl.data.formats.signals import Signals
from pitl.errors import PitlError

T = np.arange(400) / 1000.0
KNEE = 50 + 35 * np.sin(2 * np.pi * 0.4 * T)
EMG = 1e-4 * np.random.default_rng(0).normal(size=400)
VALUES = np.stack([EMG, KNEE], axis=1).astype(np.float32)
POINTS = np.tile(np.array([[1.0, 2.0, 3.0, 0.0]]), (40, 1, 1))
LABELS = {"POINT:LABELS": ["M0"], "POINT:UNITS": ["mm"], "ANALOG:LABELS": ["EMG", "Knee"], "ANALOG:UNITS": ["V", "deg"]}
PLAIN = C3D(POINTS, VALUES, LABELS | {"ANALOG:RATE": np.array([1000.0])})


def read(folder: Path, c: C3D) -> Signals:
    return registry.read(write(folder / "a.c3d", c))


@pytest.mark.parametrize("processor", [84, 85, 86])
def test_every_processor_is_read(tmp_path: Path, processor: int) -> None:
    analog, points = read(tmp_path, PLAIN._replace(processor=processor)).streams
    np.testing.assert_array_equal(analog.values, VALUES)
    np.testing.assert_array_equal(points.values, np.tile([1.0, 2.0, 3.0], (40, 1)))
    assert analog.columns == ("EMG", "Knee") and analog.units == ("V", "deg") and points.units == ("mm",) * 3
    assert analog.rate_hz == 1000 and points.rate_hz == 100


@pytest.mark.parametrize("processor", [84, 85, 86])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(("sign", "offset"), [("SIGNED", -200), ("UNSIGNED", 32800), ("UNSIGNED", 100)])
def test_offsets_of_every_kind(tmp_path: Path, processor: int, real: bool, sign: str, offset: int) -> None:
    scale = 0.01
    counts = np.round(VALUES / scale) + offset
    more = {"ANALOG:SCALE": np.full(2, scale, np.float32), "ANALOG:GEN_SCALE": np.float32(1.0)}
    more |= {"ANALOG:OFFSET": np.full(2, offset), "ANALOG:FORMAT": [sign]}
    c = PLAIN._replace(analogs=counts, parameters=LABELS | more, scale=-1.0 if real else 0.5, processor=processor)
    analog, points = read(tmp_path, c).streams
    np.testing.assert_allclose(analog.values, np.round(VALUES / scale) * np.float32(scale), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(points.values[0], np.array([1.0, 2.0, 3.0]) * (1.0 if real else 0.5))


def test_offsets_may_be_reals(tmp_path: Path) -> None:
    more = {"ANALOG:OFFSET": np.array([0.0, 10.0], np.float32), "ANALOG:SCALE": np.ones(2, np.float32)}
    analog, _ = read(tmp_path, PLAIN._replace(parameters=LABELS | more)).streams
    np.testing.assert_allclose(analog.values, VALUES - np.float32([0.0, 10.0]))


@pytest.mark.parametrize("header", [True, False])
def test_without_an_analog_rate_the_samples_of_a_frame_give_it(tmp_path: Path, header: bool) -> None:
    more = {"ANALOG:USED": np.array(2)}
    analog, points = read(tmp_path, PLAIN._replace(parameters=LABELS | more, header=header)).streams
    assert analog.rate_hz == 1000 and len(analog.values) == 400 and points.rate_hz == 100
    np.testing.assert_array_equal(points.values, np.tile([1.0, 2.0, 3.0], (40, 1)))


def test_a_contradiction_about_the_rate_is_said(tmp_path: Path) -> None:
    signals = read(tmp_path, PLAIN._replace(parameters=LABELS | {"ANALOG:RATE": np.array([2000.0])}))
    assert signals.streams[0].rate_hz == 1000
    assert any("2000 Hz" in n and "the header was believed" in n for n in signals.notes)


def test_names_in_latin_1_and_utf_8(tmp_path: Path) -> None:
    names = {"ANALOG:LABELS": ["Vaste médial".encode("latin-1"), "Ischio"], "POINT:LABELS": ["Tête".encode()]}
    analog, points = read(tmp_path, PLAIN._replace(parameters=LABELS | names)).streams
    assert analog.columns == ("Vaste médial", "Ischio") and points.columns[0] == "Tête/x"


def test_angles_among_the_points_have_their_own_unit(tmp_path: Path) -> None:
    both = np.tile(np.array([[1.0, 2.0, 3.0, 0.0], [40.0, 5.0, 6.0, 0.0]]), (40, 1, 1))
    names = {"POINT:LABELS": ["RKNE", "RKneeAngles"]}
    listed = {"POINT:ANGLES": ["RKneeAngles"], "POINT:ANGLE_UNITS": ["deg"]}
    streams = read(tmp_path, PLAIN._replace(points=both, parameters=LABELS | names | listed)).streams
    (angles,) = (s for s in streams if s.name == "angles")
    assert angles.columns[0] == "RKneeAngles/x" and angles.units == ("deg",) * 3 and angles.values[0, 0] == 40
    assert next(s for s in streams if s.name == "points").columns == ("RKNE/x", "RKNE/y", "RKNE/z")
    streams = read(tmp_path, PLAIN._replace(points=both, parameters=LABELS | names)).streams
    assert next(s for s in streams if s.name == "angles").units == ("",) * 3  # lengths of the file are no unit of it


def test_points_that_were_not_seen_are_missing(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[3, 0, 3] = -1
    values = read(tmp_path, PLAIN._replace(points=points)).streams[1].values
    assert np.isnan(values[3]).all() and np.isfinite(values[4]).all()


def test_clocks_begin_at_the_first_frame(tmp_path: Path) -> None:
    analog, points = read(tmp_path, PLAIN._replace(first=51)).streams
    assert analog.time_s is not None and points.time_s is not None
    assert analog.time_s[0] == points.time_s[0] == 0.5


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_force_plates_agree_with_ezc3d(tmp_path: Path, kind: int) -> None:
    import ezc3d

    rng = np.random.default_rng(kind)
    count = 8 if kind == 3 else 6
    signals = (rng.normal(size=(400, count)) + [0, 0, 100, 0, 0, 0, 0, 0][:count]).astype(np.float32)
    if kind == 3:
        signals[:, 4:] += 50
    corners = np.array([[400.0, 600, 0], [0, 600, 0], [0, 0, 0], [400, 0, 0]], np.float32)
    parameters = LABELS | {
        "POINT:USED": np.array(1), "POINT:RATE": np.array([100.0]), "POINT:SCALE": np.array([-1.0]),
        "POINT:FRAMES": np.array(40), "POINT:DATA_START": np.array(10), "ANALOG:USED": np.array(count),
        "ANALOG:RATE": np.array([1000.0]), "ANALOG:LABELS": [f"f{k}" for k in range(count)],
        "ANALOG:UNITS": ["N"] * 3 + ["Nmm"] * (count - 3), "ANALOG:GEN_SCALE": np.array([1.0]),
        "ANALOG:SCALE": np.ones(count, np.float32), "ANALOG:OFFSET": np.zeros(count, int),
        "FORCE_PLATFORM:USED": np.array(1), "FORCE_PLATFORM:TYPE": np.array([kind]),
        "FORCE_PLATFORM:CORNERS": corners.T[:, :, None], "FORCE_PLATFORM:ZERO": np.array([0, 0]),
        "FORCE_PLATFORM:CHANNEL": np.arange(1, count + 1)[:, None],
        "FORCE_PLATFORM:ORIGIN": np.float32([120, 180, -40] if kind == 3 else [1, 2, -40])[:, None],
        "FORCE_PLATFORM:CAL_MATRIX": (np.eye(6) + 0.1 * rng.normal(size=(6, 6))).astype(np.float32)[:, :, None],
    }  # fmt: skip
    signals_read = read(tmp_path, PLAIN._replace(analogs=signals, parameters=parameters))
    plate = next(s for s in signals_read.streams if s.name == "plate1")
    truth = ezc3d.c3d(str(tmp_path / "a.c3d"), extract_forceplat_data=True)["data"]["platform"][0]
    np.testing.assert_allclose(plate.values[:, :3].T, truth["force"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(plate.values[:, 3:6].T, truth["moment"], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(plate.values[:, 6:].T, truth["center_of_pressure"], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (1, b"\x51", "does not begin"),
        (0, b"\x7f", "cut off"),
        (515, b"\x20", "processor 32"),
        (2, b"\xff\xff", "header needs"),
        (4, b"\xff\xff", "header needs"),
        (4, b"\xff\xff\x01\x00\xff\xff", "header needs"),
        (520, b"\xff\xff\xff", "damaged"),
        (516, b"\x00", "no parameters of that name"),
    ],
)
def test_a_damaged_header_is_a_sentence(tmp_path: Path, place: int, value: bytes, words: str) -> None:
    data = bytearray(write(tmp_path / "a.c3d", PLAIN).read_bytes())
    data[place : place + len(value)] = value
    (tmp_path / "a.c3d").write_bytes(data)
    with pytest.raises(PitlError, match=words):
        registry.read(tmp_path / "a.c3d")
