"""The musculoskeletal model of one or more joints, as a pytree of physical constants."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from pitl.errors import PitlError


class Link(NamedTuple):
    """How a body hangs on the one before it: a transform that depends on a few coordinates, as a linear combination.

    `"trigonometric"` combines products of 1, cos q, sin q and is exact for hinges; `"chebyshev"` combines products of
    Chebyshev polynomials up to a total degree, over the coordinates' ranges, for joints that roll or slide.
    """

    parent: int  # index of a body earlier in the list; -1 is the ground
    coordinates: tuple[int, ...]  # that it depends on
    basis: str  # "trigonometric" or "chebyshev"
    degree: int  # of the Chebyshev polynomials
    low: tuple[float, ...]  # rad, where the polynomials' domain begins
    high: tuple[float, ...]  # rad, where it ends


class Paths(NamedTuple):
    """Muscles that cross the same coordinates, and the grid on which their lengths are splines."""

    coordinates: tuple[int, ...]
    muscles: tuple[int, ...]  # indices into the model's muscles
    start: tuple[float, ...]  # rad, first node along each coordinate
    step: tuple[float, ...]  # rad
    count: tuple[int, ...]  # nodes along each coordinate


@struct.dataclass
class MusculoskeletalModel:
    """D coordinates, M muscles, B moving bodies, P postures.

    A positive coordinate is what the model's author calls positive (flexion, in the built-in joints), and a muscle that
    pulls that way has a positive moment arm. Every function evaluates the mechanics at q + `angle_offset`, so an offset
    stands for a goniometer that was not zeroed. A posture is a set of values of the coordinates that are held.
    """

    name: str = struct.field(pytree_node=False)
    source: str = struct.field(pytree_node=False)  # where the numbers come from, one line
    dofs: tuple[str, ...] = struct.field(pytree_node=False)
    muscles: tuple[str, ...] = struct.field(pytree_node=False)
    postures: tuple[str, ...] = struct.field(pytree_node=False)
    bodies: tuple[str, ...] = struct.field(pytree_node=False)
    segments: tuple[str, ...] = struct.field(pytree_node=False)  # body segment of each body, "" if none is known
    body_sex: str = struct.field(pytree_node=False)  # of the person these numbers describe: "female", "male" or ""
    links: tuple[Link, ...] = struct.field(pytree_node=False)  # one a body
    paths: tuple[Paths, ...] = struct.field(pytree_node=False)

    link_coefficients: tuple[Float[Array, "P K 3 4"], ...]  # rotation | translation [m], one array a body
    pseudo_inertia: Float[Array, "P B 4 4"]  # kg m2 | kg m | kg: integral of (y, 1)(y, 1)^T dm, body coordinates
    gravity: Float[Array, "P 3"]  # m/s2, in the ground's coordinates
    gravity_scale: Float[Array, " B"]  # weight of each body / (its mass times gravity); 1 unless corrected
    path_coefficients: tuple[Float[Array, "P N G"], ...]  # m, N spline coefficients of G muscles, one array a group
    path_reference: Float[Array, "P M"]  # m, musculotendon length to which the splines add
    path_scale: Float[Array, " M"]  # factor of the excursion; 1 unless scaled or corrected
    angle_range: Float[Array, "D 2"]  # rad, where paths and links hold
    max_isometric_force: Float[Array, " M"]  # N
    optimal_fibre_length: Float[Array, " M"]  # m
    tendon_slack_length: Float[Array, " M"]  # m
    pennation: Float[Array, " M"]  # rad, at optimal fibre length
    max_contraction_velocity: Float[Array, " M"]  # optimal fibre lengths per s
    damping: Float[Array, " D"]  # N m s/rad
    stiffness: Float[Array, " D"]  # N m/rad
    rest_angle: Float[Array, "P D"]  # rad, where the stiffness pulls to
    limit_angle: Float[Array, "D 2"]  # rad, beyond which ligaments push back
    limit_stiffness: Float[Array, " D"]  # N m/rad, of that push; 0 for none
    angle_offset: Float[Array, " D"]  # rad, added to every angle given
    body_height: Float[Array, ""]  # m, of the person these numbers describe
    body_mass: Float[Array, ""]  # kg, of the person these numbers describe


STATIC = ("name", "source", "dofs", "muscles", "postures", "bodies", "segments", "body_sex", "links", "paths")


class BodyProperties(NamedTuple):
    """Mass properties of the bodies in one posture, in each body's own coordinates."""

    mass: np.ndarray  # (B,) kg
    centre: np.ndarray  # (B, 3) m, of mass
    inertia: np.ndarray  # (B, 3, 3) kg m2, about the centre of mass


