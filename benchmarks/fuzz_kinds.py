"""The kinds of input that `benchmarks.fuzz` damages: a good one of each, and what reads it."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

UCI = "File Name: x.log\r\n" + "".join(
    f"Channel {k}: '{n}', 40 values, engineering units: {'deg' if n == 'FX' else 'mV'}, no filters.\r\n"
    for k, n in enumerate(("RF", "BF", "VM", "ST", "FX"), 1)
) + "\r\n" + "".join(f"0.{k}\t0.2\t0.3\t-0.{k}\t{k}\r\n" for k in range(40))  # fmt: skip
CONFIG = '[data]\nkind = "virtual"\n[virtual]\nsubjects = 4\nseconds = 10.0\n[train]\nsteps = 100\n'
COHORT = (
    'joint = "leg"\n[emg]\nunit = "V"\nrate_hz = 1000\n[emg.channels]\nRF = "RF"\n[angle]\nunit = "deg"\n'
    'coordinates = { knee = "-knee" }\n[[subject]]\nname = "anna"\nheight_m = 1.7\n'
    '[[trial]]\nsubject = "anna"\ntrial = "one"\ntask = "squat"\nposture = "standing"\nfile = "a.csv"\n'
)
MJCF = (
    '<mujoco model="a"><compiler angle="degree"/><worldbody><body name="arm"><joint name="elbow" type="hinge" '
    'axis="0 1 0" range="0 120" limited="true" damping="0.1"/><geom type="capsule" size="0.02 0.1" mass="1"/>'
    '<site name="a" pos="0 0 0.05"/></body><site name="b" pos="0.03 0 0.2"/></worldbody><tendon><spatial name="t">'
    '<site site="a"/><site site="b"/></spatial></tendon><actuator>'
    '<muscle name="m" tendon="t" force="100" lengthrange="0.1 0.2"/></actuator></mujoco>'
)
_TEXTS = {"uci": UCI, "config": CONFIG, "cohort": COHORT, "mjcf": MJCF}
NAMES = {  # of the file in its folder
    "csv": "a.csv", "mot": "a.mot", "uci": "1Nsen.txt", "c3d": "a.c3d", "mat": "a.mat", "mat73": "b.mat",
    "hdf5": "a.h5", "xdf": "a.xdf", "config": "a.toml", "cohort": "cohort.toml", "model": "pitl.json",
    "mjcf": "a.xml", "udp": "a.udp", "lsl": "a.lsl",
}  # fmt: skip
TEXT = {"csv", "mot", "uci", "config", "cohort", "model", "mjcf"}
_RATE_HZ, _SIZE, _CHUNKS = 2000.0, 50, 24  # of what is sent live
_CHANNELS = ("FCR", "FCU", "ECRL", "ECRB", "ECU")


def make(kind: str, folder: Path) -> Path:
    """A good input of a kind, as small as the tests use them; in a process of its own, since libraries start threads.

    Raises:
        RuntimeError: it could not be made.
    """
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            _make(kind, folder)
            failed = 0
        finally:
            os._exit(failed)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"{kind}: the good input is not made")
    return (folder / "model" if kind == "model" else folder) / NAMES[kind]


def _make(kind: str, folder: Path) -> None:
    path = folder / NAMES[kind]
    if kind in _TEXTS:
        path.write_text(_TEXTS[kind], newline="")
    elif kind == "model":
        _samples("live_models").wrist_model().save(folder / "model")
    elif kind in ("udp", "lsl"):
        path.write_bytes(_sent(kind))
    else:
        _samples("io_samples").MAKERS[NAMES[kind]](path)


def _samples(name: str) -> Any:
    """A module of the tests."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    return importlib.import_module(name)


