"""A recorded trial played back as if it came from electrodes now."""

import time
from pathlib import Path

import numpy as np

from pitl.data.load import read_recording
from pitl.data.recording import Recording
from pitl.learn.model import pick_columns
from pitl.live.block import SampleBlock
from pitl.live.source import Layout, Wanted, lacks, pick_channels

# At once, when it is played faster than real time: the size of a block is then not set by the clock.
_BLOCK_S = 0.5


class Replay:
    """See `Source`."""

    def __init__(self, recording: Recording, columns: np.ndarray, wanted: Wanted) -> None:
        self.layout = Layout(
            wanted.channels,
            recording.rate_hz,
            recording.dofs if recording.angle is not None else (),
            recording.posture,
            lacks(columns, wanted),
        )
        emg = pick_columns(recording.emg, columns)
        self._emg = emg if recording.valid is None else np.where(recording.valid[:, None], emg, np.nan)
        self._angle = recording.angle
        self._speed = wanted.speed
        self._total = wanted.repeat * len(emg)
        self._given = 0
        self._began = time.monotonic()

    def read(self, wait_s: float) -> SampleBlock | None:
        if self._given >= self._total:
            return None
        count = self._due()
        if not count and wait_s > 0:
            next_s = (self._given + 1) / (self.layout.rate_hz * self._speed) + self._began - time.monotonic()
            # a block of some milliseconds, as an amplifier sends it, costs less than single samples
            time.sleep(min(wait_s, max(next_s, 0.005)))
            count = self._due()
        at = np.arange(self._given, self._given + count)
        self._given += count
        row = at % len(self._emg)
        angle = None if self._angle is None else self._angle[row]
        return SampleBlock(self._emg[row], at / self.layout.rate_hz, int(at[0]) if count else None, angle)

    def _due(self) -> int:
        left = self._total - self._given
        if self._speed > 0:
            played = (time.monotonic() - self._began) * self._speed * self.layout.rate_hz
            left = min(left, int(played) - self._given)
        return max(0, min(left, int(_BLOCK_S * self.layout.rate_hz)))

    def close(self) -> None:
        pass


def open_replay(name: str, wanted: Wanted) -> Replay:
    """Opens a trial for playing.

    Raises:
        PitlError: it cannot be read, or has none of the channels.
    """
    recording = read_recording(Path(name).expanduser())
    return Replay(recording, pick_channels(str(name), recording.channels, wanted), wanted)
