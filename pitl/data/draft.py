"""Looks at a folder, guesses what its files are, and drafts the `cohort.toml` with a reason beside every guess."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pitl.data.checks.suspicions import kind_of
from pitl.data.cohort import toml
from pitl.data.cohort_file import NAME
from pitl.data.formats import registry, words
from pitl.data.formats.signals import EMG_UNITS, RADIANS, VOLTS, Stream
from pitl.data.roles import DraftedFile, Found, columns, look
from pitl.errors import PitlError, printable

# words for a joint in the names of columns, and muscles that speak for it
_JOINTS = {
    "knee": (r"\b(?:knee|gonio\w*|fx|knie\w*|genou|rodilla|ginocchio|joelho|kolan\w*|kna|knae|diz)\b",
             r"\b(?:rf|bf|vm|vl|st|sm|rec|vas|ham|semi)"),
    "wrist": (r"\bwrist\b", r"\b(?:fcr|fcu|ecr|ecu|flex carp|ext carp)"),
    "elbow": (r"\belbow\b|\barm flex", r"\b(?:tri|bra|bic(?!eps? fem))"),
    "ankle": (r"\b(?:ankle|dorsiflexion|plantar)\b", r"\b(?:ta\b|tib|sol|gas|gl\b|gm\b|med gas|lat gas)"),
    "hip": (r"\bhip\b", r"\b(?:glu|add|tfl|psoas)"),
    "shoulder": (r"\bshoulder\b", r"\b(?:delt|pec|lat dor)"),
}  # fmt: skip
_POSTURE = {"knee": ("seated", "standing"), "wrist": ("neutral", "neutral")}  # usual, and upright
_NUMBERED = re.compile(r"(?i)(?:column|ch|chan|channel|exg channel|sensor|input|analog|a|aux)[ _]*\d+")  # no muscles
_UPRIGHT = re.compile(r"walk|gait|run|stand|squat|jump|stair|mar\b|pie\b")


class JointGuess(NamedTuple):
    """What the recordings are of: a built-in joint, or a model that was imported beside them."""

    joint: str
    dofs: tuple[str, ...]
    muscles: tuple[str, ...]
    postures: tuple[str, ...]


class Draft(NamedTuple):
    """Text of a `cohort.toml`, and what the user has to look at."""

    text: str
    trials: int
    questions: tuple[str, ...]
    decisions: tuple[str, ...] = ()
    model: Path | None = None  # an OpenSim model beside the recordings, not imported yet
    coordinates: tuple[str, ...] = ()  # of it, that were recorded
    moved_by: tuple[str, ...] = ()  # coordinates among these whose muscles have electrodes; the others move them along
    ranges: Mapping[str, tuple[float, float]] = {}  # rad, that the recordings visit, with a margin


class _Choice(NamedTuple):
    limb: JointGuess
    side: str
    both: bool


def draft(folder: Path, limb: JointGuess | None = None, side: str = "") -> Draft:
    """Drafts the `cohort.toml` of a folder.

    Args:
        folder: with recordings at any depth.
        limb: the imported model; None takes a built-in joint.
        side: `"r"` or `"l"` where both were recorded; the right one if "".

    Raises:
        PitlError: if there is no file with EMG in it.
    """
    folder = Path(folder)
    found = look(folder)
    if not found.trials:
        looked = f"looked for files ending in {', '.join(registry.READERS)} with columns named after muscles or 'EMG'"
        if not found.left_out:
            read = ", ".join(str(f.path.relative_to(folder)) for f in found.files[:3]) or "nothing that can be read"
            raise PitlError(
                f"{folder}: found no file with EMG, but {read}; {looked}; rename the columns or choose another folder."
            )
        # a damaged file may be the one with EMG, and wrong in many ways
        _, *others = dict.fromkeys(s.split(":")[0].split(",")[0] for s in found.left_out)
        names = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        too = f" Nor can {names} be used." if others else ""
        raise PitlError(f"{folder}: found no file with EMG. {found.left_out[0].rstrip('.')}.{too} For EMG, {looked}.")
    questions: list[str] = []
    decisions: list[str] = []
    choice = _choose(found, limb, side, questions)
    head = [
        "# What the files in this folder are, as `pitl init` guessed: check every line with a '?', then `pitl check`.",
        f"name = {toml(folder.resolve().name)}",
        f"joint = {toml(choice.limb.joint)} # ? built-in: knee, wrist",
    ]
    if any(not p.resolve().is_relative_to(folder.resolve()) for p in _paths(found)):
        head.append("outside = true # some files lie behind links that leave this folder")
        decisions.append("links in the folder lead out of it: outside = true lets them")
    out = ["\n".join(head), _emg(found, choice, questions, decisions)]
    angle, sign = _angle(found, choice, questions)
    out.append(angle)
    torque = _torque(found, choice, sign)
    out += [torque] if torque else []
    has_force = _force(found.trials, choice.limb.muscles, out)
    units = _units(found, choice)
    out += [
        _trial(folder, key, parts, choice, (bool(torque), has_force, units, questions))
        for key, parts in found.trials.items()
    ]
    model, coordinates, moved_by, ranges = _model(folder, found, choice, limb, questions)
    for subject in dict.fromkeys(s for s, _ in found.trials):
        own = [toml(p.relative_to(folder).as_posix()) for s, p in found.contractions if s == subject]
        peak = f"\nmvc_files = [{', '.join(own)}] # maximum voluntary contractions" if own else ""
        peak += _ceinms(folder, found, subject, decisions)
        out.append(
            f"[[subject]]\nname = {toml(subject)}{peak}\n# height_m = 1.75\n# mass_kg = 70\n# sex = \"female\""
        )  # fmt: skip
    if found.left_out:
        out.append("# Not used:\n" + "\n".join(f"# - {printable(s)[:300]}" for s in found.left_out[:200]))
        unread = "could not be read or used"
        decisions.append(
            f"{len(found.left_out)} file(s) or column(s) {unread}: " + "; ".join(s[:200] for s in found.left_out[:3])
        )
    text = "\n\n".join(out) + "\n"
    return Draft(
        text, len(found.trials), tuple(dict.fromkeys(questions)), tuple(decisions), model, coordinates, moved_by, ranges
    )


def _ceinms(folder: Path, found: Found, subject: str, decisions: list[str]) -> str:
    """The line for a person's subject file of CEINMS, the calibrated one where there are several."""
    people = {s for s, _ in found.trials}
    mine = [p for p in found.subjects if len(people) == 1 or subject in (p.stem, *p.relative_to(folder).parts)]
    if not mine:
        return ""
    best = max(mine, key=lambda p: ("calibrated" in p.stem.lower()) - 2 * ("uncalibrated" in p.stem.lower()))
    name = best.relative_to(folder).as_posix()
    others = [p.relative_to(folder).as_posix() for p in mine if p is not best]
    left = f"; {', '.join(map(printable, others))} is not used" if others else ""
    decisions.append(
        f"{printable(name)} is a subject of CEINMS: its muscle parameters are one start of the calibration on moments, "
        f"and `pitl run` shows how well they do by themselves{left}"
    )
    return f"\nceinms = {toml(name)} # muscle parameters: a start of the calibration, and a comparison"


