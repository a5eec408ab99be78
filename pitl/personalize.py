"""The personalised models: the encoder is inherited and frozen, the head learns one person. Many people at once.

A frozen encoder on fixed recordings is a constant, so its features (and their jets) are computed once per person;
what is left is a small dense network per person, trained for all people in one vectorised, compiled loop. Freezing
is `optax.set_to_zero` in the partition: the encoder comes out bit-identical.

    L = w_q L_q + w_F L_F + lambda R^2 + l2 |head - generic head|^2 + prior(correction)

over the calibration part. The modified physics is a set of switches: `scaled` (the model is the person's own, decided
before it comes here), `learnable` (bounded corrections of the model are trained with the head), `unlabelled` (the
residual is also taken where there are no labels), `muscle` (the head is drawn to forces that `pitl.muscle_part` finds).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from pitl import devices, loss, windows
from pitl.config import PersonalizeConfig
from pitl.msk import dynamics, weak
from pitl.msk.correction import Correction, apply_correction, factors, identity_correction, log_prior
from pitl.msk.model import MusculoskeletalModel
from pitl.net import head, network
from pitl.train import descend
from pitl.windows import Cover, Samples

Supervision = Literal["angle_force", "angle", "none"]
Group = Literal["encoder", "features", "head", "correction"]  # features: the last layer of the encoder alone


class Person(NamedTuple):
    """One person's calibration rows, padded to a common length T; stacked over people in front (P, ...)."""

    rows: Int[Array, " T"]  # into Samples
    labelled: Float[Array, " T"]  # 1 where the labels may be used, else 0
    stretch: Float[Array, " R"]  # 1 where K contiguous rows begin and the residual may be taken; R = T - K + 1
    pull: Float[Array, "T M"] | None = None  # N, forces that the head is drawn to: the muscle part of the physics
    pulled: Float[Array, " T"] | None = None  # 1 where it is, else 0


class Settings(NamedTuple):
    """What one arm is: which parts train, with which weights. Hashable, static."""

    trainable: tuple[Group, ...]
    supervision: Supervision
    physics: bool


class Fitted(NamedTuple):
    """Personalised parameters, stacked over people."""

    params: dict[str, Any]  # encoder, head
    correction: Correction
    history: np.ndarray  # (checks, P) loss


class Knobs(NamedTuple):
    """Settings that may differ from lane to lane of one compiled program."""

    learning_rate: Float[Array, "*K"]  # in place of the configuration's
    physics_weight: Float[Array, "*K"]


class Fixed(NamedTuple):
    """What is the same for everybody, on the device."""

    samples: Samples
    spread: loss.Spread
    scale: head.OutputScale


def person(
    rows: np.ndarray, labelled: Bool[np.ndarray, " W"], stretch: Bool[np.ndarray, " R"], length: int, taps: int
) -> Person:
    """Pads one person's rows to a common length with rows that count for nothing."""
    f = np.float32
    padded = np.concatenate([rows, np.full(length - len(rows), rows[-1])])
    return Person(
        jnp.asarray(padded, np.int32),
        jnp.asarray(np.pad(labelled.astype(f), (0, length - len(rows)))),
        jnp.asarray(np.pad(stretch.astype(f), (0, length - taps + 1 - len(stretch)))),
    )


