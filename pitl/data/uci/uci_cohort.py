"""Reader of the UCI "EMG dataset in lower limb" (Sanchez and Sotelo 2014), doi 10.24432/C5ZW3K.

Text files named after subject and task (`1Nsen.txt`, `10Apie.txt.gz`), tab separated, 1000 Hz: four raw EMG channels
[mV] and a knee goniometer [deg]. Headers, signs, zeros and even tasks differ between files; every decision taken here
is kept as a note for the user, and can be overridden.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.data import copies
from pitl.data.recording import Cohort, Recording, Subject
from pitl.data.uci import goniometer
from pitl.data.uci.uci_text import CHANNELS, Raw, read_file
from pitl.data.walk import files_below
from pitl.errors import PitlError

__all__ = ["CHANNELS", "POSTURES", "Key", "Raw", "find", "read_cohort", "read_file"]

POSTURES = {"sen": "seated", "pie": "standing", "mar": "standing"}
# 1Nsen.txt, 10A_pie.TXT.gz, subject-1N-sen.txt, 01Nsentado (2).txt; but not 1Nsensor.txt
_FILE = re.compile(
    r"(?:.*[^0-9a-z])?0*(\d{1,6})[\s_-]*([an])[\s_-]*(sen|pie|mar)(?:tado|cha)?(?:[^0-9a-z].*)?\.(?:txt|log)(?:\.gz)?",
    re.IGNORECASE,
)
_OVERRIDES = ("sign", "offset_deg", "task", "drop")


class Key(NamedTuple):
    """Whose file it is and the task that its name says."""

    subject: str
    task: str

    @property
    def trial(self) -> str:
        return self.subject + self.task


def read_cohort(
    folder: Path,
    tasks: Sequence[str] = ("sen", "pie"),
    calibration_fraction: float = 0.4,
    offset: str = "auto",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Cohort:
    """Reads everybody found anywhere below a folder.

    Args:
        folder: holds the files, flat or in `A_TXT` and `N_TXT`.
        tasks: which of `sen`, `pie`, `mar` to read.
        calibration_fraction: first part of each trial; sign, zero and task are decided there.
        offset: `"auto"` finds sign and zero, `"none"` leaves both as recorded.
        overrides: by file (`"7Nsen"`) or subject (`"7N"`): `sign` (1 or -1), `offset_deg` (subtracted after the sign),
            `task`, `drop` (False keeps what looks like a copy).

    Raises:
        PitlError: if nothing is found, a file is damaged, or an override names nothing.
    """
    for task in tasks:
        if task not in POSTURES:
            raise PitlError(f"data.tasks names '{task}'; the UCI lower-limb set has {', '.join(POSTURES)}.")
    everything = find(folder, tuple(POSTURES))
    asked = _Overrides(overrides or {}, everything)
    # a seated file may hold the standing task and the other way round: to find out, both are looked at
    wanted = {*tasks, *(("sen", "pie") if {"sen", "pie"} & set(tasks) else ())}
    files = {k: path for k, path in everything.items() if k.task in wanted}
    if not any(k.task in tasks for k in files):
        raise PitlError(_nothing(Path(folder), tasks))
    notes: list[str] = []
    native = [p.name for p in files_below(Path(folder)) if _is_native(p) and p not in everything.values()]
    if native:
        notes.append(f"{len(native)} .log file(s) of the recorder were passed over, such as {native[0]}")
    raws, left_out = _whole({k: path for k, path in files.items() if not asked(k, "drop")})
    raws = _without_copies(raws, asked, notes)
    recordings: list[Recording] = []
    for subject in dict.fromkeys(k.subject for k in raws):
        own = {k: raw for k, raw in raws.items() if k.subject == subject}
        seen = {k: goniometer.evidence(r.emg, r.angle_deg, r.rate_hz, calibration_fraction) for k, r in own.items()}
        is_task = _tasks(seen, asked, notes)
        for k, raw in own.items():
            if is_task[k] in tasks:
                recordings.append(_recording(k, raw, seen[k], is_task[k], files[k], offset, asked))
    if not recordings:
        raise PitlError(f"{folder}: every recording was dropped or is of another task; nothing is left to read.")
    recordings.sort(key=lambda r: (_natural(r.subject), r.task))
    people = dict.fromkeys(r.subject for r in recordings)
    subjects = (Subject(name, tuple(r for r in recordings if r.subject == name)) for name in people)
    return Cohort("UCI lower limb", "knee", tuple(subjects), tuple(notes), tuple(left_out))


def _whole(files: Mapping[Key, Path]) -> tuple[dict[Key, Raw], list[str]]:
    """The files that can be read, and a sentence about each of the others; an error only if nothing is left."""
    raws: dict[Key, Raw] = {}
    failures: dict[Key, PitlError] = {}
    for k, path in files.items():
        try:
            raws[k] = read_file(path)
        except PitlError as e:
            failures[k] = e
        except (ValueError, ArithmeticError, LookupError, MemoryError) as e:
            failures[k] = PitlError(f"{path}: cannot be read ({type(e).__name__}: {str(e)[:100]}); copy it again.")
    if failures and not raws:
        raise next(iter(failures.values()))
    return raws, [f"{k.trial} was left out: {e}" for k, e in failures.items()]


def find(folder: Path, tasks: Collection[str]) -> dict[Key, Path]:
    """Files of this data set below a folder, people in natural order.

    Raises:
        PitlError: if two different files claim the same subject and task.
    """
    candidates: dict[Key, list[Path]] = {}
    for path in files_below(Path(folder)):
        match = _FILE.fullmatch(path.name)
        if match and match[3].lower() in tasks:
            key = Key(f"{int(match[1][-9:])}{match[2].upper()}", match[3].lower())
            candidates.setdefault(key, []).append(path)
    result: dict[Key, Path] = {}
    for key, paths in candidates.items():
        # a .log is the recorder's own file, from which the text was exported
        paths = [p for p in paths if not _is_native(p)] or paths[:1]
        result[key] = paths[0]
        for path in paths[1:]:
            if not _same_recording(paths[0], path):
                raise PitlError(f"{path} and {paths[0]} are the same subject and task; remove one of them.")
    return dict(sorted(result.items(), key=lambda item: (_natural(item[0].subject), item[0].task)))


def _is_native(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".log")


def _same_recording(one: Path, other: Path) -> bool:
    # somebody unpacked the file and kept the packed one
    try:
        a, b = read_file(one), read_file(other)
    except PitlError:  # a damaged one is named when it is read
        return True
    return np.array_equal(a.emg, b.emg) and np.array_equal(a.angle_deg, b.angle_deg)


def _nothing(folder: Path, tasks: Sequence[str]) -> str:
    packed = sorted(p.name for p in files_below(folder) if p.suffix.lower() in (".rar", ".zip", ".7z"))
    todo = f"unpack {packed[0]} first" if packed else "give the folder of the UCI lower-limb data set"
    return f"{folder}: no file named like 1Nsen.txt or 10Apie.txt.gz with a task among {', '.join(tasks)}; {todo}."


class _Overrides:
    """The user's decisions, by recording and, failing that, by person."""

    def __init__(self, changes: Mapping[str, Mapping[str, Any]], files: Collection[Key]) -> None:
        known = {k.trial.lower(): k.trial for k in files} | {k.subject.lower(): k.subject for k in files}
        self._changes: dict[str, Mapping[str, Any]] = {}
        for name, values in changes.items():
            if name.lower() not in known:
                near = difflib.get_close_matches(name.lower(), known, 1)
                hint = f"; did you mean {known[near[0]]}?" if near else f"; found {', '.join(sorted(known.values()))}."
                raise PitlError(f"data.overrides names '{name}', which is not in the folder{hint}")
            _check_override(name, values)
            self._changes[known[name.lower()]] = values

    def __call__(self, key: Key, what: str) -> Any:
        return self._changes.get(key.trial, {}).get(what, self._changes.get(key.subject, {}).get(what))


