"""MAT, HDF5 and XDF as laboratories have them, and as those would write them who mean harm."""

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pitl.data.formats import hdf5, registry
from pitl.data.formats.signals import Signals, Stream, column
from pitl.errors import PitlError

T = np.arange(600) / 1000.0
EMG = np.random.default_rng(0).normal(size=(600, 2))
KNEE = 50 + 35 * np.sin(2 * np.pi * 0.4 * T)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(PitlError) as e:
        registry.read(path)
    for word in (str(path), *words):
        assert word in str(e.value), str(e.value)
    assert "Traceback" not in str(e.value)


def by_name(signals: Signals) -> dict[str, Stream]:
    return {c: s for s in signals.streams for c in s.columns}


def matlab(path: Path, fill) -> Path:
    """An HDF5 file with MATLAB's block in front."""
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    return path


def put(group, name: str, values, kind: str = "double"):
    data = np.atleast_2d(values).T if kind != "char" else np.array([[ord(c)] for c in values], np.uint16)
    item = group.create_dataset(name, data=data)
    item.attrs["MATLAB_class"] = np.bytes_(kind)
    return item


@pytest.mark.parametrize("version", ["4", "5"])
def test_mat_of_version_4_and_5(tmp_path: Path, version: str) -> None:
    savemat(tmp_path / "a.mat", {"emg": EMG, "time": T[:, None], "knee_angle": KNEE[:, None]}, format=version)
    (s,) = registry.read(tmp_path / "a.mat").streams
    assert s.columns == ("emg_1", "emg_2", "knee_angle") and s.time_s is not None
    np.testing.assert_array_equal(s.values, np.column_stack([EMG, KNEE]))
    np.testing.assert_array_equal(s.time_s, T)


def test_each_struct_keeps_its_rate(tmp_path: Path) -> None:
    content = {"emg": {"RF": EMG[:, 0], "fs": 1000.0}, "kin": {"knee_angle": KNEE[::20], "fs": 50.0}}
    savemat(tmp_path / "a.mat", content)
    streams = by_name(registry.read(tmp_path / "a.mat"))
    assert streams["RF"].rate_hz == 1000 and streams["knee_angle"].rate_hz == 50


@pytest.mark.parametrize(
    ("rates", "emg", "knee"),
    [
        ({"SamplingFrequency": 1000.0, "fs_angle": 100.0}, 1000, 100),
        ({"emg_fs": 1000.0, "angle_rate": 100.0}, 1000, 100),
        ({"Sampling_Rate": 1000.0}, 1000, None),  # of the longer one; the angle's is not told
        ({"heart_rate": 70.0, "cutoff_frequency": 20.0}, None, None),
    ],
)
def test_a_rate_goes_to_what_it_is_named_after(tmp_path: Path, rates: dict, emg: float, knee: float) -> None:
    savemat(tmp_path / "a.mat", {"emg": EMG, "knee_angle": KNEE[::10]} | rates)
    streams = by_name(registry.read(tmp_path / "a.mat"))
    assert streams["emg_1"].rate_hz == emg and streams["knee_angle"].rate_hz == knee


def test_one_rate_for_trials_of_different_lengths(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"fs": 500.0, "one": {"emg": EMG}, "two": {"emg": EMG[:300]}})
    assert [s.rate_hz for s in registry.read(tmp_path / "a.mat").streams] == [500, 500]


