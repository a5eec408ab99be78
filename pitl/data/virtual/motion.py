"""Forward dynamics of the virtual wrists: many trials at once, one compiled scan.

    I q'' = sum_n r_n(q) F_n + weight(q) - b q' - k (q - rest) - friction(q') - ligaments(q)

with muscles that the learner does not know (`muscle.py`), among them palmaris longus, friction, and ligaments. The
person follows a target: expectation of what the movement takes, ahead in time, and slow, lagging corrections.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from pitl.data.virtual import muscle
from pitl.data.virtual.subject import Control, Joint, Muscles, Value

LARGEST_LEAD_S = 0.12  # s, targets must reach this far beyond the simulated time
STICTION_RATE = 0.08  # rad/s, over which friction changes its sign
EXPECTED_RATE = 0.3  # rad/s, the same as the person expects it
_SIDE = 0.02  # N m, over which the drive passes from flexors to extensors
IDLE = 0.004  # smallest drive
_TYPICAL = 0.03  # activation beyond co-contraction, for the damping that a person expects of their muscles
NOISE_S = 0.12  # s, correlation time of the drive's noise


class SimulatedTrial(NamedTuple):
    """One trial's person and place."""

    joint: Joint
    muscles: Muscles
    control: Control
    length: Value  # (N, K) m / rad^power, in this posture
    down: Value  # (2,) m/s2, gravity in the plane of motion
    base_orientation: Value  # rad
    rest_angle: Value  # rad
    effort: Value  # scales the drive


class MotionTarget(NamedTuple):
    """The movement that is tried."""

    angle: Value  # (T,) rad
    rate: Value  # (T,) rad/s
    acceleration: Value  # (T,) rad/s2


class Plan(NamedTuple):
    """What a person has in mind at one step."""

    angle: Value  # rad
    rate: Value  # rad/s
    torque: Value  # N m, expected to be needed a moment later


class MotionState(NamedTuple):
    angle: Value  # rad
    rate: Value  # rad/s
    felt_angle: Value  # rad, lagging
    felt_rate: Value  # rad/s
    correction: Value  # rad s, integral of the error
    noise: Value  # (N,)
    fibres: muscle.Fibres


class Sample(NamedTuple):
    """What happened at one step."""

    angle: Value  # rad
    rate: Value  # rad/s
    force: Value  # (N,) N, tendon
    arm: Value  # (N,) m
    drive: Value  # (N,) excitation of the muscle
    activation: Value  # (N,)
    friction: Value  # N m, as it acts on the hand
    ligament: Value  # N m, as it acts on the hand


def gravity_torque(trial: SimulatedTrial, angle: Array) -> Array:
    """Torque of the hand's weight about the wrist [N m], as it acts on the hand."""
    joint, down = trial.joint, trial.down
    orientation = trial.base_orientation + joint.flexion_sign * angle  # rad
    across = down[1] * jnp.cos(orientation) - down[0] * jnp.sin(orientation)  # m/s2
    return joint.flexion_sign * joint.mass * joint.lever * across


def expected_torque(trial: SimulatedTrial, target: MotionTarget) -> Array:
    """(T,) torque that the person believes the movement takes [N m], wrong by some 15 % per term.

    Active muscle resists motion (force-velocity); experience has taught them so, and they add its damping.
    """
    joint, muscles, error = trial.joint, trial.muscles, trial.control.model_error
    _, arm = muscle.geometry(trial.length, jnp.zeros_like(target.angle[0]))  # m
    slope = (1 + 1 / muscle.HILL) / (muscles.fastest * muscles.fibre)  # s/m, of relative force against velocity
    resisting = (trial.control.co_contraction + _TYPICAL) * muscles.strength * slope  # N s/m
    damping = joint.damping + jnp.sum(arm**2 * resisting)  # N m s/rad
    weight = jax.vmap(partial(gravity_torque, trial))(target.angle)  # N m
    return (
        error[0] * joint.inertia * target.acceleration
        + error[1] * damping * target.rate
        - error[2] * weight
        + error[3] * joint.stiffness * (target.angle - trial.rest_angle)
        + joint.friction * jnp.tanh(target.rate / EXPECTED_RATE)
    )


