"""One trial of a cohort: files on clocks of their own become a `Recording` on one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import signal

from pitl.data import alignment, swing
from pitl.data.alignment import Regular
from pitl.data.cohort_file import NAME, PARTS, CohortFile, TrialEntry
from pitl.data.formats.signals import EMG_UNITS, RADIANS, VOLTS, Column, Signals, Stream, column, group_of, nearest
from pitl.data.recording import Load, Recording
from pitl.data.walk import within
from pitl.errors import PitlError

_RATE_TOLERANCE = 0.02
_WORTH_SAYING_S = 0.05
_OTHER_UNITS = {*EMG_UNITS, *RADIANS, "N", "N m", "m", "mm", "g", "s", "ms"}
_KEYS = {"emg": "channels", "angle": "coordinates", "force": "muscles", "torque": "coordinates"}
Read = Callable[[Path], Signals]


class _Part(NamedTuple):
    """Columns of one part (emg, angle, ...) on the regular clock of the stream they came from."""

    regular: Regular
    places: tuple[int, ...]  # among the part's names


def read_trial(folder: Path, header: CohortFile, trial: TrialEntry, read: Read) -> Recording:
    """Reads a trial's files and puts them on the clock of the EMG.

    Raises:
        PitlError: if a file or column is missing, is not what it should be, or nothing usable is left.
    """
    if trial.group:
        read = partial(_of_group, read, trial.group)
    shift = trial.emg_offset_s
    if shift != "estimate":
        return _assemble(folder, header, trial, read, float(shift))
    first = _assemble(folder, header, trial, read, 0.0)
    result = None
    if first.angle is not None:
        result = alignment.estimate_offset(first.emg, first.angle, first.rate_hz, first.valid, first.emg_kind)
    if result is None or not result.certain:
        raise PitlError(
            f"{first.source} ({trial.subject}/{trial.trial}): the offset between EMG and motion cannot be told from "
            f"the recording; give emg_offset_s a number of seconds in {NAME} (0 leaves the clocks as they are)."
        )
    return _assemble(folder, header, trial, read, result.seconds, f"estimated, correlation {result.correlation:.2f}")


def _of_group(read: Read, group: str, path: Path) -> Signals:
    """A file's streams of one group; all of them if it has no groups of that name, as a file for the angles may."""
    signals = read(path)
    own = group_of(signals, group)
    if own.streams or not any(s.columns for s in signals.streams):
        return own
    if any("/" in s.name for s in signals.streams):
        raise PitlError(
            f"{path}: has no group {group!r}{nearest(group, [s.name for s in signals.streams])}; correct it."
        )
    return signals


