"""Networks that know one person alone: the generic model's loss on that person's labelled calibration rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl import loss, train, windows
from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Said, Task
from pitl.config import TrainConfig

# Contiguous rows in one stretch of training, beyond the kernel's own.
_RUN = 20
# Part of each contiguous piece of rows, its last, on which it is decided when to stop.
_HELD = 0.2


def pi_cnn(task: Task) -> ArmResult:
    """A physics-informed network of the person's own, from random numbers: data and law of motion, no transfer.

    Zhang, Zhao, Shone, Li, Frangi, Xie, Zhang, "Physics-Informed Deep Learning for Musculoskeletal Modeling: Predicting
    Muscle Forces and Joint Kinematics From Surface EMG", IEEE Trans. Neural Syst. Rehabil. Eng. 2023,
    doi 10.1109/TNSRE.2022.3226860, arXiv 2207.01435. Theirs is the idea of a network for one subject whose loss holds
    the equation of motion. Reconstruction: layers, weights, exact time derivatives in place of a time input, and
    stopping on the last fifth of the calibration part before training again on all of it.
    """
    found = []
    for person in range(len(task.split.test)):
        params, _ = fit(task, person, labelled_rows(task, person), _key(task, person))
        found.append(params)
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = jax.tree.map(lambda *x: jnp.stack(x), *found)
    return ArmResult(predict(task.prepared, params, task.inherited.scale, task.split.test))


def distributed(task: Task) -> ArmResult:
    """Local physics-informed networks on parts of the calibration, averaged with inverse training errors as weights.

    Zhang, Ruan, Li, Zhang, "Toward Robust and Efficient Musculoskeletal Modeling Using Distributed Physics-Informed
    Deep Learning", IEEE Trans. Instrum. Meas. 72:2530511, 2023, doi 10.1109/TIM.2023.3325522. Theirs are the local
    models on subdomains of the data and the weights inversely proportional to their training errors. Reconstruction:
    a subdomain is a third of every trial, in time, so that every local model knows all postures.
    """
    found = []
    for person in range(len(task.split.test)):
        parts = subdomains(labelled_rows(task, person), task, _SUBDOMAINS)
        local = [fit(task, person, rows, jax.random.fold_in(_key(task, person), k)) for k, rows in enumerate(parts)]
        weights = fused(np.array([error for _, error in local]))
        test, scale = task.split.test[person], jax.tree.map(lambda x, p=person: x[p : p + 1], task.inherited.scale)
        one = [predict(task.prepared, jax.tree.map(lambda x: x[None], p), scale, (test,))[0] for p, _ in local]
        forces = [s.force for s in one if s.force is not None]
        found.append(
            Said(
                np.tensordot(weights, np.stack([s.angle for s in one]), 1),
                np.tensordot(weights, np.stack(forces), 1),
            )
        )
        if task.report:
            task.report(person + 1, len(task.split.test))
    return ArmResult(tuple(found))


_SUBDOMAINS = 3


def fused(errors: np.ndarray) -> np.ndarray:
    """Weights of local models, inversely proportional to their training errors; they sum to one."""
    inverse = 1.0 / np.maximum(errors, 1e-9)
    return inverse / inverse.sum()


def labelled_rows(task: Task, person: int) -> np.ndarray:
    """Calibration rows whose labels may be used."""
    return task.split.calibration[person][task.split.labelled[person]]


def subdomains(rows: np.ndarray, task: Task, count: int) -> list[np.ndarray]:
    """Parts of the rows, each contiguous in every trial."""
    pieces = [np.array_split(p, count) for p in _trials(rows, task)]
    return [np.concatenate([p[k] for p in pieces]) for k in range(count)]


def problem(task: Task, person: int) -> train.Problem:
    """The generic model's problem, in one person's units and with as many labels as the task allows."""
    config, inherited = task.config, task.inherited
    spread, scale = jax.tree.map(lambda x: x[person], (inherited.spread, inherited.scale))
    has_force = 1.0 if task.supervision == "angle_force" else 0.0
    weights = loss.Terms(*(jnp.float32(w) for w in (1.0, has_force, config.personalize.physics_weight, 0.0)))
    return train.Problem(task.prepared.samples, task.prepared.models, spread, scale, weights)


def settings(task: Task) -> TrainConfig:
    """The generic training's settings at the budget and in the form of the personalised models from scratch."""
    personal = task.config.personalize
    changes: dict[str, Any] = {
        "steps": 2 * personal.steps,
        "batch": personal.batch,
        "residual": personal.residual,
        "physics_weight": personal.physics_weight,
        "check_every": min(50, 2 * personal.steps),
        "hill_weight": 0.0,
        "refit": True,
    }
    return task.config.train.model_copy(update=changes)


def fit(task: Task, person: int, rows: np.ndarray, key: Any) -> tuple[dict[str, Any], float]:
    """A network from random numbers on some labelled rows of one person.

    Returns:
        Parameters, and the error on those rows in the loss's units: what the fusion of local models weighs.
    """
    length = _length(task)
    held = np.concatenate([p[round((1 - _HELD) * len(p)) :] for p in _trials(rows, task)])
    seen, unseen = stretches(np.setdiff1d(rows, held), task, length), stretches(held, task, length)
    if not len(seen) or not len(unseen):  # too short to keep anything apart
        seen = unseen = stretches(rows, task, length)
    own, config, net = problem(task, person), settings(task), task.prepared.net
    trained = train.fit(key, net, own, seen, unseen, config, with_physics=True, taps=task.prepared.taps)
    return trained.params, training_error(task, person, trained.params, rows)


def training_error(task: Task, person: int, params: dict[str, Any], rows: np.ndarray) -> float:
    """Root of the data loss on some rows."""
    own = problem(task, person)
    scale = jax.tree.map(lambda x: x[None], own.scale)
    said = predict(task.prepared, jax.tree.map(lambda x: x[None], params), scale, (rows,))[0]
    samples, spread = task.prepared.samples, own.spread
    error = np.mean(((said.angle - np.asarray(samples.angle)[rows]) / np.asarray(spread.angle)) ** 2)
    if task.supervision == "angle_force" and said.force is not None:
        error += np.mean(((said.force - np.asarray(samples.force)[rows]) / np.asarray(spread.force)) ** 2)
    return float(np.sqrt(error))


def stretches(rows: np.ndarray, task: Task, length: int) -> np.ndarray:
    """(W, length) stretches of contiguous rows, or single rows where length is 1."""
    if len(rows) < length:
        return np.zeros((0, length), int)
    fits = windows.contiguous(rows, task.prepared.table, length)
    return rows[: len(rows) - length + 1][fits][:, None] + np.arange(length)


def _length(task: Task) -> int:
    weak = task.config.personalize.residual == "weak"
    return len(task.prepared.taps.average) + _RUN - 1 if weak else 1


def _trials(rows: np.ndarray, task: Task) -> list[np.ndarray]:
    parts = [rows[(rows >= t.start) & (rows < t.stop)] for t in task.prepared.table.trials]
    return [p for p in parts if len(p)]


def _key(task: Task, person: int) -> Any:
    return jax.random.fold_in(task.key, person)
