"""What a study consists of: a TOML file becomes a list of cells, each of them one configuration compared over seeds."""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from pitl.config import toml as configuration
from pitl.config.schema import Section, Supervision, known_methods
from pitl.config.toml import Config, to_dict
from pitl.errors import PitlError

Role = Literal["main", "curve", "ablation"]
# of evaluate: which answers, not what they are
_NOT_NUMBERS = ("methods", "supervision", "seeds", "primary", "lost_channels", "intervals")


class _Compared(Section):
    seeds: int = Field(1, ge=1)
    methods: tuple[str, ...] = ()
    supervision: tuple[Supervision, ...] = ()
    set: dict[str, Any] = {}

    @field_validator("methods")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_methods(value)


class CellEntry(_Compared):
    """A comparison by itself."""

    name: str = Field(pattern=r"^[\w.-]+$")
    base: str
    title: str = ""
    judged: bool = True  # whether the goals of the project are judged here (`benchmarks/targets.py`)


class CurveEntry(_Compared):
    """The comparison of a cell, with some of its settings swept."""

    name: str = Field(pattern=r"^[\w.-]+$")
    cell: str
    keys: tuple[str, ...] = Field(min_length=1)
    values: tuple[bool | int | float | str, ...] = Field(min_length=1)
    title: str = ""
    unit: str = ""
    generic: Literal["own", "reference"] = "own"


class FolderEntry(_Compared):
    """Every configuration of a folder, on the people of a cell; what a file says itself stands before what is `set`.

    Without `methods` and `supervision` they are those of each file.
    """

    path: str
    cell: str
    title: str = ""


class StudyFile(Section):
    """A study as it is written down."""

    title: str = ""
    about: str = ""
    method: str = "head_physics"  # of the primary comparison, with the labels `grade`
    against: str = "generic_physics"
    grade: Supervision = "angle"
    cell: tuple[CellEntry, ...] = Field(min_length=1)
    curve: tuple[CurveEntry, ...] = ()
    folder: tuple[FolderEntry, ...] = ()

    @field_validator("method", "against")
    @classmethod
    def _compared(cls, value: str) -> str:
        return known_methods((value,))[0]


@dataclass(frozen=True)
class Cell:
    """One configuration, and which methods are compared under it; pure: its numbers follow from what stands here."""

    name: str
    cohort: str  # name of the cell at the root
    role: Role
    curve: str  # name, empty if it is on none
    x: str  # value of what is swept, or empty
    title: str
    seeds: int
    methods: tuple[str, ...]
    supervision: tuple[Supervision, ...]
    config: Config | None  # None: cannot be read, `error` says why
    generic: Config | None  # whose generic models it uses
    error: str = ""


@dataclass(frozen=True)
class Study:
    """All cells, and what the page needs to know of the file."""

    name: str
    file: StudyFile
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]  # sentences


