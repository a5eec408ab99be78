"""The process that parses binary files: what it gives, what it survives, and what it never does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from io_samples import MAKERS, VALUES

from pitl.data.formats import registry, sandbox
from pitl.data.formats.signals import Signals, Stream
from pitl.errors import PitlError

BINARY = [n for n in MAKERS if n.endswith((".mat", ".h5", ".c3d", ".xdf"))]


def refused(path: Path, *words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(PitlError) as e:
        registry.read(path)
    for word in (str(path), *words):
        assert word in str(e.value), str(e.value)
    assert time.monotonic() - begun < 60  # 10 s where nothing else runs


def test_many_files_use_one_process(tmp_path: Path) -> None:
    for name in BINARY:
        MAKERS[name](tmp_path / name)
    registry.read(tmp_path / BINARY[0])
    assert sandbox._server is not None
    before = sandbox._server.process.pid
    for name in BINARY:
        registry.read(tmp_path / name)
    assert sandbox._server.process.pid == before


def test_several_threads_get_their_own_answers(tmp_path: Path) -> None:
    wrong: list[str] = []

    def read(k: int) -> None:
        path = tmp_path / f"{k}.h5"
        with h5py.File(path, "w") as file:
            file["emg"] = np.full((50, 2), float(k))
        for _ in range(3):
            if not (registry.read(path).streams[0].values == k).all():
                wrong.append(str(k))

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = MAKERS["a.h5"](tmp_path / "a.h5")
    registry.read(path)
    assert sandbox._server is not None
    os.kill(sandbox._server.process.pid, signal.SIGKILL)
    sandbox._server.process.wait()
    assert len(registry.read(path).streams) == 2


def test_relative_names_and_names_that_are_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path(os.fsdecode(b"m\xe9.h5"))
    MAKERS["a.h5"](Path("a.h5"))
    try:
        odd.write_bytes(Path("a.h5").read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    assert len(registry.read(Path("a.h5")).streams) == len(registry.read(odd).streams) == 2


def test_the_folder_one_works_in_is_not_imported_from(tmp_path: Path) -> None:
    MAKERS["a.mat"](tmp_path / "a.mat")
    (tmp_path / "scipy.py").write_text("open('imported', 'w')")
    code = "from pathlib import Path; from pitl.data.formats import registry; registry.read(Path('a.mat'))"
    root = str(Path(sandbox.__file__).parents[3])
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": root})
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("name", ["a.mat", "a.h5", "a.c3d", "a.xdf"])
def test_only_regular_files_are_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "expected a file")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    refused(tmp_path / name, "expected a file")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(name)
    refused(tmp_path / name, "cannot read")


def test_a_file_with_a_hole_is_no_recording(tmp_path: Path) -> None:
    with (tmp_path / "a.xdf").open("wb") as file:
        file.truncate(2**31)
    refused(tmp_path / "a.xdf", "at most 256 are read")


# what the fork does with a parser that behaves badly
BAD = """
import os, signal, sys, time
import numpy as np
from pathlib import Path
from pitl.data.formats import sandbox, xdf
from pitl.data.formats.signals import Signals, Stream
from pitl.errors import PitlError

def parse(path):
    {}

xdf.prepare, xdf.parse = lambda: None, parse
sandbox.serve()
"""
WAYS = {
    "os.kill(os.getpid(), signal.SIGSEGV)": "fell over it",
    "os._exit(3)": "fell over it",
    "np.ones(2**29); return": "2 GiB",
    "any(iter(int, 1))": "within 2 s",
    "time.sleep(1000)": "within 2 s",
    "raise ValueError('odd \\x1b[31m')": "odd ?[31m",
    "open('/tmp/x', 'w').write('x'); return": "not a whole",
    "sandbox.close_doors(); open('/etc/passwd')": "Too many open files",
    "raise SystemExit": "fell over it",
}


@pytest.fixture
def bad_server(monkeypatch: pytest.MonkeyPatch):
    """A server whose XDF parser does what the test says."""
    started: list[sandbox._Server] = []
    popen = subprocess.Popen

    def start(way: str) -> None:
        code = BAD.format(way)
        monkeypatch.setattr(subprocess, "Popen", lambda _, **k: popen([sys.executable, "-P", "-c", code], **k))
        started.append(sandbox._Server())
        monkeypatch.setattr(subprocess, "Popen", popen)
        monkeypatch.setattr(sandbox, "_server", started[-1])
        monkeypatch.setattr(sandbox, "SECONDS", 2.0)

    yield start
    for s in started:
        s.close()


@pytest.mark.thorough
def test_every_way_of_ending_badly_is_a_sentence(tmp_path: Path, bad_server) -> None:
    path = MAKERS["a.xdf"](tmp_path / "a.xdf")
    ways = "\n    ".join(f"if path.name == 'w{k}.xdf': {way}" for k, way in enumerate(WAYS))
    bad_server(ways)
    for k, words in enumerate(WAYS.values()):
        odd = tmp_path / f"w{k}.xdf"
        odd.write_bytes(path.read_bytes())
        refused(odd, words)
    assert sandbox._server is not None and sandbox._server.alive()


@pytest.mark.parametrize(
    "answer",
    [
        "b'\\x00' * 3",
        "b'\\xff' * 8",
        "(2).to_bytes(8, 'little') + b'[]'",
        "(2).to_bytes(8, 'little') + b'{\"'",
        "(len(big)).to_bytes(8, 'little') + big",
    ],
)
def test_an_answer_that_is_none_is_a_sentence(tmp_path: Path, bad_server, answer: str) -> None:
    path = MAKERS["a.xdf"](tmp_path / "a.xdf")
    big = '{"streams": [{"rows": 999999999999, "columns": ["a"], "clock": false}]}'
    bad_server(f"big = b'{big}'; os.write(int(os.environ.get('OUT', 3)), {answer}); os._exit(0)")
    refused(path, "the process that reads XDF files ended")
    assert len(registry.read(MAKERS["a.h5"](tmp_path / "a.h5")).streams) == 2


def test_names_are_made_plain(tmp_path: Path) -> None:
    from pitl.data.formats import hdf5

    odd = ("a\x1b[2J", "a\x1b[2J" * 100, "b\n")
    stream = Stream("s\x07", odd, ("mV",) * 3, np.ones((10, 3)))
    hdf5.write(tmp_path / "a.h5", Signals(tmp_path, (stream,)))
    (back,) = registry.read(tmp_path / "a.h5").streams
    assert all(c.isprintable() and len(c) <= 210 for c in (back.name, *back.columns)) and len(set(back.columns)) == 3


def test_the_values_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    stream = registry.read(MAKERS["a.h5"](tmp_path / "a.h5")).streams[0]
    np.testing.assert_array_equal(stream.values, VALUES)
    assert stream.values.flags.writeable and stream.values.dtype == np.float64


def test_what_is_foreign_is_not_unpickled() -> None:
    source = Path(sandbox.__file__).read_text()
    assert "import pickle" not in source and "multiprocessing" not in source and "allow_pickle" not in source
