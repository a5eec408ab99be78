"""Reader of the UCI "EMG dataset in lower limb" (Sanchez and Sotelo 2014), doi 10.24432/C5ZW3K.

Text files named after subject and task (`1Nsen.txt`, `10Apie.txt.gz`), tab separated, 1000 Hz: four raw EMG channels
[mV] and a knee goniometer [deg]. Headers, signs, zeros and even tasks differ between files; every decision taken here
is kept as a note for the user, and can be overridden.
"""

import difflib
import gzip
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pitl.errors import PitlError
from pitl.io import goniometer
from pitl.recording import Cohort, Recording, Subject

CHANNELS = ("RF", "BF", "VM", "ST")
POSTURES = {"sen": "seated", "pie": "standing", "mar": "standing"}
_FILE = re.compile(r"(\d+[AN])\s*[_-]?(sen|pie|mar)\.(?:txt|log)(?:\.gz)?", re.IGNORECASE)
# How the header words each column; the files were labelled by different people, in two languages.
_NAMES = {
    "RF": r"\brf\b|rect",
    "BF": r"\bbf\b|b[ií]ceps",
    "VM": r"\bvm\b|vast",
    "ST": r"\bst\b|semi",
    "FX": r"\bfx\b|flex|gonio|angle|rodilla|knee",
}
_DEFAULT_RATE_HZ = 1000.0
_OVERRIDES = ("sign", "offset_deg", "task", "drop")


class Raw(NamedTuple):
    """A file as it is, before any decision about the goniometer."""

    emg: np.ndarray  # (T, 4) V
    angle_deg: np.ndarray  # (T,) as recorded
    valid: np.ndarray  # (T,) False where a row was incomplete
    rate_hz: float
    notes: tuple[str, ...]


def read_file(path: Path) -> Raw:
    """Parses one file.

    Raises:
        PitlError: if it cannot be read, has no data, or has text where numbers belong.
    """
    text = _text(path)
    header, body = _split(path, text)
    order, notes = _columns(header)
    table = _numbers(path, body, len(header))
    if table.shape[1] < 5:
        raise PitlError(
            f"{path}: found {table.shape[1]} column(s), expected at least 5 (four EMG channels and the goniometer); "
            "is it a file of this data set?"
        )
    values = table[:, [order[name] for name in (*CHANNELS, "FX")]]
    complete = np.isfinite(values).all(axis=1)
    if not complete.any():
        raise PitlError(f"{path}: no row has all of {', '.join(CHANNELS)} and FX; the file holds no usable data.")
    last = len(complete) - int(np.argmax(complete[::-1]))
    if last < len(values):
        notes.append(f"{len(values) - last} incomplete row(s) at the end left out")
    values, complete = values[:last], complete[:last]
    if not complete.all():
        notes.append(f"{int((~complete).sum())} incomplete row(s) in the middle marked unusable")
        where = np.arange(len(values))
        values = np.stack([np.interp(where, where[complete], v[complete]) for v in values.T], axis=1)
    joined = " ".join(header)
    slow = re.search(r"extrapolated from (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?) samples", joined)
    if slow:
        notes.append(f"the goniometer was recorded at {slow[1]} Hz and interpolated")
    rate_hz = float(slow[2]) if slow else _DEFAULT_RATE_HZ
    unit = 1e-6 if re.search(r"engineering units: ?[uµ]V", joined) else 1e-3
    return Raw(values[:, :4] * unit, values[:, 4], complete, rate_hz, tuple(notes))


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
            `task`, `drop`.

    Raises:
        PitlError: if nothing is found, a file is damaged, or an override names nothing.
    """
    overrides = dict(overrides or {})
    files = find(folder, ("sen", "pie", *tasks))
    found = {key: path for key, path in files.items() if key[1] in tasks}
    if not found:
        raise PitlError(
            f"{folder}: no file named like 1Nsen.txt or 10Apie.txt.gz with a task among {', '.join(tasks)}; "
            "give the folder of the UCI lower-limb data set."
        )
    _check_overrides(overrides, {s + t for s, t in found} | {s for s, _ in found})
    notes: list[str] = []
    raws = {
        key: read_file(path)
        for key, path in found.items()
        if not any(overrides.get(n, {}).get("drop") for n in (key[0], "".join(key)))
    }
    raws = _without_copies(raws, notes)
    subjects = []
    for name in sorted({s for s, _ in raws}, key=_natural):
        own = {t: raw for (s, t), raw in raws.items() if s == name}
        subjects.append(_subject(name, own, found, calibration_fraction, offset, overrides, notes))
    if not subjects:
        raise PitlError(f"{folder}: every recording was dropped by an override; nothing is left to read.")
    return Cohort("UCI lower limb", "knee", tuple(subjects), tuple(notes))


def find(folder: Path, tasks: Sequence[str]) -> dict[tuple[str, str], Path]:
    """Files of this data set below a folder, by subject and task.

    Raises:
        PitlError: if two files claim the same subject and task.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        match = _FILE.fullmatch(path.name)
        if match and match[2].lower() in tasks:
            key = (match[1].upper(), match[2].lower())
            if key in found:
                raise PitlError(f"{path} and {found[key]} are the same subject and task; remove one of them.")
            found[key] = path
    return found


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz") or data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as e:
        raise PitlError(f"{path}: cannot be read ({e}); the file is damaged or truncated: copy it again.") from e
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def _split(path: Path, text: str) -> tuple[list[str], str]:
    """Header lines, and the text of the rows after the last `Channel` or `Digitals` line."""
    lines = text.split("\n")
    named = [k for k, line in enumerate(lines[:60]) if line.startswith(("Channel", "Digitals"))]
    if not named:
        raise PitlError(
            f"{path}: none of the first lines begins with 'Channel'; this is not a file of the UCI lower-limb set."
        )
    start = named[-1] + 1
    body = "\n".join(lines[start:]).strip("\n")
    if not body.strip():
        raise PitlError(f"{path}, line {start}: the header is there but no data follow; copy the file again.")
    return lines[:start], body


