"""Forward dynamics of the virtual wrists: many trials at once, one compiled scan.

The physics is deliberately richer than the learner's, and of another family where that is possible:

    I q'' = sum_n r_n(q) F_n - g(q) - b q' - k (q - rest) - friction(q') - ligaments(q)

with forces F from Thelen's curves (2003, doi 10.1115/1.1531112), not De Groote's, an elastic tendon in series with a
damped fibre (Millard 2013, doi 10.1115/1.4023390), force depression and enhancement after length changes (Herzog 2004,
doi 10.1016/j.jbiomech.2003.09.004), and palmaris longus among the muscles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pitl.virtual.subject import Control, Joint, Muscles, Value

_WIDTH = 0.45  # of the Gaussian active force-length curve, Thelen 2003
_PASSIVE_SHAPE, _PASSIVE_STRAIN = 4.0, 0.6  # Thelen 2003, young adults
_HILL = 0.25  # Thelen 2003, A_f
_ECCENTRIC = 1.4  # Thelen 2003, F_len
_FIBRE_DAMPING = 0.1  # maximum force per fastest velocity, Millard 2013
_TENDON_SHAPE = 3.0  # exponential toe, Thelen 2003
_NEWTON_STEPS = 2  # from the previous velocity; a third changes forces by less than 1e-4 N
_STICTION_RATE = 0.08  # rad/s, over which friction changes its sign
_SIDE = 0.02  # N m, over which the drive passes from flexors to extensors
_IDLE = 0.004  # smallest drive
_NOISE_S = 0.12  # s, correlation time of the drive's noise


class Trial(NamedTuple):
    """One trial's person, place and plan."""

    joint: Joint
    muscles: Muscles
    control: Control
    length: Value  # (N, K) m / rad^power, in this posture
    down: Value  # (2,) m/s2, gravity in the plane of motion
    base_orientation: Value  # rad
    rest_angle: Value  # rad
    effort: Value  # scales the drive
    noise: Value  # (B, N) unit normal, one row per block of steps


class Plan(NamedTuple):
    """Target and feed-forward torque at each step."""

    angle: Value  # (T,) rad
    rate: Value  # (T,) rad/s
    torque: Value  # (T,) N m


class State(NamedTuple):
    angle: Value  # rad
    rate: Value  # rad/s
    felt_angle: Value  # rad, lagging
    felt_rate: Value  # rad/s
    correction: Value  # rad s, integral of the error
    noise: Value  # (N,)
    activation: Value  # (N,)
    fibre: Value  # (N,) optimal fibre lengths
    velocity: Value  # (N,) optimal fibre lengths per s
    remembered: Value  # (N,) optimal fibre lengths, slow average of fibre length


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


def active_length(length: Array) -> Array:
    return jnp.exp(-((length - 1) ** 2) / _WIDTH)


def passive_length(length: Array) -> tuple[Array, Array]:
    """Passive force and its slope [maximum force, per optimal fibre length]."""
    scale = jnp.expm1(_PASSIVE_SHAPE)
    strain = jnp.clip((length - 1) / _PASSIVE_STRAIN, 0, 2)
    rise = jnp.exp(_PASSIVE_SHAPE * strain)
    return (rise - 1) / scale, jnp.where(strain > 0, _PASSIVE_SHAPE / _PASSIVE_STRAIN * rise / scale, 0.0)


def force_velocity(velocity: Array) -> tuple[Array, Array]:
    """Hill's hyperbola and its eccentric continuation, with slope; velocity in fastest velocities."""
    shortening = jnp.clip(velocity, -1, 0)
    below = 1 - shortening / _HILL
    lengthening = jnp.maximum(velocity, 0)
    steep = 2 + 2 / _HILL
    above = steep * lengthening + _ECCENTRIC - 1
    value = jnp.where(
        velocity < 0, (1 + shortening) / below, (steep * lengthening * _ECCENTRIC + _ECCENTRIC - 1) / above
    )
    slope = jnp.where(
        velocity < 0,
        jnp.where(velocity > -1, (1 + 1 / _HILL) / below**2, 0.0),
        steep * (_ECCENTRIC - 1) ** 2 / above**2,
    )
    return value, slope


def tendon(strain: Array, at_full: Array) -> tuple[Array, Array]:
    """Tendon force [maximum force] and its slope per strain; `at_full` is the strain at maximum force."""
    scale = jnp.expm1(_TENDON_SHAPE)
    x = jnp.clip(strain / at_full, 0, 1)
    rise = jnp.exp(_TENDON_SHAPE * x)
    linear = _TENDON_SHAPE * jnp.exp(_TENDON_SHAPE) / scale * jnp.maximum(strain / at_full - 1, 0)
    return (rise - 1) / scale + linear, jnp.where(strain > 0, _TENDON_SHAPE * rise / (scale * at_full), 0.0)


