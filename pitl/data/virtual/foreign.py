"""The virtual wrist with two coordinates, simulated by MuJoCo: dynamics that nobody here wrote.

The people, what they try, how they share a torque, their electrodes and devices are those of `wrist_two`. Foreign are
the joint (its mass matrix, friction and stops), the tendons (straight between sites, so that arms change with the angle
in another way than published ones), the muscles (MuJoCo's curves, rigid tendons), the activation dynamics and the
integration.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl.data.virtual import wrist_two
from pitl.data.virtual.motion import IDLE, LARGEST_LEAD_S, NOISE_S
from pitl.data.virtual.wrist_two import HandSample, HandTarget, HandTrial
from pitl.mechanics.mujoco.sampler import program

_STEP_S = 1e-3  # s, of MuJoCo's integration
_CONTROL_HZ = 200.0  # at which a person corrects their drive, and samples are taken
_BELLY_M, _BEND_M, _END_M = 0.25, 0.005, 0.03  # sites: behind the wrist, either side of it, and on the hand
_FIBRES = (0.5, 1.5)  # optimal fibre lengths at the ends of an actuator's length range
_HELD_KG_M2 = 1e6  # armature of a joint that a device holds


def mjcf(trial: HandTrial) -> str:
    """One person's hand in one posture, as MuJoCo reads it."""
    hand, muscles = trial.joint, trial.muscles
    _, arm = (np.asarray(x) for x in wrist_two.geometry(jnp.asarray(trial.length), jnp.zeros(2)))  # m
    about_com = np.asarray(hand.inertia) - hand.mass * hand.lever**2 * np.array([0.0, 1.0, 1.0])  # kg m2
    held = bool(trial.held)
    low, high = np.asarray(hand.end_angle).T  # rad
    joints = [
        f'<joint name="{name}" axis="{axis}" damping="{hand.damping[k]}" stiffness="{hand.stiffness[k]}" '
        f'springref="{hand.rest_shift[k]}" frictionloss="{0.0 if held else hand.friction[k]}" '
        f'armature="{_HELD_KG_M2 if held else 0.0}" limited="{str(not held).lower()}" range="{low[k]} {high[k]}" '
        'solreflimit="0.03 1"/>'
        for k, (name, axis) in enumerate((("flexion", "0 0 -1"), ("deviation", "0 -1 0")))
    ]
    ground, sites, tendons, actuators = [], [], [], []
    for m, (flexion, deviation) in enumerate(arm):
        y, z = -flexion, deviation  # m, for which a pull along -x has these arms at zero angles
        ground += [f'<site name="g{m}{k}" pos="{x} {y} {z}"/>' for k, x in enumerate((-_BELLY_M, -_BEND_M))]
        sites += [f'<site name="h{m}{k}" pos="{x} {y} {z}"/>' for k, x in enumerate((_BEND_M, _END_M))]
        path = "".join(f'<site site="{name}"/>' for name in (f"g{m}0", f"g{m}1", f"h{m}0", f"h{m}1"))
        tendons.append(f'<spatial name="t{m}">{path}</spatial>')
        fibre = muscles.fibre[m]  # m
        neutral = trial.length[m, 0]  # m, of muscle and tendon, of which the sites have another
        works_at = (neutral - muscles.slack[m]) / (fibre * muscles.cosine[m])  # optimal fibre lengths
        ends = _BELLY_M + _END_M + fibre * (np.array(_FIBRES) - works_at)  # m
        actuators.append(
            f'<muscle name="m{m}" tendon="t{m}" force="{muscles.strength[m] * muscles.cosine[m]}" '
            f'range="{_FIBRES[0]} {_FIBRES[1]}" lengthrange="{ends[0]} {ends[1]}" vmax="{muscles.fastest[m]}" '
            f'timeconst="{muscles.rise_s} {muscles.fall_s}"/>'
        )
    down = " ".join(map(str, np.asarray(trial.down)))
    turned = " ".join(map(str, about_com))
    return (
        f'<mujoco><compiler angle="radian"/><option timestep="{_STEP_S}" gravity="{down}" integrator="implicitfast"/>'
        f'<worldbody>{"".join(ground)}<body name="hand"><inertial pos="{hand.lever} 0 0" mass="{hand.mass}" '
        f'diaginertia="{turned}"/>{"".join(joints)}{"".join(sites)}</body></worldbody>'
        f"<tendon>{''.join(tendons)}</tendon><actuator>{''.join(actuators)}</actuator></mujoco>"
    )


