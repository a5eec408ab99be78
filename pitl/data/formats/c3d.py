"""C3D files: analog channels, markers, angles and moments of a model among the points, and force plates.

Format: https://www.c3d.org/HTML/default.htm. All three kinds of processors (PC, DEC, MIPS), integers and reals.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.data.formats import c3d_plates, sandbox
from pitl.data.formats.budget import Budget
from pitl.data.formats.c3d_parameters import BLOCK, C3dParameters, ieee, parameters_of
from pitl.data.formats.signals import Signals, Stream, known_unit, unique
from pitl.errors import PitlError

_AGAIN = "export the file again, or leave it out"
_QUANTITIES = {"ANGLES": "ANGLE", "FORCES": "FORCE", "MOMENTS": "MOMENT", "POWERS": "POWER", "SCALARS": "SCALAR"}


class _Header(NamedTuple):
    """What the first block says, which is what the samples were laid out by."""

    points: int
    analogs: int  # values in a frame
    first: int  # frame, from 1
    last: int
    scale: float  # of points; below zero: everything is stored as reals
    start: int  # byte of the first sample
    per_frame: int  # analog samples in a frame
    rate: float  # frames per second


@dataclass(frozen=True)
class _File:
    header: _Header
    parameters: C3dParameters
    points: np.ndarray  # (frames, points, 4), as stored
    analogs: np.ndarray  # (samples, channels), as stored
    rate: float  # frames per second

    @property
    def start_s(self) -> float:
        return (self.header.first - 1) / self.rate


def read(path: Path) -> Signals:
    """Reads `analog` (in the file's units), `points` (marker/x, y, z), `angles`, `moments`, ... and `plate1`, ...

    Raises:
        PitlError: if it is not a C3D file, or is damaged or cut off.
    """
    return sandbox.read(path, "c3d")


def prepare() -> None:
    """Imports what `parse` needs: nothing."""


def parse(path: Path) -> Signals:
    """As `read`, in this process."""
    data = path.read_bytes()
    notes: list[str] = []
    file = _laid_out(data, notes)
    analog = _analog(file, notes)
    streams = [*([analog] if analog else []), *_points(file)]
    try:
        streams += c3d_plates.plates(file.parameters, analog) if analog else []
    except (PitlError, ValueError, IndexError, np.linalg.LinAlgError) as e:
        # a wrong calibration of a plate is no reason to lose the EMG
        notes.append(f"force plates were left out ({str(e)[:80]})")
    if not streams:
        raise PitlError(f"{path}: holds neither analog channels nor points; export them from your program.")
    return Signals(path, tuple(streams), tuple(f"{path.name}: {n}" for n in notes))


def _laid_out(data: bytes, notes: list[str]) -> _File:
    if len(data) < 2 * BLOCK or data[1] != 0x50 or not 2 <= data[0] <= 127:
        raise PitlError(f"does not begin as a C3D file does (second byte 0x50); {_AGAIN}")
    at = (data[0] - 1) * BLOCK
    if at + 4 > len(data):
        raise PitlError(f"ends before its parameters, at byte {len(data)}: the file is cut off; {_AGAIN}")
    processor = data[at + 3]
    if processor not in (84, 85, 86):
        raise PitlError(f"names processor {processor} at byte {at + 3}, expected 84, 85 or 86; {_AGAIN}")
    h = _header(data, processor)
    parameters = parameters_of(data, at, processor)
    for group, count in (("POINT", h.points), ("ANALOG", h.analogs)):
        if count and group not in parameters.groups:
            raise PitlError(f"has {count} values of {group} a frame but no parameters of that name; {_AGAIN}")
    rate = h.rate if 0 < h.rate < 1e6 else parameters.number("POINT", "RATE")
    if not 0 < rate < 1e6:
        raise PitlError(f"has {h.rate:g} frames per second in its header, expected a rate; {_AGAIN}")
    frames = _frames(h, parameters)
    real = h.scale < 0
    width = 4 * h.points + h.analogs
    size = 4 if real else 2
    fitting = (len(data) - h.start) // (size * width) if width else 0
    if h.start < BLOCK or (frames > fitting and h.last != 65535) or (width and fitting < 1):
        raise PitlError(
            f"has {len(data)} bytes, but its header needs {h.start + frames * width * size}: the file is cut off or "
            f"damaged; {_AGAIN}"
        )
    frames = min(frames, fitting)
    Budget().take_values("the header", 2 * frames * width)
    raw = np.frombuffer(data, np.uint8, frames * width * size, h.start)
    unsigned = parameters.text("ANALOG", "FORMAT").upper().startswith("UNSIGNED")
    table = (ieee(raw, processor) if real else raw.view(">i2" if processor == 86 else "<i2")).reshape(frames, width)
    points = table[:, : 4 * h.points].reshape(frames, h.points, 4)
    analogs = table[:, 4 * h.points :]
    if unsigned and not real:
        analogs = analogs.view(analogs.dtype.str.replace("i", "u"))
    per_frame = _per_frame(h, parameters, rate, notes)
    return _File(h, parameters, points, analogs.reshape(frames * per_frame, -1), rate)


def _header(data: bytes, processor: int) -> _Header:
    order = ">" if processor == 86 else "<"
    points, analogs, first, last = struct.unpack_from(f"{order}4H", data, 2)
    start, per_frame = struct.unpack_from(f"{order}2H", data, 16)
    scale, rate = (float(ieee(np.frombuffer(data, np.uint8, 4, at), processor)[0]) for at in (12, 20))
    return _Header(points, analogs, first, last, scale, (start - 1) * BLOCK, per_frame, rate)


def _frames(h: _Header, parameters: C3dParameters) -> int:
    """As the header says; beyond 65535 frames as TRIAL says, whose numbers are pairs of 16 bits."""
    first, last = (parameters.numbers("TRIAL", f"ACTUAL_{k}_FIELD") for k in ("START", "END"))
    frames = max(0, h.last - h.first + 1)
    if h.last == 65535 and len(first) == len(last) == 2:
        low, high = (int(v[0]) % 65536 + 65536 * (int(v[1]) % 65536) for v in (first, last))
        frames = max(frames, high - low + 1)
    return frames


def _per_frame(h: _Header, parameters: C3dParameters, rate: float, notes: list[str]) -> int:
    if not h.analogs:
        return 1
    stated = parameters.number("ANALOG", "RATE")
    used = int(parameters.number("ANALOG", "USED")) % 65536
    if h.per_frame and h.analogs % h.per_frame == 0:
        if stated and abs(stated / (rate * h.per_frame) - 1) > 0.01:
            notes.append(
                f"ANALOG:RATE says {stated:g} Hz, the header {h.per_frame} samples in each of {rate:g} frames per "
                "second; the header was believed"
            )
        if used and used != h.analogs // h.per_frame:
            notes.append(
                f"ANALOG:USED says {used} channels, the header {h.analogs // h.per_frame}; the header was believed"
            )
        return h.per_frame
    if used and h.analogs % used == 0:
        return h.analogs // used
    raise PitlError(f"has {h.analogs} analog values a frame in {h.per_frame} samples, which cannot be; {_AGAIN}")


def _analog(file: _File, notes: list[str]) -> Stream | None:
    p, raw = file.parameters, file.analogs
    channels = raw.shape[1]
    if not raw.size:
        return None
    unsigned = p.text("ANALOG", "FORMAT").upper().startswith("UNSIGNED")
    offset = _each(p, "OFFSET", channels, 0.0)
    if unsigned:  # stored in 16 bits, where 32800 looks like -32736
        offset = np.where(offset < 0, offset + 65536, offset)
    scale = _each(p, "SCALE", channels, 1.0) * (p.number("ANALOG", "GEN_SCALE", 1.0))
    if not (np.isfinite(offset).all() and np.isfinite(scale).all()):
        notes.append("ANALOG:SCALE or OFFSET has values that are no numbers")
    values = (raw.astype(float) - offset) * scale
    names = unique(_padded(p.texts("ANALOG", "LABELS"), channels))
    units = tuple(known_unit(u) for u in _padded(p.texts("ANALOG", "UNITS"), channels))
    rate = file.rate * len(raw) / len(file.points)
    return Stream("analog", names, units, values, file.start_s + np.arange(len(values)) / rate, rate)


def _each(p: C3dParameters, key: str, count: int, default: float) -> np.ndarray:
    stated = p.numbers("ANALOG", key)
    out = np.full(count, default)
    out[: len(stated[:count])] = stated[:count]
    return out


def _points(file: _File) -> Iterator[Stream]:
    """Markers, and what a model computed, which stands among them: each kind in its own unit."""
    p, raw = file.parameters, file.points
    count = raw.shape[1]
    if not raw.size:
        return
    values = raw[:, :, :3].astype(float) * (1.0 if file.header.scale < 0 else file.header.scale)
    values[raw[:, :, 3] < 0] = np.nan  # not seen
    labels = unique(_padded(p.texts("POINT", "LABELS"), count))
    listed = {name: kind for kind in _QUANTITIES for name in p.texts("POINT", kind)}
    kinds = [listed.get(n, "ANGLES" if n.lower().endswith(("angles", "angle")) else "") for n in labels]
    times = file.start_s + np.arange(len(raw)) / file.rate
    for kind in dict.fromkeys(sorted(kinds)):
        members = [k for k in range(count) if kinds[k] == kind]
        # lengths of a file are no unit of its angles
        unit = p.text("POINT", f"{_QUANTITIES[kind]}_UNITS") if kind else p.text("POINT", "UNITS")
        names = tuple(f"{labels[k]}/{axis}" for k in members for axis in "xyz")
        yield Stream(
            kind.lower() or "points", names, (known_unit(unit),) * len(names),
            values[:, members].reshape(len(raw), -1), times, file.rate,
        )  # fmt: skip


def _padded(values: list[str], count: int) -> list[str]:
    return (values + [""] * count)[:count]
