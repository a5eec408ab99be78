"""Static optimisation and inverse dynamics, ours for many frames at once against OpenSim's tools frame by frame."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import interleaved
from benchmarks.row import Row, skipped
from pitl.mechanics import dynamics
from pitl.mechanics.redundancy import Effort, static_optimisation

_FRAMES = 20_000
_OPENSIM_FRAMES = 200
_WHAT = "static optimisation, per frame"
_TARGET = "ratio >= 200"
_SHOULDER = {"r_shoulder_elev": (np.deg2rad(-60.0), np.deg2rad(28.0))}  # rad, where arm26's paths do not jump


def sharing() -> Iterator[Row]:
    """The same objective on the same model: arm26 where its file is at hand, else a made-up arm of two links."""
    try:
        import opensim  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        yield skipped("static_optimisation", _WHAT, _TARGET, "needs OpenSim: pip install 'pitl[opensim]'")
        return
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import opensim_models  # pyright: ignore[reportMissingImports]
    import opensim_reference  # pyright: ignore[reportMissingImports]

    from pitl.mechanics import importing

    folder = Path(tempfile.mkdtemp())
    path = Path(os.environ.get("PITL_SHARED", Path(__file__).parents[2] / "shared")) / "models" / "arm26.osim"
    if path.exists():
        names, ranges, centre = ("r_shoulder_elev", "r_elbow_flex"), _SHOULDER, np.deg2rad([0.0, 60.0])
    else:
        path, names, ranges = opensim_models.two_links(folder), ("shoulder", "elbow"), None
        centre = np.deg2rad([10.0, 60.0])
    model = importing.import_model(path, names, ranges=ranges).model
    size, w, phase = np.deg2rad([15.0, 30.0]), 2 * np.pi * np.array([0.7, 0.9]), np.array([0.0, 1.0])

    def motion(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = time[:, None] * w + phase
        return centre + size * np.sin(x), size * w * np.cos(x), -size * w**2 * np.sin(x)

    q, qd, qdd = (jnp.asarray(x, jnp.float32) for x in motion(np.linspace(0, 10, _FRAMES)))
    inverse = jax.jit(dynamics.inverse_dynamics)

    def ours() -> object:
        torque = inverse(model, q, qd, qdd, 0)
        return static_optimisation(model, q, qd, torque, 0, Effort(force_length_velocity=False)).force

    time = np.linspace(0, 1, _OPENSIM_FRAMES)
    angles = dict(zip(names, motion(time)[0].T, strict=True))
    seconds: list[float] = []  # of the tool alone, reading of the model left out

    def tool() -> None:
        seconds.append(opensim_reference.static_optimisation(path, folder, time, angles)[3])

    measured = interleaved({"ours": ours, "opensim": tool}, rounds=7)
    mine, theirs = measured["ours"].median / _FRAMES, float(np.median(seconds)) / _OPENSIM_FRAMES
    yield Row(
        "static_optimisation",
        f"static optimisation of {path.stem}, inverse dynamics included, per frame",
        1e6 * mine,
        "us",
        1e6 * theirs,
        "OpenSim's tool, per frame",
        theirs / mine,
        _TARGET,
        theirs / mine >= 200,
        f"{_FRAMES} frames at once, OpenSim {_OPENSIM_FRAMES} one by one; in turn",
        compile_s=measured["ours"].first,
        times={"ours": measured["ours"].summary(_FRAMES)},
    )


BENCHMARKS = {"static_optimisation": sharing}
