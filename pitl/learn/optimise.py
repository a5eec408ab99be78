"""The one training loop: Adam under a falling rate, one compiled step, many steps in one dispatch.

What is trained is described by a `Learner`: an objective, an optimiser, and which part of the parameters moves. A step
is a pure function of the learner (static), a state and a batch, so notebooks and benchmarks call the very step that
training runs.
"""

from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import optax
from jaxtyping import Array, Float


@runtime_checkable
class Learner(Protocol):
    """What a step needs to know before it is compiled; hashable, so a NamedTuple of settings does."""

    def optimiser(self) -> optax.GradientTransformation:
        """The update rule; what is frozen is in it as `optax.set_to_zero`."""
        ...

    def trainable(self, params: Any) -> Any:
        """The part of the parameters that has a gradient; all of them by default."""
        ...

    def merge(self, params: Any, part: Any) -> Any:
        """The parameters with that part replaced."""
        ...

    def objective(self, params: Any, batch: Any, extra: Any) -> tuple[Float[Array, ""], tuple[Any, Any]]:
        """The loss; what is carried to the next step beside parameters; and terms to look at."""
        ...


class Everything:
    """A learner of which all parameters train."""

    def trainable(self, params: Any) -> Any:
        """All of them."""
        return params

    def merge(self, params: Any, part: Any) -> Any:
        """What trained is all there is."""
        return part


class State(NamedTuple):
    """What goes from step to step."""

    params: Any
    optimiser: Any  # optax state
    extra: Any = None  # what else the objective carries along


def adam(
    rate: float, steps: int, *, last: float = 0.1, weight_decay: float = 0.0, frozen: Any = None
) -> optax.GradientTransformation:
    """Adam (AdamW with a weight decay) whose rate falls along a cosine.

    Args:
        rate: at the first step.
        steps: until it has fallen.
        last: part of the rate that is left then.
        weight_decay: of AdamW.
        frozen: tree of labels "train" and "frozen" over the parameters; None trains all.

    Returns:
        With labels a `multi_transform`. What is frozen is set to zero, not masked: `optax.masked` would pass the raw
        gradient through.
    """
    schedule = optax.cosine_decay_schedule(rate, steps, last)
    update = optax.adamw(schedule, weight_decay=weight_decay) if weight_decay else optax.adam(schedule)
    if frozen is None:
        return update
    return optax.multi_transform({"train": update, "frozen": optax.set_to_zero()}, frozen)


@partial(jax.jit, static_argnums=0)
def begin(learner: Learner, params: Any, extra: Any = None) -> State:
    """The state before the first step."""
    return State(params, learner.optimiser().init(params), extra)


def descend(optimiser: optax.GradientTransformation, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """One step of an optimiser: new parameters and state."""
    # optax multiplies its integer step count with floats; ours is the code that forbids such promotions
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def advance(learner: Learner, state: State, batch: Any) -> tuple[State, tuple[Float[Array, ""], Any]]:
    """One step, to be composed with `vmap`, `scan` and `jit`; returns the loss and the objective's terms too."""

    def total(part: Any) -> Any:
        return learner.objective(learner.merge(state.params, part), batch, state.extra)

    part = learner.trainable(state.params)
    (loss, (extra, terms)), grads = jax.value_and_grad(total, has_aux=True)(part)
    # what is frozen has no gradient at all, so that its size can never scale anybody's update
    if jax.tree.structure(grads) != jax.tree.structure(state.params):
        grads = learner.merge(jax.tree.map(jax.numpy.zeros_like, state.params), grads)
    params, optimiser = descend(learner.optimiser(), grads, state.optimiser, state.params)
    return State(params, optimiser, extra), (loss, terms)


@partial(jax.jit, static_argnums=0)
def step(learner: Learner, state: State, batch: Any) -> tuple[State, Any]:
    """One compiled step: the new state, and the terms of the loss before it.

    Example:
        learner = GenericLearner(net, TrainConfig())
        state = optimise.begin(learner, params)
        state, terms = optimise.step(learner, state, (problem, (rows, gain)))
    """
    state, (_, terms) = advance(learner, state, batch)
    return state, terms


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def run(learner: Learner, state: State, data: Any, pieces: Any) -> tuple[State, Float[Array, " S"]]:
    """Many steps in one dispatch; each sees `(data, piece)`. Returns the loss of every step."""

    def one(state: State, piece: Any) -> Any:
        state, (loss, _) = advance(learner, state, (data, piece))
        return state, loss

    return jax.lax.scan(one, state, pieces)