def run(trial: HandTrial, target: HandTarget, noise: np.ndarray, step: float, block: int) -> HandSample:
    """Simulates one trial; arguments as of `wrist_two.run` without its lanes.

    `friction` is what all constraints of MuJoCo did, stops included; `ligament` is zero.

    Raises:
        PitlError: MuJoCo is not installed.
    """
    mujoco = program()
    model = mujoco.MjModel.from_xml_string(mjcf(trial))
    data = mujoco.MjData(model)
    every = max(1, round(1 / (_CONTROL_HZ * step)))
    period = every * step  # s
    steps = target.angle.shape[0] - round(LARGEST_LEAD_S / step)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = np.asarray(_expected(jax.tree.map(jnp.asarray, trial), jax.tree.map(jnp.asarray, target)))  # N m
    ahead = round(float(trial.control.lead_s) / step)
    control, strength = trial.control, np.asarray(trial.muscles.strength * trial.muscles.cosine)
    start = np.zeros(2) if trial.held else target.angle[0]
    data.qpos[:] = target.angle[0]
    mujoco.mj_forward(model, data)
    felt_angle, felt_rate, correction = start + 0.0, np.zeros(2), np.zeros(2)
    wander, pull, taken = np.zeros(model.nu), np.zeros(2), []
    for t in range(0, steps, every):
        q, qd = data.qpos.copy(), data.qvel.copy()
        error = trial.effort * (target.angle[t] - felt_angle) * (1 - trial.held)  # rad
        felt_angle += period / control.lag_s * (q - felt_angle)
        felt_rate += period / control.lag_s * (qd - felt_rate)
        correction = np.clip(correction + period * error, -0.3, 0.3)
        wander += period / NOISE_S * (noise[t // block] - wander)
        torque = trial.effort * (
            expected[t + ahead]
            + (1 - trial.held) * control.proportional * (target.angle[t] - felt_angle)
            + (1 - trial.held) * control.derivative * (target.rate[t] - felt_rate)
            + control.integral * correction
        )  # N m
        arm = -_moment(data, model)  # m
        shared, pull = _share(arm * strength[:, None], control.share, torque, pull)
        away = (arm @ target.rate[t]) / np.sqrt(np.sum(arm**2, axis=1) + 1e-8)  # rad/s
        together = control.co_contraction * (1 + control.hurry * (np.abs(away) + away))
        together = trial.effort * (together + control.share * target.together[t])
        data.ctrl[:] = np.clip((shared + together) * (1 + control.noise * wander), IDLE, 1.0)
        exerted = data.qfrc_actuator + data.qfrc_passive - data.qfrc_bias  # N m
        force = -data.actuator_force  # N
        taken.append(
            [q, force, arm, data.ctrl.copy(), data.act.copy(), data.qfrc_constraint.copy(), np.zeros(2), exerted]
        )
        mujoco.mj_step(model, data, nstep=round(period / _STEP_S))
    return HandSample(*(_finely(np.array(x), every, steps) for x in zip(*taken, strict=True)))


_expected = jax.jit(wrist_two.expected_torque)


def _moment(data: Any, model: Any) -> np.ndarray:
    """(N, 2) derivative of the tendons' lengths by the angles [m/rad]."""
    result = np.zeros((model.nu, model.nv))
    for a in range(model.nu):
        first, count = data.moment_rowadr[a], data.moment_rownnz[a]
        result[a, data.moment_colind[first : first + count]] = data.actuator_moment[first : first + count]
    return result


def _share(able: np.ndarray, habit: np.ndarray, torque: np.ndarray, pull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least effort of `wrist_two` in NumPy, from where the last search ended."""
    for _ in range(3):
        x = able @ pull
        root = np.sqrt(x * x + wrist_two.SOFT**2)
        slope = 0.5 * habit * (1 + x / root)
        wrong = able.T @ (0.5 * habit * (x + root)) - torque
        pull = pull - np.clip(np.linalg.solve(able.T @ (slope[:, None] * able) + 1e-4 * np.eye(2), wrong), -0.2, 0.2)
    x = able @ pull
    return 0.5 * habit * (x + np.sqrt(x * x + wrist_two.SOFT**2)), pull


def _finely(values: np.ndarray, every: int, steps: int) -> np.ndarray:
    """Samples at every step, on straight lines between those taken."""
    at = np.minimum(np.arange(steps) / every, len(values) - 1)
    left = np.minimum(at.astype(int), len(values) - 2)
    part = (at - left).reshape(-1, *(1,) * (values.ndim - 1))
    return (values[left] * (1 - part) + values[left + 1] * part).astype(np.float32)