def _assemble(
    folder: Path, header: CohortFile, trial: TrialEntry, read: Read, shift_s: float, how: str = "as asked"
) -> Recording:
    notes = list(trial.notes)
    names = {k: n for k in PARTS if (n := _names(header, k)) and trial.path(k)}
    parts = {k: _part(folder, header, trial, k, read, notes) for k in names}
    if shift_s:
        parts["emg"] = [p._replace(regular=_shifted(p.regular, shift_s)) for p in parts["emg"]]
        notes.append(f"the EMG's clock was put {shift_s:+.3f} s later ({how})")
    master = parts["emg"][0].regular
    rate = master.rate_hz
    first, last = _common(folder, trial, parts)
    # whole samples of the EMG, so that it is never interpolated
    skip = max(0, int(np.ceil((first - master.start_s) * rate - 1e-3)))
    count = min(len(master.values), int(np.floor((last - master.start_s) * rate + 1e-3)) + 1) - skip
    cut = len(master.values) - count
    if cut > _WORTH_SAYING_S * rate:
        notes.append(f"{cut / rate:.2f} s of EMG have no other measurements beside them and were left out")
    start = master.start_s + skip / rate
    arrays: dict[str, np.ndarray] = {}
    good = np.ones(max(count, 0), bool)
    for k, result in parts.items():
        arrays[k] = np.zeros((count, len(names[k])))
        for p in result:
            values, near = alignment.onto(p.regular, start, rate, count)
            arrays[k][:, p.places] = values
            good &= near
    arrays["emg"][~good] = 0.0
    source = within(folder, str(trial.path("emg")), header.outside)
    good &= _declared(folder, header, trial, read, start, rate, count)
    if not good.any():
        raise PitlError(
            f"{source}: there is no instant at which every column has a number; correct the files, or say "
            "lacks = ['force'] for this trial."
        )
    if header.emg.notch_hz and header.emg.kind != "raw":
        raise PitlError(f"{source}: notch_hz is for raw EMG, and kind = {header.emg.kind!r}; remove one of them.")
    if header.emg.notch_hz:
        arrays["emg"] = _notched(arrays["emg"], rate, header.emg.notch_hz, source)
        notes.append(f"the line at {header.emg.notch_hz:g} Hz was taken out; live EMG needs the same filter")
    f = header.force
    dofs = header.angle or header.torque
    if "torque" in arrays and header.angle:  # NaN where a coordinate's torque is not known
        known, moved = list(names["torque"]), list(header.angle.coordinates)
        whole = np.full((count, len(moved)), np.nan)
        whole[:, [moved.index(c) for c in known]] = arrays["torque"]
        arrays["torque"] = whole
    if trial.swing:
        where = f"{source} ({trial.subject}/{trial.trial})"
        swings = trial.swing
        if swings == "find":
            if "angle" not in arrays:
                raise PitlError(f"{where}: swings are found from angles; add them, or mark the swings.")
            joint = joint_of(folder, header)
            swings = swing.find(joint, trial.posture, tuple(names["angle"]), arrays["angle"], rate, where)
        arrays["torque"], told = swing.keep(arrays["torque"], start + np.arange(count) / rate, swings, where)
        notes.append(told)
    labels = None
    if f and "force" in arrays:
        labels = trial.force_source or f.source or Path(str(trial.path("force"))).name
    return Recording(
        trial.subject, trial.task, trial.trial, trial.posture, rate, arrays["emg"], tuple(header.emg.channels),
        angle=arrays.get("angle"), dofs=tuple(dofs.coordinates) if dofs else (), force=arrays.get("force"),
        muscles=tuple(f.muscles) if f else (), force_source=labels,
        load=None if trial.load is None else Load(**trial.load.model_dump()),
        torque=None if trial.dynamometer else arrays.get("torque"),
        dynamometer=arrays.get("torque") if trial.dynamometer else None,
        valid=None if good.all() else good, source=str(source), notes=tuple(notes), emg_kind=header.emg.kind,
        emg_unit=_emg_unit(header, trial.emg_unit, read(source)),
    )  # fmt: skip


def joint_of(folder: Path, header: CohortFile) -> str:
    """A built-in joint, or a model's folder: beside the recordings, else as it is named."""
    try:
        own = within(folder, header.joint, header.outside)
    except PitlError:
        return header.joint
    return str(own) if own.is_dir() else header.joint


def _names(header: CohortFile, part: str) -> Mapping[str, str]:
    section = getattr(header, part)
    return {} if section is None else getattr(section, _KEYS[part])


def _emg_unit(header: CohortFile, unit: str | None, signals: Signals) -> str:
    """ "V", or "1" where only ratios count."""
    first = column(signals, next(iter(header.emg.channels.values())), f"correct it under [emg] in {NAME}")
    return "V" if (unit or header.emg.unit or first.unit) in VOLTS else "1"


def _part(folder: Path, header: CohortFile, trial: TrialEntry, part: str, read: Read, notes: list[str]) -> list[_Part]:
    signals = read(within(folder, str(trial.path(part)), header.outside))
    notes += [n for n in signals.notes if n not in notes]
    section = getattr(header, part)
    rate, spare = section.rate_hz, None
    if part == "emg":
        rate = trial.rate_hz or rate
    elif trial.path(part) == trial.path("emg"):
        spare = trial.rate_hz or header.emg.rate_hz
    unit = getattr(section, "unit", None)
    if part == "emg":
        unit = trial.emg_unit or unit
    if part == "emg" and unit is None and section.kind == "envelope":
        first = column(signals, next(iter(section.channels.values())), f"correct it under [emg] in {NAME}")
        unit = first.unit or "1"
        if not first.unit:
            notes.append("envelopes without a unit are taken as parts of the maximum")
    return columns_of(signals, part, _names(header, part), unit, rate, notes, spare)


