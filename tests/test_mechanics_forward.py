"""Forward dynamics and known loads: energy, statics, virtual work, and MuJoCo on the same pendulum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import chain, compiled, segments

from pitl.errors import PitlError
from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import forward, loads
from pitl.mechanics.planar import builtin, planar_chain

pytestmark = pytest.mark.deep

dynamics = compiled(eager_dynamics, "mass_matrix", "gravity_torque", "inverse_dynamics", "muscle_torque")


def test_inverse_dynamics_of_a_simulated_motion_gives_back_its_torque():
    model = chain(2)
    dt, steps = 0.002, 400
    force = 30.0 * (1 + jnp.sin(jnp.linspace(0.0, 6 * dt * steps, steps)[:, None] + jnp.linspace(0.0, 6.0, 7)[None, :]))
    simulate = jax.jit(
        lambda f: forward.simulate(model, f, forward.given, dt, 0, (jnp.array([0.2, -0.1]), jnp.zeros(2)))
    )
    q, qd = (np.asarray(x, float) for x in simulate(force))
    qdd = np.gradient(qd, dt, axis=0)
    inner = slice(2, -2)
    as32 = [jnp.asarray(x[inner], jnp.float32) for x in (q, qd, qdd)]
    wanted = dynamics.inverse_dynamics(model, *as32, 0)
    given = dynamics.muscle_torque(model, as32[0], force[inner], 0)
    assert float(jnp.abs(given).max()) > 1
    np.testing.assert_allclose(wanted, given, atol=0.01 * float(jnp.abs(given).max()))


def test_a_relaxed_leg_swings_about_its_hanging_position_and_comes_to_rest():
    model = builtin("knee")
    idle = jnp.zeros((1500, 5))
    course = jax.jit(lambda a: forward.simulate(model, a, forward.given, 0.005, 1, (jnp.array([0.9]), jnp.zeros(1))))(
        idle
    )
    swings = np.sign(course.rate[:, 0])
    assert (np.diff(swings) != 0).sum() > 4
    assert abs(float(course.rate[-1, 0])) < 0.05 and abs(float(course.angle[-1, 0])) < 0.05


def test_hill_muscles_move_a_joint_their_way():
    model = builtin("wrist")
    for name, sign in (("FCR", 1), ("ECRB", -1)):
        activation = jnp.zeros((200, 5)).at[:, model.muscles.index(name)].set(0.3)
        force = forward.hill(model, 0)
        run = jax.jit(
            lambda a, f=force: forward.simulate(model, a, f, 0.002, 0, (jnp.zeros(1), jnp.zeros(1)), substeps=4)
        )
        assert sign * float(run(activation).angle[-1, 0]) > 0.1


@pytest.mark.thorough
def test_a_motion_is_differentiable_by_what_caused_it():
    model = chain(2)

    def end(scale):
        force = scale * jnp.full((50, 7), 20.0)
        return forward.simulate(model, force, forward.given, 0.005, 0, (jnp.zeros(2), jnp.zeros(2))).angle[-1, 0]

    slope = jax.jit(jax.grad(end))(1.0)
    numerical = (jax.jit(end)(1.01) - jax.jit(end)(0.99)) / 0.02
    np.testing.assert_allclose(slope, numerical, rtol=2e-2)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_carried_weight_adds_its_weight_and_its_inertia(d):
    model, place = chain(d), jnp.array([0.2, 0.03, 0.0])
    q = jax.random.normal(jax.random.key(0), (d,))
    heavy = loads.carry(model, f"body{d - 1}", 0.7, place)
    pull = 0.7 * jnp.append(model.gravity[0, :2], 0.0)
    scaled = model.replace(gravity_scale=jnp.ones(d))
    torque = loads.point_force_torque(scaled, q, 0, f"body{d - 1}", place, pull)
    plain = heavy.replace(gravity_scale=jnp.ones(d))
    ours = dynamics.gravity_torque(plain, q, 0) - dynamics.gravity_torque(scaled, q, 0)
    np.testing.assert_allclose(ours, -torque, rtol=1e-4, atol=1e-5)
    rows = [loads.point_force_torque(model, q, 0, f"body{d - 1}", place, jnp.eye(3)[k]) for k in range(3)]
    jacobian = np.stack(rows)  # m/rad
    more = dynamics.mass_matrix(heavy, q, 0) - dynamics.mass_matrix(model, q, 0)
    np.testing.assert_allclose(more, 0.7 * jacobian.T @ jacobian, rtol=1e-3, atol=1e-5)


def test_a_force_measured_in_the_room_is_the_same_force_on_the_body():
    model = chain(2)
    q = jnp.array([[0.3, -0.4], [0.1, 0.2]])
    place, push = jnp.array([0.15, 0.02, 0.0]), jnp.array([[3.0, -2.0, 1.0], [0.0, 9.0, 0.0]])
    from pitl.mechanics import bodies

    point = bodies.point(model, q, 0, 1, place)
    ours = loads.ground_force_torque(model, q, 0, "body1", point, push)
    np.testing.assert_allclose(ours, loads.point_force_torque(model, q, 0, "body1", place, push), rtol=1e-5, atol=1e-6)
    still = loads.point_force_torque(model, q, 0, "body0", jnp.zeros(3), push)
    np.testing.assert_allclose(still, 0, atol=1e-6)  # a force at the first joint turns nothing


def test_an_unknown_body_names_the_known_ones():
    with pytest.raises(PitlError, match="no moving body 'skull'; known are hand"):
        loads.carry(builtin("wrist"), "skull", 1.0, jnp.zeros(3))


SITES = {  # muscle: (body, place [m]) of its two ends; -1 is the ground
    "one": ((-1, (0.06, 0.02)), (0, (0.12, 0.02))),
    "two": ((0, (0.1, -0.03)), (1, (0.1, -0.02))),
    "over two": ((-1, (0.05, -0.04)), (1, (0.06, 0.03))),
    "far": ((0, (0.15, 0.03)), (2, (0.08, 0.02))),
}


def straight_lengths(q):
    """Lengths (N, 4) [m] of straight muscles on the chain of three segments."""
    s = segments(3)
    ends = {}
    for body in range(-1, 3):
        joint, theta = np.zeros((len(q), 2)), np.zeros(len(q))
        for d in range(body + 1):
            if d:
                joint = joint + s["segment_length"][d - 1] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
            theta = theta + s["flexion_sign"][d] * q[:, d] + (s["base_orientation"][0] if d == 0 else 0)
        ends[body] = (joint, theta)

    def at(body, place):
        joint, theta = ends[body]
        c, n = np.cos(theta), np.sin(theta)
        return joint + np.stack([c * place[0] - n * place[1], n * place[0] + c * place[1]], axis=1)

    return np.stack([np.linalg.norm(at(*a) - at(*b), axis=1) for a, b in SITES.values()], axis=1)


def mujoco_chain(mujoco):
    """The same chain and muscles in MuJoCo's words."""
    s = segments(3)
    sites = dict.fromkeys(range(-1, 3), "")
    tendons, motors = "", ""
    for name, ends in SITES.items():
        for k, (body, place) in enumerate(ends):
            sites[body] += f'<site name="{name}{k}" pos="{place[0]} {place[1]} 0"/>'
        tendons += f'<spatial name="{name}"><site site="{name}0"/><site site="{name}1"/></spatial>'
        motors += f'<general tendon="{name}" gainprm="-1"/>'
    inner = ""
    for d in reversed(range(3)):
        at = f"{s['segment_length'][d - 1]} 0 0" if d else "0 0 0"
        turn = f' euler="0 0 {s["base_orientation"][0]}"' if d == 0 else ""
        mass, i, com = (s[f"segment_{k}"][d] for k in ("mass", "inertia", "com"))
        inner = (
            f'<body pos="{at}"{turn}><joint type="hinge" axis="0 0 {s["flexion_sign"][d]}"/>'
            f'<inertial mass="{mass}" pos="{com} 0 0" diaginertia="{i} {i} {i}"/>{sites[d]}{inner}</body>'
        )
    gx, gy = s["gravity"][0]
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian"/><option timestep="0.0005" integrator="RK4" gravity="{gx} {gy} 0"/>'
        f"<worldbody>{sites[-1]}{inner}</worldbody><tendon>{tendons}</tendon><actuator>{motors}</actuator></mujoco>"
    )


