"""A recorded trial played back as if it came from electrodes now."""

import time
from pathlib import Path

import numpy as np

from pitl.bundle import taken
from pitl.errors import PitlError
from pitl.live.source import Layout, Wanted, lacks, pick_channels
from pitl.live.stream import Block
from pitl.recording import Recording

# At once, when it is played faster than real time: the size of a block is then not set by the clock.
_BLOCK_S = 0.5


def read_recording(path: Path) -> Recording:
    """The trial in one file, whatever the readers in `pitl.io` make of the folder that it lies in.

    Raises:
        PitlError: there is no such file, or no reader knows it.
    """
    from pitl.io import cohort_file
    from pitl.io.folder import read_folder
    from pitl.schema import DataConfig

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise PitlError(f"the recording {path} {what}; name the file of one trial, as in replay:FILE.")
    above = [p for p in path.resolve().parents if (p / cohort_file.NAME).is_file()]
    folder = above[0] if above else path.parent
    cohort = read_folder(folder, DataConfig(kind="auto", dir=str(folder)))
    recordings = [r for s in cohort.subjects for r in s.recordings]
    for r in recordings:
        if Path(r.source).resolve() == path.resolve():
            return r
    known = ", ".join(Path(r.source).name for r in recordings[:6])
    raise PitlError(
        f"{path} is not among the trials of its folder ({known}); add it to {cohort_file.NAME} or name another."
    )


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
        emg = taken(recording.emg, columns)
        self._emg = emg if recording.valid is None else np.where(recording.valid[:, None], emg, np.nan)
        self._angle = recording.angle
        self._speed = wanted.speed
        self._total = wanted.repeat * len(emg)
        self._given = 0
        self._began = time.monotonic()

    def read(self, wait_s: float) -> Block | None:
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
        return Block(self._emg[row], at / self.layout.rate_hz, int(at[0]) if count else None, angle)

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
