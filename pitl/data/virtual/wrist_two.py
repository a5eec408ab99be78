"""The virtual wrist with two coordinates: who the people are, how the hand moves, what an effort is.

The hand flexes about the ground's -z, then deviates about its own -y (`pitl.mechanics.two_axes`). With inertia I about
the wrist along the hand's axes (x along it, y through the palm, z across) and m = I_x sin^2 q2 + I_z cos^2 q2, its
equations of motion are those of Lagrange, written out:

    m q1'' + 2 sin q2 cos q2 (I_x - I_z) q1' q2'   = torque_1
    I_y q2'' - sin q2 cos q2 (I_x - I_z) q1'^2     = torque_2

Muscles, electrodes and control are those of the wrist with one coordinate; a torque is shared among all six muscles
with least effort, in units of the person's habit. An isometric effort is the same with the hand held by a device that
measures the torque exerted on it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pitl.config.schema import VirtualConfig
from pitl.data.virtual import muscle, reference
from pitl.data.virtual.motion import EXPECTED_RATE, IDLE, LARGEST_LEAD_S, STICTION_RATE, feel
from pitl.data.virtual.subject import PL_FIBRE_AT_ZERO, Control, Draw, Muscles, Value, draw_contraction
from pitl.mechanics.model import MusculoskeletalModel, body_properties
from pitl.mechanics.wrist_two import WRIST_TWO

POWERS = np.array(WRIST_TWO["length_powers"])  # (K, 2) of flexion and deviation
# Strengths over what height and weight say: logarithms vary by .09-.32 between people, .20 in the root mean square of
# 35 muscles, correlated by .35 (muscle volumes of nine adults by MRI over height times mass; CapacitiveSensingDataset,
# opearl-cmu, MIT licence)
_STRENGTH_SD, _STRENGTH_CORRELATION = 0.20, 0.35
_DEVIATION_SHARE, _CENTRE = 0.22, np.deg2rad([0.0, 4.0])  # of a flexion target; rad, the middle of motion
SOFT = 0.01  # drive over which a muscle begins to pull
DIRECTIONS = ("flexion", "extension", "radial", "ulnar", "co-contraction")
_TOWARDS = {"flexion": 0.0, "ulnar": 0.5 * np.pi, "extension": np.pi, "radial": 1.5 * np.pi}  # rad, from flexion
_LEVELS = (0.06, 0.15, 0.35, 0.65, 1.0)  # of the largest effort; the weak ones are as strong as motion
_TOGETHER = 0.6  # drive at the largest co-contraction


class Hand(NamedTuple):
    """The hand and the wrist without its muscles; pairs are of flexion and deviation."""

    mass: Value  # kg
    lever: Value  # m, wrist to centre of mass
    inertia: Value  # (3,) kg m2, about the wrist, along the hand's axes
    damping: Value  # (2,) N m s/rad
    stiffness: Value  # (2,) N m/rad
    rest_shift: Value  # (2,) rad
    friction: Value  # (2,) N m, Coulomb
    end_torque: Value  # (2,) N m, at the end angles
    end_angle: Value  # (2, 2) rad, lower and upper, where the ligaments tighten
    end_width: Value  # (2,) rad


class HandTrial(NamedTuple):
    """One trial's person and place."""

    joint: Hand
    muscles: Muscles
    control: Control
    length: Value  # (N, K) m / rad^power, in this posture
    down: Value  # (3,) m/s2, gravity in the ground's coordinates
    effort: Value  # scales the drive
    held: Value  # 1 where a device holds the hand still


class HandTarget(NamedTuple):
    """What is tried."""

    angle: Value  # (T, 2) rad
    rate: Value  # (T, 2) rad/s
    acceleration: Value  # (T, 2) rad/s2
    exerted: Value  # (T, 2) N m, on a device
    together: Value  # (T,) drive of all muscles at once, beyond the person's own


class _Plan(NamedTuple):
    angle: Value  # (2,) rad
    rate: Value  # (2,) rad/s
    torque: Value  # (2,) N m
    together: Value


