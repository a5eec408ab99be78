"""Importing MuJoCo models: paths, masses and dynamics as MuJoCo's own, and no MuJoCo afterwards."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from mechanics_models import compiled
from typer.testing import CliRunner

from pitl import cli
from pitl.errors import PitlError
from pitl.mechanics import dynamics as eager_dynamics
from pitl.mechanics import geometry as eager_geometry
from pitl.mechanics import library
from pitl.mechanics.importing import import_model

mujoco = pytest.importorskip("mujoco", reason="MuJoCo's Python package is not installed: pip install mujoco")

dynamics = compiled(eager_dynamics, "mass_matrix", "inverse_dynamics")
geometry = compiled(eager_geometry, "musculotendon_length", "moment_arm")

# a forearm that turns and flexes, a hand that follows the elbow, tendons around a cylinder and through a ring
ARM = """<mujoco model="arm"><compiler angle="degree"/><option gravity="0.5 0 -9.7"/>
<worldbody><site name="origin" pos="0.03 0 0.05"/><site name="behind" pos="-0.03 0 0.05"/>
<body name="upper" pos="0.1 0 1"><joint name="shoulder" type="hinge" axis="0 1 0" range="-60 60"/>
 <inertial pos="0.01 0.02 -0.15" mass="2" fullinertia="0.02 0.018 0.003 0.001 0.0005 0.0002"/>
 <site name="above" pos="0.03 0.005 -0.05"/><site name="rear" pos="-0.03 0 -0.1"/><site name="side" pos="0.06 0 -0.3"/>
 <geom name="pulley" type="cylinder" size="0.02 0.05" pos="0 0 -0.3" euler="90 0 0" mass="0"
  contype="0" conaffinity="0"/>
 <body name="lower" pos="0 0 -0.3"><joint name="elbow" type="hinge" axis="0.1 1 0" range="-100 0" damping="0.2"
  stiffness="1.5" springref="-40"/><inertial pos="0 0.01 -0.12" mass="1.2" diaginertia="0.011 0.01 0.001"/>
  <site name="below" pos="0.025 0 -0.1"/><site name="heel" pos="-0.02 0 0.02"/>
  <body name="hand" pos="0 0 -0.25"><joint name="wrist" type="hinge" axis="1 0 0"/>
   <inertial pos="0 0 -0.05" mass="0.4" diaginertia="0.0007 0.0006 0.0002"/><site name="palm" pos="0.01 0.02 -0.03"/>
 </body></body></body></worldbody>
<equality><joint joint1="wrist" joint2="elbow" polycoef="0.1 0.3 -0.2 0 0"/></equality>
<tendon><spatial name="t1"><site site="origin"/><site site="above"/></spatial>
<spatial name="t2"><site site="above"/><geom geom="pulley" sidesite="side"/><site site="below"/></spatial>
<spatial name="t3"><site site="rear"/><site site="heel"/></spatial>
<spatial name="t4"><site site="behind"/><site site="rear"/><site site="heel"/><site site="palm"/></spatial></tendon>
<actuator><muscle name="deltoid" tendon="t1" force="900"/><muscle name="biceps" tendon="t2" force="600"/>
<muscle name="triceps" tendon="t3" scale="200"/><muscle name="long" tendon="t4" force="300" range="0.6 1.1"/>
<motor name="motor" joint="elbow"/></actuator></mujoco>
"""
BOTH = ("shoulder", "elbow")


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    path = tmp_path_factory.mktemp("mujoco") / "arm.xml"
    path.write_text(ARM)
    return path, import_model(path, BOTH)


def states(count=40):
    """Angles, velocities and accelerations within the ranges."""
    rng = np.random.default_rng(1)
    return rng.uniform(*np.deg2rad([[-55, -95], [55, -5]]), (count, 2)), *rng.normal(size=(2, count, 2)) * [
        [[2]],
        [[9]],
    ]


def follow(elbow):
    """The wrist's angle and its two derivatives by the elbow's."""
    return 0.1 + 0.3 * elbow - 0.2 * elbow**2, 0.3 - 0.4 * elbow, -0.4 + 0 * elbow


def some(x):
    return jnp.asarray(x, jnp.float32)


def test_lengths_and_moment_arms_are_those_of_mujoco(arm):
    path, imported = arm
    model, data = (m := mujoco.MjModel.from_xml_path(str(path))), mujoco.MjData(m)
    assert imported.model.muscles == ("deltoid", "biceps", "triceps", "long")
    assert imported.sentences == ("actuators that are no muscles are not taken over: motor.",)
    q = states()[0]
    lengths, arms = (np.asarray(f(imported.model, some(q), 0)) for f in geometry.__dict__.values())
    for k, (shoulder, elbow) in enumerate(q):
        wrist, slope, _ = follow(elbow)
        data.qpos[:] = shoulder, elbow, wrist
        mujoco.mj_forward(model, data)
        jacobian = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            jacobian, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        theirs = -jacobian[:4] @ np.array([[1, 0], [0, 1], [0, slope]])  # m
        np.testing.assert_allclose(lengths[k], data.actuator_length[:4], atol=5e-5)
        np.testing.assert_allclose(arms[k], theirs, atol=5e-4)
    assert max(f.arm_error_mm for f in imported.fits) < 0.5


def test_mass_matrix_and_inverse_dynamics_are_those_of_mujoco(arm):
    path, imported = arm
    model, data = (m := mujoco.MjModel.from_xml_path(str(path))), mujoco.MjData(m)
    model.dof_damping[:], model.jnt_stiffness[:], model.opt.disableflags = 0, 0, mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    bare = imported.model.replace(damping=jnp.zeros(2), stiffness=jnp.zeros(2))
    q, qd, qdd = states()
    mass = np.asarray(dynamics.mass_matrix(bare, some(q), 0))
    torque = np.asarray(dynamics.inverse_dynamics(bare, some(q), some(qd), some(qdd), 0))
    for k in range(len(q)):
        wrist, slope, bend = follow(q[k, 1])
        reach = np.array([[1, 0], [0, 1], [0, slope]])
        data.qpos[:] = *q[k], wrist
        data.qvel[:] = reach @ qd[k]
        data.qacc[:] = reach @ qdd[k] + [0, 0, bend * qd[k, 1] ** 2]
        mujoco.mj_inverse(model, data)
        full = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, full, data.qM) if hasattr(data, "qM") else mujoco.mj_fullM(model, data, full)
        np.testing.assert_allclose(mass[k], reach.T @ full @ reach, atol=2e-4)
        np.testing.assert_allclose(torque[k], reach.T @ data.qfrc_inverse, atol=5e-3)


def test_parameters_are_those_of_the_file(arm):
    path, imported = arm
    ours, theirs = imported.model, mujoco.MjModel.from_xml_path(str(path))
    np.testing.assert_allclose(ours.max_isometric_force[jnp.array([0, 1, 3])], [900, 600, 300])
    np.testing.assert_allclose(ours.max_isometric_force[2], 200 / theirs.actuator_acc0[2], rtol=1e-5)
    low, high = theirs.actuator_lengthrange[:4].T
    least, most = np.array([[0.75, 1.05]] * 3 + [[0.6, 1.1]]).T
    for length, fibre in ((low, least), (high, most)):  # the ends of each muscle's operating range
        np.testing.assert_allclose(ours.tendon_slack_length + fibre * ours.optimal_fibre_length, length, rtol=1e-4)
    np.testing.assert_allclose(ours.damping, [0, 0.2], atol=1e-7)
    np.testing.assert_allclose(ours.stiffness, [0, 1.5])
    np.testing.assert_allclose(np.rad2deg(ours.rest_angle[0, 1]), -40, rtol=1e-5)
    assert ours.bodies == ("upper", "lower", "hand") and imported.about["program"].startswith("MuJoCo")


def test_a_stored_model_needs_no_mujoco(arm, tmp_path):
    out = tmp_path / "arm"
    arguments = ["model", "import", str(arm[0]), "--coordinates", "elbow", "--posture", "shoulder=20"]
    done = CliRunner().invoke(cli.app, [*arguments, "--out", str(out)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    about = library.provenance(out)
    assert about["file"] == "arm.xml" and len(about["sha256"]) == 64
    np.testing.assert_allclose(about["postures"]["default"]["shoulder"], np.deg2rad(20))
    code = f"""import sys
