"""Samples as UDP packets, for amplifiers and scripts that speak nothing else.

One packet holds a block, little-endian: the header below, then `samples` rows of `channels` EMG values [V] and `angles`
joint angles [rad], float32. The counter of the first sample lets lost, late and repeated packets be told apart.

    4s  "PITL"          H  version, 1      H  channels      H  angles      H  samples
    Q   counter of the first sample        d  its time [s]  d  rate [Hz]

Anybody may send to a port. What does not fit, or comes from another than the first sender, is dropped and counted.
"""

import socket
import struct
import time
from typing import Any, NamedTuple

import numpy as np

from pitl.errors import PitlError
from pitl.live.block import SampleBlock
from pitl.live.source import VOLTS, Layout, Vanished, Wanted, pick_channels, port_number
from pitl.live.stream import RESTART_S

_HEADER = struct.Struct("<4s4HQdd")
_MAGIC, _VERSION = b"PITL", 1
_LARGEST = 65536  # bytes
# What the operating system keeps while the stream is busy: some seconds of packets, where it grants as much.
_QUEUE = 1 << 22  # bytes
# A silence that long means that the sender is gone.
_SILENCE_S = 2.0
# A counter that is further ahead is believed once the next packet goes on from there.
_SKIP_S = 0.1


class Packet(NamedTuple):
    """One packet, unpacked."""

    emg: np.ndarray  # (T, C)
    angle: np.ndarray  # (T, D) rad
    first: int
    time_s: float
    rate_hz: float


def pack(packet: Packet) -> bytes:
    """The bytes to send."""
    values = np.concatenate([packet.emg, packet.angle], axis=1).astype("<f4")
    shape = (packet.emg.shape[1], packet.angle.shape[1], len(values))
    return _HEADER.pack(_MAGIC, _VERSION, *shape, packet.first, packet.time_s, packet.rate_hz) + values.tobytes()


def unpack(data: bytes) -> Packet:
    """The inverse of `pack`.

    Raises:
        PitlError: these bytes are no such packet, or not a whole one.
    """
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise PitlError(f"a packet of {len(data)} bytes does not begin with the header of pitl.live.udp.")
    _, version, channels, angles, samples, first, time_s, rate_hz = _HEADER.unpack_from(data)
    expected = _HEADER.size + 4 * samples * (channels + angles)
    if version != _VERSION:
        raise PitlError(f"a packet has version {version}; this one reads {_VERSION}.")
    if len(data) != expected or not samples:
        raise PitlError(
            f"a packet announces {samples} samples of {channels} + {angles} columns, {expected} bytes, and has "
            f"{len(data)}; it was cut off, is empty, or was packed differently."
        )
    if not (abs(time_s) < 1e12 and 0 < rate_hz < 1e9):  # False for what is no number
        raise PitlError(f"a packet announces {rate_hz:g} samples per second at {time_s:g} s; send the true rate.")
    with np.errstate(invalid="ignore"):  # numbers that are none are looked for later
        values = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(samples, channels + angles).astype(float)
    return Packet(values[:, :channels], values[:, channels:], first, time_s, rate_hz)


class Filter:
    """Tells the packets of one sender from everything else that arrives at a port; knows no sockets."""

    def __init__(self, where: str, wanted: Wanted) -> None:
        self.dropped = 0  # packets
        self.reason = ""  # of the last that was dropped
        self.shape: tuple[int, int, float] | None = None  # channels, angles, rate of the sender
        self._where, self._wanted = where, wanted
        self._sender: Any = None
        self._next: tuple[int, float] | None = None  # counter and time that should come now
        self._ahead: Packet | None = None  # it may be the first after a jump, or nobody's
        self._heard: dict[Any, Packet] = {}  # the first packet of those who may be the sender

    def take(self, data: bytes, sender: Any = None) -> list[Packet]:
        """What a datagram adds to the stream: packets in the order of their arrival, often one."""
        try:
            packet = unpack(data)
            if self._sender is None:
                pick_channels(self._where, ["?"] * packet.emg.shape[1], self._wanted, unnamed=True)
        except PitlError as e:
            return self._drop(str(e) if str(e).startswith(self._where) else f"{self._where}: {e}")
        shape = (packet.emg.shape[1], packet.angle.shape[1], packet.rate_hz)
        if self._sender is None:
            return self._meet(packet, shape, sender)
        if sender != self._sender:
            return self._drop(f"{self._where}: a packet came from a second sender, {_address(sender)}.")
        if shape != self.shape:
            assert self.shape is not None
            return self._drop(
                f"{self._where}: a packet has {shape[0]} channels, {shape[1]} angles at {shape[2]:g} Hz, the first "
                f"one had {self.shape[0]}, {self.shape[1]} at {self.shape[2]:g} Hz; do two senders use this port?"
            )
        return self._follow(packet)

    def settle(self) -> list[Packet]:
        """Takes the first who was heard as the sender, if no other has sent more."""
        if self._sender is not None or not self._heard:
            return []
        sender, first = next(iter(self._heard.items()))
        return self._tie(sender, first)

    def _meet(self, packet: Packet, shape: tuple[int, int, float], sender: Any) -> list[Packet]:
        """A sender is believed with its second packet: one that strays in ties the stream to nobody."""
        before = self._heard.get(sender)
        if before is None or shape != (before.emg.shape[1], before.angle.shape[1], before.rate_hz):
            self._heard = {**dict(list(self._heard.items())[-7:]), sender: packet}
            return []
        for other in self._heard.keys() - {sender}:
            self._drop(f"{self._where}: a packet came from a second sender, {_address(other)}.")
        return [*self._tie(sender, before), *self._follow(packet)]

    def _tie(self, sender: Any, packet: Packet) -> list[Packet]:
        self._sender, self._heard = sender, {}
        self.shape = (packet.emg.shape[1], packet.angle.shape[1], packet.rate_hz)
        return self._accept(packet)

    def _follow(self, packet: Packet) -> list[Packet]:
        ahead, self._ahead = self._ahead, None
        if self._fits(packet, self._next):
            if ahead is not None:
                self._drop(f"{self._where}: the sample counter of one packet, {ahead.first}, is out of the line.")
            return self._accept(packet)
        if ahead is not None:
            if self._fits(packet, _after(ahead)):
                return [*self._accept(ahead), *self._accept(packet)]
            self._drop(f"{self._where}: the sample counter of one packet, {ahead.first}, is out of the line.")
        self._ahead = packet
        return []

    def _fits(self, packet: Packet, due: tuple[int, float] | None) -> bool:
        """Whether a packet goes on from there: a little late, at once, or after a gap that can be bridged."""
        if due is None:
            return True
        ahead = (packet.first - due[0]) / packet.rate_hz  # s
        return -RESTART_S <= ahead <= _SKIP_S and abs(packet.time_s - due[1] - ahead) <= RESTART_S

    def _accept(self, packet: Packet) -> list[Packet]:
        due = _after(packet)
        restarted = self._next is None or abs(due[0] - self._next[0]) > RESTART_S * packet.rate_hz
        if restarted or self._next is None or due[0] > self._next[0]:
            self._next = due
        return [packet]

    def _drop(self, reason: str) -> list[Packet]:
        self.dropped, self.reason = self.dropped + 1, reason
        return []


