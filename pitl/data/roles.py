"""What the files of a folder are, told by what they hold: EMG, angles, torques or forces, of which person and trial."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.data.cohort_file import NAME
from pitl.data.formats import ceinms, registry, words
from pitl.data.formats.signals import RADIANS, VOLTS, Signals, Stream, group_of
from pitl.data.walk import files_below
from pitl.errors import PitlError

_ROLES = {
    "emg", "raw", "ik", "id", "so", "inverse", "kinematics", "dynamics", "inversekinematics", "inversedynamics",
    "static", "optimization", "staticoptimization", "force", "forces", "activation", "angle", "angles", "joint",
    "moments", "moment", "torque", "torques", "motion", "results", "controls", "goniometer", "coordinates",
    "electromyography", "grf", "emgfilt", "filtered", "envelope", "envelopes",
}  # fmt: skip
_IGNORED = re.compile(
    r"ground|grf|_p[xyz]$|(^|_)t[xyz]$|pelvis|lumbar|^arm_|marker|activation|control|frame|index|sample|nseq|counter"
    r"|trigger|^other|battery|accel|^time|timestamp|^zeit|^acc(_|$)|gyro|valid"
)
_TASK = re.compile(
    r"(?:trial|gait|walk|walking|run|running|rep|task|squat|jump|stairs?|static|stand|sit|mvc|free|fast|slow)"
)
_NUMBERED = re.compile(r"\d$")
_PERSON = re.compile(r"(?:s|p|sub|subj|subject|person|participant|proband|vp)[ _-]?\d+$", re.IGNORECASE)
_DATE = re.compile(r"\d{2,8}([_.-]\d{1,4}){0,2}")
PARTS = ("emg", "angle", "torque", "force")


class DraftedFile(NamedTuple):
    """One file and what its columns seem to be."""

    path: Path
    signals: Signals
    columns: dict[str, list[tuple[Stream, int]]]  # by part
    group: str = ""  # of the file, where it holds several trials


class Found(NamedTuple):
    """What a folder holds."""

    trials: dict[tuple[str, str], dict[str, DraftedFile]]  # by person and name, each part with its file
    contractions: list[tuple[str, Path]]  # maximum voluntary contractions, by person
    models: list[Path]  # OpenSim models
    left_out: list[str]  # files that nothing uses and why, one sentence each
    files: list[DraftedFile]
    subjects: list[Path]  # subject files of CEINMS


def look(folder: Path) -> Found:
    """Reads every file below a folder and sorts what it holds into trials.

    Raises:
        PitlError: there are too many files.
    """
    files, models, subjects, left_out = _read(folder)
    trials, contractions, spare = _sort(folder, files, models)
    left_out += spare
    return Found(trials, contractions, models, left_out, files, subjects)


def _read(folder: Path) -> tuple[list[DraftedFile], list[Path], list[Path], list[str]]:
    files: list[DraftedFile] = []
    models: list[Path] = []
    subjects: list[Path] = []
    left_out: list[str] = []
    stored: set[Path] = set()  # folders of imported models
    for path in files_below(folder):
        name = str(path.relative_to(folder))
        if path.name == "pitl.json":
            stored.add(path.parent)
        if stored.intersection(path.parents):
            continue
        if path.suffix.lower() == ".osim":
            models.append(path)
        elif path.suffix.lower() in registry.READERS:
            try:
                name.encode()  # a name that is not UTF-8 cannot stand in a text file
                signals = registry.read(path)
            except (PitlError, UnicodeError) as e:
                why = str(e).removeprefix(f"{path}: ")
                left_out.append(f"{name}: {why}" if isinstance(e, PitlError) else f"{name!a}: rename it in UTF-8")
                continue
            whole = _sorted(path, signals)
            groups = _trials_within(whole)
            files += [_sorted(path, group_of(signals, g))._replace(group=g) for g in groups] or [whole]
            left_out += [f"{name}: {f.removeprefix(f'{path}')}".replace(": , ", ", ") for f in _flaws(signals)]
            still = [c for s in signals.streams for i, c in enumerate(s.columns) if _stands_still(s, i)]
            left_out += [f"{name}: {', '.join(still[:12])}: all samples are equal, so not used"] if still else []
            if not whole.columns:
                left_out.append(f"{name}: holds neither EMG nor angles, torques or forces of muscles")
        elif path.suffix.lower() == ".xml" and ceinms.is_subject(path):
            subjects.append(path)
        elif path.name != NAME and path.suffix.lower() not in (".md", ".html", ".pdf", ""):
            left_out.append(f"{name}: files ending in {path.suffix} are not read")
    return files, models, subjects, left_out


def _flaws(signals: Signals) -> list[str]:
    """What is wrong with columns that are called, or measured, as EMG or angles are."""
    return [
        s.flaws[label]
        for s in signals.streams
        for label, unit in zip(s.columns, s.units, strict=True)
        if label in s.flaws and (unit in VOLTS | RADIANS or words.is_muscle(label) or words.is_coordinate(label))
    ]


def _stands_still(stream: Stream, i: int) -> bool:
    """Whether a column that is called, or measured, as EMG is one number from begin to end."""
    values = stream.values[np.isfinite(stream.values[:, i]), i]
    named = stream.units[i] in VOLTS or words.is_muscle(stream.columns[i])
    return named and len(values) > 2 and bool((values == values[0]).all()) and stream.columns[i] not in stream.flaws


def _sorted(path: Path, signals: Signals) -> DraftedFile:
    parts: dict[str, list[tuple[Stream, int]]] = {}
    for s in signals.streams:
        for i in range(len(s.columns)):
            part = part_of(path, s, i)
            if part:
                parts.setdefault(part, []).append((s, i))
    return DraftedFile(path, signals, parts)


def _trials_within(file: DraftedFile) -> list[str]:
    """Groups of a file that are trials: structs or blocks that all have the same EMG, and each its own angles."""
    emg, angle = (file.columns.get(p, []) for p in ("emg", "angle"))
    for depth in range(max((s.name.count("/") for s, _ in emg), default=0) + 1, 0, -1):
        inside: list[dict[str, set[str]]] = []
        for pairs in (emg, angle):
            groups: dict[str, set[str]] = {}
            for s, i in pairs:
                head = "/".join(s.name.split("/")[:depth])
                groups.setdefault(head, set()).add(f"{s.name[len(head) :]}/{s.columns[i]}")
            inside.append(groups)
        names = list(inside[0])
        alike = len(names) > 1 and len({frozenset(v) for v in inside[0].values()}) == 1
        # without angles, streams side by side may be amplifiers that ran together
        if alike and (set(inside[1]) == set(names) if angle else depth > 1 and all(map(_NUMBERED.search, names))):
            return names
    return []


def part_of(path: Path, stream: Stream, i: int) -> str | None:
    """What a column is, by its unit, its name, its file's name and its samples, in this order of trust."""
    label, unit = stream.columns[i], stream.units[i]
    name, file = _words(label), _words(path.stem)
    if _IGNORED.search(name) or stream.name.startswith(("points", "plate")) or unit in ("m", "mm", "s", "ms", "g"):
        return None
    # what a simulation writes has no unit; what says volts was recorded, whatever its file is called
    written = bool(re.search(r"activation|controls|states|grf", file)) and (
        unit not in VOLTS | RADIANS or path.suffix.lower() in (".sto", ".mot")
    )
    if written or label in stream.flaws or name in ("time", "t"):
        return None
    if re.search(r"staticoptimi[sz]ation|static_optimi[sz]ation|(^|_)so(_|$)", file) and unit in ("", "N"):
        return None if "reserve" in name or "residual" in name else "force"
    if unit == "N m" or re.search(r"moment|torque", name):
        return "torque"
    if unit in ("N", "kN") or (re.search(r"(^|_)forces?(_|$)", name) and unit in ("", "1")):
        return "force" if unit != "kN" and words.is_muscle(label) else None  # a plate or a load cell is not a muscle
    if unit in ("min", "h", "us"):
        return None
    if unit in VOLTS or (unit in ("%", "counts", "1") and not words.is_coordinate(label)):
        return "emg" if np.nanstd(stream.values[:, i]) > 0 else None
    if unit in RADIANS:
        return "angle"
    good = stream.values[np.isfinite(stream.values[:, i]), i]
    counts = len(good) < 3 or bool((np.diff(good) >= 0).all())  # a clock or a counter
    if "emg" in name or words.is_muscle(label):
        return (
            None
            if counts and not words.is_coordinate(label)
            else (
                "emg"
                if not (words.is_coordinate(label) and words.roughness(stream.values[:, i]) < words.SMOOTH)
                else "angle"
            )
        )
    rough = words.roughness(stream.values[:, i])
    if words.is_coordinate(label) and rough < words.SMOOTH:
        return "angle"
    if counts:
        return None
    if "emg" in file or "emg" in stream.name.lower() or words.is_rough(stream.values[:, i]):
        return "emg" if rough > 0 else None
    return "angle" if rough and rough < words.SMOOTH else None


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name[:200].lower()).strip("_")


