"""Bounded corrections of a generic model, to be learned together with a network.

Each correction is a z-score: 0 is the generic model, +-1 is one standard deviation among people. A tanh maps it to a
factor that can never leave its bounds, so an optimiser may step where it likes; the prior is a plain Gaussian on z,
which makes the factors log-normal near 1. Without the prior, strength and moment arm trade off against each other.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from pitl.errors import PitlError
from pitl.mechanics.model import MusculoskeletalModel


class FactorSpread(NamedTuple):
    """How far a quantity varies among people, and how far a correction may go at most."""

    deviation: float  # of the logarithm of the factor; of the offset [rad]
    bound: float  # largest factor, its inverse being the smallest; largest offset [rad]


# Chosen: wide enough for the differences that scaling by height and weight leaves.
SPREAD = {
    "inertia": FactorSpread(0.15, 2.0),
    "gravity": FactorSpread(0.15, 2.0),
    "damping": FactorSpread(0.40, 4.0),
    "moment_arm": FactorSpread(0.12, 2.0),
    "strength": FactorSpread(0.30, 2.0),
    "angle_offset": FactorSpread(np.deg2rad(5.0).item(), np.deg2rad(20.0).item()),
}


@struct.dataclass
class Correction:
    """z-scores, unbounded; zero is no correction."""

    inertia: Float[Array, " D"]
    gravity: Float[Array, " D"]
    damping: Float[Array, " D"]
    moment_arm: Float[Array, " M"]
    strength: Float[Array, " M"]
    angle_offset: Float[Array, " D"]


def identity_correction(model: MusculoskeletalModel) -> Correction:
    """The correction that leaves the model exactly as it is."""
    per_dof = jnp.zeros(len(model.dofs), jnp.float32)
    per_muscle = jnp.zeros(len(model.muscles), jnp.float32)
    return Correction(
        inertia=per_dof,
        gravity=per_dof,
        damping=per_dof,
        moment_arm=per_muscle,
        strength=per_muscle,
        angle_offset=per_dof,
    )


def _bounded(z: Float[Array, "..."], deviation: float, limit: float) -> Float[Array, "..."]:
    return limit * jnp.tanh(z * (deviation / limit))


def factors(correction: Correction) -> dict[str, Float[Array, "..."]]:
    """What the z-scores stand for: factors, and `angle_offset` [rad]."""
    values = {}
    for name, (deviation, bound) in SPREAD.items():
        z = getattr(correction, name)
        if name == "angle_offset":
            values[name] = _bounded(z, deviation, bound)  # rad
        else:
            values[name] = jnp.exp(_bounded(z, deviation, np.log(bound).item()))
    return values


def apply_correction(model: MusculoskeletalModel, correction: Correction) -> MusculoskeletalModel:
    """The corrected model.

    `inertia` scales the masses and moments of inertia of the bodies that a coordinate moves first, but not their
    weight; `gravity` scales weight alone. `moment_arm` scales a muscle's excursion, so that arms remain the derivative
    of length.
    """
    f = factors(correction)
    moved_by = jnp.asarray([link.coordinates[0] for link in model.links])  # (B,)
    inertia = f["inertia"][moved_by]
    return replace(
        model,
        pseudo_inertia=model.pseudo_inertia * inertia[None, :, None, None],
        gravity_scale=model.gravity_scale * f["gravity"][moved_by] / inertia,
        damping=model.damping * f["damping"],
        path_scale=model.path_scale * f["moment_arm"],
        max_isometric_force=model.max_isometric_force * f["strength"],
        angle_offset=model.angle_offset + f["angle_offset"],
    )


def log_prior(correction: Correction) -> Float[Array, ""]:
    """Log of the prior density up to a constant, -1/2 sum z^2: zero at the identity, negative elsewhere.

    A loss subtracts it.
    """
    return -0.5 * jnp.sum(jnp.stack([jnp.sum(z * z) for z in jax.tree.leaves(correction)]))


def describe(correction: Correction, model: MusculoskeletalModel) -> dict[str, np.ndarray]:
    """Factors by name for reports, such as `strength` (M,) in the order of the model's muscles; offset in degrees.

    Args:
        correction: as learned.
        model: the generic model it belongs to.

    Raises:
        PitlError: the correction belongs to another model.
    """
    expected, result = (
        (len(model.muscles), len(model.dofs)),
        (correction.strength.shape[-1], correction.inertia.shape[-1]),
    )
    if expected != result:
        raise PitlError(
            f"the correction is for {result[0]} muscles and {result[1]} coordinates, the {model.name} model has "
            f"{expected[0]} and {expected[1]}; give the model that it was learned for."
        )
    values = {name: np.asarray(value) for name, value in factors(correction).items()}
    values["angle_offset_deg"] = np.rad2deg(values.pop("angle_offset"))
    return values


assert set(SPREAD) == {f.name for f in fields(Correction)}