def _columns(header: list[str]) -> tuple[dict[str, int], list[str]]:
    """Which column is which, from the header's words or, failing that, the usual order."""
    channels = [line for line in header if line.startswith("Channel")]
    order: dict[str, int] = {}
    for column, line in enumerate(channels):
        quoted = re.search(r"'([^']*)'", line)
        words = (quoted[1] if quoted else line).lower()
        for name, pattern in _NAMES.items():
            if re.search(pattern, words) and name not in order:
                order[name] = column
                break
    usual = dict(zip((*CHANNELS, "FX"), range(5), strict=True))
    if len(order) == 5:
        return order, []
    missing = ", ".join(sorted(set(usual) - set(order)))
    return usual, [f"the header does not name {missing}; the usual order of columns was taken: RF BF VM ST FX"]


def _numbers(path: Path, body: str, lines_before: int) -> np.ndarray:
    if "," in body[:2000] and "." not in body[:2000]:
        body = body.replace(",", ".")
    width = max(line.count("\t") for line in body[:20000].split("\n")) + 1
    try:
        table = pd.read_csv(
            io.StringIO(body), sep="\t", header=None, names=range(width), dtype=str, skip_blank_lines=False, quoting=3
        )
    except (pd.errors.ParserError, ValueError) as e:
        raise PitlError(f"{path}: the rows cannot be parsed ({str(e).strip().splitlines()[-1]}).") from e
    columns = []
    for k in range(min(width, 5)):
        column = table[k].str.strip()
        numbers = pd.to_numeric(column, errors="coerce")
        bad = np.flatnonzero(numbers.isna() & column.notna() & (column != "") & (column.str.lower() != "nan"))
        if len(bad):
            raise PitlError(
                f"{path}, line {lines_before + 2 + int(bad[0])}, column {k + 1}: found '{column.iloc[int(bad[0])]}', "
                "expected a number; mend or remove the line."
            )
        columns.append(numbers.to_numpy(float))
    return np.stack(columns, axis=1)


