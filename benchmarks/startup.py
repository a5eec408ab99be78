"""What a user waits for before anything happens."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.row import Row


def startup() -> Iterator[Row]:
    """Fresh processes; the first one, which may read from a cold disk, is apart."""

    def call(*arguments: str):
        return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    times = measure.interleaved(
        {"import": call("-c", "import pitl"), "help": call("-m", "pitl", "--help"), "python": call("-c", "")}, 9
    )
    for side, name, what, limit in (
        ("import", "import", "import of the package in a fresh process", 1.0),
        ("help", "help", "pitl --help in a fresh process", 0.5),
    ):
        value = times[side].median
        yield Row(
            name,
            what,
            value,
            "s",
            times["python"].median,
            "python alone",
            float(np.median(times["python"].rounds / times[side].rounds)),
            f"median < {limit:g} s",
            value < limit,
            compile_s=times[side].first,
            times={k: t.summary() for k, t in times.items()},
        )


def quickstart() -> Iterator[Row]:
    """The quickstart's work, with an empty cache of compiled programs and again; its memory and its programs."""
    taken: list[float] = []
    config = Path(__file__).resolve().parents[1] / "configs" / "quickstart.toml"
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        for k in range(2):
            command = [sys.executable, "-m", "pitl", "run", str(config), "--out", str(Path(folder) / f"out{k}")]
            began = time.perf_counter()
            environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            taken.append(time.perf_counter() - began)
        programs = sum(1 for p in cache.rglob("*-cache"))
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # bytes
    first, again = taken
    yield Row(
        "quickstart_first",
        "quickstart, nothing compiled",
        first,
        "s",
        target="< 75 s",
        met=first < 75,
        memory_bytes=peak,
    )
    yield Row(
        "quickstart_again",
        "quickstart, programs compiled",
        again,
        "s",
        target="< 35 s",
        met=again < 35,
        memory_bytes=peak,
    )
    yield Row("quickstart_programs", "its compiled programs", float(programs), "1", target="< 120", met=programs < 120)


BENCHMARKS = {"startup": startup, "startup_quickstart": quickstart}
