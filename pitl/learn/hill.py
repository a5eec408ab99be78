"""The classical EMG-driven model: a Hill muscle behind every electrode, fitted to a person through joint torque.

Strength, fibre and slack length, EMG gain, shape and delay are fitted by gradient so that the muscles give the torque
of the measured motion (Lloyd & Besier 2003, doi 10.1016/S0021-9290(03)00010-1), with bounds and log-normal priors.
Motion does not tell friction-like torques from muscles', so damping, stiffness and a constant torque are fitted too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from pitl.data.checks.apart import Apart, extrapolate, find_apart
from pitl.errors import PitlError
from pitl.files import options_for_short_work
from pitl.learn import optimise, stacked
from pitl.learn.synergists import channels_for
from pitl.learn.units import Spread
from pitl.mechanics import dynamics, geometry, muscle
from pitl.mechanics.model import MusculoskeletalModel


class Prior(NamedTuple):
    """How far a quantity varies among people, and how far it may go at most."""

    deviation: float
    bound: float


# Factors are exponentials of a bounded number with this spread; the others are that number itself. Chosen.
PRIOR = {
    "strength": Prior(0.30, np.log(2.5).item()),
    "fibre": Prior(0.10, np.log(1.4).item()),
    "slack": Prior(0.10, 0.35),  # optimal fibre lengths, by which the fibre gets shorter
    "gain": Prior(0.40, np.log(4.0).item()),
    "shape": Prior(0.6, 2.0),  # of A, around the value below
    "delay": Prior(0.02, 0.06),  # s, by which EMG leads force beyond the envelope's own delay
    "damping": Prior(0.40, np.log(4.0).item()),
    "stiffness": Prior(0.40, np.log(4.0).item()),
    "bias": Prior(0.10, 0.5),  # standard deviations of the torque
}
_FACTORS = ("strength", "fibre", "gain", "damping", "stiffness")
_USUAL_SHAPE = -1.0  # A of Lloyd & Besier, between -3 and 0
# without a maximum voluntary contraction: activation at the 99th percentile of the person's calibration part
_USUAL_PEAK = 0.4
_QUIET = 5.0  # percentile of a trial's envelope that is taken for rest


class Parameters(struct.PyTreeNode):
    """z-scores, unbounded; zero is the model as it came. C channels, M muscles, D coordinates."""

    strength: Float[Array, " M"]
    fibre: Float[Array, " M"]
    slack: Float[Array, " M"]
    gain: Float[Array, " C"]
    shape: Float[Array, " M"]
    delay: Float[Array, ""]
    damping: Float[Array, " D"]
    stiffness: Float[Array, " D"]
    bias: Float[Array, " D"]


class Electrodes(NamedTuple):
    """Which channels drive which muscle, and what their envelopes are worth."""

    share: Float[Array, "M C"]  # weights of the channels, summing to one; a row of zeros has no electrode
    peak: Float[Array, " C"]  # envelope that counts as full activation, before the gain is fitted


class Fitted(NamedTuple):
    """A person's muscles, as a model keeps them; what belongs to the limb is in the limb."""

    z: Parameters
    on: Electrodes
    torque_spread: Float[Array, " D"]  # N m, of the measured moments; not finite where none was measured


class Belief(NamedTuple):
    """What is known of a person's muscles before their data: z-scores around a mean, in z-scores."""

    mean: Parameters
    deviation: Parameters


class MuscleCourse(NamedTuple):
    """Where a motion takes muscles and joints: what does not change while muscles are fitted."""

    length: Float[Array, "... M"]  # m, of muscle and tendon
    lengthening: Float[Array, "... M"]  # m/s
    arm: Float[Array, "... M D"]  # m


class MuscleRows(NamedTuple):
    """What one person did and showed, T rows."""

    jets: Float[Array, "T 3 C"]  # normalised envelope with its derivatives
    angle: Float[Array, "T D"]  # rad
    rate: Float[Array, "T D"]  # rad/s
    posture: Int[Array, " T"]
    torque: Float[Array, "T D"]  # N m, by inverse dynamics of the measured motion, or measured; NaN where not known
    force: Float[Array, "T M"]  # N, labels
    weight: Float[Array, " T"]  # 1 where the torque counts
    force_weight: Float[Array, " T"]  # 1 where the force labels count
    along: MuscleCourse | None = None  # of these rows, where it was computed before


