"""C3D files through ezc3d: analog channels with units and scale, markers, and force plates.

Format: https://www.c3d.org/HTML/default.htm
"""

import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats import hdf5
from pitl.data.formats.signals import Signals, Stream, known_unit, read_bytes, unique
from pitl.errors import PitlError

_BLOCK = 512  # bytes
_LONGEST_S = 120
_AGAIN = "export the file again, or leave it out"
_PLATE_COLUMNS = ("Fx", "Fy", "Fz", "Mx", "My", "Mz", "px", "py", "pz")


def read(path: Path) -> Signals:
    """Reads `analog` (in the file's units), `points` (marker/x, y, z) and `plate1`, ... (forces, moments, centre).

    Raises:
        PitlError: if it is not a C3D file, or is damaged or cut off.
    """
    path = Path(path)
    _plausible(path, read_bytes(path))
    # the parser is C++ and falls over damaged files; in a process of its own it takes nothing with it
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "signals.h5"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pitl.data.formats.c3d", str(path.resolve()), str(draft)],
                capture_output=True, timeout=_LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as e:
            raise PitlError(f"{path}: could not be read within {_LONGEST_S} s, so it is damaged; {_AGAIN}.") from e
        if done.returncode or not draft.exists():
            stated = done.stderr.decode(errors="replace").strip().splitlines()
            reason = stated[-1][:160] if stated and done.returncode == 1 else "the parser gave up"
            raise PitlError(f"{path}: is not a whole C3D file ({reason}); {_AGAIN}.")
        result = hdf5.read(draft)
    if not result.streams:
        raise PitlError(f"{path}: holds neither analog channels nor points; export them from your program.")
    return Signals(path, result.streams, result.notes)


def _parse(path: Path) -> Signals:
    import ezc3d

    file: Any = ezc3d.c3d(str(path))
    streams = [*_analog(file), *_points(file)]
    notes: list[str] = []
    try:
        streams += _plates(path)
    except Exception as e:  # a wrong calibration of a plate is no reason to lose the EMG
        notes.append(f"{path.name}: force plates were left out ({str(e)[:80]})")
    return Signals(path, tuple(streams), tuple(notes))


def _plausible(path: Path, data: bytes) -> None:
    """Refuses what would take the parser beyond the file's end or into endless loops."""
    if len(data) < 2 * _BLOCK or data[1] != 0x50 or not 2 <= data[0] <= 127:
        raise PitlError(f"{path}: does not begin as a C3D file does (second byte 0x50); {_AGAIN}.")
    at = (data[0] - 1) * _BLOCK
    if at + 4 > len(data):
        raise PitlError(f"{path}: ends before its parameters, at byte {len(data)}: the file is cut off; {_AGAIN}.")
    processor = data[at + 3]
    if processor not in (84, 85, 86):
        raise PitlError(f"{path}: names processor {processor} at byte {at + 3}, expected 84, 85 or 86; {_AGAIN}.")
    if processor != 84:  # DEC and MIPS are left to the parser's own checks
        return
    points, analogs, first, last = struct.unpack_from("<4H", data, 2)
    (start,) = struct.unpack_from("<H", data, 16)
    (scale,) = struct.unpack_from("<f", data, 12)
    frames = max(0, last - first + 1)
    size = 4 if scale < 0 else 2
    need = (start - 1) * _BLOCK + frames * (4 * points + analogs) * size
    if start < 2 or (last < 65535 and need > len(data)):
        raise PitlError(
            f"{path}: has {len(data)} bytes, but its header needs {need}: the file is cut off or damaged; {_AGAIN}."
        )


def _analog(file: Any) -> Iterator[Stream]:
    analogs = np.asarray(file["data"]["analogs"], float)
    values = analogs.reshape(-1, analogs.shape[-1]).T if analogs.size else np.zeros((0, 0))
    if not values.size:
        return
    parameters = file["parameters"]["ANALOG"]
    rate = _rate(parameters)
    units = [known_unit(u) for u in _texts(parameters, "UNITS")]
    names = unique(_padded(_texts(parameters, "LABELS"), values.shape[1]))
    first = int(file["header"]["points"]["first_frame"])
    start = first / float(file["header"]["points"]["frame_rate"] or 1.0)
    yield Stream(
        "analog", names, tuple(_padded(units, values.shape[1])), values, start + np.arange(len(values)) / rate, rate
    )


def _points(file: Any) -> Iterator[Stream]:
    points = np.asarray(file["data"]["points"], float)
    if not points.size:
        return
    parameters = file["parameters"]["POINT"]
    rate = _rate(parameters)
    labels = unique(_padded(_texts(parameters, "LABELS"), points.shape[1]))
    unit = known_unit((_texts(parameters, "UNITS") or [""])[0])
    values = np.moveaxis(points[:3], 2, 0).transpose(0, 2, 1).reshape(points.shape[2], -1)
    # a fourth value below zero marks a marker that was not seen
    seen = np.repeat(np.moveaxis(np.asarray(file["data"]["meta_points"]["residuals"])[0], 1, 0) >= 0, 3, axis=1)
    values = np.where(seen, values, np.nan)
    start = int(file["header"]["points"]["first_frame"]) / rate
    names = tuple(f"{label}/{axis}" for label in labels for axis in "xyz")
    yield Stream("points", names, (unit,) * len(names), values, start + np.arange(len(values)) / rate, rate)


def _plates(path: Path) -> list[Stream]:
    import ezc3d

    file: Any = ezc3d.c3d(str(path), extract_forceplat_data=True)
    if "FORCE_PLATFORM" not in file["parameters"] or not _used(file["parameters"]["FORCE_PLATFORM"]):
        return []
    rate = _rate(file["parameters"]["ANALOG"])
    start = int(file["header"]["points"]["first_frame"]) / float(file["header"]["points"]["frame_rate"] or 1.0)
    out = []
    for k, plate in enumerate(file["data"]["platform"], 1):
        values = np.concatenate([plate["force"], plate["moment"], plate["center_of_pressure"]]).T
        units = [*3 * [known_unit(plate["unit_force"])], *3 * [known_unit(plate["unit_moment"])]]
        units += 3 * [known_unit(plate["unit_position"])]
        out.append(
            Stream(f"plate{k}", _PLATE_COLUMNS, tuple(units), values, start + np.arange(len(values)) / rate, rate)
        )
    return out


def _used(parameters: Any) -> int:
    value = parameters["USED"]["value"] if "USED" in parameters else [0]
    return int(value[0]) if len(value) else 0


def _rate(parameters: Any) -> float:
    value = parameters["RATE"]["value"]
    rate = float(value[0]) if len(value) else 0.0
    if not (np.isfinite(rate) and rate > 0):
        raise PitlError(f"the rate is {rate} Hz")
    return rate


def _texts(parameters: Any, key: str) -> list[str]:
    """LABELS, LABELS2, ... together; the format allows 255 in each."""
    out: list[str] = []
    for k in ("", *range(2, 9)):
        if f"{key}{k}" in parameters:
            out += [str(v).strip() for v in parameters[f"{key}{k}"]["value"]]
    return out


def _padded(values: list[str], count: int) -> list[str]:
    return (values + [""] * count)[:count]


if __name__ == "__main__":
    try:
        hdf5.write(Path(sys.argv[2]), _parse(Path(sys.argv[1])))
    except Exception as e:  # the parser tells of damage by many exceptions
        sys.exit((str(e).strip().splitlines() or [type(e).__name__])[0])
