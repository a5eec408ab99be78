"""Second-order time jets: a value with its first and second derivative along the recording.

A jet is an array with a leading axis of length 3 (value, rate, acceleration); an array with a leading axis of
length 1 is a value alone. The functions here take either, so that there is one forward pass and the
derivatives are a matter of what goes in. A linear layer acts on all three at once (they are stacked where a
batch would be); a pointwise function f follows the chain rule

    f(h)' = f'(h) h'        f(h)'' = f'(h) h'' + f''(h) h'^2

and two jets multiply as (g h)' = g' h + g h', (g h)'' = g'' h + 2 g' h' + g h''.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Activation = Literal["tanh", "gelu", "softplus", "relu"]
Derivatives = Callable[[Array], tuple[Array, Array, Array]]


def tanh(x: Array) -> tuple[Array, Array, Array]:
    """The hyperbolic tangent with its first two derivatives."""
    t = jnp.tanh(x)
    slope = 1.0 - t * t
    return t, slope, -2.0 * t * slope


def _softplus(x: Array) -> tuple[Array, Array, Array]:
    s = jax.nn.sigmoid(x)
    return jax.nn.softplus(x), s, s * (1.0 - s)


def _gelu(x: Array) -> tuple[Array, Array, Array]:
    cdf = jax.scipy.stats.norm.cdf(x)
    pdf = jax.scipy.stats.norm.pdf(x)
    return x * cdf, cdf + x * pdf, pdf * (2.0 - x * x)


def _relu(x: Array) -> tuple[Array, Array, Array]:
    # for ablations only: its second derivative is zero, so inertia never trains
    on = (x > 0).astype(x.dtype)
    return x * on, on, jnp.zeros_like(x)


def sigmoid(x: Array) -> tuple[Array, Array, Array]:
    """The logistic function with its first two derivatives, for gates."""
    s = jax.nn.sigmoid(x)
    slope = s * (1.0 - s)
    return s, slope, slope * (1.0 - 2.0 * s)


def compress(knee: float) -> Derivatives:
    """asinh(x / knee), linear below the knee and a logarithm above, scaled so that 1 stays 1."""
    scale = 1.0 / math.asinh(1.0 / knee)

    def function(x: Array) -> tuple[Array, Array, Array]:
        slope = scale * jax.lax.rsqrt(x * x + knee * knee)
        return scale * jnp.arcsinh(x / knee), slope, -slope * x / (x * x + knee * knee)

    return function


ACTIVATIONS: Mapping[str, Derivatives] = {"tanh": tanh, "softplus": _softplus, "gelu": _gelu, "relu": _relu}


def pointwise(f: Derivatives, h: Float[Array, "J ..."]) -> Float[Array, "J ..."]:
    """Applies a scalar function, given with its first two derivatives, to a jet or to a value alone."""
    value, slope, curvature = f(h[0])
    if h.shape[0] == 1:
        return value[None]
    return jnp.stack([value, slope * h[1], slope * h[2] + curvature * h[1] * h[1]])


def product(g: Float[Array, "J ..."], h: Float[Array, "J ..."]) -> Float[Array, "J ..."]:
    """The product of two jets, or of two values alone."""
    if h.shape[0] == 1:
        return g * h
    return jnp.stack([g[0] * h[0], g[1] * h[0] + g[0] * h[1], g[2] * h[0] + 2.0 * g[1] * h[1] + g[0] * h[2]])


def add_constant(h: Float[Array, "J ... F"], bias: Float[Array, " F"]) -> Float[Array, "J ... F"]:
    """Adds what does not move in time: it reaches the value and leaves the derivatives."""
    # times one or zero, not a concatenation of the moved value: that copies the derivatives and their gradients
    value_only = np.eye(1, h.shape[0], dtype=h.dtype).reshape(-1, *(1,) * (h.ndim - 1))
    return h + jnp.broadcast_to(bias, h.shape) * jnp.broadcast_to(value_only, h.shape)


def dense(layer: Mapping[str, Array], h: Float[Array, "J ... I"]) -> Float[Array, "J ... O"]:
    """A dense layer, `{"w": (I, O), "b": (O,)}`."""
    product = h.reshape(-1, h.shape[-1]) @ layer["w"]  # one flat product: CPU compilers do worse with many axes
    return add_constant(product.reshape(*h.shape[:-1], -1), layer["b"])


def init_dense(key: Array, inputs: int, outputs: int) -> dict[str, Array]:
    """Weights of a dense layer: variance 1 / inputs (LeCun 1998), no bias."""
    w = jax.random.normal(key, (inputs, outputs), jnp.float32) / jnp.sqrt(jnp.float32(inputs))
    return {"w": w, "b": jnp.zeros((outputs,), jnp.float32)}
