"""Asks OpenSim where things are: the only file that talks to it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pitl.errors import PitlError
from pitl.mechanics.opensim.constraints import Followers, reachable
from pitl.mechanics.sampling.probe import probe
from pitl.mechanics.sampling.sampler import Body, Muscle, Sampler, check_request, coordinate

_ROTATION = 1  # Coordinate::MotionType
_PASSIVE = ("CoordinateLimitForce", "Ligament", "Spring", "Bushing", "ExpressionBased")  # in names of classes


class OpenSimSampler(Sampler):
    """An OpenSim model."""

    def __init__(self, model: Any, state: Any, coordinates: Sequence[str], held: dict[str, float], path: Path) -> None:
        self.model, self.state, self.path, self.held = model, state, path, held
        self.coordinates = ()
        self.program = f"OpenSim {_opensim().GetVersion()}"
        self._set = model.updCoordinateSet()
        self._muscles = {m.getName(): m for m in _items(model.getMuscles())}
        self._chosen = [self._set.get(name) for name in coordinates]
        others = [c for c in _items(self._set) if c.getName() not in coordinates]
        couplers, constraints = _constraints(model, self._set)
        self.followers = Followers(model, state, path, held, self._chosen, others, couplers, constraints)
        self._notes = (*_passive_forces(model), *_other_actuators(model))

    def pose(self, q: np.ndarray) -> None:
        """Moves the model to q (D,) [rad]."""
        self.followers.follow(np.asarray(q, float))
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

    def arms(self, muscle: str, along: Sequence[int] | None = None) -> np.ndarray:
        """Moment arms [m] in the present pose, as OpenSim computes them, along all chosen coordinates or some."""
        m, asked = self._muscles[muscle], range(len(self._chosen)) if along is None else along
        return np.array([m.computeMomentArm(self.state, self._chosen[c]) for c in asked])

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

    def muscles_off(self) -> tuple[str, ...]:
        """Muscles that the file switches off (`appliesForce`, in older files `isDisabled`)."""
        return tuple(name for name, m in self._muscles.items() if not m.get_appliesForce())

    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not taken over, or was changed."""
        return self._notes

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Ranges [rad], or the file's, of which only the part is sampled where the constraints can be met."""
        result = []
        for k, c in enumerate(self._chosen):
            name = c.getName()
            own = coordinate(self.path, name, *ranges.get(name, (c.getRangeMin(), c.getRangeMax())))
            if self.followers.constraints and name not in ranges:
                low, high, why = reachable(self.followers, k, own.low, own.high)
                own = coordinate(self.path, name, low, high)
                if why:
                    self._notes += (
                        f"{name} is sampled from {np.rad2deg(low):.0f} to {np.rad2deg(high):.0f} deg, as {why}; "
                        "give another range with --range.",
                    )
            result.append(own)
        self.coordinates = tuple(result)


def open_model(
    path: Path,
    coordinates: Sequence[str],
    held: Mapping[str, float] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> OpenSimSampler:
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
    probe(path, "OpenSim", "import opensim\nopensim.Logger.setLevelString('Off')\nopensim.Model(path)", 8)
    try:
        model = osim.Model(str(path))
        state = model.initSystem()
    except Exception as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise PitlError(f"OpenSim cannot read {path} as a model ({reason}); open it in OpenSim to see why.") from e
    known = {c.getName(): c for c in _items(model.getCoordinateSet())}
    ranges, held = ranges or {}, held or {}
    if not coordinates:
        free = [k for k, c in known.items() if c.getMotionType() == _ROTATION and not c.isDependent(state)]
        check_request(path, coordinates, free, held, ranges)
    check_request(path, coordinates, list(known), held, ranges)
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
        if c.getMotionType() != _ROTATION:
            raise PitlError(f"{name} of {path} is not a rotation; only joint angles can be chosen.")
    values = {c.getName(): c.getDefaultValue() for c in known.values() if c.getName() not in coordinates}
    values |= held
    for name, value in values.items():
        known[name].setLocked(state, False)
        known[name].setValue(state, float(value), False)
    sampler = OpenSimSampler(model, state, coordinates, values, path)
    sampler.set_ranges(ranges)
    return sampler


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


def _constraints(model: Any, coordinates: Any) -> tuple[list[tuple[Any, list[Any], Any]], list[str]]:
    """Couplers, which can be followed exactly, and the names of all others that are enforced."""
    osim = _opensim()
    couplers, others = [], []
    for constraint in _items(model.getConstraintSet()):
        coupler = osim.CoordinateCouplerConstraint.safeDownCast(constraint)
        if not constraint.get_isEnforced():
            continue
        if coupler is None:
            others.append(constraint.getName())
            continue
        names = coupler.getIndependentCoordinateNames()
        independent = [coordinates.get(names.get(i)) for i in range(names.getSize())]
        couplers.append((coordinates.get(coupler.getDependentCoordinateName()), independent, _value(coupler)))
    return couplers, others


def _value(coupler: Any) -> Callable[[list[float]], float]:
    function = coupler.getFunction()  # lives as long as the coupler
    return lambda values: function.calcValue(_vector(values))


def _passive_forces(model: Any) -> tuple[str, ...]:
    names = [
        f.getName()
        for f in _items(model.getForceSet())
        if f.get_appliesForce() and any(word in f.getConcreteClassName() for word in _PASSIVE)
    ]
    if not names:
        return ()
    few = ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    return (f"passive forces of the file are not taken over: {few}; set damping and stiffness yourself.",)


def _other_actuators(model: Any) -> tuple[str, ...]:
    """Cables and the like, which pull as muscles do; motors of coordinates are aids of simulations."""
    osim = _opensim()
    names = [
        f.getName()
        for f in _items(model.getForceSet())
        if osim.PathActuator.safeDownCast(f) is not None and osim.Muscle.safeDownCast(f) is None
    ]
    return (f"actuators that are no muscles are not taken over: {', '.join(names)}.",) if names else ()


def _geometry(muscle: Any) -> str:
    kind = muscle.getPath().getConcreteClassName()
    if kind != "GeometryPath":
        return f"is a {kind}"
    path = muscle.getGeometryPath()
    wraps = [w.getWrapObjectName() for w in _items(path.getWrapSet())]
    kinds = {p.getConcreteClassName() for p in _items(path.getPathPointSet())} - {"PathPoint"}
    words = [f"wraps {', '.join(wraps)}"] if wraps else []
    return "; ".join([*words, *(f"has a {kind}" for kind in sorted(kinds))])
