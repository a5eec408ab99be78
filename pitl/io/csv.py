"""Your own recordings: a folder with one CSV file per trial and one header, `recordings.toml`."""

import io
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pitl.errors import PitlError
from pitl.io.header import NAME as HEADER
from pitl.io.header import Angle, Header, Trial, distinct, nearest, read_header, read_text
from pitl.outputs import atomic_write_bytes, atomic_write_text
from pitl.recording import Cohort, Recording, Subject

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6}
_RADIANS = {"rad": 1.0, "deg": np.pi / 180}
_TIME_NAMES = ("time", "time_s", "t")


def read_cohort(folder: Path) -> Cohort:
    """Reads the trials that the folder's `recordings.toml` lists.

    Raises:
        PitlError: if the header or a file is not as it should be; says which, where, and what to do.
    """
    folder = Path(folder)
    header = read_header(folder / HEADER)
    recordings: dict[str, list[Recording]] = {}
    for trial in header.trial:
        recordings.setdefault(trial.subject, []).append(_read_trial(folder, header, trial))
    people = {s.name: s for s in header.subject}
    subjects = []
    for name, trials in recordings.items():
        p = people.get(name)
        mvc = None if p is None or p.mvc is None else np.array(p.mvc) * _VOLTS[header.emg.unit]
        size = (None, None) if p is None else (p.height_m, p.mass_kg)
        subjects.append(Subject(name, tuple(trials), *size, mvc))
    return Cohort(header.name or folder.resolve().name, header.joint, tuple(subjects), tuple(header.notes))


class _Table(NamedTuple):
    path: Path
    frame: pd.DataFrame

    def take(self, columns: Sequence[str]) -> np.ndarray:
        return np.stack([self.column(c) for c in columns], axis=1)

    def column(self, name: str) -> np.ndarray:
        if name not in self.frame:
            raise PitlError(
                f"{self.path}: has no column {name!r}{nearest(name, map(str, self.frame.columns))}; "
                f"correct the file's first line or {HEADER}."
            )
        values = self.frame[name]
        if not (pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)):
            numbers = pd.Series(pd.to_numeric(values.astype(str).where(values.notna()), errors="coerce"))
            wrong = np.asarray(numbers.isna() & values.notna())
            row = int(np.argmax(wrong)) if wrong.any() else 0
            raise PitlError(
                f"{self.path}, line {row + 2}, column {name!r}: found {str(values.iloc[row])!r:.40}, "
                "expected a number; correct it, or leave the cell empty where the sample is missing."
            )
        return values.to_numpy(dtype=float)


def _read_table(path: Path, decimal: str) -> _Table:
    text = read_text(path, f"correct the file name in {HEADER} or add the file").rstrip()
    first, _, body = text.partition("\n")
    if not body.strip():
        what = "is empty" if not text else "has a first line but no samples"
        raise PitlError(f"{path}: {what}; expected column names and then one line per sample.")
    separator = max("\t;,", key=first.count)
    names = [c.strip().strip('"') for c in first.split(separator)]
    distinct(path, "column", names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(body), sep=separator, names=names, header=None, index_col=False, decimal=decimal,
                skip_blank_lines=False, skipinitialspace=True, quoting=3, low_memory=False,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError, OverflowError) as e:
        wide = (i for i, line in enumerate(body.split("\n"), 2) if line.count(separator) >= len(names))
        line = next(wide, None)
        where = f"line {line} has more cells than the first line names" if line else f"cannot be read as a table: {e}"
        raise PitlError(
            f"{path}: {where}; expected {len(names)} cells separated by {separator!r} in every line."
        ) from e
    return _Table(path, frame)


