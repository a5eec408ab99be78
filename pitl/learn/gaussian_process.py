"""A person's angle as the recalibrated generic model and what is left of it, which is a Gaussian process.

    y(t) = a + b generic(t) + r(t) + e(t),   r ~ GP(0, s2 RBF(x / l) + t2 <features, features>)

where x are lagged log-envelopes, each channel and lag with a length of its own, and the generic model's angle: what is
left differs from joint angle to joint angle. Offset a (for each posture) and gain b have normal priors. The error e is
an Ornstein-Uhlenbeck process along each recording and white noise: neighbouring rows are one observation, and their
autocorrelation decides how many there are. All of that is one Gaussian process, one Cholesky factor a person
(Rasmussen & Williams 2006, algorithm 2.1, with the explicit mean of section 2.7). With no data it is the generic model,
with much a regression. Outputs are not clipped to what the calibration showed: to answer where nothing was shown is
what the generic model is for.

A person's angle is a mean of two such processes, the one above and one that does not know the generic model, as their
errors differ. Each counts by how sure it is of a window, its variance to the power -4: a generalised product of
experts (Cao & Fleet 2014, arXiv:1410.7827). The power is the one under which source people played as new are told
best, on wrists and on knees. The variance that weighs is that of a few calibration rows, so that it is known live too.

What people have in common (`Hyper`) maximises how likely the source people's later rows are given their first ones,
each played as new with little and with much calibration (`fit_hyper`). Angles are in units of the source people's
spread, about their mean; coordinates share hyper-parameters and inputs and are otherwise independent.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, Int
from scipy import optimize

from pitl.files import one_lapack_thread, options_for_short_work

LAGS = 8  # over the window of the network
KNEE = 0.05  # normalised envelope above which the inputs are its logarithm
MOST_ROWS = 400  # of a person; the factor grows with their cube, and twice as many tell no more
WEIGHING_ROWS = 64  # of these, that say how sure a process is
SURENESS = 4.0  # power of the variance by which processes are weighed
JITTER = 1e-4  # of the variance of a coordinate
_AT_ONCE = 1024  # rows that are predicted in one program
_APART = 1e6  # s between rows of two recordings
_ITERATIONS = 25
_PULL = 2e-3  # of the hyper-parameters to their defaults: a few source people do not tell all of them
_NEVER = -12.0  # logarithm of a standard deviation that is nothing
_FAR = 12.0  # logarithm of a length over which nothing changes
_product = partial(jnp.matmul, precision="highest")  # some devices round factors, and distances are differences
PROCESSES = (("linear",), ("generic", "linear"))  # of a personal model: the parts that each is without
PARTS = {  # hyper-parameters under which a part of the model is not there
    "generic": {"gain": 0.0, "gain_sd": _NEVER, "generic_length": _FAR},
    "smooth": {"smooth_sd": _NEVER},
    "linear": {"linear_sd": _NEVER},
}


class Hyper(NamedTuple):
    """What people have in common, in logarithms where a quantity is positive; angles in units of the spread."""

    offset: Any = 0.0  # mean of a, about the source people's mean angle
    gain: Any = 1.0  # mean of b
    offset_sd: Any = -1.1  # log, of a, the same in every posture
    posture_sd: Any = -1.7  # log, of a, by posture
    gain_sd: Any = -1.3  # log, of b
    smooth_sd: Any = -0.8  # log of sqrt(s2)
    length: Any = -0.2  # log l, in root mean square differences of inputs in units of their deviation
    channels: Any = 0.0  # (C,) log of how much more a channel counts
    recent: Any = 0.0  # log of how much more the present counts, and the beginning of the window less
    generic_length: Any = 0.5  # log of the length of the generic angle
    between: Any = 0.0  # logit of the correlation of r between postures
    linear_sd: Any = -0.8  # log of sqrt(t2)
    noise_sd: Any = -2.5  # log, of the part of e that lasts
    noise_s: Any = -1.5  # log of how long it lasts [s]
    white_sd: Any = -3.0  # log, of the part of e that does not


class Units(NamedTuple):
    """What makes angles and inputs numbers of order one, from the source people alone."""

    mean: Float[Array, " D"]  # rad
    spread: Float[Array, " D"]  # rad
    inputs: Float[Array, " F"]  # deviation of each lagged log-envelope
    features: Float[Array, ""]  # root mean square over all features, which each network has in a basis of its own


class AnglePrior(NamedTuple):
    """What is known of a person before they have shown anything."""

    hyper: tuple[Hyper, ...]  # of each process
    units: Units


class Rows(NamedTuple):
    """What the model reads of some rows of one person; padding has `used` 0 and counts for nothing."""

    generic: Float[Array, "N D"]  # rad
    inputs: Float[Array, "N F"]  # lagged log-envelopes
    features: Float[Array, "N Z"]
    posture: Int[Array, " N"]
    trial: Int[Array, " N"]
    time: Float[Array, " N"]  # s
    used: Float[Array, " N"]  # 1 or 0


class Deviation(NamedTuple):
    """How one person deviates from the generic model, by K processes."""

    hyper: tuple[Hyper, ...]
    units: Units
    rows: Rows  # calibration
    weight: Float[Array, "K D N"]  # of each calibration row
    factor: Float[Array, "K D N N"]  # Cholesky factor of the covariance of what was measured there


class Pairs(NamedTuple):
    """What the covariance of rows a with rows b is a function of."""

    generic: tuple[Float[Array, "N D"], Float[Array, "M D"]]  # in units
    inputs: tuple[Float[Array, "N F"], Float[Array, "M F"]]  # in units, their squares add up to a mean
    along: Float[Array, "N M"]  # mean product of the features
    same: Float[Array, "N M"]  # 1 in the same posture
    lag: Float[Array, "N M"]  # s, for ever between recordings
    used: Float[Array, "N M"]


def from_dict(kind: str, arrays: Mapping[str, Any]) -> Any:
    """The inverse of flax's `to_state_dict` of a `AnglePrior` or `Deviation`."""
    parts = {"units": Units, "rows": Rows}
    whole = {k: parts[k](**v) if k in parts else v for k, v in jax.device_put(dict(arrays)).items()}
    whole["hyper"] = tuple(Hyper(**whole["hyper"][k]) for k in sorted(whole["hyper"], key=int))
    return (AnglePrior if kind == "prior" else Deviation)(**whole)


