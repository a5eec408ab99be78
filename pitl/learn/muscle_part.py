"""The muscle part of the modified physics: forces of muscles fitted by the equation of motion, for the head to learn.

The equation of motion fixes the net torque and leaves its sharing among muscles free; a Hill muscle behind every
electrode does not. A few numbers per muscle are fitted so that the muscles' torque is that of the person's motion, with
nuisances (passive joint, bias, delay) and with what source people's muscles turned out to be as the prior. The head is
then drawn to a mean of these forces and the generic model's. A reconstruction: the paper does not say what "modified"
physics is (Zhang et al. 2022, doi 10.1109/TIM.2022.3227604).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.config.schema import HillConfig, Supervision
from pitl.learn import emg_driven, hill, stacked, units
from pitl.learn.emg_driven import Calibrated, MuscleFit
from pitl.learn.model import Model
from pitl.learn.predict import Estimate, predict_rows
from pitl.learn.prepare import Prepared
from pitl.learn.split import Split
from pitl.signals import windows


class TargetForces(NamedTuple):
    """What the head is drawn to, for everybody."""

    force: Float[Array, "P T M"]  # N, on the padded calibration rows
    weight: Float[Array, "P T"]  # 1 where it counts
    fitted: Calibrated


def target_forces(
    prepared: Prepared,
    split: Split,
    generic: Model,
    supervision: Supervision,
    settings: HillConfig,
    belief: hill.Belief,
    *,
    lowpass_hz: float,
    fitted: bool = True,
) -> TargetForces:
    """Forces for everybody's calibration rows, where forces have no labels.

    Args:
        prepared: cohort, physics and samples.
        split: everyone's rows.
        generic: everyone's generic models. Without labels the motion is their own.
        supervision: `"angle"` or `"none"`; force labels leave nothing to be drawn to.
        settings: of the fit.
        belief: what everyone's source people say about muscles, stacked.
        lowpass_hz: of a predicted motion.
        fitted: False leaves the muscles at that belief, the control that shows what the equation of motion did.
    """
    spread = generic.spread
    rows, length = list(split.calibration), split.people.rows.shape[1]
    estimates = predict_rows(generic, prepared.samples, split.calibration)
    if supervision == "none":
        motion: windows.Motion | None = _predicted_motion(prepared, split, estimates, lowpass_hz)
        used = [np.ones(len(r), bool) for r in rows]
    else:
        motion, used = None, split.labelled
    how = MuscleFit.of(settings, with_forces=False)._replace(prior_weight=settings.people_weight)
    muscles = emg_driven.calibrate(prepared, rows, used, spread, how, belief=belief, motion=motion)
    if not fitted:
        muscles = muscles._replace(z=belief.mean)
    share, force = settings.share, []
    for s, estimate in enumerate(estimates):
        assert estimate.force is not None
        own, z, on, data = stacked.take((prepared.limbs, muscles.z, muscles.on, muscles.rows), s)
        of_generic = _padded(estimate.force, length).astype(np.float32)  # N
        force.append(share * np.asarray(emg_driven.forces(own, z, on, data)) + (1 - share) * of_generic)
    weight = np.stack([_padded(u.astype(np.float32), length) for u in used])
    return TargetForces(jax.device_put(np.stack(force)), jax.device_put(weight), muscles)


def with_targets(split: Split, towards: TargetForces) -> Split:
    """The same rows, with forces for the head to learn."""
    return split._replace(people=split.people._replace(target=towards.force, has_target=towards.weight))


def prior_of_sources(
    prepared: Prepared, sources: Sequence[Sequence[int]], settings: HillConfig, *, with_forces: bool
) -> hill.Belief:
    """What everyone's source people say about muscles, stacked; nobody's own labels are in their own belief.

    Args:
        prepared: cohort, physics and samples.
        sources: for each belief, whose muscles it is the mean and spread of.
        settings: of the fit.
        with_forces: whether recorded force labels are used. Labels by static optimisation never co-contract, and would
            teach that.
    """
    everyone, window = range(len(prepared.cohort.subjects)), prepared.net.window
    rows = [windows.rows_of(prepared.table, "calibration", subjects=(s,), window=window) for s in everyone]
    spread = stacked.stack(_own_units(prepared, r) for r in rows)
    how = MuscleFit.of(settings, with_forces=with_forces)._replace(prior_weight=settings.people_weight)
    used = [np.ones(len(r), bool) for r in rows]
    muscles = emg_driven.calibrate(prepared, rows, used, spread, how)
    beliefs = [hill.from_people(muscles.z, jax.device_put(np.asarray(who, np.int32))) for who in sources]
    return stacked.stack(beliefs)


def _own_units(prepared: Prepared, rows: np.ndarray) -> units.Spread:
    """A person's own standard deviations, so that nobody else's labels are in what becomes of them."""
    result = [np.asarray(x)[rows].std(axis=0) for x in (prepared.samples.angle, prepared.samples.force)]
    torque = np.asarray(prepared.samples.torque)[rows].std(axis=0)
    strength = np.asarray(prepared.limbs.max_isometric_force).mean(axis=0)
    return units.Spread(
        jnp.asarray(np.maximum(result[0], 1e-2), jnp.float32),
        jnp.asarray(np.maximum(result[1], 1e-2 * strength), jnp.float32),
        jnp.asarray(np.maximum(torque, 1e-3), jnp.float32),
    )


def _predicted_motion(
    prepared: Prepared, split: Split, estimates: tuple[Estimate, ...], lowpass_hz: float
) -> windows.Motion:
    """The generic model's motion on everyone's calibration rows, smoothed as a measured one is."""
    motion = windows.Motion(*(np.zeros_like(x) for x in prepared.table.motion))  # nothing measured may be left in it
    for rows, estimate in zip(split.calibration, estimates, strict=True):
        for piece in _pieces(rows, estimate):
            smooth = windows.smooth_motion(piece.angle, prepared.net.rate_hz, lowpass_hz)
            for course, values in zip(motion, smooth, strict=True):
                course[piece.rows] = values
    return motion


class _Piece(NamedTuple):
    rows: np.ndarray
    angle: np.ndarray


def _pieces(rows: np.ndarray, estimate: Estimate) -> list[_Piece]:
    """Stretches without a gap."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [_Piece(r, a) for r, a in zip(np.split(rows, cuts), np.split(estimate.angle, cuts), strict=True)]


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    return np.pad(x, ((0, length - len(x)), *((0, 0),) * (x.ndim - 1)))
