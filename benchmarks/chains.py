"""Chains of any number of joints whose muscles cross at most two of them, as muscles of limbs do."""

import numpy as np

from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.planar import planar_chain


def chain(joints: int, muscles_each: int = 4) -> MusculoskeletalModel:
    """Segments that flex in alternate senses; half of the muscles cross one joint, the others that and the next."""
    d, count = joints, joints * muscles_each
    crossed = [(m // muscles_each,) if m % 2 else _two(m // muscles_each, d) for m in range(count)]
    arms = np.zeros((count, d))  # m
    for m, own in enumerate(crossed):
        arms[m, list(own)] = 0.02 + 0.01 * np.cos(m + np.array(own))

    def length(_: int, q: np.ndarray) -> np.ndarray:
        return 0.3 + q @ arms.T + 0.1 * q**2 @ arms.T  # m

    size = np.linspace(1.0, 0.5, d)
    return planar_chain(
        length,
        {
            "name": "chain",
            "source": "made up",
            "dofs": tuple(f"joint{i}" for i in range(d)),
            "muscles": tuple(f"muscle{i}" for i in range(count)),
            "postures": ("only",),
            "bodies": tuple(f"body{i}" for i in range(d)),
            "segments": ("",) * d,
            "body_sex": "",
            "angle_range": np.array([[-1.0, 1.0]] * d),  # rad
            "max_isometric_force": np.full(count, 500.0),  # N
            "optimal_fibre_length": np.full(count, 0.1),  # m
            "tendon_slack_length": np.full(count, 0.2),  # m
            "pennation": np.full(count, 0.1),  # rad
            "max_contraction_velocity": np.full(count, 10.0),  # 1/s
            "segment_mass": 2.0 * size,  # kg
            "segment_length": 0.3 * size,  # m
            "segment_com": 0.15 * size,  # m
            "segment_inertia": 0.02 * size,  # kg m2
            "flexion_sign": np.array([(-1.0) ** i for i in range(d)]),
            "base_orientation": np.array([-1.2]),  # rad
            "gravity": np.array([[1.0, -9.7]]),  # m/s2
            "gravity_scale": np.ones(d),
            "damping": np.full(d, 0.1),  # N m s/rad
            "stiffness": np.full(d, 0.5),  # N m/rad
            "rest_angle": np.full((1, d), 0.1),  # rad
            "limit_angle": np.array([[-1.5, 1.5]] * d),  # rad
            "limit_stiffness": np.full(d, 5.0),  # N m/rad
            "angle_offset": np.zeros(d),  # rad
            "body_height": 1.7,  # m
            "body_mass": 70.0,  # kg
        },
        crossed,
    )


def _two(joint: int, joints: int) -> tuple[int, ...]:
    return (joint, joint + 1) if joint + 1 < joints else (joint,)
