"""XDF files, as LabRecorder writes them, through pyxdf: several streams, brought to one clock by its offsets.

Format: https://github.com/sccn/xdf/wiki/Specifications
"""

import io
import logging
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.data.formats import sandbox
from pitl.data.formats.budget import COLUMNS, FILE_BYTES, Budget
from pitl.data.formats.signals import Signals, Stream, known_unit, unique
from pitl.errors import PitlError

_AGAIN = "record or copy it again, or leave it out"
_BYTES = {"double64": 8, "float32": 4, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "string": 0}
_FASTEST_HZ = 1e6


class _Declared(NamedTuple):
    """What the header of a stream says."""

    name: str
    channels: int
    bytes: int  # of a value; 0 for text


def read(path: Path) -> Signals:
    """Reads every numeric stream with a channel; markers and other text are left out.

    Clock offsets between the recording computers are applied; each stream keeps its own samples. Time starts with the
    first sample of any stream.

    Raises:
        PitlError: if it is not XDF, is damaged, or has no numeric stream.
    """
    return sandbox.read(path, "xdf")


def prepare() -> None:
    """Imports what `parse` needs."""
    import pyxdf  # noqa: F401


def parse(path: Path) -> Signals:
    """As `read`, in this process."""
    import pyxdf

    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(data)
    if not data.startswith(b"XDF:"):
        raise PitlError(f"{path}: does not begin as an XDF file does ('XDF:'); give it the ending of its real format.")
    declared = _plausible(data)
    numeric = [i for i, d in declared.items() if d.bytes]
    logging.getLogger("pyxdf").setLevel(logging.CRITICAL)
    result = pyxdf.load_xdf(io.BytesIO(data), select_streams=numeric)[0] if numeric else []
    notes = [f"stream {d.name!r} holds no numbers and was left out" for d in declared.values() if not d.bytes]
    streams = _streams(result, notes)
    if not streams:
        raise PitlError(f"{path}: has no stream with numbers in it; {_AGAIN}.")
    return Signals(path, tuple(streams), tuple(f"{path.name}: {n}" for n in notes))


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    out = unpacker.decompress(data, FILE_BYTES)
    if unpacker.unconsumed_tail:
        raise PitlError(f"unpacks to more than {FILE_BYTES >> 30} GiB; cut the recording into several files")
    return out


def _plausible(data: bytes) -> dict[int, _Declared]:
    """The streams by number, if lengths and counts stay within the file: the parser believes all of them."""
    budget, streams = Budget(), {}
    for tag, start, stop in _chunks(data):
        budget.take_variable("chunks") if tag not in (3, 4, 5) else None
        if tag in (1, 2, 6):
            text = data[start + (4 if tag != 1 else 0) : stop]
            if re.search(rb"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
                raise PitlError(f"declares XML entities at byte {start}, which no recorder does; {_AGAIN}")
        if tag not in (2, 3, 4, 6):
            continue
        (number,) = struct.unpack_from("<I", data, start)
        if tag == 2:
            streams[number] = _declared(data[start + 4 : stop], budget)
        elif number not in streams:
            raise PitlError(f"has samples of stream {number} at byte {start} before its header; {_AGAIN}")
        elif tag == 3:
            count, at = _integer(data, start + 4, stop)
            stream = streams[number]
            if at + count * (1 + stream.channels * max(stream.bytes, 1)) > stop:
                raise PitlError(f"promises {count} samples at byte {start} in {stop - at} bytes; {_AGAIN}")
            if stream.bytes:
                budget.take_values(stream.name, count * (stream.channels + 1))
        elif tag == 4 and stop - start < 20:
            raise PitlError(f"ends within a clock offset at byte {start}; {_AGAIN}")
    return streams


def _chunks(data: bytes) -> Iterator[tuple[int, int, int]]:
    at = 4
    while at < len(data):
        length, start = _integer(data, at, len(data))
        if length < 2 or start + length > len(data):
            raise PitlError(f"ends within the part that begins at byte {at}: the file is cut off; {_AGAIN}")
        (tag,) = struct.unpack_from("<H", data, start)
        if length < 6 and tag in (2, 3, 4, 6):
            raise PitlError(f"has a part without content at byte {at}; {_AGAIN}")
        yield tag, start + 2, start + length
        at = start + length


def _integer(data: bytes, at: int, stop: int) -> tuple[int, int]:
    size = data[at] if at < stop else 0
    if size not in (1, 4, 8) or at + 1 + size > stop:
        raise PitlError(f"has no length at byte {at}, where one belongs: the file is damaged; {_AGAIN}")
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def _declared(header: bytes, budget: Budget) -> _Declared:
    text = header.decode("utf-8", "replace")
    budget.take_text("stream headers", len(text) // 4)

    def first(key: str) -> str:
        match = re.search(rf"<{key}>\s*([^<]{{0,200}}?)\s*</{key}>", text)
        return match[1] if match else ""

    name, kind, channels, rate = (first(k) for k in ("name", "channel_format", "channel_count", "nominal_srate"))
    if kind not in _BYTES:
        raise PitlError(f"stream {name!r} has the format {kind!r}, expected one of {', '.join(_BYTES)}; {_AGAIN}")
    if not re.fullmatch(r"[0-9]{1,6}", channels) or not 1 <= int(channels) <= COLUMNS:
        raise PitlError(f"stream {name!r} has {channels or 'no'} channels, expected 1 to {COLUMNS}; {_AGAIN}")
    try:
        hertz = float(rate or 0)
    except ValueError:
        hertz = np.nan
    if not 0 <= hertz <= _FASTEST_HZ or 0 < hertz < 1e-6:
        raise PitlError(f"stream {name!r} has the rate {rate}, expected samples per second; {_AGAIN}")
    return _Declared(name or "stream", int(channels), _BYTES[kind])


def _streams(result: list[Any], notes: list[str]) -> list[Stream]:
    kept = []
    for s in result:
        values, name = np.asarray(s["time_series"]), _first(s["info"], "name") or "stream"
        if values.dtype.kind not in "iuf" or values.ndim != 2 or not values.size:
            notes.append(f"stream {name!r} holds no samples and was left out")
        elif not np.isfinite(s["time_stamps"]).all():
            raise PitlError(f"stream {name!r} has time stamps that are no numbers; {_AGAIN}")
        else:
            kept.append((name, s))
    start = min((float(s["time_stamps"][0]) for _, s in kept), default=0.0)
    streams = []
    for name, (_, s) in zip(unique(name for name, _ in kept), kept, strict=True):
        values = np.asarray(s["time_series"], float)
        channels = _channels(s["info"])
        labels = [_first(c, "label") for c in channels] if len(channels) == values.shape[1] else []
        units = [known_unit(_first(c, "unit")) for c in channels] if labels else [""] * values.shape[1]
        labels = labels or [f"{name}_{k}" for k in range(1, values.shape[1] + 1)]
        rate = float(_first(s["info"], "nominal_srate") or 0) or None
        times = np.asarray(s["time_stamps"], float) - start
        streams.append(Stream(name, unique(labels), tuple(units), values, times, rate))
    return streams


def _channels(info: Any) -> list[Any]:
    try:
        return list(info["desc"][0]["channels"][0]["channel"])
    except (KeyError, IndexError, TypeError):
        return []


def _first(info: Any, key: str) -> str:
    try:
        return str(info[key][0] or "")
    except (KeyError, IndexError, TypeError):
        return ""
