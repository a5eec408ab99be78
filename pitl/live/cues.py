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


class Prompt(NamedTuple):
    """What the screen shows at one instant of a session."""

    text: str
    target: float  # -1 to 1, where the limb should be
    left_s: float  # of this cue


def prompt(at_s: float, seconds: float) -> Prompt:
    """The cue at an instant of a session of so many seconds."""
    begin = 0.0
    for cue in CUES:
        length = cue.part * seconds
        if at_s < begin + length or cue is CUES[-1]:
            phase = (at_s - begin) / length
            target = float(np.sin(2 * np.pi * cue.cycles * phase)) if cue.cycles else cue.level
            return Prompt(cue.text, target, max(0.0, begin + length - at_s))
        begin += length
    raise AssertionError("a session has cues")
