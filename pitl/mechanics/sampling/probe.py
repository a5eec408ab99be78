"""A process of its own, with limits, reads a model first: a damaged one may end or hang the program that reads it."""

import contextlib
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from pitl.errors import PitlError

_MEMORY_BYTES = 2**31
_LIMITS = (
    f"import resource\nfor what, most in ((resource.RLIMIT_AS, {_MEMORY_BYTES}), (resource.RLIMIT_CPU, SECONDS), "
    "(resource.RLIMIT_CORE, 0)):\n    resource.setrlimit(what, (most, most))\n"
)


def probe(path: Path, program: str, code: str, seconds: int) -> None:
    """Runs Python code that reads the file `path`, for at most so many seconds of computing.

    Raises:
        PitlError: it did not come to an end; what it said otherwise is for the caller to find out.
    """
    with contextlib.suppress(OSError):  # the caller says what is wrong with a file that is not there
        about = path.stat()
        _probe(path.resolve(), (about.st_mtime_ns, about.st_size), program, code, seconds)


@functools.lru_cache(64)
def _probe(path: Path, version: tuple[int, int], program: str, code: str, seconds: int) -> None:
    del version  # read again when the file has changed
    limits = "" if sys.platform == "win32" else _LIMITS.replace("SECONDS", str(seconds))
    command = [sys.executable, "-I", "-c", f"{limits}import sys\npath = sys.argv[1]\n{code}", str(path)]
    with tempfile.TemporaryDirectory() as folder:  # some leave a log where they run
        try:
            ended = subprocess.run(
                command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=4 * seconds
            ).returncode
        except subprocess.TimeoutExpired:
            ended = -1
    if ended < 0:
        raise PitlError(f"{program} fell over {path}, or took too long; open it in {program}, look for odd numbers.")
