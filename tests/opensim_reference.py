"""What OpenSim itself says about the mechanics of a model, for a few moving coordinates."""

from typing import NamedTuple

import numpy as np

from pitl.mechanics.opensim.sampler import Sampler


class Mechanics(NamedTuple):
    """At N poses, for D chosen coordinates."""

    mass: np.ndarray  # (N, D, D) kg m2
    torque: np.ndarray  # (N, D) N m, inverse dynamics without muscles


def mechanics(sampler: Sampler, q: np.ndarray, qd: np.ndarray, qdd: np.ndarray) -> Mechanics:
    """Mass matrix and inverse dynamics, with coupled coordinates following the chosen ones."""
    import opensim

    model, state = sampler.model, sampler.state
    forces = model.getForceSet()
    for i in range(forces.getSize()):
        forces.get(i).setAppliesForce(state, False)
    coordinates = [model.getCoordinateSet().get(i) for i in range(model.getCoordinateSet().getSize())]
    place = _places(model, state, coordinates)
    solver = opensim.InverseDynamicsSolver(model)
    mass, torque = [], []
    for pose, rate, acceleration in zip(q, qd, qdd, strict=True):
        follow = np.array([_derivative(sampler, coordinates, pose, unit) for unit in np.eye(len(pose))])
        speed = _derivative(sampler, coordinates, pose, rate)
        bend = _curvature(sampler, coordinates, pose, rate, acceleration)
        sampler.pose(pose)
        for c, v in zip(coordinates, speed, strict=True):
            c.setSpeedValue(state, float(v))
        model.realizeVelocity(state)
        matrix = opensim.Matrix()
        model.getMatterSubsystem().calcM(state, matrix)
        full = np.array([[matrix.get(i, j) for j in place] for i in place])
        mass.append(follow @ full @ follow.T)
        wanted = opensim.Vector(state.getNU(), 0.0)
        for p, a in zip(place, bend, strict=True):
            wanted.set(p, float(a))
        result = solver.solve(state, wanted)
        torque.append(follow @ np.array([result.get(p) for p in place]))
    return Mechanics(np.array(mass), np.array(torque))


def inverse_dynamics(sampler: Sampler, motion: dict[str, np.ndarray], time: np.ndarray) -> dict[str, np.ndarray]:
    """Generalised forces (N,) of every coordinate along a whole-body motion [rad, m], muscles left out."""
    import opensim

    model, state = sampler.model, sampler.state
    assert model.getConstraintSet().getSize() == 0
    forces = model.getForceSet()
    for i in range(forces.getSize()):
        forces.get(i).setAppliesForce(state, False)
    coordinates = [model.getCoordinateSet().get(i) for i in range(model.getCoordinateSet().getSize())]
    place = dict(zip([c.getName() for c in coordinates], _places(model, state, coordinates), strict=True))
    solver = opensim.InverseDynamicsSolver(model)
    rates = {n: np.gradient(x, time) for n, x in motion.items()}
    accelerations = {n: np.gradient(x, time) for n, x in rates.items()}
    result = {n: np.zeros(len(time)) for n in motion}
    for k in range(len(time)):
        for c in coordinates:
            c.setLocked(state, False)
            c.setValue(state, float(motion[c.getName()][k]) if c.getName() in motion else 0.0, False)
            c.setSpeedValue(state, float(rates[c.getName()][k]) if c.getName() in motion else 0.0)
        model.realizeVelocity(state)
        wanted = opensim.Vector(state.getNU(), 0.0)
        for n, a in accelerations.items():
            wanted.set(place[n], float(a[k]))
        torque = solver.solve(state, wanted)
        for n in motion:
            result[n][k] = torque.get(place[n])
    return result


def _places(model, state, coordinates) -> list[int]:
    """Where each coordinate's speed lies in the state."""
    result = []
    for c in coordinates:
        for other in coordinates:
            other.setSpeedValue(state, 0.0)
        c.setSpeedValue(state, 1.0)
        u = state.getU()
        result.append(int(np.argmax([abs(u.get(i)) for i in range(state.getNU())])))
    for c in coordinates:
        c.setSpeedValue(state, 0.0)
    return result


def _values(sampler: Sampler, coordinates, pose: np.ndarray) -> np.ndarray:
    sampler.pose(pose)
    return np.array([c.getValue(sampler.state) for c in coordinates])


def _derivative(sampler: Sampler, coordinates, pose: np.ndarray, along: np.ndarray, step: float = 1e-5) -> np.ndarray:
    ahead, behind = (_values(sampler, coordinates, pose + s * along) for s in (step, -step))
    return np.where(np.abs(ahead - behind) < 1e-13, 0.0, (ahead - behind) / (2 * step))


def _curvature(
    sampler: Sampler, coordinates, pose: np.ndarray, rate: np.ndarray, acceleration: np.ndarray, step: float = 1e-3
) -> np.ndarray:
    def at(t: float) -> np.ndarray:
        return _values(sampler, coordinates, pose + t * rate + 0.5 * t * t * acceleration)

    return (at(step) - 2 * at(0.0) + at(-step)) / step**2


def static_optimisation(path, folder, time: np.ndarray, motion: dict[str, np.ndarray], *, physiology: bool = False):
    """Activations and forces by OpenSim's own tool along a motion [rad], and the seconds that it took.

    Returns:
        (times (N,), {muscle: activation (N,)}, {muscle: force (N,) [N]}, seconds).
    """
    import time as clock

    import opensim

    table = opensim.TimeSeriesTable()
    names = list(motion)
    table.setColumnLabels(names)
    for k, t in enumerate(time):
        table.appendRow(float(t), opensim.RowVector([float(motion[n][k]) for n in names]))
    table.addTableMetaDataString("inDegrees", "no")
    opensim.STOFileAdapter.write(table, str(folder / "motion.sto"))
    tool = opensim.AnalyzeTool()
    tool.setName("so")
    tool.setModelFilename(str(path))
    tool.setCoordinatesFileName(str(folder / "motion.sto"))
    tool.setLowpassCutoffFrequency(-1)
    tool.setStartTime(float(time[0]))
    tool.setFinalTime(float(time[-1]))
    tool.setResultsDir(str(folder))
    analysis = opensim.StaticOptimization()
    analysis.setStartTime(float(time[0]))
    analysis.setEndTime(float(time[-1]))
    analysis.setUseModelForceSet(True)
    analysis.setActivationExponent(2.0)
    analysis.setUseMusclePhysiology(physiology)
    analysis.setConvergenceCriterion(1e-6)
    analysis.setMaxIterations(500)
    tool.updAnalysisSet().cloneAndAppend(analysis)
    tool.printToXML(str(folder / "setup.xml"))
    tool = opensim.AnalyzeTool(str(folder / "setup.xml"), True)
    start = clock.perf_counter()
    tool.run()
    seconds = clock.perf_counter() - start
    activation, force = (
        opensim.TimeSeriesTable(str(folder / f"so_StaticOptimization_{k}.sto")) for k in ("activation", "force")
    )
    muscles = list(activation.getColumnLabels())
    result = [{m: t.getDependentColumn(m).to_numpy() for m in muscles} for t in (activation, force)]
    return np.array(activation.getIndependentColumn()), *result, seconds
