"""Writing a file so that under its name there is either the whole of it or what was there before."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from pitl.errors import PitlError


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


def atomic_savez(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a compressed .npz, making the folders it needs; `path` is used as it is, ending included.

    Raises:
        PitlError: if it cannot be written.
    """
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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
