"""A person's model for programs without this package: StableHLO and ONNX, with the preprocessing beside them.

OUT/model.stablehlo     the network as `jax.export` writes it
OUT/model.onnx          the same for ONNX runtimes
OUT/preprocessing.json  the envelope filter, one matrix a stage, and every constant, name and unit
OUT/example.py          raw EMG to forces with NumPy and onnxruntime alone

The exported function takes windows of the envelope [V], any number at once, and the posture's index, and gives angles
[rad], with the deviation in them, and forces [N]. The scale of the person's electrodes is in it.
"""

import json
import logging
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Array, Float, Int

from pitl.data.recording import Recording
from pitl.errors import PitlError
from pitl.files import atomic_write_bytes, atomic_write_text
from pitl.learn import gains
from pitl.learn.model import Model
from pitl.live import kernel_row
from pitl.net import network
from pitl.signals import emg, emg_steps

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_RANDOM = 64  # windows
# Two compilers may sum in different orders and take another tanh: some units in the last place of each layer.
_TOLERANCE = 1e-4  # of the largest output


class Difference(NamedTuple):
    """Largest difference between an exported file and the original, relative to the largest output."""

    angle: float
    force: float


class Exported(NamedTuple):
    """How each file compares with the original."""

    random: dict[str, Difference]
    recorded: dict[str, Difference] | None


def function(model: Model) -> Callable[[Array, Array], tuple[Array, Array]]:
    """What is exported: (windows (N, L, C) [V], posture (N,)) -> (angle (N, D) [rad], force (N, M) [N]).

    Raises:
        PitlError: the model cannot be a function of a window alone, or was not fitted to a person.
    """
    scale, net = model.channel_scale, model.net
    if scale is None:
        raise PitlError("this is a generic model: it has no scale for this person's electrodes; personalise it first.")
    if scale.method == "zscore":
        raise PitlError(
            "emg.normalisation = 'zscore' remembers what came before a window, so that the model is no function "
            "of one; train with another normalisation to export it."
        )
    if net.derivative == "time_input":
        raise PitlError("a model with a time stamp as input (train.derivative = 'time_input') is not exported.")
    volts = jnp.asarray(scale.volts, jnp.float32)
    postures = jnp.eye(net.postures, dtype=jnp.float32)
    row = None if model.deviation is None else kernel_row.fold(model.deviation, net.window, net.postures)
    put = None if row is None else jax.device_put(row)

    def forward(
        envelope: Float[Array, "N L C"], posture: Int[Array, " N"]
    ) -> tuple[Float[Array, "N D"], Float[Array, "N M"]]:
        windows = (envelope / volts[None, None, :])[None]
        z = network.encode(model.params, net, windows)
        out = network.infer(model.params, net, z, postures[posture][None], model.scale)
        if put is None or model.generic is None:
            return out.angle[0], out.force
        inherited = network.encode(model.generic, net, windows)
        generic = network.infer(model.generic, net, inherited, postures[posture][None], model.scale)
        here = kernel_row.here(put, posture)
        return kernel_row.angle(here, windows[0], generic.angle[0], inherited[0], jnp), out.force

    return forward


def write(folder: Path, model: Model, rate_hz: float, posture: str, recording: Recording | None = None) -> Exported:
    """Exports a model, after checking each form against the original.

    Args:
        rate_hz: of the raw EMG that will be fed to it.
        posture: that the example uses.
        recording: real input to check with, besides random windows.

    Raises:
        PitlError: the model or rate cannot be exported, a library is missing, a form differs from the original, or the
            folder cannot be written.
    """
    forward = function(model)
    described = preprocessing(model, rate_hz, posture)
    stablehlo, onnx_bytes = to_stablehlo(model, forward), to_onnx(model, forward)
    forms = {"model.stablehlo": _run_stablehlo(stablehlo), "model.onnx": _run_onnx(onnx_bytes)}
    random = _compare(forward, forms, *_random_windows(model))
    recorded = None if recording is None else _compare(forward, forms, *_recorded_windows(model, recording))
    folder = Path(folder)
    atomic_write_bytes(folder / "model.stablehlo", stablehlo)
    atomic_write_bytes(folder / "model.onnx", onnx_bytes)
    atomic_write_text(folder / "preprocessing.json", json.dumps(described, indent=1) + "\n")
    atomic_write_text(
        folder / "example.py", files("pitl.live").joinpath("export_example.py").read_text(encoding="utf-8")
    )
    return Exported(random, recorded)


def to_stablehlo(model: Model, forward: Callable[..., Any]) -> bytes:
    """Serialised StableHLO for any number of windows, on any of `PLATFORMS`."""
    (count,) = jax_export.symbolic_shape("n")
    windows = jax.ShapeDtypeStruct((count, model.net.window, model.net.inputs), jnp.float32)
    postures = jax.ShapeDtypeStruct((count,), jnp.int32)
    return bytes(jax_export.export(jax.jit(forward), platforms=PLATFORMS)(windows, postures).serialize())


def to_onnx(model: Model, forward: Callable[..., Any]) -> bytes:
    """The same as an ONNX model.

    Raises:
        PitlError: the converter is not installed.
    """
    try:
        from jax2onnx import to_onnx as convert
    except ImportError as e:
        raise PitlError(f"writing ONNX needs jax2onnx ({e}); pip install 'pitl[export]'.") from e
    windows = jax.ShapeDtypeStruct(("n", model.net.window, model.net.inputs), jnp.float32)
    postures = jax.ShapeDtypeStruct(("n",), jnp.int32)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of shapes that it leaves to the runtime
    made: Any = convert(
        forward, [windows, postures], model_name="pitl",
        input_names=["envelope", "posture"], output_names=["angle", "force"],
    )  # fmt: skip
    return made.SerializeToString()


