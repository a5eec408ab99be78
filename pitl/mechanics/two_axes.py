"""A body on two hinges that cross, such as the hand on the wrist."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pitl.mechanics import splines
from pitl.mechanics.model import Link, MusculoskeletalModel, assemble, pseudo_inertia


def two_axis_joint(length: Callable[[int, np.ndarray], np.ndarray], numbers: Mapping[str, Any]) -> MusculoskeletalModel:
    """One body that flexes about the ground's -z and then deviates about its own -y, both through the origin.

    The order is that of the wrist's coordinates by the International Society of Biomechanics (Wu et al. 2005,
    doi 10.1016/j.jbiomech.2004.05.042). The body lies along its first axis, which points to +x at zero.

    Args:
        length: (posture, angles (N, 2) [rad]) -> musculotendon lengths (N, M) [m].
        numbers: fields of the model, `gravity` (P, 3) [m/s2] among them, and `segment_mass` [kg], `segment_com` (joint
            to centre of mass) [m], `segment_inertia` (about it, along the three axes of the body) [kg m2].
    """
    n = dict(numbers)
    mass, com, about = (n.pop(f"segment_{key}") for key in ("mass", "com", "inertia"))
    postures, muscles = len(n["postures"]), len(n["muscles"])
    limits = np.asarray(n["angle_range"], float)  # rad
    paths = splines.sample_paths(length, limits, [(0, 1)] * muscles, postures, splines.NODE_SPACING)
    body = pseudo_inertia(mass, np.array([com, 0.0, 0.0]), np.diag(about))
    table = np.zeros((3, 3, 3, 4))  # 1, cos, sin of flexion and of deviation
    for i, flexion in enumerate(_turn(2)):
        for j, deviation in enumerate(_turn(1)):
            table[i, j, :, :3] = flexion @ deviation
    link = Link(-1, (0, 1), "trigonometric", 0, (-np.pi,) * 2, (np.pi,) * 2)
    return assemble(
        n
        | {
            "links": (link,),
            "paths": paths.groups,
            "link_coefficients": (np.stack([table.reshape(9, 3, 4)] * postures),),
            "pseudo_inertia": np.stack([body[None]] * postures),
            "path_coefficients": paths.coefficients,
            "path_reference": paths.reference,
            "path_scale": np.ones(muscles),
        }
    )


def _turn(axis: int) -> np.ndarray:
    """Rotation by -q about an axis, as the matrices that 1, cos q and sin q multiply."""
    still = np.zeros((3, 3))
    still[axis, axis] = 1.0
    swept = np.cross(np.eye(3)[axis], np.eye(3)).T  # columns axis x e_k
    return np.stack([still, np.eye(3) - still, -swept])
