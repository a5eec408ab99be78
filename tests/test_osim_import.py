"""Importing OpenSim models: what is kept, what is refused, and that nothing of OpenSim is needed afterwards."""

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

from pitl.mechanics.opensim.convert import import_model  # noqa: E402

BOTH = "shoulder,elbow"


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


def test_a_drawing_of_a_model_is_a_picture(arm, tmp_path):
    done = pitl("model", "show", arm, "--out", tmp_path / "arm.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "arm.png").read_bytes().startswith(b"\x89PNG")


def test_a_posture_changes_what_is_held(tmp_path):
    path = two_links(tmp_path)
    postures = {"hanging": {}, "raised": {"shoulder": np.deg2rad(80.0)}}
    model = import_model(path, ["elbow"], None, postures).model
    q = jnp.array([0.3])
    apart = [np.asarray(geometry.musculotendon_length(model, q, p)) for p in (0, 1)]
    which = model.muscles.index("biarticular")
    assert model.muscles == ("biarticular", "wrapping") and abs(apart[0][which] - apart[1][which]) > 0.005
    hanging, raised = (float(dynamics.gravity_torque(model, q, p)[0]) for p in (0, 1))
    assert raised > 2 * hanging > 0


def test_a_path_that_jumps_is_refused_with_the_reason_unless_it_is_accepted(tmp_path):
    path = two_links(tmp_path, jumps=True)
    done = pitl("model", "import", path, "--coordinates", "elbow", "--out", tmp_path / "m")
    assert done.exit_code == 1 and not (tmp_path / "m").exists()
    assert "1 of 3 muscles" in done.output and "jumping: moment arm off" in done.output
    assert "ConditionalPathPoint" in done.output and "at elbow = 60" in done.output
    for extra in (("--accept", "jumping"), ("--range", "elbow=0:55"), ("--muscles", "wrapping,biarticular")):
        done = pitl("model", "import", path, "--coordinates", "elbow", "--out", tmp_path / "m", *extra)
        assert done.exit_code == 0, done.output


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
        (("--coordinates", "elbow", "--accept", "biceps"), "--accept names biceps"),
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
        with pytest.raises(PitlError, match="OpenSim cannot read .*bad.osim|has no coordinate"):
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
