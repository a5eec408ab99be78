"""The personalised models: the encoder is inherited and frozen, the head learns one person. Many people at once.

A frozen encoder on fixed recordings is a constant, so its features (and their jets) are computed once per person;
what is left is a small dense network per person, trained for all people in one vectorised, compiled loop. Freezing
is `optax.set_to_zero` in the partition: the encoder comes out bit-identical.

    L = w_q L_q + w_F L_F + lambda R^2 + l2 |head - generic head|^2 + prior(correction)

over the calibration part. The modified physics is a set of switches: `scaled` (the model is the person's own, decided
before it comes here), `learnable` (bounded corrections of the model are trained with the head), `unlabelled` (the
residual is also taken where there are no labels), `muscle` (the head is drawn to forces that `pitl.learn.muscle_part`
finds).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from pitl.config.schema import PersonalizeConfig, Supervision
from pitl.learn import devices, loss, optimise, stacked
from pitl.learn.model import Model
from pitl.learn.split import CalibrationRows
from pitl.learn.units import Spread
from pitl.mechanics import dynamics, weak
from pitl.mechanics.correction import Correction, apply_correction, factors, identity_correction, log_prior
from pitl.mechanics.model import MusculoskeletalModel
from pitl.net import head, network
from pitl.signals import samples as gathering
from pitl.signals.samples import Cover, Samples

Group = Literal["encoder", "features", "head", "correction"]  # features: the last layer of the encoder alone

# of the features and activations of the people of one program; twice as much is a third slower on two cores
_PROGRAM_BYTES = 2**29


class Settings(NamedTuple):
    """What one way of personalising is: which parts train, with which labels. Hashable, static."""

    trainable: tuple[Group, ...]
    supervision: Supervision
    physics: bool


class PersonalFit(NamedTuple):
    """Personalised models, stacked over people, and how they came about."""

    model: Model  # the correction applied to limb and strength
    correction: Correction
    history: np.ndarray  # (checks, P) loss


class PersonalTask(NamedTuple):
    """What the objective reads of one person (or of all, stacked)."""

    generic_head: Any
    spread: Spread
    scale: head.OutputScale
    limb: MusculoskeletalModel
    rows: CalibrationRows
    features: Float[Array, "J T Z"] | None  # of the frozen encoder; None where it moves


class _Shared(NamedTuple):
    samples: Samples
    kernel: weak.Kernel


@dataclass(frozen=True)
class PersonalLearner:
    """What is fixed before a step of personalisation is compiled (see `pitl.learn.optimise.Learner`)."""

    net: network.Network
    settings: Settings
    config: PersonalizeConfig

    @property
    def order(self) -> int:
        """Of the jets that the loss needs."""
        return 3 if self.settings.physics and self.config.residual == "strong" else 1

    def optimiser(self) -> optax.GradientTransformation:
        """Adam on what trains, nothing on what is frozen."""
        trainable = self.settings.trainable
        labels: dict[str, Any] = {g: "train" if g in trainable else "frozen" for g in ("encoder", "head", "correction")}
        if "features" in trainable:
            trunk = "recurrence" if self.net.encoder == "gru" else "convolutions"
            labels["encoder"] = {trunk: "frozen", "features": "train"}
        return optimise.adam(self.config.learning_rate, self.config.steps, frozen=labels)

    def trainable(self, params: Any) -> dict[str, Any]:
        """The groups that train."""
        return {g: params["encoder"][g] if g == "features" else params[g] for g in self.settings.trainable}

    def merge(self, params: Any, part: Any) -> Any:
        """The parameters with some groups replaced."""
        whole = {k: v for k, v in part.items() if k != "features"}
        if "features" in part:
            whole["encoder"] = {**params["encoder"], "features": part["features"]}
        return {**params, **whole}

    def objective(self, params: Any, batch: Any, extra: None) -> tuple[Float[Array, ""], tuple[None, dict[str, Array]]]:
        """The personalised loss of one person on a random part of `(shared, task, key)`, and its terms."""
        shared, task, key = batch
        rows, features = _batch(key, task.rows, task.features, self)
        terms = self.terms(params, shared.samples, shared.kernel, task._replace(rows=rows, features=features))
        return jnp.sum(jnp.stack(list(terms.values()))), (None, terms)

    def terms(
        self, params: Any, samples: Samples, kernel: weak.Kernel, task: PersonalTask
    ) -> dict[str, Float[Array, ""]]:
        """The weighted terms of the loss of one person, by name."""
        net, config, settings, who = self.net, self.config, self.settings, task.rows
        if task.features is None:
            z = network.features(params, net, samples, who.rows, self.order)
        else:
            z = network.read_out(params, net, task.features) if "features" in settings.trainable else task.features
        around = network.context(net, samples, who.rows, self.order)
        out = network.infer(params, net, z, around, with_strength(task.scale, params["correction"]))
        terms: dict[str, Array] = {}
        if settings.supervision != "none":
            angle, force = loss.data_terms(out.angle[0], out.force, samples, who.rows, task.spread, who.labelled)
            terms["angle"] = config.angle_weight * angle
            if settings.supervision == "angle_force":
                terms["force"] = config.force_weight * force
        if settings.physics:
            residual, counted = self._residual(params, samples, kernel, task, out)
            terms["physics"] = config.physics_weight * loss.physics_term(residual, task.spread, counted)
            if who.target is not None and who.has_target is not None:
                pull = loss.squared(out.force - who.target, task.spread.force, who.has_target)
                terms["muscle"] = config.muscle_weight * pull
        if "correction" in settings.trainable:
            terms["prior"] = -config.prior_weight * log_prior(params["correction"])
        if "head" in settings.trainable:
            terms["generic"] = config.l2_to_generic * loss.distance(params["head"], task.generic_head)
        return terms

    def _residual(
        self, params: Any, samples: Samples, kernel: weak.Kernel, task: PersonalTask, out: head.Output
    ) -> tuple[Float[Array, "R D"], Float[Array, " R"]]:
        """Residual [N m] under the person's corrected limb, and where it counts."""
        config, who = self.config, task.rows
        own = apply_correction(task.limb, params["correction"])
        weakly = config.residual == "weak"
        run = who.segment.shape[0] + (len(kernel.average) - 1 if weakly else 0)  # rows that a residual can be taken at
        rows, force = who.rows[:run], out.force[:run]
        q, posture = out.angle[0, :run], samples.posture[rows]
        if not weakly:
            qd, qdd = out.angle[1, :run], out.angle[2, :run]
            return dynamics.residual(own, q, qd, qdd, force, posture), who.segment
        if config.along == "measured" and self.settings.supervision != "none":
            q = jnp.where(who.labelled[:run, None] > 0, samples.angle[rows], q)
        return weak.weak_residual(own, q, force, posture, kernel), who.segment


