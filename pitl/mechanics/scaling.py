"""A model for a person of another height, weight and sex.

Segment masses are fractions of body mass, lengths fractions of height, centres of mass and radii of gyration fractions
of length, for each sex (de Leva 1996, doi 10.1016/0021-9290(95)00178-6, table 4; stature 1.735 and 1.741 m).
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.errors import PitlError
from pitl.mechanics import geometry, splines
from pitl.mechanics.model import MusculoskeletalModel


class Segment(NamedTuple):
    """Fractions of one body segment."""

    mass: float  # of body mass
    length: float  # of height
    centre: float  # of mass, of length from the proximal end
    gyration: float  # radius in the sagittal plane, of length


SEXES = ("female", "male")
SEGMENTS: dict[str, dict[str, Segment]] = {
    "female": {
        "upper_arm": Segment(0.0255, 0.2751 / 1.735, 0.5754, 0.278),
        "forearm": Segment(0.0138, 0.2643 / 1.735, 0.4559, 0.261),
        "hand": Segment(0.0056, 0.0780 / 1.735, 0.7474, 0.531),
        "thigh": Segment(0.1478, 0.3685 / 1.735, 0.3612, 0.369),
        "shank": Segment(0.0481, 0.4323 / 1.735, 0.4416, 0.271),
        "foot": Segment(0.0129, 0.2283 / 1.735, 0.4014, 0.299),
    },
    "male": {
        "upper_arm": Segment(0.0271, 0.2817 / 1.741, 0.5772, 0.285),
        "forearm": Segment(0.0162, 0.2689 / 1.741, 0.4574, 0.276),
        "hand": Segment(0.0061, 0.0862 / 1.741, 0.7900, 0.628),
        "thigh": Segment(0.1416, 0.4222 / 1.741, 0.4095, 0.329),
        "shank": Segment(0.0433, 0.4340 / 1.741, 0.4459, 0.255),
        "foot": Segment(0.0137, 0.2581 / 1.741, 0.4415, 0.257),
    },
}


def scale_to_body(
    model: MusculoskeletalModel,
    height_m: float | Float[Array, ""] | None = None,
    mass_kg: float | Float[Array, ""] | None = None,
    sex: str | None = None,
) -> MusculoskeletalModel:
    """The model of another person, in proportion to the one it describes.

    Each body takes over the difference that the regression sees between the two people. Muscle paths and fibres scale
    with height, strength and passive tissue with mass^(2/3), as muscle area does (Jaric 2002,
    doi 10.2165/00007256-200232100-00002). Sex acts on bodies that are known segments only, and not where the model
    does not say whose it is.

    Args:
        model: to be scaled.
        height_m: body height [m]; None leaves lengths as they are.
        mass_kg: body mass [kg]; None leaves masses and strengths as they are.
        sex: "female" or "male"; None is the sex of the model.

    Raises:
        PitlError: the sex is neither.
    """
    if sex is not None and sex not in SEXES:
        raise PitlError(f"sex is {sex!r}; the regression knows {' and '.join(SEXES)}; leave it out if it is not known.")
    if height_m is None and mass_kg is None and sex in (None, model.body_sex):
        return model
    height = model.body_height if height_m is None else jnp.asarray(height_m, jnp.float32)  # m
    mass = model.body_mass if mass_kg is None else jnp.asarray(mass_kg, jnp.float32)  # kg
    scaled = _scale(model, height, mass, _between_sexes(model, sex or model.body_sex))
    return replace(scaled, body_sex=sex or model.body_sex)


@jax.jit
def _scale(
    model: MusculoskeletalModel, height: Float[Array, ""], mass: Float[Array, ""], change: "_Change"
) -> MusculoskeletalModel:
    taller = height / model.body_height
    heavier = mass / model.body_mass
    stronger = heavier ** (2.0 / 3.0)
    longer = taller * change.length  # (B,)
    reach = longer * change.centre
    round_ = longer * change.gyration
    pseudo = model.pseudo_inertia  # kg m2 | kg m | kg
    weight, moment = pseudo[..., 3:, 3:], pseudo[..., :3, 3:]
    across = moment * jnp.swapaxes(moment, -1, -2) / weight  # kg m2, of the mass in the centre
    apart = (round_**2 - reach**2)[None, :, None, None]  # exactly zero between people of one sex
    spread = pseudo[..., :3, :3] * (reach**2)[None, :, None, None] + (pseudo[..., :3, :3] - across) * apart
    moment = moment * reach[None, :, None, None]
    scaled = (
        jnp.concatenate(
            [
                jnp.concatenate([spread, moment], axis=-1),
                jnp.concatenate([jnp.swapaxes(moment, -1, -2), weight], axis=-1),
            ],
            axis=-2,
        )
        * (heavier * change.mass)[None, :, None, None]
    )
    return replace(
        model,
        link_coefficients=tuple(
            jnp.concatenate([c[..., :3], c[..., 3:] * (longer[link.parent] if link.parent >= 0 else taller)], axis=-1)
            for c, link in zip(model.link_coefficients, model.links, strict=True)
        ),
        pseudo_inertia=scaled,
        path_reference=model.path_reference * taller,
        path_scale=model.path_scale * taller,
        optimal_fibre_length=model.optimal_fibre_length * taller,
        tendon_slack_length=model.tendon_slack_length * taller,
        max_isometric_force=model.max_isometric_force * stronger,
        damping=model.damping * stronger * taller,
        stiffness=model.stiffness * stronger * taller,
        limit_stiffness=model.limit_stiffness * stronger * taller,
        body_height=height,
        body_mass=mass,
    )


def conform(model: MusculoskeletalModel, like: MusculoskeletalModel, whose: str) -> MusculoskeletalModel:
    """A person's own model on the same grids as the others', so that all people compute as one.

    Raises:
        PitlError: it has other coordinates, muscles, postures or bodies.
    """
    for name in ("dofs", "muscles", "postures", "bodies"):
        own, others = getattr(model, name), getattr(like, name)
        if own != others:
            raise PitlError(
                f"the model of {whose} has the {name} {', '.join(own)}; the others have {', '.join(others)}: import it "
                "with the same options."
            )
    if model.links != like.links:
        raise PitlError(
            f"the joints of the model of {whose} move otherwise than the others'; import it with their ranges."
        )
    if model.paths != like.paths:
        tables: list[list[np.ndarray]] = [[] for _ in like.paths]
        none = jnp.zeros_like(model.angle_offset)
        free = replace(model, angle_offset=none, path_scale=jnp.ones_like(model.path_scale))
        for p in range(len(like.postures)):
            for table, group in zip(tables, like.paths, strict=True):
                q = np.tile(np.asarray(like.angle_range).mean(axis=1), (int(np.prod(group.count)), 1))
                q[:, list(group.coordinates)] = splines.nodes(group)
                length = np.asarray(geometry.musculotendon_length(free, jnp.asarray(q, jnp.float32), p), float)
                above = (length - np.asarray(model.path_reference[p], float))[:, list(group.muscles)]  # m
                table.append(splines.interpolate(above.reshape(*group.count, -1)).reshape(-1, len(group.muscles)))
        coefficients = tuple(jnp.asarray(np.stack(t), jnp.float32) for t in tables)
        model = replace(model, paths=like.paths, path_coefficients=coefficients)
    return replace(model, name=like.name, source=like.source, segments=like.segments, body_sex=like.body_sex)


class _Change(NamedTuple):
    """Factors from one person's fractions to another's, one a body."""

    mass: Float[Array, " B"]
    length: Float[Array, " B"]
    centre: Float[Array, " B"]
    gyration: Float[Array, " B"]


def _between_sexes(model: MusculoskeletalModel, sex: str) -> _Change:
    factors = np.ones((len(model.segments), 4))
    if sex and model.body_sex:
        for b, name in enumerate(model.segments):
            if parts := [part for part in name.split("+") if part]:
                there, here = ([SEGMENTS[who][part] for part in parts] for who in (sex, model.body_sex))
                # of a body made of several segments, the first one is the long one
                factors[b] = np.array(there[0]) / np.array(here[0])
                factors[b, 0] = sum(s.mass for s in there) / sum(s.mass for s in here)
    return _Change(*(jax.device_put(column.astype(np.float32)) for column in factors.T))
