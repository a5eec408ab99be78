"""The terms of the loss, each in units of its own variance over the source subjects.

Raw mean squares of equally good fits differ by four orders of magnitude (25 N2, 0.008 rad2, 0.0025 (N m)2), so
an unscaled sum ignores the physics.

    L = w_q L_q + w_F L_F + lambda R^2 (+ mu L_hill)

The data loss is `data_terms`, the physics loss `physics_term`; every method that trains calls these.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from pitl.learn import hill, limbs, physics
from pitl.learn.limbs import Limbs
from pitl.learn.units import Spread
from pitl.mechanics import weak
from pitl.mechanics.model import MusculoskeletalModel
from pitl.net import network
from pitl.net.head import Output, OutputScale
from pitl.signals.samples import Samples


class LossTerms(NamedTuple):
    """Dimensionless terms, before their weights; or their weights."""

    angle: Float[Array, ""]
    force: Float[Array, ""]
    physics: Float[Array, ""]
    hill: Float[Array, ""] | float = 0.0  # forces against those of the EMG-driven model


class Problem(struct.PyTreeNode):
    """Everything the compiled step of a generic model reads; resident on the device."""

    samples: Samples
    limbs: MusculoskeletalModel | Limbs  # stacked over subjects
    spread: Spread
    scale: OutputScale
    weights: LossTerms
    taps: weak.Kernel | None = None  # of the weak residual
    electrodes: hill.Electrodes | None = None  # everyone's, stacked; needed by the Hill term


def squared(error: Float[Array, "... F"], spread: Float[Array, " F"], weight: Float[Array, "..."]) -> Float[Array, ""]:
    """Weighted mean over rows, mean over columns, of (error / spread)^2.

    A row of weight zero may hold anything; it does not count.
    """
    scaled = error / jnp.broadcast_to(spread, error.shape)
    rows = jnp.mean(jnp.where((weight > 0)[..., None], scaled, 0.0) ** 2, axis=-1)
    return jnp.sum(weight * rows) / jnp.maximum(jnp.sum(weight), 1.0)


def data_terms(
    angle: Float[Array, "... D"],
    force: Float[Array, "... M"],
    samples: Samples,
    rows: Int[Array, "..."],
    spread: Spread,
    labelled: Float[Array, "..."] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The data loss: squared errors of angle and of force against the labels of the rows, in units of variance.

    Args:
        angle: predicted [rad].
        force: predicted [N].
        samples: with the labels.
        rows: which they are.
        spread: units.
        labelled: 1 where the labels may be used, else 0; everywhere if None.
    """
    weight = jnp.ones(rows.shape, jnp.float32) if labelled is None else labelled
    return (
        squared(angle - samples.angle[rows], spread.angle, weight),
        squared(force - samples.force[rows], spread.force, weight),
    )


def physics_term(
    residual: Float[Array, "... D"], spread: Spread, counted: Float[Array, "..."] | None = None
) -> Float[Array, ""]:
    """The physics loss: the squared residual of the equation of motion, in units of the torque's variance.

    Args:
        residual: [N m], pointwise or averaged (see `pitl.learn.physics`).
        spread: units.
        counted: 1 where the residual counts, else 0; everywhere if None.
    """
    weight = jnp.ones(residual.shape[:-1], jnp.float32) if counted is None else counted
    return squared(residual, spread.torque, weight)


def share_constants(problem: Problem) -> Problem:
    """The same problem, with the constants that all people share kept once."""
    if isinstance(problem.limbs, Limbs):
        return problem
    return problem.replace(limbs=limbs.share_limbs(problem.limbs))


def terms(
    params: network.Parameters,
    net: network.Network,
    problem: Problem,
    rows: Int[Array, "G S"],
    gain: Float[Array, "G C"] | None = None,
    *,
    form: physics.Residual = "strong",
    with_physics: bool = True,
    physics_rows: float = 1.0,
) -> LossTerms:
    """The terms of the loss on G segments of S contiguous rows (S = 1 for the strong form).

    The network's derivatives are two thirds of a step. Angle and force do not need them, so with `physics_rows`
    below 1 only the first of the rows, which are drawn at random, have them and enter the equation of motion: the
    same loss in the mean, with more scatter in one term. (The configuration allows that only for the strong form.)

    Returns:
        Dimensionless terms, not yet weighted. The Hill term, the sibling's "implicit" loss (Ma et al. 2024,
        arXiv 2412.04213), is there if `params` has muscles.
    """
    samples, spread = problem.samples, problem.spread
    muscles = params.get("muscles")
    order = 3 if (with_physics and form == "strong") or muscles is not None else 1
    wide = None if gain is None else jnp.broadcast_to(gain[:, None], (*rows.shape, gain.shape[-1]))
    count = max(1, round(physics_rows * len(rows))) if with_physics else len(rows)
    together = rows.shape[1] > 1
    out = _outputs(params, net, problem, rows[:count], order, None if wide is None else wide[:count], together)
    angle, force = out.angle[0], out.force
    if count < len(rows):
        rest = _outputs(params, net, problem, rows[count:], 1, None if wide is None else wide[count:], together)
        angle, force = jnp.concatenate([angle, rest.angle[0]]), jnp.concatenate([force, rest.force])
    of_angle, of_force = data_terms(angle, force, samples, rows, spread)
    flat, at = out, rows[:count].reshape(-1)
    if order > 1:
        flat = jax.tree.map(lambda x: x.reshape(*x.shape[:-3], -1, x.shape[-1]), out)
    implicit = jnp.zeros(())
    if muscles is not None:
        assert problem.electrodes is not None, "the Hill term needs everyone's electrodes"
        who, posture = samples.subject[at], samples.posture[at]
        of_hill = physics.hill_rows(problem.limbs, who, muscles, problem.electrodes, samples.jets[at], flat, posture)
        implicit = squared(flat.force - of_hill, spread.force, jnp.ones(at.shape, jnp.float32))
    if not with_physics:
        return LossTerms(of_angle, of_force, jnp.zeros(()), implicit)
    if form == "strong":
        residual = physics.strong_rows(problem.limbs, samples.subject[at], flat, samples.posture[at])
    else:
        assert problem.taps is not None, "the weak residual needs a kernel"
        residual = physics.weak_segments(
            problem.limbs, samples.subject[rows[:, 0]], out, samples.posture[rows], problem.taps
        )
    return LossTerms(of_angle, of_force, physics_term(residual, spread), implicit)


def _outputs(
    params: Any, net: network.Network, problem: Problem, rows: Array, order: int, gain: Array | None, together: bool
) -> Output:
    return network.outputs(
        params, net, problem.samples, rows, problem.scale, order=order, gain=gain, contiguous=together
    )


def distance(a: Any, b: Any) -> Float[Array, ""]:
    """Sum of squared differences between two parameter trees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2), a, b))
