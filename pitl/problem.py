"""What training a generic model reads, and the terms of its loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl import hill, loss, physics
from pitl.msk import weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.windows import Samples


class Problem(NamedTuple):
    """Everything the compiled step reads; resident on the device."""

    samples: Samples
    models: MusculoskeletalModel | physics.People  # stacked over subjects
    spread: loss.Spread
    scale: OutputScale
    weights: loss.Terms  # of the loss terms
    electrodes: hill.Electrodes | None = None  # everyone's, stacked; needed by the Hill term


def ready(problem: Problem) -> Problem:
    """The same problem, with the constants that all people share kept once."""
    if isinstance(problem.models, physics.People):
        return problem
    return problem._replace(models=physics.people(problem.models))


def terms(
    params: network.Parameters,
    net: network.Network,
    problem: Problem,
    rows: Int[Array, "G S"],
    gain: Float[Array, "G C"] | None = None,
    *,
    form: physics.Residual = "strong",
    taps: weak.Kernel | None = None,
    with_physics: bool = True,
    physics_rows: float = 1.0,
) -> loss.Terms:
    """The terms of the loss on G stretches of S contiguous rows (S = 1 for the strong form).

    The network's derivatives are two thirds of a step. Angle and force do not need them, so with `physics_rows`
    below 1 only the first of the rows, which are drawn at random, have them and are seen by the law of motion: the
    same loss in the mean, with more scatter in one term.

    Returns:
        Dimensionless terms, not yet weighted. The Hill term, the sibling's "implicit" loss (Ma et al. 2024,
        arXiv 2412.04213), is there if `params` has muscles.
    """
    samples, spread = problem.samples, problem.spread
    muscles = params.get("muscles")
    order = 3 if (with_physics and form == "strong") or muscles is not None else 1
    wide = None if gain is None else jnp.broadcast_to(gain[:, None], (*rows.shape, gain.shape[-1]))
    together = rows.shape[1] > 1
    if with_physics and physics_rows < 1:
        assert form == "strong" and muscles is None
        return _few(params, net, problem, rows, wide, max(1, round(physics_rows * len(rows))))
    out = network.outputs(params, net, samples, rows, problem.scale, order=order, gain=wide, contiguous=together)
    ones = jnp.ones(rows.shape, jnp.float32)
    angle = loss.squared(out.angle[0] - samples.angle[rows], spread.angle, ones)
    force = loss.squared(out.force - samples.force[rows], spread.force, ones)
    flat, at = out, rows.reshape(-1)
    if order > 1:
        flat = jax.tree.map(lambda x: x.reshape(*x.shape[:-3], -1, x.shape[-1]), out)
    implicit = jnp.zeros(())
    if muscles is not None:
        assert problem.electrodes is not None
        who, posture = samples.subject[at], samples.posture[at]
        pulled = physics.hill_rows(problem.models, who, muscles, problem.electrodes, samples.jets[at], flat, posture)
        implicit = loss.squared(flat.force - pulled, spread.force, jnp.ones(at.shape, jnp.float32))
    if not with_physics:
        return loss.Terms(angle, force, jnp.zeros(()), implicit)
    if form == "strong":
        residual = physics.strong_rows(problem.models, samples.subject[at], flat, samples.posture[at])
    else:
        assert taps is not None
        residual = physics.weak_stretches(problem.models, samples.subject[rows[:, 0]], out, samples.posture[rows], taps)
    law = loss.squared(residual, spread.torque, jnp.ones(residual.shape[:-1], jnp.float32))
    return loss.Terms(angle, force, law, implicit)


def _few(
    params: network.Parameters,
    net: network.Network,
    problem: Problem,
    rows: Int[Array, "G S"],
    gain: Float[Array, "G S C"] | None,
    count: int,
) -> loss.Terms:
    """Data on all rows, the law of motion on the first `count` of them."""
    samples, spread = problem.samples, problem.spread
    gains = (None, None) if gain is None else (gain[:count], gain[count:])
    law = network.outputs(params, net, samples, rows[:count], problem.scale, order=3, gain=gains[0])
    rest = network.outputs(params, net, samples, rows[count:], problem.scale, order=1, gain=gains[1])
    ones = jnp.ones(rows.shape, jnp.float32)
    angle = jnp.concatenate([law.angle[0], rest.angle[0]])
    force = jnp.concatenate([law.force, rest.force])
    at = rows[:count].reshape(-1)
    flat = jax.tree.map(lambda x: x.reshape(*x.shape[:-3], -1, x.shape[-1]), law)
    residual = physics.strong_rows(problem.models, samples.subject[at], flat, samples.posture[at])
    return loss.Terms(
        loss.squared(angle - samples.angle[rows], spread.angle, ones),
        loss.squared(force - samples.force[rows], spread.force, ones),
        loss.squared(residual, spread.torque, jnp.ones(residual.shape[:-1], jnp.float32)),
        jnp.zeros(()),
    )