def _drive(trial: SimulatedTrial, state: MotionState, plan: Plan, arm: Array) -> Array:
    """Neural drive (N,): a torque shared by habit, co-contraction, and noise in proportion."""
    control = trial.control
    torque = trial.effort * (
        plan.torque
        + control.proportional * (plan.angle - state.felt_angle)
        + control.derivative * (plan.rate - state.felt_rate)
        + control.integral * state.correction
    )  # N m
    # the side is the one at zero angle: an arm that changes sign near the end of the range must not switch sides
    flexor = (trial.length[:, 1] < 0).astype(arm.dtype)
    softened = jnp.hypot(torque, _SIDE)  # N m
    able = control.share * jnp.abs(arm) * trial.muscles.strength * trial.muscles.cosine  # N m at full drive
    flexion = 0.5 * (softened + torque) / jnp.sum(flexor * able)
    extension = 0.5 * (softened - torque) / jnp.sum((1 - flexor) * able)
    common = flexor * flexion + (1 - flexor) * extension
    along = jnp.abs(plan.rate) + (2 * flexor - 1) * plan.rate  # rad/s
    together = trial.effort * control.co_contraction * (1 + control.hurry * along)
    drive = (control.share * common + together) * (1 + control.noise * state.noise)
    return jnp.clip(drive, IDLE, 1.0)


def advance(
    trial: SimulatedTrial, state: MotionState, plan: Plan, noise: Array, step: float
) -> tuple[MotionState, Sample]:
    """One step of semi-implicit Euler for the hand, implicit Euler for the fibres.

    At 0.5 ms the stiffest mode of the hand against its tendons, 85 rad/s, is far inside the stable region.
    """
    joint, control = trial.joint, trial.control
    q, qd = state.angle, state.rate  # rad, rad/s
    length, arm = muscle.geometry(trial.length, q)  # m
    drive = _drive(trial, state, plan, arm)
    fibres, force = muscle.contract(trial.muscles, state.fibres, drive, length, step)

    friction = -joint.friction * jnp.tanh(qd / STICTION_RATE)  # N m
    ligament = joint.end_torque * (
        jnp.exp(jnp.clip((-q - joint.end_angle) / joint.end_width, -20, 4))
        - jnp.exp(jnp.clip((q - joint.end_angle) / joint.end_width, -20, 4))
    )  # N m
    linear = -joint.damping * qd - joint.stiffness * (q - trial.rest_angle)  # N m
    torque = jnp.sum(arm * force) + gravity_torque(trial, q) + linear + friction + ligament  # N m
    rate = qd + step * torque / joint.inertia
    # nobody corrects while relaxed
    error = trial.effort * (plan.angle - state.felt_angle)  # rad
    after = MotionState(
        angle=q + step * rate,
        rate=rate,
        **feel(state, control, step, (q, qd, error, noise)),
        fibres=fibres,
    )
    return after, Sample(q, qd, force, arm, drive, fibres.activation, friction, ligament)


def feel(state: Any, control: Control, step: float, now: tuple[Array, Array, Array, Array]) -> dict[str, Array]:
    """What a person feels of their motion after a step [s] of it: late, with the errors that they correct for.

    Args:
        state: before the step.
        control: the person's.
        step: its length [s].
        now: angle [rad], rate [rad/s], error of the angle [rad] and white noise of the drive.
    """
    q, qd, error, noise = now
    return {
        "felt_angle": state.felt_angle + step / control.lag_s * (q - state.felt_angle),
        "felt_rate": state.felt_rate + step / control.lag_s * (qd - state.felt_rate),
        "correction": jnp.clip(state.correction + step * error, -0.3, 0.3),
        "noise": state.noise + step / NOISE_S * (noise - state.noise),
    }


def _begin(trial: SimulatedTrial, angle: Array) -> MotionState:
    """Still, at the first target."""
    length, arm = muscle.geometry(trial.length, angle)
    zero = jnp.zeros_like(angle)
    return MotionState(angle, zero, angle, zero, zero, jnp.zeros_like(arm), muscle.taut(trial.muscles, length))


def run(trials: SimulatedTrial, targets: MotionTarget, noise: Array, step: float, block: int) -> Sample:
    """Simulates L trials together.

    Args:
        trials: stacked over trials (leading axis L).
        targets: (L, T') each, `LARGEST_LEAD_S` longer than what is simulated.
        noise: (B, L, N) unit normal; each row lasts for `block` steps.
        step: [s].

    Returns:
        Samples with leading axes (T, L).
    """
    steps = targets.angle.shape[1] - round(LARGEST_LEAD_S / step)
    expected = jax.vmap(expected_torque)(trials, targets)  # N m
    lead = jnp.round(trials.control.lead_s / step).astype(jnp.int32)
    ahead = jax.vmap(lambda torque, by: jax.lax.dynamic_slice_in_dim(torque, by, steps))(expected, lead)
    plans = Plan(targets.angle[:, :steps].T, targets.rate[:, :steps].T, ahead.T)
    lanes = jax.vmap(advance, in_axes=(0, 0, 0, 0, None))

    def one(state: MotionState, at: tuple[Int[Array, ""], Plan]) -> tuple[MotionState, Sample]:
        index, plan = at
        return lanes(trials, state, plan, noise[index // block], step)

    start = jax.vmap(_begin)(trials, targets.angle[:, 0])
    return jax.lax.scan(one, start, (jnp.arange(steps), plans))[1]
