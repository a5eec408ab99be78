"""Musculoskeletal models by name: the built-in joints, and folders that an import wrote."""

from pathlib import Path
from typing import Any

from pitl import checkpoint
from pitl.errors import PitlError
from pitl.msk.joints import BUILTIN
from pitl.msk.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.msk.planar import builtin


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
    tree, meta = checkpoint.load(folder)
    if "musculoskeletal_model" not in meta:
        raise PitlError(f"{folder} is not a musculoskeletal model; give a folder written by `pitl model import`.")
    return model_from_dict(meta["musculoskeletal_model"], tree)


def save(folder: Path, model: MusculoskeletalModel, about: dict[str, Any]) -> None:
    """Writes a model, under a temporary name until it is whole.

    Raises:
        PitlError: if it cannot be written.
    """
    names, arrays = model_to_dict(model)
    checkpoint.save(folder, arrays, {"musculoskeletal_model": names, "about": about})


def provenance(folder: Path) -> dict[str, Any]:
    """What an import noted about where a stored model came from and how well it fits."""
    return checkpoint.load(folder)[1].get("about", {})
