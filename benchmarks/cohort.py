"""Making the virtual cohort: 8 people, 10 trials of 30 s each, EMG at 2 kHz."""

import time
from collections.abc import Iterator

import jax

from benchmarks import measure
from benchmarks.row import Row
from pitl.config.schema import VirtualConfig
from pitl.data import virtual


def cohort() -> Iterator[Row]:
    """Once with compilation, as a first run has it, once warm."""
    settings = VirtualConfig(subjects=8, rhythmic_trials=8, random_trials=2, seconds=30.0)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        result = virtual.simulate(settings)
        seconds.append(time.perf_counter() - began)
    trials = sum(len(s.recordings) for s in result.subjects)
    yield Row(
        "virtual_cohort",
        f"virtual cohort, {len(result.subjects)} people, {trials} trials of 30 s at 2 kHz",
        seconds[1],
        "s",
        trials * 30.0,
        "seconds of recording made",
        trials * 30.0 / seconds[1],
        "under 20 s",
        seconds[1] < 20.0,
        f"first call, compilation included: {seconds[0]:.1f} s; memory is the process's peak",
        memory_bytes=measure.process_bytes(),
        compile_s=max(0.0, seconds[0] - seconds[1]),
        times={
            "simulate": {"min": seconds[1], "median": seconds[1], "p99": seconds[1], "rounds": 1, "first": seconds[0]}
        },
    )
    jax.clear_caches()


BENCHMARKS = {"cohort": cohort}
