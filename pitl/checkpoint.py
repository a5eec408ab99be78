"""Trees of arrays with what must be known to use them, on disk: exact to the bit, whole or not there at all.

FOLDER/pitl.json  marker, schema version, metadata, and name, type, shape and digest of every array
FOLDER/tree/      the arrays, as orbax writes them
"""

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pitl.errors import PitlError
from pitl.outputs import writing

SCHEMA = 1
_MARKER = "pitl.json"
_TREE = "tree"


def save(folder: str | Path, tree: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes a checkpoint, in place of one that is there.

    Args:
        folder: what to make; it appears when everything in it is written.
        tree: nested dictionaries with text keys of arrays or numbers.
        meta: anything that JSON can hold.

    Raises:
        PitlError: if it cannot be written, such as on a full disk; what was there before then stays.
    """
    folder = Path(folder)
    arrays = {name: np.asarray(leaf) for name, leaf in _leaves(tree, ())}
    about = {
        "format": "pitl",
        "schema": SCHEMA,
        "meta": meta,
        "arrays": [{"name": list(n), "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()],
    }
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            made.chmod(0o755)
            _write(made / _TREE, _nested({n: a for n, a in arrays.items() if a.size}))
            about["files"] = _digests(made)
            (made / _MARKER).write_text(json.dumps(about, indent=1), encoding="utf-8")
            _swap(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def load(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads back the tree, its leaves NumPy arrays of the very types and bits that were saved, and the metadata.

    Raises:
        PitlError: if there is no checkpoint, it is damaged, or this version cannot read it.
    """
    folder = Path(folder)
    about = _about(folder)
    try:
        # tensorstore does not notice every changed byte, and reports what it does notice in several places at once
        found = _digests(folder)
        for name, digest in about["files"].items():
            if found.get(name) != digest:
                raise ValueError(f"{name} {'is missing' if name not in found else 'differs from what was saved'}")
        arrays = {tuple(a["name"]): np.empty(a["shape"], np.dtype(a["dtype"])) for a in about["arrays"]}
        read = _read(folder / _TREE, _nested({n: ocp.RestoreArgs(np.ndarray) for n, a in arrays.items() if a.size}))
        return _nested(arrays | {n: np.asarray(leaf) for n, leaf in _leaves(read, ())}), about["meta"]
    except Exception as e:  # whatever a damaged description makes of the reading of it
        raise _damaged(folder, _first_line(e)) from e


def _about(folder: Path) -> dict[str, Any]:
    marker = folder / _MARKER
    if not folder.is_dir():
        raise PitlError(f"there is no checkpoint {folder}; check the path, or train first.")
    try:
        about = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise PitlError(f"{folder} is no checkpoint of this package: it has no {_MARKER}; name another folder.") from e
    except OSError as e:
        raise PitlError(f"cannot read {marker}: {e.strerror}.") from e
    except ValueError as e:
        raise _damaged(folder, f"{_MARKER}: {e}") from e
    if not isinstance(about, dict) or about.get("format") != "pitl":
        raise PitlError(f"{folder} is no checkpoint of this package: {_MARKER} does not say so; name another folder.")
    if about.get("schema") != SCHEMA:
        raise PitlError(
            f"the checkpoint {folder} has schema {about.get('schema')}, this version reads {SCHEMA}; "
            "make it again, or use the version that made it."
        )
    return about


def _damaged(folder: Path, what: str) -> PitlError:
    return PitlError(f"the checkpoint {folder} is damaged ({what}); delete that folder and make it again.")


def _leaves(tree: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if not isinstance(key, str):
            raise PitlError(f"checkpoint key {'/'.join([*at, repr(key)])} is not text; rename it.")
        if isinstance(value, Mapping):
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


def _nested(flat: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        inside = tree
        for part in name[:-1]:
            inside = inside.setdefault(part, {})
        inside[name[-1]] = value
    return tree


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / _MARKER)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _write(folder: Path, tree: dict[str, Any]) -> None:
    if not jax.tree.leaves(tree):
        return
    try:
        with _quiet(), _checkpointer() as checkpointer:
            checkpointer.save(folder.resolve(), args=ocp.args.PyTreeSave(tree))
    except ValueError as e:  # tensorstore tells what the operating system said only in its text
        code = re.search(r"os_error_code='(\d+)'", str(e))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from e


def _read(folder: Path, restore_args: dict[str, Any]) -> dict[str, Any]:
    if not restore_args:
        return {}
    with _quiet(), _checkpointer() as checkpointer:
        return checkpointer.restore(folder.resolve(), args=ocp.args.PyTreeRestore(restore_args=restore_args))


def _checkpointer() -> ocp.Checkpointer:
    """One that waits for no other process of the run: every process has whole arrays, and the first one writes."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"process{me}")
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs every failure with a traceback before it raises it; the one who calls decides what is shown."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def _swap(made: Path, folder: Path) -> None:
    """Puts `made` in the place of `folder`; a folder with something in it cannot be renamed over."""
    if not folder.exists():
        made.rename(folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        folder.rename(old / "old")
        made.rename(folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
