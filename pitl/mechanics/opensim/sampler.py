"""Asks OpenSim where things are: the only file that talks to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pitl.errors import PitlError

_UNLIMITED = 20.0  # rad; models write 99999 for "any angle"


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


@dataclass
class Sampler:
    """An opened model with its chosen coordinates; other coordinates stay where the posture puts them."""

    model: Any
    state: Any
    coordinates: tuple[Coordinate, ...]
    held: dict[str, float]  # rad or m
    path: Path
    version: str

    def __post_init__(self) -> None:
        self._set = self.model.updCoordinateSet()
        self._muscles = {m.getName(): m for m in _items(self.model.getMuscles())}
        self._chosen = [self._set.get(c.name) for c in self.coordinates]
        self._couplers, self._others = _constraints(self.model)

    def pose(self, q: np.ndarray) -> None:
        """Moves the model to q (D,) [rad]."""
        for coordinate, value in zip(self._chosen, q, strict=True):
            coordinate.setValue(self.state, float(value), False)
        self._couple()
        self.model.realizePosition(self.state)

    def move(self, q: np.ndarray, qd: np.ndarray) -> None:
        """Moves the model to q [rad] with the velocities qd [rad/s]; what is coupled follows."""
        step = 1e-6
        self.pose(np.asarray(q) + step * np.asarray(qd))
        after = {c.getName(): c.getValue(self.state) for c in _items(self._set)}
        self.pose(np.asarray(q) - step * np.asarray(qd))
        for c in _items(self._set):
            rate = (after[c.getName()] - c.getValue(self.state)) / (2 * step)
            c.setSpeedValue(self.state, rate if abs(rate) > 1e-12 else 0.0)
        self.pose(q)
        self.model.realizeVelocity(self.state)

    def lengths(self, muscles: Sequence[str]) -> np.ndarray:
        """Musculotendon lengths [m] in the present pose."""
        return np.array([self._muscles[m].getLength(self.state) for m in muscles])

    def arms(self, muscle: str) -> np.ndarray:
        """Moment arms (D,) [m] in the present pose, as OpenSim computes them."""
        m = self._muscles[muscle]
        return np.array([m.computeMomentArm(self.state, c) for c in self._chosen])

    def frames(self, bodies: Sequence[str]) -> np.ndarray:
        """Rotation | translation [m] (B, 3, 4) of bodies in the ground, in the present pose."""
        result = np.zeros((len(bodies), 3, 4))
        for b, name in enumerate(bodies):
            transform = self.model.getBodySet().get(name).getTransformInGround(self.state)
            rotation, origin = transform.R(), transform.p()
            result[b, :, :3] = [[rotation.get(i, j) for j in range(3)] for i in range(3)]
            result[b, :, 3] = [origin.get(i) for i in range(3)]
        return result

    def bodies(self) -> tuple[Body, ...]:
        """Every body, with the one it hangs on."""
        parent = {}
        for joint in _items(self.model.getJointSet()):
            child = joint.getChildFrame().findBaseFrame().getName()
            parent[child] = joint.getParentFrame().findBaseFrame().getName()
        result = []
        for body in _items(self.model.getBodySet()):
            moments, centre = body.getInertia(), body.getMassCenter()
            m, p = moments.getMoments(), moments.getProducts()
            inertia = np.array(
                [[m.get(0), p.get(0), p.get(1)], [p.get(0), m.get(1), p.get(2)], [p.get(1), p.get(2), m.get(2)]]
            )
            at = np.array([centre.get(i) for i in range(3)])
            result.append(Body(body.getName(), parent.get(body.getName(), "ground"), body.getMass(), at, inertia))
        return tuple(result)

    def gravity(self) -> np.ndarray:
        """(3,) [m/s2]."""
        g = self.model.getGravity()
        return np.array([g.get(i) for i in range(3)])

    def muscle_names(self) -> tuple[str, ...]:
        """All muscles of the file."""
        return tuple(self._muscles)

    def muscle(self, name: str) -> Muscle:
        """Parameters of one muscle."""
        m = self._muscles[name]
        return Muscle(
            name,
            m.getMaxIsometricForce(),
            m.getOptimalFiberLength(),
            m.getTendonSlackLength(),
            m.getPennationAngleAtOptimalFiberLength(),
            m.getMaxContractionVelocity(),
            _geometry(m),
        )

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Poses (count, D) [rad] drawn evenly over the ranges."""
        low, high = (np.array([getattr(c, k) for c in self.coordinates]) for k in ("low", "high"))
        return low + (high - low) * rng.random((count, len(self.coordinates)))

    def _couple(self) -> None:
        for dependent, independent, function in self._couplers:
            values = _vector([self._set.get(name).getValue(self.state) for name in independent])
            self._set.get(dependent).setValue(self.state, function.calcValue(values), False)
        if self._others:
            wanted = [c.getValue(self.state) for c in self._chosen]
            self.model.assemble(self.state)
            moved = max(abs(c.getValue(self.state) - w) for c, w in zip(self._chosen, wanted, strict=True))
            if moved > 1e-4:
                raise PitlError(
                    f"{self.path}: the constraint {self._others[0]} ties the chosen coordinates to others, so they "
                    "cannot be moved alone; choose the coordinate that drives it."
                )