def columns_of(
    signals: Signals, part: str, names: Mapping[str, str], unit: str | None, rate: float | None, notes: list[str],
    spare: float | None = None,
) -> list[_Part]:  # fmt: skip
    """The columns of a part in SI units, on regular clocks, one for each stream.

    Args:
        signals: the file.
        part: `"emg"`, `"angle"`, `"force"` or `"torque"`.
        names: column by what it is.
        unit: as the user says; None if the file does.
        rate: samples per second as the user says, which what the file says must not contradict.
        notes: decisions are added here.
        spare: rate of a stream of which nobody says one.

    Raises:
        PitlError: as `read_trial`.
    """
    where = f"correct it there or under [{part}] in {NAME}"
    result = [column(signals, c, where) for c in names.values()]
    out = []
    for stream in dict.fromkeys(id(c.stream) for c in result):
        places = tuple(i for i, c in enumerate(result) if id(c.stream) == stream)
        own = [result[i] for i in places]
        values = np.stack([_si(signals, c, part, unit) for c in own], axis=1)
        out.append(_Part(_regular(signals, own[0].stream, values, rate or 0.0, notes, spare), places))
    return out


def _si(signals: Signals, c: Column, part: str, unit: str | None) -> np.ndarray:
    name, file_unit = c.stream.columns[c.index], c.unit
    values = np.where(np.isfinite(c.values), c.values, np.nan)
    if not np.isfinite(values).any():
        raise PitlError(
            f"{signals.source}: the column {name!r} is empty throughout; remove it from {NAME}, or say "
            f"lacks = ['{part}'] for this trial."
        )
    if part in ("force", "torque"):
        factors = {"force": {"": 1.0, "N": 1.0, "kN": 1e3}, "torque": {"": 1.0, "N m": 1.0, "N mm": 1e-3, "kN m": 1e3}}
        if file_unit not in factors[part]:
            raise PitlError(
                f"{signals.source}: gives {name!r} in {file_unit!r}, expected {'N' if part == 'force' else 'N m'}; "
                "correct the column, or export it in that unit."
            )
        return factors[part][file_unit] * values
    known = EMG_UNITS if part == "emg" else RADIANS
    if file_unit and unit is not None and unit != file_unit and (file_unit in known or file_unit in _OTHER_UNITS):
        raise PitlError(
            f"{signals.source}: the file gives {name!r} in {file_unit}, {NAME} says unit = '{unit}' under [{part}]; "
            "correct the wrong one, or remove the unit there."
        )
    chosen = unit or file_unit
    if chosen not in known:
        stated = f"gives {name!r} in {file_unit!r}" if file_unit else f"does not say the unit of {name!r}"
        raise PitlError(f"{signals.source}: {stated}; add unit = one of {', '.join(known)} under [{part}] in {NAME}.")
    if part == "angle":
        _turn(signals, c, values, chosen, by_file=unit is None)
    return known[chosen] * values


def _turn(signals: Signals, c: Column, values: np.ndarray, unit: str, by_file: bool) -> None:
    size = np.nan_to_num(np.abs(values)) * RADIANS[unit]
    row = int(size.argmax())
    if size[row] > 2 * np.pi:
        advice = (
            "the file says radians but it is probably in degrees: correct its header (inDegrees=yes in OpenSim's)"
            if unit == "rad" and by_file
            else "it is probably in degrees: say unit = 'deg' under [angle]"
            if unit == "rad"
            else "it is probably not an angle in degrees: correct the column, or its unit under [angle]"
        )
        raise PitlError(
            f"{signals.source}, {c.stream.at(row)}, column {c.stream.columns[c.index]!r}: the angle is "
            f"{values[row]:.4g} {unit}, expected less than a full turn; {advice}."
        )


