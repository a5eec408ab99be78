"""The generic model: many people's data, one network, under the equation of motion.

    L = L_q + L_F + lambda R^2

with every term in units of its own variance over the source subjects, and if the configuration says so with factors
that balance the terms as training goes on (`pitl.learn.balance`), or from coarse to fine time scales
(`pitl.learn.curriculum`). The learning rate falls along a cosine to the last step; or source subjects are held out, and
the model of the step is kept that predicts them best.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from pitl.config.schema import TrainConfig
from pitl.errors import PitlError
from pitl.learn import balance, curriculum, devices, hill, limbs, loss, optimise, store
from pitl.learn.loss import Problem
from pitl.mechanics import weak
from pitl.net import network

# Rows on which the held-out loss is computed at each check.
_CHECKED = 4096
# Residuals taken along one segment of training rows: enough that a kernel's margin is not most of the work.
_WEAK_RUN = 20


class GenericFit(NamedTuple):
    """The network of a generic model and how it came about."""

    params: dict[str, Any]  # encoder, head
    muscles: hill.Parameters | None  # everyone's, stacked, where the Hill term learned them
    steps: int  # trained for: all, or until the held-out loss was lowest
    history: np.ndarray  # (checks, 2 or 6): step, training loss; held-out angle, force, physics and Hill terms


@dataclass(frozen=True)
class GenericLearner(optimise.Everything):
    """What is fixed before a training step is compiled (see `pitl.learn.optimise.Learner`)."""

    net: network.Network
    config: TrainConfig
    with_physics: bool = True

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW whose rate falls along a cosine."""
        return optimise.adam(self.config.learning_rate, self.config.steps, weight_decay=self.config.weight_decay)

    def terms(
        self, params: Any, problem: Problem, rows: Array, gain: Array | None, part: float = 1.0
    ) -> loss.LossTerms:
        """The terms of the loss on some rows; the residual in a part of them."""
        return loss.terms(
            params,
            self.net,
            problem,
            rows,
            gain,
            form=self.config.residual,
            with_physics=self.with_physics,
            physics_rows=part,
        )

    def objective(
        self, params: Any, batch: Any, extra: balance.BalanceState | None
    ) -> tuple[Float[Array, ""], tuple[balance.BalanceState | None, loss.LossTerms]]:
        """The weighted loss of `(problem, (rows, gain))`, the balance that follows from it, and its terms."""
        problem, (rows, gain) = batch
        config, w = self.config, problem.weights
        factors = extra
        if factors is not None and config.balance == "gradient_norm":
            now = factors.step % balance.EVERY == 0
            still = jax.lax.stop_gradient(params)
            measure = partial(self._measure, still, problem, rows, gain)
            factors = jax.lax.cond(now, measure, lambda f: f, factors)
            factors = factors._replace(step=factors.step + 1)
        t = self.terms(params, problem, rows, gain, config.physics_rows)
        if factors is None:
            total = w.angle * t.angle + w.force * t.force + w.physics * t.physics + w.hill * t.hill
        else:
            if config.balance == "relobralo":
                factors = balance.relobralo(factors, jax.lax.stop_gradient(_vector(t)), self._active(params, w))
            total = jnp.sum(factors.factor * _vector(w) * _vector(t))
        if "muscles" in params:
            people = params["muscles"].delay.shape[0]
            total += config.hill_prior_weight * hill.prior(params["muscles"]) / people
        return total, (factors, t)

    def _measure(
        self, params: Any, problem: Problem, rows: Array, gain: Array, factors: balance.BalanceState
    ) -> balance.BalanceState:
        """Factors from the gradients that each term by itself has with respect to the network."""
        network_alone = {k: v for k, v in params.items() if k != "muscles"}

        def separate(part: Any) -> Array:
            return _vector(self.terms({**params, **part}, problem, rows, gain, self.config.physics_rows))

        apart = jax.jacrev(separate)(network_alone)
        return balance.gradient_norm(factors, balance.norms(apart), self._active(params, problem.weights))

    def _active(self, params: Any, weights: loss.LossTerms) -> Array:
        """Which terms are part of the loss: those that have a weight and are computed."""
        there = jnp.asarray([True, True, self.with_physics, "muscles" in params])
        return (_vector(weights) > 0) & there


