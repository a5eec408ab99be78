"""Musculoskeletal models by name: the built-in joints, and folders that an import wrote."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from pitl.errors import PitlError
from pitl.files import load_checkpoint, save_checkpoint
from pitl.mechanics.joints import BUILTIN
from pitl.mechanics.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.mechanics.muscle import calibrate_slack_length
from pitl.mechanics.planar import builtin


def load(name: str | Path) -> MusculoskeletalModel:
    """A built-in joint, or the model in a folder.

    Raises:
        PitlError: there is neither, or the folder holds something else.
    """
    if str(name) in BUILTIN:
        return builtin(str(name))
    folder = Path(name)
    if folder.suffix == ".osim":
        raise PitlError(f"{folder} is an OpenSim model; turn it into one of ours first: pitl model import {folder}.")
    if not folder.is_dir():
        raise PitlError(
            f"there is no model {str(name)!r}: it is neither a built-in joint ({', '.join(sorted(BUILTIN))}) nor a "
            "folder written by `pitl model import`."
        )
    tree, meta = load_checkpoint(folder)
    if "musculoskeletal_model" not in meta:
        raise PitlError(f"{folder} is not a musculoskeletal model; give a folder written by `pitl model import`.")
    return model_from_dict(meta["musculoskeletal_model"], tree)


def save(folder: Path, model: MusculoskeletalModel, about: dict[str, Any]) -> None:
    """Writes a model, under a temporary name until it is whole.

    Raises:
        PitlError: if it cannot be written.
    """
    names, arrays = model_to_dict(model)
    save_checkpoint(folder, arrays, {"musculoskeletal_model": names, "about": about})


def provenance(folder: Path) -> dict[str, Any]:
    """What an import noted about where a stored model came from and how well it fits."""
    return load_checkpoint(folder)[1].get("about", {})


def with_passive(
    model: MusculoskeletalModel, damping: tuple[float, ...], stiffness: tuple[float, ...], *, calibrated: bool = False
) -> MusculoskeletalModel:
    """A model with other passive properties.

    Args:
        model: to start from.
        damping: of each coordinate [N m s/rad]; empty keeps the model's.
        stiffness: of each coordinate [N m/rad]; empty keeps the model's.
        calibrated: whether tendon slack lengths put fibres near their plateau over the range of motion.

    Raises:
        PitlError: a property does not have one value a coordinate.
    """
    for name, values in (("damping", damping), ("stiffness", stiffness)):
        if values and len(values) != len(model.dofs):
            raise PitlError(
                f"model.{name} has {len(values)} value(s); the model {model.name} has {len(model.dofs)} coordinates "
                f"({', '.join(model.dofs)}): give one for each."
            )
        if values:
            model = dataclasses.replace(model, **{name: jnp.asarray(values, jnp.float32)})
    return calibrate_slack_length(model) if calibrated else model