def read(path: Path, data: Path | None) -> Study:
    """Reads a study file.

    Args:
        path: of the TOML file.
        data: folder with real recordings; without it, cells on real recordings are left out.

    Raises:
        PitlError: the file cannot be read, or says something impossible.
    """
    try:
        file = StudyFile(**tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise PitlError(f"cannot read the study {path}: {e.strerror}.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise PitlError(f"{path} is not valid TOML: {e}; mend that line.") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise PitlError(f"{path}: {where}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from e
    roots = {c.name: c for c in file.cell}
    for entry in (*file.curve, *file.folder):
        if entry.cell not in roots:
            raise PitlError(f"{path}: there is no cell '{entry.cell}'; the cells are {', '.join(roots)}.")
    result = list(_cells(file, path, roots))
    names = [c.name for c in result]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise PitlError(f"{path}: {', '.join(twice)} is there twice; give every cell and curve a name of its own.")
    kept, left_out = [], []
    kinds = {c.name: c.config.data.kind for c in result if c.config is not None}
    for cell in result:
        if cell.config is not None and cell.config.data.kind != kinds.get(cell.cohort, cell.config.data.kind):
            left_out.append(f"{cell.name}: is on other recordings than {cell.cohort}, with which it would be compared")
        elif cell.config is None or cell.config.data.kind == "virtual":
            kept.append(cell)
        elif data is None:
            left_out.append(f"{cell.name}: is on real recordings, name their folder with --data")
        else:
            kept.append(_on(cell, data))
    return Study(path.stem, file, tuple(kept), tuple(left_out))


def _cells(file: StudyFile, path: Path, roots: Mapping[str, CellEntry]) -> Iterator[Cell]:
    references: dict[str, Config | None] = {}
    for entry in file.cell:
        config, error = _load(path.parent / entry.base, entry.set)
        references[entry.name] = config
        yield _cell(entry.name, entry.name, "main", entry, config, config, error, title=entry.title)
    for curve in file.curve:
        root = roots[curve.cell]
        for value in curve.values:
            changed = {**root.set, **curve.set, **dict.fromkeys(curve.keys, value)}
            config, error = _load(path.parent / root.base, changed)
            reference = references[curve.cell] if curve.generic == "reference" else config
            yield _cell(
                f"{curve.name}-{_word(value)}",
                curve.cell,
                "curve",
                curve,
                config,
                reference,
                error,
                curve=curve.name,
                x=_word(value),
                title=curve.title,
            )
    for folder in file.folder:
        for each in sorted((path.parent / folder.path).glob("*.toml")):
            changes = {**roots[folder.cell].set, **folder.set}
            config, error = _load(each, {k: v for k, v in changes.items() if not _says(each, k)})
            yield _cell(f"{each.parent.name}-{each.stem}", folder.cell, "ablation", folder, config, config, error)


def _says(path: Path, key: str) -> bool:
    """Whether a file itself, not what it builds on, sets a key."""
    try:
        result: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    for part in key.split("."):
        result = result.get(part) if isinstance(result, dict) else None
    return result is not None


def _cell(
    name: str,
    cohort: str,
    role: Role,
    entry: _Compared,
    config: Config | None,
    generic: Config | None,
    error: str,
    *,
    curve: str = "",
    x: str = "",
    title: str = "",
) -> Cell:
    asked = None if config is None else config.evaluate
    methods = entry.methods or (() if asked is None else asked.methods)
    supervision = entry.supervision or (() if asked is None else asked.supervision)
    return Cell(name, cohort, role, curve, x, title or name, entry.seeds, methods, supervision, config, generic, error)


def _load(path: Path, changes: Mapping[str, Any]) -> tuple[Config | None, str]:
    try:
        words = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()]
        return configuration.load(path, words), ""
    except PitlError as e:  # a cell that cannot be made is a failure of its own, not of the study
        return None, str(e)


def _on(cell: Cell, data: Path) -> Cell:
    def moved(config: Config | None) -> Config | None:
        if config is None:
            return None
        return configuration.change(config, data={**config.data.model_dump(), "dir": str(data.resolve())})

    return replace(cell, config=moved(cell.config), generic=moved(cell.generic))


def _word(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, (int, float)) else value


def decides(config: Config) -> dict[str, Any]:
    """Every setting on which a cell's answers depend, the folder of the recordings and the seed aside."""
    result = to_dict(config)
    result.pop("name")
    result["data"].pop("dir")
    for key in _NOT_NUMBERS:
        result["evaluate"].pop(key)
    return result


def digest(settings: Mapping[str, Any], defaults: Mapping[str, Any], *more: object) -> str:
    """A short name for settings; a setting that is added later, at its default, does not change it."""
    text = json.dumps([_apart(settings, defaults), *more], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _apart(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for key, value in settings.items():
        usual = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            inner = _apart(value, usual)
            if inner:
                result[key] = inner
        elif value != usual:
            result[key] = value
    return result


def files(config: Config) -> list[tuple[str, int]]:
    """Names and sizes of the recordings, which stand in for what is in them."""
    if config.data.kind == "virtual" or config.data.dir is None:
        return []
    root = Path(config.data.dir)
    return sorted((str(p.relative_to(root)), p.stat().st_size) for p in root.rglob("*") if p.is_file())
