"""What is not known about a person: numbers of their segments, muscles, joint and electrodes, each with its spread.

Every unknown is a z-score: zero is the model as it came, one is a standard deviation among people. Segments have a
mass and a length, so that weight (mass times length) and inertia (mass times length squared) are tied as in bodies.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl import hill
from pitl.msk import dynamics, geometry, loads, muscle
from pitl.msk.model import MusculoskeletalModel
from pitl.msk.shapes import at_posture


class Unknowns(NamedTuple):
    """z-scores. B bodies, C channels, D coordinates, M muscles."""

    mass: Float[Array, " B"]  # of each segment
    length: Float[Array, " B"]  # of each segment, on which its mass lies
    strong: Float[Array, ""]  # what the strengths of all muscles have in common
    strength: Float[Array, " M"]  # of each muscle beside the others
    arm: Float[Array, " M"]  # excursion, and with it moment arms
    fibre: Float[Array, " M"]
    slack: Float[Array, " M"]
    fastest: Float[Array, ""]  # contraction velocity, and with it how much active muscles resist motion
    gain: Float[Array, " C"]  # envelope at full activation against the recorded maximum
    shape: Float[Array, " M"]  # bend of activation against the envelope
    delay: Float[Array, ""]
    damping: Float[Array, " D"]
    stiffness: Float[Array, " D"]
    bias: Float[Array, " D"]  # constant torque, such as a joint's rest elsewhere


class Prior(NamedTuple):
    """How far a quantity varies among people beside what the model knows, and how far it may go at most."""

    deviation: float
    bound: float


# Factors are exponentials of a bounded number with this spread; the others are that number itself. Chosen.
PRIOR = {
    "mass": Prior(0.25, np.log(2.5).item()),
    "length": Prior(0.10, np.log(1.4).item()),
    "strong": Prior(0.25, np.log(2.5).item()),
    "strength": Prior(0.20, np.log(2.0).item()),
    "arm": Prior(0.10, np.log(1.4).item()),
    "fibre": Prior(0.10, np.log(1.4).item()),
    "slack": Prior(0.10, 0.35),  # optimal fibre lengths, by which the fibre gets shorter
    "fastest": Prior(0.35, np.log(3.0).item()),
    "gain": Prior(0.15, np.log(1.8).item()),  # people miss their maximum by some 15 %
    "shape": Prior(0.8, 3.0),  # of A, either way: Lloyd & Besier have it negative
    "delay": Prior(0.02, 0.06),  # s
    # wide: these two also stand for what the muscles' own damping and stiffness lack in the model
    "damping": Prior(0.70, np.log(16.0).item()),
    "stiffness": Prior(0.50, np.log(8.0).item()),
    "bias": Prior(0.08, 0.4),  # N m
}
_ADDED = ("slack", "shape", "delay", "bias")
# of the gain, where nobody recorded a maximum voluntary contraction
GAIN_WITHOUT_MAXIMUM = 0.8


class Rows(NamedTuple):
    """What one person did and showed, T rows in any order."""

    jets: Float[Array, "T 3 C"]  # envelope with its derivatives, in units of the recorded maximum
    angle: Float[Array, "T D"]  # rad, measured
    rate: Float[Array, "T D"]  # rad/s
    acceleration: Float[Array, "T D"]  # rad/s2
    posture: Int[Array, " T"]
    load: Float[Array, " T"]  # kg, carried
    place: Float[Array, "T 3"]  # m, where, in the body's coordinates


def none(model: MusculoskeletalModel, channels: int) -> Unknowns:
    """The unknowns that leave a model as it is."""
    size = {"mass": len(model.bodies), "length": len(model.bodies), "gain": channels} | dict.fromkeys(
        ("damping", "stiffness", "bias"), len(model.dofs)
    )
    scalars = ("strong", "delay", "fastest")
    return Unknowns(
        **{k: jnp.zeros(() if k in scalars else size.get(k, len(model.muscles)), jnp.float32) for k in Unknowns._fields}
    )


def values(z: Unknowns, gain_deviation: float = PRIOR["gain"].deviation) -> dict[str, Float[Array, "..."]]:
    """What the z-scores stand for: factors, and `slack`, `shape`, `delay` [s], `bias` [N m]."""
    found = {}
    for name, (deviation, bound) in PRIOR.items():
        spread = gain_deviation if name == "gain" else deviation
        limit = max(bound, 2 * spread) if name == "gain" else bound
        x = limit * jnp.tanh(getattr(z, name) * (spread / limit))
        found[name] = x if name in _ADDED else jnp.exp(x)
    return found


class Known(NamedTuple):
    """What the torque balance takes from a person's motion, apart from the unknowns, on which it depends simply."""

    straight: Float[Array, "T B D"]  # N m, of a body's mass in its frame's origin
    first: Float[Array, "T B D"]  # N m, what its first moment adds
    second: Float[Array, "T B D"]  # N m, what its second moments add
    carried: Float[Array, "T D"]  # N m, of the load, its inertia included
    damping: Float[Array, "T D"]  # N m
    stiffness: Float[Array, "T D"]  # N m
    limit: Float[Array, "T D"]  # N m
    reference: Float[Array, "T M"]  # m, musculotendon length in the middle of the excursion
    excursion: Float[Array, "T M"]  # m, above it
    arm: Float[Array, "T M D"]  # m
    lengthening: Float[Array, "T M"]  # m/s