def _sort(
    folder: Path, files: list[DraftedFile], models: list[Path]
) -> tuple[dict[tuple[str, str], dict[str, DraftedFile]], list[tuple[str, Path]], list[str]]:
    """Files by person and trial: one name, or the only EMG in a folder with everything that lies beside it."""
    one_person = any(m.parent == folder for m in models)
    keys = {id(f): _of_group(f.group, *_whose(folder, f.path.relative_to(folder), one_person)) for f in files}
    contractions = [(keys[id(f)][0], f.path) for f in files if "mvc" in _words(f.path.stem) and "emg" in f.columns]
    kept = [f for f in files if f.columns and all(f.path != p for _, p in contractions)]
    with_emg = [f for f in kept if "emg" in f.columns]
    counts = Counter(keys[id(f)] for f in with_emg)
    for f in with_emg:  # words about the kind of a file are kept where trials would have one name
        if counts[keys[id(f)]] > 1:
            subject = keys[id(f)][0]
            keys[id(f)] = (
                subject,
                _unlike(f.path.stem.removeprefix(subject).strip("_- .") or f.path.stem, subject, keys),
            )
    seen: set[tuple[str, str]] = set()
    for f in with_emg:
        subject, trial = keys[id(f)]
        if (subject, trial) in seen:
            keys[id(f)] = (subject, f"{trial}_{f.path.suffix[1:]}")
        seen.add(keys[id(f)])
    trials = {keys[id(f)]: dict.fromkeys(f.columns, f) for f in with_emg}
    left_out = []
    alone = Counter(f.path.parent for f in with_emg)
    for f in kept:
        if "emg" in f.columns:
            continue
        beside = [e for e in with_emg if e.path.parent == f.path.parent]
        key = keys[id(f)]
        if key not in trials and alone[f.path.parent] == 1:
            key = keys[id(beside[0])]
        free = [p for p in f.columns if p not in trials.get(key, {p: None})]
        for part in free:
            trials[key][part] = f
        if not free:
            what = " and ".join("angles" if p == "angle" else f"{p}s" for p in f.columns)
            left_out.append(
                f"{f.path.relative_to(folder)} has {what}, and it is not known of which trial; add "
                f"{next(iter(f.columns))} = {f.path.relative_to(folder).as_posix()!r} to its trial"
            )
    return trials, contractions, left_out


