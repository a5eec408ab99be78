"""Where samples come from: what every source gives, and how one is named on the command line.

`replay:FILE`, `lsl:NAME` and `udp:PORT` each have a file of their own here.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pitl.errors import PitlError
from pitl.learn.model import channel_columns
from pitl.live.block import SampleBlock

VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6}  # V per unit


class Layout(NamedTuple):
    """What a source sends."""

    channels: tuple[str, ...]  # names of the EMG channels, in the order in which blocks have them
    rate_hz: float
    dofs: tuple[str, ...] = ()  # coordinates whose angle it measures too
    posture: str | None = None  # if it knows
    missing: tuple[str, ...] = ()  # channels that the model takes and the source lacks: zero in every block


class Wanted(NamedTuple):
    """What the model takes, and what the user said about the source."""

    channels: tuple[str, ...]
    dofs: tuple[str, ...]
    unit: str | None = None  # of the EMG: a key of `VOLTS`; None takes the source's word
    speed: float = 1.0  # of a replay, times real time; 0 is as fast as it goes
    repeat: int = 1  # how often a replay is played
    wait_s: float = 5.0  # how long a source may take to appear


class Source(Protocol):
    """An open source."""

    layout: Layout

    def read(self, wait_s: float) -> SampleBlock | None:
        """The samples that have come since the last call; waits up to `wait_s` [s] for some and may give none.

        None says that the source has come to its end.

        Raises:
            Vanished: the source is gone; opening it again may help.
        """
        ...

    def close(self) -> None: ...


class Vanished(PitlError):
    """A source that was there and no longer is."""


def port_number(text: str) -> int:
    """A port from the command line.

    Raises:
        PitlError: it is none.
    """
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise PitlError(f"'{text}' is not a port; write a number from 1 to 65535, such as udp:5005.")
    return int(text)


def pick_channels(where: str, result: Sequence[str], wanted: Wanted, unnamed: bool = False) -> np.ndarray:
    """Columns (C,) of the model's channels among those of a source, by name; -1 for those that it lacks.

    Args:
        where: the source, for messages.
        found: names of its EMG channels, any text if they are not named.
        wanted: whose channels.
        unnamed: the source gives no names: its channels count in order.

    Raises:
        PitlError: it has none of them; or without names, the number differs.
    """
    names = ", ".join(wanted.channels)
    if unnamed:
        if len(result) != len(wanted.channels):
            raise PitlError(
                f"{where} sends {len(result)} EMG channel(s); the model takes {len(wanted.channels)} ({names}); "
                "send these, in this order, or name the channels that there are."
            )
        return np.arange(len(result))
    return channel_columns(where, result, wanted.channels)


def lacks(at: np.ndarray, wanted: Wanted) -> tuple[str, ...]:
    """Names of the channels for which `pick_channels` found no column."""
    return tuple(c for c, k in zip(wanted.channels, at, strict=True) if k < 0)
