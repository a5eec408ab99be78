"""Named arrays of a MAT or HDF5 file become streams: which belong together, on which clock, under which names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.data.formats import makers
from pitl.data.formats.budget import COLUMNS
from pitl.data.formats.signals import Signals, Stream, known_unit, unique, unit_in
from pitl.errors import PitlError

_TIME = {"time", "times", "t", "timestamp", "timestamps"}
_TIME_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}
_RATE = {
    "fs", "rate", "srate", "sr", "sf", "samplerate", "samplingrate", "samplefrequency", "samplingfrequency",
    "samplingfreq", "samplefreq", "freq", "frequency", "framerate",
}  # fmt: skip
_LABELS = {"labels", "label", "channels", "channelnames", "channellabels", "columns", "names", "muscles", "description"}
_UNITS = {"unit", "units"}
_OF_POINTS = {"point", "points", "video", "marker", "markers", "frame"}  # what a rate of cameras is called after
_FROM_POINTS = {"angle", "angles", "point", "points", "marker", "markers", "moment", "moments", "kinematics", "ik"}
_FEWEST = 8  # samples; shorter arrays are settings


class _Series(NamedTuple):
    """An array of samples by channels, and what the file says about it."""

    name: str
    values: np.ndarray  # (T, K)
    labels: list[str]
    units: list[str]
    time: str | None = None
    rate: float | None = None

    @property
    def group(self) -> str:
        return _group(self.name)


def to_signals(
    path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, list[str]], unread: Sequence[str] = ()
) -> Signals:
    """Streams out of arrays such as `emg` (T, C), `emg_labels`, `angle` (T,), `time` (T,) and `fs`.

    Arrays of one group, length, clock and rate are columns of one stream. A rate or time goes to what it is named
    after (`fs_angle`), else to the arrays of its group, else to those of the groups within; a rate that names nothing
    in particular is not taken for arrays that are shorter than the longest it could mean.

    Args:
        path: for messages.
        arrays: numeric arrays by name, with `/` between groups or structs.
        texts: lists of names, such as a cell array of strings.
        unread: sentences about what stands in the file and cannot be read.

    Raises:
        PitlError: if there is no array that looks like a recording.
    """
    numeric = {k: np.squeeze(np.asarray(v)) for k, v in arrays.items()}
    streams = makers.labchart(numeric, texts)
    if streams:
        return Signals(path, tuple(streams))
    numeric = makers.name_cells(makers.acqknowledge(numeric, texts), texts)
    numeric, texts = _of_pandas(_by_trial(numeric), dict(texts))
    streams, taken = _own_clocks(numeric, texts)
    numeric = {k: v for k, v in numeric.items() if k not in taken}
    series = _series(path, numeric, texts)
    groups: dict[tuple[int, str, str | None, float | None], list[_Series]] = {}
    for s in series:
        groups.setdefault((len(s.values), s.group, s.time, s.rate), []).append(s)
    for (_, group, time, rate), members in groups.items():
        clock = None if time is None else _seconds(path, time, numeric[time].ravel(), texts)
        values = np.concatenate([m.values for m in members], axis=1, dtype=float)
        names, units = [n for m in members for n in m.labels], [u for m in members for u in m.units]
        name = group or (members[0].name if len(members) == 1 else "data")
        streams.append(Stream(name, unique(names), tuple(units), values, clock, rate))
    if not streams:
        raise PitlError(_nothing(path, numeric, texts, unread))
    names = unique(s.name for s in streams)
    notes = tuple(f"{path.name}: {u}" for u in unread[:5])
    return Signals(path, tuple(replace(s, name=n) for n, s in zip(names, streams, strict=True)), notes)


def _nothing(path: Path, numeric: Mapping[str, np.ndarray], texts: Iterable[str], unread: Sequence[str]) -> str:
    if unread:
        return f"{path}: {unread[0]}."
    found = [f"{k} {np.shape(v)}" for k, v in list(numeric.items())[:8]] + [f"{k} (text)" for k in list(texts)[:4]]
    return (
        f"{path}: no array of samples by channels was found in it (found: {', '.join(found) or 'no numbers'}); save "
        "the EMG as a matrix (samples x channels) with a vector 'time' or a number 'fs'."
    )


def _series(path: Path, numeric: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]) -> list[_Series]:
    times = {k: v for k, v in numeric.items() if _is(k, _TIME) and v.ndim == 1 and len(v) >= _FEWEST}
    out = []
    long = [_group(k) for k, v in numeric.items() if k not in times and v.size >= _FEWEST]
    for name, values in numeric.items():
        if name in times or values.ndim not in (1, 2) or max(values.shape) < _FEWEST or _is_rate(name, values):
            continue
        values = values if values.ndim == 2 else values[:, None]
        if _lies_across(name, values, times, texts):
            values = values.T
        if values.shape[1] > COLUMNS:
            raise PitlError(f"{path}: {name} has shape {values.shape}, expected samples by channels.")
        if len(values) < _FEWEST:
            continue
        count = values.shape[1]
        clock = _nearest(name, [t for t in times if len(times[t]) == len(values)])
        units = _units(name, count, texts, long.count(_group(name)) == 1)
        labels = _labels(name, count, texts)
        units = [u or known_unit(unit_in(n)[1]) for u, n in zip(units, labels, strict=True)]
        out.append(_Series(name, values, labels, units, clock))
    rates = {k: float(v.ravel()[0]) for k, v in numeric.items() if _is_rate(k, v)}
    return _by_duration(_with_rates(out, rates), rates)


def _by_duration(series: list[_Series], rates: Mapping[str, float]) -> list[_Series]:
    """What no rate is named after takes the one that nothing else does, if it then lasts as long as the rest."""
    left = [r for r in rates.values() if r not in {s.rate for s in series}]
    known = {round(len(s.values) / s.rate, 1) for s in series if s.rate}
    if len(left) != 1 or len(known) != 1:
        return series
    lasts = known.pop()
    fits = [s.rate is None and s.time is None and abs(len(s.values) / left[0] - lasts) < 0.02 * lasts for s in series]
    return [s._replace(rate=left[0]) if fit else s for s, fit in zip(series, fits, strict=True)]


def _lies_across(
    name: str, values: np.ndarray, times: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]
) -> bool:
    """Whether channels are in rows: a clock decides, then names, then that recordings are longer than wide."""
    lengths = {len(v) for k, v in times.items() if _scope(_group(k), name)} or {len(v) for v in times.values()}
    rows, columns = values.shape
    if rows in lengths or columns in lengths:
        return rows not in lengths
    counts = {len(t) for k, t in texts.items() if _is(k, _LABELS) and _scope(_group(k), name)} - {1}
    if (rows in counts) != (columns in counts):
        return rows in counts
    return columns > 4 * rows


def _is_rate(name: str, values: np.ndarray) -> bool:
    return _is(name, _RATE) and values.size == 1 and bool(np.isfinite(values).all()) and float(values.ravel()[0]) > 0


def _with_rates(series: list[_Series], rates: Mapping[str, float]) -> list[_Series]:
    out = list(series)
    plain: dict[str, list[int]] = {}
    for i, s in enumerate(series):
        best = _nearest(s.name, list(rates))
        if best is None:
            continue
        if _about(best) or _group(best) == s.name:
            out[i] = s._replace(rate=rates[best])
        else:
            plain.setdefault(best, []).append(i)
    for rate, members in plain.items():
        longest = max((series[i] for i in members), key=lambda s: len(s.values))
        kind = _last(longest.name)
        length = {s.group: len(s.values) for s in (series[i] for i in members) if _last(s.name) == kind}
        for i in members:
            if len(series[i].values) == length.get(series[i].group, len(longest.values)):
                out[i] = series[i]._replace(rate=rates[rate])
    return out


def _nearest(name: str, candidates: Sequence[str]) -> str | None:
    """Which of several clocks or rates is meant for an array: its own, one named after it, then the nearest around."""
    words = _words(_last(name)) | {w.removesuffix("s") for w in _words(_group(name))}
    fitting = [c for c in candidates if _scope(_group(c), name) and (_about(c) <= words or _of_cameras(c, name))]
    if not fitting and len(candidates) == 1 and not _about(candidates[0]) and "/" in candidates[0]:
        return candidates[0] if _is(candidates[0], _TIME) else None
    return max(fitting, key=lambda c: (len(_group(c)), len(_about(c))), default=None)


def _of_cameras(rate: str, name: str) -> bool:
    """Whether a rate is that of the points that an array of angles was computed from."""
    return bool(_words(_last(rate)) & _OF_POINTS and _words(name) & _FROM_POINTS)


def _scope(group: str, name: str) -> bool:
    return not group or name == group or name.startswith(f"{group}/")


def _own_clocks(numeric: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]) -> tuple[list[Stream], set[str]]:
    """Channels with a clock each, as Delsys exports them: `Time` and `Data` of one shape, `Fs` and `Channels` (K,).

    Shorter channels are padded with zeros at the end. Channels of one rate and length become one stream.
    """
    streams, taken = [], set()
    for clock, time in numeric.items():
        if not _is(clock, _TIME) or time.ndim != 2:
            continue
        for name, values in numeric.items():
            if name == clock or values.shape != time.shape or _group(name) != _group(clock) or _is(name, _TIME):
                continue
            across = time.shape[1] > time.shape[0]
            times, data = (time if across else time.T).astype(float), (values if across else values.T).astype(float)
            each = next((v.ravel() for k, v in numeric.items() if _is(k, _RATE) and v.size == len(times)), None)
            labels, units = _labels(name, len(times), texts), _units(name, len(times), texts)
            taken |= {name, clock, *(k for k, v in numeric.items() if _is(k, _RATE) and v.size == len(times))}
            groups: dict[tuple[int, bytes], list[int]] = {}
            for k, length in enumerate(_lengths(times, data)):
                row = times[k]
                if length >= _FEWEST:
                    groups.setdefault((length, row[:length].tobytes()), []).append(k)
            for (length, _), members in groups.items():
                rate = float(each[members[0]]) if each is not None else None
                streams.append(
                    Stream(
                        f"{name} {rate:g} Hz" if rate else name, unique(labels[k] for k in members),
                        tuple(units[k] for k in members), data[members, :length].T, times[members[0], :length], rate,
                    )
                )  # fmt: skip
    return streams, taken


def _lengths(times: np.ndarray, data: np.ndarray) -> list[int]:
    """Samples of each channel without the padding; the clock stands still there, or runs on over zeros."""
    rising = [np.flatnonzero(~(np.diff(row) > 0)) for row in times]
    lengths = [int(stop[0]) + 1 if len(stop) else times.shape[1] for stop in rising]
    end = min(times[k, n - 1] for k, n in enumerate(lengths))
    for k, n in enumerate(lengths):
        filled = np.flatnonzero(data[k, :n])
        common = int(np.searchsorted(times[k, :n], end, side="right"))
        # a channel may well end with a few zeros of its own
        lengths[k] = max(int(filled[-1]) + 1 if len(filled) else 0, common - 1)
    return lengths


def _of_pandas(
    numeric: dict[str, np.ndarray], texts: dict[str, list[str]]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """What `DataFrame.to_hdf` writes: `axis1` is the index, `block0_values` the numbers, `block0_items` their names."""
    for name in [k for k in numeric if re.fullmatch(r"block\d+_values", _last(k))]:
        items = texts.pop(f"{name.removesuffix('values')}items", None)
        if items is not None and len(items) in numeric[name].shape:
            texts[f"{name}/labels"] = items
        group = f"{_group(name)}/" if _group(name) else ""
        texts.pop(f"{group}axis0", None)
        numeric.pop(f"{group}axis1", None)
    return numeric, texts


def _by_trial(numeric: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cells of trials side by side, `emg/1`, `emg/2`, `angle/1`, ..., by trial: `1/emg`, `1/angle`, ..."""
    cells: dict[str, list[str]] = {}
    for name, values in numeric.items():
        if _last(name).isdigit() and values.size >= _FEWEST:
            cells.setdefault(_group(name), []).append(name)
    # a cell of vectors may as well be one for each channel
    tables = {len(v) for v in cells.values() if len(v) > 1 and all(numeric[n].ndim == 2 for n in v)}
    beside = {b: v for b, v in cells.items() if len(v) in tables}
    if len(beside) < 2:
        return numeric
    moved = {n: "/".join(w for w in (_group(b), _last(n), _last(b)) if w) for b, v in beside.items() for n in v}
    return {moved.get(k, k): v for k, v in numeric.items()}


