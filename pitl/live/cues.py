"""What a person is asked to do while a calibration records."""

from typing import NamedTuple

import numpy as np


class Cue(NamedTuple):
    """What to do, for so long a part of the session."""

    part: float
    text: str
    cycles: float  # of the target over this cue; 0 holds it at `level`
    level: float = 0.0  # -1 fully one way, +1 fully the other


CUES = (
    Cue(0.10, "relax", 0),
    Cue(0.40, "move slowly to and fro, as far as is comfortable", 2),
    Cue(0.10, "hold flexed", 0, 1.0),
    Cue(0.10, "hold extended", 0, -1.0),
    Cue(0.30, "move faster", 3),
)


# How a coordinate's two ways are called, by what its name ends in: positive, negative.
_WAYS = {"flexion": ("flex", "extend"), "deviation": ("towards the little finger", "towards the thumb")}
_LEVELS = ("hardly", "weakly", "half as strongly as you can", "as strongly as you can")
_REST_PART = 0.25  # of a direction's time


def efforts(dofs: tuple[str, ...]) -> tuple[Cue, ...]:
    """Isometric efforts against a dynamometer or load cell that tell the muscles of some coordinates apart.

    Each way of each coordinate, then all muscles at once; from weak to strong, with rest between.
    """
    ways = []
    for dof in dofs:
        known = next((w for ending, w in _WAYS.items() if dof.endswith(ending)), None)
        ways += [f"push: {w}" for w in known or (f"towards more {dof}", f"towards less {dof}")]
    ways.append("tense all muscles at once, against nothing")
    each = 1 / len(ways)
    cues = []
    for way in ways:
        cues.append(Cue(_REST_PART * each, "rest", 0))
        part = (1 - _REST_PART) * each / len(_LEVELS)
        cues += [Cue(part, f"{way}, {level}", 0, (k + 1) / len(_LEVELS)) for k, level in enumerate(_LEVELS)]
    return tuple(cues)


class Prompt(NamedTuple):
    """What the screen shows at one instant of a session."""

    text: str
    target: float  # -1 to 1, where the limb should be
    left_s: float  # of this cue


def prompt(at_s: float, seconds: float, cues: tuple[Cue, ...] = CUES) -> Prompt:
    """The cue at an instant of a session of so many seconds."""
    begin = 0.0
    for cue in cues:
        length = cue.part * seconds
        if at_s < begin + length or cue is cues[-1]:
            phase = (at_s - begin) / length
            target = float(np.sin(2 * np.pi * cue.cycles * phase)) if cue.cycles else cue.level
            return Prompt(cue.text, target, max(0.0, begin + length - at_s))
        begin += length
    raise AssertionError("a session has cues")