def lagged_inputs(seen: Float[Array, "W L C"]) -> Float[Array, "W F"]:
    """Logarithms of normalised envelopes at a few lags over windows."""
    at = np.linspace(0, seen.shape[1] - 1, LAGS).round().astype(np.int32)
    return jnp.arcsinh(seen[:, at] / KNEE).reshape(len(seen), -1)


def thin(rows: np.ndarray, most: int = MOST_ROWS) -> np.ndarray:
    """At most so many of some rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def pad(rows: Rows, angle: Float[np.ndarray | Array, "N D"], most: int = MOST_ROWS) -> tuple[Rows, Float[Array, "M D"]]:
    """Rows and their angle, filled up with rows that count for nothing, so that people can be stacked."""
    more = most - len(rows.used)
    wide = jax.tree.map(lambda x: _longer(x, more, mode="edge"), rows)
    y = _longer(np.asarray(angle, np.float32), more, mode="edge")
    return wide._replace(used=_longer(rows.used, more, mode="constant")), y


def _longer(x: Array | np.ndarray, more: int, mode: Literal["edge", "constant"]) -> Array:
    """With rows behind its last; on the host, because every number of rows would be a program."""
    return jax.device_put(np.pad(np.asarray(x), [(0, more), *[(0, 0)] * (x.ndim - 1)], mode=mode))


def units(angle: np.ndarray, people: list[Rows]) -> Units:
    """Units from angles (W, D) [rad] of the source people and what was read of each of them."""
    within = np.stack([np.asarray(r.inputs).var(axis=0) for r in people])  # people differ in the mean
    features = np.sqrt(np.mean(np.concatenate([np.asarray(r.features) for r in people]) ** 2))
    every = np.sqrt(within.mean(axis=0).reshape(LAGS, -1).mean(axis=0))
    known = angle.mean(axis=0), np.maximum(angle.std(axis=0), 1e-2), np.maximum(np.tile(every, LAGS), 1e-3)
    return Units(*jax.device_put([x.astype(np.float32) for x in (*known, np.maximum(features, 1e-3))]))


def pair(units: Units, a: Rows, b: Rows) -> Pairs:
    """What lies between two sets of rows."""
    x, y = (r.inputs / units.inputs[None] / float(r.inputs.shape[1]) ** 0.5 for r in (a, b))
    u, v = (r.features / units.features for r in (a, b))
    lag = jnp.where(a.trial[:, None] == b.trial[None], jnp.abs(a.time[:, None] - b.time[None]), _APART)
    return Pairs(
        (_in_units(units, a.generic), _in_units(units, b.generic)),
        (x, y),
        _product(u, v.T) / float(u.shape[1]),
        (a.posture[:, None] == b.posture[None]).astype(x.dtype),
        lag,
        a.used[:, None] * b.used[None],
    )


def _in_units(units: Units, angle: Float[Array, "N D"]) -> Float[Array, "N D"]:
    return (angle - units.mean[None]) / units.spread[None]


def signal(hyper: Hyper, pairs: Pairs, d: int) -> Float[Array, "N M"]:
    """Covariance of offset, gain and residual of coordinate `d` between two sets of rows."""
    x, y = (_weighted(hyper, *side) for side in zip(pairs.inputs, pairs.generic, strict=True))
    far = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1)[None] - 2.0 * _product(x, y.T)
    near = jnp.exp(2 * hyper.smooth_sd - 0.5 * jnp.maximum(far, 0.0))
    between = jax.nn.sigmoid(hyper.between)
    return pairs.used * (
        jnp.exp(2 * hyper.offset_sd)
        + jnp.exp(2 * hyper.posture_sd) * pairs.same
        + jnp.exp(2 * hyper.gain_sd) * pairs.generic[0][:, d, None] * pairs.generic[1][None, :, d]
        + near * (between + (1 - between) * pairs.same)
        + jnp.exp(2 * hyper.linear_sd) * pairs.along
    )


def input_weights(hyper: Hyper, width: int) -> Float[Array, " F"]:
    """One over the length of each lagged envelope, of which there are `width`."""
    channels = jnp.broadcast_to(jnp.asarray(hyper.channels), (width // LAGS,))
    lags = hyper.recent * jnp.linspace(-1.0, 1.0, LAGS)
    return jnp.exp(lags[:, None] + channels[None] - hyper.length).reshape(width)


def _weighted(hyper: Hyper, inputs: Float[Array, "N F"], generic: Float[Array, "N D"]) -> Float[Array, "N G"]:
    """Everything that the smooth part is a function of, in its lengths."""
    angle = generic * jnp.exp(-hyper.generic_length) / float(generic.shape[1]) ** 0.5
    return jnp.concatenate([inputs * input_weights(hyper, inputs.shape[1])[None], angle], axis=1)


def own_product(units: Units, rows: Rows) -> Float[Array, " N"]:
    """The mean square of each row's features: what `pair` says of a row with itself."""
    return jnp.mean((rows.features / units.features) ** 2, axis=1)


