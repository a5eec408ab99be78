"""Recursive forward dynamics of a calibrated Hill model, and a network that corrects what it gets wrong."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl.comparison.task import MethodResult, Task
from pitl.learn import emg_driven, hill, optimise, stacked
from pitl.learn.emg_driven import MuscleFit
from pitl.learn.predict import Estimate, predict_rows
from pitl.net import jet, network

_PULL = 1e-2  # of the correction towards none, against a squared error in units of variance


def penn(task: Task) -> MethodResult:
    """Hill forward dynamics, driven by EMG from step to step, plus a learned residual on the angle.

    Heng, Liang, Zhao, Zhang, Cooper, Li, "Physics-Embedded Neural Networks for sEMG-Based Continuous Motion
    Estimation", IROS 2025, arXiv 2506.22459. Theirs are recursive musculoskeletal forward dynamics, a residual network
    on top and training in two phases: muscles first, then the residual. Reconstruction: muscles are fitted by
    `pitl.learn.hill`, the residual reads the generic encoder's features and the simulated angle, and it is not fed back
    into the recursion. A simulation starts at the angle that the generic model says, never at a measured one.
    """
    prepared, split, spread = task.prepared, task.split, task.generic.physics.spread
    forces = task.supervision == "angle_force"
    how = MuscleFit.of(task.config.hill, with_forces=forces)
    fitted = emg_driven.calibrate(prepared, list(split.calibration), split.labelled, spread, how)
    courses = [simulate(task, fitted, part) for part in (split.calibration, split.test)]
    result = []
    for person, rows in enumerate(split.test):
        usable = split.labelled[person]
        seen = inputs(task, person, split.calibration[person], courses[0][person][0])
        unit = np.asarray(spread.angle)[person]
        truth = np.asarray(prepared.samples.angle)[split.calibration[person]]
        wrong = (truth - courses[0][person][0]) / unit
        key = jax.random.fold_in(task.key, person)
        residual = train(key, seen, jnp.asarray(wrong, jnp.float32), jnp.asarray(usable), task.config.personalize.steps)
        angle, rate = courses[1][person]
        angle = angle + np.asarray(correction(residual, inputs(task, person, rows, angle))) * unit
        result.append(Estimate(angle, _forces(task, fitted, person, rows, angle, rate)))
    return MethodResult(tuple(result), None, fitted)


def simulate(
    task: Task, fitted: emg_driven.Calibrated, parts: tuple[np.ndarray, ...]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Everybody's angles (W, D) [rad] and rates [rad/s] at their rows, from EMG and a starting angle alone."""
    prepared, spread = task.prepared, task.generic.physics.spread
    generic = predict_rows(task.generic.data, prepared.samples, parts)
    longest = max(int(np.ptp(r[(r >= t.start) & (r < t.stop)])) + 1 for t in prepared.table.trials
                  for r in (parts[t.subject],) if np.any((r >= t.start) & (r < t.stop)))  # fmt: skip
    result = []
    for person, rows in enumerate(parts):
        own, z, on, units = stacked.take((prepared.limbs, fitted.z, fitted.on, spread), person)
        low, high = np.asarray(own.limit_angle).T
        angle, rate = (np.zeros((len(rows), len(own.dofs))) for _ in range(2))
        for t in prepared.table.trials:
            mine = np.flatnonzero((rows >= t.start) & (rows < t.stop))
            if not len(mine):
                continue
            course = np.minimum(rows[mine[0]] + np.arange(longest), t.stop - 1)
            motion = emg_driven.rows_of(prepared, person, course, longest, np.ones(longest, bool), False)
            start = jnp.asarray(generic[person].angle[mine[0]], jnp.float32)
            still = jnp.zeros_like(motion.rate)
            motion = motion._replace(angle=jnp.zeros_like(motion.angle).at[0].set(start), rate=still)
            predicted = np.asarray(
                emg_driven._simulate(own, z, on, motion, units.torque, 1 / prepared.net.rate_hz), np.float64
            )
            # a simulation that ran away says nothing: it stays at the end of the joint's range
            predicted = np.clip(np.nan_to_num(predicted, nan=0.0), low - 0.5, high + 0.5)
            angle[mine] = predicted[rows[mine] - rows[mine[0]]]
            rate[mine] = np.gradient(predicted, 1 / prepared.net.rate_hz, axis=0)[rows[mine] - rows[mine[0]]]
        result.append((angle, rate))
    return result


def inputs(task: Task, person: int, rows: np.ndarray, angle: np.ndarray) -> Float[Array, "W F"]:
    """What the residual reads: features of the EMG, the simulated angle in its units, and posture."""
    prepared = task.prepared
    params, scale = stacked.take((task.generic.data.params, task.generic.data.scale), person)
    at = jnp.asarray(rows, jnp.int32)
    z = network.features(params, prepared.net, prepared.samples, at, 1)[0]
    around = network.context(prepared.net, prepared.samples, at, 1)[0]
    q = (angle - np.asarray(scale.angle_mean)) / np.asarray(scale.angle_std)
    return jnp.concatenate([z, jnp.asarray(q, jnp.float32), around], axis=-1)


def begin(key: Array, inputs: int, outputs: int, hidden: int = 48) -> dict[str, Any]:
    """A residual that corrects nothing yet."""
    last = jet.init_dense(key, hidden, outputs)
    return {"hidden": jet.init_dense(key, inputs, hidden), "out": jax.tree.map(jnp.zeros_like, last)}


def correction(residual: Any, seen: Float[Array, "W F"]) -> Float[Array, "W D"]:
    """What is added to the simulated angle, in its standard deviations."""
    return jet.dense(residual["out"], jnp.tanh(jet.dense(residual["hidden"], seen)))


@dataclass(frozen=True)
class ResidualLearner(optimise.Everything):
    """What is fixed before a step is compiled (see `pitl.learn.optimise.Learner`)."""

    steps: int

    def optimiser(self) -> optax.GradientTransformation:
        """Adam, with a rate that falls along a cosine."""
        return optimise.adam(5e-3, self.steps)

    def objective(self, params: Any, batch: Any, extra: None) -> tuple[Float[Array, ""], tuple[None, None]]:
        """Squared error of the corrected angle on usable rows, and a pull towards no correction."""
        (seen, wrong, weight), _ = batch
        corrected = correction(params, seen)
        error = jnp.sum(weight * jnp.mean((corrected - wrong) ** 2, axis=-1)) / jnp.maximum(jnp.sum(weight), 1.0)
        return error + _PULL * jnp.mean(corrected**2), (None, None)


def train(key: Array, seen: Array, wrong: Array, usable: Array, steps: int) -> dict[str, Any]:
    """The residual that gives `wrong` (W, D) on the usable rows of (W, F) inputs."""
    learner = ResidualLearner(steps)
    state = optimise.begin(learner, begin(key, seen.shape[1], wrong.shape[1]))
    return optimise.run(learner, state, (seen, wrong, usable.astype(jnp.float32)), jnp.arange(steps))[0].params


def _forces(
    task: Task, fitted: emg_driven.Calibrated, person: int, rows: np.ndarray, angle: np.ndarray, rate: np.ndarray
) -> np.ndarray:
    """Hill forces [N] along the corrected motion."""
    prepared = task.prepared
    own, z, on = stacked.take((prepared.limbs, fitted.z, fitted.on), person)
    at = jnp.asarray(rows, jnp.int32)
    q, qd = (jnp.asarray(x, jnp.float32) for x in (angle, rate))
    return np.asarray(hill.forces(own, z, on, prepared.samples.jets[at], q, qd, prepared.samples.posture[at]))
