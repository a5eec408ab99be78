"""One compiled step, and the loop that training runs, are the same descent; what is frozen stays."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pitl.learn import optimise

TARGET = jnp.array([1.0, -2.0])


class Quadratic(NamedTuple):
    """Two squares, of which one may be frozen."""

    frozen: bool = False

    def optimiser(self) -> optax.GradientTransformation:
        labels = {"a": "frozen" if self.frozen else "train", "b": "train"}
        return optimise.adam(0.05, 400, frozen=labels)

    def trainable(self, params: Any) -> Any:
        return params

    def merge(self, params: Any, part: Any) -> Any:
        return part

    def objective(self, params: Any, batch: Any, extra: Any) -> tuple[Array, tuple[Any, Any]]:
        target, weight = batch
        apart = jnp.sum((params["a"] - target) ** 2) + weight * jnp.sum((params["b"] - target) ** 2)
        return apart, (extra, apart)


def begin(learner: Quadratic) -> optimise.State:
    return optimise.begin(learner, {"a": jnp.zeros(2), "b": jnp.ones(2)})


def test_steps_one_by_one_are_the_loop_that_training_runs():
    learner, weights = Quadratic(), jnp.linspace(0.5, 2.0, 30)
    state, losses = begin(learner), []
    for weight in weights:
        state, terms = optimise.step(learner, state, (TARGET, weight))
        losses.append(float(terms))
    whole, together = optimise.run(learner, begin(learner), TARGET, weights)
    np.testing.assert_allclose(losses, together, rtol=1e-6)
    for name in ("a", "b"):
        np.testing.assert_allclose(state.params[name], whole.params[name], rtol=1e-6)


def test_what_is_frozen_stays_to_the_bit_and_the_rest_arrives():
    state, losses = optimise.run(Quadratic(frozen=True), begin(Quadratic(frozen=True)), TARGET, jnp.ones(400))
    np.testing.assert_array_equal(state.params["a"], jnp.zeros(2))
    np.testing.assert_allclose(state.params["b"], TARGET, atol=0.02)
    assert losses[-1] < losses[0]
