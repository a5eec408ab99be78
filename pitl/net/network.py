"""The whole network on rows of a cohort: which derivative recipe, which inputs, encoder then head.

Three recipes for the time derivatives of the predicted angle:

- `total`: exact second-order jets along the recording, dq/dt = (df/dx) x'(t). The method.
- `time_input`: a time stamp is an extra input and the derivative is taken with respect to it alone. What
  published physics-informed networks do; it loses the part that EMG drives. An ablation.
- `finite_difference`: central differences of neighbouring outputs. An ablation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.net import encoder, head, jet
from pitl.net.encoder import Kind
from pitl.signals.samples import COVER, Cover, Samples, gather, neighbours

Derivative = Literal["total", "time_input", "finite_difference"]
Parameters = Mapping[str, Any]
# Time stamps enter the time-input ablation in units of this many seconds, the length of a movement cycle.
TIME_UNIT_S = 2.0


@dataclass(frozen=True)
class Network:
    """What is fixed before training: shapes and recipe, hashable, a static argument of compiled functions."""

    inputs: int  # EMG channels
    postures: int
    window: int  # samples
    rate_hz: float
    channels: tuple[int, ...] = (16, 32)
    kernels: tuple[int, ...] = (5, 5)
    strides: tuple[int, ...] = (2, 2)
    features: int = 48
    hidden: int = 48
    activation: jet.Activation = "tanh"
    derivative: Derivative = "total"
    compression: float = 0.0  # normalised envelope above which the input is a logarithm; 0 is off
    encoder: Kind = "cnn"
    recurrent_state: int = 32  # numbers that the recurrent encoder remembers
    recurrent_stride: int = 2  # samples
    nonnegative: bool = True  # forces

    @property
    def context(self) -> int:
        """Width of the head's context input."""
        return self.postures + (self.derivative == "time_input")


@partial(jax.jit, static_argnums=1)
def init(key: Array, net: Network, scale: head.OutputScale) -> dict[str, Any]:
    """Random parameters, `{"encoder": ..., "head": ...}`."""
    k_encoder, k_head = jax.random.split(key)
    if net.encoder == "gru":
        own = encoder.init_recurrent(k_encoder, inputs=net.inputs, state=net.recurrent_state, features=net.features)
    else:
        own = encoder.init(
            k_encoder,
            inputs=net.inputs,
            window=net.window,
            channels=net.channels,
            kernels=net.kernels,
            strides=net.strides,
            features=net.features,
        )
    return {
        "encoder": own,
        "head": head.init(
            k_head,
            features=net.features,
            hidden=net.hidden,
            context=net.context,
            scale=scale,
            nonnegative=net.nonnegative,
        ),
    }


def encode(params: Parameters, net: Network, windows: Float[Array, "J ... L C"]) -> Float[Array, "J ... Z"]:
    """Features of windows of normalised envelopes, with their time derivatives if the windows have theirs (J = 3)."""
    return read_out(params, net, encoder.trunk(params["encoder"], _compressed(net, windows), **_recipe(net)))


def read_out(params: Parameters, net: Network, result: Float[Array, "J ... K"]) -> Float[Array, "J ... Z"]:
    """Features from what the encoder's trunk says: its last layer, which may be personalised while the trunk is not."""
    return encoder.last_layer(params["encoder"], result, activation=net.activation)


def infer(
    params: Parameters,
    net: Network,
    z: Float[Array, "J ... Z"],
    around: Float[Array, "J ... P"],
    scale: head.OutputScale,
) -> head.Output:
    """Angles and forces from features and context."""
    return head.infer(params["head"], z, around, scale, activation=net.activation, nonnegative=net.nonnegative)


def _compressed(net: Network, windows: Float[Array, "J ..."]) -> Float[Array, "J ..."]:
    """The encoder's input: loud and quiet EMG differ by a factor of fifty, of which a logarithm makes a difference."""
    return jet.pointwise(jet.compress(net.compression), windows) if net.compression > 0 else windows


def _recipe(net: Network) -> dict[str, Any]:
    return {"strides": net.strides, "activation": net.activation, "recurrent_stride": net.recurrent_stride}


def trunk_width(net: Network) -> int:
    """Numbers that the encoder's trunk hands to its last layer."""
    if net.encoder == "gru":
        return net.recurrent_state
    length = net.window
    for taps, stride in zip(net.kernels, net.strides, strict=True):
        length = (length - taps) // stride + 1
    return length * net.channels[-1]


def trunk(
    params: Parameters,
    net: Network,
    samples: Samples,
    ends: Int[Array, "*B"],
    order: int,
    gain: Float[Array, "*B C"] | None = None,
    *,
    contiguous: bool = False,
) -> Float[Array, "J *B K"]:
    """What the encoder's trunk says of the windows that end at the given rows; arguments as of `features`."""
    if contiguous:
        windows = gather(samples.jets, ends[..., -1], net.window + ends.shape[-1] - 1, order)
        gain = None if gain is None else gain[..., 0, :]
    else:
        windows = gather(samples.jets, ends, net.window, order)
    if gain is not None:
        windows = windows * jnp.broadcast_to(gain[..., None, :], windows.shape)
    if net.derivative == "time_input" and order > 1:
        windows = jnp.concatenate([windows[:1], jnp.zeros_like(windows[1:])])
    windows = _compressed(net, windows)
    if contiguous:
        return encoder.trunk_along(params["encoder"], windows, net.window, **_recipe(net))
    return encoder.trunk(params["encoder"], windows, **_recipe(net))


