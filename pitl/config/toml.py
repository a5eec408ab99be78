"""The configuration of a run: one TOML file, what it builds on, and `KEY=VALUE` changes; a mistyped key is an error.

A file that says `base = "other.toml"` (relative to itself) names only what it changes.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pitl.config.schema import Config, Section
from pitl.errors import PitlError

__all__ = ["Config", "change", "load", "to_dict", "to_toml"]

_Settings = TypeVar("_Settings", bound=Section)
_LONGEST_CHAIN = 32  # files that build on one another
_DEEPEST = 100  # lists or tables within one another
_LARGEST = 4 * 2**20  # bytes
_COMMAND_LINE = "the command line"
_Origin = dict[tuple[str, ...], str]  # which file, or the command line, gave each key


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Reads a configuration.

    Args:
        path: a TOML file; None is the defaults.
        overrides: changes, `"section.key=value"`; the value is TOML, or a bare word. A relative `data.dir` given here
            is relative to the working directory, one given in a file to that file.

    Raises:
        PitlError: if the file cannot be read, or a key or value in it or in the overrides is not known or not possible.
    """
    values, origin = ({}, {}) if path is None else _read(Path(path), ())
    for override in overrides:
        _apply(override, values, origin)
    return _validated(values, origin, "the defaults" if path is None else str(path))


def change(settings: _Settings, **values: Any) -> _Settings:
    """Settings with some of them changed, and validated like any others; sections are given as dictionaries.

    Raises:
        PitlError: the result is not possible.
    """
    try:
        return type(settings).model_validate({**settings.model_dump(), **values})
    except ValidationError as e:
        first = e.errors()[0]
        raise PitlError(_sentence(first, tuple(str(p) for p in first["loc"]))) from e


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as JSON has it; `Config(**to_dict(c)) == c`."""
    return config.model_dump(mode="json")


def to_toml(config: Config, *, explain: bool = False) -> str:
    """The configuration as a file that `load` reads back; `explain` adds what each key means, its unit and default."""
    lines = []
    for section, name, info, value in _entries(config):
        if name is None:
            lines += ["", f"[{section}]" + (f"  # {(type(value).__doc__ or '').splitlines()[0]}" if explain else "")]
            continue
        lines += _explanation(info, value) if explain else []
        lines.append(f"{name} = {_toml(value)}" if value is not None else f"# {name} is not set")
    return "\n".join(lines) + "\n"


def _entries(config: Config) -> Iterator[tuple[str, str | None, FieldInfo, Any]]:
    for key, info in Config.model_fields.items():
        value = getattr(config, key)
        if not isinstance(value, Section):
            yield "", key, info, value
            continue
        yield key, None, info, value
        for name, inner in type(value).model_fields.items():
            yield key, name, inner, getattr(value, name)


def _explanation(info: FieldInfo, value: Any) -> list[str]:
    extra = info.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else ""
    text = f"# {info.description}" + (f" [{unit}]" if unit not in ("", "1") else "")
    choices = [_toml(c) for c in _choices(info.annotation)]
    text += f"; one of {', '.join(choices)}" if choices and len(choices) < 7 else ""
    text += f"; default {_toml(info.default)}" if value != info.default else ""
    return [text]


def _choices(annotation: Any) -> tuple[Any, ...]:
    inner = get_args(annotation)
    return inner if inner and all(isinstance(c, str) for c in inner) else ()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return "nothing" if value is None else repr(value)


def _read(path: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], _Origin]:
    """A file's values over those of the file it builds on."""
    try:
        here = path.resolve()
        if path.exists() and not path.is_file():
            raise PitlError(f"the configuration {path} is no regular file; name a TOML file.")
        if path.stat().st_size > _LARGEST:
            raise PitlError(f"the configuration {path} has more than {_LARGEST >> 20} MiB; name a TOML file.")
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, RuntimeError) as e:  # RuntimeError: links in a circle
        reason = getattr(e, "strerror", None) or e
        raise PitlError(f"cannot read the configuration {str(path)[:200]}: {reason}{_neighbours(path)}.") from e
    except ValueError as e:
        raise PitlError(f"{str(path)[:200]} is no name or no text in UTF-8 ({str(e)[:80]}); name a TOML file.") from e
    if here in above:
        raise PitlError(f"{path}: base leads back to {path.name} itself; remove one of the base lines.")
    if len(above) >= _LONGEST_CHAIN:
        raise PitlError(f"{path}: is the base of a base, {_LONGEST_CHAIN} times over; build on a nearer file.")
    try:
        own = tomllib.loads(text)
        if _depth(own) > _DEEPEST:  # for anything that follows
            raise RecursionError
    except RecursionError as e:
        raise PitlError(f"{path} has lists or tables too deep within one another; write it flat.") from e
    except ValueError as e:  # also whole numbers of thousands of digits
        raise PitlError(f"{path} is not valid TOML: {str(e)[:200]}; mend that line.") from e
    base = own.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise PitlError(f"{path}: base is {_toml(base)}; give the name of a TOML file next to this one.")
    values, origin = ({}, {}) if base is None else _read(path.parent / base, (*above, here))
    own.setdefault("name", path.stem)
    folder = own.get("data", {}).get("dir") if isinstance(own.get("data"), dict) else None
    if isinstance(folder, str):
        own["data"]["dir"] = str((path.parent / Path(folder).expanduser()).resolve())
    chosen = own.get("model", {}).get("name") if isinstance(own.get("model"), dict) else None
    if isinstance(chosen, str):
        own["model"]["name"] = _model(chosen, path.parent)
    _merge(own, values, (), str(path), origin)
    return values, origin


