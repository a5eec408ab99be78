"""A few damaged inputs of every kind: each is read or refused in one sentence."""

import random

import pytest

from benchmarks import fuzz, fuzz_kinds

QUICK = {"csv", "mot", "uci", "config", "cohort"}


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.thorough) for k in fuzz.NAMES])
def test_damaged_inputs(kind: str) -> None:
    counts, bad = fuzz.run(kind, 40, seed=1)
    assert counts["inputs"] == 40 and not bad


@pytest.mark.parametrize("kind", fuzz.NAMES)
def test_the_damage_is_the_same_for_a_seed(kind: str) -> None:
    whole = (fuzz_kinds.CONFIG if kind in fuzz.TEXT else "\0" * 100).encode()
    once, again = (fuzz.damage(kind, whole, random.Random(3)) for _ in range(2))
    assert once == again


def test_a_reader_that_fails_crashes_or_hangs_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import time

    calls = []

    def read(path) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise ValueError("odd")
        if len(calls) == 3:
            os._exit(1)

    monkeypatch.setattr(fuzz, "reader", lambda kind: read)
    counts, bad = fuzz.run("config", 3, seed=0)
    assert counts["tracebacks"] == 2 and counts["crashes"] == 1 and len(bad) == 2  # each process starts anew
    monkeypatch.setattr(
        fuzz, "reader", lambda kind: lambda path: calls.append(path) or len(calls) < 2 or time.sleep(60)
    )
    monkeypatch.setattr(fuzz, "LONGEST_S", 0.5)
    calls.clear()
    counts, bad = fuzz.run("config", 1, seed=0)
    assert counts["over 10 s"] == 1