class _State(NamedTuple):
    angle: Value  # (2,) rad
    rate: Value  # (2,) rad/s
    felt_angle: Value  # (2,) rad
    felt_rate: Value  # (2,) rad/s
    correction: Value  # (2,) rad s
    noise: Value  # (N,)
    pull: Value  # (2,) 1/(N m), that shared the torque of the step before
    fibres: muscle.Fibres


class HandSample(NamedTuple):
    """What happened at one step."""

    angle: Value  # (2,) rad
    force: Value  # (N,) N, tendon
    arm: Value  # (N, 2) m
    drive: Value  # (N,)
    activation: Value  # (N,)
    friction: Value  # (2,) N m, as it acts on the hand
    ligament: Value  # (2,) N m, as it acts on the hand
    exerted: Value  # (2,) N m, on what holds the hand, should it be held


def draw_hand(settings: VirtualConfig, likely: MusculoskeletalModel, longer: float, spread: Draw, shift: Draw) -> Hand:
    """A hand around what height and weight say of it."""
    del longer  # is in the likely one
    hand = body_properties(likely)
    mass = hand.mass[0] * spread(0.10)  # kg
    reach = spread(0.08)
    lever = hand.centre[0, 0] * reach  # m
    about_com = np.diag(hand.inertia[0]) * mass / hand.mass[0] * reach**2  # kg m2
    return Hand(
        mass=mass,
        lever=lever,
        inertia=about_com + mass * lever**2 * np.array([0.0, 1.0, 1.0]),
        damping=np.asarray(likely.damping, float) * spread(0.3, 2),
        stiffness=np.asarray(likely.stiffness, float) * spread(0.3, 2),
        rest_shift=shift(1.0, 2) * np.deg2rad([6.0, 3.0]),
        # as chosen for one coordinate; ligaments matter near the ends of either range
        friction=settings.friction * 0.025 * spread(0.3, 2),
        end_torque=settings.end_stiffness * 0.25 * spread(0.25, 2),
        end_angle=np.deg2rad([[-60.0, 60.0], [-16.0, 26.0]]) + shift(np.deg2rad(2.0), (2, 2)),
        end_width=np.deg2rad([6.0, 3.0]) * spread(0.15, 2),
    )


def draw_muscles(
    settings: VirtualConfig, likely: MusculoskeletalModel, longer: float, spread: Draw, shift: Draw
) -> Muscles:
    """Six muscles around what height and weight say of them; palmaris longus is the last."""
    order = muscle_order(likely.muscles)
    published = np.array(WRIST_TWO["length_coefficients"])[:, order]  # m / rad^power
    count = len(order)
    length = longer * published  # (P, N, K)

    def of(values: Any) -> np.ndarray:
        return np.asarray(values, float)[order]

    cosine = np.cos(of(likely.pennation))
    works_at = (length[0, :, 0] - of(likely.tendon_slack_length)) / (of(likely.optimal_fibre_length) * cosine)
    works_at[-1] = PL_FIBRE_AT_ZERO
    works_at = works_at + shift(0.06, count)  # optimal fibre lengths, at zero angles
    fibre = of(likely.optimal_fibre_length) * spread(0.08, count)  # m
    common, own = np.sqrt(_STRENGTH_CORRELATION), np.sqrt(1 - _STRENGTH_CORRELATION)
    strength = of(likely.max_isometric_force) * spread(_STRENGTH_SD * common) * spread(_STRENGTH_SD * own, count)
    strength[-1] *= settings.unrecorded_muscle
    arm_factor, arm_tilt = spread(0.10, count), shift(0.08, count)  # , 1/rad
    sideways = spread(0.07, count)  # arms in deviation have an error of their own
    slack = length[0, :, 0] - works_at * fibre * cosine  # m
    flexion = int(np.flatnonzero((POWERS == (1, 0)).all(axis=1))[0])
    twice = int(np.flatnonzero((POWERS == (2, 0)).all(axis=1))[0])
    tilt = length[:, :, flexion] * arm_factor * arm_tilt / 2  # m/rad^2
    factor = np.where(POWERS[:, 1] > 0, sideways[:, None], 1.0) * arm_factor[:, None]
    length = length * np.where(POWERS.sum(axis=1) > 0, factor, 1.0)
    length[:, :, twice] += tilt
    return Muscles(
        strength=strength,
        fibre=fibre,
        slack=slack,
        cosine=cosine,
        fastest=of(likely.max_contraction_velocity) * spread(0.1),
        length=length,
        arm_factor=arm_factor,
        arm_tilt=arm_tilt,
        **draw_contraction(settings, spread),
    )


