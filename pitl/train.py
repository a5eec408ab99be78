"""The generic model: many people's data, one network, under the law of motion.

    L = L_q + L_F + lambda R^2

with every term in units of its own variance over the source subjects. Training stops early on source subjects
that were held out of it, because the generic model is for a person it has never seen.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from pitl import devices, hill, loss, physics, store
from pitl.config import TrainConfig
from pitl.errors import PitlError
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


class Trained(NamedTuple):
    """A generic model and how it came about."""

    params: dict[str, Any]  # encoder, head
    muscles: hill.Parameters | None  # everyone's, stacked, where the Hill term learned them
    steps: int  # trained for: where the held-out loss was lowest, and with `refit` a few checks at least
    history: np.ndarray  # (checks, 6): step, training loss, held-out angle, force, physics and Hill terms


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
) -> loss.Terms:
    """The terms of the loss on G stretches of S contiguous rows (S = 1 for the strong form).

    Returns:
        Dimensionless terms, not yet weighted. The Hill term, the sibling's "implicit" loss (Ma et al. 2024,
        arXiv 2412.04213), is there if `params` has muscles.
    """
    samples, spread = problem.samples, problem.spread
    muscles = params.get("muscles")
    order = 3 if (with_physics and form == "strong") or muscles is not None else 1
    wide = None if gain is None else jnp.broadcast_to(gain[:, None], (*rows.shape, gain.shape[-1]))
    together = rows.shape[1] > 1
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


def fit(
    key: Array,
    net: network.Network,
    problem: Problem,
    training: np.ndarray | Iterator[store.Block],
    held_out: np.ndarray,
    config: TrainConfig,
    *,
    with_physics: bool = True,
    taps: weak.Kernel | None = None,
    report: Callable[[int, float, float], None] | None = None,
) -> Trained:
    """Trains a generic model until the held-out loss stops falling.

    Args:
        key: random key; the same key gives the same model.
        net: the network.
        problem: samples, physics, units and weights.
        training: (W, S) stretches of rows of the source subjects; or blocks of recordings that memory cannot hold,
            a new one after each check, and `problem.samples` is then what the held-out loss is computed on.
        held_out: (V, S) stretches of rows of source subjects that are not trained on.
        config: steps, batch, learning rate, patience.
        with_physics: whether the law of motion is part of the loss.
        taps: kernel of the weak residual.
        report: called at each check with step, training loss, held-out loss.

    Raises:
        PitlError: if training diverges before the first check, or would refit on blocks, which know no held-out people.
    """
    if config.refit and not isinstance(training, np.ndarray):
        raise PitlError("training on blocks of a store cannot refit on the held-out people; set train.refit=false.")
    problem = ready(problem)
    static = _Static(net, config.residual, with_physics, _Taps.of(taps), config)
    checked = held_out[np.linspace(0, len(held_out) - 1, _CHECKED // held_out.shape[1]).astype(int)]
    over = devices.mesh(_in_a_step(config, held_out))
    problem = devices.everywhere(problem, over)
    rows = devices.everywhere(jnp.asarray(checked, jnp.int32), over)
    labelled = float(problem.weights.force) > 0
    best, best_params, best_step, history, waited = np.inf, {}, 0, [], 0
    for step, params, value in _course(key, static, problem, training, over):
        check = devices.whole(_check(static, params, problem, rows), over)
        score = float(check.angle + (check.force if labelled else check.hill))
        history.append([step, value, *(float(v) for v in check)])
        if report:
            report(step, value, score)
        if score < best:
            best, best_params, best_step, waited = score, params, step, 0
        else:
            waited += 1
        if waited >= config.patience:
            break
    if not best_params:
        raise PitlError(
            "the held-out loss was never a finite number, so training diverged; lower train.learning_rate "
            "and look at the recordings with `pitl check`."
        )
    if config.refit and isinstance(training, np.ndarray):
        # the held-out people have told when to stop; now they may be learned from too
        best_step = max(best_step, config.check_every * _FEWEST_CHECKS)
        everybody = np.concatenate([training, held_out])
        for step, params, value in _course(key, static, problem, everybody, over):
            best_params = params
            if report:
                report(step, value, best)
            if step >= best_step:
                break
    best_params = devices.whole(best_params, over)
    muscles = best_params.get("muscles")
    kept = {k: v for k, v in best_params.items() if k != "muscles"}
    return Trained(kept, muscles, best_step, np.array(history))


def _gains(rng: np.random.Generator, config: TrainConfig, shape: tuple[int, ...]) -> np.ndarray:
    """Random gain of each channel in each stretch; a lost channel is a gain of zero, and one channel always stays."""
    gains = np.exp(config.gain_augmentation * rng.normal(size=shape))
    if config.channel_dropout > 0:
        chance = rng.random(shape)
        lost = (chance < config.channel_dropout) & (chance < chance.max(axis=-1, keepdims=True))
        gains = np.where(lost, 0.0, gains)
    return gains


def _course(
    key: Array,
    static: "_Static",
    problem: Problem,
    training: np.ndarray | Iterator[store.Block],
    over: Mesh | None,
) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Steps, parameters and mean loss at each check, from one random start."""
    config = static.config
    k_init, k_batch = jax.random.split(key)
    params = network.init(k_init, static.net, problem.scale)
    if config.hill_weight > 0:
        assert problem.electrodes is not None and isinstance(problem.models, physics.People)
        one = physics.first(problem.models)
        everyone = problem.electrodes.peak.shape[0]
        muscles = hill.initial(one, static.net.inputs)
        params["muscles"] = jax.tree.map(lambda x: jnp.broadcast_to(x, (everyone, *x.shape)), muscles)
    state = _optimiser(config).init(params)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(k_batch)).astype(np.uint64))
    params, state = devices.everywhere((params, state), over)
    for step in range(0, config.steps, config.check_every):
        if isinstance(training, np.ndarray):
            among = training
        else:
            samples, among = next(training)
            problem = problem._replace(samples=devices.everywhere(samples, over))
        stretches = _in_a_step(config, among)
        pick = rng.integers(len(among), size=(config.check_every, stretches))
        rows = jnp.asarray(among[pick], jnp.int32)
        gains = jnp.asarray(_gains(rng, config, (*pick.shape, static.net.inputs)), jnp.float32)
        rows, gains = devices.split((rows, gains), over, axis=1)
        params, state, losses = _steps(static, params, state, problem, rows, gains)
        yield step + config.check_every, params, float(jnp.mean(devices.whole(losses, over)))


