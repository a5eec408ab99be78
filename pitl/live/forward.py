"""The network for one window at a time, in NumPy: no dispatch, which would cost more than the arithmetic.

It is `network.outputs` with the constants folded together; tests hold the two equal.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from pitl.learn.model import Model
from pitl.live import kernel_row
from pitl.live.kernel_row import KernelRow
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


class Recurrence(NamedTuple):
    """A gated recurrent unit; the gates' columns are update, reset, candidate."""

    taken: np.ndarray  # (steps,) samples of the window that it reads
    drive: tuple[np.ndarray, np.ndarray]  # w, b of what a sample says to the gates
    state: tuple[np.ndarray, np.ndarray]  # w, b of what the state says to them


class Forward(NamedTuple):
    """A network for one person in one posture."""

    convolutions: tuple[Convolution, ...]
    recurrence: Recurrence | None  # in place of the convolutions
    features: tuple[np.ndarray, np.ndarray]  # w, b
    hidden: tuple[np.ndarray, np.ndarray]  # w, b with the posture's part in it
    per_time_unit: np.ndarray | None  # (hidden,) weights of the time stamp, in the time-input ablation
    readout: tuple[np.ndarray, np.ndarray]  # w, b of angles [rad] and drives of the forces together
    dofs: int
    strength: np.ndarray  # (M,) N
    activation: Callable[[np.ndarray], np.ndarray]
    nonnegative: bool  # forces
    compression: float  # knee of the input's logarithm; 0 is off


def forward(params: Mapping[str, Any], net: Network, scale: OutputScale, posture: int) -> Forward:
    """Folds parameters, output scale and posture into plain arrays."""
    convolutions, recurrence, length = [], None, net.window
    if net.encoder == "gru":
        unit = params["encoder"]["recurrence"]
        taken = np.arange((net.window - 1) % net.recurrent_stride, net.window, net.recurrent_stride)
        recurrence = Recurrence(taken, _dense(unit["input"]), _dense(unit["state"]))
    for n, stride in enumerate(net.strides if recurrence is None else ()):
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
        recurrence,
        _dense(params["encoder"]["features"]),
        (w[: net.features], b + w[net.features + posture]),
        w[-1] if stamped else None,
        (np.concatenate([angle_w * spread, force_w], 1), np.concatenate([angle_b * spread + mean, force_b])),
        len(mean),
        np.asarray(scale.strength, _f),
        _ACTIVATIONS[net.activation],
        net.nonnegative,
        net.compression,
    )


def apply(net: Forward, windows: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles (N, D) [rad] and forces (N, M) [N] of float32 windows (N, L, C) that end at `time_s` (N,)."""
    return infer(net, encode(net, windows), time_s)


def encode(net: Forward, windows: np.ndarray) -> np.ndarray:
    """The encoder's features (N, Z)."""
    h, count, f = windows, len(windows), net.activation
    if net.compression > 0:
        h = np.arcsinh(h / _f(net.compression)) / _f(np.arcsinh(1.0 / net.compression))
    for taken, w, b in net.convolutions:
        patches = h.take(taken, axis=1).reshape(-1, len(w))
        h = f(patches @ w + b).reshape(count, len(taken), -1)
    if net.recurrence is not None:
        h = _state(net.recurrence, h)
    w, b = net.features
    return f(h.reshape(count, -1) @ w + b)


def infer(net: Forward, features: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles and forces from features, as `apply` gives them."""
    w, b = net.hidden
    h = features @ w + b
    if net.per_time_unit is not None:
        h = h + (time_s / TIME_UNIT_S).astype(_f)[:, None] * net.per_time_unit
    w, b = net.readout
    out = net.activation(h) @ w + b
    drive = out[:, net.dofs :]
    return out[:, : net.dofs], net.strength * (_softplus(drive) if net.nonnegative else drive)


class Answer(NamedTuple):
    """A person's model in one posture; without a deviation it is the network alone."""

    network: Forward
    deviation: KernelRow | None = None  # which makes the person's angle of the network's
    forces: Forward | None = None  # the network of the forces, where it shares no encoder with that of the angle


def answers(model: Model, posture: int) -> tuple[Answer, ...]:
    """Folds a model for one posture: with all channels, and if it knows how to do without one, without each."""
    alone = [] if model.deviation_without is None else np.eye(model.net.inputs, dtype=bool)
    return (_answer(model, posture), *(_answer(model.without_channels(lost), posture) for lost in alone))


def _answer(model: Model, posture: int) -> Answer:
    own = forward(model.params, model.net, model.scale, posture)
    if model.deviation is None or model.generic is None:
        return Answer(own)
    row = kernel_row.fold(model.deviation, model.net.window, model.net.postures)
    generic = forward(model.generic, model.net, model.scale, posture)
    here = kernel_row.here(row, [posture])
    pairs = zip(*(jax.tree.leaves(p["encoder"]) for p in (model.params, model.generic)), strict=True)
    if all(np.array_equal(a, b) for a, b in pairs):
        return Answer(_two_heads(generic, own), here)
    return Answer(generic, here, own)


def _two_heads(of_angle: Forward, of_force: Forward) -> Forward:
    """The angles of one head and the forces of another, side by side on the same encoder."""
    a, f, dofs = of_angle, of_force, of_angle.dofs
    hidden = tuple(np.concatenate(x, axis=-1) for x in zip(a.hidden, f.hidden, strict=True))
    stamped = [x for x in (a.per_time_unit, f.per_time_unit) if x is not None]
    stamps = np.concatenate(stamped) if stamped else None
    w = np.concatenate([a.readout[0], f.readout[0]])
    w[len(a.readout[0]) :, :dofs] = 0.0
    w[: len(a.readout[0]), dofs:] = 0.0
    b = np.concatenate([a.readout[1][:dofs], f.readout[1][dofs:]])
    return a._replace(hidden=hidden, per_time_unit=stamps, readout=(w, b))


def apply_answer(model: Answer, windows: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `apply`, with the deviation in the angle."""
    z, row = encode(model.network, windows), model.deviation
    angle, force = infer(model.network, z, time_s)
    if row is not None:
        angle = kernel_row.angle(row, windows, angle, z)
    return angle, force if model.forces is None else apply(model.forces, windows, time_s)[1]


def _state(unit: Recurrence, windows: np.ndarray) -> np.ndarray:
    """What a recurrent unit remembers of each window (N, H), as `pitl.net.gru` has it."""
    (w, b), (own_w, own_b) = unit.drive, unit.state
    width = len(own_w)
    driven = np.moveaxis(windows.take(unit.taken, axis=1), 1, 0) @ w + b
    h = np.zeros((len(windows), width), _f)
    for x in driven:
        s = h @ own_w + own_b
        gates = special.expit(x[:, : 2 * width] + s[:, : 2 * width])
        n = np.tanh(x[:, 2 * width :] + gates[:, width:] * s[:, 2 * width :])
        h = n + gates[:, :width] * (h - n)
    return h


def _dense(layer: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(layer["w"], _f), np.asarray(layer["b"], _f)
