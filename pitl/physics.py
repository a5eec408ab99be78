"""The law of motion along predicted rows: strong (pointwise) or weak (averaged), each subject with their own model.

One interface for both forms: rows are stretches of S contiguous samples, and the residual comes back per stretch.
"""

from typing import Any, Literal

import jax
from jaxtyping import Array, Float, Int

from pitl.msk import dynamics, weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net.head import Output

Residual = Literal["strong", "weak"]


def strong_rows(
    models: MusculoskeletalModel, subject: Int[Array, " B"], output: Output, posture: Int[Array, " B"]
) -> Float[Array, "B D"]:
    """Pointwise residual [N m] of B independent rows.

    Args:
        models: stacked over subjects (leading axis).
        subject: which model each row obeys.
        output: angle (3, B, D) with its derivatives, force (B, M).
        posture: of each row.
    """
    q, qd, qdd = output.angle
    return jax.vmap(dynamics.residual)(of(models, subject), q, qd, qdd, output.force, posture)


def weak_stretches(
    models: MusculoskeletalModel,
    subject: Int[Array, " G"],
    output: Output,
    posture: Int[Array, "G S"],
    taps: weak.Kernel,
) -> Float[Array, "G R D"]:
    """Averaged residual [N m] of G stretches of S contiguous rows; R = S - K + 1.

    Args:
        models: stacked over subjects.
        subject: of each stretch.
        output: angle (J, G, S, D), of which only the value is read; force (G, S, M).
        posture: the same along a stretch.
        taps: averaging kernel, K taps.
    """
    return jax.vmap(lambda m, q, f, p: weak.weak_residual(m, q, f, p, taps))(
        of(models, subject), output.angle[0], output.force, posture
    )


def of(models: Any, subject: Int[Array, "*B"]) -> Any:
    """The model of each row's subject, from models stacked over subjects."""
    return jax.tree.map(lambda x: x[subject], models)
