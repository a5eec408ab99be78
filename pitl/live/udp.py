"""Samples as UDP packets, for amplifiers and scripts that speak nothing else.

One packet holds a block, little-endian: the header below, then `samples` rows of `channels` EMG values [V] and `angles`
joint angles [rad], float32. The counter of the first sample lets lost, late and repeated packets be told apart.

    4s  "PITL"          H  version, 1      H  channels      H  angles      H  samples
    Q   counter of the first sample        d  its time [s]  d  rate [Hz]
"""

import socket
import struct
import time
from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError
from pitl.live.source import VOLTS, Layout, Vanished, Wanted, pick_channels, port_number
from pitl.live.stream import SampleBlock

_HEADER = struct.Struct("<4s4HQdd")
_MAGIC, _VERSION = b"PITL", 1
_LARGEST = 65536  # bytes
# What the operating system keeps while the stream is busy: some seconds of packets, where it grants as much.
_QUEUE = 1 << 22  # bytes
# A silence that long means that the sender is gone.
_SILENCE_S = 2.0


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
    if len(data) != expected:
        raise PitlError(
            f"a packet announces {samples} samples of {channels} + {angles} columns, {expected} bytes, and has "
            f"{len(data)}; it was cut off or packed differently."
        )
    if not (np.isfinite(time_s) and np.isfinite(rate_hz) and rate_hz > 0):
        raise PitlError(f"a packet announces {rate_hz:g} samples per second at {time_s:g} s; send the true rate.")
    values = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(samples, channels + angles).astype(float)
    return Packet(values[:, :channels], values[:, channels:], first, time_s, rate_hz)


class Udp:
    """See `Source`."""

    def __init__(self, host: str, port: int, wanted: Wanted) -> None:
        self._where = f"udp:{host}:{port}"
        self._volts = VOLTS[wanted.unit or "V"]
        self._socket = _bind(host, port)
        self._heard = time.monotonic()
        try:
            first = self._wait(wanted.wait_s)
        except BaseException:
            self.close()
            raise
        self._shape = (first.emg.shape[1], first.angle.shape[1], first.rate_hz)
        self._waiting = [first]
        dofs = wanted.dofs if first.angle.shape[1] == len(wanted.dofs) else ()
        self.layout = Layout(wanted.channels, first.rate_hz, dofs)
        try:
            pick_channels(self._where, ["?"] * first.emg.shape[1], wanted, unnamed=True)
        except PitlError:
            self.close()
            raise

    def _wait(self, wait_s: float) -> Packet:
        self._socket.settimeout(wait_s)
        try:
            return unpack(self._socket.recv(_LARGEST))
        except TimeoutError as e:
            raise PitlError(
                f"no packet arrived at {self._where} within {wait_s:g} s; start the sender, and check its port "
                "and address."
            ) from e
        except PitlError as e:
            raise PitlError(f"{self._where}: {e}") from e

    def read(self, wait_s: float) -> SampleBlock | None:
        packets, self._waiting = self._waiting, []
        if not packets:
            self._socket.settimeout(wait_s)
            try:
                packets.append(self._checked(self._socket.recv(_LARGEST)))
            except (TimeoutError, BlockingIOError):
                if time.monotonic() - self._heard > _SILENCE_S:
                    raise Vanished(f"{self._where} fell silent: no packet for {_SILENCE_S:g} s.") from None
                return self._nothing()
        self._heard = time.monotonic()
        packet = packets[0]
        time_s = packet.time_s + np.arange(len(packet.emg)) / packet.rate_hz
        angle = packet.angle if self.layout.dofs else None
        return SampleBlock(packet.emg * self._volts, time_s, packet.first, angle)

    def _checked(self, data: bytes) -> Packet:
        try:
            packet = unpack(data)
        except PitlError as e:
            raise PitlError(f"{self._where}: {e}") from e
        shape = (packet.emg.shape[1], packet.angle.shape[1], packet.rate_hz)
        if shape != self._shape:
            raise PitlError(
                f"{self._where}: a packet has {shape[0]} channels, {shape[1]} angles at {shape[2]:g} Hz, the first "
                f"one had {self._shape[0]}, {self._shape[1]} at {self._shape[2]:g} Hz; do two senders use this port?"
            )
        return packet

    def _nothing(self) -> SampleBlock:
        return SampleBlock(np.zeros((0, self._shape[0])), np.zeros(0))

    def close(self) -> None:
        self._socket.close()


def open_udp(name: str, wanted: Wanted) -> Udp:
    """Listens on `PORT`, for packets from this machine alone, or on `HOST:PORT`, an address of this machine.

    Raises:
        PitlError: the port is in use, nothing arrives, or the packets do not fit the model.
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
