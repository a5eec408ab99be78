"""The encoder: a window of the normalised envelope in, features out, through convolutions or a recurrent unit.

An encoder is a trunk and, after it, one dense layer, `features`, which may be personalised while the trunk is not.

A strided convolution is written as a gather of shifted slices and one matrix product. It gives the same
numbers as `lax.conv`, runs several times faster inside a compiled loop on a CPU, and under `vmap` over
parameters becomes a batched matrix product instead of a grouped convolution.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pitl.net import gru, jet

Encoder = Mapping[str, Any]  # {"convolutions" or "recurrence": the trunk, "features": a dense layer}
Kind = Literal["cnn", "gru"]


def init(
    key: Array,
    *,
    inputs: int,
    window: int,
    channels: Sequence[int] = (16, 32),
    kernels: Sequence[int] = (5, 5),
    strides: Sequence[int] = (2, 2),
    features: int = 48,
) -> dict[str, Any]:
    """Random parameters of a convolutional encoder.

    Args:
        inputs: EMG channels.
        window: samples in the window, L.
        channels: filters of each convolution.
        kernels: taps of each convolution.
        strides: step of each convolution.
        features: width of the output.

    Raises:
        ValueError: if the window is too short for the convolutions.
    """
    keys = jax.random.split(key, len(channels) + 1)
    layers, length, width = {}, window, inputs
    for n, (filters, taps, stride) in enumerate(zip(channels, kernels, strides, strict=True)):
        length = (length - taps) // stride + 1
        if length < 1:
            raise ValueError(f"a window of {window} samples is too short for kernels {kernels} and strides {strides}")
        layer = jet.init_dense(keys[n], taps * width, filters)
        layers[str(n)] = {"w": layer["w"].reshape(taps, width, filters), "b": layer["b"]}
        width = filters
    return {"convolutions": layers, "features": jet.init_dense(keys[-1], length * width, features)}


def convolve(layer: Mapping[str, Array], h: Float[Array, "J ... L I"], stride: int) -> Float[Array, "J ... S O"]:
    """A strided convolution without padding, `{"w": (taps, I, O), "b": (O,)}`."""
    taps, inputs, filters = layer["w"].shape
    steps = (h.shape[-2] - taps) // stride + 1
    shifted = [h[..., k : k + (steps - 1) * stride + 1 : stride, :] for k in range(taps)]
    patches = jnp.concatenate(shifted, axis=-1)  # (J, ..., S, taps * I)
    return jet.dense({"w": layer["w"].reshape(taps * inputs, filters), "b": layer["b"]}, patches)


def init_recurrent(key: Array, *, inputs: int, state: int = 32, features: int = 48) -> dict[str, Any]:
    """Random parameters of a recurrent encoder.

    Args:
        inputs: EMG channels.
        state: numbers that the unit remembers.
        features: width of the output.
    """
    k_unit, k_features = jax.random.split(key)
    return {
        "recurrence": gru.init(k_unit, inputs=inputs, state=state),
        "features": jet.init_dense(k_features, state, features),
    }


def trunk(
    encoder: Encoder,
    windows: Float[Array, "J ... L C"],
    *,
    strides: Sequence[int] = (2, 2),
    activation: jet.Activation = "tanh",
    recurrent_stride: int = 1,
) -> Float[Array, "J ... K"]:
    """What of windows reaches the last layer, with its time derivatives if the windows come with theirs (J = 3)."""
    if "recurrence" in encoder:
        return gru.read(encoder["recurrence"], windows, stride=recurrent_stride)
    f = jet.ACTIVATIONS[activation]
    h = windows
    for n, stride in enumerate(strides):
        h = jet.pointwise(f, convolve(encoder["convolutions"][str(n)], h, stride))
    return h.reshape(*h.shape[:-2], -1)


def trunk_along(
    encoder: Encoder,
    recording: Float[Array, "J ... T C"],
    window: int,
    *,
    strides: Sequence[int] = (2, 2),
    activation: jet.Activation = "tanh",
    recurrent_stride: int = 1,
) -> Float[Array, "J ... W K"]:
    """The trunk on every window in contiguous samples, W = T - window + 1; what `trunk` says of each of them.

    Neighbouring windows share their convolutions: with strides as dilations each layer is computed once per sample.
    """
    if "recurrence" in encoder:
        return gru.read_along(encoder["recurrence"], recording, window, stride=recurrent_stride)
    f = jet.ACTIVATIONS[activation]
    count = recording.shape[-2] - window + 1
    h, dilation, length = recording, 1, window
    for n, stride in enumerate(strides):
        layer = encoder["convolutions"][str(n)]
        taps, inputs, filters = layer["w"].shape
        length = (length - taps) // stride + 1
        patches = _shifted(h, taps, dilation, h.shape[-2] - (taps - 1) * dilation)
        h = jet.pointwise(f, jet.dense({"w": layer["w"].reshape(taps * inputs, filters), "b": layer["b"]}, patches))
        dilation *= stride
    return _shifted(h, length, dilation, count)


def last_layer(
    encoder: Encoder, h: Float[Array, "J ... K"], *, activation: jet.Activation = "tanh"
) -> Float[Array, "J ... Z"]:
    """Features from what the trunk says."""
    return jet.pointwise(jet.ACTIVATIONS[activation], jet.dense(encoder["features"], h))


def encode(
    encoder: Encoder,
    windows: Float[Array, "J ... L C"],
    *,
    strides: Sequence[int] = (2, 2),
    activation: jet.Activation = "tanh",
    recurrent_stride: int = 1,
) -> Float[Array, "J ... Z"]:
    """Features of windows, with their time derivatives if the windows come with theirs (J = 3)."""
    h = trunk(encoder, windows, strides=strides, activation=activation, recurrent_stride=recurrent_stride)
    return last_layer(encoder, h, activation=activation)


def encode_along(
    encoder: Encoder,
    recording: Float[Array, "J ... T C"],
    window: int,
    *,
    strides: Sequence[int] = (2, 2),
    activation: jet.Activation = "tanh",
    recurrent_stride: int = 1,
) -> Float[Array, "J ... W Z"]:
    """Features of every window in contiguous samples, W = T - window + 1; what `encode` says of each of them."""
    h = trunk_along(
        encoder, recording, window, strides=strides, activation=activation, recurrent_stride=recurrent_stride
    )
    return last_layer(encoder, h, activation=activation)


def _shifted(h: Float[Array, "J ... T F"], taps: int, dilation: int, count: int) -> Float[Array, "J ... N K"]:
    """Side by side, for each of the first `count` samples, the values that a dilated kernel sees from there on."""
    return jnp.concatenate([h[..., k * dilation : k * dilation + count, :] for k in range(taps)], axis=-1)
