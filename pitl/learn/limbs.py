"""Everyone's limb model: chosen, scaled to the person, stacked over people."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int

from pitl.config.schema import ModelConfig
from pitl.data.recording import Cohort, Subject
from pitl.errors import PitlError
from pitl.learn import stacked
from pitl.mechanics import library
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.scaling import conform, scale_to_body


@struct.dataclass
class Limbs:
    """Models stacked over subjects, apart from the constants that all of them share, which are kept once.

    The tables of the muscles' paths are mostly the same for everybody; looking them up per row would copy them.
    """

    own: tuple[Array | None, ...]  # stacked; None where shared
    shared: tuple[Array | None, ...]  # without the leading axis; None where own
    form: Any = struct.field(pytree_node=False)  # structure of one model


def share_limbs(limbs: MusculoskeletalModel) -> Limbs:
    """Finds out, on the host, which constants of stacked models are the same for everybody."""
    leaves, form = jax.tree.flatten(limbs)
    values = [np.asarray(x) for x in leaves]
    same = [bool((x == x[:1]).all()) for x in values]
    return Limbs(
        tuple(None if s else x for x, s in zip(leaves, same, strict=True)),
        tuple(jax.device_put(x[0]) if s else None for x, s in zip(values, same, strict=True)),
        form,
    )


def first_limb(limbs: Limbs) -> MusculoskeletalModel:
    """The model of the first person."""
    leaves = [s if o is None else o[0] for o, s in zip(limbs.own, limbs.shared, strict=True)]
    return jax.tree.unflatten(limbs.form, leaves)


def limb_of(limbs: MusculoskeletalModel | Limbs, subject: Int[Array, " B"]) -> tuple[Any, Any]:
    """Each row's model, and for `vmap` which of its constants differ from row to row."""
    if not isinstance(limbs, Limbs):
        return stacked.take(limbs, subject), 0
    leaves = [s if o is None else o[subject] for o, s in zip(limbs.own, limbs.shared, strict=True)]
    axes = [None if o is None else 0 for o in limbs.own]
    return jax.tree.unflatten(limbs.form, leaves), jax.tree.unflatten(limbs.form, axes)


def choose_limb(settings: ModelConfig, cohort: Cohort) -> MusculoskeletalModel:
    """The model of the configuration, or the cohort's own joint, with the configuration's passive properties.

    Raises:
        PitlError: there is no such model, its coordinates are not those of the recordings, or a property does not have
            one value a coordinate.
    """
    base = library.load(settings.name or cohort.joint)
    for subject in cohort.subjects:
        for r in subject.recordings:
            if r.dofs and r.dofs != base.dofs:
                raise PitlError(
                    f"{r.source} ({subject.name}/{r.trial}): angles are of {', '.join(r.dofs)}; the model {base.name} "
                    f"has {', '.join(base.dofs)}, in this order: rename the coordinates or choose another model."
                )
    return library.with_passive(base, settings.damping, settings.stiffness, calibrated=settings.slack == "calibrated")


def scale_limb(
    settings: ModelConfig, base: MusculoskeletalModel, subject: Subject, *, scaled: bool
) -> MusculoskeletalModel:
    """A person's own stored model, or the common one scaled to their body; unscaled it is the common one."""
    if not scaled:
        return base
    if subject.model is not None:
        own = library.with_passive(
            library.load(subject.model), settings.damping, settings.stiffness, calibrated=settings.slack == "calibrated"
        )
        return conform(own, base, subject.name)
    return scale_to_body(base, subject.height_m, subject.mass_kg, subject.sex)


def put_errors(settings: ModelConfig, limbs: MusculoskeletalModel) -> MusculoskeletalModel:
    """The learner's models with the errors that the wrong-physics control puts into them."""
    heavier, longer = settings.inertia_factor, settings.moment_arm_factor
    if heavier == 1.0 and longer == 1.0:
        return limbs
    return dataclasses.replace(
        limbs,
        pseudo_inertia=limbs.pseudo_inertia * jnp.float32(heavier),
        path_scale=limbs.path_scale * jnp.float32(longer),
    )
