"""Recursive forward dynamics of a calibrated Hill model, and a network that corrects what it gets wrong."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl import hill
from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Said, Task
from pitl.baselines import emg_driven
from pitl.net import jet, network
from pitl.train import descend

_PULL = 1e-2  # of the correction towards none, against a squared error in units of variance


def penn(task: Task) -> ArmResult:
    """Hill forward dynamics, driven by EMG from step to step, plus a learned residual on the angle.

    Heng, Liang, Zhao, Zhang, Cooper, Li, "Physics-Embedded Neural Networks for sEMG-Based Continuous Motion
    Estimation", IROS 2025, arXiv 2506.22459. Theirs are recursive musculoskeletal forward dynamics, a residual network
    on top and training in two phases: muscles first, then the residual. Reconstruction: muscles are fitted by
    `pitl.hill`, the residual reads the inherited encoder's features and the simulated angle, and it is not fed back
    into the recursion. A simulation starts at the angle that the generic model says, never at a measured one.
    """
    prepared, split, spread = task.prepared, task.split, task.inherited.spread
    forces = task.supervision == "angle_force"
    fitted = emg_driven.calibrate(
        task.config, prepared, list(split.calibration), split.labelled, spread, with_forces=forces
    )
    courses = [simulated(task, fitted, part) for part in (split.calibration, split.test)]
    found = []
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
        found.append(Said(angle, _forces(task, fitted, person, rows, angle, rate)))
    return ArmResult(tuple(found), None, fitted)


def simulated(
    task: Task, fitted: emg_driven.Calibrated, parts: tuple[np.ndarray, ...]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Everybody's angles (W, D) [rad] and rates [rad/s] at their rows, from EMG and a starting angle alone."""
    prepared, spread = task.prepared, task.inherited.spread
    generic = predict(prepared, task.inherited.data, task.inherited.scale, parts)
    longest = max(int(np.ptp(r[(r >= t.start) & (r < t.stop)])) + 1 for t in prepared.table.trials
                  for r in (parts[t.subject],) if np.any((r >= t.start) & (r < t.stop)))  # fmt: skip
    found = []
    for person, rows in enumerate(parts):
        own, z, on, units = jax.tree.map(lambda x, p=person: x[p], (prepared.models, fitted.z, fitted.on, spread))
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
            said = np.asarray(
                emg_driven._simulate(own, z, on, motion, units.torque, 1 / prepared.net.rate_hz), np.float64
            )
            # a simulation that ran away says nothing: it stays at the end of the joint's range
            said = np.clip(np.nan_to_num(said, nan=0.0), low - 0.5, high + 0.5)
            angle[mine] = said[rows[mine] - rows[mine[0]]]
            rate[mine] = np.gradient(said, 1 / prepared.net.rate_hz, axis=0)[rows[mine] - rows[mine[0]]]
        found.append((angle, rate))
    return found


def inputs(task: Task, person: int, rows: np.ndarray, angle: np.ndarray) -> Float[Array, "W F"]:
    """What the residual reads: features of the EMG, the simulated angle in its units, and posture."""
    prepared = task.prepared
    params, scale = jax.tree.map(lambda x: x[person], (task.inherited.data, task.inherited.scale))
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


def train(key: Array, seen: Array, wrong: Array, usable: Array, steps: int) -> dict[str, Any]:
    """The residual that gives `wrong` (W, D) on the usable rows of (W, F) inputs."""
    return _train(steps, begin(key, seen.shape[1], wrong.shape[1]), seen, wrong, usable.astype(jnp.float32))


@partial(jax.jit, static_argnums=0)
def _train(steps: int, residual: Any, seen: Array, wrong: Array, weight: Array) -> Any:
    optimiser = optax.adam(optax.cosine_decay_schedule(5e-3, steps, 0.1))

    def total(residual: Any) -> Array:
        said = correction(residual, seen)
        error = jnp.sum(weight * jnp.mean((said - wrong) ** 2, axis=-1)) / jnp.maximum(jnp.sum(weight), 1.0)
        return error + _PULL * jnp.mean(said**2)

    def step(carry: Any, _: None) -> Any:
        residual, state = carry
        return descend(optimiser, jax.grad(total)(residual), state, residual), None

    (residual, _), _ = jax.lax.scan(step, (residual, optimiser.init(residual)), None, length=steps)
    return residual


def _forces(
    task: Task, fitted: emg_driven.Calibrated, person: int, rows: np.ndarray, angle: np.ndarray, rate: np.ndarray
) -> np.ndarray:
    """Hill forces [N] along the corrected motion."""
    prepared = task.prepared
    own, z, on = jax.tree.map(lambda x: x[person], (prepared.models, fitted.z, fitted.on))
    at = jnp.asarray(rows, jnp.int32)
    q, qd = (jnp.asarray(x, jnp.float32) for x in (angle, rate))
    return np.asarray(hill.forces(own, z, on, prepared.samples.jets[at], q, qd, prepared.samples.posture[at]))
