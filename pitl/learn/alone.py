"""A network that knows one person alone: the generic model's loss on that person's labelled calibration rows."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.config.schema import PersonalizeConfig, Supervision, TrainConfig
from pitl.config.toml import change
from pitl.learn import generic, loss, stacked
from pitl.learn.model import Model
from pitl.learn.predict import predict_rows
from pitl.learn.prepare import Prepared
from pitl.signals import windows


def train_alone(
    prepared: Prepared,
    rows: np.ndarray,
    start: Model,
    train: TrainConfig,
    personal: PersonalizeConfig,
    supervision: Supervision,
    key: Array,
) -> tuple[dict[str, Any], float]:
    """A network from random numbers, by data and the equation of motion, on some labelled rows of one person.

    Args:
        prepared: cohort, physics and samples.
        rows: labelled calibration rows of the person.
        start: with the units and scale of outputs of this person; its parameters are not used.
        train: of the generic training, from which learning rate and recipe are taken.
        personal: budget, form and weight of the residual.
        supervision: whether force labels may be used as well.
        key: of everything random.

    Returns:
        Parameters, and the error on those rows in the loss's units.
    """
    settings = settings_alone(train, personal)
    seen = segments(prepared, rows, generic.segment_length(settings, prepared.taps))
    has_force = 1.0 if supervision == "angle_force" else 0.0
    weights = loss.LossTerms(*(jnp.float32(w) for w in (1.0, has_force, personal.physics_weight, 0.0)))
    problem = loss.Problem(prepared.samples, prepared.limbs, start.spread, start.scale, weights, prepared.taps)
    found = generic.fit(key, prepared.net, problem, seen, None, settings, with_physics=True)
    return found.params, training_error(prepared, rows, start.replace(params=found.params), supervision)


def settings_alone(train: TrainConfig, personal: PersonalizeConfig) -> TrainConfig:
    """The generic training's settings at the budget and in the form of the personalised models from scratch."""
    return change(
        train,
        steps=2 * personal.steps,
        batch=personal.batch,
        residual=personal.residual,
        physics_weight=personal.physics_weight,
        physics_rows=1.0 if personal.residual == "weak" else train.physics_rows,
        check_every=min(50, 2 * personal.steps),
        curriculum=1,
        hill_weight=0.0,
        patience=0,
    )


def segments(prepared: Prepared, rows: np.ndarray, length: int) -> np.ndarray:
    """(W, length) segments of contiguous rows, or single rows where length is 1."""
    if len(rows) < length:
        return np.zeros((0, length), int)
    fits = windows.contiguous(rows, prepared.table, length)
    return rows[: len(rows) - length + 1][fits][:, None] + np.arange(length)


def by_trial(prepared: Prepared, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each trial that has any."""
    parts = [rows[(rows >= t.start) & (rows < t.stop)] for t in prepared.table.trials]
    return [p for p in parts if len(p)]


def training_error(prepared: Prepared, rows: np.ndarray, model: Model, supervision: Supervision) -> float:
    """Root of the data loss on some rows."""
    estimate = predict_rows(stacked.take(model, None), prepared.samples, (rows,))[0]
    at = jnp.asarray(rows, jnp.int32)
    assert estimate.force is not None
    angle, force = loss.data_terms(
        jnp.asarray(estimate.angle), jnp.asarray(estimate.force), prepared.samples, at, model.spread
    )
    return float(np.sqrt(angle + force if supervision == "angle_force" else angle))