def reader(kind: str) -> Callable[[Path], Any]:
    """What reads a kind."""
    if kind in ("config", "cohort", "uci"):
        module, name = {"config": ("config.toml", "load"), "cohort": ("data.cohort_file", "read"),
                        "uci": ("data.uci.uci_text", "read_file")}[kind]  # fmt: skip
        return getattr(importlib.import_module(f"pitl.{module}"), name)
    if kind == "model":
        from pitl.learn.model import Model

        return lambda path: Model.load(path.parent)
    if kind == "mjcf":
        from pitl.mechanics.mujoco import sampler

        return lambda path: sampler.open_model(path, ["elbow"])
    if kind in ("udp", "lsl"):
        return lambda path: _receive(kind, path.read_bytes())
    from pitl.data.formats import registry

    return registry.read


def _sent(kind: str) -> bytes:
    """What an amplifier sends: datagrams of one length, or chunks of rows that begin with their time stamp [s]."""
    import numpy as np

    from pitl.live import udp

    count = _SIZE * _CHUNKS
    emg = 1e-4 * np.random.default_rng(0).normal(size=(count, len(_CHANNELS)))  # V
    time_s = 50 + np.arange(count) / _RATE_HZ
    if kind == "lsl":
        return np.column_stack([time_s, emg]).astype("<f8").tobytes()
    parts = [slice(k, k + _SIZE) for k in range(0, count, _SIZE)]
    packets = [udp.Packet(emg[p], np.zeros((_SIZE, 1)), p.start, time_s[p.start], _RATE_HZ) for p in parts]
    return b"".join(udp.pack(p) for p in packets)


def _receive(kind: str, data: bytes) -> None:
    """Takes what was sent through the live stream; answers are numbers and every sample is accounted for."""
    import numpy as np

    from pitl.live import page, session
    from pitl.live.block import SampleBlock

    engine, blocks = _engine(), list[SampleBlock]()
    blocks += _datagrams(data) if kind == "udp" else _stamped(data)
    board, source = page.Board(), _Source(blocks)
    updates = list(session.run(session.Seat(engine), source, lambda: source))
    if not updates:
        return
    state = updates[-1].state
    for rows in (u.rows for u in updates):
        assert all(np.isfinite(column).all() for column in rows[1:4]), "an answer is no number"
        if len(rows.flag):
            page._post(board, rows, None)
    came = sum(len(u.block.emg) for u in updates)
    assert state.taken + state.dropped == came, f"{state.taken} used and {state.dropped} dropped of {came}"
    json.dumps(page.frame(board, _limb(), 0, 0), allow_nan=False)


def _datagrams(data: bytes) -> Any:
    import numpy as np

    from pitl.live import udp
    from pitl.live.block import SampleBlock
    from pitl.live.source import Wanted

    wire = udp.Filter("udp:here", Wanted(_CHANNELS, ("wrist_flexion",)))
    length = len(_sent("udp")) // _CHUNKS
    for k in range(0, len(data), length):
        for p in wire.take(data[k : k + length], ("127.0.0.1", 1)):
            yield SampleBlock(p.emg, p.time_s + np.arange(len(p.emg)) / p.rate_hz, p.first)


def _stamped(data: bytes) -> Any:
    import numpy as np

    from pitl.live import timeline
    from pitl.live.block import SampleBlock

    table = np.frombuffer(data[: len(data) // 48 * 48], "<f8").reshape(-1, 6)
    line = None
    for k in range(0, len(table), _SIZE):
        chunk = table[k : k + _SIZE]
        line = timeline.begin(float(chunk[0, 0]), _RATE_HZ) if line is None else line
        line, pieces, _ = timeline.place(line, chunk[:, 0])
        for begin, end, first, time_s in pieces:
            yield SampleBlock(chunk[begin:end, 1:], time_s, first)


class _Source:
    def __init__(self, blocks: list[Any]) -> None:
        from pitl.live.source import Layout

        self.layout, self.left = Layout(_CHANNELS, _RATE_HZ), blocks

    def read(self, wait_s: float) -> Any:
        del wait_s
        return self.left.pop(0) if self.left else None

    def close(self) -> None:
        pass


@cache
def _engine() -> Any:
    from pitl.live import stream

    return stream.engine(_samples("live_models").wrist_model(), _RATE_HZ, "pronated")


@cache
def _limb() -> Any:
    from pitl.live import limb

    return limb.limb(_engine().model.limb, "pronated")
