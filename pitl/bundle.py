"""A model that needs nothing else: parameters, physics, normalisation and preprocessing, saved together.

What a laboratory keeps after personalising, and what a live system loads. Constants are read back from here, so
training and use can never disagree about them.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl import checkpoint, emg, normalisation
from pitl.config import EmgConfig
from pitl.errors import PitlError
from pitl.loss import Spread
from pitl.msk.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.net.network import Network
from pitl.recording import Recording
from pitl.windows import Samples


class Bundle(NamedTuple):
    """A generic or personalised model with everything that its use takes."""

    params: dict[str, Any]  # {"encoder", "head"}
    net: Network
    model: MusculoskeletalModel  # with the person's corrections applied
    scale: OutputScale
    spread: Spread
    emg: EmgConfig
    channels: tuple[str, ...]
    channel_scale: normalisation.Scale | None  # None in a generic model: it is fitted to each person
    subject: str | None
    about: dict[str, Any]  # how it was made: configuration, seed, fold, steps


class Estimate(NamedTuple):
    """What a model says about a recording."""

    time_s: np.ndarray  # (N,)
    angle: np.ndarray  # (N, D) rad
    force: np.ndarray  # (N, M) N


def save(folder: Path, bundle: Bundle) -> None:
    """Writes a model, under a temporary name until it is whole.

    Raises:
        PitlError: if it cannot be written.
    """
    static, arrays = model_to_dict(bundle.model)
    tree = {
        "params": bundle.params,
        "model": arrays,
        "scale": bundle.scale._asdict(),
        "spread": bundle.spread._asdict(),
    }
    meta = {
        "net": asdict(bundle.net),
        "model": static,
        "emg": bundle.emg.model_dump(),
        "channels": list(bundle.channels),
        "subject": bundle.subject,
        "about": bundle.about,
    }
    if bundle.channel_scale is not None:
        scale = bundle.channel_scale
        volts = [float(v) for v in scale.volts]
        meta["channel_scale"] = {"method": scale.method, "volts": volts, "window_s": scale.window_s}
    checkpoint.save(folder, tree, meta)


def load(folder: Path) -> Bundle:
    """Reads a model back.

    Raises:
        PitlError: if the folder holds no model, a damaged one, or one of another version.
    """
    tree, meta = checkpoint.load(folder)
    try:
        shapes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["net"].items()}
        net = Network(**shapes)
        own = meta.get("channel_scale")
        scale = None if own is None else normalisation.Scale(own["method"], np.array(own["volts"]), own["window_s"])
        return Bundle(
            jax.tree.map(jnp.asarray, tree["params"]),
            net,
            model_from_dict(meta["model"], tree["model"]),
            OutputScale(**jax.tree.map(jnp.asarray, tree["scale"])),
            Spread(**jax.tree.map(jnp.asarray, tree["spread"])),
            EmgConfig(**meta["emg"]),
            tuple(meta["channels"]),
            scale,
            meta["subject"],
            meta["about"],
        )
    except (KeyError, TypeError, ValueError) as e:
        raise PitlError(f"{folder} is a checkpoint but not a model of this version ({e}); train it again.") from e


def estimate(bundle: Bundle, recording: Recording) -> Estimate:
    """Angles and forces from raw EMG alone.

    Raises:
        PitlError: if the channels differ from the model's, or the model was not fitted to a person.
    """
    if recording.channels != bundle.channels:
        raise PitlError(
            f"{recording.source}: channels are {', '.join(recording.channels)}; the model was trained on "
            f"{', '.join(bundle.channels)}, in this order."
        )
    if bundle.channel_scale is None:
        raise PitlError("this is a generic model: it has no scale for this person's electrodes; personalise it first.")
    env = emg.envelope(emg.design(bundle.emg, recording.rate_hz), recording.emg)
    jets = normalisation.normalise(bundle.channel_scale, env.jets, bundle.emg.rate_hz)
    count = len(env.time_s)
    posture = bundle.model.postures.index(recording.posture)
    nothing = jnp.zeros((count, 1), jnp.float32)
    samples = Samples(
        jnp.asarray(jets, jnp.float32),
        nothing,
        nothing,
        nothing,
        jnp.full((count,), posture, jnp.int32),
        jnp.zeros((count,), jnp.int32),
        jnp.asarray(env.time_s, jnp.float32),
    )
    ends = jnp.arange(bundle.net.window - 1, count, dtype=jnp.int32)
    out = network.outputs(bundle.params, bundle.net, samples, ends, bundle.scale)
    return Estimate(env.time_s[bundle.net.window - 1 :], np.asarray(out.angle[0]), np.asarray(out.force))