def _regular(
    signals: Signals, stream: Stream, values: np.ndarray, rate: float, notes: list[str], spare: float | None = None
) -> Regular:
    where = f"{signals.source}" if len(signals.streams) == 1 else f"{signals.source}, stream {stream.name!r}"
    if stream.time_s is not None:
        out = alignment.regular(stream.time_s, values, where)
        if rate and abs(out.rate_hz / rate - 1) > _RATE_TOLERANCE:
            raise PitlError(
                f"{where}: time [s] advances at {out.rate_hz:.6g} samples per second, but {NAME} says rate_hz = "
                f"{rate:g}; correct whichever is wrong (time has to be in seconds), or remove rate_hz."
            )
    else:
        if rate and stream.rate_hz and abs(stream.rate_hz / rate - 1) > _RATE_TOLERANCE:
            raise PitlError(
                f"{where}: says {stream.rate_hz:.6g} samples per second, but {NAME} says rate_hz = {rate:g}; correct "
                "whichever is wrong, or remove rate_hz."
            )
        rate = stream.rate_hz or rate or spare or 0.0
        if not rate:
            first = stream.values[np.isfinite(stream.values[:, 0]), 0]
            rises = len(first) > 2 and bool((np.diff(first) > 0).all())
            clock = f"; {stream.columns[0]!r} rises steadily: if it is the time, call it 'time [s]'" if rises else ""
            raise PitlError(
                f"{where}: has no time column{clock}; say rate_hz = samples per second in {NAME} (under [emg], or for "
                "this trial)."
            )
        out = Regular(0.0, rate, values, np.arange(len(values)), "")
    if not 0.1 <= out.rate_hz <= 1e6:
        raise PitlError(
            f"{where}: has {out.rate_hz:.3g} samples per second, expected 0.1 to 1e6; correct the times or rate_hz."
        )
    if out.note:
        notes.append(f"{Path(where).name}: {out.note}")
    empty = np.asarray(~np.isfinite(values).all(axis=1))
    if empty.any():
        stated = (
            f"{signals.source.name}: {int(empty.sum())} of {len(empty)} samples have an empty or infinite cell, the "
            f"first in {stream.at(int(np.argmax(empty)))}; they are marked invalid"
        )
        if stated not in notes:
            notes.append(stated)
    return out


def _shifted(r: Regular, seconds: float) -> Regular:
    return r._replace(start_s=r.start_s + seconds)


def _common(folder: Path, trial: TrialEntry, parts: Mapping[str, Sequence[_Part]]) -> tuple[float, float]:
    """First and last instant at which every part was recorded."""
    spans = {k: (max(p.regular.start_s for p in v), min(_end(p.regular) for p in v)) for k, v in parts.items() if v}
    first, last = max(s for s, _ in spans.values()), min(e for _, e in spans.values())
    if last <= first:
        told = ", ".join(f"{k} {s:.2f} to {e:.2f} s" for k, (s, e) in spans.items())
        raise PitlError(
            f"{folder / str(trial.path('emg'))} ({trial.subject}/{trial.trial}): the files have no time in common "
            f"({told}); give files of the same trial, or shift the EMG with emg_offset_s in {NAME}."
        )
    return first, last


def _end(r: Regular) -> float:
    return r.start_s + (len(r.values) - 1) / r.rate_hz


def _declared(
    folder: Path, header: CohortFile, trial: TrialEntry, read: Read, start: float, rate: float, count: int
) -> np.ndarray:
    """(count,) False where the file's own column says that samples are unusable."""
    if header.valid is None:
        return np.ones(count, bool)
    signals = read(within(folder, str(trial.path("emg")), header.outside))
    if not any(header.valid in s.columns for s in signals.streams):
        return np.ones(count, bool)
    result = column(signals, header.valid, f"correct valid in {NAME}")
    flags = (np.nan_to_num(result.values) != 0).astype(float)[:, None]
    clock = _regular(signals, result.stream, flags, 0.0, [], trial.rate_hz or header.emg.rate_hz)
    place = np.round((start + np.arange(count) / rate - clock.start_s) * clock.rate_hz).astype(int)
    return np.nan_to_num(clock.values[np.clip(place, 0, len(clock.values) - 1), 0]) > 0


def _notched(emg: np.ndarray, rate: float, line_hz: float, source: Path) -> np.ndarray:
    if line_hz >= 0.45 * rate:
        raise PitlError(f"{source}: notch_hz = {line_hz:g} is too high for {rate:g} samples per second; remove it.")
    # causal, as it would be live; width 2 Hz
    b, a = signal.iirnotch(line_hz, line_hz / 2.0, rate)
    return np.asarray(signal.lfilter(b, a, emg, axis=0))