def electrodes(
    model: MusculoskeletalModel,
    channels: tuple[str, ...],
    named: Mapping[str, tuple[str, ...]],
    envelope: np.ndarray,
    maximum: np.ndarray | None,
) -> Electrodes:
    """Finds every muscle's channels by name, or those of its synergists (see `pitl.learn.synergists`).

    Args:
        model: whose muscles.
        channels: names of the channels.
        named: channels of muscles that are not called like them.
        envelope: (T, C) normalised envelopes of the calibration part.
        maximum: (C,) envelope at maximum voluntary contraction, in the same units; None if nobody recorded it.

    Raises:
        PitlError: a named channel or muscle does not exist, or no muscle has an electrode.
    """
    unknown = [m for m in named if m not in model.muscles] + [c for v in named.values() for c in v if c not in channels]
    if unknown:
        raise PitlError(
            f"model.electrodes names {unknown[0]!r}; muscles are {', '.join(model.muscles)}, channels "
            f"{', '.join(channels)}."
        )
    share = np.zeros((len(model.muscles), len(channels)), np.float32)
    for m, name in enumerate(model.muscles):
        mine = named.get(name) or channels_for(name, channels)
        result = [channels.index(c) for c in mine if c in channels]
        share[m, result] = 1 / max(1, len(result))
    if not share.any():
        raise PitlError(
            f"no channel ({', '.join(channels)}) is called like a muscle of {model.name} ({', '.join(model.muscles)}); "
            "say which belongs to which with model.electrodes."
        )
    peak = np.percentile(envelope, 99, axis=0) / _USUAL_PEAK if maximum is None else maximum
    return Electrodes(jnp.asarray(share), jnp.asarray(np.maximum(peak, 1e-6), jnp.float32))


def initial(model: MusculoskeletalModel, channels: int) -> Parameters:
    """The parameters that leave a model as it is."""
    per_muscle, per_dof = jnp.zeros(len(model.muscles), jnp.float32), jnp.zeros(len(model.dofs), jnp.float32)
    return Parameters(
        strength=per_muscle,
        fibre=per_muscle,
        slack=per_muscle,
        gain=jnp.zeros(channels, jnp.float32),
        shape=per_muscle,
        delay=jnp.zeros((), jnp.float32),
        damping=per_dof,
        stiffness=per_dof,
        bias=per_dof,
    )


def as_it_came(model: MusculoskeletalModel, channels: int) -> Belief:
    """The belief that a person's muscles are those of the model, give or take what people differ by."""
    mean = initial(model, channels)
    return Belief(mean, jax.tree.map(jnp.ones_like, mean))


def values(z: Parameters) -> dict[str, Float[Array, "..."]]:
    """What the z-scores stand for: factors, and `slack`, `delay` [s], `shape` and `bias` as they are."""
    result = {}
    for name, (deviation, bound) in PRIOR.items():
        x = bound * jnp.tanh(getattr(z, name) * (deviation / bound))
        result[name] = jnp.exp(x) if name in _FACTORS else x
    result["shape"] = result["shape"] + _USUAL_SHAPE
    return result


def z_of_shape(shape: np.ndarray) -> np.ndarray:
    """z-scores whose `values` are these shapes A of the EMG-to-activation map."""
    deviation, bound = PRIOR["shape"]
    inside = np.clip((shape - _USUAL_SHAPE) / bound, -0.999, 0.999)
    return np.arctanh(inside) * bound / deviation


def fitted_model(model: MusculoskeletalModel, z: Parameters) -> MusculoskeletalModel:
    """The model with the fitted muscles and passive joint."""
    v = values(z)
    fibre = model.optimal_fibre_length * v["fibre"]  # m
    return replace(
        model,
        max_isometric_force=model.max_isometric_force * v["strength"],
        optimal_fibre_length=fibre,
        tendon_slack_length=model.tendon_slack_length + v["slack"] * fibre,
        damping=model.damping * v["damping"],
        stiffness=model.stiffness * v["stiffness"],
    )


def without_limb(z: Parameters) -> Parameters:
    """What is left of the parameters once `fitted_model` has put the others into the limb."""
    into_limb = ("strength", "fibre", "slack", "damping", "stiffness")
    return z.replace(**{name: jnp.zeros_like(getattr(z, name)) for name in into_limb})


def clean(jets: np.ndarray, rate_hz: float) -> np.ndarray:
    """Envelopes (T, 3, C) of one whole trial above their quietest, without pieces that are no EMG.

    The noise of an electrode changes from trial to trial and looks like effort. What a trial's EMG shows at its
    quietest, the 5th percentile, says how much there is, and needs nothing but the EMG: it can be done on a new trial.
    A channel that leaves its fellows for a while is extrapolated from them (see `pitl.data.checks.apart`).
    """
    return extrapolate(_above_rest(jets), apart(jets, rate_hz))


def apart(jets: np.ndarray, rate_hz: float) -> Apart:
    """Where channels of one whole trial (T, 3, C) leave their fellows."""
    return find_apart(_above_rest(jets)[:, 0], rate_hz)


def _above_rest(jets: np.ndarray) -> np.ndarray:
    rest = np.percentile(jets[:, 0], _QUIET, axis=0)
    return np.stack([np.maximum(jets[:, 0] - rest, 0.0), jets[:, 1], jets[:, 2]], axis=1)


