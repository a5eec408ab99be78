"""The calibrated EMG-driven model as an arm: fitted on the calibration part, judged on the test part.

Its forces use the measured motion, as such models do in the laboratory. Its angles come from EMG alone, by integrating
the equation of motion from the first measured angle of each test part.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl import external, hill
from pitl.config import Config
from pitl.identification import identification as identification_of
from pitl.loss import Spread
from pitl.msk import dynamics, forward
from pitl.msk.model import MusculoskeletalModel
from pitl.prepare import Prepared
from pitl.windows import Motion

_SUBSTEPS = 4  # of the integration, between two envelope samples


class Calibrated(NamedTuple):
    """Everybody's fitted muscles, stacked."""

    z: hill.Parameters
    on: hill.Electrodes
    rows: hill.Rows  # that they were fitted on
    loss: np.ndarray  # (steps, P)


class Answer(NamedTuple):
    """What one person's EMG-driven model says on their test rows."""

    angle: np.ndarray  # (W, D) rad, from EMG alone
    force: np.ndarray  # (W, M) N, along the measured motion


def electrodes(config: Config, prepared: Prepared) -> hill.Electrodes:
    """Everybody's electrodes, stacked; what full activation is comes from the calibration parts alone."""
    names = prepared.cohort.subjects[0].recordings[0].channels
    first = jax.tree.map(lambda x: x[0], prepared.models)
    found = []
    for s in range(len(prepared.cohort.subjects)):
        parts = [t for t in prepared.table.trials if t.subject == s]
        envelope = np.concatenate([prepared.table.jets[t.start : t.calibration_stop, 0] for t in parts])
        mvc, scale = prepared.cohort.subjects[s].mvc, prepared.table.scales[s]
        maximum = None if mvc is None or scale.method == "zscore" else mvc / scale.volts
        found.append(hill.electrodes(first, names, config.model.electrodes, envelope, maximum))
    return jax.tree.map(lambda *x: jnp.stack(x), *found)


def calibrate(
    config: Config,
    prepared: Prepared,
    rows: list[np.ndarray],
    labelled: list[np.ndarray],
    spread: Spread,
    *,
    with_forces: bool,
    free: tuple[str, ...] = tuple(hill.PRIOR),
    belief: hill.Belief | None = None,
    prior_weight: float | None = None,
    motion: Motion | None = None,
) -> Calibrated:
    """Fits everybody's muscles on their labelled calibration rows.

    Args:
        config: of the run.
        prepared: cohort, physics and samples.
        rows: everyone's calibration rows.
        labelled: (W,) everyone's mask of rows whose labels may be used.
        spread: units, stacked over people.
        with_forces: whether force labels may be used as well as angles.
        free: names of the parameters that are fitted.
        belief: what is known of everyone's muscles before, stacked; None is the model as it came.
        prior_weight: in place of the configuration's.
        motion: of all rows, in place of the measured one.
    """
    on = electrodes(config, prepared)
    longest = max(len(r) for r in rows)
    data = [
        rows_of(prepared, s, r, longest, mask, with_forces, motion)
        for s, (r, mask) in enumerate(zip(rows, labelled, strict=True))
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *data)
    settings = config.hill
    if any(subject.mvc is None for subject in prepared.cohort.subjects):
        on = on._replace(peak=on.peak * _common_gain(prepared.models, on, stacked, spread)[:, None])
    z, losses = hill.calibrate(
        prepared.models,
        on,
        stacked,
        spread,
        settings.prior_weight if prior_weight is None else prior_weight,
        settings.steps,
        settings.learning_rate,
        free=free,
        belief=belief,
    )
    return Calibrated(z, on, stacked, np.asarray(losses))


# Without a maximum voluntary contraction nobody knows what an envelope is worth: from 1 to 100 times the usual.
_WORTH = np.geomspace(0.5, 100.0, 24)


@jax.jit
def _common_gain(models: MusculoskeletalModel, on: hill.Electrodes, rows: hill.Rows, spread: Spread) -> Array:
    """Factor of everyone's full activation with which the muscles' torque is nearest to the motion's, one a person."""

    def one(model: Any, own_on: Any, own_rows: Any, own_spread: Any) -> Array:
        none = hill.initial(model, own_on.peak.shape[0])

        def error(worth: Array) -> Array:
            scaled = own_on._replace(peak=own_on.peak * worth)
            wrong = hill.torque_error(model, none, scaled, own_rows, own_spread.torque)
            return jnp.sum(jnp.mean(wrong**2, axis=-1) * own_rows.weight)

        tries = jnp.asarray(_WORTH, jnp.float32)
        return tries[jnp.argmin(jax.vmap(error)(tries))]

    return jax.vmap(one)(models, on, rows, spread)


