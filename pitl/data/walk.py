"""The files below a folder, and paths that stay within it."""

import os
from collections.abc import Iterator
from pathlib import Path

from pitl.errors import PitlError

_MOST = 20_000  # files that are looked at


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files at any depth in order of name, also behind links; hidden ones and links in circles are passed over.

    Raises:
        PitlError: if there are too many for a folder of recordings.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for here, folders, names in os.walk(folder, followlinks=True):
        about = Path(here).stat()
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(here) / name
            if name.startswith(".") or not _is_file(path):
                continue
            count += 1
            if count > _MOST:
                raise PitlError(f"{folder} holds more than {_MOST} files; choose the folder that has the recordings.")
            yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def within(folder: Path, name: str, allowed: bool) -> Path:
    """The path of a file that is named in a folder's own list.

    Raises:
        PitlError: if it cannot be a path, or leaves the folder without being `allowed` to, also by a link.
    """
    try:
        path = folder / name
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as e:  # too long, NUL, links in a circle
        raise PitlError(f"{folder}: {name[:80]!r} cannot be the name of a file ({e!s:.80}); correct it.") from e
    if not inside and not allowed:
        raise PitlError(
            f"{path}: lies outside the folder of the recordings; copy it there, or say outside = true in "
            "cohort.toml if it is meant."
        )
    return path
