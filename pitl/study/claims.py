"""Who works on what: a lock file beside each piece of work, which the first to make it owns."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BEAT_S = 20.0  # an owner touches its lock this often
_SILENT_S = 300.0  # after which an owner that cannot be asked counts as dead


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether this process owns the work that `path` stands for; the lock is gone afterwards.

    The lock of a dead process is taken over: on the same machine if there is no such process any more, elsewhere when
    it has not been touched for five minutes. Two who find the same dead lock at the same moment may, very rarely, both
    own it; as all results are written whole and do not depend on who makes them, that costs time only.
    """
    mine = _taken(path)
    if mine is None:
        yield False
        return
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        stop.set()
        if _text(path) == mine:
            path.unlink(missing_ok=True)


def _taken(path: Path) -> str | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex})
    for _ in range(2):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            seen = _text(path)
            if seen is None:
                continue
            if not _dead(path, seen):
                return None
            aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            try:
                path.rename(aside)
            except FileNotFoundError:
                return None
            if _text(aside) != seen:  # somebody else was faster: what was moved is a living lock
                aside.rename(path)
                return None
            aside.unlink()
        else:
            with os.fdopen(handle, "w") as file:
                file.write(mine)
            return mine
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _dead(path: Path, text: str) -> bool:
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    try:
        owner = json.loads(text)
        host, pid = str(owner["host"]), int(owner["pid"])
    except (ValueError, KeyError, TypeError):  # not yet written, or its owner died while writing
        return silent > _BEAT_S
    if silent > _SILENT_S:
        return True
    return host == socket.gethostname() and not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT_S):
        try:
            os.utime(path)
        except OSError:
            return