def _check_override(name: str, values: Mapping[str, Any]) -> None:
    where = f"data.overrides.{name}"
    if not isinstance(values, Mapping):
        raise PitlError(f"{where} is {values!r:.40}; expected a table with some of {', '.join(_OVERRIDES)}.")
    for key, value in values.items():
        if key not in _OVERRIDES:
            near = difflib.get_close_matches(str(key), _OVERRIDES, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise PitlError(f"{where}: '{key}' is not one of {', '.join(_OVERRIDES)}{hint}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
        expected = {
            "sign": (number and value in (1, -1), "1 or -1"),
            "offset_deg": (number, "a number of degrees"),
            "task": (value in POSTURES, f"one of {', '.join(POSTURES)}"),
            "drop": (isinstance(value, bool), "true or false"),
        }
        fits, what = expected[key]
        if not fits:
            raise PitlError(f"{where}.{key} is {value!r}; expected {what}.")


def _without_copies(raws: dict[Key, Raw], asked: _Overrides, notes: list[str]) -> dict[Key, Raw]:
    """Leaves out recordings that came before, so that nobody leaks from source to target.

    Two people with one recording in common may be one person, so nothing of the second is kept.
    """
    left_out: dict[str, str] = {}
    gone: set[Key] = set()
    for first, second, share in copies.pairs({k: raw.emg for k, raw in raws.items()}):
        if asked(second, "drop") is False or first in gone or second in gone:
            continue
        gone.add(second)
        how = "is a copy of" if share > 0.99 else f"shares {share:.0%} of its samples with"
        notes.append(f"{second.trial} {how} {first.trial}: left out, or the same data would count twice")
        if first.subject != second.subject:
            left_out[second.subject] = first.subject
    for key in raws:
        if key.subject in left_out and key not in gone and asked(key, "drop") is not False:
            gone.add(key)
            notes.append(f"{key.trial} left out too: {key.subject} may be the same person as {left_out[key.subject]}")
    return {k: raw for k, raw in raws.items() if k not in gone}


def _tasks(seen: Mapping[Key, goniometer.Evidence], asked: _Overrides, notes: list[str]) -> dict[Key, str]:
    """What each file of one person really holds."""
    is_task = {k: asked(k, "task") or k.task for k in seen}
    other = {"sen": "pie", "pie": "sen"}
    undecided = {k.task: k for k in seen if k.task in other and not asked(k, "task")}
    if len(undecided) == 2:
        pair = goniometer.swapped(seen[undecided["sen"]], seen[undecided["pie"]])
        if pair:
            notes.append(f"{undecided['sen'].subject}: sen and pie are taken as each other, because {pair}")
            return is_task | {key: other[task] for task, key in undecided.items()}
    for task, key in undecided.items():
        why = goniometer.contradiction(seen[key], task)
        if why:
            is_task[key] = other[task]
            notes.append(f"{key.trial} is taken as '{other[task]}', because {why}")
    return is_task


def _recording(
    key: Key, raw: Raw, seen: goniometer.Evidence, task: str, path: Path, offset: str, asked: _Overrides
) -> Recording:
    decided = list(raw.notes)
    sign, zero_deg = 1.0, 0.0
    if asked(key, "sign") is not None:
        sign = float(asked(key, "sign"))
        decided.append(f"sign: {sign:+.0f}, as asked")
    elif offset == "auto":
        sign, why = goniometer.sign(seen, task)
        decided.append(f"sign: {'kept' if sign > 0 else 'inverted'}, because {why}")
    if asked(key, "offset_deg") is not None:
        zero_deg = float(asked(key, "offset_deg"))
        decided.append(f"zero: {zero_deg:+.1f} deg taken off, as asked")
    elif offset == "auto":
        zero_deg, why = goniometer.zero(seen, sign, task)
        decided.append(why)
    angle = np.radians(sign * raw.angle_deg - zero_deg)
    largest = float(np.degrees(np.abs(angle).max()))
    if largest > 360:
        raise PitlError(
            f"{path}: the angle in column FX reaches {largest:.0f} deg, expected less than a full turn; "
            "check the file's columns, or leave it out with drop = true in data.overrides."
        )
    return Recording(
        subject=key.subject,
        task=task,
        trial=key.trial,
        posture=POSTURES[task],
        rate_hz=raw.rate_hz,
        emg=raw.emg,
        channels=CHANNELS,
        angle=angle[:, None],
        dofs=("knee_flexion",),
        valid=None if raw.valid.all() else raw.valid,
        source=str(path),
        notes=tuple(decided),
    )


def _natural(name: str) -> tuple[str, int]:
    """10A after 9A, people with a knee abnormality (A) before those without (N)."""
    return name[-1], int(name[:-1])
