"""A chosen part of a MuJoCo model as a MusculoskeletalModel."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pitl.mechanics.mujoco.sampler import open_model
from pitl.mechanics.sampling.convert import Imported, convert


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
    """Samples an MuJoCo model over the ranges of a few coordinates.

    Damping and stiffness of the chosen joints are taken over; MuJoCo's muscles have an inelastic tendon and no
    pennation, and so have those of the result.

    Args:
        path: the .xml file (MJCF).
        coordinates: D coordinates that move.
        ranges: [rad] of chosen coordinates, such as the recordings visit, in place of the file's.
        muscles: names; None is every muscle that is switched on and whose length depends on a chosen coordinate.
        postures: by name, values of held coordinates [rad or m]; None is one posture, the file's defaults.
        accept: muscles that are kept although smooth functions follow them badly.
        progress: called with what is being sampled.

    Returns:
        The model, and sentences about what was smoothed, left out or changed.

    Raises:
        PitlError: something in the request does not fit the file, or nothing useful remains.
    """
    named = dict(postures or {"default": {}})
    samplers = {name: open_model(Path(path), coordinates, held, ranges) for name, held in named.items()}
    return convert(samplers, muscles, accept, progress)