def muscle_order(muscles: tuple[str, ...]) -> list[int]:
    """Where the simulation's muscles stand in the model: those with an electrode, then palmaris longus."""
    return [m for m, name in enumerate(muscles) if name != "PL"] + [muscles.index("PL")]


def geometry(length: Array, angle: Array) -> tuple[Array, Array]:
    """Musculotendon lengths (N,) and moment arms (N, 2) [m] at the two angles."""
    highest = int(POWERS.max())
    powers = [jnp.ones_like(angle)]
    for _ in range(highest):
        powers.append(powers[-1] * angle)
    table = jnp.stack(powers)  # (highest + 1, 2)
    slope = jnp.concatenate([jnp.zeros_like(table[:1]), table[:-1] * jnp.arange(1.0, highest + 1)[:, None]])
    one, two = POWERS.T
    value = table[one, 0] * table[two, 1]
    along = jnp.stack([slope[one, 0] * table[two, 1], table[one, 0] * slope[two, 1]], axis=-1)
    return jnp.sum(length * value[None, :], axis=-1), -jnp.sum(length[:, :, None] * along[None], axis=1)


def weight_torque(joint: Hand, down: Array, angle: Array) -> Array:
    """(2,) torque of the hand's weight about the wrist [N m], as it acts on the hand."""
    (c1, c2), (s1, s2) = jnp.cos(angle), jnp.sin(angle)
    by_flexion = -down[0] * s1 * c2 - down[1] * c1 * c2
    by_deviation = -down[0] * c1 * s2 + down[1] * s1 * s2 + down[2] * c2
    return joint.mass * joint.lever * jnp.stack([by_flexion, by_deviation])


def _mass(joint: Hand, angle: Array) -> Array:
    sine, cosine = jnp.sin(angle[1]), jnp.cos(angle[1])
    return jnp.stack([joint.inertia[0] * sine**2 + joint.inertia[2] * cosine**2, joint.inertia[1]])


def _coriolis(joint: Hand, angle: Array, rate: Array) -> Array:
    """(2,) on the left of the equation of motion [N m]."""
    bend = jnp.sin(angle[1]) * jnp.cos(angle[1]) * (joint.inertia[0] - joint.inertia[2])
    return jnp.stack([2 * bend * rate[0] * rate[1], -bend * rate[0] ** 2])


def _ligament(joint: Hand, angle: Array) -> Array:
    low, high = joint.end_angle[:, 0], joint.end_angle[:, 1]
    return joint.end_torque * (
        jnp.exp(jnp.clip((low - angle) / joint.end_width, -20, 4))
        - jnp.exp(jnp.clip((angle - high) / joint.end_width, -20, 4))
    )


def expected_torque(trial: HandTrial, target: HandTarget) -> Array:
    """(T, 2) torque that the person believes a movement takes, wrong by some 15 % a term; or that of an effort."""
    joint, muscles, error = trial.joint, trial.muscles, trial.control.model_error
    _, arm = geometry(trial.length, jnp.zeros_like(target.angle[0]))  # m
    slope = (1 + 1 / muscle.HILL) / (muscles.fastest * muscles.fibre)  # s/m
    resisting = (trial.control.co_contraction + 0.03) * muscles.strength * slope  # N s/m
    damping = joint.damping + jnp.sum(arm**2 * resisting[:, None], axis=0)  # N m s/rad
    mass = jax.vmap(partial(_mass, joint))(target.angle)
    weight = jax.vmap(partial(weight_torque, joint, trial.down))(target.angle)
    wanted = (
        error[0] * mass * target.acceleration
        + error[1] * damping[None, :] * target.rate
        - error[2] * weight
        + error[3] * joint.stiffness[None, :] * (target.angle - joint.rest_shift[None, :])
        + joint.friction[None, :] * jnp.tanh(target.rate / EXPECTED_RATE)
    )
    return jnp.where(trial.held > 0, target.exerted, wanted)