def _depth(value: Any) -> int:
    """How many lists or tables lie within one another, counted to one more than there may be."""
    level, within = 0, [value]
    while nested := [v.values() if isinstance(v, Mapping) else v for v in within if isinstance(v, (Mapping, list))]:
        level, within = level + 1, [x for values in nested for x in values]
        if level > _DEEPEST:
            break
    return level


def _model(name: str, folder: Path) -> str:
    """A built-in joint as it is, anything else as a folder."""
    from pitl.mechanics.joints import BUILTIN

    return name if name in BUILTIN else str((folder / Path(name).expanduser()).resolve())


def _neighbours(path: Path) -> str:
    try:
        result = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    except (OSError, ValueError):
        result = []
    return f"; {path.parent} has {', '.join(result[:12])}" if result else ""


def _merge(new: Mapping[str, Any], into: dict[str, Any], at: tuple[str, ...], source: str, origin: _Origin) -> None:
    for key, value in new.items():
        origin[*at, key] = source
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(value, into.setdefault(key, {}), (*at, key), source, origin)
        else:
            into[key] = value


def _apply(override: str, values: dict[str, Any], origin: _Origin) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise PitlError(f"cannot read '{override}'; write a change as section.key=value, such as train.steps=500.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()  # a bare word
    first, *others = (part.strip() for part in key.split("."))
    if (first, *others) == ("data", "dir") and isinstance(value, str):
        value = str(Path(value).expanduser().resolve())
    if (first, *others) == ("model", "name") and isinstance(value, str):
        value = _model(value, Path())
    for name in reversed(others):
        value = {name: value}
    _merge({first: value}, values, (), _COMMAND_LINE, origin)


def _validated(values: dict[str, Any], origin: _Origin, file: str) -> Config:
    try:
        return Config(**values)
    except ValidationError as e:
        first, *others = e.errors()
        place = tuple(str(part) for part in first["loc"])
        source = next((origin[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origin), file)
        others = [o for o in others if o["loc"][:2] != first["loc"][:2]]
        more = f" ({len(others)} more after this)" if others else ""
        raise PitlError(f"{source}: {_sentence(first, place)}{more}") from e


def _sentence(error: Any, place: tuple[str, ...]) -> str:
    key, kind, result = ".".join(place), error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"{key} is not a known key; {_nearest(place)}"
    if "folds" in place:
        return f'evaluate.folds is {_toml(result)}; it should be "loso" or a whole number of at least 2.'
    if kind == "value_error":
        message = str(error["ctx"]["error"])
        return f"{key} {message}." if message.startswith(("is ", "should ")) else f"{key}: {message}."
    if kind == "string_pattern_mismatch":
        return f"{key} is {_toml(result)}; use only letters, digits, '.', '_' and '-', since it names a folder."
    if kind == "missing":
        return f"{'.'.join(place[:-1])} is {_toml(result)}, which is too short; `pitl config` shows what it takes."
    expected = error["msg"].removeprefix("Input should be ").partition(" or instance of ")[0]
    for ours, pydantics in _PLAINER.items():
        expected = expected.replace(pydantics, ours)
    return f"{key} is {_toml(result)}; it should be {expected}."


_PLAINER = {
    "at least ": "greater than or equal to ",
    "at most ": "less than or equal to ",
    "a whole number": "a valid integer",
    "a number": "a valid number",
    "text": "a valid string",
    "a list": "a valid tuple",
    "true or false": "a valid boolean",
    "a table of keys": "a valid dictionary",
}


def _nearest(place: tuple[str, ...]) -> str:
    known = {f"{s}.{n}" if s and n else s or str(n) for s, n, _, _ in _entries(Config())}
    key = ".".join(place)
    siblings = sorted(k for k in known if k.split(".")[:-1] == list(place[:-1]))
    same_name = sorted(k for k in known if k.split(".")[-1] == place[-1])
    close = difflib.get_close_matches(key, siblings, 1) or same_name or difflib.get_close_matches(key, known, 1)
    return f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(siblings)}."
