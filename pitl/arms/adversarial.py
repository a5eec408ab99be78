"""A low-shot network: tens of labelled samples, a discriminator that knows them, and the law of motion everywhere."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl import loss, physics
from pitl.arms.own import labelled_rows, stretches
from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Task
from pitl.msk import weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net import head, jet, network
from pitl.train import descend
from pitl.windows import Samples

SHOTS = 48  # labelled samples that it sees, of all that there are
_RUN = 10  # residuals along one stretch
_STRETCHES = 8  # in one step
_ADVERSARIAL = 0.1  # weight of what the discriminator says, against a data loss in units of variance
_HIDDEN = 32


class Few(NamedTuple):
    """What one person's network reads."""

    shots: Array  # (SHOTS,) labelled rows
    stretches: Array  # (W, S) contiguous rows, whose labels nobody reads
    model: MusculoskeletalModel
    spread: loss.Spread
    scale: head.OutputScale


def low_shot(task: Task) -> ArmResult:
    """A network of the person's own from tens of labels: adversarial, and bound by the equation of motion.

    Shi et al., "A Physics-Informed Low-Shot Adversarial Learning for sEMG-Based Estimation of Muscle Force and Joint
    Kinematics", IEEE J. Biomed. Health Inform. 2023, doi 10.1109/JBHI.2023.3347672, preprint arXiv 2307.05361.
    Theirs are the adversarial generator, Lagrange's equation within it and the small sample. Reconstruction: the
    discriminator judges envelope, posture and answer together by least squares (Mao et al. 2017, arXiv 1611.04076);
    their policy gradient, which rewards answers that obey physics, is the gradient of the weak residual itself, since
    ours is differentiable; the residual and the discriminator also see EMG without labels.
    """
    prepared, inherited, config = task.prepared, task.inherited, task.config.personalize
    length = len(prepared.taps.average) + _RUN - 1
    longest = max(len(r) for r in task.split.calibration)
    found = []
    for person in range(len(task.split.test)):
        rows = labelled_rows(task, person)
        shots = rows[np.linspace(0, len(rows) - 1, SHOTS).astype(int)]
        along = stretches(task.split.calibration[person], task, length)
        model, spread, scale = jax.tree.map(
            lambda x, p=person: x[p], (prepared.models, inherited.spread, inherited.scale)
        )
        along = along[np.arange(longest) % len(along)]
        few = Few(jnp.asarray(shots, jnp.int32), jnp.asarray(along, jnp.int32), model, spread, scale)
        key = jax.random.fold_in(task.key, person)
        taps = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
        params, _ = _train(
            prepared.net,
            task.supervision == "angle_force",
            2 * config.steps,
            config.learning_rate,
            config.physics_weight,
            key,
            prepared.samples,
            few,
            taps,
        )
        found.append(params)
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = jax.tree.map(lambda *x: jnp.stack(x), *found)
    return ArmResult(predict(prepared, params, inherited.scale, task.split.test))


def discriminator(key: Array, inputs: int) -> dict[str, Any]:
    """Random parameters of a network with one hidden layer and one output."""
    first, last = jax.random.split(key)
    return {"hidden": jet.init_dense(first, inputs, _HIDDEN), "out": jet.init_dense(last, _HIDDEN, 1)}


def judged(judge: Any, context: Float[Array, "B P"], answer: Float[Array, "B A"]) -> Float[Array, " B"]:
    """Near 1 for what was measured, near 0 for what was made up."""
    x = jnp.concatenate([context, answer], axis=-1)
    h = jnp.tanh(jet.dense(judge["hidden"], x))
    return jet.dense(judge["out"], h)[:, 0]


def seen(net: network.Network, samples: Samples, rows: Array) -> Float[Array, "B P"]:
    """What the discriminator is told beside the answer: envelopes now and their rates, and posture."""
    posture = jax.nn.one_hot(samples.posture[rows], net.postures, dtype=jnp.float32)
    return jnp.concatenate([samples.jets[rows, 0], 0.1 * samples.jets[rows, 1], posture], axis=-1)