def _paths(found: Found) -> Iterable[Path]:
    yield from (f.path for t in found.trials.values() for f in t.values())
    yield from (p for _, p in found.contractions)


def _choose(found: Found, limb: JointGuess | None, side: str, questions: list[str]) -> _Choice:
    """Which joint moved and which side of it is taken."""
    from pitl.mechanics.joints import BUILTIN

    trials = found.trials.values()
    angles = [s.columns[i] for s, i in columns(trials, "angle")]
    muscles = " ".join(words.plain(s.columns[i]) for s, i in columns(trials, "emg"))
    sides = Counter(words.side(s.columns[i]) for p in ("emg", "angle") for s, i in columns(trials, p))
    both = bool(sides["r"] and sides["l"])
    if both and not side:
        emg_sides = {words.side(s.columns[i]) for s, i in columns(trials, "emg")} - {""}
        side = emg_sides.pop() if len(emg_sides) == 1 else "r"
        if sum(words.side(s.columns[i]) == ("l" if side == "r" else "r") for s, i in columns(trials, "emg")):
            told = "right" if side == "r" else "left"
            questions.append(f"both sides were recorded; the {told} one was taken: `pitl init --side l` takes the left")
    if limb is not None:
        return _Choice(limb, side if both else "", both)
    named = {j: sum(bool(re.search(a, words.plain(n))) for n in angles) for j, (a, _) in _JOINTS.items()}
    spoken = {j: len(re.findall(m, muscles)) for j, (_, m) in _JOINTS.items()}
    built_in = [j for j in _JOINTS if j in BUILTIN]
    possible = [j for j in _JOINTS if named[j]] or [j for j in built_in if spoken[j]] or built_in
    # a whole body is recorded around the muscles that were; without words for muscles the built-in joint is meant
    joint = max(possible, key=lambda j: (j in BUILTIN and (spoken[j] > 0 or not any(spoken.values())), spoken[j]))
    if joint not in BUILTIN:
        questions.append(
            f"the angles are of the {joint}, which is no built-in joint ({', '.join(BUILTIN)}): import a model of it "
            f"with `pitl model import FILE.osim --coordinates ... --out {joint}` and name its folder as joint"
        )
        return _Choice(JointGuess(joint, (f"{joint}_flexion",), (), ()), side if both else "", both)
    if not any(named.values()) and not any(spoken.values()):
        questions.append(f"which joint moved cannot be told from the columns' names; {joint!r} was taken")
    known = BUILTIN[joint]
    return _Choice(JointGuess(joint, known["dofs"], known["muscles"], known["postures"]), side if both else "", both)


