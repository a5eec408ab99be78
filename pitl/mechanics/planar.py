"""Built-in joints and planar chains, from plain numbers to a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pitl.errors import PitlError
from pitl.mechanics import splines
from pitl.mechanics.joints import BUILTIN
from pitl.mechanics.model import Link, MusculoskeletalModel, assemble, pseudo_inertia
from pitl.mechanics.two_axes import two_axis_joint


def builtin(name: str) -> MusculoskeletalModel:
    """A joint that comes with the package: `"wrist"`, `"wrist2"` (flexion and deviation) or `"knee"`.

    Raises:
        PitlError: the name is not known.
    """
    if name not in BUILTIN:
        raise PitlError(f"there is no built-in joint {name!r}; known are {', '.join(sorted(BUILTIN))}.")
    numbers = dict(BUILTIN[name])
    coefficients = np.array(numbers.pop("length_coefficients"))  # m / rad^k
    powers = np.array(numbers.pop("length_powers", [(k,) for k in range(coefficients.shape[-1])]))

    def length(posture: int, q: np.ndarray) -> np.ndarray:
        return np.prod(q[:, None, :] ** powers, axis=-1) @ coefficients[posture].T  # m

    return planar_chain(length, numbers) if powers.shape[1] == 1 else two_axis_joint(length, numbers)


def planar_chain(
    length: Callable[[int, np.ndarray], np.ndarray],
    numbers: Mapping[str, Any],
    crossed: Sequence[tuple[int, ...]] | None = None,
) -> MusculoskeletalModel:
    """Segments that move in one plane, each hinged to the one before, first axis along the first segment.

    Segment d turns with the posture's `base_orientation` plus the signed sum of the coordinates up to d.

    Args:
        length: (posture, angles (N, D) [rad]) -> musculotendon lengths (N, M) [m].
        numbers: fields of the model, and of each segment `segment_mass` [kg], `segment_length` (to the next joint),
            `segment_com` (joint to centre of mass) [m], `segment_inertia` (about it) [kg m2]; `flexion_sign`, the
            rotation sense of positive flexion; of each posture `base_orientation` [rad] and `gravity` in the plane.
        crossed: coordinates that each muscle's length depends on; None is all of them, on a grid of D dimensions.
    """
    n = dict(numbers)
    mass, reach, com, about, sense, base, gravity = (
        np.asarray(n.pop(key), float)
        for key in (
            "segment_mass",
            "segment_length",
            "segment_com",
            "segment_inertia",
            "flexion_sign",
            "base_orientation",
            "gravity",
        )
    )
    postures, dofs = len(base), len(mass)
    links, tables = [], []
    for d in range(dofs):
        links.append(Link(d - 1, (d,), "trigonometric", 0, (-np.pi,), (np.pi,)))
        still, cosine, sine = np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))
        still[2, 2] = cosine[0, 0] = cosine[1, 1] = 1
        sine[0, 1], sine[1, 0] = -sense[d], sense[d]
        still[0, 3] = reach[d - 1] if d else 0.0
        table = np.stack([still, cosine, sine])
        turned = [np.stack([_turn(angle) @ t for t in table]) for angle in base]
        tables.append(np.stack(turned if d == 0 else [table] * postures))
    # a slender segment: all its inertia lies along its axis
    pseudo = [
        pseudo_inertia(m, np.array([c, 0, 0]), np.diag([0, i, i])) for m, c, i in zip(mass, com, about, strict=True)
    ]
    limits = np.asarray(n["angle_range"], float)  # rad
    everything = [tuple(range(dofs))] * len(n["muscles"])
    paths = splines.sample_paths(length, limits, crossed or everything, postures, splines.NODE_SPACING)
    return assemble(
        {"angle_offset": np.zeros(dofs)}
        | n
        | {
            "links": tuple(links),
            "paths": paths.groups,
            "link_coefficients": tuple(tables),
            "pseudo_inertia": np.stack([np.stack(pseudo)] * postures),
            "gravity": np.concatenate([gravity, np.zeros((postures, 1))], axis=1),
            "path_coefficients": paths.coefficients,
            "path_reference": paths.reference,
            "path_scale": np.ones(len(n["muscles"])),
        }
    )


def _turn(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