def preprocessing(model: Model, rate_hz: float, posture: str) -> dict[str, Any]:
    """Everything between the electrodes and `model.onnx`, as JSON holds it.

    Raises:
        PitlError: the envelope's rate does not divide that of the raw EMG, or the model has no such posture.
    """
    every = rate_hz / model.emg.rate_hz
    if abs(every - round(every)) > 1e-9:
        raise PitlError(
            f"raw EMG at {rate_hz:g} Hz is no multiple of the envelope's {model.emg.rate_hz:g} Hz; give the rate of "
            "your amplifier with --rate, resampled if need be."
        )
    design = emg.design(model.emg, rate_hz)
    filter_ = emg_steps.sample_filter(design)
    one, drive = filter_.runs[0], filter_.runs[0].drive[:, 0]
    decay = one.decay[:, 0]
    from pitl.mechanics.model import posture_index

    return {
        "channels": list(model.channels),
        "unit": "V",
        "raw_rate_hz": rate_hz,
        "envelope_rate_hz": model.emg.rate_hz,
        "every": round(every),
        "window": model.net.window,
        "bandpass": one.bandpass.tolist(),
        "bandpass_rest": filter_.rest.tolist(),
        "lowpass": np.vstack([
            np.hstack([np.diag(np.real(decay)), -np.diag(np.imag(decay)), np.real(drive)[:, None]]),
            np.hstack([np.diag(np.imag(decay)), np.diag(np.real(decay)), np.imag(drive)[:, None]]),
        ]).tolist(),
        "readout": np.hstack([np.real(filter_.readout), -np.imag(filter_.readout)])[0].tolist(),
        "group_delay_s": emg.group_delay_s(design),
        "electrode_scale_v": [float(v) for v in np.asarray(model.channel_scale.volts)] if model.channel_scale else [],
        "postures": list(model.limb.postures),
        "posture": posture_index(model.limb, posture),
        "angles_rad": list(model.limb.dofs),
        "forces_n": list(model.limb.muscles),
        "force_half": None if model.gains is None else gains.relative_half(model.gains).tolist(),
        "about": {
            "bandpass": "s, y = split(bandpass @ [s; x]): state and filtered sample from state and raw sample x [V]",
            "bandpass_rest": "s before the first sample x: bandpass_rest * x",
            "lowpass": "m = lowpass @ [m; |y|], from zeros",
            "readout": "envelope [V] = readout @ m, at the first and then every `every`th raw sample",
            "window": "so many envelope samples go into the model, the newest last",
            "electrode_scale_v": "is in the model already; for information",
            "force_half": "half an interval of 90 % of each force, over the force; null where no torque told gains",
            "settings": model.emg.model_dump(mode="json"),
            "subject": model.subject,
        },
    }  # fmt: skip


def _random_windows(model: Model) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    assert model.channel_scale is not None
    shape = (_RANDOM, model.net.window, model.net.inputs)
    windows = model.channel_scale.volts * np.abs(random.normal(size=shape))  # V
    return windows.astype(np.float32), random.integers(0, model.net.postures, _RANDOM).astype(np.int32)


def _recorded_windows(model: Model, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    if recording.channels != model.channels:
        raise PitlError(
            f"{recording.source}: channels are {', '.join(recording.channels)}; the model was trained on "
            f"{', '.join(model.channels)}, in this order."
        )
    result = emg.envelope(emg.design(model.emg, recording.rate_hz), recording.emg).jets[:, 0]  # V
    if len(result) < model.net.window:
        raise PitlError(f"{recording.source} is shorter than one window; check with a longer recording.")
    view = np.lib.stride_tricks.sliding_window_view(result, model.net.window, axis=0)
    windows = np.swapaxes(view, 1, 2).astype(np.float32)
    return windows, np.full(len(windows), model.limb.postures.index(recording.posture), np.int32)


def _run_stablehlo(data: bytes) -> Callable[..., Any]:
    loaded = jax_export.deserialize(bytearray(data))
    return jax.jit(loaded.call)


def _run_onnx(data: bytes) -> Callable[..., Any]:
    try:
        import onnxruntime
    except ImportError as e:
        raise PitlError(f"checking ONNX needs onnxruntime ({e}); pip install 'pitl[export]'.") from e
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda windows, posture: session.run(None, {"envelope": windows, "posture": posture})


def _compare(
    forward: Callable[..., Any], forms: dict[str, Callable[..., Any]], windows: np.ndarray, posture: np.ndarray
) -> dict[str, Difference]:
    expected = [np.asarray(x) for x in jax.jit(forward)(windows, posture)]
    result = {}
    for name, run in forms.items():
        message = [np.asarray(x) for x in run(windows, posture)]
        result[name] = Difference(
            *(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(message, expected, strict=True))
        )
        if not max(result[name]) < _TOLERANCE:
            raise PitlError(
                f"{name} differs from the original by {max(result[name]):.2g} of the largest output; nothing was "
                "written; try other versions of jax and jax2onnx."
            )
    return result