def _chosen(found: Found, choice: _Choice) -> list[tuple[DraftedFile, Stream, int]]:
    """The EMG columns of the first trial, on one side."""
    first = next(iter(found.trials.values()))["emg"]
    pairs = [(first, s, i) for s, i in first.columns["emg"]]
    mine = [c for c in pairs if not choice.side or words.side(c[1].columns[c[2]]) in (choice.side, "")]
    return mine or pairs


def _emg(found: Found, choice: _Choice, questions: list[str], decisions: list[str]) -> str:
    chosen = _chosen(found, choice)
    first = chosen[0][0]
    labels = [s.columns[i] for _, s, i in chosen]
    names = [re.sub(r"(?i)[\s_:]*(emg)[\s_]*|\s*[\[(].*|,\s*[muµ]?v$", "", n).strip("_: ") for n in labels]
    lines = ["[emg]"]
    if choice.both:
        names = [words.without_side(n) for n in names]
        others = [s.columns[i] for s, i in first.columns["emg"] if s.columns[i] not in labels]
        lines += [f"# the other side was left out: {printable(', '.join(others))}"] if others else []
    distinct = len(set(names)) == len(names) and all(re.search(r"[^\W\d]", n) for n in names)
    if not distinct or all(_NUMBERED.fullmatch(n) for n in names):
        names = names if distinct else [_full(first, s, i) for _, s, i in chosen]
        questions.append("the columns do not say which channel is which muscle: rename the keys under [emg] channels")
    kinds = Counter(kind_of(x[np.isfinite(x)], _rate(s)) for _, s, i in chosen if len(x := s.values[:, i]) > 20)
    kind = kinds.most_common(1)[0][0] if kinds else "raw"
    if kind != "raw":
        lines.append(f'kind = "{kind}" # ? told by {"the spectrum and the sign" if kind == "envelope" else "the sign"}')
        decisions.append(f"the EMG is taken as {'envelopes' if kind == 'envelope' else 'rectified'}: {kind = }")
    said = any(s.units[i] for t in found.trials.values() for s, i in t["emg"].columns["emg"])
    unit = Counter(u for t in found.trials.values() if (u := _guess(t["emg"], kind))).most_common(1) if not said else []
    if unit:
        lines.append(f'unit = "{unit[0][0]}" # ? guessed from the size; no file says it')
        if unit[0][0] in VOLTS:
            questions.append(f"the EMG's unit was guessed from its size ({unit[0][0]})")
        else:
            decisions.append("the EMG is taken as parts of the maximum, since it has no unit")
    strange = next(
        (f"{s.columns[i]} in {s.units[i]!r}" for _, s, i in chosen if s.units[i] not in ("", *EMG_UNITS)), ""
    )
    if strange:
        lines.append('# unit = "mV" # ! what the file says is no unit of EMG that is known')
        questions.append(f"the file gives {strange[:120]}, which is no known unit of EMG: say unit = under [emg]")
    if any(s.time_s is None and not s.rate_hz for _, s, _ in chosen):
        lines.append("# rate_hz = 1000 # ! samples per second: it was not found in the file")
        questions.append("no time column and no rate was found: fill in rate_hz under [emg]")
    if kind == "raw":
        lines.append("# notch_hz = 50 # takes power-line hum out; `pitl check` says whether there is any")
    lines += ["[emg.channels] # ? muscle = column"]
    lines += [f"{_key(n)} = {toml(_full(first, s, i))}" for n, (_, s, i) in zip(names, chosen, strict=True)]
    return "\n".join(lines)