def fit(
    generic: Model,
    samples: Samples,
    people: CalibrationRows,
    settings: Settings,
    config: PersonalizeConfig,
    *,
    key: Array | None = None,
    at_once: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> PersonalFit:
    """Fine-tunes the inference part (or whatever `settings.trainable` names) for P people at once.

    Args:
        generic: inherited models stacked over people, each with the person's own limb: everyone may come from a generic
            model of their own.
        samples: rows of everybody.
        people: everyone's calibration rows, stacked.
        settings: what trains, with which labels.
        config: steps, learning rate and weights.
        key: of the mini-batches; the same key gives the same models.
        at_once: people in one vectorised program, which bounds the memory; None chooses.
        report: called now and then with the steps done and their total.

    Returns:
        Models and corrections, stacked. A group that is not trainable is returned bit-identical.
    """
    learner = PersonalLearner(generic.net, settings, config)
    key = jax.random.key(0) if key is None else key
    taps = weak.kernel(config.weak_kernel_s, generic.net.rate_hz)
    kernel = jax.device_put(weak.Kernel(*(np.asarray(t, np.float32) for t in taps)))
    count = people.rows.shape[0]
    shares = jax.device_count() if count >= jax.device_count() else 1
    over = devices.mesh(shares)
    shared = devices.everywhere(_Shared(samples, kernel), over)
    each = max(1, at_once or shares * _most_at_once(learner, people))  # people in one program
    each = -(-count // -(-count // each))  # as many in each program
    each = -(-each // shares) * shares  # and on each device
    blocks = [np.minimum(np.arange(k, k + each), count - 1) for k in range(0, count, each)]
    chunk, parts = min(50, config.steps), []
    frozen = "encoder" not in settings.trainable  # of which then nothing moves, or the last layer alone
    segments = _most_segments(people.rows) if frozen else 0
    for number, block in enumerate(blocks):
        start, limb, spread, scale, who = stacked.take(
            (generic.params, generic.limb, generic.spread, generic.scale, people), block
        )
        features = None
        if frozen:
            theirs = devices.split((start, _covers(np.asarray(people.rows)[block], segments)), over)
            features = _features(learner, over, shared.samples, theirs)
        params = {**start, "correction": _no_corrections(limb)}
        inherited = stacked.take(generic.params["head"], block)  # its own memory: the state's is given away
        task = PersonalTask(inherited, spread, scale, limb, who, None)
        state, task = devices.split((_begin_everybody(learner, params), task), over)
        task = task._replace(features=features)
        history = []
        for done in range(0, config.steps, chunk):
            keys = devices.everywhere(jax.random.split(jax.random.fold_in(key, done), chunk), over)
            state, losses = _steps(learner, state, shared, task, keys)
            history.append(np.asarray(devices.whole(losses, over)))
            if report:
                report(number * config.steps + done + chunk, len(blocks) * config.steps)
        parts.append((devices.whole(state.params, over), np.array(history)))
    params = jax.device_put(jax.tree.map(lambda *x: np.concatenate(x)[:count], *(p[0] for p in parts)))
    correction = params.pop("correction")
    model = generic.replace(
        params=params,
        limb=_corrected_limbs(generic.limb, correction),
        scale=_corrected_scales(generic.scale, correction),
    )
    return PersonalFit(model, correction, np.concatenate([p[1] for p in parts], axis=1)[:, :count])


def with_strength(scale: head.OutputScale, correction: Correction) -> head.OutputScale:
    """The output scale of a person whose muscles are stronger or weaker than the model says."""
    return scale._replace(strength=scale.strength * factors(correction)["strength"])


def method_settings(config: PersonalizeConfig, supervision: Supervision) -> Settings:
    """What trains by the method: the head under the modified physics, and what the configuration adds."""
    learned: tuple[Group, ...] = ("correction",) if config.learnable else ()
    return Settings((*trainable_encoder(config), "head", *learned), supervision, True)


def trainable_encoder(config: PersonalizeConfig) -> tuple[Group, ...]:
    """What of the encoder trains together with the head."""
    chosen: dict[str, tuple[Group, ...]] = {"nothing": (), "features": ("features",), "encoder": ("encoder",)}
    return chosen[config.unfreeze]


def _most_at_once(learner: PersonalLearner, people: CalibrationRows) -> int:
    """How many people fit into memory at once."""
    net = learner.net
    kept = network.trunk_width(net) if "features" in learner.settings.trainable else net.features
    wide = kept + 8 * net.hidden + 40
    return max(1, _PROGRAM_BYTES // (4 * learner.order * people.rows.shape[1] * wide))


@partial(jax.jit, static_argnums=(0, 1))
def _features(learner: PersonalLearner, over: Mesh | None, samples: Samples, theirs: Any) -> Array:
    """Everyone's features, from parameters and segments of rows."""

    def several(samples: Samples, theirs: Any) -> Array:
        def one(args: tuple[Any, Cover]) -> Array:
            params, cover = args
            last_moves = "features" in learner.settings.trainable
            return network.features_of_rows(params, learner.net, samples, cover, learner.order, trunk_only=last_moves)

        # one person after the other: the windows of all would fill the memory
        return jax.lax.map(one, theirs)

    if over is None:
        return several(samples, theirs)
    own, same = PartitionSpec(devices.SPLIT), PartitionSpec()
    return jax.shard_map(several, mesh=over, in_specs=(same, own), out_specs=own, check_vma=False)(samples, theirs)


def _most_segments(rows: Int[Array, "P T"]) -> int:
    """Segments that the person with the most of them needs."""
    return max(len(gathering.cover(r).first) for r in np.asarray(rows))


def _covers(rows: Int[np.ndarray, "P T"], most: int) -> Cover:
    """Everyone's rows as segments, as many for each."""
    covers = [gathering.cover(r) for r in np.asarray(rows)]
    first = np.stack([np.pad(c.first, (0, most - len(c.first)), mode="edge") for c in covers])
    return jax.device_put(Cover(first, np.stack([c.place for c in covers])))


def _draw_rows(key: Array, who: CalibrationRows, batch: int) -> Int[Array, " B"]:
    """Where a random batch of a person's labelled rows is."""
    cumulated = jnp.cumsum(who.labelled)
    at = jnp.searchsorted(cumulated, jax.random.uniform(key, (batch,)) * cumulated[-1], side="right")
    return jnp.minimum(at, who.rows.shape[0] - 1)


def _draw_segments(key: Array, who: CalibrationRows, batch: int) -> tuple[Int[Array, " B"], Float[Array, " S"]]:
    """Where a random batch of runs of contiguous rows is, and where within it the residual may be taken."""
    length, starts = who.rows.shape[0], who.segment.shape[0]
    taps = length - starts + 1
    run = min(4 * taps, length)  # so that a kernel's margin is a quarter of the work
    cumulated = jnp.cumsum(who.segment)
    first = jnp.searchsorted(cumulated, jax.random.uniform(key, (max(1, batch // run),)) * cumulated[-1], side="right")
    at = jnp.minimum(first, length - run)[:, None] + jnp.arange(run)[None]
    fits = (jnp.arange(run) <= run - taps)[None] & (at < starts)
    segment = jnp.where(fits, who.segment[jnp.minimum(at, starts - 1)], 0.0)
    return at.reshape(-1), segment.reshape(-1)[: at.size - taps + 1]


def _batch(
    key: Array, who: CalibrationRows, z: Array | None, learner: PersonalLearner
) -> tuple[CalibrationRows, Array | None]:
    """The rows of one step: everything, or where that is much, a random part."""
    batch = learner.config.batch
    if who.rows.shape[0] <= batch:
        return who, z
    at, segment = _draw_rows(key, who, batch), jnp.zeros((0,), jnp.float32)
    if learner.settings.physics:
        # rows of a run say much the same: the labels are read at random rows, the residual along runs
        runs, segment = _draw_segments(jax.random.fold_in(key, 1), who, batch)
        at = jnp.concatenate([runs, at])
    target, has_target = (None if x is None else x[at] for x in (who.target, who.has_target))
    return CalibrationRows(who.rows[at], who.labelled[at], segment, target, has_target), None if z is None else z[:, at]


@partial(jax.jit, static_argnums=0)
def _begin_everybody(learner: PersonalLearner, params: Any) -> optimise.State:
    return jax.vmap(lambda p: optimise.begin(learner, p))(params)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _steps(
    learner: PersonalLearner, state: optimise.State, shared: _Shared, task: PersonalTask, keys: Array
) -> tuple[optimise.State, Float[Array, " P"]]:
    """Some steps for everybody; the loss of the last one."""

    def step(state: optimise.State, key: Array) -> Any:
        state, (value, _) = jax.vmap(lambda s, t: optimise.advance(learner, s, (shared, t, key)))(state, task)
        return state, value

    state, losses = jax.lax.scan(step, state, keys)
    return state, losses[-1]


_no_corrections = jax.jit(jax.vmap(identity_correction))
_corrected_limbs = jax.jit(jax.vmap(apply_correction))
_corrected_scales = jax.jit(jax.vmap(with_strength))
