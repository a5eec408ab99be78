"""Coordinates that follow the chosen ones: by couplers, and by other constraints, such as a ligament of fixed length.

OpenSim's own assembly trades a chosen coordinate against the others and jumps between far solutions; here the chosen
ones stay exactly where they are put, and the others follow by Newton's method from a pose nearby.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pitl.errors import PitlError

_STEP = 0.1  # rad, between poses that are solved one after the other
_REMEMBERED = 0.05  # rad, between poses that are kept to start from
_MET = 1e-9  # m or rad, error of a constraint
_OUTSIDE = 1e-6  # rad or m, by which a coordinate may leave its range
_NUDGE = 1e-6  # rad or m, of finite differences


class UnreachableError(PitlError):
    """The constraints cannot be met in a pose."""


@dataclass
class Followers:
    """Moves the dependent coordinates of an opened model."""

    model: Any
    state: Any
    path: Path
    held: dict[str, float]  # rad or m
    chosen: list[Any]  # coordinates
    others: list[Any]  # coordinates that are not chosen
    couplers: list[tuple[Any, list[Any], Callable[[list[float]], float]]]
    constraints: list[str]  # names of those that are no couplers
    _known: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # chosen, others [rad or m]

    def __post_init__(self) -> None:
        dependent = [c for c, _, _ in self.couplers]
        loose = [c for c in self.others if not any(c.getName() == d.getName() for d in dependent)]
        self._free = [c for c in loose if c.get_is_free_to_satisfy_constraints()] or loose
        if self.constraints:
            for c in self.others:  # initSystem may have moved them
                c.setValue(self.state, self.held.get(c.getName(), c.getDefaultValue()), False)
            self._solve(np.array([c.getDefaultValue() for c in self.chosen]))
        self._remember()
        self.start = self._known[0][0]  # rad, where the file has the chosen coordinates

    def follow(self, q: np.ndarray) -> None:
        """Moves everything to the chosen coordinates' values q (D,) [rad].

        Raises:
            UnreachableError: the constraints cannot be met there.
        """
        if not self.constraints:
            self._couple(q)
            return
        reason = self.obstacle(q)
        if reason:
            raise UnreachableError(f"{self.path}: {reason}; narrow with --range.")

    def obstacle(self, q: np.ndarray) -> str:
        """Moves to q (D,) [rad] if the constraints allow, or says what stands in the way."""
        apart = [np.abs(q - before).max() for before, _ in self._known]
        start, values = self._known[int(np.argmin(apart))]
        steps = max(1, int(np.ceil(min(apart) / _STEP)))
        for c, v in zip(self.others, values, strict=True):
            c.setValue(self.state, float(v), False)
        at = ", ".join(f"{c.getName()} = {np.rad2deg(v):.0f} deg" for c, v in zip(self.chosen, q, strict=True))
        for k in range(1, steps + 1):
            if not self._solve(start + (q - start) * k / steps):
                return f"at {at} the constraint {self.constraints[0]} cannot be met"
        if min(apart) > _REMEMBERED:
            self._remember()
        outside = [
            c.getName()
            for c in self._free
            if c.getClamped(self.state)
            and not c.getRangeMin() - _OUTSIDE <= c.getValue(self.state) <= c.getRangeMax() + _OUTSIDE
        ]
        return f"at {at} {' and '.join(outside)} would leave its range" if outside else ""

    def _remember(self) -> None:
        values = (np.array([c.getValue(self.state) for c in group]) for group in (self.chosen, self.others))
        self._known.append((next(values), next(values)))

    def _couple(self, q: Sequence[float] | np.ndarray) -> None:
        for c, v in zip(self.chosen, q, strict=True):
            c.setValue(self.state, float(v), False)
        for dependent, independent, function in self.couplers:
            dependent.setValue(self.state, function([c.getValue(self.state) for c in independent]), False)

    def _solve(self, q: np.ndarray) -> bool:
        """Newton's method for the coordinates that are free to follow; whether the constraints are met."""
        for _ in range(30):
            self._couple(q)
            error = self._error()
            if np.abs(error).max(initial=0.0) < _MET:
                return True
            slope = []
            for c in self._free:
                value = c.getValue(self.state)
                c.setValue(self.state, value + _NUDGE, False)
                slope.append((self._error() - error) / _NUDGE)
                c.setValue(self.state, value, False)
            change = np.linalg.lstsq(np.array(slope).T, -error, rcond=1e-8)[0]
            for c, d in zip(self._free, np.clip(change, -_STEP, _STEP), strict=True):
                c.setValue(self.state, c.getValue(self.state) + float(d), False)
        return False

    def _error(self) -> np.ndarray:
        self.model.realizePosition(self.state)
        errors = self.state.getQErr()
        return np.array([errors.get(i) for i in range(errors.size())])


def reachable(followers: Followers, k: int, low: float, high: float) -> tuple[float, float, str]:
    """The longest part of a chosen coordinate's range [rad] where the constraints hold, and what ends it.

    The other chosen coordinates stay where the file has them. Nothing ends it ("") if that is the whole range.
    """
    start = followers.start
    values = np.linspace(low, high, int(np.ceil(np.rad2deg(high - low))) + 1)
    nearest = int(np.argmin(np.abs(values - start[k])))
    reasons = [""] * len(values)
    for i in (*range(nearest, len(values)), *range(nearest, -1, -1)):
        q = start.copy()
        q[k] = values[i]
        reasons[i] = followers.obstacle(q)
    best = (0, 0)
    for i in range(len(values)):
        j = next((j for j in range(i, len(values)) if reasons[j]), len(values))
        best = max(best, (i, j), key=lambda run: run[1] - run[0])
    first, last = best[0], max(best[1] - 1, best[0])
    why = reasons[first - 1] if first > 0 else reasons[last + 1] if last + 1 < len(values) else ""
    return float(values[first]), float(values[last]), why
