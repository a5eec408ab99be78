"""What the data say about an EMG-driven model's parameters, and what the prior decided."""

from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.learn import hill
from pitl.learn.units import Spread
from pitl.mechanics.model import MusculoskeletalModel


class Identified(NamedTuple):
    """What the data say about one parameter."""

    name: str
    value: float
    deviation: float  # of its z-score given the data; the prior's is 1
    by_data: bool  # the data halve the prior's uncertainty at least


def identification(
    model: MusculoskeletalModel,
    z: hill.Parameters,
    on: hill.Electrodes,
    channels: tuple[str, ...],
    rows: hill.MuscleRows,
    spread: Spread,
    independent: float,
) -> list[Identified]:
    """Which parameters the torque identifies and which the prior decided, from the curvature at the fit.

    Args:
        model: as it came.
        z: as fitted.
        on: electrodes.
        channels: their names.
        rows: of one person, that the fit used.
        spread: units.
        independent: how many of the rows count as independent observations.

    Returns:
        One entry a parameter, with the standard deviation of its posterior (Gauss-Newton approximation).
    """
    flat, back = jax.flatten_util.ravel_pytree(z)

    def errors(x: Array) -> Array:
        return (hill.torque_error(model, back(x), on, rows, spread.torque) * jnp.sqrt(rows.weight)[:, None]).ravel()

    jacobian = np.asarray(jax.jit(jax.jacfwd(errors))(flat), float)
    variance = float(np.mean(np.asarray(errors(flat)) ** 2)) + 1e-4
    curvature = jacobian.T @ jacobian * (independent / max(1.0, float(rows.weight.sum()))) / variance
    deviation = np.sqrt(np.diag(np.linalg.inv(curvature + np.eye(len(flat)))))
    shown = back(jnp.asarray(deviation, jnp.float32))
    value = hill.values(z)
    result = []
    for name in hill.PRIOR:
        owners = {"gain": channels, "delay": ("",)}.get(
            name, model.dofs if name in ("damping", "stiffness", "bias") else model.muscles
        )
        pairs = zip(owners, np.ravel(value[name]), np.ravel(getattr(shown, name)), strict=True)
        result += [Identified(f"{name} {o}".strip(), float(v), float(d), float(d) < 0.5) for o, v, d in pairs]
    return result
