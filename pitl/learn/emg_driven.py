"""The calibrated EMG-driven model: fitted on the calibration part, judged on the test part.

Its forces use the measured motion, as such models do in the laboratory. Its angles come from EMG alone, by integrating
the equation of motion from the first measured angle of each test part.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.config.schema import HillConfig
from pitl.learn import external, hill, stacked
from pitl.learn.identification import identification as identification_of
from pitl.learn.predict import Estimate
from pitl.learn.prepare import Prepared
from pitl.learn.units import Spread
from pitl.mechanics import dynamics, forward
from pitl.mechanics.model import MusculoskeletalModel
from pitl.signals.windows import Motion

_FITTED_ROWS = 400  # of a person, evenly spaced; forces are as good as on thousands (benchmarks/NOTES.md)
_SUBSTEPS = 4  # of the integration, between two envelope samples


class Calibrated(NamedTuple):
    """Everybody's fitted muscles, stacked."""

    z: hill.Parameters
    on: hill.Electrodes
    rows: hill.MuscleRows  # that they were fitted on
    loss: np.ndarray  # (steps, P)


class MuscleFit(NamedTuple):
    """How muscles are fitted."""

    with_forces: bool  # whether force labels may be used as well as angles
    prior_weight: float  # of the squared z-scores, against a mean squared error in units of variance
    learner: hill.MuscleLearner
    measured: bool = False  # labels are measured moments, in place of what the equation of motion asks for

    @classmethod
    def of(cls, settings: HillConfig, *, with_forces: bool, free: tuple[str, ...] = tuple(hill.PRIOR)) -> "MuscleFit":
        """As the configuration says, with the model as it came for a prior."""
        learner = hill.MuscleLearner(settings.steps, settings.learning_rate, free)
        return cls(with_forces, settings.prior_weight, learner)


def electrodes(prepared: Prepared, *, clean: bool = False) -> hill.Electrodes:
    """Everybody's electrodes, stacked; what full activation is comes from the calibration parts alone.

    Args:
        prepared: cohort and samples.
        clean: whether envelopes count as `hill.clean` leaves them.

    Raises:
        PitlError: no channel belongs to a muscle.
    """
    names = prepared.cohort.subjects[0].recordings[0].channels
    first = stacked.take(prepared.limbs, 0)
    everyone = []
    for s, scale in enumerate(prepared.table.scales):
        parts = [t for t in prepared.table.trials if t.subject == s]
        jets = [prepared.table.jets[t.start : t.calibration_stop] for t in parts]
        envelope = np.concatenate([(hill.clean(x, prepared.net.rate_hz) if clean else x)[:, 0] for x in jets])
        mvc = prepared.table.maxima[s]
        maximum = None if mvc is None or scale.method == "zscore" else mvc / scale.volts
        everyone.append(hill.electrodes(first, names, prepared.electrodes, envelope, maximum))
    return stacked.stack(everyone)


def calibrate(
    prepared: Prepared,
    rows: list[np.ndarray],
    labelled: list[np.ndarray],
    spread: Spread,
    settings: MuscleFit,
    *,
    belief: hill.Belief | None = None,
    motion: Motion | None = None,
) -> Calibrated:
    """Fits everybody's muscles on their labelled calibration rows.

    Args:
        prepared: cohort, physics and samples.
        rows: everyone's calibration rows.
        labelled: (W,) everyone's mask of rows whose labels may be used.
        spread: units, stacked over people.
        settings: which labels and parameters.
        belief: what is known of everyone's muscles before, stacked; None is the model as it came.
        motion: of all rows, in place of the measured one.
    """
    on, data = problem(prepared, rows, labelled, settings, motion)
    unknown = any(mvc is None for mvc in prepared.table.maxima)
    return calibrate_on(prepared.limbs, on, data, spread, settings, belief, gain_unknown=unknown)


def problem(
    prepared: Prepared,
    rows: list[np.ndarray],
    labelled: list[np.ndarray],
    settings: MuscleFit,
    motion: Motion | None = None,
) -> tuple[hill.Electrodes, hill.MuscleRows]:
    """What everybody's muscles are fitted on, stacked over people; the arguments are those of `calibrate`."""
    on = electrodes(prepared, clean=settings.measured)
    longest = max(len(r) for r in rows)
    data = [
        rows_of(prepared, s, r, longest, mask, settings.with_forces, motion, measured=settings.measured)
        for s, (r, mask) in enumerate(zip(rows, labelled, strict=True))
    ]
    own = [stacked.take(prepared.limbs, s) for s in range(len(rows))]
    data = [d._replace(along=hill.whole_course(m, d.angle, d.rate, d.posture)) for m, d in zip(own, data, strict=True)]
    return on, stacked.stack(data)


def calibrate_on(
    limbs: MusculoskeletalModel,
    on: hill.Electrodes,
    rows: hill.MuscleRows,
    spread: Spread,
    settings: MuscleFit,
    belief: hill.Belief | None = None,
    *,
    gain_unknown: bool,
) -> Calibrated:
    """`calibrate` of what `problem` gave; `gain_unknown` if nobody knows the envelope at maximal contraction."""
    count = rows.weight.shape[1]
    some = np.linspace(0, count - 1, min(_FITTED_ROWS, count)).round().astype(int)  # neighbours say much the same
    few = jax.tree.map(lambda x: jax.device_put(np.asarray(x)[:, some]), rows)
    if gain_unknown:
        on = on._replace(peak=on.peak * _common_gain(limbs, on, few, spread)[:, None])
    if belief is None:
        people, one = len(on.peak), hill.as_it_came(stacked.take(limbs, 0), on.peak.shape[-1])
        belief = stacked.repeat(one, people)
    z, losses = hill.calibrate(limbs, on, few, spread, settings.prior_weight, settings.learner, belief)
    return Calibrated(z, on, rows, np.asarray(losses))


