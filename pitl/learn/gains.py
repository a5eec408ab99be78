"""Gains of muscles: what a person's muscles give for their EMG, from measured torque, in closed form.

    F_m = sum_k c_mk phi_mk(EMG, angle, rate),   torque = sum_m r_m F_m (1 + e_m) + nuisances + noise

phi are the forces of a Hill muscle as it came from the library (active, bent over the logarithm of its activation,
passive, and late), so that the model is linear in c. c has a normal prior that source people taught, arms have errors e
and the joint has passive torques that nobody knows; all of them are normal, so the posterior is one solution of a
linear system. A row's noise grows with the forces, because EMG is noise that the drive modulates, and few of the rows
of a second are independent.

What a person keeps of this is one factor a muscle on the forces of their network, F_m = (1 + g_m) F_network,m, with
which these are nearest to the muscles' in motion, drawn towards one by how much factors differ between people. The
factors belong to the network's output scale, so that forces are the same offline, live and exported.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pitl.learn import hill
from pitl.learn.units import HALF_OF_NORMAL
from pitl.mechanics import muscle
from pitl.mechanics.model import MusculoskeletalModel

TERMS = ("gain", "bend", "passive", "lag", "stretched")  # K terms of a muscle's force
_KNEE = 0.2  # activation at which `bend` is zero
_LATE_S = 0.02  # s, EMG before force beyond the envelope's own delay; `lag` is what another as much would change
_ARM_ERROR, _ARM_TILT = 0.12, 0.08  # of moment arms, and per rad of the first coordinate (`pitl.mechanics.correction`)
# N m at a third of either range: passive torques that the model does not have, constant, linear, quadratic, friction
_PASSIVE_NM = (0.1, 0.1, 0.05, 0.03)
_OFFSET_NM = 0.07  # of a dynamometer, in every trial another
# Without source people: strengths differ by .20 in logarithms, correlated by .35 (muscle volumes of nine adults by MRI
# over height times mass; CapacitiveSensingDataset, opearl-cmu, MIT licence), and what an electrode's maximum is worth
# by .25, each on its own; the other terms are chosen. In the order of TERMS.
_STRENGTH_SD, _STRENGTH_CORRELATION, _ELECTRODE_SD = 0.20, 0.35, 0.25
_MEAN, _DEVIATION, _UNEXPLAINED = (1.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.15, 0.5, 0.3, 0.2), 0.35
_MODEL_ERROR = 0.2  # of a force, in another kind of trial than taught it; chosen on virtual source people
_TRANSFER_SD = 0.12  # of a factor, from what Hill's shape gets wrong in motion; of virtual source people
_OVERCONFIDENCE = 1.5  # of the posterior, which knows no model error; of virtual source people
_LEAST_FACTOR = 0.1  # no muscle is that weak
TOLD_APART = 0.5  # of the prior's deviation or less remains: the recordings told this muscle apart


class TorqueNoise(NamedTuple):
    """Noise of the torque's rows, for motion and for efforts; chosen on virtual source people."""

    floor: tuple[float, float] = (0.1, 0.03)  # N m
    share: tuple[float, float] = (0.5, 0.15)  # of each muscle's torque
    independent: tuple[float, float] = (0.1, 4.0)  # rows in a second


NOISE = TorqueNoise()


class TorqueRows(NamedTuple):
    """What one person did, T rows; B trials on a dynamometer."""

    basis: Float[Array, "T M K"]  # N
    arm: Float[Array, "T M D"]  # m
    torque: Float[Array, "T D"]  # N m, that the muscles gave
    angle: Float[Array, "T D"]  # rad, from the middle of the range in thirds of it
    rate: Float[Array, "T D"]  # rad/s
    trial: Float[Array, "T B"]  # 1 in the trial on a dynamometer that the row belongs to; all 0 while moving
    weight: Float[Array, " T"]  # s that the row stands for; 0 for padding


class GainPrior(NamedTuple):
    """What source people's coefficients were."""

    mean: Float[Array, "M K"]
    covariance: Float[Array, "MK MK"]
    unexplained: Float[Array, " M"]  # error of a force with a person's best coefficients, over the force