def _read_trial(folder: Path, header: Header, trial: Trial) -> Recording:
    path = folder / trial.file
    table = _read_table(path, header.decimal)
    rate = trial.rate_hz or header.rate_hz
    _check_rate(table, header.time, rate)
    a, f, t = (None if k in trial.lacks else getattr(header, k) for k in ("angle", "force", "torque"))
    parts = {"emg": table.take(header.emg.columns) * _VOLTS[header.emg.unit]}
    if a:
        parts["angle"] = table.take(a.columns) * _RADIANS[a.unit]
        _check_turn(path, a, parts["angle"])
    if f:
        parts["force"] = table.take(f.columns)
    if t:
        parts["torque"] = table.take(t.columns)
    good = np.all([np.isfinite(v).all(axis=1) for v in parts.values()], axis=0)
    notes = list(trial.notes)
    if not good.any():
        empty = [c for p in (header.emg, a, f, t) if p for c in p.columns if not np.isfinite(table.column(c)).any()]
        which = f"column {empty[0]!r} is empty throughout" if empty else "no line has a number in every column"
        raise PitlError(f"{path}: {which}; remove it from {HEADER}, or say lacks = ['force'] for this trial.")
    if not good.all():
        notes.append(
            f"{path.name}: {int((~good).sum())} of {len(good)} samples have an empty or infinite cell, the first in "
            f"line {int(np.argmin(good)) + 2}; they are marked invalid and filled."
        )
        parts = {k: v if np.isfinite(v).all() else _filled(v, hold=k != "emg") for k, v in parts.items()}
    mask = None if good.all() else good
    if header.valid is not None and header.valid in table.frame:
        declared = table.column(header.valid)
        mask = good & np.isfinite(declared) & (declared != 0)
    e, source = header.emg, trial.force_source or (f.source if f else None)
    dofs = header.angle.dofs if header.angle else ((header.torque.dofs or []) if header.torque else [])
    return Recording(
        trial.subject, trial.task, trial.trial, trial.posture, rate, parts["emg"], tuple(e.channels or e.columns),
        angle=parts.get("angle"), dofs=tuple(dofs), force=parts.get("force"), muscles=tuple(f.muscles) if f else (),
        force_source=source or (path.name if f else None), torque=parts.get("torque"),
        valid=mask, source=str(path), notes=tuple(notes),
    )  # fmt: skip


def _check_rate(table: _Table, time: str | None, rate: float) -> None:
    name = time or next((c for c in map(str, table.frame.columns) if c.lower() in _TIME_NAMES), None)
    if name is None:
        return
    times = table.column(name)
    times = times[np.isfinite(times)]
    found = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
    if not abs(found / rate - 1) < 0.02:
        raise PitlError(
            f"{table.path}: column {name!r} [s] advances at {found:.6g} samples per second, but {HEADER} says "
            f"rate_hz = {rate:g}; correct whichever is wrong (time has to be in seconds)."
        )


def _check_turn(path: Path, angle: Angle, values: np.ndarray) -> None:
    size = np.where(np.isfinite(values), np.abs(values), 0.0)
    if size.max() > 2 * np.pi:
        row, column = np.unravel_index(int(size.argmax()), size.shape)
        what = (
            "in degrees: say unit = 'deg' in [angle]" if angle.unit == "rad" else "not an angle in degrees: correct it"
        )
        raise PitlError(
            f"{path}, line {row + 2}, column {angle.columns[column]!r}: the angle is "
            f"{values[row, column] / _RADIANS[angle.unit]:.4g} {angle.unit}, expected less than a full turn; "
            f"it is probably {what}."
        )