# Without a maximum voluntary contraction the envelope of one is not known: from 0.5 to 100 times the usual.
_COMMON_GAINS = np.geomspace(0.5, 100.0, 24)


@jax.jit
def _common_gain(limbs: MusculoskeletalModel, on: hill.Electrodes, rows: hill.MuscleRows, spread: Spread) -> Array:
    """Factor of everyone's full activation with which the muscles' torque is nearest to the motion's, one a person."""

    def one(model: Any, own_on: Any, own_rows: Any, own_spread: Any) -> Array:
        none = hill.initial(model, own_on.peak.shape[0])

        def error(gain: Array) -> Array:
            scaled = own_on._replace(peak=own_on.peak * gain)
            wrong = hill.torque_error(model, none, scaled, own_rows, own_spread.torque)
            return jnp.sum(jnp.mean(wrong**2, axis=-1) * own_rows.weight)

        tries = jnp.asarray(_COMMON_GAINS, jnp.float32)
        return tries[jnp.argmin(jax.vmap(error)(tries))]

    return jax.vmap(one)(limbs, on, rows, spread)


def rows_of(
    prepared: Prepared,
    subject: int,
    rows: np.ndarray,
    length: int,
    labelled: np.ndarray,
    with_forces: bool,
    motion: Motion | None = None,
    *,
    measured: bool = False,
) -> hill.MuscleRows:
    """One person's rows, padded to a length; along the measured motion, or another one of all rows.

    With measured moments as labels envelopes count as `hill.clean` leaves them.
    """
    f = np.float32
    padded = np.concatenate([rows, np.full(length - len(rows), rows[-1])])
    put = jax.device_put  # whatever is computed on the device would be a program for every shape
    weight = put(np.pad(labelled.astype(f), (0, length - len(rows))))
    along = [put(x[padded].astype(f)) for x in motion or prepared.table.motion]
    posture = put(prepared.table.posture[padded].astype(np.int32))
    own = stacked.take(prepared.limbs, subject)
    force = put(np.asarray(prepared.samples.force)[padded])
    nothing = put(np.zeros(length, f))
    jets = put(np.asarray(prepared.samples.jets)[padded])
    if measured:  # a net moment holds the passive joint's
        assert prepared.table.torque is not None
        torque = jnp.asarray(prepared.table.torque[padded], f) + _passive_torque(own, along[0], along[1], posture)
        whole = [hill.clean(prepared.table.jets[t.start : t.stop], prepared.net.rate_hz) for t in prepared.table.trials]
        jets = jnp.asarray(np.concatenate(whole)[padded], f)
    else:  # never the recorded torque: of virtual people that is the truth
        carried = external.torque(prepared.table, prepared.limbs, motion)
        known = None if carried is None else jnp.asarray(carried[padded])
        torque = _inverse_dynamics(own, *along, posture, known)
    return hill.MuscleRows(jets, along[0], along[1], posture, torque, force, weight, weight if with_forces else nothing)


_inverse_dynamics = jax.jit(dynamics.inverse_dynamics)
_passive_torque = jax.jit(dynamics.passive_torque)


def predict_test(
    prepared: Prepared, fitted: Calibrated, spread: Spread, test: tuple[np.ndarray, ...]
) -> list[Estimate]:
    """Forces and angles of everybody on their test rows."""
    longest = max(t.stop - t.test_start for t in prepared.table.trials)
    most = max(len(r) for r in test)
    result = []
    for s, rows in enumerate(test):
        own, z, on, units = stacked.take((prepared.limbs, fitted.z, fitted.on, spread), s)
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
        result.append(Estimate(angle, force))
    return result


# Independent observations in a second of a motion that was smoothed at some hertz.
_INDEPENDENT_PER_S = 4.0


def identification(prepared: Prepared, fitted: Calibrated, spread: Spread) -> dict[str, dict[str, dict[str, Any]]]:
    """By person and parameter: its value, and the deviation of its z-score given the data (the prior's is 1)."""
    channels = prepared.cohort.subjects[0].recordings[0].channels
    result = {}
    for s, subject in enumerate(prepared.cohort.subjects):
        model, z, on, rows, units = stacked.take((prepared.limbs, fitted.z, fitted.on, fitted.rows, spread), s)
        independent = _INDEPENDENT_PER_S * float(rows.weight.sum()) / prepared.net.rate_hz
        listed = identification_of(model, z, on, channels, rows, units, independent)
        result[subject.name] = {
            i.name: {"value": i.value, "deviation": i.deviation, "by_data": i.by_data} for i in listed
        }
    return result


@jax.jit
def forces(model: MusculoskeletalModel, z: hill.Parameters, on: hill.Electrodes, rows: hill.MuscleRows) -> Array:
    """One person's muscle forces (T, M) [N]."""
    return hill.forces(model, z, on, rows.jets, rows.angle, rows.rate, rows.posture)


@partial(jax.jit, static_argnums=5)
def _simulate(model: Any, z: Any, on: Any, rows: hill.MuscleRows, torque_spread: Array, dt: float) -> Array:
    own = hill.fitted_model(model, z)
    posture = rows.posture[0]
    command = hill.activation(z, on, rows.jets)
    push = jnp.broadcast_to(-hill.values(z)["bias"] * torque_spread, rows.angle.shape)
    return forward.simulate(
        own, command, forward.hill(own, posture), dt, posture, (rows.angle[0], rows.rate[0]), push, _SUBSTEPS
    ).angle