def activation(z: Parameters, on: Electrodes, jets: Float[Array, "... 3 C"]) -> Float[Array, "... M"]:
    """Activation of every muscle, 0 to 1, from the envelopes and their derivatives.

    The delay is a Taylor step along the envelope's own derivatives, exact to second order, so that it can be fitted.
    The envelope's low-pass is slower than activation dynamics, which are therefore part of the delay.
    """
    v = values(z)
    late = v["delay"]
    u = jets[..., 0, :] - late * jets[..., 1, :] + 0.5 * late**2 * jets[..., 2, :]
    lead = (1,) * (u.ndim - 1)
    u = u * (v["gain"] / on.peak).reshape(*lead, -1)
    share = jnp.sum(u[..., None, :] * on.share.reshape(*lead, *on.share.shape), axis=-1)
    return muscle.excitation_shape(_between_0_and_1(share), jnp.minimum(v["shape"], 0.0))


def _between_0_and_1(u: Float[Array, "..."]) -> Float[Array, "..."]:
    """Clipped smoothly, so that a muscle near silence or its maximum can still be fitted."""
    edge = 0.01
    return jnp.clip(0.5 * (u + jnp.sqrt(u * u + edge**2) - edge), 0.0, 1.0)


def forces(
    model: MusculoskeletalModel,
    z: Parameters,
    on: Electrodes,
    jets: Float[Array, "... 3 C"],
    angle: Float[Array, "... D"],
    rate: Float[Array, "... D"],
    posture: Int[Array, "..."],
) -> Float[Array, "... M"]:
    """Musculotendon forces [N] of the EMG-driven model."""
    return muscle.hill_force(fitted_model(model, z), activation(z, on, jets), angle, rate, posture)


def course(
    model: MusculoskeletalModel,
    angle: Float[Array, "... D"],
    rate: Float[Array, "... D"],
    posture: Int[Array, "..."],
) -> MuscleCourse:
    """Lengths, their rates and moment arms along a motion; no fitted parameter changes them."""
    arm = geometry.moment_arm(model, angle, posture)
    lengthening = -jnp.sum(arm * rate[..., None, :], axis=-1)  # m/s
    return MuscleCourse(geometry.musculotendon_length(model, angle, posture), lengthening, arm)


def whole_course(model: MusculoskeletalModel, angle: Any, rate: Any, posture: Any) -> MuscleCourse:
    """`course` of many rows (T, D), computed on the host."""
    along = geometry.on_host(model, np.asarray(angle), np.asarray(posture))
    lengthening = -np.sum(along.arm * np.asarray(rate)[:, None, :], axis=-1)  # m/s
    return MuscleCourse(*(jax.device_put(x.astype(np.float32)) for x in (along.length, lengthening, along.arm)))


def course_of(model: MusculoskeletalModel, rows: MuscleRows) -> MuscleCourse:
    """The muscles' course along some rows; the splines are looked up once where the rows carry it."""
    return course(model, rows.angle, rows.rate, rows.posture) if rows.along is None else rows.along


def forces_along(
    model: MusculoskeletalModel, z: Parameters, on: Electrodes, jets: Float[Array, "T 3 C"], along: MuscleCourse
) -> Float[Array, "T M"]:
    """`forces` where the muscles' course is known already."""
    return muscle.hill_force_at(fitted_model(model, z), activation(z, on, jets), along.length, along.lengthening)


def torque_error(
    model: MusculoskeletalModel,
    z: Parameters,
    on: Electrodes,
    rows: MuscleRows,
    torque_spread: Float[Array, " D"],
) -> Float[Array, "T D"]:
    """Muscle torque less the torque that the motion takes, in standard deviations of the latter; 0 where unknown."""
    own = fitted_model(model, z)
    along = course_of(model, rows)
    force = forces_along(model, z, on, rows.jets, along)
    given = jnp.sum(along.arm * force[..., None], axis=-2)  # N m
    # torque was computed with the passive joint as it came
    passive = dynamics.passive_torque(own, rows.angle, rows.rate, rows.posture)  # N m
    before = dynamics.passive_torque(model, rows.angle, rows.rate, rows.posture)  # N m
    known = jnp.isfinite(rows.torque)
    wanted = jnp.where(known, rows.torque, 0.0)  # N m
    error = (given - wanted - passive + before) / torque_spread[None, :] - values(z)["bias"][None, :]
    return jnp.where(known, error, 0.0)


