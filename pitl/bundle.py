"""A model that needs nothing else: parameters, physics, normalisation and preprocessing, saved together.

What a laboratory keeps after personalising, and what a live system loads. Constants are read back from here, so
training and use can never disagree about them.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl import checkpoint, emg, faults, normalisation
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
    silent: tuple[str, ...] = ()  # channels of the model that the recording lacks or in which they are dead


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
    """Angles and forces from raw EMG alone; channels are found by name, in any order.

    A channel that is missing or dead counts as silent, which costs accuracy (see `pitl.lost_channels`): `silent` of the
    result names it, and so does a warning.

    Raises:
        PitlError: if no channel of the model can be used, or the model was not fitted to a person.
    """
    if bundle.channel_scale is None:
        raise PitlError("this is a generic model: it has no scale for this person's electrodes; personalise it first.")
    raw, silent = _channels(bundle, recording)
    env = emg.envelope(emg.design(bundle.emg, recording.rate_hz), raw)
    jets = normalisation.normalise(bundle.channel_scale, env.jets, bundle.emg.rate_hz)
    jets = normalisation.silenced(jets, silent)
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
    names = tuple(c for c, gone in zip(bundle.channels, silent, strict=True) if gone)
    return Estimate(env.time_s[bundle.net.window - 1 :], np.asarray(out.angle[0]), np.asarray(out.force), names)


def columns(where: str, found: Sequence[str], channels: tuple[str, ...]) -> np.ndarray:
    """Columns (C,) of a model's channels among those of a recording or source, by name; -1 for those it lacks.

    Args:
        where: the recording or source, for messages.
        found: names of its channels.
        channels: of the model.

    Raises:
        PitlError: it has none of them.
    """
    if not set(channels) & set(found):
        raise PitlError(
            f"{where} has channels {', '.join(found) or '(none)'} and none of the model's ({', '.join(channels)}); "
            "name them as the model does."
        )
    return np.array([list(found).index(c) if c in found else -1 for c in channels])


def taken(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Columns (T, C) in the model's order, zero where `columns` says that there is none."""
    out = values[:, at]
    if (at < 0).any():
        out[:, at < 0] = 0.0
    return out


def loss_sentence(where: str, missing: Sequence[str], dead: Sequence[str] = ()) -> str:
    """What the user should know when channels are lost."""
    gone = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has dead", dead)) if names]
    many = len(missing) + len(dead) > 1
    which = "these channels" if many else "this channel"
    return f"{where} {' and '.join(gone)}: the model takes {which} as silent, and its answers are worse than usual."


def _channels(bundle: Bundle, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Raw EMG (T, C) [V] in the model's order, and (C,) True where there is none."""
    where = f"{recording.source or 'the recording'} ({recording.subject}/{recording.trial})"
    at = columns(where, recording.channels, bundle.channels)
    there = at >= 0
    raw = recording.emg[:, at[there]]
    names = tuple(recording.channels[c] for c in at[there])
    dead = np.zeros(len(at), bool)
    dead[np.flatnonzero(there)[faults.dead(replace(recording, emg=raw, channels=names))]] = True
    silent = dead | ~there
    if silent.all():
        raise PitlError(f"{where}: every channel of the model is missing or dead; check the electrodes and cables.")
    if silent.any():
        lost = [[c for c, hit in zip(bundle.channels, which, strict=True) if hit] for which in (~there, dead)]
        warnings.warn(loss_sentence(where, *lost), stacklevel=3)
    out = taken(recording.emg, at)
    return out if recording.valid is None else np.where(recording.valid[:, None], out, 0.0), silent