def _share(able: Array, habit: Array, torque: Array, pull: Array, steps: int) -> tuple[Array, Array]:
    """Drives of least effort sum a^2 / habit that give a torque, and the multipliers behind them, by Newton's method.

    Args:
        able: (N, 2) torque of each muscle at full drive [N m].
        habit: (N,) weight of each muscle.
        torque: (2,) wanted [N m].
        pull: (2,) where the search starts.
        steps: of the search; two follow a torque from one step of the simulation to the next.
    """

    def drives(pull: Array) -> tuple[Array, Array]:
        x = jnp.sum(able * pull[None, :], axis=-1)
        root = jnp.sqrt(x * x + SOFT**2)
        return 0.5 * habit * (x + root), 0.5 * habit * (1 + x / root)

    for _ in range(steps):
        drive, slope = drives(pull)
        wrong = jnp.sum(able * drive[:, None], axis=0) - torque
        j11, j12, j22 = (jnp.sum(slope * able[:, a] * able[:, b]) for a, b in ((0, 0), (0, 1), (1, 1)))
        j11, j22 = j11 + 1e-4, j22 + 1e-4
        step = jnp.stack([j22 * wrong[0] - j12 * wrong[1], j11 * wrong[1] - j12 * wrong[0]]) / (j11 * j22 - j12**2)
        pull = pull - jnp.clip(step, -0.2, 0.2)
    return drives(pull)[0], pull


def _able(muscles: Muscles, arm: Array) -> Array:
    return arm * (muscles.strength * muscles.cosine)[:, None]


def _drive(trial: HandTrial, state: _State, plan: _Plan, arm: Array) -> tuple[Array, Array]:
    control = trial.control
    torque = trial.effort * (
        plan.torque
        + control.proportional * (plan.angle - state.felt_angle)
        + control.derivative * (plan.rate - state.felt_rate)
        + control.integral * state.correction
    )  # N m
    shared, pull = _share(_able(trial.muscles, arm), control.share, torque, state.pull, 2)
    away = jnp.sum(arm * plan.rate[None, :], axis=-1) / jnp.sqrt(jnp.sum(arm**2, axis=-1) + 1e-8)  # rad/s
    along = jnp.abs(away) + away
    together = trial.effort * (control.co_contraction * (1 + control.hurry * along) + control.share * plan.together)
    drive = (shared + together) * (1 + control.noise * state.noise)
    return jnp.clip(drive, IDLE, 1.0), pull


def _advance(trial: HandTrial, state: _State, plan: _Plan, noise: Array, step: float) -> tuple[_State, HandSample]:
    """One step of semi-implicit Euler for the hand, implicit Euler for the fibres."""
    joint, control = trial.joint, trial.control
    q, qd = state.angle, state.rate
    length, arm = geometry(trial.length, q)  # m
    drive, pull = _drive(trial, state, plan, arm)
    fibres, force = muscle.contract(trial.muscles, state.fibres, drive, length, step)
    friction = -joint.friction * jnp.tanh(qd / STICTION_RATE)  # N m
    ligament = _ligament(joint, q)  # N m
    linear = -joint.damping * qd - joint.stiffness * (q - joint.rest_shift)  # N m
    net = jnp.sum(arm * force[:, None], axis=0) + weight_torque(joint, trial.down, q) + linear + ligament  # N m
    rate = (qd + step * (net + friction - _coriolis(joint, q, qd)) / _mass(joint, q)) * (1 - trial.held)
    error = trial.effort * (plan.angle - state.felt_angle) * (1 - trial.held)  # rad
    after = _State(
        angle=q + step * rate,
        rate=rate,
        **feel(state, control, step, (q, qd, error, noise)),
        pull=pull,
        fibres=fibres,
    )
    return after, HandSample(q, force, arm, drive, fibres.activation, friction, ligament, net)