@pytest.mark.parametrize("padding", ["zeros", "runs on"])
def test_channels_with_clocks_of_their_own(tmp_path: Path, padding: str) -> None:
    """As Delsys exports them: a row of times and one of values for each channel, short ones padded with zeros."""
    rates, lengths = np.array([2000.0, 1000.0, 100.0]), [1200, 600, 60]
    times, data = np.zeros((3, 1200)), np.zeros((3, 1200))
    for k, (rate, n) in enumerate(zip(rates, lengths, strict=True)):
        many = 1200 if padding == "runs on" else n
        times[k, :many], data[k, :n] = np.arange(many) / rate, 5 + np.sin(np.arange(n))
    names = np.array(["RF: EMG 1", "BF: EMG 2", "Knee: GONIO X 3"], dtype=object)
    savemat(tmp_path / "a.mat", {"Channels": names, "Fs": rates[:, None], "Time": times, "Data": data})
    streams = by_name(registry.read(tmp_path / "a.mat"))
    for k, name in enumerate(names):
        s = streams[name]
        assert s.rate_hz == rates[k] and s.time_s is not None
        np.testing.assert_array_equal(s.values[:, 0], data[k, : lengths[k]])
        np.testing.assert_array_equal(s.time_s, times[k, : lengths[k]])


def test_struct_arrays_and_cells_of_mat_73_read_like_version_7(tmp_path: Path) -> None:
    trials = np.empty(2, dtype=[("emg", object), ("time", object)])
    trials[0], trials[1] = (EMG, T[:, None]), (EMG[:300], T[:300, None])
    cells = np.empty(2, object)
    cells[0], cells[1] = EMG, EMG[:300]
    savemat(tmp_path / "a.mat", {"trial": trials, "cells": cells})

    def fill(file) -> None:
        refs = file.create_group("#refs#")
        group = file.create_group("trial")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, values in {"emg": [EMG, EMG[:300]], "time": [T[:, None], T[:300, None]]}.items():
            targets = [put(refs, f"{field}{k}", v.T) for k, v in enumerate(values)]
            group.create_dataset(field, data=np.array([[t.ref] for t in targets], h5py.ref_dtype), dtype=h5py.ref_dtype)
        targets = [put(refs, f"c{k}", v.T) for k, v in enumerate([EMG, EMG[:300]])]
        item = file.create_dataset(
            "cells", data=np.array([[t.ref] for t in targets], h5py.ref_dtype), dtype=h5py.ref_dtype
        )
        item.attrs["MATLAB_class"] = np.bytes_("cell")

    matlab(tmp_path / "b.mat", fill)
    old, new = (registry.read(tmp_path / n).streams for n in ("a.mat", "b.mat"))
    assert sorted(s.name for s in old) == sorted(s.name for s in new)
    assert {s.name for s in old} >= {"trial/1", "trial/2"}
    for s in old:
        other = next(x for x in new if x.name == s.name)
        assert other.columns == s.columns and (other.time_s is None) == (s.time_s is None)
        np.testing.assert_array_equal(other.values, s.values)


def test_a_matlab_table_says_what_to_save_instead(tmp_path: Path) -> None:
    def fill(file) -> None:
        item = file.create_dataset("T", data=np.arange(6, dtype=np.uint32)[None])
        item.attrs["MATLAB_class"], item.attrs["MATLAB_object_decode"] = np.bytes_("table"), np.int32(3)

    refused(matlab(tmp_path / "a.mat", fill), "T is a MATLAB table", "writetable")


def test_names_and_empty_arrays_of_mat_73(tmp_path: Path) -> None:
    def fill(file) -> None:
        refs = file.create_group("#refs#")
        put(file, "emg", EMG.T)
        empty = file.create_dataset("angle", data=np.array([0, 0], np.uint64))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(1)
        targets = [put(refs, f"n{k}", n, "char") for k, n in enumerate(("RF", "BF"))]
        item = file.create_dataset(
            "labels", data=np.array([[t.ref] for t in targets], h5py.ref_dtype), dtype=h5py.ref_dtype
        )
        item.attrs["MATLAB_class"] = np.bytes_("cell")

    (s,) = registry.read(matlab(tmp_path / "a.mat", fill)).streams
    assert s.columns == ("RF", "BF")
    np.testing.assert_array_equal(s.values, EMG)


