"""Personalised networks: the head alone on a frozen encoder, with or without physics; everything; from scratch.

`personalize.unfreeze` lets the encoder's last layer, or all of it, train with the head.
"""

import itertools
from functools import partial
from typing import Any

import jax
import numpy as np

from pitl.comparison.task import MethodResult, Task
from pitl.config.toml import change
from pitl.learn import devices, efforts, gains, muscle_part, personal, stacked
from pitl.learn.model import Model
from pitl.learn.personal import PersonalFit, Settings
from pitl.learn.predict import predict_rows
from pitl.net import network

_EVERYTHING: tuple[personal.Group, ...] = ("encoder", "head")


def head_data(task: Task) -> MethodResult:
    """The head on a frozen encoder, by data alone."""
    trainable = (*personal.trainable_encoder(task.config.personalize), "head")
    return fine_tune(task, Settings(trainable, task.supervision, False), task.generic.data)


def head_physics(task: Task) -> MethodResult:
    """The method: the head on a frozen encoder, by data and modified physics together.

    Torque that a dynamometer measured tells the gains of the muscles afterwards.
    """
    if task.supervision == "angle_torque":
        return _with_gains(task, head_physics(task.but(supervision="angle")))
    settings, muscles = task.config.personalize, None
    if settings.muscle and task.supervision != "angle_force":
        sources = [task.sources(p) for p in range(len(task.split.test))]
        recorded = task.config.data.force_labels == "recorded"
        belief = muscle_part.prior_of_sources(task.prepared, sources, task.config.hill, with_forces=recorded)
        towards = muscle_part.target_forces(
            task.prepared,
            task.split,
            task.generic.physics,
            task.supervision,
            task.config.hill,
            belief,
            lowpass_hz=task.config.data.angle_lowpass_hz,
            fitted=settings.muscle_fitted,
        )
        task, muscles = task.but(split=muscle_part.with_targets(task.split, towards)), towards.fitted
    result = fine_tune(task, personal.method_settings(settings, task.supervision), task.generic.physics)
    return result._replace(muscles=muscles)


def _with_gains(task: Task, result: MethodResult) -> MethodResult:
    """Forces at the gains that efforts told, with a prior from each person's own source people."""
    assert result.fitted is not None
    people = range(len(task.split.test))
    if task.prepared.learns_forces and task.config.data.force_labels == "recorded":
        made = {who: efforts.source_prior(task.prepared, who) for who in {task.sources(p) for p in people}}
        prior = [made[task.sources(p)] for p in people]
    else:
        prior = [gains.population_prior(len(task.prepared.limbs.muscles))] * len(people)
    model = efforts.fit_gains(result.fitted.model, task.prepared, prior)
    forces = predict_rows(model, task.prepared.samples, task.split.test)
    return result._replace(estimates=forces, fitted=result.fitted._replace(model=model))


def full_finetune(task: Task) -> MethodResult:
    """Everything trains, from the generic model, by data alone."""
    return fine_tune(task, Settings(_EVERYTHING, task.supervision, False), task.generic.data)


def scratch(task: Task) -> MethodResult:
    """Everything trains, from random numbers, by data alone."""
    generic = task.generic.physics
    keys = jax.random.split(task.key, len(task.prepared.cohort.subjects))
    fresh = jax.vmap(lambda k, s: network.init(k, generic.net, s))(keys, generic.scale)
    longer = {"steps": 2 * task.config.personalize.steps, "l2_to_generic": 1e-4}
    settings = Settings(_EVERYTHING, task.supervision, False)
    result = fine_tune(task, settings, generic.replace(params=fresh), longer)
    if task.supervision != "angle_force":  # nothing ever trained the forces
        return result._replace(estimates=tuple(e._replace(force=None) for e in result.estimates))
    return result


def fine_tune(task: Task, settings: Settings, start: Model, changes: dict[str, Any] | None = None) -> MethodResult:
    """Trains what `settings` name for everybody and predicts the test rows."""
    fitted = fine_tune_people(task, settings, start, changes)
    return MethodResult(predict_rows(fitted.model, task.prepared.samples, task.split.test), fitted)


def fine_tune_people(
    task: Task, settings: Settings, start: Model, changes: dict[str, Any] | None = None
) -> PersonalFit:
    """Everybody's fine-tuned models; `changes` are to the personalisation's configuration."""
    prepared, people = task.prepared, task.split.people
    config = change(task.config.personalize, **(changes or {}))
    fit = partial(personal.fit, samples=prepared.samples, settings=settings, config=config, key=task.key)
    if "encoder" not in settings.trainable:
        return fit(start, people=people, report=task.report)
    # two people at a time: with a moving encoder everyone's windows would have to be held at once
    done = itertools.count(1)

    def one(s: int) -> PersonalFit:
        own = fit(stacked.take(start, slice(s, s + 1)), people=stacked.take(people, slice(s, s + 1)))
        if task.report:
            task.report(next(done), len(task.split.test))
        return own

    first = one(0)  # compiles what the others use
    parts = [first, *devices.together([partial(one, s) for s in range(1, len(task.split.test))])]
    stack = partial(jax.tree.map, lambda *x: jax.device_put(np.concatenate(x)))
    history = np.concatenate([f.history for f in parts], axis=1)
    return PersonalFit(stack(*(f.model for f in parts)), stack(*(f.correction for f in parts)), history)
