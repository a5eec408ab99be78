"""Looks at a folder, guesses what its files are, and drafts the `cohort.toml` with a reason beside every guess."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.data.cohort import toml
from pitl.data.cohort_file import NAME
from pitl.data.formats import registry
from pitl.data.formats.signals import RADIANS, VOLTS, Signals, Stream
from pitl.errors import PitlError

_ROLES = {
    "emg", "raw", "ik", "id", "so", "inverse", "kinematics", "dynamics", "inversekinematics", "inversedynamics",
    "static", "optimization", "staticoptimization", "force", "forces", "activation", "angle", "angles", "joint",
    "moments", "moment", "torque", "torques", "motion", "results", "controls", "goniometer",
}  # fmt: skip
_IGNORED = re.compile(
    r"ground|grf|_p[xyz]$|(^|_)t[xyz]$|pelvis|lumbar|arm_|marker|activation|control|frame|index|sample"
)
_MUSCLE = re.compile(
    r"\b(emg|rf|rec(tus)?_?fem|bf(lh|sh)?|bic|bifem|vm|vl|vas|vast|st|sm|semi|mh|ham|ta|tib|gl|gm|gas|sol|per|add|glu|tfl"
    r"|fcr|fcu|ecr|ecrl|ecrb|ecu|edc|fds|flex_carp|ext_carp|delt|tri|bra)"
)
_ANGLE = re.compile(r"angle|flex|ext|gonio|knee|wrist|elbow|ankle|hip|shoulder|rotation|deviation|adduction|deg|rad\b")
# coordinate of a built-in joint, what its column may be called, and muscles that speak for it
_JOINTS = {
    "knee": (re.compile(r"knee|gonio|\bfx\b"), re.compile(r"\b(rf|bf|vm|vl|st|sm|rec|vas|ham|semi)"), "seated"),
    "wrist": (re.compile(r"wrist|flexion"), re.compile(r"\b(fcr|fcu|ecr|ecu)"), "neutral"),
}
_SMOOTH = 0.1  # mean step of a motion over its spread; raw EMG is above 0.3
_MOST_FILES = 2000


class DraftedFile(NamedTuple):
    """One file and what its columns seem to be."""

    path: Path
    signals: Signals
    columns: dict[str, list[tuple[Stream, int]]]  # by part


class Draft(NamedTuple):
    """Text of a `cohort.toml`, and what the user has to look at."""

    text: str
    trials: int
    questions: tuple[str, ...]


def draft(folder: Path) -> Draft:
    """Drafts the `cohort.toml` of a folder.

    Raises:
        PitlError: if there is no file with EMG in it.
    """
    folder = Path(folder)
    files, skipped = _files(folder)
    if not any("emg" in f.columns for f in files):
        seen = ", ".join(f.path.name for f in files[:3]) or (skipped[0] if skipped else "nothing that can be read")
        raise PitlError(
            f"{folder}: found no file with EMG (read: {seen}); looked for files ending in {', '.join(registry.READERS)} "
            "whose columns are named after muscles or 'EMG'; rename the columns or choose another folder."
        )
    questions: list[str] = []
    trials, mvc = _grouped(folder, files)
    joint = _joint(trials, questions)
    from pitl.mechanics.joints import BUILTIN

    dof = BUILTIN[joint]["dofs"][0]
    side = _side(trials)
    out = [
        "# What the files in this folder are, as `pitl init` guessed: check every line with a '?', then `pitl check`.\n"
        f'name = {toml(folder.resolve().name)}\njoint = "{joint}" # ? built-in: {", ".join(BUILTIN)}'
    ]
    first = next(f for t in trials.values() for p, f in t.items() if p == "emg")
    out.append(_emg(first, side, questions))
    angle = next((t["angle"] for t in trials.values() if "angle" in t), None)
    if angle is None:
        questions.append("no angle was found; without one nothing can be learned")
        out.append(f'# no angle was found\n# [angle]\n# coordinates = {{ {dof} = "COLUMN" }}\n# unit = "deg"')
    else:
        out.append(_angle(angle, dof, joint, side, questions))
    torque = next((t["torque"] for t in trials.values() if "torque" in t), None)
    column = _about(torque.columns["torque"], joint, side) if torque else None
    has_torque = column is not None
    if column is not None:
        out.append(f"[torque] # net torque of the muscles, N m\ncoordinates = {{ {dof} = {toml(column)} }}")
    has_force = _force(trials, BUILTIN[joint]["muscles"], out)
    posture = _JOINTS[joint][2]
    questions.append(f"every trial's posture was set to {posture!r}: correct it where it is another")
    for (subject, trial), parts in trials.items():
        out.append(_trial(folder, subject, trial, parts, posture, BUILTIN[joint]["postures"], has_torque, has_force))
    for subject in dict.fromkeys(s for s, _ in trials):
        own = [toml(str(p.relative_to(folder).as_posix())) for s, p in mvc if s == subject]
        peak = f"\nmvc_files = [{', '.join(own)}] # maximum voluntary contractions" if own else ""
        out.append(
            f"[[subject]]\nname = {toml(subject)}{peak}\n# height_m = 1.75\n# mass_kg = 70\n# sex = \"female\""
        )  # fmt: skip
    if skipped:
        out.append("# Not read:\n" + "\n".join(f"# - {s}" for s in skipped[:20]))
        questions.append(f"{len(skipped)} file(s) could not be read; their names stand at the end")
    return Draft("\n\n".join(out) + "\n", len(trials), tuple(questions))


def _files(folder: Path) -> tuple[list[DraftedFile], list[str]]:
    paths = sorted(
        p for p in folder.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(folder).parts)
    )
    result, skipped = [], []
    for path in paths[:_MOST_FILES]:
        if path.suffix.lower() not in registry.READERS:
            continue
        try:
            signals = registry.read(path)
        except PitlError as e:
            skipped.append(" ".join(str(e).split()))
            continue
        parts: dict[str, list[tuple[Stream, int]]] = {}
        for s in signals.streams:
            for i in range(len(s.columns)):
                part = _part(path, s, i)
                if part:
                    parts.setdefault(part, []).append((s, i))
        result.append(DraftedFile(path, signals, parts))
    return result, skipped


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _part(path: Path, stream: Stream, i: int) -> str | None:
    name, unit, file = _words(stream.columns[i]), stream.units[i], _words(path.stem)
    spaced = name.replace("_", " ")
    if _IGNORED.search(name) or stream.name.startswith(("points", "plate")) or unit in ("m", "mm", "s", "ms", "g"):
        return None
    if re.search(r"activation|controls|states|grf", file) or stream.columns[i] in stream.flaws:
        return None
    if re.search(r"staticoptimi[sz]ation|static_optimi[sz]ation|(^|_)so(_|$)", file) and unit in ("", "N"):
        return None if "reserve" in name or "residual" in name else "force"
    if unit == "N m" or re.search(r"moment|torque", name):
        return "torque"
    if unit == "N" or "valid" in name or name in ("time", "t"):
        return None
    if unit in VOLTS or "emg" in file or "emg" in name or "emg" in stream.name.lower():
        return "emg"
    smooth = _roughness(stream.values[:, i]) < _SMOOTH
    if unit in RADIANS or (_ANGLE.search(name) and smooth):
        return "angle"
    if _MUSCLE.search(spaced) or _roughness(stream.values[:, i]) > 3 * _SMOOTH:
        return "emg"
    return "angle" if smooth and np.nanstd(stream.values[:, i]) > 0 else None


def _roughness(x: np.ndarray) -> float:
    x = x[np.isfinite(x)]
    spread = float(x.std()) if len(x) > 2 else 0.0
    return float(np.abs(np.diff(x)).mean() / spread) if spread > 0 else 0.0


def _grouped(
    folder: Path, files: list[DraftedFile]
) -> tuple[dict[tuple[str, str], dict[str, DraftedFile]], list[tuple[str, Path]]]:
    """Trials by subject and name, each part with its file; and maximum voluntary contractions."""
    trials: dict[tuple[str, str], dict[str, DraftedFile]] = {}
    mvc: list[tuple[str, Path]] = []
    for f in files:
        subject, trial = _whose(f.path.relative_to(folder))
        if "mvc" in _words(f.path.stem) and "emg" in f.columns:
            mvc.append((subject, f.path))
            continue
        for part in f.columns:
            trials.setdefault((subject, trial), {}).setdefault(part, f)
    return {k: v for k, v in trials.items() if "emg" in v}, mvc


def _whose(path: Path) -> tuple[str, str]:
    """Subject and trial from folders and file name; words about the kind of file say neither."""
    tokens = [w for w in re.split(r"[_\-\s.]+", path.stem) if w and w.lower() not in _ROLES | {"mvc"}]
    folders = [p for p in path.parts[:-1] if p.lower() not in _ROLES]
    if folders:
        return folders[0], "_".join([*folders[1:], *(t for t in tokens if t != folders[0])]) or "1"
    if not tokens:
        return "S1", "1"
    if re.fullmatch(r"(trial|gait|walk|walking|run|rep|task)\d*", tokens[0].lower()):
        return "S1", "_".join(tokens)
    return tokens[0], "_".join(tokens[1:]) or "1"


def _joint(trials: dict[tuple[str, str], dict[str, DraftedFile]], questions: list[str]) -> str:
    names = {
        part: " ".join(_words(s.columns[i]).replace("_", " ") for t in trials.values() if part in t
                       for s, i in t[part].columns[part])
        for part in ("angle", "emg")
    }  # fmt: skip
    votes = {j: 2 * len(a.findall(names["angle"])) + len(m.findall(names["emg"])) for j, (a, m, _) in _JOINTS.items()}
    best = max(votes, key=lambda j: votes[j])
    if not votes[best]:
        questions.append(f"which joint moved cannot be told from the columns' names; {best!r} was taken")
    return best


def _side(trials: dict[tuple[str, str], dict[str, DraftedFile]]) -> str:
    """ "_r" where columns of both sides exist, else nothing."""
    names = {s.columns[i].lower() for t in trials.values() for p in t for s, i in t[p].columns[p]}
    both = any(n.endswith("_r") for n in names) and any(n.endswith("_l") for n in names)
    return "_r" if both else ""


def _emg(result: DraftedFile, side: str, questions: list[str]) -> str:
    columns = result.columns["emg"]
    stream = columns[0][0]
    columns = [(s, i) for s, i in columns if s is stream]
    lines = ["[emg]"]
    chosen = [(s, i) for s, i in columns if s.columns[i].lower().endswith(side)] or columns
    names = [re.sub(r"(?i)[\s_]*(emg)[\s_]*|\s*[\[(].*", "", s.columns[i]).strip("_ ") for s, i in chosen]
    if side:
        names = [re.sub(rf"(?i){side}$", "", n) for n in names]
        others = [s.columns[i] for s, i in columns if (s, i) not in chosen]
        lines.append(f"# the other side was left out: {', '.join(others)}")
        questions.append("both sides were recorded; the right one was taken")
    if len(set(names)) < len(names) or not all(re.search("[A-Za-z]", n) for n in names):
        names = [s.columns[i] for s, i in chosen]
        questions.append("the columns do not say which channel is which muscle: rename the keys under [emg] channels")
    values = stream.values[:, [i for _, i in chosen]]
    if not all(stream.units[i] in VOLTS for _, i in chosen):
        size = float(np.nanmedian(np.nanstd(values, axis=0)))
        unit = "uV" if size > 5 else "mV" if size > 2e-3 else "V"
        lines.append(f'unit = "{unit}" # ? guessed: a usual channel varies by {size:.2g}')
        questions.append(f"the EMG's unit was guessed from its size ({unit})")
    if stream.time_s is None:
        rate = stream.rate_hz
        lines.append(f"rate_hz = {rate:g}" if rate else "# rate_hz = 1000 # ! samples per second: no file tells")
        if not rate:
            questions.append("no time column: fill in rate_hz under [emg]")
    lines.append("# notch_hz = 50 # takes power-line hum out; `pitl check` says whether there is any")
    lines += ["[emg.channels] # ? muscle = column"]
    lines += [f"{_key(n)} = {toml(_full(result, s, i))}" for n, (s, i) in zip(names, chosen, strict=True)]
    return "\n".join(lines)


def _angle(result: DraftedFile, dof: str, joint: str, side: str, questions: list[str]) -> str:
    columns = result.columns["angle"]
    name = _about(columns, joint, side)
    if name is None:
        stream, i = max(columns, key=lambda c: float(np.nanstd(c[0].values[:, c[1]])))
        questions.append(f"which column is {dof} was guessed: {stream.columns[i]}")
    else:
        stream, i = next((s, i) for s, i in columns if s.columns[i] == name)
    values, unit = stream.values[:, i], stream.units[i]
    sign = "-" if joint == "knee" and np.nanmedian(values) < 0 else ""
    stated = f" # ? sign turned: it runs from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}" if sign else ""
    lines = ["[angle] # flexion positive; a minus before the column turns the sign"]
    lines.append(f"coordinates = {{ {dof} = {toml(sign + _full(result, stream, i))} }}{stated}")
    if unit not in RADIANS:
        unit = "deg" if np.nanmax(np.abs(values)) > 2 * np.pi else "rad"
        lines.append(f'unit = "{unit}" # ? guessed: the largest value is {np.nanmax(np.abs(values)):.3g}')
    if stream.time_s is None and stream is not result.columns.get("emg", [(None, 0)])[0][0]:
        lines.append("# rate_hz = 100 # ! samples per second: no file tells")
        questions.append("the angles have no time column: fill in rate_hz under [angle]")
    return "\n".join(lines)


def _force(trials: dict[tuple[str, str], dict[str, DraftedFile]], muscles: Iterable[str], out: list[str]) -> bool:
    """Labels only where the file has every muscle of the model under its own name."""
    result = next((t["force"] for t in trials.values() if "force" in t), None)
    if result is None:
        return False
    columns = {s.columns[i].lower(): s.columns[i] for s, i in result.columns["force"]}
    wanted = list(muscles)
    if not all(m.lower() in columns for m in wanted):
        have = ", ".join(list(columns.values())[:12])
        out.append(
            f"# {result.path.name} has forces of {have}; for labels, give one column for each of the model's muscles:\n"
            "# [force]\n# muscles = { " + ", ".join(f'{m} = "COLUMN"' for m in wanted) + " }"
        )
        return False
    pairs = ", ".join(f"{m} = {toml(columns[m.lower()])}" for m in wanted)
    out.append(f'[force] # labels, N\nmuscles = {{ {pairs} }}\nsource = "static_optimisation"')
    return True


def _trial(
    folder: Path, subject: str, trial: str, parts: dict[str, DraftedFile], posture: str, postures: Iterable[str],
    torque: bool, force: bool,
) -> str:  # fmt: skip
    task = re.sub(r"[_\d]+$", "", trial) or "task"
    lines = [
        "[[trial]]", f"subject = {toml(subject)}", f"trial = {toml(trial)}", f"task = {toml(task)}",
        f"posture = {toml(posture)} # ? {' or '.join(postures)}",
    ]  # fmt: skip
    used = [p for p in ("emg", "angle", "torque", "force") if p in parts]
    used = [p for p in used if (p != "torque" or torque) and (p != "force" or force)]
    lacks = [
        p for p in ("angle", "torque", "force") if p not in used and {"angle": True, "torque": torque}.get(p, force)
    ]
    names = {p: parts[p].path.relative_to(folder).as_posix() for p in used}
    if len(set(names.values())) == 1:
        lines.append(f"file = {toml(names['emg'])}")
    else:
        lines += [f"{p} = {toml(n)}" for p, n in names.items()]
        lines.append("# emg_offset_s = 0.0 # added to the EMG's clock; `pitl check` estimates it")
    if lacks:
        lines.append(f"lacks = {toml(lacks)}")
    return "\n".join(lines)


def _about(columns: list[tuple[Stream, int]], joint: str, side: str) -> str | None:
    pattern = _JOINTS[joint][0]
    hits = [s.columns[i] for s, i in columns if pattern.search(_words(s.columns[i]))]
    right = [h for h in hits if side and re.search(rf"{side}(_|$)", h.lower())]
    return (right or hits or [None])[0]


def _full(result: DraftedFile, stream: Stream, i: int) -> str:
    name = stream.columns[i]
    shared = sum(name in s.columns for s in result.signals.streams) > 1
    return f"{stream.name}/{name}" if shared else name


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def path_of(folder: Path) -> Path:
    """Where the draft belongs."""
    return Path(folder) / NAME
