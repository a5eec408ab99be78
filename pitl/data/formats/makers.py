"""Layouts of MAT files that makers of recorders write, told by the names of their arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from pitl.data.formats.signals import SECONDS, Stream, known_unit, unique

_LABCHART = {"data", "datastart", "dataend", "samplerate"}


def labchart(numeric: Mapping[str, np.ndarray], texts: Mapping[str, Sequence[str]]) -> list[Stream]:
    """LabChart: all channels and blocks one behind the other in `data`, with begins, ends (from 1) and rates of each.

    Channels of one block, rate and length are one stream.
    """
    titles = [t.strip() for t in texts.get("titles", [])]
    if not numeric.keys() >= _LABCHART or not titles:
        return []
    data, bounds = numeric["data"].ravel(), [numeric[k].astype(float) for k in ("datastart", "dataend")]
    if any(b.size % len(titles) or not np.isfinite(b).all() for b in bounds) or bounds[0].size != bounds[1].size:
        return []
    begins, ends = (np.clip(b, -1, 2**40).astype(int).reshape(len(titles), -1) for b in bounds)
    rates = np.broadcast_to(_each(numeric["samplerate"], begins.shape), begins.shape)
    unit_texts = texts.get("unittext", [])
    which = np.nan_to_num(_each(numeric.get("unittextmap", np.zeros(1)), begins.shape))
    which = np.broadcast_to(np.clip(which, 0, 2**20), begins.shape).astype(int)
    streams = []
    for block in range(begins.shape[1]):
        groups: dict[tuple[float, int], list[int]] = {}
        for c in range(len(titles)):
            begin, end = begins[c, block], ends[c, block]
            if 0 < begin <= end <= len(data) and np.isfinite(rates[c, block]) and rates[c, block] > 0:
                groups.setdefault((float(rates[c, block]), end - begin + 1), []).append(c)
        for (rate, length), members in groups.items():
            starts = [begins[c, block] - 1 for c in members]
            units = [
                known_unit(unit_texts[int(w) - 1]) if 0 < (w := which[c, block]) <= len(unit_texts) else ""
                for c in members
            ]
            name = f"block {block + 1}" if begins.shape[1] > 1 else "data"
            name = name if len(groups) == 1 else f"{name}/{rate:g} Hz"
            columns = np.stack([data[s : s + length] for s in starts], axis=1).astype(float)
            streams.append(Stream(name, unique(titles[c] for c in members), tuple(units), columns, None, rate))
    return streams


def acqknowledge(numeric: dict[str, np.ndarray], texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """AcqKnowledge says the interval between samples, `isi` in `isi_units`, where others say a rate."""
    step, unit = numeric.get("isi"), known_unit((texts.get("isi_units") or [""])[0])
    if step is None or step.size != 1 or not step > 0 or unit not in SECONDS:
        return numeric
    rate = np.asarray(1 / (float(step) * SECONDS[unit]))
    return {k: v for k, v in numeric.items() if k != "isi"} | {"samplingrate": rate}


def _each(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value for every channel and block, from one for all, one for every channel, or all."""
    values = np.asarray(values, float)
    if values.size == 0:
        return np.full((1, 1), np.nan)
    if values.size == np.prod(shape):
        return values.reshape(shape)
    return values.reshape(-1, 1) if values.size == shape[0] else np.full((1, 1), values.ravel()[0])


def name_cells(numeric: Mapping[str, np.ndarray], texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """A cell with one vector for each channel, `Data/1`, `Data/2`, ..., under the channels' names."""
    cells: dict[str, list[str]] = {}
    for name, values in numeric.items():
        group, _, last = name.rpartition("/")
        if group and last.isascii() and last.isdigit() and values.ndim == 1 and values.size > len(last):
            cells.setdefault(group, []).append(name)
    out = dict(numeric)
    for group, members in cells.items():
        above = group.rpartition("/")[0]
        names = [t for k, t in texts.items() if k.rpartition("/")[0] == above and len(t) == len(members)]
        if len(members) < 2 or len(names) != 1 or len(set(names[0])) < len(members):
            continue
        numbers = sorted(members, key=lambda m: int(m.rpartition("/")[2][:9]))
        new = {m: f"{group}/{n.replace('/', ' ')}" for m, n in zip(numbers, names[0], strict=True)}
        out = {new.get(k, k): v for k, v in out.items()}
    return out