def geometry(length: Float[Array, "N K"], angle: Float[Array, ""]) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Musculotendon lengths and moment arms [m]."""
    value, slope = length[:, -1], jnp.zeros_like(length[:, -1])
    for k in range(length.shape[1] - 2, -1, -1):
        slope = slope * angle + value
        value = value * angle + length[:, k]
    return value, -slope


def gravity_torque(joint: Joint, down: Array, base_orientation: Array, angle: Array) -> Array:
    """Torque of the hand's weight about the wrist [N m], as it acts on the hand."""
    orientation = base_orientation + joint.flexion_sign * angle  # rad
    across = down[1] * jnp.cos(orientation) - down[0] * jnp.sin(orientation)  # m/s2
    return joint.flexion_sign * joint.mass * joint.lever * across


def feed_forward(trial: Trial, angle: Array, rate: Array, acceleration: Array) -> Array:
    """What the person believes the movement takes [N m]; their belief is off by some 15 % per term.

    Active muscle resists motion (force-velocity); experience has taught them so, and they add its damping.
    """
    joint, muscles, error = trial.joint, trial.muscles, trial.control.model_error
    _, arm = geometry(trial.length, jnp.zeros_like(angle[0]))
    typical = trial.control.co_contraction + 0.03
    slope = 1 + 1 / _HILL  # of force against velocity where it is zero
    damping = joint.damping + jnp.sum(arm**2 * muscles.strength * typical * slope / (muscles.fastest * muscles.fibre))
    weight = jax.vmap(lambda q: gravity_torque(joint, trial.down, trial.base_orientation, q))(angle)  # N m
    stiff = joint.stiffness * (angle - trial.rest_angle)  # N m
    return (
        error[0] * joint.inertia * acceleration
        + error[1] * damping * rate
        - error[2] * weight
        + error[3] * stiff
        + joint.friction * jnp.tanh(rate / 0.3)
    )


def _drive(trial: Trial, state: State, target: Plan, arm: Array) -> tuple[Array, Array]:
    """Neural drive (N,) and the torque asked for [N m]."""
    control = trial.control
    error = target.angle - state.felt_angle  # rad
    torque = trial.effort * (
        target.torque
        + control.proportional * error
        + control.derivative * (target.rate - state.felt_rate)
        + control.integral * state.correction
    )
    flexor = (arm > 0).astype(arm.dtype)
    wanted = 0.5 * (jnp.array([1, -1], arm.dtype) * torque + jnp.hypot(torque, _SIDE))  # N m, flexors and extensors
    able = control.share * muscle_capacity(trial.muscles, arm)  # N m per unit of common drive
    flexors, extensors = jnp.sum(flexor * able), jnp.sum((1 - flexor) * able)
    common = flexor * wanted[0] / flexors + (1 - flexor) * wanted[1] / extensors
    along = jnp.abs(target.rate) + (2 * flexor - 1) * target.rate  # rad/s
    together = trial.effort * control.co_contraction * (1 + control.hurry * along)
    return (control.share * common + together) * (1 + control.noise * state.noise), torque


def muscle_capacity(muscles: Muscles, arm: Array) -> Array:
    """Torque [N m] of each muscle at full activation and optimal length."""
    return jnp.abs(arm) * muscles.strength * muscles.cosine


def _fibres(trial: Trial, state: State, activation: Array, length: Array, step: float) -> tuple[Array, Array, Array]:
    """Fibre velocity and length that balance the tendon at the end of the step, and the force there [N].

    Implicit in the fibre: at low activation its balance relaxes within a millisecond, and a stiff tendon faster still.
    The pennation angle stays at its value at optimal length (at most 12 deg).
    """
    m = trial.muscles
    history = 1 + m.memory * (state.fibre - state.remembered)
    active = activation * active_length(state.fibre) * jnp.clip(history, 0.5, 1.5)

    def stretch(velocity: Array) -> tuple[Array, Array]:
        fibre = state.fibre + step * velocity
        return fibre, (length - fibre * m.fibre * m.cosine) / m.slack - 1

    velocity = state.velocity
    for _ in range(_NEWTON_STEPS):
        fibre, strain = stretch(velocity)
        passive, stiffer = passive_length(fibre)
        faster, slope = force_velocity(velocity / m.fastest)
        pull, tighter = tendon(strain, m.tendon_strain)
        imbalance = (active * faster + passive + _FIBRE_DAMPING * velocity / m.fastest) * m.cosine - pull
        gradient = (active * slope + _FIBRE_DAMPING) / m.fastest * m.cosine + step * (
            stiffer * m.cosine + tighter * m.fibre * m.cosine / m.slack
        )
        velocity = jnp.clip(velocity - imbalance / gradient, -2 * m.fastest, 2 * m.fastest)
    fibre, strain = stretch(velocity)
    return velocity, fibre, m.strength * tendon(strain, m.tendon_strain)[0]


