"""The muscle part of the modified physics: forces of muscles that the law of motion has fitted, for the head to learn.

The equation of motion fixes the net torque and leaves its sharing among muscles free; a Hill muscle behind every
electrode does not. A few numbers per muscle are fitted so that the muscles' torque is that of the person's motion, with
nuisances (passive joint, bias, delay) and with what source people's muscles turned out to be as the prior. The head is
then drawn to a mean of these forces and the generic model's. A reconstruction: the paper does not say what "modified"
physics is (Zhang et al. 2022, doi 10.1109/TIM.2022.3227604).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl import hill, loss, windows
from pitl.arms.predict import predict
from pitl.arms.task import Rows, Said, Task
from pitl.baselines import emg_driven
from pitl.baselines.emg_driven import Calibrated
from pitl.prepare import Prepared


class Drawn(NamedTuple):
    """What the head is drawn to, for everybody."""

    force: Float[Array, "P T M"]  # N, on the padded calibration rows
    weight: Float[Array, "P T"]  # 1 where it counts
    fitted: Calibrated


def drawn(task: Task, *, by_physics: bool = True) -> Drawn:
    """Forces for everybody's calibration rows.

    Args:
        task: of the arm. Without labels the motion is the generic model's own.
        by_physics: False leaves the muscles at the mean of the source people's, the control that shows what the law of
            motion did.
    """
    prepared, split, spread = task.prepared, task.split, task.inherited.spread
    rows, length = list(split.calibration), split.people.rows.shape[1]
    if task.supervision == "none":
        motion: windows.Motion | None = _predicted_motion(task)
        used = [np.ones(len(r), bool) for r in rows]
    else:
        motion, used = None, split.labelled
    belief = believed(task)
    fitted = emg_driven.calibrate(
        task.config,
        prepared,
        rows,
        used,
        spread,
        with_forces=task.supervision == "angle_force",
        belief=belief,
        prior_weight=task.config.hill.people_weight,
        motion=motion,
    )
    if not by_physics:
        fitted = fitted._replace(z=belief.mean)
    generic = predict(prepared, task.inherited.physics, task.inherited.scale, split.calibration)
    mine, force = task.config.hill.share, []
    for s, said in enumerate(generic):
        assert said.force is not None
        own, z, on, data = jax.tree.map(lambda x, s=s: x[s], (prepared.models, fitted.z, fitted.on, fitted.rows))
        theirs = jnp.asarray(_padded(said.force, length), jnp.float32)  # N
        force.append(mine * emg_driven.forces(own, z, on, data) + (1 - mine) * theirs)
    # where forces have labels, nearly right ones of a Hill muscle only take the head away from them
    counted = [np.zeros(len(u), bool) if task.supervision == "angle_force" else u for u in used]
    weight = jnp.stack([jnp.asarray(_padded(u.astype(np.float32), length)) for u in counted])
    return Drawn(jnp.stack(force), weight, fitted)


def pulled(split: Rows, towards: Drawn) -> Rows:
    """The same rows, with forces for the head to learn."""
    return split._replace(people=split.people._replace(pull=towards.force, pulled=towards.weight))


def believed(task: Task) -> hill.Belief:
    """What everyone's source people say about muscles, stacked; nobody's own labels are in their own belief.

    Source people's muscles are fitted on their calibration parts, with force labels where these were recorded: labels
    by static optimisation never co-contract, and would teach that.
    """
    prepared = task.prepared
    everyone = range(len(prepared.cohort.subjects))
    window = prepared.net.window
    rows = [windows.rows_of(prepared.table, "calibration", subjects=(s,), window=window) for s in everyone]
    units = jax.tree.map(lambda *x: jnp.stack(x), *(_own_units(prepared, r) for r in rows))
    fitted = emg_driven.calibrate(
        task.config,
        prepared,
        rows,
        [np.ones(len(r), bool) for r in rows],
        units,
        with_forces=task.config.data.force_labels == "recorded",
        prior_weight=task.config.hill.people_weight,
    )
    beliefs = [hill.from_people(fitted.z, jnp.asarray(task.sources(s))) for s in everyone]
    return jax.tree.map(lambda *x: jnp.stack(x), *beliefs)


def _own_units(prepared: Prepared, rows: np.ndarray) -> loss.Spread:
    """A person's own standard deviations, so that nobody else's labels are in what becomes of them."""
    found = [np.asarray(x)[rows].std(axis=0) for x in (prepared.samples.angle, prepared.samples.force)]
    torque = np.asarray(prepared.samples.torque)[rows].std(axis=0)
    strength = np.asarray(prepared.models.max_isometric_force).mean(axis=0)
    return loss.Spread(
        jnp.asarray(np.maximum(found[0], 1e-2), jnp.float32),
        jnp.asarray(np.maximum(found[1], 1e-2 * strength), jnp.float32),
        jnp.asarray(np.maximum(torque, 1e-3), jnp.float32),
    )


def _predicted_motion(task: Task) -> windows.Motion:
    """The generic model's motion on everyone's calibration rows, smoothed as a measured one is."""
    prepared, config = task.prepared, task.config
    said = predict(prepared, task.inherited.physics, task.inherited.scale, task.split.calibration)
    motion = windows.Motion(*(np.array(x) for x in prepared.table.motion))
    for course in motion:
        course[:] = 0.0  # nothing measured may be left in it
    for rows, one in zip(task.split.calibration, said, strict=True):
        for piece in _pieces(rows, one):
            smooth = windows.smooth_motion(piece.angle, config.emg.rate_hz, config.data.angle_lowpass_hz)
            for course, values in zip(motion, smooth, strict=True):
                course[piece.rows] = values
    return motion


class _Piece(NamedTuple):
    rows: np.ndarray
    angle: np.ndarray


def _pieces(rows: np.ndarray, said: Said) -> list[_Piece]:
    """Stretches without a gap."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [_Piece(r, a) for r, a in zip(np.split(rows, cuts), np.split(said.angle, cuts), strict=True)]


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    return np.pad(x, ((0, length - len(x)), *((0, 0),) * (x.ndim - 1)))