def _seconds(path: Path, name: str, values: np.ndarray, texts: Mapping[str, list[str]]) -> np.ndarray:
    words = _words(_last(name))
    stated = known_unit(_units(name, 1, texts)[0]) or next((w for w in ("ms", "us", "min") if w in words), "")
    if stated not in _TIME_UNITS:
        known = ", ".join(u for u in _TIME_UNITS if u)
        raise PitlError(f"{path}: {name} is in {stated!r}, which is no known unit of time ({known}); correct it.")
    return values.astype(float) * _TIME_UNITS[stated]


def _labels(name: str, count: int, texts: Mapping[str, list[str]]) -> list[str]:
    own = _last(name)
    fitting = [k for k, t in texts.items() if _is(k, _LABELS) and len(t) == count and (count > 1 or _group(k) == name)]
    best = _nearest(name, fitting)
    if best is not None and (_group(best) in (name, _group(name)) or _about(best)):
        return [t.strip() for t in texts[best]]
    return [own] if count == 1 else [f"{own}_{k}" for k in range(1, count + 1)]


def _units(name: str, count: int, texts: Mapping[str, list[str]], alone: bool = False) -> list[str]:
    fitting = [k for k, t in texts.items() if _is(k, _UNITS) and len(t) in (1, count)]
    beside = [k for k in fitting if _group(k) == _group(name) and _about(k) <= _words(_last(name))]
    # a unit that names nothing is only meant for an array beside it if there is one for each column, or nothing else
    best = [k for k in fitting if _group(k) == name] + [
        k for k in beside if _about(k) or len(texts[k]) == count > 1 or (alone and _group(name))
    ]
    stated = texts[best[0]] if best else [""]
    return [known_unit(u) for u in (stated * count if len(stated) == 1 else stated)]


def _is(name: str, kind: set[str]) -> bool:
    """Whether a name says this: `fs`, `Sampling Rate`, `fs_angle`, `emg_labels`."""
    last = _last(name)
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", last).lower())
    joined = "".join(w for w in words if w != "hz")
    return (
        joined in kind
        or bool(kind & set(words))
        or bool(kind & {a + b for a, b in zip(words, words[1:], strict=False)})
    )


def _about(name: str) -> frozenset[str]:
    """The words of a name that say what it belongs to: `angle` in `fs_angle`."""
    said = _TIME | _RATE | _LABELS | _UNITS | {"s", "ms", "us", "min", "hz", "sampling", "sample", "channel", "frame"}
    return frozenset(_words(_last(name)) - said)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()))


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _group(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else ""
