"""Which learning rate and weight of the physics personalise best, tried on source subjects all at once."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl import loss, personalize
from pitl.config import PersonalizeConfig
from pitl.msk import weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net import head, network


class Found(NamedTuple):
    """What a search says: the lower the error, the better."""

    knobs: personalize.Knobs  # (K,) what was tried
    error: np.ndarray  # (P, K) of each person on their judged rows, in units of the variance over source subjects
    best: int  # of the K, by the mean over people


def grid(learning_rates: tuple[float, ...], physics_weights: tuple[float, ...]) -> personalize.Knobs:
    """Every learning rate with every weight of the physics."""
    rate, weight = np.meshgrid(learning_rates, physics_weights, indexing="ij")
    return personalize.Knobs(*(jnp.asarray(x.reshape(-1), jnp.float32) for x in (rate, weight)))


def search(
    params: dict[str, Any],
    net: network.Network,
    fixed: personalize.Fixed,
    models: MusculoskeletalModel,
    people: personalize.Person,
    judged: Float[Array, "P T"],
    settings: personalize.Settings,
    config: PersonalizeConfig,
    taps: weak.Kernel,
    knobs: personalize.Knobs,
    *,
    at_once: int | None = None,
) -> Found:
    """Personalises everybody with every setting in one vectorised program, and judges on rows kept out of training.

    People are to be source subjects and the judged rows of their calibration parts: nobody who is tested is looked at.

    Args:
        params: to start from, stacked over people.
        net: the network.
        fixed: samples, units and output scale.
        models: everyone's physics.
        people: rows; `labelled` must be 0 where `judged` is 1.
        judged: 1 where a row counts for the error.
        settings: the arm.
        config: everything that the knobs do not say.
        taps: kernel of the weak residual.
        knobs: K settings, from `grid`.
        at_once: lanes in one program.
    """
    fitted = personalize.fit(
        params, net, fixed, models, people, settings, config, taps, knobs=knobs, at_once=at_once
    )  # fmt: skip
    count, tried = people.rows.shape[0], knobs.learning_rate.shape[0]
    error = np.zeros((count, tried))
    for p in range(count):
        own = personalize.Fixed(fixed.samples, *jax.tree.map(lambda x, p=p: x[p], (fixed.spread, fixed.scale)))
        lanes = jax.tree.map(lambda x, p=p: x[p * tried : (p + 1) * tried], (fitted.params, fitted.correction))
        error[p] = np.asarray(
            _errors(net, settings.supervision == "angle_force", lanes, own, people.rows[p], judged[p])
        )
    return Found(knobs, error, int(np.argmin(error.mean(axis=0))))


def _error(net: network.Network, with_force: bool, lane: Any, own: Any, rows: Array, judged: Array) -> Array:
    params, correction = lane
    scale: head.OutputScale = personalize.stronger(own.scale, correction)
    out = network.outputs(params, net, own.samples, rows, scale)
    error = loss.squared(out.angle[0] - own.samples.angle[rows], own.spread.angle, judged)
    if with_force:
        error += loss.squared(out.force - own.samples.force[rows], own.spread.force, judged)
    return error


@partial(jax.jit, static_argnums=(0, 1))
def _errors(net: network.Network, with_force: bool, lanes: Any, own: Any, rows: Array, judged: Array) -> Array:
    return jax.lax.map(lambda lane: _error(net, with_force, lane, own, rows, judged), lanes)
