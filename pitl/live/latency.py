"""Where the time goes between a muscle and its force on the screen."""

import socket
import time
from typing import NamedTuple

import numpy as np
from scipy import signal

from pitl.data.recording import Recording
from pitl.learn.model import Model
from pitl.learn.predict import predict_recording
from pitl.live import stream, udp
from pitl.live.block import SampleBlock
from pitl.live.stream import Engine
from pitl.signals import emg

# What a controller of a prosthesis may take before its user does worse (Farrell & Weir 2007,
# doi 10.1109/TNSRE.2007.891391)
OPTIMAL_S = (0.100, 0.125)  # s
# Onset of EMG to onset of force in elbow flexors: eccentric, isometric, concentric (Cavanagh & Komi 1979,
# doi 10.1007/BF00431022)
ELECTROMECHANICAL_S = (0.0495, 0.0539, 0.0555)  # s
_CARRIER_HZ = 100.0  # where surface EMG has most of its power, roughly
_KEPT = 8192
_TRIALS = 300
_LAG_S = 0.3  # s, longest lag that is looked for


class LatencyCosts:
    """Compute times of the last few thousand answers; takes the same memory however long a stream lasts."""

    def __init__(self) -> None:
        self._seconds = np.zeros(_KEPT)
        self._count = 0

    def add(self, seconds: float) -> None:
        self._seconds[self._count % _KEPT] = seconds
        self._count += 1

    def quantiles(self) -> tuple[float, float, float]:
        """Median, 99th percentile and maximum [s]; NaN before the first."""
        kept = self._seconds[: min(self._count, _KEPT)]
        if not len(kept):
            return np.nan, np.nan, np.nan
        return float(np.median(kept)), float(np.percentile(kept, 99)), float(kept.max())

    def sentence(self) -> str:
        """For the end of a stream."""
        if not self._count:
            return "no answers."
        median, p99, most = (1e6 * x for x in self.quantiles())
        return f"{self._count} updates with answers, median {median:.0f} us, p99 {p99:.0f} us, max {most:.0f} us each."


class LatencyLine(NamedTuple):
    """One part of the budget."""

    name: str
    typical_s: float
    worst_s: float
    note: str


class LatencyBudget(NamedTuple):
    """All parts, in the order in which a signal meets them."""

    lines: tuple[LatencyLine, ...]

    @property
    def typical_s(self) -> float:
        return sum(line.typical_s for line in self.lines)

    @property
    def worst_s(self) -> float:
        return sum(line.worst_s for line in self.lines)


def budget(engine: Engine, *, block_s: float = 0.0) -> LatencyBudget:
    """The budget of a model on this machine; compute and transport are measured now, at the pace of live use.

    Args:
        block_s: length of the blocks in which an amplifier sends [s]; 0 if sample by sample.
    """
    model = engine.model
    hop = 1.0 / model.emg.rate_hz  # s
    at = np.array([_CARRIER_HZ])
    _, delay = signal.group_delay(signal.sos2tf(engine.filter.design.sos), at, fs=engine.rate_hz)  # pyright: ignore
    carrier = float(delay[0])  # samples
    low = emg.group_delay_s(engine.filter.design)
    band = carrier / engine.rate_hz  # s
    window = (model.net.window - 1) * hop  # s
    median, p99, most = compute(engine)
    sent, sent_most = transport(model.net.inputs, max(1, round(block_s * engine.rate_hz)))
    return LatencyBudget((
        LatencyLine("block", block_s / 2, block_s, "a sample waits until its block is sent"),
        LatencyLine("transport", sent, sent_most, "a packet between two sockets here, measured; a radio adds its own"),
        LatencyLine("band-pass", band, band, f"group delay at {_CARRIER_HZ:g} Hz"),
        LatencyLine("low-pass", low, low, f"group delay, {model.emg.lowpass_kind} {model.emg.lowpass_hz:g} Hz"),
        LatencyLine("hop", hop / 2, hop, f"answers come at {model.emg.rate_hz:g} Hz"),
        LatencyLine("window", 0.0, 0.0, f"{1e3 * window:.0f} ms of history that ends now: nothing is waited for"),
        LatencyLine("compute", median, most, f"measured; p99 {1e6 * p99:.0f} us"),
    ))  # fmt: skip


def compute(engine: Engine) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum of one update [s], with the pauses between updates that live use has."""
    hop = max(1, round(engine.filter.ratio))
    random = np.random.default_rng(0)
    raw = 1e-4 * random.normal(size=(hop, engine.model.net.inputs))  # V
    state, costs = stream.start(engine), LatencyCosts()
    for k in range(_TRIALS + engine.model.net.window):
        at = (k * hop + np.arange(hop)) / engine.rate_hz
        began = time.perf_counter()
        state, rows = stream.step(engine, state, SampleBlock(raw, at, k * hop))
        if len(rows.flag) and k > engine.model.net.window:
            costs.add(time.perf_counter() - began)
            time.sleep(0.5 * hop / engine.rate_hz)
    return costs.quantiles()


def transport(channels: int, count: int) -> tuple[float, float]:
    """Median and maximum time of a packet with `count` samples from one socket to another [s]."""
    packet = udp.pack(udp.Packet(np.zeros((count, channels)), np.zeros((count, 0)), 0, 0.0, 1.0))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1.0)
        costs = LatencyCosts()
        for _ in range(_TRIALS):
            began = time.perf_counter()
            sender.sendto(packet, receiver.getsockname())
            udp.unpack(receiver.recv(65536))
            costs.add(time.perf_counter() - began)
    median, _, most = costs.quantiles()
    return median, most


def lag(model: Model, recording: Recording) -> float | None:
    """By how much the estimated angle lags the measured one [s], where both agree best; None without an angle.

    Negative is ahead: the network may have learned to make up for the filter's delay.
    """
    if recording.angle is None:
        return None
    message = predict_recording(model, recording)
    rate = model.emg.rate_hz
    reach = round(_LAG_S * rate)
    at = np.round(message.time_s * recording.rate_hz).astype(int)
    measured = recording.angle[np.minimum(at, len(recording.angle) - 1), 0]
    inner = slice(reach, len(measured) - reach)
    if len(measured[inner]) < 2 * reach or measured[inner].std() < 1e-6 or message.angle[:, 0].std() < 1e-9:
        return None
    shifts = np.arange(-reach, reach + 1)
    agreement = [
        np.corrcoef(message.angle[reach + s : len(measured) - reach + s, 0], measured[inner])[0, 1] for s in shifts
    ]
    best = int(np.argmax(agreement))
    if best in (0, len(shifts) - 1):
        return None
    a, b, c = agreement[best - 1 : best + 2]
    return float(shifts[best] + 0.5 * (a - c) / (a - 2 * b + c)) / rate
