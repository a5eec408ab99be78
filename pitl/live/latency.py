"""Where the time goes between a muscle and its force on the screen."""

from typing import NamedTuple

import numpy as np

_KEPT = 8192


class Costs:
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
            return (np.nan,) * 3
        return float(np.median(kept)), float(np.percentile(kept, 99)), float(kept.max())

    def sentence(self) -> str:
        """For the end of a stream."""
        if not self._count:
            return "no answers."
        median, p99, most = (1e6 * x for x in self.quantiles())
        return f"{self._count} updates with answers, median {median:.0f} us, p99 {p99:.0f} us, max {most:.0f} us each."
