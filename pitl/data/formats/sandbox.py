"""Foreign binary files are parsed in another process, which has limits and takes nothing down when it dies.

A server, started once, imports what a format needs and forks for every file: a file costs milliseconds, and a crash,
a limit or a file that means harm ends one fork. Results come back as JSON and raw float64, never as pickles:
8 bytes length, JSON, then for every stream its values (T, K) and, if it has a clock, its times (T,).
"""

import atexit
import codecs
import contextlib
import importlib
import json
import math
import mmap
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from pitl.data.formats.budget import COLUMNS, FILE_BYTES, NAME, TEXT, VALUES
from pitl.data.formats.signals import Signals, Stream, unique
from pitl.errors import PitlError

MEMORY_BYTES = 2**31
SECONDS = 5.0  # of computing, for small files; large ones get a second more for every _BYTES_PER_S
_PATIENCE = 1.7  # times as long by the clock: other programs run too, and nobody waits ten seconds for an answer
_BYTES_PER_S = 2**24
_START_S = 90.0
_FORMATS = {"mat": "MAT", "hdf5": "HDF5", "c3d": "C3D", "xdf": "XDF"}
_AGAIN = "export or copy the file again, or leave it out"
_LOCK = threading.Lock()
_server: "_Server | None" = None


def read(path: Path, kind: str) -> Signals:
    """Parses a file with `pitl.data.formats.KIND.parse` in a process of its own.

    Raises:
        PitlError: if there is no such regular file, or it is damaged, or needs more time or memory than there is.
    """
    global _server
    path = Path(path)
    size = _size_of(path)
    with _LOCK:
        if _server is None or not _server.alive():
            _server = _Server()
        try:
            header, arrays = _server.ask(path, kind, SECONDS + size / _BYTES_PER_S)
        except Exception as e:
            _server.close()
            raise PitlError(f"{path}: the process that reads {_FORMATS[kind]} files ended; {_AGAIN}.") from e
        except BaseException:  # an interrupted answer must not be taken for the next one
            _server.close()
            raise
    if "error" in header:
        raise PitlError(str(header["error"]))
    return _signals(path, header, arrays)


def _size_of(path: Path) -> int:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device never ends
            raise PitlError(f"{path}: is not a regular file, expected a recording; correct the file name.")
        if found.st_size > FILE_BYTES:
            raise PitlError(f"{path}: is larger than {FILE_BYTES >> 30} GiB; cut the recording into several files.")
        with path.open("rb") as file:
            empty = not file.read(4096).strip(b" \t\r\n\0") and found.st_size <= 4096
    except FileNotFoundError as e:
        raise PitlError(f"{path} does not exist; correct the file name, or add the file.") from e
    except (OSError, ValueError) as e:
        raise PitlError(f"cannot read {path}: {e}; expected a file that may be read.") from e
    if empty:
        raise PitlError(f"{path}: is empty, expected a recording; copy the file again, or leave it out.")
    return found.st_size


