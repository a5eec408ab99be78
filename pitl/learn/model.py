"""What is kept of a person, or of everybody: one pytree with all that prediction and personalisation need.

A model is what a laboratory keeps and what a live system loads. Constants are read back from here, so training and use
can never disagree about them. Stacked over people (`stack`) it is still a `Model`.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization, struct

from pitl.config.schema import EmgConfig, PersonalizeConfig
from pitl.data.checks import faults
from pitl.data.recording import Recording
from pitl.errors import PitlError
from pitl.files import load_checkpoint, save_checkpoint
from pitl.learn import gains as gains_
from pitl.learn import gaussian_process, hill, stacked
from pitl.learn.gaussian_process import AnglePrior, Deviation
from pitl.learn.units import Spread
from pitl.mechanics.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.net.head import OutputScale
from pitl.net.network import Network
from pitl.signals.normalise import ChannelScale, ScalePrior

_KIND = "model"
_DEVIATIONS = ("deviation", "deviation_without")
_PARTS: dict[str, Any] = {
    "gain_prior": gains_.GainPrior,
    "gains": gains_.Gains,
    "scale_prior": ScalePrior,
}


class Model(struct.PyTreeNode):
    """A generic or personal model.

    Example:
        anna = pitl.Model.load("anna")
        anna.limb.dofs, anna.channels, anna.history["config"]
    """

    params: dict[str, Any]  # {"encoder", "head"}
    limb: MusculoskeletalModel  # with the person's corrections applied
    scale: OutputScale
    spread: Spread
    channel_scale: ChannelScale | None  # None in a generic model: it is fitted to each person
    scale_prior: ScalePrior | None = None  # of a generic model: what little EMG told of the source people's scales
    muscle_prior: hill.Belief | None = None  # of a generic model: what the source people's muscles turned out to be
    angle_prior: AnglePrior | None = None  # of a generic model: how the source people's angle deviates from it
    muscles: hill.Fitted | None = None  # of an EMG-driven model, which has no network: it follows a measured motion
    deviation: Deviation | None = None  # of a person's angle from the generic model's
    deviation_without: Deviation | None = None  # the same for each channel that may be lost, stacked over them
    generic: dict[str, Any] | None = None  # its parameters, where there is a deviation
    gain_prior: gains_.GainPrior | None = None  # of a generic model: what the source people's gains turned out to be
    gains: gains_.Gains | None = None  # of a person's muscles, where efforts told them; `scale` has them already
    net: Network = struct.field(pytree_node=False, default=None)  # pyright: ignore[reportAssignmentType]
    emg: EmgConfig = struct.field(pytree_node=False, default=EmgConfig())
    personalize: PersonalizeConfig = struct.field(pytree_node=False, default=PersonalizeConfig())
    angle_lowpass_hz: float = struct.field(pytree_node=False, default=6.0)
    emg_kind: str = struct.field(pytree_node=False, default="raw")  # "raw", "rectified" or "envelope"
    channels: tuple[str, ...] = struct.field(pytree_node=False, default=())
    people: tuple[str, ...] = struct.field(pytree_node=False, default=())  # whose it is; one name each if stacked
    about: str = struct.field(pytree_node=False, default="{}")  # how it was made, as JSON

    @property
    def history(self) -> dict[str, Any]:
        """How it was made: configuration, people, steps, and how far to trust it."""
        return json.loads(self.about)

    @property
    def subject(self) -> str | None:
        """Whose model it is; None of a generic one."""
        return self.people[0] if len(self.people) == 1 else None

    def with_history(self, **facts: Any) -> "Model":
        """The same model with more said about how it was made."""
        return self.replace(about=json.dumps({**self.history, **facts}))

    def without_channels(self, lost: np.ndarray) -> "Model":
        """The same model for EMG in which channels (C,) are lost, which is silent there: its angle does without one."""
        if self.deviation_without is None or not lost.any():
            return self
        return self.replace(deviation=stacked.take(self.deviation_without, int(np.flatnonzero(lost)[0])))

    def without_priors(self) -> "Model":
        """The same model without what only new people are held against, to become a person's."""
        return self.replace(scale_prior=None, muscle_prior=None, angle_prior=None, gain_prior=None)

    def __len__(self) -> int:
        """People in it."""
        return max(1, len(self.people))

    def __getitem__(self, name: str) -> "Model":
        """One person's model out of several.

        Raises:
            PitlError: there is no such person in it.
        """
        if name not in self.people:
            raise PitlError(f"this model is of {', '.join(self.people) or 'nobody in particular'}, not of {name!r}.")
        if len(self.people) == 1:
            return self
        at = self.people.index(name)
        return stacked.take(self, at).replace(people=(name,))

    def save(self, folder: str | Path) -> None:
        """Writes the model into a folder, under a temporary name until it is whole.

        Raises:
            PitlError: if it cannot be written.
        """
        static, arrays = model_to_dict(self.limb)
        tree: dict[str, Any] = {"params": self.params, "limb": arrays}
        names = ("scale", "spread", "muscle_prior", "angle_prior", *_DEVIATIONS, "generic", "muscles", *_PARTS)
        for name in names:
            if getattr(self, name) is not None:
                tree[name] = serialization.to_state_dict(getattr(self, name))
        meta = {
            "kind": _KIND,
            "net": asdict(self.net),
            "limb": static,
            "emg": self.emg.model_dump(),
            "personalize": self.personalize.model_dump(),
            "angle_lowpass_hz": self.angle_lowpass_hz,
            "emg_kind": self.emg_kind,
            "channels": list(self.channels),
            "people": list(self.people),
            "about": self.history,
        }
        if self.channel_scale is not None:
            scale = self.channel_scale
            meta["channel_scale"] = {
                "method": scale.method,
                "volts": np.asarray(scale.volts, float).tolist(),
                "window_s": scale.window_s,
            }
        save_checkpoint(folder, tree, meta)

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """Reads a model back.

        Raises:
            PitlError: if the folder holds no model, a damaged one, or one of another version.
        """
        tree, meta = load_checkpoint(folder)
        if meta.get("kind") != _KIND:
            raise PitlError(
                f"{folder} is a checkpoint but not a model of this version (models of earlier ones are not read); "
                "train it again."
            )
        try:
            net: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["net"].items()}
            model = cls(
                params=jax.device_put(tree.get("params", {})),
                limb=model_from_dict(meta["limb"], tree["limb"]),
                scale=OutputScale(**jax.device_put(tree["scale"])),
                spread=Spread(**jax.device_put(tree["spread"])),
                channel_scale=_channel_scale(meta.get("channel_scale")),
                muscle_prior=hill.belief_from_dict(tree["muscle_prior"]) if "muscle_prior" in tree else None,
                angle_prior=gaussian_process.from_dict("prior", tree["angle_prior"]) if "angle_prior" in tree else None,
                muscles=hill.fitted_from_dict(tree["muscles"]) if "muscles" in tree else None,
                **{k: gaussian_process.from_dict("deviation", tree[k]) for k in _DEVIATIONS if k in tree},
                generic=jax.device_put(tree["generic"]) if "generic" in tree else None,
                **{k: make(**jax.device_put(tree[k])) for k, make in _PARTS.items() if k in tree},
                net=Network(**net),
                emg=EmgConfig(**meta["emg"]),
                personalize=PersonalizeConfig(**meta["personalize"]),
                angle_lowpass_hz=float(meta["angle_lowpass_hz"]),
                emg_kind=str(meta["emg_kind"]),
                channels=tuple(meta["channels"]),
                people=tuple(meta["people"]),
                about=json.dumps(meta["about"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise PitlError(f"{folder} is a checkpoint but not a model of this version ({e}); train it again.") from e
        if not all(
            np.isfinite(x).all() for x in jax.tree.leaves(model.replace(muscles=model.muscles and model.muscles.z))
        ):
            raise PitlError(f"the model in {folder} has numbers that are not finite; train it again.")
        return model


def _channel_scale(found: dict[str, Any] | None) -> ChannelScale | None:
    return None if found is None else ChannelScale(found["method"], np.array(found["volts"], float), found["window_s"])


def stack(models: Sequence[Model]) -> Model:
    """Models of the same shape as one, stacked over people in front; what is said of the first is said of all.

    Raises:
        PitlError: they differ in network, channels or EMG settings.
    """
    first = models[0]
    for m in models[1:]:
        for name in ("net", "channels", "emg", "emg_kind"):
            if getattr(m, name) != getattr(first, name):
                raise PitlError(f"models with different {name} cannot be stacked; train them with the same settings.")
    alike = [m.replace(people=(), about=first.about, personalize=first.personalize) for m in models]
    names = tuple(name for m in models for name in (m.people or ("",)))
    return stacked.stack(alike).replace(people=names)


def channel_columns(where: str, found: Sequence[str], channels: tuple[str, ...]) -> np.ndarray:
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


def pick_columns(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Columns (T, C) in the model's order, zero where `channel_columns` says that there is none."""
    out = values[:, at]
    if (at < 0).any():
        out[:, at < 0] = 0.0
    return out


def lost_channels_sentence(where: str, missing: Sequence[str], dead: Sequence[str] = ()) -> str:
    """What the user should know when channels are lost."""
    gone = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has dead", dead)) if names]
    many = len(missing) + len(dead) > 1
    which = "these channels" if many else "this channel"
    told = f"{where} {' and '.join(gone)}: the model takes {which} as silent, and its answers are worse than usual"
    return f"{told}; {SEVERAL_LOST}." if many else f"{told}."


# said of a recording and of a stream
SEVERAL_LOST = "what the loss of one channel costs was learned, that of several at once was not: do not rely on them"


def pick_channels(model: Model, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Raw EMG (T, C) [V] in the model's order, and (C,) True where there is none.

    A channel that is missing or dead counts as silent, which a warning says.

    Raises:
        PitlError: no channel of the model can be used.
    """
    where = f"{recording.source or 'the recording'} ({recording.subject}/{recording.trial})"
    if recording.emg_kind != model.emg_kind:
        raise PitlError(
            f"{where} holds {recording.emg_kind} EMG, the model learned from {model.emg_kind} EMG; give it that."
        )
    at = channel_columns(where, recording.channels, model.channels)
    there = at >= 0
    raw = recording.emg[:, at[there]]
    names = tuple(recording.channels[c] for c in at[there])
    dead = np.zeros(len(at), bool)
    dead[np.flatnonzero(there)[faults.dead(replace(recording, emg=raw, channels=names))]] = True
    silent = dead | ~there
    if silent.all():
        raise PitlError(f"{where}: every channel of the model is missing or dead; check the electrodes and cables.")
    if silent.any():
        lost = [[c for c, hit in zip(model.channels, which, strict=True) if hit] for which in (~there, dead)]
        warnings.warn(lost_channels_sentence(where, *lost), stacklevel=3)
    out = pick_columns(recording.emg, at)
    return out if recording.valid is None else np.where(recording.valid[:, None], out, 0.0), silent