class Gains(NamedTuple):
    """One person's coefficients given the torque."""

    mean: Float[Array, "M K"]
    covariance: Float[Array, "MK MK"]
    unexplained: Float[Array, " M"]
    factor: Float[Array, " M"]  # of the network's forces, see `bring_network`
    factor_deviation: Float[Array, " M"]


class Verdict(NamedTuple):
    """What is known of one muscle's gain."""

    gain: float  # over the source people's mean
    deviation: float  # of it, given the recordings
    before: float  # the same without any torque
    by_data: bool  # the recordings told it apart; else the prior decided


def basis(
    model: MusculoskeletalModel,
    on: hill.Electrodes,
    jets: Float[Array, "T 3 C"],
    angle: Float[Array, "T D"],
    rate: Float[Array, "T D"],
    posture: Any,
) -> Float[Array, "T M K"]:
    """Forces [N] that the terms of each muscle give for a coefficient of one."""
    now, late = (_activation(on, jets, delay) for delay in (_LATE_S, 2 * _LATE_S))
    capacity = muscle.active_force_capacity(model, angle, rate, posture)  # N
    active = now * capacity
    bend = active * jnp.log(jnp.maximum(now, 1e-3) / _KNEE)
    passive, lag = muscle.passive_force(model, angle, posture), (late - now) * capacity  # N
    return jnp.stack([active, bend, passive, lag, active * angle[:, :1]], axis=-1)


def _activation(on: hill.Electrodes, jets: Float[Array, "T 3 C"], delay: float) -> Float[Array, "T M"]:
    """Envelope over its maximum, some time [s] later."""
    u = (jets[:, 0] - delay * jets[:, 1] + 0.5 * delay**2 * jets[:, 2]) / on.peak[None]
    return jnp.clip(jnp.sum(u[:, None, :] * on.share[None], axis=-1), 0.0, 1.5)


def bring_network(gains: Gains, phi: Float[Array, "T M K"], network: Float[Array, "T M"]) -> Gains:
    """Finds the factors of a network's forces, given the muscles' coefficients.

    A factor is 1 for the usual person and differs between people as strengths and electrodes do. Of it the muscles say
    h c, the regression of their forces on the network's, with an error of their own.

    Args:
        gains: of the muscles.
        phi: their `basis` in motion [N].
        network: forces of the network there [N].
    """
    power = jnp.maximum(jnp.sum(network**2, axis=0), 1e-6)  # N2
    h = jnp.sum(network[:, :, None] * phi, axis=0) / power[:, None]  # (M, K)
    seen = jnp.sum(h * gains.mean, axis=-1)
    muscles, terms = h.shape
    own = jnp.stack([gains.covariance.reshape(muscles, terms, muscles, terms)[m, :, m] for m in range(muscles)])
    error = _OVERCONFIDENCE**2 * (jnp.sum(h[:, :, None] * own * h[:, None, :], axis=(1, 2)) + _TRANSFER_SD**2)
    usual = _STRENGTH_SD**2 + _ELECTRODE_SD**2
    heard = jnp.any(phi[:, :, 0] > 0, axis=0)  # has an electrode: else nothing is known of it
    weight = jnp.where(heard, usual / (usual + error), 0.0)
    factor = jnp.maximum(1 + weight * (seen - 1), _LEAST_FACTOR)
    return gains._replace(factor=factor, factor_deviation=jnp.sqrt((1 - weight) * usual))


def relative_half(gains: Gains) -> np.ndarray:
    """Half an interval of 90 % of each muscle's force, over the force."""
    known = np.asarray(gains.factor_deviation / gains.factor)
    return HALF_OF_NORMAL * np.hypot(known, np.asarray(gains.unexplained))


