"""Which rows of a cohort tell about gains: calibration parts, and isometric efforts against a dynamometer."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.learn import emg_driven, external, gains, hill, stacked
from pitl.learn.gains import GainPrior, Gains, TorqueRows
from pitl.learn.model import Model
from pitl.learn.predict import predict_rows
from pitl.learn.prepare import Prepared
from pitl.mechanics import dynamics, geometry
from pitl.signals import windows

_EVERY = 5  # of the envelope's samples; those between say nothing new


def made_efforts(prepared: Prepared) -> list[bool]:
    """Who has trials on a dynamometer."""
    everyone = range(len(prepared.cohort.subjects))
    return [any(t.isometric and t.subject == s for t in prepared.table.trials) for s in everyone]


def source_prior(prepared: Prepared, people: Sequence[int] | None = None) -> GainPrior:
    """What these people's muscles, or everybody's, turned out to be, from their recorded forces."""
    on = electrodes(prepared)
    each = [torque_rows(prepared, s, on[s]) for s in (range(len(on)) if people is None else people)]
    phi, weight, force = (
        _padded(x) for x in ([r.basis for r, _ in each], [r.weight for r, _ in each], [f for _, f in each])
    )
    return gains.learn_prior(phi, force, weight)


def fit_gains(
    models: Model,
    prepared: Prepared,
    prior: GainPrior | list[GainPrior],
    *,
    motion: bool = True,
    efforts: bool = True,
) -> Model:
    """Everybody's models with the gains of their muscles, given their torque, in the scale of their forces.

    Args:
        models: fitted to the people of the cohort, stacked.
        prepared: the cohort.
        prior: of the gains, everybody's or one each.
        motion: whether the torque of motion may tell.
        efforts: whether that of a dynamometer may.
    """
    table, window = prepared.table, prepared.net.window
    on = electrodes(prepared)
    everyone = range(len(on))
    rows = [windows.rows_of(table, "calibration", subjects=(s,), window=window)[::_EVERY] for s in everyone]
    estimates = predict_rows(models, prepared.samples, tuple(rows))
    priors, made = prior if isinstance(prior, list) else [prior] * len(on), []
    for s, estimate, own in zip(everyone, estimates, priors, strict=True):
        moved, _ = torque_rows(prepared, s, on[s], efforts=False)
        result = Gains(*own, jnp.ones(len(own.mean)), jnp.zeros(len(own.mean)))
        if motion or efforts:
            told_by = torque_rows(prepared, s, on[s], motion=motion, efforts=efforts)[0]
            result = gains.posterior(told_by, own)
        of_network = jnp.asarray(estimate.force, jnp.float32)  # N
        made.append(gains.bring_network(result, moved.basis, of_network))
    everybody = stacked.stack(made)
    strength = models.scale.strength * everybody.factor  # N
    return models.replace(gains=everybody, scale=models.scale._replace(strength=strength))


def describe_gains(model: Model, prior: GainPrior) -> dict[str, Any]:
    """Of one person's model: what is known of each muscle, and which effort would tell most next."""
    assert model.gains is not None
    limb = model.limb
    known = gains.verdicts(model.gains, prior, limb.muscles)
    middle = jnp.zeros((1, len(limb.dofs)), jnp.float32)  # rad
    arm = geometry.moment_arm(limb, middle, 0)[0]  # m
    widest, towards = gains.next_effort(model.gains, arm, 0.5 * limb.max_isometric_force)
    direction = dict(zip(limb.dofs, np.asarray(towards).round(2).tolist(), strict=True))
    return {
        "gains": {name: v._asdict() for name, v in known.items()},
        "next_effort": {"muscle": limb.muscles[widest], "direction": direction},
    }


def _padded(each: list[Array]) -> Array:
    longest = max(len(x) for x in each)
    return jnp.stack([jnp.pad(x, ((0, longest - len(x)), *((0, 0),) * (x.ndim - 1))) for x in each])


def torque_rows(
    prepared: Prepared, subject: int, on: hill.Electrodes, *, motion: bool = True, efforts: bool = True
) -> tuple[TorqueRows, Float[Array, "T M"]]:
    """A person's rows, every fifth of their calibration and all of their efforts, with the force labels [N] there.

    The torque is that of the measured motion, less what a dynamometer or a load took.

    Args:
        prepared: cohort and physics.
        subject: who.
        on: their electrodes.
        motion: whether trials that moved are used.
        efforts: whether trials on a dynamometer are.
    """
    table, window = prepared.table, prepared.net.window
    own = stacked.take(prepared.limbs, subject)
    mine = [t for t in table.trials if t.subject == subject and t.isometric]
    rows = [windows.rows_of(table, "calibration", subjects=(subject,), window=window)[::_EVERY]] if motion else []
    rows += [np.arange(t.start + window, t.stop, _EVERY) for t in mine] if efforts else []
    at = np.concatenate(rows)
    trial = np.stack([(at >= t.start) & (at < t.stop) for t in mine], 1) if mine else np.zeros((len(at), 0))
    f = np.float32
    q, qd, qdd = (jnp.asarray(x[at], f) for x in table.motion)
    posture = jnp.asarray(table.posture[at], jnp.int32)
    outside = external.torque(table, prepared.limbs)
    given = jnp.zeros_like(q) if outside is None else jnp.asarray(outside[at], f)
    jets = prepared.samples.jets[jnp.asarray(at)]
    phi, arm, torque = _rows(own, on, jets, (q, qd, qdd), posture, given)
    low, high = own.angle_range.T
    thirds = (q - 0.5 * (low + high)[None]) / ((high - low) / 3)[None]
    second = jnp.full(len(at), _EVERY / prepared.net.rate_hz, f)
    made = TorqueRows(phi, arm, torque, thirds, qd, jnp.asarray(trial, f), second)
    return made, prepared.samples.force[jnp.asarray(at)]


@jax.jit
def _rows(own: Any, on: Any, jets: Array, motion: tuple[Array, ...], posture: Array, given: Array) -> Any:
    q, qd, qdd = motion
    torque = dynamics.inverse_dynamics(own, q, qd, qdd, posture, given)
    return gains.basis(own, on, jets, q, qd, posture), geometry.moment_arm(own, q, posture), torque


def electrodes(prepared: Prepared) -> list[hill.Electrodes]:
    """Everybody's electrodes."""
    everybody = emg_driven.electrodes(prepared)
    return [stacked.take(everybody, s) for s in range(len(prepared.cohort.subjects))]
