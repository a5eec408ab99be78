"""Importing OpenSim models: what is kept, what is refused, and that nothing of OpenSim is needed afterwards."""

import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from pitl import cli
from pitl.errors import PitlError
from pitl.mechanics import dynamics, geometry, library

pytest.importorskip("opensim", reason="OpenSim's Python package is not installed: pip install 'pitl[opensim]'")
from opensim_models import two_links  # noqa: E402

from pitl.mechanics.importing import import_model  # noqa: E402

BOTH = "shoulder,elbow"
BESIDE = "0.0155 -0.22 0"  # m, a centimetre from the straight path when the elbow is at 60 deg

OLD = (
    """<OpenSimDocument Version="30000"><Model name="old"><gravity>0 -9.8 0</gravity>
<BodySet><objects><Body name="ground"><mass>0</mass><Joint/></Body>
<Body name="link"><mass>1</mass><mass_center>0 -0.1 0</mass_center><inertia_xx>0.01</inertia_xx>
<inertia_yy>0.001</inertia_yy><inertia_zz>0.01</inertia_zz><inertia_xy>0</inertia_xy><inertia_xz>0</inertia_xz>
<inertia_yz>0</inertia_yz><Joint><PinJoint name="pin"><parent_body>ground</parent_body>
<location_in_parent>0 0 0</location_in_parent><orientation_in_parent>0 0 0</orientation_in_parent>
<location>0 0 0</location><orientation>0 0 0</orientation><CoordinateSet><objects><Coordinate name="hinge">
<motion_type>rotational</motion_type><default_value>0</default_value><range>0 2</range></Coordinate></objects>
</CoordinateSet></PinJoint></Joint></Body></objects></BodySet>
<ForceSet><objects>"""
    + "".join(
        f"""<Thelen2003Muscle name="{name}"><isDisabled>{off}</isDisabled><GeometryPath><PathPointSet><objects>
<PathPoint name="{name}1"><location>0.03 0.2 0</location><body>ground</body></PathPoint>
<PathPoint name="{name}2"><location>0.02 -0.05 0</location><body>link</body></PathPoint></objects></PathPointSet>
</GeometryPath><max_isometric_force>500</max_isometric_force><optimal_fiber_length>0.1</optimal_fiber_length>
<tendon_slack_length>0.15</tendon_slack_length><pennation_angle_at_optimal>0</pennation_angle_at_optimal>
</Thelen2003Muscle>"""
        for name, off in (("on", "false"), ("off", "true"))
    )
    + "</objects></ForceSet></Model></OpenSimDocument>"
)


