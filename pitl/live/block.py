"""What goes into a stream and what comes out."""

from typing import NamedTuple

import numpy as np

GOOD, HELD, LOST, REDUCED = 0, 1, 2, 3  # flags of an answer
FLAGS = ("good", "held", "lost", "reduced")


class SampleBlock(NamedTuple):
    """What a source hands over at once."""

    emg: np.ndarray  # (T, C) V
    time_s: np.ndarray  # (T,) s, on the source's clock
    first: int | None = None  # counter of the first sample, if the source counts
    angle: np.ndarray | None = None  # (T, D) rad, if the source measures it
    foreign: int = 0  # packets that came since the last block and were not this source's
    event: str | None = None  # what the user should know, one sentence


class LivePrediction(NamedTuple):
    """Answers, one a sample of the envelope."""

    time_s: np.ndarray  # (N,) s, on the source's clock: the instant up to which raw EMG was used
    envelope: np.ndarray  # (N, C) normalised
    angle: np.ndarray  # (N, D) rad
    force: np.ndarray  # (N, M) N
    # (N,) GOOD; HELD: filter or window still remember a gap; LOST: the last answer, repeated, or every channel is dead;
    # REDUCED: a channel is missing or dead
    flag: np.ndarray
    force_half: np.ndarray  # (N, M) N, half an interval of 90 %; NaN where none is known


def join(parts: list[LivePrediction]) -> LivePrediction:
    """Answers one after the other."""
    return LivePrediction(*(np.concatenate(column) for column in zip(*parts, strict=True)))
