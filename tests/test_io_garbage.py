"""Readers meet random bytes and damaged files: they read, or say one sentence, and never hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from io_samples import MAKERS

from pitl.data.formats import registry
from pitl.errors import PitlError

LONGEST_S = 60


@contextmanager
def alarm() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("the reader hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def survives(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with alarm():
        try:
            registry.read(path)
        except PitlError as e:
            assert str(path) in str(e) and len(str(e)) < 1000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: make(folder / name).read_bytes() for name, make in MAKERS.items()}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=2000), keep=st.integers(0, 64))
def test_random_bytes(name: str, whole: dict[str, bytes], tmp_path: Path, garbage: bytes, keep: int) -> None:
    survives(tmp_path / name, whole[name][:keep] + garbage)


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "a.c3d"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    early=st.booleans(),
    cut=st.floats(0.0, 1.0),
)
def test_damaged_files(
    name: str, whole: dict[str, bytes], tmp_path: Path, changes: list[tuple[float, int]], early: bool, cut: float
) -> None:
    data = bytearray(whole[name])
    span = min(len(data), 1024) if early else len(data)  # headers lie at the front
    for place, value in changes:
        data[int(place * span)] = value
    survives(tmp_path / name, bytes(data[: max(1, int(cut * len(data)))] if cut < 0.5 else data))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_c3d_files(whole: dict[str, bytes], tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    # fewer: each is read in a process of its own, because the parser itself does not survive all of them
    data = bytearray(whole["a.c3d"])
    for place, value in changes:
        data[place] = value
    survives(tmp_path / "a.c3d", bytes(data))
