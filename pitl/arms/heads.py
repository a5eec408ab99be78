"""Personalised networks: the head alone on a frozen encoder, with or without physics; everything; from scratch.

`personalize.unfreeze` lets the encoder's last layer, or all of it, train with the head.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl import personalize
from pitl.arms import muscle_part
from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Said, Task
from pitl.net import network
from pitl.personalize import Fitted, Settings

_EVERYTHING: tuple[personalize.Group, ...] = ("encoder", "head")


def head_data(task: Task) -> ArmResult:
    """The head on a frozen encoder, by data alone."""
    trainable = (*personalize.unfrozen(task.config.personalize), "head")
    return fine_tune(task, Settings(trainable, task.supervision, False), task.inherited.data)


def head_physics(task: Task) -> ArmResult:
    """The method: the head on a frozen encoder, by data and modified physics together."""
    return _with_physics(task, task.config.personalize.muscle)


def head_muscle(task: Task) -> ArmResult:
    """The method with the muscle part of the modified physics, whatever the configuration says."""
    return _with_physics(task, True)


def head_no_muscle(task: Task) -> ArmResult:
    """The method without that part, whatever the configuration says."""
    return _with_physics(task, False)


def head_muscle_unfitted(task: Task) -> ArmResult:
    """The control of the muscle part: muscles are the source people's mean, and no law of motion fits them."""
    return _with_physics(task, True, by_physics=False)


def _with_physics(task: Task, muscle: bool, *, by_physics: bool = True) -> ArmResult:
    muscles = None
    if muscle:
        drawn = muscle_part.drawn(task, by_physics=by_physics)
        task, muscles = task.but(split=muscle_part.pulled(task.split, drawn)), drawn.fitted
    learned: tuple[personalize.Group, ...] = ("correction",) if task.config.personalize.learnable else ()
    trainable = (*personalize.unfrozen(task.config.personalize), "head", *learned)
    found = fine_tune(task, Settings(trainable, task.supervision, True), task.inherited.physics)
    return found._replace(muscles=muscles)


def full_finetune(task: Task) -> ArmResult:
    """Everything trains, from the generic model, by data alone."""
    return fine_tune(task, Settings(_EVERYTHING, task.supervision, False), task.inherited.data)


def scratch(task: Task) -> ArmResult:
    """Everything trains, from random numbers, by data alone."""
    keys = jax.random.split(task.key, len(task.prepared.cohort.subjects))
    fresh = jax.vmap(lambda k, s: network.init(k, task.prepared.net, s))(keys, task.inherited.scale)
    longer = {"steps": 2 * task.config.personalize.steps, "l2_to_generic": 1e-4}
    found = fine_tune(task, Settings(_EVERYTHING, task.supervision, False), fresh, longer)
    if task.supervision != "angle_force":  # nothing ever trained the forces
        return found._replace(said=tuple(Said(s.angle, None) for s in found.said))
    return found


def fine_tune(
    task: Task, settings: Settings, start: dict[str, Any], changes: dict[str, Any] | None = None
) -> ArmResult:
    """Trains what `settings` name for everybody and says what comes of it on the test rows."""
    fitted = fitted_people(task, settings, start, changes)
    scale = jax.vmap(personalize.stronger)(task.inherited.scale, fitted.correction)
    return ArmResult(predict(task.prepared, fitted.params, scale, task.split.test), fitted)


def fitted_people(
    task: Task, settings: Settings, start: dict[str, Any], changes: dict[str, Any] | None = None
) -> Fitted:
    """Everybody's fine-tuned parameters; `changes` are to the personalisation's configuration."""
    prepared, split, inherited = task.prepared, task.split, task.inherited
    config = task.config.personalize.model_copy(update=changes or {})
    fit = partial(personalize.fit, net=prepared.net, settings=settings, config=config, taps=prepared.taps)
    if "encoder" not in settings.trainable:
        fixed = personalize.Fixed(prepared.samples, inherited.spread, inherited.scale)
        return fit(start, fixed=fixed, models=prepared.models, people=split.people, report=task.report)
    # one person after the other: with a moving encoder everyone's windows would have to be held at once
    parts = []
    for s in range(len(split.test)):
        one = partial(jax.tree.map, lambda x, s=s: x[s : s + 1])
        own = personalize.Fixed(prepared.samples, one(inherited.spread), one(inherited.scale))
        parts.append(fit(one(start), fixed=own, models=one(prepared.models), people=one(split.people)))
        if task.report:
            task.report(s + 1, len(split.test))
    stack = partial(jax.tree.map, lambda *x: jnp.concatenate(x))
    history = np.concatenate([f.history for f in parts], axis=1)
    return Fitted(stack(*(f.params for f in parts)), stack(*(f.correction for f in parts)), history)