def body_properties(model: MusculoskeletalModel, posture: int = 0) -> BodyProperties:
    """Mass, centre of mass and inertia tensor of each body."""
    pseudo = np.asarray(model.pseudo_inertia[posture], float)
    mass = pseudo[:, 3, 3]  # kg
    centre = pseudo[:, :3, 3] / mass[:, None]  # m
    second = pseudo[:, :3, :3] - mass[:, None, None] * centre[:, :, None] * centre[:, None, :]  # kg m2
    trace = np.trace(second, axis1=1, axis2=2)
    return BodyProperties(mass, centre, trace[:, None, None] * np.eye(3) - second)


def pseudo_inertia(mass: float, centre: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    """(4, 4) second moments of a rigid body (Atkeson et al. 1986, doi 10.1177/027836498600500306).

    Args:
        mass: [kg].
        centre: (3,) of mass [m].
        inertia: (3, 3) about the centre of mass [kg m2].
    """
    second = 0.5 * np.trace(inertia) * np.eye(3) - inertia + mass * np.outer(centre, centre)  # kg m2
    first = mass * np.asarray(centre)  # kg m
    return np.block([[second, first[:, None]], [first[None, :], np.array([[mass]])]])


def posture_index(model: MusculoskeletalModel, posture: str) -> int:
    """Where a posture stands in the model's tables.

    Raises:
        PitlError: the model has no such posture.
    """
    if posture not in model.postures:
        raise PitlError(f"the {model.name} model has no posture {posture!r}; known are {', '.join(model.postures)}.")
    return model.postures.index(posture)


def model_to_dict(model: MusculoskeletalModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """(names that JSON can hold, nested arrays) from which `model_from_dict` makes the same model, bit by bit."""
    names = {k: getattr(model, k) for k in STATIC}
    names["links"] = [link._asdict() for link in model.links]
    names["paths"] = [group._asdict() for group in model.paths]
    arrays: dict[str, Any] = {}
    for f in fields(model):
        value = getattr(model, f.name)
        if isinstance(value, tuple) and f.name not in STATIC:
            arrays[f.name] = {str(k): np.asarray(v) for k, v in enumerate(value)}
        elif f.name not in STATIC:
            arrays[f.name] = np.asarray(value)
    return names, arrays


def model_from_dict(names: Mapping[str, Any], arrays: Mapping[str, Any]) -> MusculoskeletalModel:
    """The inverse of `model_to_dict`, also after a detour through JSON, which turns tuples into lists.

    Raises:
        PitlError: a constant is missing or not known.
    """
    expected = {f.name for f in fields(MusculoskeletalModel)}
    result = set(names) | set(arrays)
    if result != expected:
        raise PitlError(
            f"a stored musculoskeletal model lacks {sorted(expected - result)} and has unknown "
            f"{sorted(result - expected)}; "
            "it was written by another version of the package."
        )
    static: dict[str, Any] = {k: names[k] if isinstance(names[k], str) else tuple(names[k]) for k in STATIC}
    static["links"] = tuple(Link(**_tuples(link)) for link in names["links"])
    static["paths"] = tuple(Paths(**_tuples(group)) for group in names["paths"])
    constants: dict[str, Any] = {
        k: tuple(jax.device_put(v[str(i)]) for i in range(len(v))) if isinstance(v, Mapping) else jax.device_put(v)
        for k, v in arrays.items()
    }
    return MusculoskeletalModel(**static, **constants)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def assemble(values: Mapping[str, Any]) -> MusculoskeletalModel:
    """A model from its fields as plain numbers; constants become arrays in single precision, as networks compute."""
    f = np.float32
    constants: dict[str, Any] = {
        k: v
        if k in STATIC
        else tuple(jax.device_put(np.asarray(x, f)) for x in v)
        if k in ("link_coefficients", "path_coefficients")
        else jax.device_put(np.asarray(v, f))
        for k, v in values.items()
    }
    return MusculoskeletalModel(**constants)