def _of_group(group: str, subject: str, trial: str) -> tuple[str, str]:
    """Person and trial of a part of a file."""
    words_ = [w for w in group.split("/") if w]
    if words_ and _PERSON.match(words_[0]):
        subject, words_ = words_[0], words_[1:] or [trial]
    elif words_ and trial != "1":
        words_ = [trial, *(w for w in words_ if w.isdigit() or len(words_) == 1)]
    return subject, "_".join(re.sub(r"\s+", "_", w) for w in words_) or trial


def _unlike(name: str, subject: str, keys: dict[int, tuple[str, str]]) -> str:
    out, n = name, 2
    while (subject, out) in keys.values():
        out, n = f"{name}_{n}", n + 1
    return out


def _whose(folder: Path, path: Path, one_person: bool) -> tuple[str, str]:
    """Person and trial from folders and file name; words about the kind of file say neither."""
    tokens = [w for w in re.split(r"[_\-\s.]+", path.stem) if w and w.lower() not in _ROLES | {"mvc"}]
    folders = [p for p in path.parts[:-1] if p.lower() not in _ROLES]
    named = next((p for p in folders if _PERSON.match(p)), None)
    if named and not one_person:  # wherever it lies: laboratory/2024/P01, day1/P01
        return named, "_".join([*(p for p in folders if p != named), *(t for t in tokens if t != named)]) or "1"
    if folders and (one_person or _TASK.match(folders[0].lower())):
        return folder.resolve().name, "_".join([*folders, *(t for t in tokens if t not in folders)])
    dated = len(folders) > 1 and _DATE.fullmatch(folders[0]) and not _TASK.match(folders[1].lower())
    if dated:  # nobody is called 2024
        folders = [folders[1], folders[0], *folders[2:]]
    if folders:
        return folders[0], "_".join([*folders[1:], *(t for t in tokens if t != folders[0])]) or "1"
    if one_person:
        return folder.resolve().name, "_".join(tokens) or "1"
    if not tokens:
        return "S1", "1"
    if _TASK.match(tokens[0].lower()):
        return "S1", "_".join(tokens)
    return tokens[0], "_".join(tokens[1:]) or "1"


def columns(trials: Iterable[dict[str, DraftedFile]], part: str) -> list[tuple[Stream, int]]:
    """The columns of a part in all trials."""
    return [c for t in trials if part in t for c in t[part].columns.get(part, [])]