def noise(hyper: Hyper, pairs: Pairs) -> Float[Array, "N N"]:
    """Covariance of the error of rows with one another; padding has variance one."""
    lasting = jnp.exp(2 * hyper.noise_sd - pairs.lag * jnp.exp(-hyper.noise_s)) * pairs.used
    white = jnp.where(jnp.diag(pairs.used) > 0, jnp.exp(2 * hyper.white_sd) + JITTER, 1.0)
    return lasting + jnp.diag(white)


@jax.jit
def fit(hyper: tuple[Hyper, ...], units: Units, rows: Rows, angle: Float[Array, "N D"]) -> Deviation:
    """One person's deviation, from calibration rows and the angle [rad] measured there."""
    pairs, y = pair(units, rows, rows), _in_units(units, angle)
    factor = jnp.stack([covariance_factor(h, pairs, y.shape[1]) for h in hyper])
    weight = [
        [cho_solve((factor[k, d], True), _left(h, pairs, y, d)) for d in range(y.shape[1])] for k, h in enumerate(hyper)
    ]
    return Deviation(hyper, units, rows, jnp.stack([jnp.stack(w) for w in weight]), factor)


def covariance_factor(hyper: Hyper, pairs: Pairs, dofs: int) -> Float[Array, "D N N"]:
    """Cholesky factor of the covariance of what is measured at rows paired with themselves."""
    error = noise(hyper, pairs)
    return jnp.stack([jnp.linalg.cholesky(signal(hyper, pairs, d) + error) for d in range(dofs)])


@jax.jit
def predict(person: Deviation, rows: Rows) -> tuple[Float[Array, "M D"], Float[Array, "M D"]]:
    """Mean and standard deviation [rad] of what would be measured on other rows of the person."""
    units, at = person.units, weighing_rows(person.rows.used)
    few = jax.tree.map(lambda x: x[at], person.rows)
    pairs, own, near = pair(units, rows, person.rows), own_product(units, rows), pair(units, rows, few)
    value, variance, sure = [], [], []
    for h, weight, factor in zip(person.hyper, person.weight, person.factor, strict=True):
        mean = [_prior_mean(h, pairs, d) + _product(signal(h, pairs, d), w) for d, w in enumerate(weight)]
        value.append(jnp.stack(mean, axis=1))
        variance.append(_variance(h, pairs, own, factor))
        if len(person.hyper) > 1:
            sure.append(_variance(h, near, own, covariance_factor(h, pair(units, few, few), len(weight))))
    mean, spread = _mix(jnp.stack(value), jnp.stack(variance), jnp.stack(sure or variance))
    return units.mean[None] + units.spread[None] * mean, units.spread[None] * jnp.sqrt(spread)


