"""Supervised domain adaptation: one network for the source people and the target, with features that look alike."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pitl import loss, windows
from pitl.arms.own import labelled_rows
from pitl.arms.predict import predict
from pitl.arms.task import ArmResult, Task
from pitl.net import head, network
from pitl.train import descend
from pitl.windows import Samples

_MOST = 128  # rows of the target, and as many of the source people, in one step
_DISCREPANCY = 0.3  # weight, against a data loss in units of variance


class Domains(NamedTuple):
    """What one person's adaptation reads."""

    source: Array  # (S,) rows of the source people
    target: Array  # (T,) labelled calibration rows
    spread: loss.Spread
    scale: head.OutputScale


def domain_adaptation(task: Task) -> ArmResult:
    """Everything trains, from the generic model, on source and target rows together, until the features look alike.

    Bao, Zaidi, Xie, Yang, Zhang, "Inter-Subject Domain Adaptation for CNN-Based Wrist Kinematics Estimation Using
    sEMG", IEEE Trans. Neural Syst. Rehabil. Eng. 29:1068-1078, 2021, doi 10.1109/TNSRE.2021.3086401. Theirs are the
    two streams with shared weights, the regression losses of both and the loss of discrepancy between their features.
    Reconstruction: the discrepancy is the maximum mean discrepancy under a sum of Gaussian kernels (Long et al. 2015,
    arXiv 1502.02791) of the encoder's output; weights, batch and layers are ours.
    """
    prepared, inherited = task.prepared, task.inherited
    forces, steps = task.supervision == "angle_force", task.config.personalize.steps
    found = []
    for person in range(len(task.split.test)):
        source = windows.rows_of(prepared.table, "all", subjects=task.sources(person), window=prepared.net.window)
        rng = np.random.default_rng([person, *np.asarray(jax.random.key_data(task.key)).astype(np.uint64).tolist()])
        # as many for everybody, so that everybody runs through one compiled function
        rows = (rng.choice(source, _SOURCE_ROWS), _filled(labelled_rows(task, person), task))
        spread, scale = jax.tree.map(lambda x, p=person: x[p], (inherited.spread, inherited.scale))
        domains = Domains(jnp.asarray(rows[0], jnp.int32), jnp.asarray(rows[1], jnp.int32), spread, scale)
        params = jax.tree.map(lambda x, p=person: x[p], inherited.data)
        key = jax.random.fold_in(task.key, person)
        rate = task.config.train.learning_rate
        found.append(_adapt(prepared.net, forces, steps, rate, key, params, prepared.samples, domains)[0])
        if task.report:
            task.report(person + 1, len(task.split.test))
    params = jax.tree.map(lambda *x: jnp.stack(x), *found)
    return ArmResult(predict(prepared, params, inherited.scale, task.split.test))


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
        ones = jnp.ones(rows.shape, jnp.float32)
        total += loss.squared(out.angle[0] - samples.angle[rows], domains.spread.angle, ones)
        if with_forces:
            total += loss.squared(out.force - samples.force[rows], domains.spread.force, ones)
        features.append(z[0])
    return total + weight * discrepancy(*features)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _adapt(
    net: network.Network,
    forces: bool,
    steps: int,
    rate: float,
    key: Array,
    params: Any,
    samples: Samples,
    domains: Domains,
) -> tuple[Any, Array]:
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps, 0.1))

    def step(carry: Any, key: Array) -> Any:
        params, state = carry
        of_source, of_target = jax.random.split(key)
        source = domains.source[jax.random.randint(of_source, (_MOST,), 0, domains.source.shape[0])]
        target = domains.target[jax.random.randint(of_target, (_MOST,), 0, domains.target.shape[0])]
        value, grads = jax.value_and_grad(objective)(params, net, samples, domains, source, target, forces)
        return descend(optimiser, grads, state, params), value

    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key, steps))
    return params, losses