def _rate(stream: Stream) -> float:
    if stream.time_s is not None and len(stream.time_s) > 2 and stream.time_s[-1] > stream.time_s[0]:
        return float((len(stream.time_s) - 1) / (stream.time_s[-1] - stream.time_s[0]))
    return stream.rate_hz or 1000.0


def _guess(file: DraftedFile, kind: str = "raw") -> str:
    """The unit of a file's EMG from its size; "" if the file says one, also one that nobody knows."""
    stated = file.columns["emg"]
    if any(s.units[i] for s, i in stated):
        return ""
    if kind == "envelope" and all(float(np.nanmax(s.values[:, i])) < 5 for s, i in stated):
        return "1"
    size = float(np.nanmedian([np.nanstd(s.values[:, i]) for s, i in stated]))
    return "uV" if size > 5 else "mV" if size > 2e-3 else "V"


def _units(found: Found, choice: _Choice) -> dict[tuple[str, str], str]:
    """Units of trials whose size says another one than that of most."""
    kinds = [
        kind_of(x[np.isfinite(x)], _rate(s)) for _, s, i in _chosen(found, choice) if len(x := s.values[:, i]) > 20
    ]
    kind = Counter(kinds).most_common(1)[0][0] if kinds else "raw"
    guesses = {k: _guess(t["emg"], kind) for k, t in found.trials.items()}
    usual = Counter(u for u in guesses.values() if u).most_common(1)
    said = any(not u for u in guesses.values())  # then each that says none has its own line
    return {k: u for k, u in guesses.items() if u and usual and (said or u != usual[0][0])}


def _angle(found: Found, choice: _Choice, questions: list[str]) -> tuple[str, str]:
    """The section about angles, and the sign of the first one."""
    dofs = choice.limb.dofs
    result = next((t["angle"] for t in found.trials.values() if "angle" in t), None)
    if result is None:
        questions.append("no angle was found; without one nothing can be learned")
        return f'# no angle was found\n# [angle]\n# coordinates = {{ {dofs[0]} = "COLUMN" }}\n# unit = "deg"', ""
    pairs, units, taken, sign, stated = [], [], [], "", ""
    for dof in dofs:
        stream, i = _about(result.columns["angle"], dof, choice, questions)
        values = stream.values[:, i]
        if choice.limb.joint == "knee" and np.nanmedian(values) < 0:
            sign = "-"
            stated = f" # ? sign turned: it runs from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}"
        pairs.append(f"{_key(dof)} = {toml(sign + _full(result, stream, i))}")
        taken.append((stream, i))
        units.append((stream.units[i], float(np.nanmax(np.abs(values))), stream))
    lines = ["[angle] # flexion positive; a minus before the column turns the sign"]
    lines.append(f"coordinates = {{ {', '.join(pairs)} }}{stated}")
    strange = next((f"{s.columns[i]} in {s.units[i]!r}" for s, i in taken if s.units[i] not in ("", *RADIANS)), "")
    if strange:
        lines.append('# unit = "deg" # ! what the file says is no unit of an angle that is known')
        questions.append(
            f"the file gives {strange[:120]}, which is no known unit of an angle: say unit = under [angle]"
        )
    elif any(u not in RADIANS for u, _, _ in units):
        largest = max(size for _, size, _ in units)
        lines.append(
            f'unit = "{"deg" if largest > 2 * np.pi else "rad"}" # ? guessed: the largest value is {largest:.3g}'
        )
    if any(s.time_s is None and not s.rate_hz and s.name not in _names_of_emg(result) for _, _, s in units):
        lines.append("# rate_hz = 100 # ! samples per second: it was not found in the file")
        questions.append("the angles have no time column and no rate: fill in rate_hz under [angle]")
    return "\n".join(lines), sign


def _names_of_emg(file: DraftedFile) -> set[str]:
    return {s.name for s, _ in file.columns.get("emg", [])}


