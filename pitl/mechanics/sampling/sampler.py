"""What an importer can be asked, whichever simulator answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pitl.errors import PitlError

_UNLIMITED = 20.0  # rad; models write 99999 for "any angle"
_TURN = 360.0  # beyond which a number is no angle in degrees either


@dataclass(frozen=True)
class Coordinate:
    """A chosen coordinate."""

    name: str
    low: float  # rad
    high: float  # rad


@dataclass(frozen=True)
class Body:
    """A rigid body, in its own frame."""

    name: str
    parent: str  # "ground" or another body
    mass: float  # kg
    centre: np.ndarray  # (3,) m
    inertia: np.ndarray  # (3, 3) kg m2, about the centre of mass


@dataclass(frozen=True)
class Muscle:
    """Parameters of a muscle, as the file has them."""

    name: str
    max_isometric_force: float  # N
    optimal_fibre_length: float  # m
    tendon_slack_length: float  # m
    pennation: float  # rad
    max_contraction_velocity: float  # optimal fibre lengths per s
    geometry: str  # what its path has besides fixed points, such as "wraps KnExt_at_fem"


class Passive(NamedTuple):
    """Passive properties of the chosen coordinates."""

    damping: np.ndarray  # (D,) N m s/rad
    stiffness: np.ndarray  # (D,) N m/rad
    rest: np.ndarray | None  # (D,) rad; None is the middle of the range


class Sampler(ABC):
    """An opened model with its chosen coordinates; other coordinates stay where the posture puts them."""

    program: str  # that answers, such as "OpenSim 4.6"
    path: Path
    coordinates: tuple[Coordinate, ...]
    held: dict[str, float]  # rad or m

    @abstractmethod
    def pose(self, q: np.ndarray) -> None:
        """Moves the model to q (D,) [rad]."""

    @abstractmethod
    def lengths(self, muscles: Sequence[str]) -> np.ndarray:
        """Musculotendon lengths [m] in the present pose."""

    @abstractmethod
    def arms(self, muscle: str, along: Sequence[int] | None = None) -> np.ndarray:
        """Moment arms [m] in the present pose, as the program computes them, along all chosen coordinates or some."""

    @abstractmethod
    def frames(self, bodies: Sequence[str]) -> np.ndarray:
        """Rotation | translation [m] (B, 3, 4) of bodies in the ground, in the present pose."""

    @abstractmethod
    def bodies(self) -> tuple[Body, ...]:
        """Every body, with the one it hangs on."""

    @abstractmethod
    def gravity(self) -> np.ndarray:
        """(3,) [m/s2]."""

    @abstractmethod
    def muscle_names(self) -> tuple[str, ...]:
        """All muscles of the file."""

    @abstractmethod
    def muscle(self, name: str) -> Muscle:
        """Parameters of one muscle."""

    def muscles_off(self) -> tuple[str, ...]:
        """Muscles that the file switches off."""
        return ()

    def passive(self) -> Passive:
        """Passive properties that are taken over."""
        none = np.zeros(len(self.coordinates))
        return Passive(none, none, None)

    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not taken over, or was changed."""
        return ()

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Poses (count, D) [rad] drawn evenly over the ranges."""
        low, high = (np.array([getattr(c, k) for c in self.coordinates]) for k in ("low", "high"))
        return low + (high - low) * rng.random((count, len(self.coordinates)))


def check_request(
    path: Path,
    coordinates: Sequence[str],
    known: Sequence[str],
    held: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Whether a request can be about this file.

    Raises:
        PitlError: a coordinate is unknown, chosen twice, or chosen and held.
    """
    if not known:
        raise PitlError(f"{path} has no joint that could move, so it is no whole model; give the model itself.")
    if not coordinates:
        raise PitlError(f"no coordinate is chosen; {path} has {', '.join(sorted(known))}.")
    if len(set(coordinates)) < len(coordinates):
        raise PitlError(f"a coordinate is chosen twice: {', '.join(coordinates)}.")
    for name in [*coordinates, *held, *ranges]:
        if name not in known:
            raise PitlError(f"{path} has no coordinate {name!r}; known are {', '.join(known)}.")
    both = set(coordinates) & set(held)
    if both:
        raise PitlError(f"{both.pop()} is chosen to move and cannot be held by the posture as well.")


def coordinate(path: Path, name: str, low: float, high: float) -> Coordinate:
    """A chosen coordinate with its range [rad].

    Raises:
        PitlError: the range is empty or has no limits.
    """
    if _UNLIMITED < max(abs(low), abs(high)) <= _TURN:
        raise PitlError(
            f"{path} has {name} from {low:g} to {high:g} rad, which seem to be degrees; mend the range in the file, or "
            f"give --range {name}={low:g}:{high:g} (degrees)."
        )
    if max(abs(low), abs(high)) > _UNLIMITED:
        raise PitlError(f"{name} has no limits in {path}; give them, such as --range {name}=-60:60 (degrees).")
    if not low < high:
        raise PitlError(f"the range of {name} is {np.rad2deg(low):g} to {np.rad2deg(high):g} deg; it is empty.")
    return Coordinate(name, float(low), float(high))