def _without_copies(raws: dict[tuple[str, str], Raw], notes: list[str]) -> dict[tuple[str, str], Raw]:
    """Leaves out recordings that another subject has too, so that nobody leaks from source to target."""
    seen: dict[bytes, tuple[str, str]] = {}
    kept = {}
    for key in sorted(raws, key=lambda k: (_natural(k[0]), k[1])):
        emg = raws[key].emg
        prints = [emg[:2000].tobytes(), emg[-2000:].tobytes()]
        twin = next((seen[p] for p in prints if p in seen), None)
        if twin is not None and twin[0] != key[0]:
            notes.append(f"{''.join(key)} is a copy of {''.join(twin)}: left out, or one person would be two subjects")
            continue
        for p in prints:
            seen.setdefault(p, key)
        kept[key] = raws[key]
    return kept


def _subject(
    name: str,
    own: dict[str, Raw],
    files: dict[tuple[str, str], Path],
    calibration_fraction: float,
    offset: str,
    overrides: Mapping[str, Mapping[str, Any]],
    notes: list[str],
) -> Subject:
    def asked(task: str, what: str) -> Any:
        return overrides.get(name + task, {}).get(what, overrides.get(name, {}).get(what))

    evidence = {t: goniometer.evidence(r.emg, r.angle_deg, r.rate_hz, calibration_fraction) for t, r in own.items()}
    is_task = {t: asked(t, "task") or t for t in own}
    if {"sen", "pie"} <= set(own) and not any(asked(t, "task") for t in own):
        swapped = goniometer.swapped(evidence["sen"], evidence["pie"])
        if swapped:
            is_task |= {"sen": "pie", "pie": "sen"}
            notes.append(f"{name}: sen and pie are taken as each other, because {swapped}")
    recordings = []
    for t, raw in own.items():
        task, decided = is_task[t], list(raw.notes)
        sign, zero_deg = 1.0, 0.0
        if offset == "auto":
            sign, why = goniometer.sign(evidence[t], task)
            decided.append(f"sign: {'kept' if sign > 0 else 'inverted'}, because {why}")
        if asked(t, "sign") is not None:
            sign = float(asked(t, "sign"))
            decided.append(f"sign: {sign:+.0f}, as asked")
        if offset == "auto":
            zero_deg, why = goniometer.zero(evidence[t], sign)
            decided.append(why)
        if asked(t, "offset_deg") is not None:
            zero_deg = float(asked(t, "offset_deg"))
            decided.append(f"zero: {zero_deg:+.1f} deg taken off, as asked")
        recordings.append(
            Recording(
                subject=name,
                task=task,
                trial=name + t,
                posture=POSTURES[task],
                rate_hz=raw.rate_hz,
                emg=raw.emg,
                channels=CHANNELS,
                angle=np.radians(sign * raw.angle_deg - zero_deg)[:, None],
                dofs=("knee_flexion",),
                valid=None if raw.valid.all() else raw.valid,
                source=str(files[(name, t)]),
                notes=tuple(decided),
            )
        )
    recordings.sort(key=lambda r: r.task)
    return Subject(name, tuple(recordings))


def _check_overrides(overrides: Mapping[str, Mapping[str, Any]], known: set[str]) -> None:
    for name, changes in overrides.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; found {', '.join(sorted(known))}."
            raise PitlError(f"data.overrides names '{name}', which is not in the folder{hint}")
        for key, value in changes.items():
            if key not in _OVERRIDES:
                raise PitlError(f"data.overrides.{name}: '{key}' is not one of {', '.join(_OVERRIDES)}.")
            if key == "task" and value not in POSTURES:
                raise PitlError(f"data.overrides.{name}.task is '{value}'; expected one of {', '.join(POSTURES)}.")
            if key == "sign" and value not in (1, -1):
                raise PitlError(f"data.overrides.{name}.sign is {value}; expected 1 or -1.")


def _natural(name: str) -> tuple[str, int]:
    """10A after 9A, people with a knee abnormality (A) before those without (N)."""
    return name[-1], int(name[:-1])