def features(
    params: Parameters,
    net: Network,
    samples: Samples,
    ends: Int[Array, "*B"],
    order: int,
    gain: Float[Array, "*B C"] | None = None,
    *,
    contiguous: bool = False,
) -> Float[Array, "J *B Z"]:
    """Encoder features of the windows that end at the given rows, with `order` - 1 time derivatives.

    Args:
        params: of the network.
        net: the network.
        samples: the cohort.
        ends: rows.
        order: 1, or 3 with velocity and acceleration.
        gain: multiplies the channels, for augmentation; derivatives scale with it.
        contiguous: the last axis of `ends` counts up by one and `gain` is the same along it, so that neighbouring
            windows may share their convolutions.
    """
    return read_out(params, net, trunk(params, net, samples, ends, order, gain, contiguous=contiguous))


def features_along(
    params: Parameters, net: Network, samples: Samples, first: Int[Array, " G"], order: int, *, trunk_only: bool = False
) -> Float[Array, "J G S Z"]:
    """Features, or what the trunk says, of segments of `COVER` contiguous rows, each convolution once per sample."""

    def segment(first: Array) -> Array:
        result = trunk(params, net, samples, neighbours(first, 0, COVER), order, contiguous=True)
        return result if trunk_only else read_out(params, net, result)

    # a processor works through segments that stay in its caches; all at once took twice as long
    together = None if jax.default_backend() == "cpu" else 64
    return jnp.moveaxis(jax.lax.map(segment, first, batch_size=together), 0, 1)


def features_of_rows(
    params: Parameters, net: Network, samples: Samples, cover: Cover, order: int, *, trunk_only: bool = False
) -> Float[Array, "J W Z"]:
    """Features, or what the trunk says, at rows that lie in segments (see `pitl.signals.windows.cover`)."""
    result = features_along(params, net, samples, cover.first, order, trunk_only=trunk_only)
    return result.reshape(order, -1, result.shape[-1])[:, cover.place]


def context(net: Network, samples: Samples, ends: Int[Array, "*B"], order: int) -> Float[Array, "J *B P"]:
    """The head's context input: posture, one hot, and in the time-input ablation the time stamp."""
    value = jax.nn.one_hot(samples.posture[ends], net.postures, dtype=jnp.float32)
    rate = jnp.zeros_like(value)
    if net.derivative == "time_input":
        stamp = samples.time[ends][..., None] / TIME_UNIT_S
        value = jnp.concatenate([value, stamp], axis=-1)
        rate = jnp.concatenate([rate, jnp.full_like(stamp, 1.0 / TIME_UNIT_S)], axis=-1)
    return jnp.stack([value, rate, jnp.zeros_like(value)][:order])


def outputs(
    params: Parameters,
    net: Network,
    samples: Samples,
    ends: Int[Array, "*B"],
    scale: head.OutputScale,
    *,
    order: int = 1,
    gain: Float[Array, "*B C"] | None = None,
    contiguous: bool = False,
) -> head.Output:
    """Angles (with `order` - 1 derivatives by the network's recipe) and forces at the given rows.

    Finite differences read the neighbouring rows, so `ends` must not touch the edge of a trial.
    `contiguous` as in `features`.
    """
    if net.derivative == "finite_difference" and order > 1:
        triple = neighbours(ends, -1, 2)
        wide = None if gain is None else jnp.broadcast_to(gain[..., None, :], (*triple.shape, gain.shape[-1]))
        at = outputs(params, net, samples, triple, scale, gain=wide, contiguous=True)
        before, now, after = at.angle[0, ..., 0, :], at.angle[0, ..., 1, :], at.angle[0, ..., 2, :]
        rate = (after - before) * (0.5 * net.rate_hz)  # rad/s
        acceleration = (after - 2.0 * now + before) * net.rate_hz**2  # rad/s2
        return head.Output(jnp.stack([now, rate, acceleration]), at.force[..., 1, :])
    z = features(params, net, samples, ends, order, gain, contiguous=contiguous)
    return infer(params, net, z, context(net, samples, ends, order), scale)


def acceleration_by_grad(
    params: Parameters,
    net: Network,
    samples: Samples,
    end: Int[Array, ""],
    scale: head.OutputScale,
    coordinate: int = 0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Rate [rad/s] and acceleration [rad/s2] of a predicted angle by their definition: `jax.grad` along the recording.

    Near a row the envelope moves as x(t) = x + x' t + x'' t^2 / 2, and q(t) = f(x(t)) is a function of time alone. What
    `outputs` says with `order=3` is its fast equal for the recipe `"total"`; tests hold the two together.

    Args:
        params: of the network.
        net: the network, of the recipe `"total"`.
        samples: with envelopes and their derivatives.
        end: row at which the window ends.
        scale: of the outputs.
        coordinate: which of the angles.
    """

    def angle(time: Float[Array, ""]) -> Float[Array, ""]:
        value, rate, acceleration = samples.jets[:, 0], samples.jets[:, 1], samples.jets[:, 2]
        moved = samples.jets.at[:, 0].set(value + time * rate + 0.5 * time * time * acceleration)
        return outputs(params, net, samples._replace(jets=moved), end, scale).angle[0, coordinate]

    rate = jax.grad(angle)
    now = jnp.zeros(())
    return rate(now), jax.grad(rate)(now)
