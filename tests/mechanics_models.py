"""A made-up planar chain for tests of the mechanics, and the mechanics compiled, as eager tests are slow."""

from types import ModuleType, SimpleNamespace

import jax
import numpy as np

from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.planar import planar_chain


def chain(coordinates: int, muscles: int = 7, passive: bool = True) -> MusculoskeletalModel:
    """Segments of unlike size, flexing in alternate senses, with muscles across one or several joints."""
    rng = np.random.default_rng(coordinates)
    d, eye = coordinates, np.eye(coordinates, dtype=int)
    exponents = [0 * eye[0], *eye, *(2 * eye), *(eye[i] + eye[j] for i in range(d) for j in range(i))]
    size = np.array([0.03 if e.sum() == 1 else 0.004 for e in exponents])  # m / rad^power
    coefficients = rng.normal(size=(1, muscles, len(exponents))) * size
    coefficients[..., 0] = 0.3  # m

    def length(_, q):
        return np.stack([np.prod(q**e, axis=1) for e in exponents], axis=1) @ coefficients[0].T  # m

    return planar_chain(
        length,
        {
            "name": "chain",
            "source": "made up",
            "dofs": tuple(f"joint{i}" for i in range(d)),
            "muscles": tuple(f"muscle{i}" for i in range(muscles)),
            "postures": ("only",),
            "bodies": tuple(f"body{i}" for i in range(d)),
            "segments": ("",) * d,
            "body_sex": "",
            "angle_range": np.array([[-1.0, 1.0]] * d),
            "max_isometric_force": np.full(muscles, 500.0),
            "optimal_fibre_length": np.full(muscles, 0.1),
            "tendon_slack_length": np.full(muscles, 0.2),
            "pennation": np.full(muscles, 0.1),
            "max_contraction_velocity": np.full(muscles, 10.0),
            **segments(d),
            "gravity_scale": np.linspace(1.0, 1.2, d),
            "damping": np.full(d, 0.1 * passive),
            "stiffness": np.full(d, 0.5 * passive),
            "rest_angle": np.full((1, d), 0.1),
            "limit_angle": np.array([[-1.5, 1.5]] * d),
            "limit_stiffness": np.full(d, 5.0 * passive),
            "angle_offset": np.linspace(-0.05, 0.08, d),
            "body_height": 1.7,
            "body_mass": 70.0,
        },
    )


def segments(d: int) -> dict[str, np.ndarray]:
    """The chain's segments, in the words of `planar_chain`."""
    return {
        "segment_mass": np.linspace(2.0, 1.0, d),
        "segment_length": np.linspace(0.35, 0.2, d),
        "segment_com": np.linspace(0.15, 0.1, d),
        "segment_inertia": np.linspace(0.03, 0.01, d),
        "flexion_sign": np.array([(-1.0) ** i for i in range(d)]),
        "base_orientation": np.array([-1.2]),
        "gravity": np.array([[1.0, -9.7]]),
    }


def compiled(module: ModuleType, *names: str) -> SimpleNamespace:
    """The named functions of a module, each under `jax.jit`."""
    return SimpleNamespace(**{name: jax.jit(getattr(module, name)) for name in names})
