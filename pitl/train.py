"""The generic model: many people's data, one network, under the law of motion.

    L = L_q + L_F + lambda R^2

with every term in units of its own variance over the source subjects, and if the configuration says so with factors
that balance the terms as training goes on (`pitl.balance`), or from coarse to fine time scales (`pitl.curriculum`).
Training stops early on source subjects that were held out of it, because the generic model is for a person it has never
seen.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from pitl import balance, curriculum, devices, hill, loss, physics, store
from pitl.config import TrainConfig
from pitl.errors import PitlError
from pitl.msk import weak
from pitl.net import network
from pitl.problem import Problem, ready, terms

__all__ = ["Problem", "Trained", "descend", "fit", "ready", "terms"]


class Trained(NamedTuple):
    """A generic model and how it came about."""

    params: dict[str, Any]  # encoder, head
    muscles: hill.Parameters | None  # everyone's, stacked, where the Hill term learned them
    steps: int  # trained for: where the held-out loss was lowest, and with `refit` a few checks at least
    history: np.ndarray  # (checks, 6): step, training loss, held-out angle, force, physics and Hill terms


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
    finest = config.steps * (config.curriculum - 1) // config.curriculum  # step at which smoothed recordings are done
    best, best_params, best_step, history, waited = np.inf, {}, 0, [], 0
    for step, params, value in _course(key, static, problem, training, over):
        check = devices.whole(_check(static, params, problem, rows), over)
        score = float(check.angle + (check.force if labelled else check.hill))
        history.append([step, value, *(float(v) for v in check)])
        if report:
            report(step, value, score)
        if score < best:
            best, best_params, best_step, waited = score, params, step, 0
        elif step > finest:
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
    config, level, whole = static.config, -1, problem.samples
    k_init, k_batch = jax.random.split(key)
    params = network.init(k_init, static.net, problem.scale)
    if config.hill_weight > 0:
        assert problem.electrodes is not None and isinstance(problem.models, physics.People)
        one = physics.first(problem.models)
        everyone = problem.electrodes.peak.shape[0]
        muscles = hill.initial(one, static.net.inputs)
        params["muscles"] = jax.tree.map(lambda x: jnp.broadcast_to(x, (everyone, *x.shape)), muscles)
    state = _optimiser(config).init(params)
    factors = (
        None if config.balance == "fixed" else balance.start(jax.random.fold_in(k_batch, 1), len(loss.Terms._fields))
    )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(k_batch)).astype(np.uint64))
    params, state, factors = devices.everywhere((params, state, factors), over)
    for step in range(0, config.steps, config.check_every):
        before, level = level, step * config.curriculum // config.steps
        corner = curriculum.corner_hz(level, config.curriculum, config.curriculum_hz)
        if isinstance(training, np.ndarray):
            among, samples = training, whole
        else:
            samples, among = next(training)
        if not isinstance(training, np.ndarray) or (level != before and config.curriculum > 1):
            seen = samples if corner is None else curriculum.coarse(samples, corner, static.net.rate_hz)
            problem = problem._replace(samples=devices.everywhere(seen, over))
        stretches = _in_a_step(config, among)
        pick = rng.integers(len(among), size=(config.check_every, stretches))
        rows = jnp.asarray(among[pick], jnp.int32)
        gains = jnp.asarray(_gains(rng, config, (*pick.shape, static.net.inputs)), jnp.float32)
        rows, gains = devices.split((rows, gains), over, axis=1)
        params, state, losses, factors = _steps(static, params, state, problem, rows, gains, factors)
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


def _all_terms(
    static: _Static, params: Any, problem: Problem, rows: Array, gain: Array | None, physics_rows: float = 1.0
) -> loss.Terms:
    taps = None if static.taps is None else weak.Kernel(*(np.array(t) for t in static.taps))
    return terms(
        params,
        static.net,
        problem,
        rows,
        gain,
        form=static.form,
        taps=taps,
        with_physics=static.with_physics,
        physics_rows=physics_rows,
    )


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _steps(
    static: _Static,
    params: Any,
    state: Any,
    problem: Problem,
    rows: Array,
    gains: Array,
    factors: balance.State | None = None,
) -> Any:
    optimiser = _optimiser(static.config)
    w = problem.weights

    def separate(params: Any, rows: Array, gain: Array) -> loss.Terms:
        return _all_terms(static, params, problem, rows, gain, static.config.physics_rows)

    def total(params: Any, rows: Array, gain: Array, factors: Any) -> Any:
        t = separate(params, rows, gain)
        if factors is None:
            total = w.angle * t.angle + w.force * t.force + w.physics * t.physics + w.hill * t.hill
        else:
            if static.config.balance == "relobralo":
                factors = balance.relobralo(factors, jax.lax.stop_gradient(_vector(t)), _active(static, params, w))
            total = jnp.sum(factors.factor * _vector(w) * _vector(t))
        if "muscles" in params:
            people = params["muscles"].delay.shape[0]
            total += static.config.hill_prior_weight * hill.prior(params["muscles"]) / people
        return total, factors

    def measured(params: Any, rows: Array, gain: Array, factors: balance.State) -> balance.State:
        """Factors from the gradients that each term by itself has with respect to the network."""
        network_alone = {k: v for k, v in params.items() if k != "muscles"}
        apart = jax.jacrev(lambda p: _vector(separate({**params, **p}, rows, gain)))(network_alone)
        return balance.gradient_norm(factors, balance.norms(apart), _active(static, params, w))

    def step(carry: Any, batch: Any) -> Any:
        params, state, factors = carry
        if static.config.balance == "gradient_norm":
            now = factors.step % balance.EVERY == 0
            factors = jax.lax.cond(now, measured, lambda _p, _r, _g, f: f, params, *batch, factors)
            factors = factors._replace(step=factors.step + 1)
        (value, factors), grads = jax.value_and_grad(total, has_aux=True)(params, *batch, factors)
        params, state = descend(optimiser, grads, state, params)
        return (params, state, factors), value

    (params, state, factors), losses = jax.lax.scan(step, (params, state, factors), (rows, gains))
    return params, state, losses, factors


def _vector(terms: loss.Terms) -> Float[Array, " K"]:
    return jnp.stack([jnp.asarray(t, jnp.float32) for t in terms])


def _active(static: _Static, params: Any, weights: loss.Terms) -> Array:
    """Which terms are part of the loss: those that have a weight and are computed."""
    there = jnp.asarray([True, True, static.with_physics, "muscles" in params])
    return (_vector(weights) > 0) & there


@partial(jax.jit, static_argnums=0)
def _check(static: _Static, params: Any, problem: Problem, rows: Array) -> loss.Terms:
    return _all_terms(static, params, problem, rows, None)
