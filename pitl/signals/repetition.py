"""Repetitions of a movement, counted in its measured angle."""

import numpy as np
from jaxtyping import Float, Int

_TURN = 0.3  # of the angle's range: what turns back by less is no repetition


def number(angle: Float[np.ndarray, "N D"], trial: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Number of the repetition that each row belongs to, over all recordings; -1 before a movement has begun.

    A repetition is a way there and back of the coordinate with the largest range.

    Args:
        angle: measured [rad], in time order within each recording.
        trial: number of the recording.
    """
    course = angle[:, np.argmax(np.ptp(angle, axis=0))]  # rad
    enough, result, first = _TURN * np.ptp(course), np.full(len(course), -1), 0
    for t in np.unique(trial):
        rows = np.flatnonzero(trial == t)
        low = high = course[rows[0]]
        towards = turns = 0
        for k in rows:
            low, high = min(low, course[k]), max(high, course[k])
            risen, fallen = course[k] - low >= enough > 0, high - course[k] >= enough > 0
            if (risen and towards <= 0) or (fallen and towards >= 0):
                turns += towards != 0
                towards = 1 if risen and towards <= 0 else -1
                low = high = course[k]
            if towards:
                result[k] = first + turns // 2
        first = int(result.max()) + 1
    return result