def answer(angle: Array, force: Array, few: Few, forces: bool) -> Float[Array, "B A"]:
    """Angle, and force where it may be judged, in units of their spread."""
    mean, spread = few.scale.angle_mean, few.spread.angle
    said = (angle - jnp.broadcast_to(mean, angle.shape)) / jnp.broadcast_to(spread, angle.shape)
    if not forces:
        return said
    return jnp.concatenate([said, force / jnp.broadcast_to(few.spread.force, force.shape)], axis=-1)


def generator_terms(
    params: Any,
    judge: Any,
    net: network.Network,
    samples: Samples,
    few: Few,
    along: Array,
    taps: weak.Kernel,
    forces: bool,
) -> tuple[Array, Array, Array]:
    """Data, residual and adversarial terms of the generator's loss."""
    at_shots = network.outputs(params, net, samples, few.shots, few.scale)
    ones = jnp.ones(few.shots.shape, jnp.float32)
    data = loss.squared(at_shots.angle[0] - samples.angle[few.shots], few.spread.angle, ones)
    if forces:
        data += loss.squared(at_shots.force - samples.force[few.shots], few.spread.force, ones)
    out = network.outputs(params, net, samples, along, few.scale, contiguous=True)
    one = jax.tree.map(lambda x: x[None], few.model)
    nobody = jnp.zeros(along.shape[0], jnp.int32)
    residual = physics.weak_stretches(one, nobody, out, samples.posture[along], taps)
    law = loss.squared(residual, few.spread.torque, jnp.ones(residual.shape[:-1], jnp.float32))
    middle = along[:, along.shape[1] // 2]
    made = answer(out.angle[0][:, along.shape[1] // 2], out.force[:, along.shape[1] // 2], few, forces)
    fooled = jnp.mean((judged(judge, seen(net, samples, middle), made) - 1.0) ** 2)
    return data, law, fooled


def discriminator_loss(
    judge: Any, params: Any, net: network.Network, samples: Samples, few: Few, along: Array, forces: bool, key: Array
) -> Array:
    """Least squares: measured samples are 1, made-up ones 0; both with noise, since tens of samples are soon known."""
    middle = along[:, along.shape[1] // 2]
    out = network.outputs(params, net, samples, middle, few.scale)
    made = answer(out.angle[0], out.force, few, forces)
    real = answer(samples.angle[few.shots], samples.force[few.shots], few, forces)
    of_real, of_made = jax.random.split(key)
    real += 0.2 * jax.random.normal(of_real, real.shape)
    made += 0.2 * jax.random.normal(of_made, made.shape)
    told = judged(judge, seen(net, samples, few.shots), real)
    guessed = judged(judge, seen(net, samples, middle), made)
    return jnp.mean((told - 1.0) ** 2) + jnp.mean(guessed**2)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _train(
    net: network.Network,
    forces: bool,
    steps: int,
    rate: float,
    physics_weight: float,
    key: Array,
    samples: Samples,
    few: Few,
    taps: weak.Kernel,
) -> tuple[Any, Array]:
    of_net, of_judge, of_steps = jax.random.split(key, 3)
    params = network.init(of_net, net, few.scale)
    outputs = few.spread.angle.shape[0] + (few.spread.force.shape[0] if forces else 0)
    judge = discriminator(of_judge, 2 * net.inputs + net.postures + outputs)
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps, 0.1))

    def step(carry: Any, key: Array) -> Any:
        params, judge, state, judging = carry
        of_rows, of_noise = jax.random.split(key)
        along = few.stretches[jax.random.randint(of_rows, (_STRETCHES,), 0, few.stretches.shape[0])]

        def total(params: Any) -> Array:
            data, law, fooled = generator_terms(params, judge, net, samples, few, along, taps, forces)
            return data + physics_weight * law + _ADVERSARIAL * fooled

        value, grads = jax.value_and_grad(total)(params)
        against = jax.grad(discriminator_loss)(judge, params, net, samples, few, along, forces, of_noise)
        params, state = descend(optimiser, grads, state, params)
        judge, judging = descend(optimiser, against, judging, judge)
        return (params, judge, state, judging), value

    begun = (params, judge, optimiser.init(params), optimiser.init(judge))
    (params, *_), losses = jax.lax.scan(step, begun, jax.random.split(of_steps, steps))
    return params, losses
