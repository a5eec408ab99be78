"""The recurrent encoder: a gated recurrent unit (GRU) reads the window from its oldest sample to its newest.

The state starts at zero at the beginning of every window, so that it is a function of the window alone and its time
derivatives along the recording follow exactly from those of the envelope, gate by gate:

    z = sigmoid(x W_z + s U_z + b_z)        r = sigmoid(x W_r + s U_r + b_r)
    n = tanh(x W_n + b_n + r (s U_n + c))   s <- n + z (s - n)

(Cho et al. 2014, doi 10.3115/v1/D14-1179, with the reset gate after the product, as compiled libraries have it.)
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pitl.net import jet


def init(key: Array, *, inputs: int, state: int) -> dict[str, Any]:
    """Random parameters of a unit with `state` numbers of memory; the gates' columns are update, reset, candidate."""
    k_input, k_state = jax.random.split(key)
    return {"input": jet.init_dense(k_input, inputs, 3 * state), "state": jet.init_dense(k_state, state, 3 * state)}


def read(unit: Mapping[str, Any], windows: Float[Array, "J ... L C"], *, stride: int = 1) -> Float[Array, "J ... H"]:
    """The state after each window, with its time derivatives if the windows come with theirs (J = 3).

    Args:
        unit: parameters.
        windows: normalised envelopes.
        stride: takes one sample in so many, the last one always.
    """
    length = windows.shape[-2]
    taken = windows[..., (length - 1) % stride :: stride, :]
    driven = jet.dense(unit["input"], taken)
    return _recur(unit, jnp.moveaxis(driven, -2, 0))


def read_along(
    unit: Mapping[str, Any], recording: Float[Array, "J ... T C"], window: int, *, stride: int = 1
) -> Float[Array, "J ... W H"]:
    """The state after every window in contiguous samples, W = T - window + 1; what `read` says of each of them.

    Neighbouring windows share what the samples say to the gates. The recurrence itself cannot be shared, since each
    window starts it afresh: the work is W times the steps of one window, unlike that of convolutions.
    """
    count = recording.shape[-2] - window + 1
    driven = jet.dense(unit["input"], recording)
    starts = jnp.arange((window - 1) % stride, window, stride)

    def at(start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(driven, start, count, axis=driven.ndim - 2)

    return _recur(unit, starts, at)


def _recur(unit: Mapping[str, Any], steps: Array, drive: Any = None) -> Float[Array, "J ... H"]:
    """Runs the recurrence over the leading axis of `steps`: what drives the gates, or what `drive` makes of them."""
    width = unit["state"]["w"].shape[0]
    like = jax.eval_shape(drive or (lambda x: x), steps[0])

    def step(state: Array, now: Array) -> tuple[Array, None]:
        x = drive(now) if drive else now
        s = jet.dense(unit["state"], state)
        gates = jet.pointwise(jet.sigmoid, x[..., : 2 * width] + s[..., : 2 * width])
        update, reset = gates[..., :width], gates[..., width:]
        candidate = jet.pointwise(jet.tanh, x[..., 2 * width :] + jet.product(reset, s[..., 2 * width :]))
        return candidate + jet.product(update, state - candidate), None

    return jax.lax.scan(step, jnp.zeros((*like.shape[:-1], width), like.dtype), steps)[0]
