"""Files that are written whole or not at all, checkpoints of arrays, and compiled programs that are kept.

A checkpoint is exact to the bit:
FOLDER/pitl.json  marker, schema version, metadata, and name, type, shape and digest of every array
FOLDER/tree/      the arrays, as orbax writes them
"""

import ctypes
import errno
import glob
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pitl.errors import PitlError

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
_MARKER = "pitl.json"
_TREE = "tree"
_TEMPORARY = re.compile(r"\..*\.(\d+)(?:@(\w+))?-\w{8}", re.DOTALL)  # with the process that writes it, and where
_ABANDONED_S = 7 * 24 * 3600.0  # s, nobody writes one file for so long


def safe_name(name: str) -> str:
    """A name that a file or folder may have: letters, digits, `._-`; what was changed leaves a trace of the original.

    Names of people come from files of others: they may hold separators, `..`, NUL or a thousand letters.

    Example:
        safe_name("anna") == "anna"; safe_name("../x") is something like "x-1f3a9c2b"
    """
    plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name), flags=re.ASCII).strip("._-")[:80]
    if plain == name and plain:
        return name
    return f"{plain or 'unnamed'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text, making the folders it needs.

    Raises:
        PitlError: if it cannot be written.
    """
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Writes bytes, making the folders they need.

    Raises:
        PitlError: if they cannot be written.
    """
    _atomic(Path(path), lambda file: file.write(data))