def open_model(
    path: Path,
    coordinates: Sequence[str],
    held: Mapping[str, float] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Sampler:
    """Opens a model and puts every coordinate that is not chosen into its posture.

    Args:
        path: the .osim file.
        coordinates: to be kept free.
        held: values of other coordinates [rad or m]; the file's defaults where nothing is said.
        ranges: [rad] in place of the file's.

    Raises:
        PitlError: OpenSim is missing, the file cannot be read, or a coordinate is unknown, locked, coupled, a
            translation or without limits.
    """
    osim = _opensim()
    path = Path(path)
    if not path.is_file():
        raise PitlError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; give an OpenSim model (.osim)."
        )
    try:
        model = osim.Model(str(path))
        state = model.initSystem()
    except Exception as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise PitlError(f"OpenSim cannot read {path} as a model ({reason}); open it in OpenSim to see why.") from e
    known = {c.getName(): c for c in _items(model.getCoordinateSet())}
    free = {k: c for k, c in known.items() if c.getMotionType() == 1 and not c.isDependent(state)}
    if not coordinates:
        raise PitlError(f"no coordinate is chosen; {path} has {', '.join(sorted(free))}.")
    if len(set(coordinates)) < len(coordinates):
        raise PitlError(f"a coordinate is chosen twice: {', '.join(coordinates)}.")
    for name in [*coordinates, *(held or {}), *(ranges or {})]:
        if name not in known:
            raise PitlError(f"{path} has no coordinate {name!r}; known are {', '.join(known)}.")
    both = set(coordinates) & set(held or {})
    if both:
        raise PitlError(f"{both.pop()} is chosen to move and cannot be held by the posture as well.")
    chosen = []
    for name in coordinates:
        c = known[name]
        if c.isDependent(state):
            raise PitlError(
                f"{name} of {path} follows other coordinates by a constraint; choose the one that drives it."
            )
        if c.get_locked() or c.getDefaultLocked():
            raise PitlError(
                f"{name} is locked in {path}; unlock it there (locked = false), or choose another coordinate."
            )
        if c.getMotionType() != 1:
            raise PitlError(f"{name} of {path} is not a rotation; only joint angles can be chosen.")
        low, high = (ranges or {}).get(name, (c.getRangeMin(), c.getRangeMax()))
        if max(abs(low), abs(high)) > _UNLIMITED:
            raise PitlError(f"{name} has no limits in {path}; give them, such as --range {name}=-60:60 (degrees).")
        if not low < high:
            raise PitlError(f"the range of {name} is {np.rad2deg(low):g} to {np.rad2deg(high):g} deg; it is empty.")
        chosen.append(Coordinate(name, float(low), float(high)))
    values = {c.getName(): c.getDefaultValue() for c in known.values() if c.getName() not in coordinates}
    values |= held or {}
    for name, value in values.items():
        known[name].setLocked(state, False)
        known[name].setValue(state, float(value), False)
    return Sampler(model, state, tuple(chosen), values, path, osim.GetVersion())


def _opensim() -> Any:
    log = Path("opensim.log")
    there = log.exists()
    try:
        import opensim
    except ImportError as e:
        raise PitlError(
            "reading .osim files needs OpenSim's Python package; install it with: pip install 'pitl[opensim]'"
        ) from e
    opensim.Logger.setLevelString("Error")
    # it would leave a log wherever the user happens to be
    opensim.Logger.removeFileSink()
    if not there:
        log.unlink(missing_ok=True)
    return opensim


def _items(collection: Any) -> list[Any]:
    return [collection.get(i) for i in range(collection.getSize())]


def _vector(values: Sequence[float]) -> Any:
    vector = _opensim().Vector(len(values), 0.0)
    for i, value in enumerate(values):
        vector.set(i, float(value))
    return vector


def _constraints(model: Any) -> tuple[list[tuple[str, list[str], Any]], list[str]]:
    """Couplers, which can be followed exactly, and the names of all others."""
    osim = _opensim()
    couplers, others = [], []
    for constraint in _items(model.getConstraintSet()):
        coupler = osim.CoordinateCouplerConstraint.safeDownCast(constraint)
        if coupler is None:
            others.append(constraint.getName())
            continue
        names = coupler.getIndependentCoordinateNames()
        independent = [names.get(i) for i in range(names.getSize())]
        couplers.append((coupler.getDependentCoordinateName(), independent, coupler.getFunction()))
    return couplers, others


def _geometry(muscle: Any) -> str:
    path = muscle.getGeometryPath()
    wraps = [w.getWrapObjectName() for w in _items(path.getWrapSet())]
    kinds = {p.getConcreteClassName() for p in _items(path.getPathPointSet())} - {"PathPoint"}
    words = [f"wraps {', '.join(wraps)}"] if wraps else []
    return "; ".join([*words, *(f"has a {kind}" for kind in sorted(kinds))])
