"""The law of motion along predicted rows: strong (pointwise) or weak (averaged), each subject with their own model.

One interface for both forms: rows are stretches of S contiguous samples, and the residual comes back per stretch.
"""

from typing import Any, Literal

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from pitl import hill
from pitl.msk import dynamics, weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net.head import Output

Residual = Literal["strong", "weak"]


@struct.dataclass
class People:
    """Models stacked over subjects, apart from the constants that all of them share, which are kept once.

    The tables of the muscles' paths are mostly the same for everybody; looking them up per row would copy them.
    """

    own: tuple[Array | None, ...]  # stacked; None where shared
    shared: tuple[Array | None, ...]  # without the leading axis; None where own
    form: Any = struct.field(pytree_node=False)  # structure of one model


def people(models: MusculoskeletalModel) -> People:
    """Finds out, on the host, which constants of stacked models are the same for everybody."""
    leaves, form = jax.tree.flatten(models)
    same = [bool((np.asarray(x) == np.asarray(x[:1])).all()) for x in leaves]
    return People(
        tuple(None if s else x for x, s in zip(leaves, same, strict=True)),
        tuple(x[0] if s else None for x, s in zip(leaves, same, strict=True)),
        form,
    )


def first(people: People) -> MusculoskeletalModel:
    """The model of the first person."""
    leaves = [s if o is None else o[0] for o, s in zip(people.own, people.shared, strict=True)]
    return jax.tree.unflatten(people.form, leaves)


def strong_rows(
    models: MusculoskeletalModel | People, subject: Int[Array, " B"], output: Output, posture: Int[Array, " B"]
) -> Float[Array, "B D"]:
    """Pointwise residual [N m] of B independent rows.

    Args:
        models: stacked over subjects (leading axis), or `people` of them.
        subject: which model each row obeys.
        output: angle (3, B, D) with its derivatives, force (B, M).
        posture: of each row.
    """
    q, qd, qdd = output.angle
    own, axes = _chosen(models, subject)
    return jax.vmap(dynamics.residual, (axes, 0, 0, 0, 0, 0))(own, q, qd, qdd, output.force, posture)


def weak_stretches(
    models: MusculoskeletalModel | People,
    subject: Int[Array, " G"],
    output: Output,
    posture: Int[Array, "G S"],
    taps: weak.Kernel,
) -> Float[Array, "G R D"]:
    """Averaged residual [N m] of G stretches of S contiguous rows; R = S - K + 1.

    Args:
        models: stacked over subjects, or `people` of them.
        subject: of each stretch.
        output: angle (J, G, S, D), of which only the value is read; force (G, S, M).
        posture: the same along a stretch.
        taps: averaging kernel, K taps.
    """
    own, axes = _chosen(models, subject)
    return jax.vmap(lambda m, q, f, p: weak.weak_residual(m, q, f, p, taps), (axes, 0, 0, 0))(
        own, output.angle[0], output.force, posture
    )


def _chosen(models: MusculoskeletalModel | People, subject: Int[Array, " B"]) -> tuple[Any, Any]:
    """Each row's model, and for `vmap` which of its constants differ from row to row."""
    if not isinstance(models, People):
        return of(models, subject), 0
    leaves = [s if o is None else o[subject] for o, s in zip(models.own, models.shared, strict=True)]
    axes = [None if o is None else 0 for o in models.own]
    return jax.tree.unflatten(models.form, leaves), jax.tree.unflatten(models.form, axes)


def hill_rows(
    models: MusculoskeletalModel | People,
    subject: Int[Array, " B"],
    z: hill.Parameters,
    on: hill.Electrodes,
    jets: Float[Array, "B 3 C"],
    output: Output,
    posture: Int[Array, " B"],
) -> Float[Array, "B M"]:
    """Forces [N] of everybody's EMG-driven model along predicted motion.

    Args:
        models: stacked over subjects, or `people` of them.
        subject: whose muscles each row drives.
        z: everyone's muscles, stacked.
        on: everyone's electrodes, stacked.
        jets: normalised envelopes of each row.
        output: angle (J, B, D) with at least its first derivative.
        posture: of each row.
    """
    own, axes = _chosen(models, subject)
    mine, mine_on = jax.tree.map(lambda x: x[subject], (z, on))
    forces = jax.vmap(hill.forces, (axes, 0, 0, 0, 0, 0, 0))
    return forces(own, mine, mine_on, jets, output.angle[0], output.angle[1], posture)


def of(models: Any, subject: Int[Array, "*B"]) -> Any:
    """The model of each row's subject, from models stacked over subjects."""
    return jax.tree.map(lambda x: x[subject], models)
