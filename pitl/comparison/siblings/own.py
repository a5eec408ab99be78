"""Networks that know one person alone: the generic model's loss on that person's labelled calibration rows."""

from typing import Any

import jax
import numpy as np

from pitl.comparison.task import MethodResult, Task
from pitl.learn import stacked
from pitl.learn.alone import by_trial, train_alone
from pitl.learn.predict import Estimate, predict_rows


def pi_cnn(task: Task) -> MethodResult:
    """A physics-informed network of the person's own, from random numbers: data and equation of motion, no transfer.

    Zhang, Zhao, Shone, Li, Frangi, Xie, Zhang, "Physics-Informed Deep Learning for Musculoskeletal Modeling: Predicting
    Muscle Forces and Joint Kinematics From Surface EMG", IEEE Trans. Neural Syst. Rehabil. Eng. 2023,
    doi 10.1109/TNSRE.2022.3226860, arXiv 2207.01435. Theirs is the idea of a network for one subject whose loss holds
    the equation of motion. Reconstruction: layers, weights, exact time derivatives in place of a time input, and
    stopping on the last fifth of the calibration part before training again on all of it.
    """
    result = []
    for person in range(len(task.split.test)):
        params, _ = fit(task, person, labelled_rows(task, person), jax.random.fold_in(task.key, person))
        result.append(params)
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = stacked.stack(result)
    return MethodResult(
        predict_rows(task.generic.physics.replace(params=params), task.prepared.samples, task.split.test)
    )


def distributed(task: Task) -> MethodResult:
    """Local physics-informed networks on parts of the calibration, averaged with inverse training errors as weights.

    Zhang, Ruan, Li, Zhang, "Toward Robust and Efficient Musculoskeletal Modeling Using Distributed Physics-Informed
    Deep Learning", IEEE Trans. Instrum. Meas. 72:2530511, 2023, doi 10.1109/TIM.2023.3325522. Theirs are the local
    models on subdomains of the data and the weights inversely proportional to their training errors. Reconstruction:
    a subdomain is a third of every trial, in time, so that every local model knows all postures.
    """
    result = []
    for person in range(len(task.split.test)):
        parts = subdomains(labelled_rows(task, person), task, _SUBDOMAINS)
        local = [
            fit(task, person, rows, jax.random.fold_in(jax.random.fold_in(task.key, person), k))
            for k, rows in enumerate(parts)
        ]
        weights = fusion_weights(np.array([error for _, error in local]))
        own = jax.tree.map(lambda x, p=person: x[p : p + 1], task.generic.physics)
        models = [own.replace(params=stacked.take(p, None)) for p, _ in local]
        one = [predict_rows(m, task.prepared.samples, (task.split.test[person],))[0] for m in models]
        forces = [s.force for s in one if s.force is not None]
        result.append(
            Estimate(
                np.tensordot(weights, np.stack([s.angle for s in one]), 1),
                np.tensordot(weights, np.stack(forces), 1),
            )
        )
        if task.report:
            task.report(person + 1, len(task.split.test))
    return MethodResult(tuple(result))


_SUBDOMAINS = 3


def fusion_weights(errors: np.ndarray) -> np.ndarray:
    """Weights of local models, inversely proportional to their training errors; they sum to one."""
    inverse = 1.0 / np.maximum(errors, 1e-9)
    return inverse / inverse.sum()


def labelled_rows(task: Task, person: int) -> np.ndarray:
    """Calibration rows whose labels may be used."""
    return task.split.calibration[person][task.split.labelled[person]]


def subdomains(rows: np.ndarray, task: Task, count: int) -> list[np.ndarray]:
    """Parts of the rows, each contiguous in every trial."""
    pieces = [np.array_split(p, count) for p in by_trial(task.prepared, rows)]
    return [np.concatenate([p[k] for p in pieces]) for k in range(count)]


def fit(task: Task, person: int, rows: np.ndarray, key: Any) -> tuple[dict[str, Any], float]:
    """A network from random numbers on some labelled rows of one person, and its error there."""
    own = stacked.take(task.generic.physics, person)
    config = task.config
    return train_alone(task.prepared, rows, own, config.train, config.personalize, task.supervision, key)
