"""The one door for models of other programs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pitl.errors import PitlError
from pitl.mechanics.mujoco import sampler as mujoco
from pitl.mechanics.opensim import sampler as opensim
from pitl.mechanics.sampling import paths
from pitl.mechanics.sampling.convert import Imported, convert

_OPEN = {".osim": opensim.open_model, ".xml": mujoco.open_model, ".mjcf": mujoco.open_model}


def import_model(
    path: Path,
    coordinates: Sequence[str],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    muscles: Sequence[str] | None = None,
    postures: Mapping[str, Mapping[str, float]] | None = None,
    accept: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Samples an OpenSim (.osim) or MuJoCo (.xml) model over the ranges of a few coordinates.

    Damping and stiffness of MuJoCo's joints are taken over; its muscles have an inelastic tendon and no pennation, and
    so have those of the result. Passive joint forces of an OpenSim file (coordinate limit forces, ligaments) are not:
    damping and stiffness are zero until the configuration sets them.

    Args:
        path: the file.
        coordinates: D coordinates that move.
        ranges: [rad] of chosen coordinates, such as the recordings visit, in place of the file's.
        muscles: names; None is every muscle that is switched on and whose length depends on a chosen coordinate.
        postures: by name, values of held coordinates [rad or m]; None is one posture, the file's defaults.
        accept: muscles that are kept although smooth functions follow them badly.
        progress: called with what is being sampled.

    Returns:
        The model (`.model`), sentences about what was smoothed, left out or changed (`.sentences`), how well each
        muscle is followed (`.fits`), and the provenance to store with it (`.about`).

    Raises:
        PitlError: something in the request does not fit the file, or nothing useful remains.
    """
    path = Path(path)
    coordinates = [c.removesuffix("/value").rpartition("/")[2] for c in coordinates]  # as OpenSim's tables call them
    if path.is_dir():
        raise PitlError(f"{path} is a folder; give an OpenSim model (.osim) or a MuJoCo model (.xml).")
    open_model = _OPEN.get(path.suffix.lower())
    if open_model is None:
        raise PitlError(f"{path} is neither an OpenSim model (.osim) nor a MuJoCo model (.xml); give one of these.")
    if not path.is_file():
        raise PitlError(f"{path} does not exist; check the path.")
    named = dict(postures or {"default": {}})
    samplers = {name: open_model(path, coordinates, held, ranges) for name, held in named.items()}
    return convert(samplers, muscles, accept, progress)


def muscles_across(path: Path, coordinates: Sequence[str]) -> list[str]:
    """Names of the muscles that are switched on and whose length depends on any of some coordinates of a model."""
    sampler = _OPEN[Path(path).suffix.lower()](Path(path), coordinates, {}, None)
    depends = paths.crossed([sampler], sampler.muscle_names(), np.random.default_rng(0))
    off = sampler.muscles_off()
    return [m for m, which in depends.items() if which and m not in off]