@partial(jax.jit, static_argnames="noise")
def posterior(rows: TorqueRows, prior: GainPrior, noise: TorqueNoise = NOISE) -> Gains:
    """Coefficients given the torque, exact for the linear model."""
    muscles, terms = prior.mean.shape
    count, dofs = muscles * terms, rows.torque.shape[1]
    effort = jnp.sum(rows.trial, axis=1)  # 1 or 0
    likely = jnp.sum(rows.basis * prior.mean[None], axis=-1)  # N
    precision = jnp.linalg.inv(prior.covariance)
    design, target, weight = [], [], []
    for d in range(dofs):
        arm = rows.arm[:, :, d]  # m
        gain = (arm[:, :, None] * rows.basis).reshape(-1, count)  # N m
        lever = arm * likely  # N m
        parts = [gain]
        for k in range(dofs):  # errors of the other coordinate's arms do not act on this one
            here = 1.0 if k == d else 0.0
            passive, (own, floor) = _passive(rows, d), (1 - effort, effort)
            parts += [here * _ARM_ERROR * lever, here * _ARM_TILT * lever * rows.angle[:, :1]]
            parts += [here * passive * own[:, None], here * _OFFSET_NM * rows.trial * floor[:, None]]
        design.append(jnp.concatenate(parts, axis=1))
        target.append(rows.torque[:, d])
        floor, share, per_s = (a[0] * (1 - effort) + a[1] * effort for a in noise)
        weight.append(rows.weight * per_s / (floor**2 + share**2 * jnp.sum(lever**2, axis=1)))
    x, y, w = (jnp.concatenate(v) for v in (design, target, weight))
    unit = jnp.eye(x.shape[1]).at[:count, :count].set(precision)
    start = jnp.zeros(x.shape[1]).at[:count].set(jnp.sum(precision * prior.mean.reshape(1, -1), axis=1))
    normal = unit + jnp.einsum("ti,tj->ij", x * w[:, None], x)
    covariance = jnp.linalg.inv(normal)
    mean = jnp.sum(covariance * (start + jnp.sum(x * (w * y)[:, None], axis=0))[None], axis=1)
    found = GainPrior(mean[:count].reshape(muscles, terms), covariance[:count, :count], prior.unexplained)
    return Gains(*found, jnp.ones(muscles), jnp.zeros(muscles))


def population_prior(muscles: int) -> GainPrior:
    """What is known of anybody's muscles where no source person's forces are: how strengths and electrodes differ."""
    strength = _STRENGTH_SD**2 * (_STRENGTH_CORRELATION + (1 - _STRENGTH_CORRELATION) * np.eye(muscles))
    terms = len(TERMS)
    covariance = np.diag(np.tile(np.square(_DEVIATION), muscles))
    covariance[::terms, ::terms] += strength + _ELECTRODE_SD**2 * np.eye(muscles)
    mean, wrong = np.tile(np.asarray(_MEAN, np.float32), (muscles, 1)), np.full(muscles, _UNEXPLAINED, np.float32)
    return GainPrior(jnp.asarray(mean), jnp.asarray(covariance, jnp.float32), jnp.asarray(wrong))


def _passive(rows: TorqueRows, d: int) -> Float[Array, "T N"]:
    """Torque of one coordinate [N m] that passive tissue gives for coefficients of one."""
    one = jnp.ones_like(rows.angle[:, :1])
    size = rows.angle.shape[1]
    twice = [rows.angle[:, a] * rows.angle[:, b] for a in range(size) for b in range(a, size)]
    friction = jnp.tanh(rows.rate[:, d] / 0.3)[:, None]
    constant, linear, quadratic, coulomb = _PASSIVE_NM
    parts = [constant * one, linear * rows.angle, quadratic * jnp.stack(twice, axis=1), coulomb * friction]
    return jnp.concatenate(parts, axis=1)


