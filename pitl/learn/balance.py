"""Loss balancing: factors of the terms of the loss, beside their weights, that follow the course of training.

- `fixed`: none. The terms are in units of their own variance, and their weights stay what they are.
- `relobralo`: relative loss balancing with random lookback (Bischof and Kraus 2021, arXiv 2110.09813). The term that
  has fallen least, since the step before or now and then since the start, gets more weight. It compares each term with
  itself, so the units of a term do not matter to its factor, and no factor exceeds the number of terms: it does not
  undo a bad choice of units.
- `gradient_norm`: every term pulls at the network with a gradient of the same size, times its weight. The global form
  (Wang, Sankaran, Wang and Perdikaris 2023, arXiv 2308.08468) of learning-rate annealing (Wang, Teng and Perdikaris
  2021, doi 10.1137/20M1318043): it does undo a bad choice of units.

State goes through pure functions, and so through a compiled loop.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Method = Literal["fixed", "relobralo", "gradient_norm"]

# Of ReLoBRaLo. The authors smooth over a thousand and more steps of a hundred thousand; a generic model has about 1500.
SMOOTHING = 0.99
LOOKBACK = 0.01  # chance that a step compares with the start of training
TEMPERATURE = 0.1
# Of the gradient norms: what a new measurement leaves of the old factors, and steps between measurements.
INERTIA = 0.9
EVERY = 10
# A term whose gradient vanishes would get an endless factor.
_LARGEST = 1e4


class BalanceState(NamedTuple):
    """What goes from step to step; K terms."""

    factor: Float[Array, " K"]
    first: Float[Array, " K"]  # terms at the first step
    last: Float[Array, " K"]  # terms at the step before
    step: Int[Array, ""]
    key: Array


def start(key: Array, terms: int) -> BalanceState:
    """Before the first step every factor is one."""
    factor, first, last = (jnp.ones(terms, jnp.float32) for _ in range(3))  # not shared: buffers are donated
    return BalanceState(factor, first, last, jnp.zeros((), jnp.int32), key)


def relobralo(state: BalanceState, terms: Float[Array, " K"], active: Bool[Array, " K"]) -> BalanceState:
    """The factors of this step, from the terms of this step.

    Args:
        state: of the step before.
        terms: values at this step, in any units.
        active: which of them are part of the loss; the factors of the others stay what they are.
    """
    begin = state.step == 0
    first, last = jnp.where(begin, terms, state.first), jnp.where(begin, terms, state.last)
    back = jax.random.bernoulli(jax.random.fold_in(state.key, state.step), LOOKBACK)
    before = jnp.where(back, _slowest(terms, first, active), state.factor)
    factor = SMOOTHING * before + (1.0 - SMOOTHING) * _slowest(terms, last, active)
    return BalanceState(jnp.where(active, factor, state.factor), first, terms, state.step + 1, state.key)


def _slowest(terms: Float[Array, " K"], then: Float[Array, " K"], active: Bool[Array, " K"]) -> Float[Array, " K"]:
    """Factors that add up to the number of active terms, the largest for what has fallen least since then."""
    ratio = terms / (TEMPERATURE * jnp.maximum(then, 1e-12))
    share = jax.nn.softmax(jnp.where(active, ratio, -jnp.inf))
    return share * jnp.sum(active.astype(jnp.float32))


def gradient_norm(state: BalanceState, norms: Float[Array, " K"], active: Bool[Array, " K"]) -> BalanceState:
    """The factors that follow from the size of each term's own gradient.

    Args:
        state: of the step before.
        norms: of the gradients of the terms, without weights and factors.
        active: which of them are part of the loss; the factors of the others stay what they are.
    """
    counted = jnp.where(active, norms, 0.0)
    mean = jnp.sum(counted) / jnp.maximum(jnp.sum(active.astype(jnp.float32)), 1.0)
    wanted = mean / jnp.maximum(counted, mean / _LARGEST + 1e-30)
    kept = jnp.where(state.step == 0, 0.0, INERTIA)
    factor = jnp.where(active, kept * state.factor + (1.0 - kept) * wanted, state.factor)
    return state._replace(factor=factor)


def norms(gradients: Any) -> Float[Array, " K"]:
    """Of each term's gradient, from a tree whose leaves have the terms in front."""
    squares = [jnp.sum(x.reshape(x.shape[0], -1) ** 2, axis=1) for x in jax.tree.leaves(gradients)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))