class _Server:
    """The other process, seen from here."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        paths = [root, *(str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
        # numerical libraries reserve memory for every thread
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            # -P: a numpy.py that lies beside the recordings is not imported; the session keeps Ctrl-C away
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-B", "-m", "pitl.data.formats.sandbox"], bufsize=0, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root,
                env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
            )  # fmt: skip
        except OSError as e:
            raise PitlError(f"the process that reads binary files cannot be started: {e}.") from e

    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, path: Path, kind: str, seconds: float) -> tuple[dict[str, Any], list[np.ndarray]]:
        request = {"path": str(path), "folder": str(Path.cwd()), "kind": kind, "seconds": seconds}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        # the fork ends itself in time; these end the server, should it not
        with self._ended_after(_START_S):
            ready, _ = _receive(self.process.stdout)
        if "error" in ready:
            return ready, []
        with self._ended_after(2 * _PATIENCE * seconds):
            return _receive(self.process.stdout)

    @contextlib.contextmanager
    def _ended_after(self, seconds: float) -> Any:
        timer = threading.Timer(seconds, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):  # with its fork: they are a group
            os.killpg(self.process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self.process.kill()

    def close(self) -> None:
        self._kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


def _close() -> None:
    global _server
    if _server is not None:
        _server.close()
        _server = None


def _forget() -> None:
    """In a fork of this process the server belongs to the parent."""
    global _server, _LOCK
    _server, _LOCK = None, threading.Lock()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], list[np.ndarray]]:
    length = int(_exactly(pipe, 8).view("<u8")[0])
    if length > 16 * TEXT:
        raise ValueError("too long a header")
    header = json.loads(_exactly(pipe, length).tobytes())
    shapes = [(int(s["rows"]), len(s["columns"])) for s in header.get("streams", [])]
    if any(r < 0 for r, _ in shapes) or sum(r * (k + 1) for r, k in shapes) > 2 * VALUES:
        raise ValueError("too many values")
    arrays = []
    for (rows, columns), stream in zip(shapes, header.get("streams", []), strict=True):
        arrays.append(_exactly(pipe, 8 * rows * columns).view(float).reshape(rows, columns))
        if stream["clock"]:
            arrays.append(_exactly(pipe, 8 * rows).view(float))
    return header, arrays


def _exactly(pipe: IO[bytes], count: int) -> np.ndarray:
    data = np.empty(count, np.uint8)
    done = 0
    while done < count:
        got = pipe.readinto(data[done:])  # type: ignore[attr-defined]
        if not got:
            raise OSError("the other process ended")
        done += got
    return data


def _signals(path: Path, header: dict[str, Any], arrays: list[np.ndarray]) -> Signals:
    left = iter(arrays)
    streams = []
    for s in header["streams"]:
        values, time = next(left), next(left) if s["clock"] else None
        streams.append(Stream(s["name"], tuple(s["columns"]), tuple(s["units"]), values, time, s["rate_hz"]))
    return Signals(path, tuple(streams), tuple(header["notes"]))


# ------------------------------------------------------------------------------------------ in the other process


def serve() -> None:
    """Answers requests, one line each, until standard input ends."""
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # what libraries print is no part of an answer
    for name in ("ascii", "latin-1", "cp1252", "utf-16-le", "utf-16-be", "utf-32"):
        codecs.lookup(name)  # are files themselves, which a fork may not open any more
    begun = mmap.mmap(-1, 1)  # shared with the forks
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            importlib.import_module(f"pitl.data.formats.{request['kind']}").prepare()
        except ImportError as e:
            _send(out, {"error": f"{request['path']}: cannot be read without a package: {e}; install it with pip."}, [])
            continue
        _send(out, {}, [])
        if not hasattr(os, "fork"):
            _send(out, *_answer(request))
            continue
        begun[0] = 0
        child = os.fork()
        if child == 0:
            try:
                _limit(request["seconds"])
                answer = _answer(request)
                signal.setitimer(signal.ITIMER_REAL, 0)
                begun[0] = 1
                _send(out, *answer)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status and begun[0]:
            sys.exit(1)  # half an answer is none, and the next one could not be told from it
        if not begun[0]:
            _send(out, {"error": _ending(request, status)}, [])


def _limit(seconds: float) -> None:
    import resource

    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, math.ceil(seconds)), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        with contextlib.suppress(ValueError, OSError):  # not every system has every limit
            # at the first of the two the signal is one that says why
            resource.setrlimit(what, (most, most + 2 if what == resource.RLIMIT_CPU else most))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE * seconds)


def close_doors() -> None:
    """From here on this process opens no file: whatever a format's library is told to fetch, it cannot."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    path, kind = Path(request["path"]), request["kind"]
    try:
        os.chdir(request["folder"])
        return _plain(importlib.import_module(f"pitl.data.formats.{kind}").parse(path))
    except PitlError as e:
        text = str(e)
        return {"error": text if text.startswith(str(path)) else f"{path}: {text}."}, []
    except MemoryError:
        return {"error": f"{path}: needs more than the {MEMORY_BYTES >> 30} GiB that one file may take; {_AGAIN}."}, []
    except Exception as e:  # the libraries tell of damage by many exceptions
        reason = _clean((str(e).strip().splitlines() or [type(e).__name__])[0])[:120]
        return {"error": f"{path}: is not a whole {_FORMATS[kind]} file ({reason}); {_AGAIN}."}, []


def _ending(request: dict[str, Any], status: int) -> str:
    end = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if end in (signal.SIGALRM, signal.SIGXCPU):
        return f"{request['path']}: could not be read within {request['seconds']:.0f} s, so it is damaged; {_AGAIN}."
    return f"{request['path']}: the library that reads {_FORMATS[request['kind']]} files fell over it; {_AGAIN}."


def _plain(signals: Signals) -> tuple[dict[str, Any], list[np.ndarray]]:
    names = unique(_clean(s.name) for s in signals.streams)
    streams, arrays = [], []
    for name, s in zip(names, signals.streams, strict=True):
        if len(s.columns) > COLUMNS:
            raise PitlError(f"{s.name} has {len(s.columns)} columns, more than the {COLUMNS} that are read")
        rate = s.rate_hz if s.rate_hz is not None and 0 < s.rate_hz < np.inf else None
        columns, units = unique(_clean(c) for c in s.columns), [_clean(u) for u in s.units]
        streams.append({"name": name, "columns": columns, "units": units, "rows": len(s.values)})
        streams[-1] |= {"clock": s.time_s is not None, "rate_hz": rate}
        arrays += [s.values] if s.time_s is None else [s.values, s.time_s]
    return {"streams": streams, "notes": [_clean(n, 500) for n in signals.notes]}, arrays


def _clean(text: str, most: int = NAME) -> str:
    """Text that every terminal and file can hold."""
    plain = str(text)[:most].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain)


def _send(out: int, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    text = json.dumps(header).encode()
    parts = [struct.pack("<Q", len(text)), text]
    for part in (*parts, *arrays):
        left = np.frombuffer(part, np.uint8) if isinstance(part, bytes) else _bytes(part)
        while len(left):
            left = left[os.write(out, left[: 2**24].data) :]


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, "<f8").reshape(-1).view(np.uint8)


if __name__ == "__main__":
    serve()