def learn_prior(
    phi: Float[Array, "P T M K"], forces: Float[Array, "P T M"], weight: Float[Array, "P T"], shrink: float = 0.7
) -> GainPrior:
    """Mean and covariance of source people's own best coefficients, correlations shrunk: people are few.

    Args:
        phi: everyone's `basis` [N].
        forces: that they should give [N].
        weight: of the rows, 0 for padding.
        shrink: part of the covariances between coefficients that is given up.
    """

    def best(p: Array, f: Array, w: Array) -> tuple[Array, Array]:
        usual = jnp.sqrt(jnp.sum(w[:, None] * f**2, axis=0) / jnp.sum(w))  # N
        # a force's error grows with it; without this the strongest efforts would decide alone
        w = w[:, None] / ((0.2 * f) ** 2 + (0.05 * usual[None]) ** 2)
        normal = jnp.einsum("tmk,tml->mkl", p * w[:, :, None], p)
        right = jnp.sum(p * (w * f)[:, :, None], axis=0)
        size = jnp.trace(normal, axis1=1, axis2=2)[:, None, None]  # of a muscle without an electrode, its passive force
        ridge = (jnp.maximum(1e-2 * normal[:, :1, :1], 1e-3 * size) + 1e-6) * jnp.eye(p.shape[-1])[None]
        c = jnp.linalg.solve(normal + ridge, (right + ridge[:, :, 0])[..., None])[..., 0]
        wrong = jnp.sum(p * c[None], axis=-1) - f
        return c, jnp.sqrt(jnp.sum(w * wrong**2, axis=0) / jnp.sum(w * f**2, axis=0))

    c, wrong = jax.vmap(best)(phi, forces, weight)
    flat = c.reshape(c.shape[0], -1)
    mean = jnp.mean(flat, axis=0)
    away = flat - mean[None]
    covariance = jnp.einsum("pi,pj->ij", away, away) / (c.shape[0] - 1)
    own = jnp.diag(jnp.diag(covariance))
    least = 1e-3 * jnp.eye(flat.shape[1])
    unexplained = jnp.hypot(jnp.mean(wrong, axis=0), jnp.float32(_MODEL_ERROR))
    return GainPrior(mean.reshape(c.shape[1:]), (1 - shrink) * covariance + shrink * own + least, unexplained)


def verdicts(gains: Gains, prior: GainPrior, names: tuple[str, ...]) -> dict[str, Verdict]:
    """By muscle: its gain over the source people's, how well it is known, and whether the recordings say so."""
    result = {}
    terms = gains.mean.shape[1]
    for m, name in enumerate(names):
        usual = float(prior.mean[m, 0])
        after, before = (float(jnp.sqrt(g.covariance[m * terms, m * terms])) / usual for g in (gains, prior))
        result[name] = Verdict(float(gains.mean[m, 0]) / usual, after, before, after < TOLD_APART * before)
    return result


def next_effort(
    gains: Gains, arm: Float[Array, "M D"], strength: Float[Array, " M"], noise: TorqueNoise = NOISE
) -> tuple[int, Float[Array, " D"]]:
    """The muscle whose gain is known worst, and the direction of an effort that would tell most about it.

    One more effort of some seconds in a direction is done with the muscles that pull that way; its information about a
    gain grows with that muscle's torque and shrinks with the noise of the others'.

    Args:
        gains: as known so far.
        arm: moment arms where the effort would be made [m].
        strength: force of each muscle at half its activation [N].
        noise: of the torque.
    """
    terms = gains.mean.shape[1]
    own = gains.covariance[::terms, ::terms]
    relative = jnp.sqrt(jnp.diag(own)) / jnp.maximum(gains.mean[:, 0], 0.1)
    widest = int(jnp.argmax(relative))
    lever = arm * strength[:, None]  # N m
    angles = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False) if arm.shape[1] > 1 else jnp.asarray([0.0, jnp.pi])
    best, towards = -1.0, jnp.zeros(arm.shape[1])
    for angle in angles:
        unit = jnp.stack([jnp.cos(angle), jnp.sin(angle)])[: arm.shape[1]]
        pull = lever * jnp.maximum(jnp.sum(lever * unit[None], axis=1), 0.0)[:, None]  # N m, of each muscle
        level = jnp.max(jnp.abs(pull)) + 1e-9
        seen = pull / level  # (M, D)
        error = noise.floor[1] ** 2 + noise.share[1] ** 2 * jnp.sum(seen**2, axis=0)  # (D,)
        moved = jnp.sum(own[widest][:, None] * seen, axis=0)  # (D,)
        drop = jnp.sum(moved**2 / (error + jnp.einsum("md,mn,nd->d", seen, own, seen)))
        if float(drop) > best:
            best, towards = float(drop), unit
    return widest, towards
