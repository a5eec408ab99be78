"""Supervised domain adaptation: one network for the source people and the target, with features that look alike."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl.comparison.siblings.own import labelled_rows
from pitl.comparison.task import MethodResult, Task
from pitl.learn import loss, optimise, stacked, units
from pitl.learn.predict import predict_rows
from pitl.net import head, network
from pitl.signals import windows
from pitl.signals.samples import Samples

_MOST = 128  # rows of the target, and as many of the source people, in one step
_DISCREPANCY = 0.3  # weight, against a data loss in units of variance


class Domains(NamedTuple):
    """What one person's adaptation reads."""

    source: Array  # (S,) rows of the source people
    target: Array  # (T,) labelled calibration rows
    spread: units.Spread
    scale: head.OutputScale


def domain_adaptation(task: Task) -> MethodResult:
    """Everything trains, from the generic model, on source and target rows together, until the features look alike.

    Bao, Zaidi, Xie, Yang, Zhang, "Inter-Subject Domain Adaptation for CNN-Based Wrist Kinematics Estimation Using
    sEMG", IEEE Trans. Neural Syst. Rehabil. Eng. 29:1068-1078, 2021, doi 10.1109/TNSRE.2021.3086401. Theirs are the
    two streams with shared weights, the regression losses of both and the loss of discrepancy between their features.
    Reconstruction: the discrepancy is the maximum mean discrepancy under a sum of Gaussian kernels (Long et al. 2015,
    arXiv 1502.02791) of the encoder's output; weights, batch and layers are ours.
    """
    prepared, generic = task.prepared, task.generic.physics
    forces, steps = task.supervision == "angle_force", task.config.personalize.steps
    learner = AdaptationLearner(prepared.net, forces, steps, task.config.train.learning_rate)
    result = []
    for person in range(len(task.split.test)):
        source = windows.rows_of(prepared.table, "all", subjects=task.sources(person), window=prepared.net.window)
        rng = np.random.default_rng([person, *np.asarray(jax.random.key_data(task.key)).astype(np.uint64).tolist()])
        # as many for everybody, so that everybody runs through one compiled function
        rows = (rng.choice(source, _SOURCE_ROWS), _filled(labelled_rows(task, person), task))
        spread, scale = stacked.take((generic.spread, generic.scale), person)
        domains = Domains(jnp.asarray(rows[0], jnp.int32), jnp.asarray(rows[1], jnp.int32), spread, scale)
        params = stacked.take(task.generic.data.params, person)
        keys = jax.random.split(jax.random.fold_in(task.key, person), steps)
        state, _ = optimise.run(learner, optimise.begin(learner, params), (prepared.samples, domains), keys)
        result.append(state.params)
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = stacked.stack(result)
    return MethodResult(predict_rows(generic.replace(params=params), prepared.samples, task.split.test))


_SOURCE_ROWS = 8192


def _filled(rows: np.ndarray, task: Task) -> np.ndarray:
    """Rows repeated to a common length; drawn evenly, repetition changes little."""
    longest = max(int(m.sum()) for m in task.split.labelled)
    return np.resize(rows, longest)


def discrepancy(a: Float[Array, "A Z"], b: Float[Array, "B Z"]) -> Float[Array, ""]:
    """Squared maximum mean discrepancy of two samples, zero for equal ones.

    Kernels are Gaussian with widths around the mean squared distance of all pairs, which is not differentiated.
    """

    def apart(x: Array, y: Array) -> Array:
        return jnp.sum((x[:, None] - y[None, :]) ** 2, axis=-1)

    pairs = (apart(a, a), apart(b, b), apart(a, b))
    width = jax.lax.stop_gradient(sum(jnp.mean(p) for p in pairs) / 3) + 1e-9
    kernels = [sum(jnp.mean(jnp.exp(-p / (s * width))) for s in (0.25, 1.0, 4.0)) for p in pairs]
    return jnp.asarray(kernels[0] + kernels[1] - 2 * kernels[2]) / 3


def objective(
    params: Any,
    net: network.Network,
    samples: Samples,
    domains: Domains,
    source: Array,
    target: Array,
    forces: bool,
    weight: float = _DISCREPANCY,
) -> Float[Array, ""]:
    """Regression losses of both streams, and how unlike their features are.

    Args:
        params: of the network, shared by both streams.
        net: the network.
        samples: the cohort.
        domains: units.
        source: (B,) rows.
        target: (B,) rows.
        forces: whether the target's force labels may be used; the source people's always may.
        weight: of the discrepancy.
    """
    total, features = jnp.zeros(()), []
    for rows, with_forces in ((source, True), (target, forces)):
        z = network.features(params, net, samples, rows, 1)
        out = head.infer(
            params["head"], z, network.context(net, samples, rows, 1), domains.scale, activation=net.activation
        )
        angle, force = loss.data_terms(out.angle[0], out.force, samples, rows, domains.spread)
        total += angle + force if with_forces else angle
        features.append(z[0])
    return total + weight * discrepancy(*features)


@dataclass(frozen=True)
class AdaptationLearner(optimise.Everything):
    """What is fixed before a step is compiled (see `pitl.learn.optimise.Learner`)."""

    net: network.Network
    forces: bool
    steps: int
    rate: float

    def optimiser(self) -> optax.GradientTransformation:
        """Adam, with a rate that falls along a cosine."""
        return optimise.adam(self.rate, self.steps)

    def objective(self, params: Any, batch: Any, extra: None) -> tuple[Float[Array, ""], tuple[None, None]]:
        """See `objective`, on rows drawn at random."""
        (samples, domains), key = batch
        of_source, of_target = jax.random.split(key)
        source = domains.source[jax.random.randint(of_source, (_MOST,), 0, domains.source.shape[0])]
        target = domains.target[jax.random.randint(of_target, (_MOST,), 0, domains.target.shape[0])]
        return objective(params, self.net, samples, domains, source, target, self.forces), (None, None)