def weighing_rows(used: Float[Array, " N"]) -> Int[Array, " J"]:
    """Which few of the calibration rows, evenly spaced, weigh the processes; padding where there are fewer."""
    count = min(WEIGHING_ROWS, len(used))
    steps = jnp.arange(count, dtype=jnp.float32) * (jnp.maximum(jnp.sum(used), float(count)) - 1.0) / max(count - 1, 1)
    return jnp.argsort(1.0 - used, stable=True)[jnp.round(steps).astype(jnp.int32)]


def mixture_weights(variance: Any, axis: int = 0) -> Any:
    """What each process counts, of K along an axis, by its variance; NumPy or JAX."""
    sure = variance**-SURENESS  # at most JITTER to that power, which single precision holds
    return sure / sure.sum(axis=axis, keepdims=True)


def _mix(
    value: Float[Array, "K M D"], variance: Float[Array, "K M D"], sure: Float[Array, "K M D"]
) -> tuple[Float[Array, "M D"], Float[Array, "M D"]]:
    """Mean and variance of the mixture of processes."""
    share = mixture_weights(sure)
    mean = jnp.sum(share * value, axis=0)
    return mean, jnp.sum(share * (variance + (value - mean[None]) ** 2), axis=0)


def _variance(
    hyper: Hyper, pairs: Pairs, own: Float[Array, " M"], factor: Float[Array, "D N N"]
) -> Float[Array, "M D"]:
    """Of what would be measured at the first rows of the pairs, given the second."""
    result = []
    for d, each in enumerate(factor):
        known = jnp.sum(solve_triangular(each, signal(hyper, pairs, d).T, lower=True) ** 2, axis=0)
        result.append(jnp.maximum(_prior_variance(hyper, pairs, own, d) - known, 0.0) + _error_variance(hyper))
    return jnp.stack(result, axis=1)


