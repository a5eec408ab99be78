"""A made-up planar chain for tests of the mechanics, and the mechanics compiled, as eager tests are slow."""

from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from pitl.msk.model import MusculoskeletalModel


def chain(coordinates: int, muscles: int = 7, passive: bool = True) -> MusculoskeletalModel:
    """Segments of unlike size, flexing in alternate senses, with muscles across one or several joints."""
    rng = np.random.default_rng(coordinates)
    d, eye = coordinates, np.eye(coordinates, dtype=int)
    exponents = [0 * eye[0], *eye, *(2 * eye), *(eye[i] + eye[j] for i in range(d) for j in range(i))]
    size = np.array([0.03 if e.sum() == 1 else 0.004 for e in exponents])  # m / rad^power
    coefficients = rng.normal(size=(1, muscles, len(exponents))) * size
    coefficients[..., 0] = 0.3  # m

    def constant(value, n):
        return jnp.full(n, value, jnp.float32)

    return MusculoskeletalModel(
        name="chain",
        dofs=tuple(f"joint{i}" for i in range(d)),
        muscles=tuple(f"muscle{i}" for i in range(muscles)),
        postures=("only",),
        exponents=tuple(tuple(int(x) for x in e) for e in exponents),
        length_coefficients=jnp.asarray(coefficients, jnp.float32),
        angle_range=jnp.asarray([[-1.0, 1.0]] * d),
        max_isometric_force=constant(500.0, muscles),
        optimal_fibre_length=constant(0.1, muscles),
        tendon_slack_length=constant(0.2, muscles),
        pennation=constant(0.1, muscles),
        max_contraction_velocity=constant(10.0, muscles),
        segment_mass=jnp.linspace(2.0, 1.0, d),
        segment_length=jnp.linspace(0.35, 0.2, d),
        segment_com=jnp.linspace(0.15, 0.1, d),
        segment_inertia=jnp.linspace(0.03, 0.01, d),
        flexion_sign=jnp.asarray([(-1.0) ** i for i in range(d)]),
        base_orientation=jnp.asarray([-1.2]),
        gravity=jnp.asarray([[1.0, -9.7]]),
        gravity_scale=jnp.linspace(1.0, 1.2, d),
        damping=constant(0.1 * passive, d),
        stiffness=constant(0.5 * passive, d),
        rest_angle=jnp.full((1, d), 0.1),
        limit_angle=jnp.asarray([[-1.5, 1.5]] * d),
        limit_stiffness=constant(5.0 * passive, d),
        angle_offset=jnp.linspace(-0.05, 0.08, d),
        body_height=jnp.asarray(1.7),
        body_mass=jnp.asarray(70.0),
    )


def compiled(module: ModuleType, *names: str) -> SimpleNamespace:
    """The named functions of a module, each under `jax.jit`."""
    return SimpleNamespace(**{name: jax.jit(getattr(module, name)) for name in names})