sys.modules["mujoco"] = None
from pitl.mechanics import library
print(library.load({str(out)!r}).muscles)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "('biceps', 'triceps', 'long')" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("change", "coordinates", "sentence"),
    [
        (("", ""), ("knee",), "has no coordinate 'knee'; known are shoulder, elbow, wrist"),
        (("", ""), ("wrist",), "wrist of .* follows another joint by an equality"),
        (('type="hinge" axis="1 0 0"', 'type="slide" axis="1 0 0"'), ("wrist",), "is not a hinge"),
        ((' range="-60 60"', ""), ("shoulder",), "shoulder has no limits in"),
        (("<muscle", "<general"), ("elbow",), "MuJoCo cannot read|has no muscles"),
        (("</mujoco>", ""), ("elbow",), "MuJoCo cannot read"),
        (
            ("<equality>", '<equality><connect name="rope" body1="hand" anchor="0 0 0"/>'),
            ("elbow",),
            "rope .connect. ties bodies in a way that cannot be followed",
        ),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_sentence(tmp_path, change, coordinates, sentence):
    path = tmp_path / "arm.xml"
    path.write_text(ARM.replace(*change) if change[0] else ARM)
    with pytest.raises(PitlError, match=sentence):
        import_model(path, coordinates)


def test_other_files_are_no_models(tmp_path):
    with pytest.raises(PitlError, match="neither an OpenSim model .* nor a MuJoCo model"):
        import_model(tmp_path / "arm.urdf", ["elbow"])
    with pytest.raises(PitlError, match="does not exist"):
        import_model(tmp_path / "arm.xml", ["elbow"])


def test_what_is_no_muscle_or_cannot_be_one_is_named(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        """<mujoco><worldbody><body><joint name="elbow" axis="0 -1 0" range="0 120"/>
        <geom size=".02 .1" type="capsule" mass="1"/><site name="i" pos=".02 0 -.06"/></body>
        <site name="o" pos=".03 0 .2"/></worldbody>
        <tendon><spatial name="t"><site site="o"/><site site="i"/></spatial></tendon>
        <actuator><motor name="motor" joint="elbow"/><muscle name="direct" joint="elbow" force="9" lengthrange="0 2"/>
        <muscle name="flexor" tendon="t" force="300"/><muscle name="empty" tendon="t" force="0"/></actuator></mujoco>"""
    )
    imported = import_model(path, ["elbow"])
    assert imported.model.muscles == ("direct", "flexor")
    told = " ".join(imported.sentences)
    for words in ("no muscles are not taken over: motor.", "direct turn a joint", "empty is left out: its maximum"):
        assert words in told