def _after(packet: Packet) -> tuple[int, float]:
    count = len(packet.emg)
    return packet.first + count, packet.time_s + count / packet.rate_hz


def _address(sender: Any) -> str:
    return f"{sender[0]}:{sender[1]}" if isinstance(sender, tuple) else str(sender)


class Udp:
    """See `Source`."""

    def __init__(self, host: str, port: int, wanted: Wanted) -> None:
        self._where = f"udp:{host}:{port}"
        self._volts = VOLTS[wanted.unit or "V"]
        self._filter, self._told, self._dropped = Filter(self._where, wanted), False, 0
        self._socket = _bind(host, port)
        try:
            self._waiting = self._wait(wanted.wait_s)
        except BaseException:
            self.close()
            raise
        self._heard = time.monotonic()
        assert self._filter.shape is not None
        channels, angles, rate_hz = self._filter.shape
        self._channels = channels
        self.layout = Layout(wanted.channels, rate_hz, wanted.dofs if angles == len(wanted.dofs) else ())

    def _wait(self, wait_s: float) -> list[Packet]:
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            packets = self._receive(left)
            if packets:
                return packets
        packets = self._filter.settle()
        if packets:
            return packets
        if self._filter.dropped:
            raise PitlError(f"{self._filter.reason} Nothing else came within {wait_s:g} s.")
        raise PitlError(
            f"no packet arrived at {self._where} within {wait_s:g} s; start the sender, and check its port and address."
        )

    def _receive(self, wait_s: float) -> list[Packet]:
        self._socket.settimeout(wait_s)
        try:
            return self._filter.take(*self._socket.recvfrom(_LARGEST))
        except (TimeoutError, BlockingIOError):
            return []

    def read(self, wait_s: float) -> SampleBlock | None:
        if not self._waiting:
            self._waiting = self._receive(wait_s)
        foreign, self._dropped = self._filter.dropped - self._dropped, self._filter.dropped
        event = None
        if foreign and not self._told:
            self._told = True
            event = f"{self._filter.reason} It was dropped, and so will be others; they are counted."
        if not self._waiting:
            if time.monotonic() - self._heard > _SILENCE_S:
                raise Vanished(f"{self._where} fell silent: no packet for {_SILENCE_S:g} s.")
            return SampleBlock(np.zeros((0, self._channels)), np.zeros(0), foreign=foreign, event=event)
        self._heard = time.monotonic()
        packet = self._waiting.pop(0)
        time_s = packet.time_s + np.arange(len(packet.emg)) / packet.rate_hz
        angle = packet.angle if self.layout.dofs else None
        return SampleBlock(packet.emg * self._volts, time_s, packet.first, angle, foreign, event)

    def close(self) -> None:
        self._socket.close()


def open_udp(name: str, wanted: Wanted) -> Udp:
    """Listens on `PORT`, for packets from this machine alone, or on `HOST:PORT`, an address of this machine.

    Raises:
        PitlError: the port is in use, or no packet arrives that fits the model.
    """
    host, _, port = name.rpartition(":")
    return Udp(host or "127.0.0.1", port_number(port), wanted)


def _bind(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
    try:
        made.bind((host, port))
    except OSError as e:
        made.close()
        raise PitlError(
            f"cannot listen on UDP port {port} of {host}: {e.strerror}; another program may use it, choose another."
        ) from e
    return made