@pytest.mark.thorough
def test_forward_dynamics_of_a_chain_with_tendons_agrees_with_mujoco():
    mujoco = pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install mujoco")
    reference = mujoco_chain(mujoco)
    data = mujoco.MjData(reference)
    start, force = np.array([0.3, 0.4, 0.2]), np.array([6.0, 4.0, 3.0, 2.0])  # rad, N
    data.qpos[:] = start
    data.ctrl[:] = force
    steps, course = 2000, [start]
    for _ in range(steps):
        mujoco.mj_step(reference, data)
        course.append(data.qpos.copy())
    count = 1.0 * np.ones(3)
    model = planar_chain(
        lambda _, q: straight_lengths(q),
        {
            "name": "chain",
            "source": "made up",
            "dofs": ("a", "b", "c"),
            "muscles": tuple(SITES),
            "postures": ("only",),
            "bodies": ("first", "second", "third"),
            "segments": ("", "", ""),
            "body_sex": "",
            "angle_range": np.array([[-1.5, 1.5]] * 3),
            "max_isometric_force": np.full(4, 100.0),
            "optimal_fibre_length": np.full(4, 0.1),
            "tendon_slack_length": np.full(4, 0.1),
            "pennation": np.zeros(4),
            "max_contraction_velocity": np.full(4, 10.0),
            "gravity_scale": count,
            "damping": 0 * count,
            "stiffness": 0 * count,
            "rest_angle": np.zeros((1, 3)),
            "limit_angle": np.array([[-9.0, 9.0]] * 3),
            "limit_stiffness": 0 * count,
            "body_height": 1.7,
            "body_mass": 70.0,
        }
        | segments(3),
    )
    data.qpos[:] = start
    mujoco.mj_forward(reference, data)
    lengths = straight_lengths(start[None])[0]
    np.testing.assert_allclose(data.ten_length, lengths, rtol=1e-9)
    commands = jnp.broadcast_to(jnp.asarray(force, jnp.float32), (steps // 4 + 1, 4))
    run = jax.jit(
        lambda f: forward.simulate(
            model, f, forward.given, 0.002, 0, (jnp.asarray(start, jnp.float32), jnp.zeros(3)), substeps=2
        )
    )
    ours, theirs = np.asarray(run(commands).angle), np.array(course)[::4]
    assert np.ptp(theirs, axis=0).min() > 0.3
    inside = np.all(np.abs(theirs) < 1.4, axis=1)  # where the splines hold
    until = len(inside) if inside.all() else int(np.argmin(inside))
    assert until > 150
    np.testing.assert_allclose(ours[:until], theirs[:until], atol=2e-3)