def _filled(values: np.ndarray, hold: bool) -> np.ndarray:
    out, at = values.copy(), np.arange(len(values))
    for j in range(values.shape[1]):
        ok = np.isfinite(values[:, j])
        out[~ok, j] = np.interp(at[~ok], at[ok], values[ok, j]) if hold and ok.any() else 0.0
    return out


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Writes what `read_cohort` reads back, to seven digits; hidden truth is left out.

    Raises:
        PitlError: if the recordings differ in their channels, coordinates or muscles, or cannot be written.
    """
    recordings = [r for s in cohort.subjects for r in s.recordings]
    names = {"emg": recordings[0].channels}
    for key, attribute in (("angle", "dofs"), ("torque", "dofs"), ("force", "muscles")):
        having = [r for r in recordings if getattr(r, key) is not None]
        if having:
            names[key] = getattr(having[0], attribute)
        for r in having:
            if getattr(r, attribute) != names[key]:
                raise PitlError(
                    f"{r.subject}/{r.trial} has {attribute} {getattr(r, attribute)}, {having[0].subject}/"
                    f"{having[0].trial} has {names[key]}; one folder holds recordings with the same {attribute} only."
                )
    files: set[str] = set()
    blocks: list[tuple[str, dict[str, Any]]] = []
    for r in recordings:
        file = re.sub(r"[^\w.-]", "_", f"{r.subject}_{r.trial}")
        while file.lower() in files:
            file += "_"
        files.add(file.lower())
        atomic_write_bytes(Path(folder) / f"{file}.csv", _table(r, names))
        lacks = [k for k in names if getattr(r, k) is None]
        blocks.append(("[[trial]]", {
            "file": f"{file}.csv", "subject": r.subject, "task": r.task, "trial": r.trial, "posture": r.posture,
            "rate_hz": r.rate_hz if r.rate_hz != recordings[0].rate_hz else None, "lacks": lacks or None,
            "force_source": r.force_source, "notes": list(r.notes) or None,
        }))  # fmt: skip
    columns = {k: [f"{k}_{n}" for n in v] for k, v in names.items()}
    top: dict[str, Any] = {
        "name": cohort.name, "joint": cohort.joint, "rate_hz": recordings[0].rate_hz, "valid": "valid",
        "notes": list(cohort.notes) or None,
    }  # fmt: skip
    sections: list[tuple[str, dict[str, Any]]] = [
        ("[emg]", {"columns": columns["emg"], "channels": list(names["emg"]), "unit": "V"})
    ]
    extra = {"angle": ("dofs", {"unit": "rad"}), "force": ("muscles", {}), "torque": ("dofs", {})}
    for key, (attribute, more) in extra.items():
        if key in names:
            sections.append((f"[{key}]", {"columns": columns[key], attribute: list(names[key]), **more}))
    for s in cohort.subjects:
        mvc = None if s.mvc is None else [float(v) for v in s.mvc]
        blocks.append(("[[subject]]", {"name": s.name, "height_m": s.height_m, "mass_kg": s.mass_kg, "mvc": mvc}))
    text = "\n\n".join(_block(*b) for b in [("", top), *sections, *blocks]).lstrip()
    atomic_write_text(Path(folder) / HEADER, text + "\n")


def _table(r: Recording, names: dict[str, tuple[str, ...]]) -> bytes:
    parts = [
        (f"{k}_{n}", getattr(r, k)[:, i]) for k in names if getattr(r, k) is not None for i, n in enumerate(names[k])
    ]
    if r.valid is not None:
        parts.append(("valid", r.valid))
    for name, _ in parts:
        if set(name) & set(',;\t\n\r"') or name != name.strip():
            raise PitlError(f"the name {name!r} cannot head a column of a CSV file; rename it.")
    table = np.stack([v for _, v in parts], axis=1).astype(float)
    line = ",".join(["%.7g"] * len(parts)) + "\n"
    # one format for many lines: several times faster than line by line
    chunks = [table[i : i + 1000] for i in range(0, len(table), 1000)]
    body = "".join((line * len(c)) % tuple(c.ravel().tolist()) for c in chunks)
    return (",".join(n for n, _ in parts) + "\n" + body).encode()


def _block(title: str, values: dict[str, Any]) -> str:
    lines = [title] + [f"{k} = {_toml(v)}" for k, v in values.items() if v is not None]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(float(value))