def pitl(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm")
    done = pitl("model", "import", two_links(folder), "--coordinates", BOTH, "--out", folder / "arm")
    assert done.exit_code == 0, done.output
    assert "wrapping" in done.output and "3 muscles" in done.output
    return folder / "arm"


def test_a_stored_model_needs_no_opensim(arm):
    code = f"""import sys
sys.modules["opensim"] = None
from pitl.mechanics import library
model = library.load({str(arm)!r})
print(model.dofs, model.muscles)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "('shoulder', 'elbow') ('monoarticular', 'biarticular', 'wrapping')" in done.stdout, done.stderr


def test_provenance_and_parameters_are_kept(arm):
    about = library.provenance(arm)
    assert about["file"] == "two_links.osim" and len(about["sha256"]) == 64 and about["units"] == "rad, m, kg, N"
    assert {f["muscle"] for f in about["fits"]} == {"monoarticular", "biarticular", "wrapping"}
    model = library.load(arm)
    np.testing.assert_allclose(model.max_isometric_force, 600.0)
    np.testing.assert_allclose(model.tendon_slack_length, 0.15)
    np.testing.assert_allclose(np.rad2deg(model.angle_range), [[-60, 90], [0, 120]], rtol=1e-5)
    assert model.bodies == ("upper", "lower")


@pytest.mark.thorough
def test_a_drawing_of_a_model_is_a_picture(arm, tmp_path):
    done = pitl("model", "show", arm, "--out", tmp_path / "arm.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "arm.png").read_bytes().startswith(b"\x89PNG")


def test_a_posture_changes_what_is_held(tmp_path):
    path = two_links(tmp_path)
    postures = {"hanging": {}, "raised": {"shoulder": np.deg2rad(80.0)}}
    model = import_model(path, ["elbow"], postures=postures).model
    q = jnp.array([0.3])
    apart = [np.asarray(geometry.musculotendon_length(model, q, p)) for p in (0, 1)]
    which = model.muscles.index("biarticular")
    assert model.muscles == ("biarticular", "wrapping") and abs(apart[0][which] - apart[1][which]) > 0.005
    hanging, raised = (float(dynamics.gravity_torque(model, q, p)[0]) for p in (0, 1))
    assert raised > 2 * hanging > 0


def test_a_path_that_jumps_far_is_left_out_with_the_reason_unless_it_is_accepted(tmp_path):
    path = two_links(tmp_path, jumps=True)
    done = pitl("model", "import", path, "--coordinates", "elbow", "--out", tmp_path / "m")
    assert done.exit_code == 0 and library.load(tmp_path / "m").muscles == ("biarticular", "wrapping"), done.output
    assert "Note: jumping is left out: its length jumps by" in done.output
    assert "ConditionalPathPoint" in done.output and "at elbow = 60" in done.output
    for extra in (("--accept", "jumping"), ("--range", "elbow=0:55")):
        done = pitl("model", "import", path, "--coordinates", "elbow", "--out", tmp_path / "m", *extra)
        assert done.exit_code == 0 and "jumping" in library.load(tmp_path / "m").muscles, done.output
    with pytest.raises(PitlError, match="no muscle of .* can be followed within 1 mm .*jumping: its length jumps"):
        import_model(path, ["elbow"], muscles=["jumping"])


def test_a_small_jump_is_smoothed_and_said(tmp_path):
    """A path point that appears a centimetre off the straight path: less than a millimetre of length, once."""
    path = two_links(tmp_path, jumps=True)
    path.write_text(path.read_text().replace("<location>-0.06 -0.25 0</location>", f"<location>{BESIDE}</location>"))
    imported = import_model(path, ["elbow"], muscles=["jumping", "wrapping"])
    assert imported.model.muscles == ("jumping", "wrapping")
    (sentence,) = imported.sentences
    assert sentence.startswith("jumping was smoothed: its length jumps by") and "at elbow = 60" in sentence
    fit = imported.fits[0]
    assert fit.smoothed and fit.accepted and 0.1 < fit.length_error_mm < 1 and fit.arm_error_mm < 3


def test_a_length_that_is_a_function_of_the_angles_is_taken_as_it_is(shared):
    path = shared / "cases/laboratory/11-osim-function-based-path/function_path.osim"
    model = import_model(path, ["elbow_flexion"]).model
    q = jnp.array([[0.0], [1.0]])
    np.testing.assert_allclose(geometry.musculotendon_length(model, q, 0)[:, 0], [0.26, 0.225], atol=1e-6)
    np.testing.assert_allclose(geometry.moment_arm(model, q, 0)[:, 0, 0], 0.035, atol=1e-6)


def test_muscles_that_the_file_switches_off_are_left_out_unless_they_are_asked_for(tmp_path):
    path = two_links(tmp_path, off=("wrapping",))
    imported = import_model(path, ["elbow"])
    assert imported.model.muscles == ("biarticular",)
    assert imported.sentences == (
        "wrapping is switched off in the file and left out; --muscles wrapping takes it all the same.",
    )
    imported = import_model(path, ["elbow"], muscles=["wrapping"])
    assert imported.model.muscles == ("wrapping",) and "taken all the same" in imported.sentences[0]


def test_a_version_3_file_that_disables_a_muscle_is_understood(tmp_path):
    """`isDisabled`, as files of OpenSim 3 have it."""
    path = tmp_path / "old.osim"
    path.write_text(OLD)
    imported = import_model(path, ["hinge"])
    assert imported.model.muscles == ("on",) and "off is switched off in the file" in imported.sentences[0]


def test_a_patella_on_a_rod_follows_the_knee(shared):
    """A clamped patella on a ligament of fixed length: followed where it can be, and said where it cannot."""
    path = shared / "cases/laboratory/13-osim-patella-rod/knee_with_rod.osim"
    imported = import_model(path, ["knee_flexion"])
    model, q = imported.model, jnp.array([-0.5])
    np.testing.assert_allclose(geometry.musculotendon_length(model, q, 0), [0.371245], atol=2e-6)
    np.testing.assert_allclose(geometry.moment_arm(model, q, 0)[0], [0.053576], atol=1e-5)
    assert "patella_angle would leave its range" in " ".join(imported.sentences)
    low, high = np.rad2deg(model.angle_range[0])
    assert low < -100 and -10 < high < 0
    with pytest.raises(PitlError, match="at knee_flexion = .* deg patella_angle would leave its range; narrow"):
        import_model(path, ["knee_flexion"], ranges={"knee_flexion": (-np.pi / 2, 0.0873)})


@pytest.mark.slow
def test_knee_and_ankle_of_gait2392_import_at_the_first_try(shared):
    """Twenty-three muscles; one whose path gains a point, half a millimetre off, is smoothed."""
    path = shared / "data" / "ceinms_lower_limb" / "gait2392.osim"
    imported = import_model(path, ["knee_angle_r", "ankle_angle_r"])
    assert len(imported.model.muscles) == 23 and imported.model.bodies[0].startswith("tibia_r")
    assert [s.split(" was")[0] for s in imported.sentences if "smoothed" in s] == ["med_gas_r"]
    assert max(f.length_error_mm for f in imported.fits) < 0.5
    assert max(f.arm_error_mm for f in imported.fits if not f.smoothed) < 0.8
    visited = {"knee_angle_r": np.deg2rad([-75, 5]), "ankle_angle_r": np.deg2rad([-25, 20])}
    walked = import_model(path, list(visited), ranges=visited, muscles=["rect_fem_r", "med_gas_r", "soleus_r"])
    np.testing.assert_allclose(np.rad2deg(walked.model.angle_range), [[-75, 5], [-25, 20]], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--coordinates", "wrist"), "has no coordinate 'wrist'; known are shoulder, elbow"),
        (("--coordinates", "elbow,elbow"), "chosen twice"),
        (("--coordinates", "elbow", "--muscles", "biceps"), "has no muscle 'biceps'; known are monoarticular"),
        (("--coordinates", "elbow", "--muscles", "monoarticular"), "does not cross elbow"),
        (("--coordinates", "elbow", "--posture", "elbow=10"), "chosen to move and cannot be held"),
        (("--coordinates", "elbow", "--posture", "shoulder"), "should look like --posture seated:hip_flexion_r=85"),
        (("--coordinates", "elbow", "--posture", "shoulder=much"), "'much' in shoulder=much is not a number"),
        (("--coordinates", "elbow", "--range", "elbow=90"), "should be two angles in degrees"),
        (("--coordinates", "elbow", "--range", "elbow=90:10"), "it is empty"),
        (("--coordinates", ","), "no coordinate is chosen"),
        (("--coordinates", "elbow", "--accept", "biceps"), "--accept names it, but"),
    ],
)
def test_a_request_that_does_not_fit_the_file_gets_one_sentence(tmp_path, options, sentence):
    done = pitl("model", "import", two_links(tmp_path), "--out", tmp_path / "m", *options)
    assert done.exit_code == 1 and sentence in done.output, done.output
    assert done.output.strip().splitlines()[-1].startswith("pitl: ")


def test_a_locked_coordinate_is_refused(tmp_path):
    path = two_links(tmp_path)
    path.write_text(
        path.read_text().replace('<Coordinate name="elbow">', '<Coordinate name="elbow"><locked>true</locked>')
    )
    with pytest.raises(PitlError, match="elbow is locked"):
        import_model(path, ["elbow"])


def test_a_range_in_degrees_is_told(tmp_path):
    path = two_links(tmp_path)
    path.write_text(re.sub(r'(name="elbow">.*?<range>)[^<]*', r"\g<1>0 120", path.read_text(), count=1, flags=re.S))
    with pytest.raises(PitlError, match="seem to be degrees; .* --range elbow=0:120"):
        import_model(path, ["elbow"])


def test_a_coordinate_may_be_called_as_in_tables_and_a_muscle_without_force_is_left_out(tmp_path):
    path = two_links(tmp_path)
    text = re.sub(r'(name="wrapping">.*?<max_isometric_force>)[^<]*', r"\g<1>0", path.read_text(), count=1, flags=re.S)
    path.write_text(text)
    imported = import_model(path, ["/jointset/elbow_joint/elbow/value"])
    assert imported.model.dofs == ("elbow",) and imported.model.muscles == ("biarticular",)
    assert "wrapping is left out: its maximum isometric force is 0 N" in " ".join(imported.sentences)


def test_bodies_without_mass_are_refused_unless_they_are_given_some(tmp_path):
    path = two_links(tmp_path, massless=True)
    arguments = ("model", "import", path, "--coordinates", "elbow", "--out", tmp_path / "m")
    done = pitl(*arguments)
    assert done.exit_code == 1 and "have no mass" in done.output and "--weight" in done.output
    done = pitl(*arguments, "--weight", "lower=1.5@0,-0.1,0")
    assert done.exit_code == 0, done.output
    model = library.load(tmp_path / "m")
    np.testing.assert_allclose(dynamics.mass_matrix(model, jnp.zeros(1), 0), [[1.5 * 0.1**2]], rtol=1e-4)
    for wrong in ("lower=1.5", "lower=x@0,0,0", "nobody=1@0,0,0", "lower=1@0,0"):
        done = pitl(*arguments, "--weight", wrong)
        assert done.exit_code == 1 and "pitl: " in done.output, done.output


def test_files_that_are_no_models_are_refused(tmp_path):
    for content in (b"", b"<xml>", b"\x00\x01garbage", b"<OpenSimDocument></OpenSimDocument>"):
        path = tmp_path / "bad.osim"
        path.write_bytes(content)
        with pytest.raises(PitlError, match="OpenSim cannot read .*bad.osim|bad.osim has no joint that could move"):
            import_model(path, ["elbow"])
    with pytest.raises(PitlError, match="does not exist"):
        import_model(tmp_path / "none.osim", ["elbow"])
    with pytest.raises(PitlError, match="is a folder"):
        import_model(tmp_path, ["elbow"])


def test_what_is_no_model_of_ours_is_named(tmp_path):
    with pytest.raises(PitlError, match="turn it into one of ours first"):
        library.load("arm26.osim")
    with pytest.raises(PitlError, match="neither a built-in joint"):
        library.load("elbow")
