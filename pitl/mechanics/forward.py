"""Forward dynamics: which motion follows from excitations or forces."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.mechanics import dynamics, muscle
from pitl.mechanics.model import MusculoskeletalModel

Force = Callable[[Array, Array, Array], Array]  # (command (M,), q (D,), q' (D,)) -> forces (M,) [N]


class Course(NamedTuple):
    """A simulated motion, one row a sample; the first is the start."""

    angle: Float[Array, "T D"]  # rad
    rate: Float[Array, "T D"]  # rad/s


def simulate(
    model: MusculoskeletalModel,
    command: Float[Array, "T M"],
    force: Force,
    dt: float,
    posture: Int[Array, ""] | int,
    start: tuple[Float[Array, " D"], Float[Array, " D"]],
    external: Float[Array, "T D"] | None = None,
    substeps: int = 1,
) -> Course:
    """Integrates the equation of motion with the classical fourth-order Runge-Kutta method.

    Differentiable, and under `jax.vmap` many people or trials at once. Commands and loads are linear between samples.

    Args:
        model: the mechanics.
        command: what muscles get at each sample, such as activations.
        force: turns a command into musculotendon forces at an angle and velocity; see `hill`.
        dt: [s] between samples.
        posture: index of the posture.
        start: angle [rad] and rate [rad/s] at the first sample.
        external: torque of the outside world [N m].
        substeps: steps of integration between two samples.
    """
    outside = jnp.zeros((command.shape[0], len(model.dofs)), command.dtype) if external is None else external
    step_s = dt / substeps

    def slope(state: tuple[Array, Array], drive: Array, push: Array) -> tuple[Array, Array]:
        q, qd = state
        return qd, dynamics.forward_acceleration(model, q, qd, force(drive, q, qd), posture, push)

    def shifted(state: tuple[Array, Array], by: tuple[Array, Array], s: float) -> tuple[Array, Array]:
        return state[0] + s * by[0], state[1] + s * by[1]

    def sample(state: tuple[Array, Array], between: tuple[Array, Array, Array, Array]) -> tuple[tuple, tuple]:
        drive, next_drive, push, next_push = between
        for k in range(substeps):
            here, half, there = (k / substeps, (k + 0.5) / substeps, (k + 1) / substeps)

            def at(
                share: float,
                first: Array = drive,
                last: Array = next_drive,
                load: Array = push,
                next_load: Array = next_push,
            ) -> tuple[Array, Array]:
                return first + share * (last - first), load + share * (next_load - load)

            k1 = slope(state, *at(here))
            k2 = slope(shifted(state, k1, 0.5 * step_s), *at(half))
            k3 = slope(shifted(state, k2, 0.5 * step_s), *at(half))
            k4 = slope(shifted(state, k3, step_s), *at(there))
            mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
            state = shifted(state, (mean[0], mean[1]), step_s)
        return state, state

    _, course = jax.lax.scan(sample, start, (command[:-1], command[1:], outside[:-1], outside[1:]))
    return Course(*(jnp.concatenate([first[None], rest]) for first, rest in zip(start, course, strict=True)))


def hill(model: MusculoskeletalModel, posture: Int[Array, ""] | int) -> Force:
    """Forces of Hill-type muscles behind rigid tendons; the command is activation, 0 to 1."""

    def force(activation: Array, q: Array, qd: Array) -> Array:
        return muscle.hill_force(model, activation, q, qd, posture)

    return force


def given(command: Array, q: Array, qd: Array) -> Array:
    """Forces that are known: the command is the forces [N]."""
    del q, qd
    return command
