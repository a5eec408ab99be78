"""The law of motion along predicted rows: strong (pointwise) or weak (averaged), each subject with their own model.

One interface for both forms: rows are stretches of S contiguous samples, and the residual comes back per stretch.
"""

from typing import Any, Literal

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

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


def of(models: Any, subject: Int[Array, "*B"]) -> Any:
    """The model of each row's subject, from models stacked over subjects."""
    return jax.tree.map(lambda x: x[subject], models)
