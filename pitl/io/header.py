"""The header of a folder with your own recordings: which file is whose trial, and what its columns are."""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pitl.errors import PitlError

NAME = "recordings.toml"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Emg(_Closed):
    columns: list[str] = Field(min_length=1)
    unit: Literal["V", "mV", "uV"]
    channels: list[str] | None = None


class Angle(_Closed):
    columns: list[str] = Field(min_length=1)
    dofs: list[str]
    unit: Literal["deg", "rad"]


class _Force(_Closed):
    columns: list[str] = Field(min_length=1)
    muscles: list[str]
    source: str | None = None


class _Torque(_Closed):
    columns: list[str] = Field(min_length=1)
    dofs: list[str] | None = None


class Trial(_Closed):
    file: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    task: str
    trial: str
    posture: str
    rate_hz: float | None = Field(None, gt=0)
    lacks: list[Literal["angle", "force", "torque"]] = []
    force_source: str | None = None
    notes: list[str] = []


class _Subject(_Closed):
    name: str
    height_m: float | None = Field(None, gt=0)
    mass_kg: float | None = Field(None, gt=0)
    mvc: list[float] | None = None


class Header(_Closed):
    joint: str
    rate_hz: float = Field(gt=0)
    name: str | None = None
    notes: list[str] = []
    time: str | None = None
    valid: str | None = None
    decimal: Literal[".", ","] = "."
    emg: _Emg
    angle: Angle | None = None
    force: _Force | None = None
    torque: _Torque | None = None
    trial: list[Trial] = Field(min_length=1)
    subject: list[_Subject] = []


_SECTIONS: dict[Any, type[BaseModel]] = {
    "emg": _Emg, "angle": Angle, "force": _Force, "torque": _Torque, "trial": Trial, "subject": _Subject
}  # fmt: skip


def read_header(path: Path) -> Header:
    text = read_text(path, "write one that lists the trials, or choose the folder that has it")
    try:
        header = Header.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise PitlError(f"{path}: is not valid TOML: {e}; mend that line.") from e
    except ValidationError as e:
        raise PitlError(f"{path}: {_sentence(e)}") from e
    e, a, f, t = header.emg, header.angle, header.force, header.torque
    pairs: list[tuple[str, list[str], str, list[str] | None]] = [("emg", e.columns, "channels", e.channels)]
    if a:
        pairs.append(("angle", a.columns, "dofs", a.dofs))
    if f:
        pairs.append(("force", f.columns, "muscles", f.muscles))
    if t:
        dofs = t.dofs or (a.dofs if a else None)
        if dofs is None or (a and a.dofs != dofs):
            raise PitlError(f"{path}: [torque] needs the same dofs as [angle]; name them in one of the two.")
        pairs.append(("torque", t.columns, "dofs", dofs))
    for section, columns, key, names in pairs:
        if names is not None and len(names) != len(columns):
            raise PitlError(
                f"{path}: [{section}] has {len(columns)} columns but {len(names)} {key}; give one name per column."
            )
        for what, values in (("columns", columns), (key, names or [])):
            if len(set(values)) != len(values):
                raise PitlError(f"{path}: [{section}] {what} repeats {_repeated(values)!r}; each may appear once.")
    distinct(path, "subject", [p.name for p in header.subject])
    distinct(path, "trial", [f"{r.subject}/{r.trial}" for r in header.trial])
    distinct(path, "file", [r.file for r in header.trial])
    known = {r.subject for r in header.trial}
    for p in header.subject:
        if p.name not in known:
            raise PitlError(
                f"{path}: [[subject]] {p.name!r} has no trial{nearest(p.name, known)}; remove or rename it."
            )
        if p.mvc is not None and len(p.mvc) != len(e.columns):
            raise PitlError(
                f"{path}: mvc of subject {p.name} has {len(p.mvc)} values, expected {len(e.columns)}, "
                "one for each EMG column."
            )
    return header


def _sentence(error: ValidationError) -> str:
    # a mistyped key is also a missing one; naming it helps more
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    loc = tuple(first["loc"])
    where = ".".join(str(k + 1) if isinstance(k, int) else str(k) for k in loc)
    if first["type"] == "extra_forbidden":
        model = _SECTIONS[loc[0]] if len(loc) > 1 else Header
        return f"unknown key {where!r}{nearest(str(list(loc)[-1]), model.model_fields)}; correct or remove it."
    if first["type"] == "missing":
        return f"the key {where!r} is missing; add it."
    return f"{where!r} is {first['input']!r:.60}: {first['msg'][:1].lower()}{first['msg'][1:]}; correct it."


def nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else f" (there are: {', '.join(names)[:300]})"


def _repeated(values: Sequence[str]) -> str:
    return next(v for i, v in enumerate(values) if v in values[:i])


def distinct(path: Path, what: str, values: Sequence[str]) -> None:
    if len(set(values)) != len(values):
        raise PitlError(f"{path}: the {what} {_repeated(values)!r} appears twice; give each its own name.")


def read_text(path: Path, advice: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as e:
        raise PitlError(f"{path} does not exist; {advice}.") from e
    except UnicodeDecodeError as e:
        raise PitlError(f"{path}: is not UTF-8 text (byte {e.start}); save it as plain text in UTF-8.") from e
    except (OSError, ValueError) as e:
        raise PitlError(f"cannot read {path}: {e}; expected a text file.") from e
    return text.replace("\r\n", "\n").replace("\r", "\n")