def predict_along(person: Deviation, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The same for any number of rows, some at a time."""
    count = len(rows.used)
    parts = []
    for k in range(0, count, _AT_ONCE):
        some = jax.tree.map(lambda x, k=k: np.asarray(x)[k : k + _AT_ONCE], rows)
        parts.append(predict(person, jax.tree.map(lambda x: _longer(x, _AT_ONCE - len(x), mode="edge"), some)))
    value, deviation = (np.concatenate([np.asarray(x) for x in xs])[:count] for xs in zip(*parts, strict=True))
    return value, deviation


def _prior_mean(hyper: Hyper, pairs: Pairs, d: int) -> Float[Array, " N"]:
    return hyper.offset + hyper.gain * pairs.generic[0][:, d]


def _prior_variance(hyper: Hyper, pairs: Pairs, own: Float[Array, " N"], d: int) -> Float[Array, " N"]:
    """The diagonal of `signal` of the first rows of the pairs with themselves."""
    constant = sum(jnp.exp(2 * x) for x in (hyper.offset_sd, hyper.posture_sd, hyper.smooth_sd))
    generic, features = jnp.exp(2 * hyper.gain_sd), jnp.exp(2 * hyper.linear_sd)
    return constant + generic * pairs.generic[0][:, d] ** 2 + features * own


def _error_variance(hyper: Hyper) -> Float[Array, ""]:
    return jnp.exp(2 * hyper.noise_sd) + jnp.exp(2 * hyper.white_sd) + JITTER


def _left(hyper: Hyper, pairs: Pairs, y: Float[Array, "N D"], d: int) -> Float[Array, " N"]:
    """What calibration rows leave of the prior mean; nothing where they are padding."""
    return (y[:, d] - _prior_mean(hyper, pairs, d)) * jnp.diag(pairs.used)


class Played(NamedTuple):
    """Source people played as new, stacked: what they were calibrated on, and what they did later."""

    seen: Rows
    seen_angle: Float[Array, "P N D"]  # rad
    later: Rows
    later_angle: Float[Array, "P M D"]  # rad


class _Evidence(NamedTuple):
    """The same as the likelihood reads it; angles in units."""

    seen: Pairs
    across: Pairs  # later rows with seen ones
    own: Float[Array, "P M"]
    seen_angle: Float[Array, "P N D"]
    later_angle: Float[Array, "P M D"]
    counted: Float[Array, "P M"]


def log_density(hyper: Hyper, units: Units, played: Played) -> Float[Array, " P"]:
    """Mean logarithm of one process's predictive density of everyone's later rows, angles in units."""
    return _log_density(hyper, _evidence(units, played))


@partial(jax.jit, compiler_options=options_for_short_work())
@partial(jax.vmap, in_axes=(None, 0))
def _evidence(units: Units, played: Played) -> _Evidence:
    seen, later = (_in_units(units, x) for x in (played.seen_angle, played.later_angle))
    pairs, across = pair(units, played.seen, played.seen), pair(units, played.later, played.seen)
    return _Evidence(pairs, across, own_product(units, played.later), seen, later, played.later.used)


def _log_density(hyper: Hyper, evidence: _Evidence) -> Float[Array, " P"]:
    # one after the other: factors of a batch are no LAPACK calls on a processor
    return jax.lax.map(lambda e: _log_density_of_one(hyper, e), evidence)


def _log_density_of_one(hyper: Hyper, e: _Evidence) -> Float[Array, ""]:
    """Mean over the later rows. Solutions of linear systems are constants here, in forms that are stationary in them.

    With A = K^-1 k' and w = K^-1 y, the mean k w + A' (y - K w) and the variance k0 - 2 k A + A' K A have the values
    and the gradients of the exact ones, and nobody has to differentiate a Cholesky factor.
    """
    error = noise(hyper, e.seen)
    total = jnp.float32(0)
    for d in range(e.seen_angle.shape[1]):
        big, across = signal(hyper, e.seen, d) + error, signal(hyper, e.across, d)
        y = _left(hyper, e.seen, e.seen_angle, d)
        factor = jnp.linalg.cholesky(jax.lax.stop_gradient(big))
        known = jnp.concatenate([across.T, y[:, None]], axis=1)
        solved = cho_solve((factor, True), jax.lax.stop_gradient(known))
        a, w = solved[:, :-1], solved[:, -1]
        value = _prior_mean(hyper, e.across, d) + _product(across, w) + _product(a.T, y - _product(big, w))
        variance = _prior_variance(hyper, e.across, e.own, d) - 2 * jnp.sum(across.T * a, axis=0)
        variance = jnp.maximum(variance + jnp.sum(a * _product(big, a), axis=0), 0.0) + _error_variance(hyper)
        each = (e.later_angle[:, d] - value) ** 2 / variance + jnp.log(2 * np.pi * variance)
        total += -0.5 * jnp.sum(each * e.counted) / jnp.sum(e.counted)
    return total / e.seen_angle.shape[1]


def absent_parts(without: tuple[str, ...]) -> dict[str, float]:
    """The hyper-parameters of a process that is without some `PARTS`."""
    return {k: v for part in without for k, v in PARTS[part].items()}


def fit_hyper(units: Units, played: Played, without: tuple[str, ...] = ()) -> Hyper:
    """The hyper-parameters under which a process finds likely what source people did later, given what came first.

    Args:
        units: of the source people.
        played: each of them with little and with much calibration.
        without: parts that the process does not have, of `PARTS`.
    """
    usual = Hyper(channels=np.zeros(len(units.inputs) // LAGS, np.float32))
    start = Hyper(*(np.asarray(v, np.float32) for v in usual))._replace(**absent_parts(without))
    free = Hyper(*(np.ones_like(v) for v in usual))._replace(**dict.fromkeys(absent_parts(without), 0.0))
    start, free = (jax.tree.map(np.float32, x) for x in (start, free))
    first, unravel = ravel_pytree(start)
    evidence = _evidence(units, played)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        cost, slope = _cost(unravel(jnp.asarray(x, jnp.float32)), start, free, evidence)
        return float(cost), np.asarray(ravel_pytree(slope)[0], float)

    with one_lapack_thread():
        best = optimize.minimize(
            value, np.asarray(first, float), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}
        )
    return unravel(jnp.asarray(best.x, jnp.float32))


@jax.jit
@jax.value_and_grad
def _cost(hyper: Hyper, start: Hyper, free: Hyper, evidence: _Evidence) -> Array:
    """Of the hyper-parameters that are free: one program for any parts that are not there."""
    used = jax.tree.map(lambda x, fixed, f: f * x + (1 - f) * fixed, hyper, start, free)
    pull = sum(jnp.sum(f * (x - usual) ** 2) for x, f, usual in zip(hyper, free, Hyper(), strict=True))
    return -jnp.mean(_log_density(used, evidence)) + _PULL * pull
