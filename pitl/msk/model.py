"""The musculoskeletal model of one joint or a planar chain of joints, as a pytree of physical constants."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from pitl.errors import PitlError
from pitl.msk.joints import BUILTIN


@struct.dataclass
class MusculoskeletalModel:
    """D coordinates, M muscles, P postures. Flexion is positive; a flexor has a positive moment arm.

    The bodies form a planar chain; segment d hangs on coordinate d. Its orientation is the posture's
    `base_orientation` plus the signed sum of the coordinates up to d. Every function evaluates the mechanics at
    q + `angle_offset`, so an offset stands for a goniometer that was not zeroed.
    """

    name: str = struct.field(pytree_node=False)
    dofs: tuple[str, ...] = struct.field(pytree_node=False)
    muscles: tuple[str, ...] = struct.field(pytree_node=False)
    postures: tuple[str, ...] = struct.field(pytree_node=False)
    # (K, D) powers of the angles in the musculotendon-length polynomial
    exponents: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)

    length_coefficients: Float[Array, "P M K"]  # m / rad^power
    angle_range: Float[Array, "D 2"]  # rad, where the length polynomials hold
    max_isometric_force: Float[Array, " M"]  # N
    optimal_fibre_length: Float[Array, " M"]  # m
    tendon_slack_length: Float[Array, " M"]  # m
    pennation: Float[Array, " M"]  # rad, at optimal fibre length
    max_contraction_velocity: Float[Array, " M"]  # optimal fibre lengths per s
    segment_mass: Float[Array, " D"]  # kg
    segment_length: Float[Array, " D"]  # m, to the next joint
    segment_com: Float[Array, " D"]  # m, joint to centre of mass
    segment_inertia: Float[Array, " D"]  # kg m2, about the centre of mass
    flexion_sign: Float[Array, " D"]  # +1 or -1, rotation sense of positive flexion in the plane
    base_orientation: Float[Array, " P"]  # rad, of the first segment at zero angles; 0 is along +x
    gravity: Float[Array, "P 2"]  # m/s2, in the plane of motion (x right, y up)
    gravity_scale: Float[Array, " D"]  # weight of each segment / (its mass times gravity); 1 unless corrected
    damping: Float[Array, " D"]  # N m s/rad
    stiffness: Float[Array, " D"]  # N m/rad
    rest_angle: Float[Array, "P D"]  # rad, where the stiffness pulls to
    limit_angle: Float[Array, "D 2"]  # rad, beyond which ligaments push back
    limit_stiffness: Float[Array, " D"]  # N m/rad, of that push; 0 for none
    angle_offset: Float[Array, " D"]  # rad, added to every angle given
    body_height: Float[Array, ""]  # m, of the person these numbers describe
    body_mass: Float[Array, ""]  # kg, of the person these numbers describe


STATIC = ("name", "dofs", "muscles", "postures", "exponents")


def builtin(name: str) -> MusculoskeletalModel:
    """A joint that comes with the package: `"wrist"` or `"knee"`.

    Raises:
        PitlError: the name is not known.
    """
    if name not in BUILTIN:
        raise PitlError(f"there is no built-in joint {name!r}; known are {', '.join(sorted(BUILTIN))}.")
    values: dict[str, Any] = {k: v if k in STATIC else jnp.asarray(v, jnp.float32) for k, v in BUILTIN[name].items()}
    return MusculoskeletalModel(**values)


def posture_index(model: MusculoskeletalModel, posture: str) -> int:
    """Where a posture stands in the model's tables.

    Raises:
        PitlError: the model has no such posture.
    """
    if posture not in model.postures:
        raise PitlError(f"the {model.name} model has no posture {posture!r}; known are {', '.join(model.postures)}.")
    return model.postures.index(posture)


def scale_to_body(
    model: MusculoskeletalModel,
    height_m: float | Float[Array, ""] | None = None,
    mass_kg: float | Float[Array, ""] | None = None,
) -> MusculoskeletalModel:
    """The model of a person of another height and weight, in proportion to the one it describes.

    Segment lengths, muscle paths and fibre lengths scale with height, segment masses with body mass, inertias with
    mass times height squared (constant fractions of the body: de Leva 1996, doi 10.1016/0021-9290(95)00178-6). Strength
    scales with mass^(2/3), as muscle area does (Jaric 2002, doi 10.2165/00007256-200232100-00002), and so does passive
    tissue.

    Args:
        model: to be scaled.
        height_m: body height [m]; None leaves lengths as they are.
        mass_kg: body mass [kg]; None leaves masses and strengths as they are.
    """
    height = model.body_height if height_m is None else jnp.asarray(height_m, jnp.float32)  # m
    mass = model.body_mass if mass_kg is None else jnp.asarray(mass_kg, jnp.float32)  # kg
    longer = height / model.body_height
    heavier = mass / model.body_mass
    stronger = heavier ** (2.0 / 3.0)
    return replace(
        model,
        length_coefficients=model.length_coefficients * longer,
        optimal_fibre_length=model.optimal_fibre_length * longer,
        tendon_slack_length=model.tendon_slack_length * longer,
        segment_length=model.segment_length * longer,
        segment_com=model.segment_com * longer,
        segment_mass=model.segment_mass * heavier,
        segment_inertia=model.segment_inertia * heavier * longer**2,
        max_isometric_force=model.max_isometric_force * stronger,
        damping=model.damping * stronger * longer,
        stiffness=model.stiffness * stronger * longer,
        limit_stiffness=model.limit_stiffness * stronger * longer,
        body_height=height,
        body_mass=mass,
    )


def model_to_dict(model: MusculoskeletalModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(names that JSON can hold, arrays) from which `model_from_dict` makes the same model, bit by bit."""
    names = {k: getattr(model, k) for k in STATIC}
    arrays = {f.name: np.asarray(getattr(model, f.name)) for f in fields(model) if f.name not in STATIC}
    return names, arrays


def model_from_dict(names: Mapping[str, Any], arrays: Mapping[str, Any]) -> MusculoskeletalModel:
    """The inverse of `model_to_dict`, also after a detour through JSON, which turns tuples into lists.

    Raises:
        PitlError: a constant is missing or not known.
    """
    expected = {f.name for f in fields(MusculoskeletalModel)}
    found = set(names) | set(arrays)
    if found != expected:
        raise PitlError(
            f"a stored musculoskeletal model lacks {sorted(expected - found)} and has unknown "
            f"{sorted(found - expected)}; "
            "it was written by another version of the package."
        )
    static: dict[str, Any] = {k: names[k] if k == "name" else tuple(names[k]) for k in STATIC}
    static["exponents"] = tuple(tuple(e) for e in static["exponents"])
    constants: dict[str, Any] = {k: jnp.asarray(v) for k, v in arrays.items()}
    return MusculoskeletalModel(**static, **constants)
