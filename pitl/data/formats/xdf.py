"""XDF files, as LabRecorder writes them, through pyxdf: several streams, brought to one clock by its offsets.

Format: https://github.com/sccn/xdf/wiki/Specifications
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats.signals import Signals, Stream, known_unit, read_bytes, unique
from pitl.errors import PitlError

_AGAIN = "record or copy it again, or leave it out"


def read(path: Path) -> Signals:
    """Reads every numeric stream with a channel; markers and other text are left out.

    Clock offsets between the recording computers are applied; each stream keeps its own samples. Time starts with the
    first sample of any stream.

    Raises:
        PitlError: if it is not XDF, is damaged, or has no numeric stream.
    """
    path = Path(path)
    data = read_bytes(path)
    if not (data.startswith(b"XDF:") or data[:2] == b"\x1f\x8b"):
        raise PitlError(f"{path}: does not begin as an XDF file does ('XDF:'); give it the ending of its real format.")
    try:
        import pyxdf
    except ImportError as e:
        raise PitlError(f"{path}: XDF files need the package pyxdf; install it with `pip install pyxdf`.") from e
    logger = logging.getLogger("pyxdf")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        result, _ = pyxdf.load_xdf(str(path))
        streams, notes = _streams(result)
    except Exception as e:  # the library tells of damage by many exceptions
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:120]
        raise PitlError(f"{path}: is not a whole XDF file ({reason}); {_AGAIN}.") from e
    finally:
        logger.setLevel(before)
    if not streams:
        raise PitlError(f"{path}: has no stream with numbers in it; {_AGAIN}.")
    return Signals(path, tuple(streams), tuple(f"{path.name}: {n}" for n in notes))


def _streams(result: list[Any]) -> tuple[list[Stream], list[str]]:
    kept, notes = [], []
    for s in result:
        values = s["time_series"]
        name = _first(s["info"], "name") or "stream"
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.ndim != 2 or not values.size:
            notes.append(f"stream {name!r} holds no numbers and was left out")
            continue
        kept.append((name, s))
    start = min((float(s["time_stamps"][0]) for _, s in kept), default=0.0)
    names = unique(name for name, _ in kept)
    streams = []
    for name, (_, s) in zip(names, kept, strict=True):
        values = np.asarray(s["time_series"], float)
        channels = _channels(s["info"])
        labels = [_first(c, "label") for c in channels] if len(channels) == values.shape[1] else []
        units = [known_unit(_first(c, "unit")) for c in channels] if labels else [""] * values.shape[1]
        labels = labels or [f"{name}_{k}" for k in range(1, values.shape[1] + 1)]
        rate = float(_first(s["info"], "nominal_srate") or 0) or None
        times = np.asarray(s["time_stamps"], float) - start
        streams.append(Stream(name, unique(labels), tuple(units), values, times, rate))
    return streams, notes


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