def known(model: MusculoskeletalModel, body: str, rows: Rows) -> Known:
    """Evaluates the mechanics once, so that a fit need not."""
    motion = rows.angle, rows.rate, rows.acceleration
    bodies, nothing = len(model.bodies), jnp.zeros_like(model.damping)
    loose = replace(model, damping=nothing, stiffness=nothing, limit_stiffness=nothing)
    place = np.arange(4)
    order = jnp.asarray((place[:, None] < 3).astype(int) + (place < 3))  # of the moment that an entry is

    def part(b: int, moment: int) -> Array:
        mine = jnp.asarray(np.arange(bodies) == b)[None, :, None, None] & (order == moment)[None, None]
        partial = replace(loose, pseudo_inertia=jnp.where(mine, model.pseudo_inertia, 0.0))
        return dynamics.inverse_dynamics(partial, *motion, rows.posture)

    straight, first, second = (jnp.stack([part(b, m) for b in range(bodies)], axis=1) for m in range(3))

    def passive(**kept: Array) -> Array:
        return dynamics.passive_torque(replace(loose, **kept), rows.angle, rows.rate, rows.posture)

    path = geometry.musculotendon_length(model, rows.angle, rows.posture)
    reference = at_posture(model.path_reference, rows.posture, rows.angle.shape[:1])
    return Known(
        straight,
        first,
        second,
        loads.weight_torque(model, *motion, rows.posture, body, rows.load, rows.place),
        passive(damping=model.damping),
        passive(stiffness=model.stiffness),
        passive(limit_stiffness=model.limit_stiffness),
        reference,
        path - reference,
        geometry.moment_arm(model, rows.angle, rows.posture),
        geometry.lengthening_velocity(model, rows.angle, rows.rate, rows.posture),
    )


def muscles(model: MusculoskeletalModel, v: dict[str, Array]) -> MusculoskeletalModel:
    """The model with a person's muscles, apart from their paths."""
    fibre = model.optimal_fibre_length * v["fibre"]  # m
    return replace(
        model,
        max_isometric_force=model.max_isometric_force * v["strength"] * v["strong"][None],
        optimal_fibre_length=fibre,
        tendon_slack_length=model.tendon_slack_length + v["slack"] * fibre,
        max_contraction_velocity=model.max_contraction_velocity * v["fastest"][None],
    )


def activation(v: dict[str, Array], on: hill.Electrodes, jets: Float[Array, "T 3 C"]) -> Float[Array, "T M"]:
    """Activation of every muscle, 0 to 1; the delay is a Taylor step, as in `hill.activation`."""
    late = v["delay"]
    u = jets[:, 0] - late * jets[:, 1] + 0.5 * late**2 * jets[:, 2]
    u = u * (v["gain"] / on.peak)[None, :]
    share = jnp.sum(u[:, None, :] * on.share[None], axis=-1)
    edge = 0.01  # over which silence and the maximum are smoothed, so that the fit sees beyond them
    share = 0.5 * (share + jnp.sqrt(share * share + edge**2) - edge)
    return muscle.excitation_shape(jnp.minimum(share, 1.0), v["shape"])


class Balance(NamedTuple):
    """The two sides of the equation of motion."""

    muscle: Float[Array, "T D"]  # N m, what the muscles give
    needed: Float[Array, "T D"]  # N m, what the motion and the load take
    still: Float[Array, "T D"]  # N m, what the muscles would give if nothing moved
    effort: Float[Array, "T D"]  # N m, the same without regard to the direction
    moving: Float[Array, "T D"]  # N m, what motion changes about it, without regard to the direction


def balance(
    model: MusculoskeletalModel, v: dict[str, Array], on: hill.Electrodes, jets: Float[Array, "T 3 C"], k: Known
) -> Balance:
    """Muscle torque by the EMG, and the torque that a person with these values needs for the motion."""
    arm = v["arm"][None, :]
    path, lengthening = k.reference + arm * k.excursion, arm * k.lengthening  # m, m/s
    own, active = muscles(model, v), activation(v, on, jets)
    force, still = (muscle.force_along(own, active, path, x) for x in (lengthening, jnp.zeros_like(lengthening)))  # N
    given = jnp.sum((arm * force)[..., None] * k.arm, axis=1)  # N m
    each = (arm * still)[..., None] * k.arm  # N m
    changed = jnp.sum(jnp.abs((arm * (force - still))[..., None] * k.arm), axis=1)  # N m
    mass, length = v["mass"][None, :, None], v["length"][None, :, None]
    bodies = jnp.sum(mass * (k.straight + length * k.first + length**2 * k.second), axis=1)  # N m
    passive = v["damping"][None] * k.damping + v["stiffness"][None] * k.stiffness + k.limit  # N m
    needed = bodies + passive - k.carried - v["bias"][None]  # N m
    return Balance(given, needed, jnp.sum(each, axis=1), jnp.sum(jnp.abs(each), axis=1), changed)


def quantities(z: Unknowns, gain_deviation: float = PRIOR["gain"].deviation) -> dict[str, Float[Array, "..."]]:
    """Logarithms of the factors that one asks for; each `(K,)`.

    `weight` (mass times length) and `inertia` (mass times length squared) of every body; the `strength` of every
    muscle, its `torque` capacity (strength times moment arm), and `strong`, the mean over muscles of the logarithm of
    strength.
    """
    v = {k: jnp.log(x) for k, x in values(z, gain_deviation).items() if k not in _ADDED}
    strength = v["strength"] + v["strong"][None]
    return {
        "weight": v["mass"] + v["length"],
        "inertia": v["mass"] + 2 * v["length"],
        "strong": jnp.mean(strength)[None],
        "strength": strength,
        "torque": strength + v["arm"],
    }