def advance(trial: Trial, state: State, target: Plan, noise: Array, step: float) -> tuple[State, Sample]:
    """One step of semi-implicit Euler for the hand, implicit Euler for the fibres.

    At 0.5 ms the stiffest mode of the hand against its tendons, 85 rad/s, is far inside the stable region.
    """
    joint, muscles, control = trial.joint, trial.muscles, trial.control
    q, qd = state.angle, state.rate  # rad, rad/s
    length, arm = geometry(trial.length, q)  # m

    drive, asked = _drive(trial, state, target, arm)
    drive = jnp.clip(drive, _IDLE, 1.0)
    constant = jnp.where(
        drive > state.activation,
        muscles.rise_s * (0.5 + 1.5 * state.activation),
        muscles.fall_s / (0.5 + 1.5 * state.activation),
    )  # s, Thelen 2003
    activation = state.activation + step * (drive - state.activation) / constant
    velocity, fibre, force = _fibres(trial, state, activation, length, step)

    friction = -joint.friction * jnp.tanh(qd / _STICTION_RATE)  # N m
    ligament = joint.end_torque * (
        jnp.exp(jnp.clip((-q - joint.end_angle) / joint.end_width, -20, 4))
        - jnp.exp(jnp.clip((q - joint.end_angle) / joint.end_width, -20, 4))
    )  # N m
    weight = gravity_torque(joint, trial.down, trial.base_orientation, q)  # N m
    linear = -joint.damping * qd - joint.stiffness * (q - trial.rest_angle)  # N m
    qdd = (jnp.sum(arm * force) + weight + linear + friction + ligament) / joint.inertia  # rad/s2
    rate = qd + step * qdd

    # correction stops while a rest is on, or it would wind up
    error = trial.effort * (target.angle - state.felt_angle)  # rad
    after = State(
        angle=q + step * rate,
        rate=rate,
        felt_angle=state.felt_angle + step / control.lag_s * (q - state.felt_angle),
        felt_rate=state.felt_rate + step / control.lag_s * (qd - state.felt_rate),
        correction=jnp.clip(state.correction + step * error, -0.3, 0.3),
        noise=state.noise + step / _NOISE_S * (noise - state.noise),
        activation=activation,
        fibre=fibre,
        velocity=velocity,
        remembered=state.remembered + step / muscles.memory_s * (fibre - state.remembered),
    )
    return after, Sample(q, qd, force, arm, drive, activation, friction, ligament)


def begin(trial: Trial, angle: Array) -> State:
    """At rest at the first target, tendons just taut."""
    length, _ = geometry(trial.length, angle)
    m = trial.muscles
    fibre = (length - m.slack * (1 + 0.3 * m.tendon_strain)) / (m.fibre * m.cosine)
    zero, none = jnp.zeros_like(angle), jnp.zeros_like(fibre)
    return State(angle, zero, angle, zero, zero, none, none + 0.02, fibre, none, fibre)


def run(trials: Trial, plans: Plan, step: float, block: int) -> Sample:
    """Simulates L trials together.

    Args:
        trials: stacked over trials (leading axis L); noise is (B, N) per trial.
        plans: (L, T) each.
        step: [s].
        block: steps that share a row of noise; B * block >= T.

    Returns:
        Samples with leading axes (T, L).
    """
    lanes = jax.vmap(advance, in_axes=(0, 0, 0, 0, None))
    noise = jnp.swapaxes(trials.noise, 0, 1)
    steady = trials._replace(noise=trials.noise[:, :1])

    def one(state: State, at: tuple[Int[Array, ""], Plan]) -> tuple[State, Sample]:
        index, target = at
        return lanes(steady, state, target, noise[index // block], step)

    along = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), plans)
    start = jax.vmap(begin)(steady, plans.angle[:, 0])
    indices = jnp.arange(plans.angle.shape[1])
    return jax.lax.scan(one, start, (indices, along))[1]