def rows_of(
    prepared: Prepared,
    subject: int,
    rows: np.ndarray,
    length: int,
    labelled: np.ndarray,
    with_forces: bool,
    motion: Motion | None = None,
) -> hill.Rows:
    """One person's rows, padded to a length; along the measured motion, or another one of all rows."""
    f = np.float32
    padded = np.concatenate([rows, np.full(length - len(rows), rows[-1])])
    weight = jnp.asarray(np.pad(labelled.astype(f), (0, length - len(rows))))
    along = [jnp.asarray(x[padded], f) for x in motion or prepared.table.motion]
    posture = jnp.asarray(prepared.table.posture[padded], jnp.int32)
    own = jax.tree.map(lambda x: x[subject], prepared.models)
    # never the recorded torque: of virtual people that is the truth
    carried = external.torque(prepared.table, prepared.models, motion)
    known = None if carried is None else jnp.asarray(carried[padded])
    torque = _inverse_dynamics(own, *along, posture, known)
    force = prepared.samples.force[jnp.asarray(padded)]
    nothing = jnp.zeros_like(weight)
    jets = prepared.samples.jets[jnp.asarray(padded)]
    return hill.Rows(jets, along[0], along[1], posture, torque, force, weight, weight if with_forces else nothing)


_inverse_dynamics = jax.jit(dynamics.inverse_dynamics)


def answers(prepared: Prepared, fitted: Calibrated, spread: Spread, test: tuple[np.ndarray, ...]) -> list[Answer]:
    """Forces and angles of everybody on their test rows."""
    longest = max(t.stop - t.test_start for t in prepared.table.trials)
    most = max(len(r) for r in test)
    found = []
    for s, rows in enumerate(test):
        own, z, on, units = jax.tree.map(lambda x, s=s: x[s], (prepared.models, fitted.z, fitted.on, spread))
        data = rows_of(prepared, s, rows, most, np.ones(len(rows), bool), False)
        force = np.asarray(forces(own, z, on, data))[: len(rows)]
        angle = np.zeros((len(rows), len(own.dofs)))
        for t in prepared.table.trials:
            mine = np.flatnonzero((rows >= t.test_start) & (rows < t.stop))
            if t.subject != s or not len(mine):
                continue
            first = int(rows[mine[0]])
            course = np.arange(first, first + longest)
            course = np.minimum(course, t.stop - 1)
            motion = rows_of(prepared, s, course, longest, np.ones(longest, bool), False)
            simulated = _simulate(own, z, on, motion, units.torque, 1 / prepared.net.rate_hz)
            angle[mine] = np.asarray(simulated)[rows[mine] - first]
        # a simulation that ran away says nothing: it stays at the end of the joint's range
        low, high = np.asarray(own.limit_angle).T
        angle = np.clip(np.nan_to_num(angle, nan=0.0), low - 0.5, high + 0.5)
        found.append(Answer(angle, force))
    return found


# Independent observations in a second of a motion that was smoothed at some hertz.
_INDEPENDENT_PER_S = 4.0


def identification(prepared: Prepared, fitted: Calibrated, spread: Spread) -> dict[str, dict[str, dict[str, Any]]]:
    """By person and parameter: its value, and the deviation of its z-score given the data (the prior's is 1)."""
    channels = prepared.cohort.subjects[0].recordings[0].channels
    found = {}
    for s, subject in enumerate(prepared.cohort.subjects):
        model, z, on, rows, units = jax.tree.map(
            lambda x, s=s: x[s], (prepared.models, fitted.z, fitted.on, fitted.rows, spread)
        )
        independent = _INDEPENDENT_PER_S * float(rows.weight.sum()) / prepared.net.rate_hz
        listed = identification_of(model, z, on, channels, rows, units, independent)
        found[subject.name] = {
            i.name: {"value": i.value, "deviation": i.deviation, "by_data": i.by_data} for i in listed
        }
    return found


def identification_table(found: dict[str, dict[str, dict[str, Any]]]) -> Any:
    """Which parameters the data identify and which the prior decided, over people."""
    from rich.table import Table

    table = Table(
        title="EMG-driven model: what the data identify (deviation below half the prior's)", title_justify="left"
    )
    for heading in ("parameter", "median value", "deviation, prior 1", "by data in", "else by the prior"):
        table.add_column(heading, justify="left" if heading == "parameter" else "right")
    people = list(found.values())
    for name in people[0]:
        each = [p[name] for p in people]
        told = sum(e["by_data"] for e in each)
        middle = [float(np.median([e[k] for e in each])) for k in ("value", "deviation")]
        table.add_row(name, f"{middle[0]:.3g}", f"{middle[1]:.2f}", f"{told} people", f"{len(each) - told}")
    return table


@jax.jit
def forces(model: MusculoskeletalModel, z: hill.Parameters, on: hill.Electrodes, rows: hill.Rows) -> Array:
    """One person's muscle forces (T, M) [N]."""
    return hill.forces(model, z, on, rows.jets, rows.angle, rows.rate, rows.posture)


@partial(jax.jit, static_argnums=5)
def _simulate(model: Any, z: Any, on: Any, rows: hill.Rows, torque_spread: Array, dt: float) -> Array:
    own = hill.fitted_model(model, z)
    posture = rows.posture[0]
    command = hill.activation(z, on, rows.jets)
    push = jnp.broadcast_to(-hill.values(z)["bias"] * torque_spread, rows.angle.shape)
    return forward.simulate(
        own, command, forward.hill(own, posture), dt, posture, rows.angle[0], rows.rate[0], push, _SUBSTEPS
    ).angle