def fit(
    key: Array,
    net: network.Network,
    problem: Problem,
    training: np.ndarray | Iterator[store.StoredBlock],
    held_out: np.ndarray | None,
    config: TrainConfig,
    *,
    with_physics: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> GenericFit:
    """Trains a generic model for all steps, or until the held-out loss stops falling.

    Args:
        key: random key; the same key gives the same model.
        net: the network.
        problem: samples, physics, units and weights.
        training: (W, S) segments of rows of the source subjects; or blocks of recordings that memory cannot hold,
            a new one after each check, and `problem.samples` is then what the held-out loss is computed on.
        held_out: (V, S) segments of rows of source subjects that are not trained on; None if all are.
        config: steps, batch, learning rate, patience.
        with_physics: whether the equation of motion is part of the loss.
        report: called at each check with step and loss, that of the held-out people if there are any.

    Raises:
        PitlError: training diverges.
    """
    problem = loss.share_constants(problem)
    learner = GenericLearner(net, config, with_physics)
    segments = training if held_out is None else held_out
    assert isinstance(segments, np.ndarray), "who trains on a store holds people out"
    over = devices.mesh(_in_a_step(config, segments))
    problem = devices.everywhere(problem, over)
    checked = segments[np.linspace(0, len(segments) - 1, _CHECKED // segments.shape[1]).astype(int)]
    rows = devices.everywhere(jnp.asarray(checked, jnp.int32), over)
    labelled = float(problem.weights.force) > 0
    finest = config.steps * (config.curriculum - 1) // config.curriculum  # step at which smoothed recordings are done
    best, best_params, best_step, history, waited = np.inf, {}, 0, [], 0
    for step, params, value in _course(key, learner, problem, training, over):
        check = () if held_out is None else devices.whole(_check(learner, params, problem, rows), over)
        score = float(check.angle + (check.force if labelled else check.hill)) if check else value
        history.append([step, value, *(float(v) for v in check)])
        if report:
            report(step, score)
        if not np.isfinite(score) and (held_out is None or not best_params):
            raise PitlError(
                f"the loss is no finite number after {step} steps, so training diverged; lower train.learning_rate and "
                "look at the recordings with `pitl check`."
            )
        if held_out is None or score < best:
            best, best_params, best_step, waited = score, jax.tree.map(np.array, params), step, 0
        elif step > finest:
            waited += 1
        if held_out is not None and 0 < config.patience <= waited:
            break
    best_params = jax.device_put(best_params)
    muscles = best_params.get("muscles")
    kept = {k: v for k, v in best_params.items() if k != "muscles"}
    return GenericFit(kept, muscles, best_step, np.array(history))


def segment_length(config: TrainConfig, taps: weak.Kernel) -> int:
    """Contiguous rows in one sample of the loss: one, or for the weak residual a kernel and some more."""
    return len(taps.average) + _WEAK_RUN - 1 if config.residual == "weak" else 1


def _gains(rng: np.random.Generator, config: TrainConfig, shape: tuple[int, ...]) -> np.ndarray:
    """Random gain of each channel in each segment; a lost channel is a gain of zero, and one channel always stays."""
    gains = np.exp(config.gain_augmentation * rng.normal(size=shape))
    if config.channel_dropout > 0:
        chance = rng.random(shape)
        lost = (chance < config.channel_dropout) & (chance < chance.max(axis=-1, keepdims=True))
        gains = np.where(lost, 0.0, gains)
    return gains


def _course(
    key: Array,
    learner: GenericLearner,
    problem: Problem,
    training: np.ndarray | Iterator[store.StoredBlock],
    over: Mesh | None,
) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Steps, parameters and mean loss at each check, from one random start."""
    config, level, whole = learner.config, -1, problem.samples
    k_init, k_batch = jax.random.split(key)
    params = network.init(k_init, learner.net, problem.scale)
    if config.hill_weight > 0:
        assert problem.electrodes is not None and isinstance(problem.limbs, limbs.Limbs)
        one = limbs.first_limb(problem.limbs)
        everyone = problem.electrodes.peak.shape[0]
        muscles = hill.initial(one, learner.net.inputs)
        params["muscles"] = jax.tree.map(lambda x: jnp.broadcast_to(x, (everyone, *x.shape)), muscles)
    factors = (
        None
        if config.balance == "fixed"
        else balance.start(jax.random.fold_in(k_batch, 1), len(loss.LossTerms._fields))
    )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(k_batch)).astype(np.uint64))
    state = devices.everywhere(optimise.begin(learner, params, factors), over)
    for step in range(0, config.steps, config.check_every):
        before, level = level, step * config.curriculum // config.steps
        corner = curriculum.corner_hz(level, config.curriculum, config.curriculum_hz)
        if isinstance(training, np.ndarray):
            among, samples = training, whole
        else:
            samples, among = next(training)
        if not isinstance(training, np.ndarray) or (level != before and config.curriculum > 1):
            seen = samples if corner is None else curriculum.coarse(samples, corner, learner.net.rate_hz)
            problem = problem.replace(samples=devices.everywhere(seen, over))
        segments = _in_a_step(config, among)
        pick = rng.integers(len(among), size=(config.check_every, segments))
        rows = jnp.asarray(among[pick], jnp.int32)
        gains = jnp.asarray(_gains(rng, config, (*pick.shape, learner.net.inputs)), jnp.float32)
        rows, gains = devices.split((rows, gains), over, axis=1)
        state, losses = optimise.run(learner, state, problem, (rows, gains))
        yield step + config.check_every, state.params, float(jnp.mean(devices.whole(losses, over)))


def _in_a_step(config: TrainConfig, training: np.ndarray) -> int:
    """Segments in the batch of one step."""
    return max(1, config.batch // training.shape[1])


def _vector(terms: loss.LossTerms) -> Float[Array, " K"]:
    return jnp.stack([jnp.asarray(t, jnp.float32) for t in terms])


@partial(jax.jit, static_argnums=0)
def _check(learner: GenericLearner, params: Any, problem: Problem, rows: Array) -> loss.LossTerms:
    return learner.terms(params, problem, rows, None)