def _about(
    pairs: list[tuple[Stream, int]], dof: str, choice: _Choice, questions: list[str] | None
) -> tuple[Stream, int]:
    """The column of a coordinate, on the chosen side; the one that varies most if the names do not tell."""
    exact = [(s, i) for s, i in pairs if s.columns[i].removesuffix("/value").rpartition("/")[2] == dof]
    if exact:
        return exact[0]
    pattern = _JOINTS[choice.limb.joint][0] if choice.limb.joint in _JOINTS else re.escape(dof)
    named = [(s, i) for s, i in pairs if re.search(pattern, words.plain(s.columns[i]))]
    mine = [(s, i) for s, i in named if not choice.side or words.side(s.columns[i]) == choice.side] or named
    if len(mine) == 1:
        return mine[0]
    stream, i = max(mine or pairs, key=lambda c: float(np.nanstd(c[0].values[:, c[1]])))
    if questions is not None and len({s.columns[j] for s, j in mine or pairs}) > 1:
        questions.append(f"which column is {dof} was guessed: {printable(stream.columns[i])}, which moves most")
    return stream, i


def _torque(found: Found, choice: _Choice, sign: str) -> str:
    """The section about torques, if the files have one for every coordinate; their signs are those of the angles."""
    result = next((t["torque"] for t in found.trials.values() if "torque" in t), None)
    if result is None:
        return ""
    pairs = []
    muscles = " ".join(words.plain(s.columns[i]) for _, s, i in _chosen(found, choice))
    own = [d for d in choice.limb.dofs if any(re.search(_JOINTS[j][0], words.plain(d)) for j in _spoken(muscles))]
    for dof in own or choice.limb.dofs:
        pattern = _JOINTS[choice.limb.joint][0] if choice.limb.joint in _JOINTS else re.escape(dof).replace("_", " ")
        named = [(s, i) for s, i in result.columns["torque"] if re.search(pattern, words.plain(s.columns[i]))]
        mine = [(s, i) for s, i in named if not choice.side or words.side(s.columns[i]) == choice.side] or named
        if not mine:
            return ""
        pairs.append(f"{_key(dof)} = {toml(sign + _full(result, *mine[0]))}")
    return f"[torque] # net torque of the muscles, N m\ncoordinates = {{ {', '.join(pairs)} }}"


def _force(trials: Mapping[Any, dict[str, DraftedFile]], muscles: Iterable[str], out: list[str]) -> bool:
    """Labels only where the file has every muscle of the model under its own name."""
    result = next((t["force"] for t in trials.values() if "force" in t), None)
    wanted = list(muscles)
    if result is None or not wanted:
        return False
    named = {s.columns[i].lower(): s.columns[i] for s, i in result.columns["force"]}
    if not all(m.lower() in named for m in wanted):
        have = printable(", ".join(list(named.values())[:12]))
        out.append(
            f"# {printable(result.path.name)} has forces of {have}; for labels, give one column for each muscle of the "
            "model:\n# [force]\n# muscles = { " + ", ".join(f'{m} = "COLUMN"' for m in wanted) + " }"
        )
        return False
    pairs = ", ".join(f"{_key(m)} = {toml(named[m.lower()])}" for m in wanted)
    out.append(f'[force] # labels, N\nmuscles = {{ {pairs} }}\nsource = "static_optimisation"')
    return True


def _trial(
    folder: Path, key: tuple[str, str], parts: dict[str, DraftedFile], choice: _Choice,
    more: tuple[bool, bool, dict[tuple[str, str], str], list[str]],
) -> str:  # fmt: skip
    torque, force, units, questions = more
    subject, trial = key
    task = re.sub(r"[_\d]+$", "", trial) or "task"
    usual, upright = _POSTURE.get(choice.limb.joint, (choice.limb.postures or ("default",))[:1] * 2)
    posture = upright if _UPRIGHT.search(trial.lower()) else usual
    if posture == usual and usual != upright:
        questions.append(f"the posture of trials was set to {posture!r}: correct it where it is another")
    lines = [
        "[[trial]]", f"subject = {toml(subject)}", f"trial = {toml(trial)}", f"task = {toml(task)}",
        f"posture = {toml(posture)}" + (f" # ? {' or '.join(choice.limb.postures)}" if usual != upright else ""),
    ]  # fmt: skip
    wanted = {"emg": True, "angle": True, "torque": torque, "force": force}
    used = [p for p in wanted if p in parts and wanted[p]]
    lacks = [p for p in wanted if p not in used and wanted[p]]
    names = {p: parts[p].path.relative_to(folder).as_posix() for p in used}
    if len(set(names.values())) == 1:
        lines.append(f"file = {toml(names['emg'])}")
        lines += [f"group = {toml(parts['emg'].group)}"] if parts["emg"].group else []
    else:
        lines += [f"{p} = {toml(n)}" for p, n in names.items()]
        lines += [f"group = {toml(parts['emg'].group)}"] if parts["emg"].group else []
        lines.append("# emg_offset_s = 0.0 # added to the EMG's clock; `pitl check` estimates it")
    if key in units:
        lines.append(f'emg_unit = "{units[key]}" # ? guessed from the size, no file says it or the others differ')
    if "torque" in used:
        lines.append('# swing = "find" # gait without force plates: its moments count while the foot is in the air')
    if lacks:
        lines.append(f"lacks = {toml(lacks)}")
    return "\n".join(lines)


