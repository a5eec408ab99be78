"""What a user waits for before anything happens."""

import subprocess
import sys
from collections.abc import Iterator

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


BENCHMARKS = {"startup": startup}
