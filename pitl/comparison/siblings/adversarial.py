"""A low-shot network: tens of labelled samples, a discriminator of them, the equation of motion everywhere."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl.comparison.siblings.own import labelled_rows
from pitl.comparison.task import MethodResult, Task
from pitl.learn import loss, optimise, physics, stacked, units
from pitl.learn.alone import segments
from pitl.learn.predict import predict_rows
from pitl.mechanics import weak
from pitl.mechanics.model import MusculoskeletalModel
from pitl.net import head, jet, network
from pitl.signals.samples import Samples

SHOTS = 48  # labelled samples that it sees, of all that there are
_RUN = 10  # residuals along one segment
_SEGMENTS = 8  # in one step
_ADVERSARIAL = 0.1  # weight of what the discriminator says, against a data loss in units of variance
_HIDDEN = 32


class Few(NamedTuple):
    """What one person's network reads."""

    shots: Array  # (SHOTS,) labelled rows
    segments: Array  # (W, S) contiguous rows, whose labels nobody reads
    model: MusculoskeletalModel
    spread: units.Spread
    scale: head.OutputScale


def low_shot(task: Task) -> MethodResult:
    """A network of the person's own from tens of labels: adversarial, and bound by the equation of motion.

    Shi et al., "A Physics-Informed Low-Shot Adversarial Learning for sEMG-Based Estimation of Muscle Force and Joint
    Kinematics", IEEE J. Biomed. Health Inform. 2023, doi 10.1109/JBHI.2023.3347672, preprint arXiv 2307.05361.
    Theirs are the adversarial generator, Lagrange's equation within it and the small sample. Reconstruction: the
    discriminator judges envelope, posture and answer together by least squares (Mao et al. 2017, arXiv 1611.04076);
    their policy gradient, which rewards answers that obey physics, is the gradient of the weak residual itself, since
    ours is differentiable; the residual and the discriminator also see EMG without labels.
    """
    prepared, generic, config = task.prepared, task.generic.physics, task.config.personalize
    length = len(prepared.taps.average) + _RUN - 1
    longest = max(len(r) for r in task.split.calibration)
    learner = LowShotLearner(
        prepared.net,
        task.supervision == "angle_force",
        2 * config.steps,
        config.learning_rate,
        config.physics_weight,
    )
    result = []
    for person in range(len(task.split.test)):
        rows = labelled_rows(task, person)
        shots = rows[np.linspace(0, len(rows) - 1, SHOTS).astype(int)]
        along = segments(prepared, task.split.calibration[person], length)
        model, spread, scale = stacked.take((prepared.limbs, generic.spread, generic.scale), person)
        along = along[np.arange(longest) % len(along)]
        few = Few(jnp.asarray(shots, jnp.int32), jnp.asarray(along, jnp.int32), model, spread, scale)
        key = jax.random.fold_in(task.key, person)
        taps = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
        begun, of_steps = jax.random.split(key)
        keys = jax.random.split(of_steps, learner.steps)
        state, _ = optimise.run(learner, learner.begin(begun, few), (prepared.samples, few, taps), keys)
        result.append(state.params)
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = stacked.stack(result)
    return MethodResult(predict_rows(generic.replace(params=params), prepared.samples, task.split.test))


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
    predicted = (angle - jnp.broadcast_to(mean, angle.shape)) / jnp.broadcast_to(spread, angle.shape)
    if not forces:
        return predicted
    return jnp.concatenate([predicted, force / jnp.broadcast_to(few.spread.force, force.shape)], axis=-1)


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
    angle, force = loss.data_terms(at_shots.angle[0], at_shots.force, samples, few.shots, few.spread)
    data = angle + force if forces else angle
    out = network.outputs(params, net, samples, along, few.scale, contiguous=True)
    one = stacked.take(few.model, None)
    nobody = jnp.zeros(along.shape[0], jnp.int32)
    residual = physics.weak_segments(one, nobody, out, samples.posture[along], taps)
    law = loss.physics_term(residual, few.spread)
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


@dataclass(frozen=True)
class LowShotLearner(optimise.Everything):
    """What is fixed before a step is compiled (see `pitl.learn.optimise.Learner`); it carries the discriminator."""

    net: network.Network
    forces: bool
    steps: int
    rate: float
    physics_weight: float

    def optimiser(self) -> optax.GradientTransformation:
        """Adam, with a rate that falls along a cosine."""
        return optimise.adam(self.rate, self.steps)

    def begin(self, key: Array, few: Few) -> optimise.State:
        """Generator and discriminator before the first step."""
        of_net, of_judge = jax.random.split(key)
        outputs = few.spread.angle.shape[0] + (few.spread.force.shape[0] if self.forces else 0)
        judge = discriminator(of_judge, 2 * self.net.inputs + self.net.postures + outputs)
        params = network.init(of_net, self.net, few.scale)
        return optimise.begin(self, params, (judge, self.optimiser().init(judge)))

    def objective(self, params: Any, batch: Any, extra: Any) -> tuple[Float[Array, ""], tuple[Any, None]]:
        """The generator's loss; the discriminator takes its own step on the same rows."""
        (samples, few, taps), key = batch
        judge, judging = extra
        of_rows, of_noise = jax.random.split(key)
        along = few.segments[jax.random.randint(of_rows, (_SEGMENTS,), 0, few.segments.shape[0])]
        data, residual, fooled = generator_terms(params, judge, self.net, samples, few, along, taps, self.forces)
        still = jax.lax.stop_gradient(params)
        against = jax.grad(discriminator_loss)(judge, still, self.net, samples, few, along, self.forces, of_noise)
        judge, judging = optimise.descend(self.optimiser(), against, judging, judge)
        total = data + self.physics_weight * residual + _ADVERSARIAL * fooled
        return total, (jax.lax.stop_gradient((judge, judging)), None)