def test_rates_units_and_names_in_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        emg = file.create_dataset("emg", data=EMG.astype(np.float32))
        emg.attrs["fs"], emg.attrs["labels"], emg.attrs["unit"] = 1000.0, ["RF", "BF"], "mV"
        knee = file.create_dataset("knee_angle", data=KNEE[::10])
        knee.attrs["fs"], knee.attrs["unit"] = 100.0, "deg"
        device = file.create_group("00:07:80:3B:46:61")
        device.attrs["sampling rate"] = 500
        device.create_dataset("raw/channel_1", data=np.arange(300)[:, None])
    streams = by_name(registry.read(tmp_path / "a.h5"))
    assert streams["RF"].rate_hz == 1000 and streams["RF"].units == ("mV", "mV")
    assert streams["knee_angle"].rate_hz == 100 and streams["knee_angle"].units == ("deg",)
    assert streams["channel_1"].rate_hz == 500


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1e3), ("min", 1 / 60), ("s", 1.0)])
def test_a_clock_in_other_units_becomes_seconds(tmp_path: Path, unit: str, factor: float) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["emg"] = EMG
        file["time"] = T * factor
        file["time"].attrs["unit"] = unit
    (s,) = registry.read(tmp_path / "a.h5").streams
    np.testing.assert_allclose(s.time_s, T, atol=1e-12)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["time"].attrs["unit"] = "fortnights"
    refused(tmp_path / "a.h5", "fortnights", "unit of time")


def test_the_fields_of_a_compound_table_are_arrays(tmp_path: Path) -> None:
    kind = np.dtype([("time", "<f8"), ("joint_angles", "<f4", (2,)), ("emg", "<f4", (4,)), ("note", "S4")])
    table = np.zeros(600, kind)
    table["time"], table["joint_angles"][:, 1], table["emg"][:, :2] = T, KNEE, EMG
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("session/timeseries", data=table)
    signals = registry.read(tmp_path / "a.h5")
    (s,) = signals.streams
    np.testing.assert_allclose(column(signals, "emg_1", "").values, EMG[:, 0], rtol=1e-6)
    np.testing.assert_allclose(column(signals, "joint_angles_2", "").values, KNEE, rtol=1e-6)
    np.testing.assert_array_equal(s.time_s, T)
    assert any("note" in n for n in signals.notes)


def test_a_table_of_pandas_keeps_its_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["df/axis0"] = np.array([b"RF", b"knee"])
        file["df/axis1"] = np.arange(600)
        file["df/block0_items"] = np.array([b"RF", b"knee"])
        file["df/block0_values"] = np.column_stack([EMG[:, 0], KNEE])
    (s,) = registry.read(tmp_path / "a.h5").streams
    assert s.columns == ("RF", "knee")


# ------------------------------------------------------------------------------------------------------- hostile


