"""The equation of motion along predicted rows, pointwise (strong) or averaged (weak), each subject with their own limb.

One interface for both forms: rows are segments of S contiguous samples, and the residual comes back per segment.
"""

from typing import Literal

import jax
from jaxtyping import Array, Float, Int

from pitl.learn import hill, stacked
from pitl.learn.limbs import Limbs, limb_of
from pitl.mechanics import dynamics, weak
from pitl.mechanics.model import MusculoskeletalModel
from pitl.net.head import Output

Residual = Literal["strong", "weak"]


def strong_rows(
    limbs: MusculoskeletalModel | Limbs, subject: Int[Array, " B"], output: Output, posture: Int[Array, " B"]
) -> Float[Array, "B D"]:
    """Pointwise residual [N m] of B independent rows.

    Args:
        limbs: stacked over subjects (leading axis), or `share_limbs` of them.
        subject: which model each row obeys.
        output: angle (3, B, D) with its derivatives, force (B, M).
        posture: of each row.
    """
    q, qd, qdd = output.angle
    own, axes = limb_of(limbs, subject)
    return jax.vmap(dynamics.residual, (axes, 0, 0, 0, 0, 0))(own, q, qd, qdd, output.force, posture)


def weak_segments(
    limbs: MusculoskeletalModel | Limbs,
    subject: Int[Array, " G"],
    output: Output,
    posture: Int[Array, "G S"],
    taps: weak.Kernel,
) -> Float[Array, "G R D"]:
    """Averaged residual [N m] of G segments of S contiguous rows; R = S - K + 1.

    Args:
        limbs: stacked over subjects, or `share_limbs` of them.
        subject: of each segment.
        output: angle (J, G, S, D), of which only the value is read; force (G, S, M).
        posture: the same along a segment.
        taps: averaging kernel, K taps.
    """
    own, axes = limb_of(limbs, subject)
    return jax.vmap(lambda m, q, f, p: weak.weak_residual(m, q, f, p, taps), (axes, 0, 0, 0))(
        own, output.angle[0], output.force, posture
    )


def hill_rows(
    limbs: MusculoskeletalModel | Limbs,
    subject: Int[Array, " B"],
    z: hill.Parameters,
    on: hill.Electrodes,
    jets: Float[Array, "B 3 C"],
    output: Output,
    posture: Int[Array, " B"],
) -> Float[Array, "B M"]:
    """Forces [N] of everybody's EMG-driven model along predicted motion.

    Args:
        limbs: stacked over subjects, or `share_limbs` of them.
        subject: whose muscles each row drives.
        z: everyone's muscles, stacked.
        on: everyone's electrodes, stacked.
        jets: normalised envelopes of each row.
        output: angle (J, B, D) with at least its first derivative.
        posture: of each row.
    """
    own, axes = limb_of(limbs, subject)
    muscles, electrodes = stacked.take((z, on), subject)
    forces = jax.vmap(hill.forces, (axes, 0, 0, 0, 0, 0, 0))
    return forces(own, muscles, electrodes, jets, output.angle[0], output.angle[1], posture)