def _in_a_step(config: TrainConfig, training: np.ndarray) -> int:
    """Stretches in the batch of one step."""
    return max(1, config.batch // training.shape[1])


# An early stop before this many checks says more about the few held-out people than about training.
_FEWEST_CHECKS = 3
# Rows on which the held-out loss is computed at each check.
_CHECKED = 4096


class _Taps(NamedTuple):
    """A kernel as tuples, so that it can be a static argument."""

    average: tuple[float, ...]
    rate: tuple[float, ...]
    acceleration: tuple[float, ...]

    @classmethod
    def of(cls, taps: weak.Kernel | None) -> "_Taps | None":
        return None if taps is None else cls(*(tuple(float(v) for v in t) for t in taps))


class _Static(NamedTuple):
    net: network.Network
    form: physics.Residual
    with_physics: bool
    taps: _Taps | None
    config: TrainConfig


def descend(optimiser: optax.GradientTransformation, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """One step of an optimiser: new parameters and state."""
    # optax multiplies its integer step count with floats; ours is the code that forbids such promotions
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def _optimiser(config: TrainConfig) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps, 0.1)
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def _all_terms(static: _Static, params: Any, problem: Problem, rows: Array, gain: Array | None) -> loss.Terms:
    taps = None if static.taps is None else weak.Kernel(*(np.array(t) for t in static.taps))
    return terms(params, static.net, problem, rows, gain, form=static.form, taps=taps, with_physics=static.with_physics)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _steps(static: _Static, params: Any, state: Any, problem: Problem, rows: Array, gains: Array) -> Any:
    optimiser = _optimiser(static.config)

    def total(params: Any, rows: Array, gain: Array) -> Array:
        t = _all_terms(static, params, problem, rows, gain)
        w = problem.weights
        total = w.angle * t.angle + w.force * t.force + w.physics * t.physics + w.hill * t.hill
        if "muscles" in params:
            people = params["muscles"].delay.shape[0]
            total += static.config.hill_prior_weight * hill.prior(params["muscles"]) / people
        return total

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(total)(params, *batch)
        return descend(optimiser, grads, state, params), value

    (params, state), losses = jax.lax.scan(step, (params, state), (rows, gains))
    return params, state, losses


@partial(jax.jit, static_argnums=0)
def _check(static: _Static, params: Any, problem: Problem, rows: Array) -> loss.Terms:
    return _all_terms(static, params, problem, rows, None)