def atomic_savez(path: str | Path, arrays: "Mapping[str, np.ndarray]") -> None:
    """Writes arrays as a compressed .npz, making the folders it needs; `path` is used as it is, ending included.

    Raises:
        PitlError: if it cannot be written.
    """
    import numpy as np

    _atomic(Path(path), lambda file: np.savez_compressed(file, **arrays))  # pyright: ignore[reportArgumentType]


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns what an operating system says while `path` is written into a sentence.

    Raises:
        PitlError: in place of an OSError.
    """
    try:
        yield
    except OSError as e:
        raise PitlError(f"cannot write {path}: {_reason(e)}.") from e


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and start the same command again, finished parts are kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}; choose another folder with --out"
    return f"{error.strerror or error}; choose another place or mend this one"


def _atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # next to its final place: a rename is atomic only within one file system
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
            _sync(path.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _prefix(path: Path) -> str:
    """Of the temporary name of what is going to be `path`; what killed processes left under such names goes."""
    sweep(path.parent, path.name)
    return f".{path.name}.{os.getpid()}@{_machine()}-"


def temporary(path: Path) -> Path:
    """A name beside `path` for what is going to be it, which `sweep` knows if the process is killed meanwhile."""
    return path.with_name(_prefix(path) + secrets.token_hex(4))


def sweep(folder: str | Path, name: str | None = None) -> None:
    """Removes what processes that are no more were writing: under one name, or under any in a folder and below."""
    folder = Path(folder)
    found = folder.rglob(".*") if name is None else folder.glob(f".{glob.escape(name)}.*")
    for path in list(found):
        temporary = _TEMPORARY.fullmatch(path.name)
        if temporary is None or _is_written(path, int(temporary[1]), temporary[2]):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _machine() -> str:
    """This machine among those that may write into one network folder, as part of a name."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _is_written(path: Path, process: int, machine: str | None) -> bool:
    """Whether somebody may still be writing there; the processes of other machines cannot be seen, so age tells."""
    if machine == _machine():
        return _lives(process)
    try:
        return time.time() - path.lstat().st_mtime < _ABANDONED_S
    except OSError:  # it is finished, or gone
        return True


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _sync(*paths: Path) -> None:
    """Waits until files and folders are on the disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_checkpoint(folder: str | Path, tree: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes a checkpoint, in place of one that is there.

    Args:
        folder: what to make; it appears when everything in it is written.
        tree: nested dictionaries with text keys of arrays or numbers.
        meta: anything that JSON can hold.

    Raises:
        PitlError: if it cannot be written, such as on a full disk, or something else is there; that then stays.
    """
    import numpy as np

    folder = Path(folder)
    check_place(folder)
    folder = folder.resolve() if folder.is_symlink() else folder
    arrays = {name: np.asarray(leaf) for name, leaf in _leaves(tree, ())}
    about = {
        "format": "pitl",
        "schema": SCHEMA,
        "meta": meta,
        "arrays": [{"name": list(n), "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()],
    }
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
        try:
            made.chmod(0o755)
            _write(made / _TREE, _nested({n: a for n, a in arrays.items() if a.size}))
            about["files"] = _digests(made)
            about["digest"] = _digest_of(json.loads(json.dumps(about)))
            (made / _MARKER).write_text(json.dumps(about, indent=1), encoding="utf-8")
            _sync(*made.rglob("*"), made)
            _swap(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def check_place(folder: str | Path) -> None:
    """Looks whether a checkpoint can be written there, before hours of work: what it replaces has to be one as well.

    Raises:
        PitlError: something else is there, which would be deleted, or nothing can be written there.
    """
    folder = Path(folder)
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise PitlError(f"{folder} is a file, a model is a folder; name another place.")
        parent = next(p for p in folder.absolute().parents if p.exists())
        Path(tempfile.mkdtemp(dir=parent, prefix=_prefix(parent / folder.name))).rmdir()
    there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    ours = _MARKER in there or (folder / _TREE / "_METADATA").exists()
    other = [name for name in there if name not in (_MARKER, _TREE)] if ours else there
    if other:
        raise PitlError(
            f"{folder} holds {other[0]}, which is no part of a model, and would be deleted; name another folder."
        )


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads back the tree, its leaves NumPy arrays of the very types and bits that were saved, and the metadata.

    Raises:
        PitlError: if there is no checkpoint, it is damaged, or this version cannot read it.
    """
    folder = Path(folder)
    before = _aside(folder)
    if before.is_dir() and not folder.exists():  # a process was killed while it replaced the folder
        before.rename(folder)
    about = _about(folder)
    try:
        if about.pop("digest", None) not in (None, _digest_of(about)):  # earlier versions wrote none
            raise ValueError(f"{_MARKER} differs from what was saved")
        # tensorstore does not notice every changed byte, and reports what it does notice in several places at once
        result = _digests(folder)
        for name, digest in about["files"].items():
            if result.get(name) != digest:
                raise ValueError(f"{name} {'is missing' if name not in result else 'differs from what was saved'}")
        import numpy as np
        import orbax.checkpoint as ocp

        arrays = {tuple(a["name"]): np.empty(a["shape"], np.dtype(a["dtype"])) for a in about["arrays"]}
        read = _read(folder / _TREE, _nested({n: ocp.RestoreArgs(np.ndarray) for n, a in arrays.items() if a.size}))
        return _nested(arrays | {n: np.asarray(leaf) for n, leaf in _leaves(read, ())}), about["meta"]
    except Exception as e:  # whatever a damaged description makes of the reading of it
        raise _damaged(folder, _first_line(e)) from e


def _about(folder: Path) -> dict[str, Any]:
    marker = folder / _MARKER
    if not folder.is_dir():
        raise PitlError(f"there is no folder {folder} with a model or checkpoint; check the path, or train first.")
    try:
        about = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise PitlError(f"{folder} is no checkpoint of this package: it has no {_MARKER}; name another folder.") from e
    except OSError as e:
        raise PitlError(f"cannot read {marker}: {e.strerror}.") from e
    except (ValueError, RecursionError) as e:
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


def _digest_of(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _write(folder: Path, tree: dict[str, Any]) -> None:
    if not tree:
        return
    import orbax.checkpoint as ocp

    try:
        _with_checkpointer(lambda c: c.save(folder.resolve(), args=ocp.args.PyTreeSave(tree)))
    except ValueError as e:  # tensorstore tells what the operating system said only in its text
        code = re.search(r"os_error_code='(\d+)'", str(e))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from e


def _read(folder: Path, restore_args: dict[str, Any]) -> dict[str, Any]:
    if not restore_args:
        return {}
    import orbax.checkpoint as ocp

    wanted = ocp.args.PyTreeRestore(restore_args=restore_args)
    return _with_checkpointer(lambda c: c.restore(folder.resolve(), args=wanted))


_ONE_CHECKPOINT = threading.Lock()


def _with_checkpointer(use: Callable[[Any], Any]) -> Any:
    """What a checkpointer does that waits for no other process of the run: every process has whole arrays.

    In a thread: in the main thread, each of orbax's event loops installs a handler of signals, for which Python puts
    all that is being saved into words.
    """
    import jax
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"process{me}")
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with (
        _ONE_CHECKPOINT,  # what is quiet is so for all threads
        _quiet(),
        ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer,
        ThreadPoolExecutor(1) as thread,
    ):
        return thread.submit(use, checkpointer).result()


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
    """Puts `made` in the place of `folder`, which a reader never misses; what was there goes."""
    before = _aside(folder)
    if not folder.exists():
        made.rename(folder)
    elif not _exchange(made, folder):  # then there is a moment without, which `load_checkpoint` mends
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)
        made.rename(folder)
    shutil.rmtree(before, ignore_errors=True)
    _sync(folder.parent)


def _aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.before"


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names at once, where the operating system can (Linux)."""
    try:
        swap = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def quick_compiler() -> dict[str, bool]:
    """The option that chooses XLA's older code generator for processors, where there is one.

    It takes half the time to compile, and its training steps are as fast. XLA refuses an option that it does not know.
    """
    from importlib.metadata import version

    return {"xla_cpu_use_fusion_emitters": False} if version("jaxlib").startswith("0.10.") else {}


def options_for_short_work() -> dict[str, Any]:
    """Of the compiler, for a program that runs a few seconds: a third of the time to compile, nearly as quick."""
    return {"xla_backend_optimization_level": 1, **quick_compiler()}


def compile_quickly(*more: str) -> None:
    """Sets that option, and more flags of XLA, before its first program, unless the user set some."""
    chosen = [f"--{name}={str(value).lower()}" for name, value in quick_compiler().items()]
    if chosen:
        os.environ.setdefault("XLA_FLAGS", " ".join((*chosen, *more)))


def one_lapack_thread() -> AbstractContextManager[Any]:
    """Keeps LAPACK to one thread where it was loaded before this package, if threadpoolctl is there to do so."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    return threadpool_limits(1, "blas")


def keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs for the next run; without a place for them it compiles again, that is all."""
    compile_quickly()
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "pitl" / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    # every program, however small: a run has hundreds, and reading one takes a tenth of compiling it
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