def fit(
    params: dict[str, Any],
    net: network.Network,
    fixed: Fixed,
    models: MusculoskeletalModel,
    people: Person,
    settings: Settings,
    config: PersonalizeConfig,
    taps: weak.Kernel,
    *,
    knobs: Knobs | None = None,
    at_once: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fine-tunes the inference part (or whatever `settings.trainable` names) for P people at once.

    Args:
        params: inherited parameters, stacked over people: everyone may come from a generic model of their own.
        net: the network.
        fixed: samples, units and output scale; units and scale stacked over people too.
        models: everyone's physics, stacked.
        people: everyone's calibration rows, stacked.
        settings: the arm.
        config: steps, learning rates and weights.
        taps: kernel of the weak residual; its length also bounds contiguity for the strong one.
        knobs: K settings that everybody is personalised with, each by itself; None is the configuration's.
        at_once: lanes (people times knobs) in one vectorised program, which bounds the memory; None chooses.
        report: called now and then with the steps done and their total.

    Returns:
        Parameters and corrections of each person, or with K knobs of each person and knob, P * K lanes, the knobs of
        a person side by side. A group that is not trainable is returned bit-identical.
    """
    order = 3 if settings.physics and config.residual == "strong" else 1
    static = _Static(net, settings, config, order)
    kernel = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in taps))
    count = people.rows.shape[0]
    if knobs is None:
        knobs = Knobs(*(jnp.full(1, x, jnp.float32) for x in (config.learning_rate, config.physics_weight)))
    settings_each = knobs.learning_rate.shape[0]
    shares = jax.device_count() if count >= jax.device_count() else 1
    over = devices.mesh(shares)
    samples, kernel = devices.everywhere((fixed.samples, kernel), over)
    each = max(1, (at_once or shares * _lanes(static, people)) // settings_each)  # people in one program
    each = -(-count // -(-count // each))  # as many in each program
    each = -(-each // shares) * shares  # and on each device
    blocks = [np.minimum(np.arange(k, k + each), count - 1) for k in range(0, count, each)]
    chunk, found = min(50, config.steps), []
    frozen = "encoder" not in settings.trainable  # of which then nothing moves, or the last layer alone
    stretches = _stretches(people.rows) if frozen else 0
    for number, block in enumerate(blocks):
        lanes = np.repeat(block, settings_each)
        head_start, units, own, who = _take((params, (fixed.spread, fixed.scale), models, people), lanes)
        cached = None
        if frozen:
            mine = jax.tree.map(lambda x, b=block: x[b], params)
            theirs = devices.split((mine, _covers(people.rows[block], stretches)), over)
            cached = _features(static, settings_each, over, samples, theirs)
        turned = Knobs(*(jnp.tile(x, len(block)) for x in knobs))
        correction = jax.vmap(identity_correction)(own)
        current = {"encoder": head_start["encoder"], "head": head_start["head"], "correction": correction}
        state = jax.vmap(_optimiser(static).init)(current)
        begun = (current, state, head_start["head"], units, own, who, turned)
        current, state, from_head, units, own, who, turned = devices.split(begun, over)
        history = []
        for done in range(0, config.steps, chunk):
            keys = devices.everywhere(jax.random.split(jax.random.fold_in(jax.random.key(0), done), chunk), over)
            current, state, losses = _steps(
                static, keys, current, state, from_head, Fixed(samples, *units), own, who, cached, kernel, turned
            )
            history.append(np.asarray(devices.whole(losses, over)))
            if report:
                report(number * config.steps + done + chunk, len(blocks) * config.steps)
        found.append((devices.whole(current, over), np.array(history)))
    keep = count * settings_each
    joined = jax.tree.map(lambda *x: jnp.concatenate(x)[:keep], *(f[0] for f in found))
    correction = joined.pop("correction")
    return Fitted(joined, correction, np.concatenate([f[1] for f in found], axis=1)[:, :keep])


# of the features and activations of the lanes of one program; twice as much is a third slower on two cores
_PROGRAM_BYTES = 2**29


def _lanes(static: "_Static", people: Person) -> int:
    """How many lanes fit into memory at once."""
    kept = network.trunk_width(static.net) if "features" in static.settings.trainable else static.net.features
    wide = kept + 8 * static.net.hidden + 40
    return max(1, _PROGRAM_BYTES // (4 * static.order * people.rows.shape[1] * wide))


def _take(tree: Any, lanes: np.ndarray) -> Any:
    return jax.tree.map(lambda x: x[lanes], tree)


class _Static(NamedTuple):
    net: network.Network
    settings: Settings
    config: PersonalizeConfig
    order: int


def _optimiser(static: _Static) -> optax.GradientTransformation:
    trainable = static.settings.trainable
    labels: dict[str, Any] = {g: "train" if g in trainable else "frozen" for g in ("encoder", "head", "correction")}
    if "features" in trainable:
        trunk = "recurrence" if static.net.encoder == "gru" else "convolutions"
        labels["encoder"] = {trunk: "frozen", "features": "train"}
    schedule = optax.cosine_decay_schedule(static.config.learning_rate, static.config.steps, 0.1)
    # set_to_zero, not optax.masked: masked would pass the raw gradient through
    return optax.multi_transform({"train": optax.adam(schedule), "frozen": optax.set_to_zero()}, labels)


def stronger(scale: head.OutputScale, correction: Correction) -> head.OutputScale:
    """The output scale of a person whose muscles are stronger or weaker than the model says."""
    return scale._replace(strength=scale.strength * factors(correction)["strength"])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _features(static: _Static, times: int, over: Mesh | None, samples: Samples, theirs: Any) -> Array:
    """Everyone's features, each `times` over, from parameters and stretches of rows."""

    def several(samples: Samples, theirs: Any) -> Array:
        def one(args: tuple[Any, Cover]) -> Array:
            params, cover = args
            last_moves = "features" in static.settings.trainable
            return network.features_of_rows(params, static.net, samples, cover, static.order, trunk_only=last_moves)

        # one person after the other: the windows of all would fill the memory
        return jnp.repeat(jax.lax.map(one, theirs), times, axis=0)

    if over is None:
        return several(samples, theirs)
    own, same = PartitionSpec(devices.SPLIT), PartitionSpec()
    return jax.shard_map(several, mesh=over, in_specs=(same, own), out_specs=own, check_vma=False)(samples, theirs)


def _stretches(rows: Int[Array, "P T"]) -> int:
    """Stretches that the person with the most of them needs."""
    return max(len(windows.cover(r).first) for r in np.asarray(rows))


def _covers(rows: Int[Array, "P T"], most: int) -> Cover:
    """Everyone's rows as stretches, as many for each."""
    found = [windows.cover(r) for r in np.asarray(rows)]
    first = np.stack([np.pad(c.first, (0, most - len(c.first)), mode="edge") for c in found])
    return Cover(jnp.asarray(first), jnp.asarray(np.stack([c.place for c in found])))


def unfrozen(config: PersonalizeConfig) -> tuple[Group, ...]:
    """What of the encoder trains together with the head."""
    chosen: dict[str, tuple[Group, ...]] = {"nothing": (), "features": ("features",), "encoder": ("encoder",)}
    return chosen[config.unfreeze]


def _with(current: dict[str, Any], groups: dict[str, Any]) -> dict[str, Any]:
    """The parameters with some groups replaced."""
    whole = {k: v for k, v in groups.items() if k != "features"}
    if "features" in groups:
        whole["encoder"] = {**current["encoder"], "features": groups["features"]}
    return {**current, **whole}


def objective(
    current: dict[str, Any],
    generic_head: Any,
    static: _Static,
    fixed: Fixed,
    model: MusculoskeletalModel,
    who: Person,
    cached: Float[Array, "J T Z"] | None,
    kernel: weak.Kernel,
    physics_weight: Float[Array, ""] | float | None = None,
) -> Float[Array, ""]:
    """The personalised loss of one person; `physics_weight` stands in for the configuration's."""
    net, config, samples = static.net, static.config, fixed.samples
    if cached is None:
        z = network.features(current, net, samples, who.rows, static.order)
    else:
        z = network.read_out(current, net, cached) if "features" in static.settings.trainable else cached
    around = network.context(net, samples, who.rows, static.order)
    out = network.infer(current, net, z, around, stronger(fixed.scale, current["correction"]))
    angle, force, posture = samples.angle[who.rows], samples.force[who.rows], samples.posture[who.rows]
    total = jnp.zeros(())
    if static.settings.supervision != "none":
        total += config.angle_weight * loss.squared(out.angle[0] - angle, fixed.spread.angle, who.labelled)
    if static.settings.supervision == "angle_force":
        total += config.force_weight * loss.squared(out.force - force, fixed.spread.force, who.labelled)
    if static.settings.physics:
        own = apply_correction(model, current["correction"])
        if config.residual == "weak":
            motion = out.angle[0]
            if config.along == "measured" and static.settings.supervision != "none":
                motion = jnp.where(who.labelled[:, None] > 0, angle, motion)
            residual = weak.weak_residual(own, motion, out.force, posture, kernel)
            counted = who.stretch
        else:
            q, qd, qdd = out.angle[0], out.angle[1], out.angle[2]
            residual = dynamics.residual(own, q, qd, qdd, out.force, posture)
            counted = jnp.ones(who.rows.shape[0], jnp.float32).at[who.stretch.shape[0] :].set(0.0)
            counted = counted * jnp.pad(who.stretch, (0, counted.shape[0] - who.stretch.shape[0]))
        weight = config.physics_weight if physics_weight is None else physics_weight
        total += weight * loss.squared(residual, fixed.spread.torque, counted)
    if who.pull is not None and who.pulled is not None and static.settings.physics:
        total += config.muscle_weight * loss.squared(out.force - who.pull, fixed.spread.force, who.pulled)
    if "correction" in static.settings.trainable:
        total -= config.prior_weight * log_prior(current["correction"])
    if "head" in static.settings.trainable:
        total += config.l2_to_generic * loss.distance(current["head"], generic_head)
    return total


def _drawn(key: Array, who: Person, batch: int) -> Int[Array, " B"]:
    """Where a random batch of a person's labelled rows is."""
    cumulated = jnp.cumsum(who.labelled)
    at = jnp.searchsorted(cumulated, jax.random.uniform(key, (batch,)) * cumulated[-1], side="right")
    return jnp.minimum(at, who.rows.shape[0] - 1)


def _drawn_runs(key: Array, who: Person, batch: int) -> tuple[Int[Array, " B"], Float[Array, " S"]]:
    """Where a random batch of runs of contiguous rows is, and where within it the residual may be taken."""
    length, starts = who.rows.shape[0], who.stretch.shape[0]
    taps = length - starts + 1
    run = min(4 * taps, length)  # so that a kernel's margin is a quarter of the work
    cumulated = jnp.cumsum(who.stretch)
    first = jnp.searchsorted(cumulated, jax.random.uniform(key, (max(1, batch // run),)) * cumulated[-1], side="right")
    at = jnp.minimum(first, length - run)[:, None] + jnp.arange(run)[None]
    fits = (jnp.arange(run) <= run - taps)[None] & (at < starts)
    stretch = jnp.where(fits, who.stretch[jnp.minimum(at, starts - 1)], 0.0)
    return at.reshape(-1), stretch.reshape(-1)[: at.size - taps + 1]


def _batch(key: Array, who: Person, z: Array | None, static: _Static) -> tuple[Person, Array | None]:
    """The rows of one step: everything, or where that is much, a random part."""
    batch = static.config.batch
    if who.rows.shape[0] <= batch:
        return who, z
    at, stretch = _drawn(key, who, batch), jnp.zeros((0,), jnp.float32)
    if static.settings.physics:
        # rows of a run say much the same: the labels are read at random rows, the residual along runs
        runs, begins = _drawn_runs(jax.random.fold_in(key, 1), who, batch)
        at, stretch = jnp.concatenate([runs, at]), jnp.concatenate([begins, jnp.zeros(at.shape, jnp.float32)])
    pull, pulled = (None if x is None else x[at] for x in (who.pull, who.pulled))
    return Person(who.rows[at], who.labelled[at], stretch, pull, pulled), None if z is None else z[:, at]


@partial(jax.jit, static_argnums=0)
def _steps(
    static: _Static,
    keys: Array,
    current: Any,
    state: Any,
    generic_head: Any,
    fixed: Fixed,
    models: MusculoskeletalModel,
    people: Person,
    cached: Array | None,
    kernel: weak.Kernel,
    knobs: Knobs,
) -> Any:
    optimiser = _optimiser(static)

    def one(
        key: Array,
        current: Any,
        state: Any,
        generic_head: Any,
        units: Any,
        model: Any,
        who: Person,
        z: Any,
        own_knobs: Knobs,
    ) -> Any:
        own = Fixed(fixed.samples, *units)
        trainable = {g: current["encoder"][g] if g == "features" else current[g] for g in static.settings.trainable}

        who, z = _batch(key, who, z, static)

        def total(trainable: Any) -> Array:
            return objective(
                _with(current, trainable), generic_head, static, own, model, who, z, kernel, own_knobs.physics_weight
            )

        value, grads = jax.value_and_grad(total)(trainable)
        # what is frozen has no gradient at all, so that its size can never scale anybody's update
        grads = _with(jax.tree.map(jnp.zeros_like, current), grads)
        before = current
        current, state = descend(optimiser, grads, state, current)
        # the optimiser runs at the configuration's rate; Adam's steps are proportional to it
        faster = own_knobs.learning_rate / static.config.learning_rate
        current = jax.tree.map(lambda a, b: jnp.where(faster == 1, b, a + faster * (b - a)), before, current)
        return current, state, value

    def step(carry: Any, key: Array) -> Any:
        current, state = carry
        axes: Any = (None, 0, 0, 0, 0, 0, 0, None if cached is None else 0, 0)
        units = (fixed.spread, fixed.scale)
        everyone: Any = jax.vmap(one, axes)
        current, state, value = everyone(key, current, state, generic_head, units, models, people, cached, knobs)
        return (current, state), value

    (current, state), losses = jax.lax.scan(step, (current, state), keys)
    return current, state, losses[-1]
