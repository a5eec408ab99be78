"""Named arrays of a MAT or HDF5 file become streams: what is as long belongs together, one of them is the time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data.formats.signals import Signals, Stream, unique
from pitl.errors import PitlError

_TIME = ("time", "time_s", "t", "times", "timestamps")
_RATE = ("fs", "rate", "rate_hz", "srate", "samplerate", "sampling_rate", "samplingrate", "freq", "frequency")
_LABELS = ("labels", "channels", "columns", "names", "channel_names", "muscles")
_FEWEST = 8  # samples; shorter arrays are settings
_MOST_COLUMNS = 4096


def to_signals(path: Path, arrays: Mapping[str, Any], texts: Mapping[str, list[str]]) -> Signals:
    """Streams out of arrays such as `emg` (T, C), `emg_labels`, `angle` (T,), `time` (T,) and `fs`.

    Args:
        path: for messages.
        arrays: numeric arrays by name, with `/` between groups or structs.
        texts: lists of names, such as a cell array of strings.

    Raises:
        PitlError: if there is no array that looks like a recording.
    """
    numeric = {k: np.squeeze(np.asarray(v, float)) for k, v in arrays.items()}
    series = {k: v if v.ndim == 2 else v[:, None] for k, v in numeric.items() if v.ndim in (1, 2)}
    series = {k: v for k, v in series.items() if max(v.shape) >= _FEWEST}
    times = {k: v[:, 0] for k, v in series.items() if _last(k) in _TIME and v.shape[1] == 1}
    lengths = {len(v) for v in times.values()}
    rates = {k: float(v) for k, v in numeric.items() if v.ndim == 0 and _last(k) in _RATE and v > 0}
    streams: list[Stream] = []
    groups: dict[tuple[int, str], list[str]] = {}
    for name, values in series.items():
        if name in times:
            continue
        # channels in rows: MATLAB users write both; a time vector decides, and recordings are longer than wide
        if values.shape[1] in lengths and len(values) not in lengths or values.shape[1] > 4 * len(values):
            series[name] = values = values.T
        if values.shape[1] > _MOST_COLUMNS:
            raise PitlError(f"{path}: {name} has shape {values.shape}, expected samples by channels.")
        groups.setdefault((len(values), _group(name)), []).append(name)
    for (length, group), members in groups.items():
        time = next((v for k, v in times.items() if len(v) == length and _group(k) == group), None)
        if time is None:
            time = next((v for v in times.values() if len(v) == length), None)
        rate = next((v for k, v in rates.items() if _group(k) == group), None)
        if rate is None and len(rates) == 1:
            rate = next(iter(rates.values()))
        names = [n for m in members for n in _names(m, series[m].shape[1], texts)]
        values = np.concatenate([series[m] for m in members], axis=1)
        name = group or (members[0] if len(members) == 1 else "data")
        taken = sum(s.name.split(" (")[0] == name for s in streams)
        name = f"{name} ({taken + 1})" if taken else name
        streams.append(Stream(name, unique(names), ("",) * len(names), values, time, rate))
    if not streams:
        result = ", ".join(f"{k} {np.shape(v)}" for k, v in list(numeric.items())[:8]) or "nothing"
        raise PitlError(
            f"{path}: holds {result}, but no array of samples by channels; save the EMG as a matrix (samples x "
            "channels) with a vector 'time' or a number 'fs'."
        )
    return Signals(path, tuple(streams))


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _group(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else ""


def _names(name: str, count: int, texts: Mapping[str, list[str]]) -> list[str]:
    own = name.rsplit("/", 1)[-1]
    for key, labels in texts.items():
        fits = _last(key) in _LABELS and _group(key) == _group(name)
        mine = _last(key).removesuffix("s") in tuple(f"{own}_{x.removesuffix('s')}".lower() for x in _LABELS)
        if (fits or mine) and len(labels) == count > 1:
            return labels
    return [own] if count == 1 else [f"{own}_{k}" for k in range(1, count + 1)]