def external_storage(file) -> None:
    file.create_dataset("emg", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def external_link(file) -> None:
    file["emg"] = h5py.ExternalLink("other.h5", "/emg")


def virtual(file) -> None:
    layout = h5py.VirtualLayout((100,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "emg", (100,))
    file.create_virtual_dataset("emg", layout)


def external_table(file) -> None:
    file.create_dataset("emg", (10,), np.dtype([("a", "u1"), ("b", "S3")]), external=[("/etc/passwd", 0, 100)])


def behind_a_reference(file) -> None:
    refs = file.create_group("#refs#")
    refs.create_dataset("x", (100,), "u1", external=[("/etc/passwd", 0, 100)])
    file.create_dataset("emg", data=np.array([refs["x"].ref], h5py.ref_dtype), dtype=h5py.ref_dtype)


def ours(file) -> None:
    file.attrs["format"] = hdf5.FORMAT
    group = file.create_group("streams/000")
    group.attrs["name"], group.attrs["columns"], group.attrs["units"] = "x", ["a"], ["V"]
    group.create_dataset("values", (100, 1), "u1", external=[("/etc/passwd", 0, 100)])


def ours_linked(file) -> None:
    file.attrs["format"] = hdf5.FORMAT
    file["streams"] = h5py.ExternalLink("other.h5", "/")


def fill_value(file) -> None:
    file.create_dataset("emg", (2**31, 2), "f8", chunks=(1024, 2), fillvalue=1.0)


def many_fill_values(file) -> None:
    for k in range(100):
        file.create_dataset(f"emg{k}", (2**20,), "f8", chunks=(1024,), fillvalue=1.0)


def text(file) -> None:
    file.create_dataset("labels", (2**22,), h5py.string_dtype())
    file["emg"] = EMG


def variables(file) -> None:
    for k in range(10_100):
        file.create_group(f"g{k}")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (external_storage, "external storage"),
        (external_link, "is a link to the file 'other.h5'"),
        (virtual, "virtual dataset"),
        (external_table, "external storage"),
        (behind_a_reference, "external storage"),
        (ours, "external storage"),
        (ours_linked, "is a link to the file 'other.h5'"),
        (fill_value, "declares"),
        pytest.param(many_fill_values, "", marks=pytest.mark.slow),
        (text, "declares"),
        pytest.param(variables, "", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("ending", ["h5", "mat"])
def test_hdf5_that_means_harm_is_a_sentence(tmp_path: Path, fill, words: str, ending: str) -> None:
    if ending == "mat" and fill not in (external_storage, external_link, virtual, behind_a_reference, fill_value):
        return
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["emg"] = np.arange(100.0)
    path = tmp_path / f"a.{ending}"
    if ending == "mat":
        matlab(path, fill)
    else:
        with h5py.File(path, "w") as file:
            fill(file)
    refused(path, words)


def test_links_in_circles_and_references_to_anything_are_survived(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["emg"] = EMG
        group = file.create_group("loop")
        group["back"], group["up"] = file["/"], h5py.SoftLink("/loop")
        file["soft"], file["lost"] = h5py.SoftLink("/soft"), h5py.SoftLink("/nowhere")
        file["reference"] = file["emg"].regionref[0:3]
        file["cell"] = np.array([file.ref, group.ref, file["emg"].ref], h5py.ref_dtype)
        file["cell2"] = np.array([file["cell"].ref, file["cell"].ref], h5py.ref_dtype)
        file.create_dataset("empty", data=h5py.Empty("f8"))
        file.create_dataset("complex", data=np.ones(20, complex))
        file["type"] = np.dtype("f8")
        for _ in range(40):  # a path for every subset
            inner = group.create_group("b")
            group["c"] = inner
            group = inner
        file.create_dataset("ragged", (3,), h5py.vlen_dtype(np.int32))
    assert "emg_1" in by_name(registry.read(tmp_path / "a.h5"))


def test_a_damaged_sparse_matrix_does_not_end_the_program(tmp_path: Path) -> None:
    from scipy.sparse import csc_matrix

    savemat(tmp_path / "a.mat", {"s": csc_matrix(np.eye(20)), "emg": EMG})
    data = bytearray((tmp_path / "a.mat").read_bytes())
    at = data.index(struct.pack("<2I", 5, 80)) + 8  # row indices
    data[at : at + 80] = b"\xff\xff\xff\x7f" * 20
    (tmp_path / "a.mat").write_bytes(data)
    try:
        registry.read(tmp_path / "a.mat")
    except PitlError as e:
        assert str(tmp_path / "a.mat") in str(e)


def nested(depth: int) -> bytes:
    """A MAT file of a matrix within cells within cells."""

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack("<2I", kind, len(body)) + body + bytes(-len(body) % 8)

    def array(kind: int, shape: tuple[int, int], content: bytes, name: bytes) -> bytes:
        return element(
            14,
            element(6, struct.pack("<2I", kind, 0))
            + element(5, struct.pack("<2i", *shape))
            + element(1, name)
            + content,
        )

    inner = array(6, (10, 1), element(9, np.arange(10.0).tobytes()), b"")
    for k in range(depth):
        inner = array(1, (1, 1), inner, b"x" if k == depth - 1 else b"")
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM") + inner


@pytest.mark.parametrize(("depth", "reads"), [(20, True), (1500, False), (5000, False)])
def test_cells_within_cells(tmp_path: Path, depth: int, reads: bool) -> None:
    (tmp_path / "a.mat").write_bytes(nested(depth))
    if reads:
        assert registry.read(tmp_path / "a.mat").streams[0].values.shape == (10, 1)
    else:
        refused(tmp_path / "a.mat")


def deflated(start: bytes, gigabytes: float, wbits: int) -> bytes:
    """What unpacks to a beginning and gigabytes of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(start) + packer.compress(bytes(2**22)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**22)) + packer.flush(zlib.Z_FULL_FLUSH)  # which may stand any number of times
    return first + again * int(gigabytes * 2**8)


@pytest.mark.slow
def test_zlib_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    packed = deflated(struct.pack("<2I", 14, 2**32 - 8), 4.0, 15)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<2I", 15, len(packed)) + packed)
    refused(tmp_path / "a.mat")


def chunk(tag: int, content: bytes) -> bytes:
    body = struct.pack("<H", tag) + content
    return b"\x04" + struct.pack("<I", len(body)) + body


def header(number: int = 1, text: str = "", **fields: str) -> bytes:
    values = {"name": "EMG", "type": "EMG", "channel_count": "2", "nominal_srate": "1000", "channel_format": "float32"}
    xml = "".join(f"<{k}>{v}</{k}>" for k, v in (values | fields).items())
    return chunk(2, struct.pack("<I", number) + f"{text}<info>{xml}</info>".encode())


def samples(number: int = 1, count: int = 50, body: bytes | None = None) -> bytes:
    rows = b"".join(b"\x08" + struct.pack("<d2f", k / 1000, k, -k) for k in range(50)) if body is None else body
    return chunk(3, struct.pack("<I", number) + b"\x08" + struct.pack("<Q", count) + rows)


def test_two_streams_of_one_name_are_both_kept_and_text_is_named(tmp_path: Path) -> None:
    parts = [header(1), header(2), header(3, name="Markers", channel_format="string", channel_count="1")]
    marker = chunk(3, struct.pack("<I", 3) + b"\x01\x01" + b"\x00" + b"\x01\x02hi")
    (tmp_path / "a.xdf").write_bytes(b"XDF:" + b"".join([*parts, samples(1), samples(2), marker]))
    signals = registry.read(tmp_path / "a.xdf")
    assert [s.name for s in signals.streams] == ["EMG", "EMG (2)"]
    assert all(s.values.shape == (50, 2) for s in signals.streams)
    assert any("Markers" in n for n in signals.notes)


DOCTYPE = '<?xml version="1.0"?><!DOCTYPE info [<!ENTITY a "{}">]>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(text=DOCTYPE.format("haha" * 10)), "XML entities"),
        (header(text='<!DOCTYPE info [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "XML entities"),
        (header(nominal_srate="nan"), "rate nan"),
        (header(nominal_srate="1e300"), "rate 1e300"),
        (header(nominal_srate="-5"), "rate -5"),
        (header(channel_count="999999"), "999999 channels"),
        (header(channel_count="٣"), "channels"),
        (header(channel_format="float128"), "float128"),
        (header() + samples(count=2**62), "promises"),
        (header(channel_format="string") + samples(count=2**31), "promises"),
        (samples(), "before its header"),
        (header() + b"\x08" + struct.pack("<Q", 2**63), "cut off"),
        (header() + samples()[:-5], "cut off"),
        (header() + b"\x07abc", "damaged"),
        (header() + chunk(4, b"\x01\0\0\0"), "clock offset"),
        (header(channel_format="string"), "no stream with numbers"),
    ],
)
def test_xdf_that_means_harm_is_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.xdf").write_bytes(b"XDF:" + content)
    refused(tmp_path / "a.xdf", words)


@pytest.mark.slow
def test_xdf_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "a.xdfz").write_bytes(deflated(b"XDF:" + header(), 4.0, 31))
    refused(tmp_path / "a.xdfz")


# ------------------------------------------------------------------------------------------------ given cases

FAULTS = [
    "25-h5-fill-bomb", "26-h5-ours-no-limit", "31-h5-external-raw-storage", "33-h5-external-dev-zero",
    "36-h5-text-label-bomb", "42-mat-huge-dims", "43-mat-char-dims", "45-xdf-string-bomb", "47-xdf-chunk-length-2e63",
    "48-xdf-samples-2e62", "49-xdf-billion-laughs", "50-xdf-external-entity", "53-xdf-rate-nan",
    "54-xdf-rate-1e300-no-stamps", "55-c3d-absurd-counts", "56-c3d-last-65535", "58-c3d-mips", "85-mat-crash-min",
    "86-h5-crash-min", "89-c3d-hang",
]  # fmt: skip
EITHER = ["28-h5-soft-link-cycle", "37-h5-compound-object-region", "40-mat-deep-cells-1500", "41-mat-object-struct-mix"]


@pytest.mark.parametrize("case", [*FAULTS, *EITHER])
def test_the_given_faults(shared: Path, case: str) -> None:
    (path,) = (p for p in (shared / "cases" / "faults" / case).iterdir() if p.suffix != ".md")
    if case in FAULTS:
        refused(path)
    else:
        try:
            registry.read(path)
        except PitlError as e:
            assert str(path) in str(e)


CASES = {  # file: column, rate, samples, unit
    "02-two-rates-in-one-mat/S01_bend.mat": ("knee_angle", 50, 4000, ""),
    "05-delsys-mat-export/S01_bend.mat": ("Biceps: EMG 2", 1259.2593, 7555, ""),
    "14-c3d-angles-in-points/S01_walk.c3d": ("RKneeAngles/x", 100, 600, "deg"),
    "15-c3d-no-analog-rate/S01_imu.c3d": ("EMG RF", 1000, 4000, ""),
    "15-c3d-no-analog-rate/S02_subframes.c3d": ("EMG RF", 1000, 4000, ""),
    "16-c3d-names-in-latin-1/S01_marche.c3d": ("Vaste médial", 1000, 4000, "V"),
    "17-c3d-unsigned-offset/S01_gonio.c3d": ("Knee gonio", 1000, 4000, "deg"),
    "18-c3d-real-offset/S01_walk.c3d": ("EMG BF", 1000, 4000, "V"),
    "25-rate-written-in-the-header/b/S01_bend.h5": ("knee_angle", 100, 300, "deg"),
    "25-rate-written-in-the-header/c/S01_bend.mat": ("knee_angle", 100, 300, ""),
    "26-mat-version-4/S01_bend.mat": ("emg_2", None, 3000, ""),
    "28-hdf5-compound-table/S01_bend.hdf5": ("emg_4", None, 3000, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_given_recordings(shared: Path, case: str) -> None:
    name, rate, count, unit = CASES[case]
    signals = registry.read(shared / "cases" / "laboratory" / case)
    c = column(signals, name, "")
    assert c.stream.rate_hz == (None if rate is None else pytest.approx(rate)) and len(c.values) == count
    assert c.unit == unit
    if c.stream.time_s is not None:
        step = np.diff(c.stream.time_s)
        np.testing.assert_allclose(step, 1 / (rate or 1000), rtol=1e-3)
    if "nee" in name:
        assert 15 <= np.nanmin(c.values) + 0.5 < 17 and 84 < np.nanmax(c.values) < 85.5
    if case.startswith("15"):
        np.testing.assert_allclose(signals.streams[1].values - signals.streams[1].values[0], 0, atol=1e-6)


def test_the_given_two_amplifiers_and_struct_arrays(shared: Path) -> None:
    folder = shared / "cases" / "laboratory"
    xdf = registry.read(folder / "09-second-emg-stream-dropped" / "S01_bend.xdf")
    assert [(s.name, s.values.shape[1]) for s in xdf.streams] == [("EMG", 2), ("EMG (2)", 2), ("gonio", 1)]
    mat = registry.read(folder / "27-mat-73-cells-and-struct-arrays" / "S01_bend.mat")
    assert [(s.name, len(s.values)) for s in mat.streams] == [("trial/1", 2000), ("trial/2", 2000)]
    refused(folder / "27-mat-73-cells-and-struct-arrays" / "S02_table.mat", "T is a MATLAB table", "writetable")


def _cell(*values: np.ndarray | str) -> np.ndarray:
    out = np.empty((1, len(values)), object)
    for k, v in enumerate(values):
        out[0, k] = v
    return out


def test_exports_of_labchart_acqknowledge_otbiolab_and_noraxon(tmp_path: Path) -> None:
    """Where names, rates and units stand in what these programs save for MATLAB."""
    emg, knee = EMG[:, 0], np.linspace(0, 90, len(EMG) // 10)
    n, m = len(emg), len(emg) + len(knee)
    chart = {
        "data": np.concatenate([emg, knee]), "datastart": np.array([[1], [n + 1]]), "dataend": np.array([[n], [m]]),
        "samplerate": np.array([[1000.0], [100.0]]), "titles": np.array(["RF        ", "Knee angle"]),
        "unittext": np.array(["mV ", "deg"]), "unittextmap": np.array([[1], [2]]),
    }  # fmt: skip
    savemat(tmp_path / "a.mat", chart)
    first, second = registry.read(tmp_path / "a.mat").streams
    assert (first.columns, first.units, first.rate_hz) == (("RF",), ("mV",), 1000.0)
    assert (second.columns, second.units, second.rate_hz) == (("Knee angle",), ("deg",), 100.0)
    np.testing.assert_array_equal(second.values[:, 0], knee)
    units = {"labels": np.array(["RF  ", "Knee"]), "units": np.array(["V  ", "deg"])}
    both = np.stack([emg, emg], axis=1)
    savemat(tmp_path / "b.mat", {"data": both, "isi": 0.5, "isi_units": "ms", **units})
    names = {"Description": _cell("RF [mV]", "Knee [deg]"), "SamplingFrequency": 2000.0}
    savemat(tmp_path / "c.mat", {"Data": both, **names})
    savemat(tmp_path / "d.mat", {"Data": _cell(emg, emg), "channelNames": _cell("RF [mV]", "Knee [deg]"),
                                          "samplingRate": 2000.0})  # fmt: skip
    for name, unit in (("b", "V"), ("c", "mV"), ("d", "mV")):
        (s,) = registry.read(tmp_path / f"{name}.mat").streams
        assert s.columns[0][:2] == "RF" and s.columns[1][:4] == "Knee", name
        assert s.units == (unit, "deg") and s.rate_hz == 2000.0, name


def test_a_unit_and_a_rate_stand_beside_the_only_array_and_cameras_have_their_own(tmp_path: Path) -> None:
    saved = {"analogs": {"RF": EMG[:, 0], "unit": "mV"}, "analogFrequency": 1000.0, "pointFrequency": 100.0,
             "angles": {"RKneeAngles": EMG[::10, :]}}  # fmt: skip
    savemat(tmp_path / "a.mat", saved)
    emg, knee = registry.read(tmp_path / "a.mat").streams
    assert emg.units == ("mV",) and emg.rate_hz == 1000.0 and knee.rate_hz == 100.0
