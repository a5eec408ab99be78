"""Static optimisation: which muscles share a joint torque, if they share it with least effort.

    minimise sum_m a_m^p   subject to   sum_m r_m (a_m C_m + F_passive,m) + reserve = torque,   0 <= a_m <= 1

(Crowninshield & Brand 1981, doi 10.1016/0021-9290(81)90035-X). Such forces are model output, never co-contract about a
single joint, and are no measurement: say so wherever they are shown.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.errors import PitlError
from pitl.msk import geometry, muscle
from pitl.msk.model import MusculoskeletalModel
from pitl.msk.shapes import expect, lift

# For chains only
_STEPS = 50
_CENTRING = 0.35  # by which the barrier falls at each step
_EDGE = 1e-6  # how near activations may come to their bounds
_RESERVE_PRICE = 3e-5  # squared reserve, in units of the muscles' torque, per unit of effort


class Sharing(NamedTuple):
    """What static optimisation found for each frame."""

    activation: Float[Array, "... M"]  # 0 to 1
    force: Float[Array, "... M"]  # N, along the tendon, passive part included
    reserve: Float[Array, "... D"]  # N m, torque that the muscles cannot give; zero where they can


@partial(jax.jit, static_argnames=("exponent", "force_length_velocity"))
def static_optimisation(
    model: MusculoskeletalModel,
    q: Float[Array, "... D"],
    qd: Float[Array, "... D"],
    torque: Float[Array, "... D"],
    posture: Int[Array, "..."] | int,
    exponent: float = 2.0,
    force_length_velocity: bool = True,
) -> Sharing:
    """Activations and forces of least effort for many frames at once.

    For one coordinate the solution is closed-form; for a chain an interior-point method takes a fixed number of steps,
    with reserves priced so that they stay near a ten-thousandth of their torque where they suffice.

    Args:
        model: the mechanics.
        q: joint angles [rad].
        qd: angular velocities [rad/s].
        torque: net muscle torque, from inverse dynamics [N m].
        posture: index of the posture of each frame, or one index for all.
        exponent: p of the effort, above 1.
        force_length_velocity: if False, muscles are ideal: full strength at any length and velocity, no passive force.

    Raises:
        PitlError: the arrays do not share their leading dimensions, or the exponent is not above 1.
    """
    if exponent <= 1:
        raise PitlError(f"the effort's exponent is {exponent}; give a number above 1, such as 2.")
    widths = len(model.dofs)
    expect(q.shape[:-1], q=(q, widths), qd=(qd, widths), torque=(torque, widths))
    arm = geometry.moment_arm(model, q, posture)  # m
    if force_length_velocity:
        capacity = muscle.active_force_capacity(model, q, qd, posture)  # N
        passive = muscle.passive_force(model, q, posture)  # N
    else:
        strength = lift(model.max_isometric_force * jnp.cos(model.pennation), q.ndim)  # N
        capacity = jnp.broadcast_to(strength, arm.shape[:-1])  # N
        passive = jnp.zeros_like(capacity)  # N
    lever = arm * capacity[..., None]  # N m per unit activation
    wanted = torque - jnp.sum(arm * passive[..., None], axis=-2)  # N m, of the active forces
    if widths == 1:
        activation = _share_exactly(lever[..., 0], wanted[..., 0], exponent)
    else:
        activation = _share_by_interior_point(lever, wanted, exponent)
    reserve = wanted - jnp.sum(lever * activation[..., None], axis=-2)  # N m
    return Sharing(activation, activation * capacity + passive, reserve)


def _share_exactly(lever: Float[Array, "... M"], wanted: Float[Array, "..."], exponent: float) -> Float[Array, "... M"]:
    """Closed form for one coordinate.

    Optimality makes a_m = min((mu b_m)^e, 1) with e = 1/(p - 1), for muscles that pull the wanted way (b > 0) and zero
    for the others. The torque grows with mu, and muscle k saturates at mu = 1/b_k: it is saturated if the torque at
    that mu is not enough. What is left is carried by the others, and their equation for mu^e is linear.
    """
    power = 1.0 / (exponent - 1.0)
    need = jnp.abs(wanted)[..., None]  # N m
    pull = jnp.maximum(lever * jnp.sign(wanted)[..., None], 0.0)  # N m
    helps = pull > 0
    safe = jnp.where(helps, pull, 1.0)  # N m
    ratio = jnp.minimum(pull[..., None, :] / safe[..., :, None], 1.0)  # b_m / b_k
    # the guard keeps 0^e differentiable
    eased = jnp.where(ratio > 0, jnp.where(ratio > 0, ratio, 1.0) ** power, 0.0)
    torque_at_saturation = jnp.sum(pull[..., None, :] * eased, axis=-1)  # N m, by k
    saturated = helps & (torque_at_saturation <= need)
    free = helps & ~saturated
    left = need - jnp.sum(jnp.where(saturated, pull, 0.0), axis=-1, keepdims=True)  # N m
    strongest = jnp.max(jnp.where(free, pull, 0.0), axis=-1, keepdims=True)  # N m
    strongest = jnp.where(strongest > 0, strongest, 1.0)  # N m
    shape = jnp.where(free, (safe / strongest) ** power, 0.0)
    total = jnp.sum(shape * pull, axis=-1, keepdims=True)  # N m
    share = shape * left / jnp.where(total > 0, total, 1.0)
    return jnp.where(saturated, 1.0, jnp.clip(share, 0.0, 1.0))


def _share_by_interior_point(
    lever: Float[Array, "... M D"], wanted: Float[Array, "... D"], exponent: float
) -> Float[Array, "... M"]:
    """Primal-dual interior point for a chain; a fixed number of steps, each one D x D system per frame.

    Minimises sum a^p + |reserve|^2 / (2 price) with reserve = wanted - lever a, in units of each coordinate's muscles.
    Newton or gradient steps on the dual stall in float32 at the kinks where muscles saturate; the barrier has no kinks.
    """
    p = exponent
    size = jnp.sqrt(jnp.sum(lever * lever, axis=-2) + 1e-12)  # N m
    b = lever / size[..., None, :]
    target = wanted / size
    price = lift(_RESERVE_PRICE * jnp.eye(b.shape[-1], dtype=b.dtype), b.ndim)

    class Iterate(NamedTuple):
        a: Array  # activation
        low: Array  # multiplier of a >= 0
        high: Array  # multiplier of a <= 1
        y: Array  # multiplier of the torque

    def room(x: Array, change: Array) -> Array:
        """Largest step that keeps every x positive, and a little more."""
        shrinking = change < 0
        steps = jnp.where(shrinking, -x / jnp.where(shrinking, change, -1.0), jnp.inf)
        return 0.95 * jnp.min(steps, axis=-1, keepdims=True)

    def step(now: Iterate, _: None) -> tuple[Iterate, None]:
        a, low, high, y = now
        rest = 1.0 - a
        gap = 0.5 * jnp.mean(low * a + high * rest, axis=-1, keepdims=True)
        barrier = jnp.maximum(_CENTRING * gap, 1e-8)
        curvature = p * (p - 1) * a ** (p - 2) + low / a + high / rest
        slope = p * a ** (p - 1) - jnp.einsum("...md,...d->...m", b, y) - barrier / a + barrier / rest
        missing = target - jnp.einsum("...md,...m->...d", b, a) - _RESERVE_PRICE * y
        system = jnp.einsum("...md,...m,...me->...de", b, 1 / curvature, b) + price
        right = missing + jnp.einsum("...md,...m->...d", b, slope / curvature)
        dy = jnp.linalg.solve(system, right[..., None])[..., 0]
        da = (jnp.einsum("...md,...d->...m", b, dy) - slope) / curvature
        dlow = barrier / a - low - low * da / a
        dhigh = barrier / rest - high + high * da / rest
        primal = jnp.minimum(1.0, jnp.minimum(room(a, da), room(rest, -da)))
        dual = jnp.minimum(1.0, jnp.minimum(room(low, dlow), room(high, dhigh)))
        if p != 2:  # off the quadratic, unequal steps may cycle
            primal = dual = jnp.minimum(primal, dual)
        return Iterate(
            jnp.clip(a + primal * da, _EDGE, 1.0 - _EDGE),
            jnp.maximum(low + dual * dlow, 1e-9),
            jnp.maximum(high + dual * dhigh, 1e-9),
            y + dual * dy,
        ), None

    half = jnp.full(b.shape[:-1], 0.5, b.dtype)
    start = Iterate(half, jnp.ones_like(half), jnp.ones_like(half), jnp.zeros_like(target))
    return jax.lax.scan(step, start, None, length=_STEPS)[0].a
