"""The problem that the speed of training is measured on: wrists that move, an envelope with exact derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from pitl.learn import loss, units
from pitl.mechanics.planar import builtin
from pitl.mechanics.scaling import scale_to_body
from pitl.net.head import OutputScale
from pitl.net.network import Network
from pitl.signals.samples import Samples

# 424 k parameters: large enough that matrix products are most of the work
LARGE = Network(
    inputs=5, postures=2, window=50, rate_hz=100.0, channels=(64, 128), kernels=(5, 5), strides=(2, 2), features=256,
    hidden=200,
)  # fmt: skip
# what `pitl run` trains unless told otherwise: 17 k parameters
DEFAULT = Network(inputs=5, postures=2, window=40, rate_hz=100.0)


def recordings(net: Network, rows: int, subjects: int, seed: int = 0) -> Samples:
    """Envelopes that are sums of sines, so that their derivatives are exact, and smooth labels."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows) / net.rate_hz  # s
    w = 2 * np.pi * rng.uniform(0.3, 1.2, net.inputs)  # 1/s
    x = np.outer(t, w) + rng.uniform(0, 2 * np.pi, net.inputs)
    jets = np.stack([0.5 + 0.4 * np.sin(x), 0.4 * w * np.cos(x), -0.4 * w**2 * np.sin(x)], axis=1)
    angle = 0.4 * (np.sin(x[:, :1]) + np.sin(x[:, 1:2] + 0.3))  # rad
    force = 40.0 * (1.0 + np.sin(x @ rng.normal(size=(net.inputs, 5)) * 0.3))  # N
    f = jnp.float32
    return Samples(
        jnp.asarray(jets, f),
        jnp.asarray(angle, f),
        jnp.asarray(force, f),
        jnp.zeros((rows, 1), f),
        jnp.asarray((np.arange(rows) // 1000) % net.postures, jnp.int32),
        jnp.asarray(np.arange(rows) * subjects // rows, jnp.int32),
        jnp.asarray(t, f),
    )


def training(net: Network, rows: int = 20_000, subjects: int = 8) -> loss.Problem:
    """Several people of different sizes, in one recording each."""
    base = builtin("wrist")
    people = [scale_to_body(base, 1.55 + 0.04 * s, 55.0 + 4.0 * s) for s in range(subjects)]
    limbs = jax.tree.map(lambda *x: jnp.stack(x), *people)
    samples = recordings(net, rows, subjects)
    strength = jnp.asarray(base.max_isometric_force, jnp.float32)
    spread = units.Spread(jnp.array([0.4]), jnp.full(5, 25.0), jnp.array([0.5]))
    scale = OutputScale(jnp.zeros(1), jnp.array([0.4]), strength, jnp.full(5, 40.0))
    return loss.Problem(samples, limbs, spread, scale, loss.LossTerms(*(jnp.float32(w) for w in (1.0, 1.0, 0.1))))


def step_flop(net: Network, batch: int, order: int, encoder_trains: bool = True) -> float:
    """Arithmetic of the matrix products of one step, forwards and backwards; everything else is not counted.

    Args:
        net: the network.
        batch: windows.
        order: 3 with velocity and acceleration, 1 without.
        encoder_trains: False where its features are kept.
    """
    length, width, encoder = net.window, net.inputs, []
    for filters, taps, stride in zip(net.channels, net.kernels, net.strides, strict=True):
        length = (length - taps) // stride + 1
        encoder.append(length * taps * width * filters)
        width = filters
    encoder.append(length * width * net.features)
    head = [(net.features + net.context) * net.hidden, 6 * net.hidden]
    layers = [*encoder, *head] if encoder_trains else head
    # forwards, weights' gradient, inputs' gradient; the first layer's input needs none
    return 2.0 * order * batch * (3 * sum(layers) - layers[0])
