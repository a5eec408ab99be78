"""A cohort is a folder with a `cohort.toml`: read, and written so that it is read back."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pitl.data import trial
from pitl.data.cohort_file import NAME, CohortFile, SubjectEntry, TrialEntry
from pitl.data.cohort_file import read as read_header
from pitl.data.formats import registry
from pitl.data.formats.signals import EMG_UNITS, Signals, nearest
from pitl.data.recording import Cohort, MaximumContraction, Recording, Subject
from pitl.data.walk import within
from pitl.errors import PitlError
from pitl.files import atomic_write_text, safe_name


def read_cohort(folder: Path) -> Cohort:
    """Reads the trials that the folder's `cohort.toml` lists; those that cannot be read are left out and named.

    Raises:
        PitlError: if the header is wrong, or no trial can be read.
    """
    folder = Path(folder)
    header = read_header(folder / NAME)
    _fits_model(folder / NAME, header)
    return _listed(folder, header)


def each_person(folder: Path) -> Iterator[tuple[str, Callable[[], Cohort]]]:
    """Names of the people in `cohort.toml`, and how to read the trials of each by themselves.

    Raises:
        PitlError: if the header is wrong; the reading, if none of that person's trials can be read.
    """
    folder = Path(folder)
    header = read_header(folder / NAME)
    _fits_model(folder / NAME, header)
    trials: dict[str, list[TrialEntry]] = {}
    for t in header.trial:
        trials.setdefault(t.subject, []).append(t)
    for name, own in trials.items():
        alone = CohortFile.model_validate({**header.model_dump(), "trial": [t.model_dump() for t in own]})
        yield name, partial(_listed, folder, alone)


def _listed(folder: Path, header: CohortFile) -> Cohort:
    read = lru_cache(maxsize=4)(registry.read)  # one file often holds several parts of a trial
    left_out: list[str] = []
    failures: list[PitlError] = []
    recordings: dict[str, list[Recording]] = {}
    for t in header.trial:
        try:
            recordings.setdefault(t.subject, []).append(trial.read_trial(folder, header, t, read))
        except (PitlError, ValueError, ArithmeticError, LookupError, MemoryError) as e:  # the others are used
            if not isinstance(e, PitlError):
                e = PitlError(f"{folder}: cannot be used ({type(e).__name__}: {str(e)[:120]}); export its files again.")
            failures.append(e)
            left_out.append(f"{t.subject}/{t.trial} was left out: {e}")
    if not any(recordings.values()):
        if len(failures) == 1:
            raise failures[0]
        raise PitlError(f"{folder}: none of {len(failures)} trials can be read; the first: {failures[0]}")
    people = {p.name: p for p in header.subject}
    subjects = tuple(
        _subject(folder, header, people.get(name, SubjectEntry(name=name)), trials, read, left_out)
        for name, trials in recordings.items()
        if trials
    )
    return Cohort(
        header.name or folder.resolve().name,
        trial.joint_of(folder, header),
        subjects,
        tuple(header.notes),
        tuple(left_out),
    )


def _fits_model(path: Path, header: CohortFile) -> None:
    """Names of coordinates and postures, where the joint is a built-in one."""
    from pitl.mechanics.joints import BUILTIN

    if header.joint not in BUILTIN:
        return
    known = BUILTIN[header.joint]
    sections = [("angle", header.angle), ("torque", header.torque)]
    wanted = [(f"{k}.coordinates", s.coordinates, known["dofs"]) for k, s in sections if s]
    if header.force:
        wanted.append(("force.muscles", header.force.muscles, known["muscles"]))
    for key, names, of_model in wanted:
        if list(names) != list(of_model):
            raise PitlError(
                f"{path}: [{key}] names {', '.join(names)}; the joint '{header.joint}' has {', '.join(of_model)}, in "
                "this order: rename them."
            )
    for k, t in enumerate(header.trial, 1):
        if t.posture not in known["postures"]:
            raise PitlError(
                f"{path}: 'trial.{k}.posture' is {t.posture!r}{nearest(t.posture, known['postures'])}; the joint "
                f"'{header.joint}' has {', '.join(known['postures'])}."
            )


def _subject(
    folder: Path,
    header: CohortFile,
    person: SubjectEntry,
    trials: list[Recording],
    read: trial.Read,
    left_out: list[str],
) -> Subject:
    mvc = None
    if person.mvc is not None:
        mvc = np.array([person.mvc[c] for c in header.emg.channels]) * EMG_UNITS[header.emg.unit or "V"]
    contractions: list[MaximumContraction] = []
    for file in person.mvc_files:
        try:
            contractions += _contractions(read(within(folder, file, header.outside)), header)
        except PitlError as e:
            left_out.append(f"{person.name}: a maximum voluntary contraction was left out: {e}")
    model = within(folder, person.model, header.outside) if person.model else None
    if model is not None and not model.exists():
        raise PitlError(f"{folder / NAME}: model of subject {person.name!r}, {model}, does not exist; correct it.")
    ceinms = within(folder, person.ceinms, header.outside) if person.ceinms else None
    if ceinms is not None and not ceinms.is_file():
        raise PitlError(f"{folder / NAME}: ceinms of subject {person.name!r}, {ceinms}, does not exist; correct it.")
    return Subject(
        person.name,
        tuple(trials),
        person.height_m,
        person.mass_kg,
        mvc,
        sex=person.sex,
        model=model,
        contractions=tuple(contractions),
        ceinms=ceinms,
    )


def _contractions(signals: Signals, header: CohortFile) -> list[MaximumContraction]:
    e = header.emg
    parts = trial.columns_of(signals, "emg", e.channels, e.unit, e.rate_hz, [])
    return [MaximumContraction(np.nan_to_num(p.regular.values), p.regular.rate_hz, tuple(p.places)) for p in parts]


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Writes one CSV file per trial and a `cohort.toml`, which `read_cohort` reads back to seven digits.

    Hidden truth is left out.

    Raises:
        PitlError: if the recordings differ in their channels, coordinates or muscles, or cannot be written.
    """
    from pitl.data.formats import csv  # here, as it needs pandas, which training does not

    efforts = {(r.subject, r.trial) for s in cohort.subjects for r in s.recordings if r.dynamometer is not None}
    recordings = [
        r if r.dynamometer is None else dataclasses.replace(r, torque=r.dynamometer, dynamometer=None)
        for s in cohort.subjects
        for r in s.recordings
    ]
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
    columns_of = dict(names)
    if "torque" in names:  # of coordinates for which anybody knows it
        known = [r.torque for r in recordings if r.torque is not None]
        some = [bool(any(np.isfinite(t[:, i]).any() for t in known)) for i in range(len(names["torque"]))]
        names["torque"] = tuple(n for n, has in zip(names["torque"], some, strict=True) if has)
    folder = Path(folder)
    files: set[str] = set()
    blocks: list[tuple[str, dict[str, Any]]] = []
    for r in recordings:
        file = safe_name(f"{r.subject}_{r.trial}")
        while file.lower() in files:
            file += "_"
        files.add(file.lower())
        own = [k for k in names if getattr(r, k) is not None]
        places = [(k, i) for k in own for i, n in enumerate(columns_of[k]) if n in names[k]]
        heads = [f"{k}_{columns_of[k][i]}" for k, i in places]
        columns = [getattr(r, k)[:, i] for k, i in places]
        spans = _known_spans(r)
        if spans:  # a cell without a number would make the whole sample unusable
            columns = [np.nan_to_num(c) if k == "torque" else c for c, (k, _) in zip(columns, places, strict=True)]
        if r.valid is not None:
            heads, columns = [*heads, "valid"], [*columns, r.valid]
        csv.write(folder / f"{file}.csv", heads, columns)
        blocks.append(("[[trial]]", {
            "subject": r.subject, "trial": r.trial, "task": r.task, "posture": r.posture, "file": f"{file}.csv",
            "rate_hz": r.rate_hz if r.rate_hz != recordings[0].rate_hz else None,
            "lacks": [k for k in names if k not in own] or None,
            "dynamometer": True if (r.subject, r.trial) in efforts else None,
            "swing": spans or None,
            "load": None if r.load is None else r.load._asdict(),
            "force_source": r.force_source, "notes": list(r.notes) or None,
        }))  # fmt: skip
    for s in cohort.subjects:
        mvc = None if s.mvc is None else dict(zip(names["emg"], map(float, s.mvc), strict=True))
        person = {
            "name": s.name, "height_m": s.height_m, "mass_kg": s.mass_kg, "sex": s.sex, "mvc": mvc,
            "model": None if s.model is None else str(s.model.resolve()),
        }  # fmt: skip
        blocks.append(("[[subject]]", person))
    kind, unit = recordings[0].emg_kind, recordings[0].emg_unit
    if any((r.emg_kind, r.emg_unit) != (kind, unit) for r in recordings):
        raise PitlError("one folder holds EMG of one kind and unit only; write the other recordings into another.")
    more: dict[str, dict[str, Any]] = {
        "emg": {"unit": unit, "kind": None if kind == "raw" else kind, "rate_hz": recordings[0].rate_hz},
        "angle": {"unit": "rad"},
    }
    kinds = {"emg": "channels", "angle": "coordinates", "torque": "coordinates", "force": "muscles"}
    top = {
        "name": cohort.name, "joint": cohort.joint, "valid": "valid",
        "outside": True if any(s.model for s in cohort.subjects) else None,
        "notes": [*cohort.notes, *cohort.left_out] or None,
    }  # fmt: skip
    sections = [
        (f"[{k}]", {kinds[k]: {n: f"{k}_{n}" for n in v}, **more.get(k, {})}) for k, v in names.items()
    ]  # fmt: skip
    text = "\n\n".join(toml_block(*b) for b in [("", top), *sections, *blocks]).lstrip()
    atomic_write_text(folder / NAME, text + "\n")


def _known_spans(recording: Recording) -> list[list[float]]:
    """Begin and end [s] of where a recording's moments are known; nothing where they are everywhere, or nowhere."""
    torque = recording.torque
    if torque is None:
        return []
    known = np.isfinite(torque).any(axis=1)
    if known.all() or not known.any():
        return []
    edges = np.flatnonzero(np.diff(np.pad(known.astype(int), 1))).reshape(-1, 2)
    return [[(a - 0.25) / recording.rate_hz, (b - 0.75) / recording.rate_hz] for a, b in edges.tolist()]


def toml_block(title: str, values: Mapping[str, Any]) -> str:
    """A section as text; None is left out."""
    return "\n".join([title] + [f"{k} = {toml(v)}" for k, v in values.items() if v is not None])


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(float(value))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)
