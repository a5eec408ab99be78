"""The network for one window at a time, in NumPy: no dispatch, which would cost more than the arithmetic.

It is `network.outputs` with the constants folded together; tests hold the two equal.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from pitl.net.head import OutputScale
from pitl.net.network import TIME_UNIT_S, Network

_f = np.float32
_HALF = _f(np.sqrt(0.5))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(_f(0), x)


_ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "softplus": _softplus,
    "gelu": lambda x: x * (_f(0.5) * (_f(1) + special.erf(x * _HALF))),
    "relu": lambda x: np.maximum(x, _f(0)),
}


class Convolution(NamedTuple):
    """A strided convolution as a gather and a matrix product."""

    taken: np.ndarray  # (steps, taps) samples under the kernel
    w: np.ndarray  # (taps * inputs, filters)
    b: np.ndarray  # (filters,)


class Forward(NamedTuple):
    """A network for one person in one posture."""

    convolutions: tuple[Convolution, ...]
    features: tuple[np.ndarray, np.ndarray]  # w, b
    hidden: tuple[np.ndarray, np.ndarray]  # w, b with the posture's part in it
    per_time_unit: np.ndarray | None  # (hidden,) weights of the time stamp, in the time-input ablation
    readout: tuple[np.ndarray, np.ndarray]  # w, b of angles [rad] and drives of the forces together
    dofs: int
    strength: np.ndarray  # (M,) N
    activation: Callable[[np.ndarray], np.ndarray]


def forward(params: Mapping[str, Any], net: Network, scale: OutputScale, posture: int) -> Forward:
    """Folds parameters, output scale and posture into plain arrays."""
    convolutions, length = [], net.window
    for n, stride in enumerate(net.strides):
        layer = params["encoder"]["convolutions"][str(n)]
        w = np.asarray(layer["w"], _f)
        taps, inputs, filters = w.shape
        steps = (length - taps) // stride + 1
        taken = stride * np.arange(steps)[:, None] + np.arange(taps)
        convolutions.append(Convolution(taken, w.reshape(taps * inputs, filters), np.asarray(layer["b"], _f)))
        length = steps
    head = params["head"]
    w, b = _dense(head["hidden"])
    angle_w, angle_b = _dense(head["angle"])
    force_w, force_b = _dense(head["force"])
    spread, mean = np.asarray(scale.angle_std, _f), np.asarray(scale.angle_mean, _f)
    stamped = net.derivative == "time_input"
    return Forward(
        tuple(convolutions),
        _dense(params["encoder"]["features"]),
        (w[: net.features], b + w[net.features + posture]),
        w[-1] if stamped else None,
        (np.concatenate([angle_w * spread, force_w], 1), np.concatenate([angle_b * spread + mean, force_b])),
        len(mean),
        np.asarray(scale.strength, _f),
        _ACTIVATIONS[net.activation],
    )


def apply(net: Forward, windows: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles (N, D) [rad] and forces (N, M) [N] of float32 windows (N, L, C) that end at `time_s` (N,)."""
    h, count, f = windows, len(windows), net.activation
    for taken, w, b in net.convolutions:
        patches = h.take(taken, axis=1).reshape(-1, len(w))
        h = f(patches @ w + b).reshape(count, len(taken), -1)
    w, b = net.features
    h = f(h.reshape(count, -1) @ w + b)
    w, b = net.hidden
    h = h @ w + b
    if net.per_time_unit is not None:
        h = h + (time_s / TIME_UNIT_S).astype(_f)[:, None] * net.per_time_unit
    w, b = net.readout
    out = f(h) @ w + b
    return out[:, : net.dofs], net.strength * _softplus(out[:, net.dofs :])


def _dense(layer: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(layer["w"], _f), np.asarray(layer["b"], _f)
