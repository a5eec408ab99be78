"""A musculoskeletal model as a picture: musculotendon lengths, moment arms and torque capacity over each coordinate."""

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.mechanics import geometry, muscle
from pitl.mechanics.model import MusculoskeletalModel

_ANGLES = 121


def png(model: MusculoskeletalModel, posture: int = 0) -> bytes:
    """The picture, one row a coordinate; the others stay in the middle of their range."""
    figure = draw(model, posture)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def draw(model: MusculoskeletalModel, posture: int = 0) -> Any:
    """A matplotlib figure with columns for length, moment arm and isometric torque at full activation."""
    from matplotlib.figure import Figure

    rows = len(model.dofs)
    figure = Figure(figsize=(12, 3.4 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False)
    low, high = np.asarray(model.angle_range, float).T
    middle = (low + high) / 2
    for d, name in enumerate(model.dofs):
        q = np.tile(middle, (_ANGLES, 1))
        q[:, d] = np.linspace(low[d], high[d], _ANGLES)
        at = q.astype(np.float32) - np.asarray(model.angle_offset)  # rad
        length, arms, force = (np.asarray(x) for x in _along(model, at, posture))
        length, arm = 1e3 * length, arms[..., d]  # mm, m
        degrees = np.rad2deg(q[:, d])
        works = np.ptp(length, axis=0) > 0.01
        for m in np.flatnonzero(works):
            colour = f"C{m % 10}"
            style = ("-", "--", ":", "-.")[m // 10 % 4]
            axes[d, 0].plot(
                degrees, length[:, m] - length[_ANGLES // 2, m], style, color=colour, label=model.muscles[m]
            )
            axes[d, 1].plot(degrees, 1e3 * arm[:, m], style, color=colour)
            axes[d, 2].plot(degrees, arm[:, m] * force[:, m], style, color=colour, lw=0.8)
        torque = arm * force  # N m
        axes[d, 2].plot(
            degrees, np.maximum(torque, 0).sum(axis=1), color="black", lw=1.8, label="all that pull up / down"
        )
        axes[d, 2].plot(degrees, np.minimum(torque, 0).sum(axis=1), color="black", lw=1.8)
        for axis, label in zip(axes[d], ("length from mid-range [mm]", "moment arm [mm]", "torque [N m]"), strict=True):
            axis.set_xlabel(f"{name} [deg]")
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
        axes[d, 0].legend(fontsize=7, ncols=2)
        axes[d, 2].legend(fontsize=7)
    figure.suptitle(f"{model.name}, {model.postures[posture]}: {model.source}", fontsize=10)
    return figure


@jax.jit
def _along(model: MusculoskeletalModel, q: Array, posture: Array) -> tuple[Array, Array, Array]:
    """Lengths [m], moment arms [m] and isometric forces at full activation [N]; as one program, not sixty."""
    still = jnp.zeros_like(q)
    return (
        geometry.musculotendon_length(model, q, posture),
        geometry.moment_arm(model, q, posture),
        muscle.active_force_capacity(model, q, still, posture),
    )


def muscle_table(model: MusculoskeletalModel) -> Any:
    """Parameters of every muscle."""
    from rich.table import Table

    table = Table(title="muscles", title_justify="left")
    for heading in ("muscle", "strength N", "optimal fibre mm", "tendon slack mm", "pennation deg"):
        table.add_column(heading, justify="left" if heading == "muscle" else "right")
    columns = (model.max_isometric_force, model.optimal_fibre_length, model.tendon_slack_length, model.pennation)
    for name, force, fibre, slack, angle in zip(model.muscles, *(np.asarray(c) for c in columns), strict=True):
        table.add_row(name, f"{force:.0f}", f"{1e3 * fibre:.1f}", f"{1e3 * slack:.1f}", f"{np.rad2deg(angle):.1f}")
    return table