def objective(
    z: Parameters,
    model: MusculoskeletalModel,
    on: Electrodes,
    rows: MuscleRows,
    spread: Spread,
    prior_weight: Float[Array, ""] | float,
    belief: Belief | None = None,
) -> Float[Array, ""]:
    """Squared torque error, squared force error where there are labels, and the prior."""
    rows = rows._replace(along=course_of(model, rows))
    error = torque_error(model, z, on, rows, spread.torque)
    known = jnp.maximum(jnp.sum(jnp.isfinite(rows.torque).astype(rows.torque.dtype), axis=-1), 1.0)
    total = _mean(jnp.sum(error**2, axis=-1) / known, rows.weight)
    force = forces_along(model, z, on, rows.jets, course_of(model, rows))
    apart = (force - rows.force) / spread.force[None, :]
    total += _mean(jnp.mean(apart**2, axis=-1), rows.force_weight)
    if belief is not None:
        z = jax.tree.map(lambda x, m, d: (x - m) / d, z, belief.mean, belief.deviation)
    return total + prior_weight * prior(z)


def prior(z: Parameters) -> Float[Array, ""]:
    """Sum of the squared z-scores."""
    return jnp.sum(jnp.stack([jnp.sum(x * x) for x in jax.tree.leaves(z)]))


@jax.jit
def from_people(z: Parameters, who: Int[Array, " S"], least: float = 0.15) -> Belief:
    """Mean and spread of people whose muscles were fitted; few of them make the spread look small, hence `least`."""
    chosen = stacked.take(z, who)
    return Belief(
        jax.tree.map(lambda x: jnp.mean(x, axis=0), chosen),
        jax.tree.map(lambda x: jnp.sqrt(jnp.var(x, axis=0) + least**2), chosen),
    )


def belief_from_dict(arrays: Mapping[str, Any]) -> Belief:
    """The inverse of flax's `to_state_dict` of a belief."""
    return Belief(*(Parameters(**jax.device_put(dict(arrays[k]))) for k in ("mean", "deviation")))


def fitted_from_dict(arrays: Mapping[str, Any]) -> Fitted:
    """The inverse of flax's `to_state_dict` of a person's muscles."""
    x = jax.device_put(dict(arrays))
    return Fitted(Parameters(**x["z"]), Electrodes(**x["on"]), x["torque_spread"])


def _mean(x: Float[Array, " T"], weight: Float[Array, " T"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(weight > 0, x, 0.0) * weight) / jnp.maximum(jnp.sum(weight), 1.0)


@partial(jax.jit, static_argnames="learner", compiler_options=options_for_short_work())
def calibrate(
    limbs: MusculoskeletalModel,
    on: Electrodes,
    rows: MuscleRows,
    spread: Spread,
    prior_weight: Float[Array, ""] | float,
    learner: "MuscleLearner",
    belief: Belief,
) -> tuple[Parameters, Float[Array, "steps P"]]:
    """Fits P people at once; everything is stacked over them in front.

    Args:
        limbs: everyone's physics.
        on: everyone's electrodes.
        rows: everyone's calibration rows, padded with weight zero.
        spread: units of the errors.
        prior_weight: of the squared z-scores, against a mean squared error in units of variance.
        learner: steps, learning rate, and which parameters are fitted; the others stay where they start.
        belief: everyone's, stacked; each fit starts at its mean.

    Returns:
        Parameters, and the loss at every step.
    """

    def one(model: Any, own_on: Any, own_rows: Any, own_spread: Any, own_belief: Belief) -> Any:
        start = own_belief.mean
        data = (model, own_on, own_rows, own_spread, prior_weight, own_belief)

        def step(state: optimise.State, _: None) -> Any:
            state, (value, _) = optimise.advance(learner, state, data)
            return state, value

        state, losses = jax.lax.scan(step, optimise.begin(learner, start), None, length=learner.steps)
        return state.params, losses

    z, losses = jax.vmap(one)(limbs, on, rows, spread, belief)
    return z, losses.T


@dataclass(frozen=True)
class MuscleLearner:
    """What is fixed before a step of the fit is compiled (see `pitl.learn.optimise.Learner`)."""

    steps: int = 400  # of Adam, with a rate that falls along a cosine
    learning_rate: float = 0.05  # at the start, in z-scores
    free: tuple[str, ...] = tuple(PRIOR)  # names of the parameters that are fitted

    def optimiser(self) -> optax.GradientTransformation:
        """Adam, with a rate that falls along a cosine to a twentieth."""
        return optimise.adam(self.learning_rate, self.steps, last=0.05)

    def trainable(self, params: Parameters) -> dict[str, Array]:
        """The parameters that are fitted."""
        return {k: getattr(params, k) for k in self.free}

    def merge(self, params: Parameters, part: dict[str, Array]) -> Parameters:
        """The others stay as they are."""
        return params.replace(**part)

    def objective(self, params: Parameters, batch: Any, extra: None) -> tuple[Float[Array, ""], tuple[None, None]]:
        """See `objective`."""
        return objective(params, *batch), (None, None)