def _model(
    folder: Path, found: Found, choice: _Choice, limb: JointGuess | None, questions: list[str]
) -> tuple[Path | None, tuple[str, ...], tuple[str, ...], dict[str, tuple[float, float]]]:
    """An OpenSim model beside the recordings, its coordinates that they have and that their muscles move or cross."""
    if limb is not None or not found.models:
        return None, (), (), {}
    model = found.models[0]
    muscles = " ".join(words.plain(s.columns[i]) for _, s, i in _chosen(found, choice))
    joints = _spoken(muscles)
    labels = dict.fromkeys(s.columns[i] for s, i in columns(found.trials.values(), "angle"))
    mine = [
        n for n in labels
        if any(re.search(_JOINTS[j][0], words.plain(n)) for j in joints if j != "hip")
        and (not choice.side or words.side(n) == choice.side)
    ]  # fmt: skip
    moved = [n for n in mine if f"{n}_moment" in {s.columns[i] for s, i in columns(found.trials.values(), "torque")}]
    own = tuple((moved or mine)[:3])
    if not own:
        return None, (), (), {}
    # muscles of the thigh that cross the hip too need its angle, which moves them without being a label itself
    hip = [
        n for n in labels
        if "knee" in joints and re.search(r"hip flex", words.plain(n)) and n not in own
        and (not choice.side or words.side(n) == choice.side)
    ][: 3 - len(own)]  # fmt: skip
    moved_by = tuple(_coordinate(n) for n in own)
    chosen = tuple(_coordinate(n) for n in (*hip, *own))
    ranges = {_coordinate(n): _visited(found, n) for n in (*hip, *own)}
    more = f" (of {len(found.models)} models)" if len(found.models) > 1 else ""
    questions.append(
        f"{printable(model.relative_to(folder).as_posix())}{more} is a model of this body, the built-in "
        f"{choice.limb.joint} was taken: `pitl init --model` imports it with {', '.join(chosen)}"
    )
    return model, chosen, moved_by, ranges


def _spoken(muscles: str) -> list[str]:
    """Joints for which muscles speak."""
    return [j for j, (_, m) in _JOINTS.items() if re.search(m, muscles)]


def _coordinate(column: str) -> str:
    return column.removesuffix("/value").rpartition("/")[2]


_MARGIN = np.radians(10.0)  # rad, beyond what the recordings visit


def _visited(found: Found, column: str) -> tuple[float, float]:
    """Range of an angle over all recordings, with a margin [rad]."""
    values = [
        s.values[:, i] for s, i in columns(found.trials.values(), "angle") if s.columns[i] == column
    ]  # fmt: skip
    units = [s.units[i] for s, i in columns(found.trials.values(), "angle") if s.columns[i] == column]
    low, high = min(float(np.nanmin(v)) for v in values), max(float(np.nanmax(v)) for v in values)
    stated = RADIANS.get(units[0]) if units[0] in RADIANS else None
    factor = stated if stated is not None else np.radians(1.0) if max(-low, high) > 2 * np.pi else 1.0
    return low * factor - _MARGIN, high * factor + _MARGIN


def _full(result: DraftedFile, stream: Stream, i: int) -> str:
    name = stream.columns[i]
    shared = sum(name in s.columns for s in result.signals.streams) > 1
    return f"{stream.name}/{name}" if shared else name


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def path_of(folder: Path) -> Path:
    """Where the draft belongs."""
    return Path(folder) / NAME
