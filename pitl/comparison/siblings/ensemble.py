"""Several personal heads at once, trained on different parts of the calibration: their mean, and their disagreement."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.comparison.task import MethodResult, Task
from pitl.config.toml import change
from pitl.learn import personal, stacked
from pitl.learn.predict import Estimate, predict_rows
from pitl.learn.split import CalibrationRows

MEMBERS = 5
_BLOCK_S = 1.0  # labelled rows are drawn in blocks of this length, because neighbours say the same
_PERTURBED = 0.1  # of each layer's own spread, added to the inherited head


def ensemble(task: Task) -> MethodResult:
    """The mean of several personal heads with physics, and their spread.

    A member differs from the others in three ways: its labels are a bootstrap sample of blocks of the calibration part
    (Breiman 1996, doi 10.1007/BF00058655; in blocks, as of dependent data, Kuensch 1989, doi 10.1214/aos/1176347265),
    its inherited head is disturbed, and it starts from the generic model with or without physics in turn. All members
    of all people are lanes of one compiled program.
    """
    people, generic, prepared = len(task.split.test), task.generic.physics, task.prepared
    who = np.repeat(np.arange(people), MEMBERS)
    take = partial(jax.tree.map, lambda x: x[who])
    fitted = personal.fit(
        take(generic).replace(params=_starts(task), people=()),
        prepared.samples,
        bag_blocks(task, np.random.default_rng(np.asarray(jax.random.key_data(task.key)).astype(np.uint64))),
        personal.method_settings(change(task.config.personalize, unfreeze="nothing"), task.supervision),
        task.config.personalize,
        key=task.key,
        report=task.report,
    )
    each = predict_rows(fitted.model, prepared.samples, tuple(task.split.test[p] for p in who))
    return MethodResult(tuple(_together(each[p * MEMBERS : (p + 1) * MEMBERS]) for p in range(people)))


def bag_blocks(task: Task, rng: np.random.Generator) -> CalibrationRows:
    """Everybody's calibration rows once for each member; a label counts as often as its block was drawn."""
    length = max(1, round(_BLOCK_S * task.prepared.net.rate_hz))
    people = task.split.people
    longest = people.rows.shape[1]
    weights = []
    for rows, labelled in zip(task.split.calibration, task.split.labelled, strict=True):
        block = np.cumsum(np.concatenate([[0], (np.diff(rows) != 1) | (np.arange(1, len(rows)) % length == 0)]))
        for _ in range(MEMBERS):
            drawn = np.bincount(rng.integers(block[-1] + 1, size=block[-1] + 1), minlength=block[-1] + 1)
            weight = labelled * drawn[block]
            if not weight.any():
                weight = labelled
            weights.append(np.pad(weight.astype(np.float32), (0, longest - len(rows))))
    repeated = jax.tree.map(lambda x: jnp.repeat(x, MEMBERS, axis=0), people)
    return repeated._replace(labelled=jnp.asarray(np.stack(weights)))


def _starts(task: Task) -> dict[str, Any]:
    """Everybody's inherited parameters once for each member."""

    def member(person: int, m: int) -> Any:
        source = task.generic.physics.params if m % 2 == 0 else task.generic.data.params
        own = stacked.take(source, person)
        key = jax.random.fold_in(jax.random.fold_in(task.key, person), m)
        leaves, form = jax.tree.flatten(own["head"])
        keys = jax.random.split(key, len(leaves))
        return {**own, "head": jax.tree.unflatten(form, [_disturbed(k, x) for k, x in zip(keys, leaves, strict=True)])}

    each = [member(p, m) for p in range(len(task.split.test)) for m in range(MEMBERS)]
    return stacked.stack(each)


def _disturbed(key: Array, x: Array) -> Array:
    return x + _PERTURBED * jnp.std(x) * jax.random.normal(key, x.shape, x.dtype)


def _together(members: tuple[Estimate, ...]) -> Estimate:
    angle = np.stack([s.angle for s in members])
    force = np.stack([s.force for s in members if s.force is not None])
    return Estimate(angle.mean(axis=0), force.mean(axis=0), angle.std(axis=0, ddof=1), force.std(axis=0, ddof=1))