def _begin(trial: HandTrial, angle: Array) -> _State:
    length, _ = geometry(trial.length, angle)
    zero, idle = jnp.zeros_like(angle), jnp.zeros_like(length)
    return _State(angle, zero, angle, zero, zero, idle, zero, muscle.taut(trial.muscles, length))


def run(trials: HandTrial, targets: HandTarget, noise: Array, step: float, block: int) -> HandSample:
    """Simulates L trials together; see `pitl.data.virtual.motion.run`."""
    steps = targets.angle.shape[1] - round(LARGEST_LEAD_S / step)
    expected = jax.vmap(expected_torque)(trials, targets)  # N m
    lead = jnp.round(trials.control.lead_s / step).astype(jnp.int32)
    ahead = jax.vmap(lambda torque, by: jax.lax.dynamic_slice_in_dim(torque, by, steps))(expected, lead)
    first = (x[:, :steps] for x in (targets.angle, targets.rate, ahead, targets.together))
    plans = _Plan(*(jnp.swapaxes(x, 0, 1) for x in first))
    lanes = jax.vmap(_advance, in_axes=(0, 0, 0, 0, None))

    def one(state: _State, at: tuple[Int[Array, ""], _Plan]) -> tuple[_State, HandSample]:
        index, plan = at
        return lanes(trials, state, plan, noise[index // block], step)

    start = jax.vmap(_begin)(trials, targets.angle[:, 0])
    return jax.lax.scan(one, start, (jnp.arange(steps), plans))[1]


def moving_target(task: reference.Task, place: float, rng: np.random.Generator, steps: int, rate_hz: float) -> Any:
    """A movement of both coordinates, and the effort with which it is made."""
    flexion, deviation = (reference.plan(task, place, rng, steps, rate_hz) for _ in range(2))
    shapes = []
    for one, two in zip(flexion[:3], deviation[:3], strict=True):
        shapes.append(np.stack([one, _DEVIATION_SHARE * two], axis=-1))
    angle, rate, acceleration = shapes
    still = np.zeros((steps, 2))
    return HandTarget(angle + _CENTRE, rate, acceleration, still, still[:, 0]), flexion.effort


def effort_target(
    direction: str, trial: tuple[Muscles, Control, np.ndarray], rng: np.random.Generator, steps: int, rate_hz: float
) -> HandTarget:
    """Efforts of rising strength in one direction, held for some seconds each, the last as strong as the person can.

    Args:
        direction: one of `DIRECTIONS`.
        trial: muscles, control and the muscles' lengths (N, K) in this posture.
        rng: of this trial.
        steps: samples.
        rate_hz: samples per second.
    """
    muscles, control, length = trial
    time = np.arange(steps) / rate_hz  # s
    each = time[-1] / len(_LEVELS)  # s
    within = np.mod(time, each) / each
    level = np.asarray(_LEVELS)[np.minimum((time / each).astype(int), len(_LEVELS) - 1)]
    ramp = np.clip(within / 0.15, 0, 1) * np.clip((0.85 - within) / 0.15, 0, 1)
    course = level * ramp**2 * (3 - 2 * ramp) * (1 + 0.05 * reference.wander(rng, time, 0.2, 1.0))
    angle = np.broadcast_to(np.deg2rad(rng.normal(0.0, 3.0, 2)), (steps, 2))
    still = np.zeros((steps, 2))
    if direction == "co-contraction":
        return HandTarget(angle, still, still, still, _TOGETHER * course)
    # nobody pulls quite straight
    towards = _TOWARDS[direction] + np.deg2rad(10.0) * reference.wander(rng, time, 0.1, 0.5)
    able = _able(muscles, geometry(jnp.asarray(length), jnp.zeros(2))[1])
    unit = np.array([np.cos(_TOWARDS[direction]), np.sin(_TOWARDS[direction])])
    drive, _ = _share(able, jnp.asarray(control.share), jnp.asarray(unit), jnp.zeros(2), 60)
    largest = 0.95 / float(jnp.max(drive))  # N m
    exerted = largest * course[:, None] * np.stack([np.cos(towards), np.sin(towards)], axis=-1)
    return HandTarget(angle, still, still, exerted, still[:, 0])
