"""The subject-specific inference: features and posture in, joint angles and muscle forces out.

The forces are non-negative by construction (or, as an ablation, free), in units of each muscle's strength; the angles
are scaled by their mean and spread over the source subjects.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pitl.net import jet

Head = Mapping[str, Any]


class OutputScale(NamedTuple):
    """Constants that give the outputs their units; part of the model, saved with it."""

    angle_mean: Float[Array, " D"]  # rad
    angle_std: Float[Array, " D"]  # rad
    strength: Float[Array, " M"]  # N, maximum isometric force
    force_mean: Float[Array, " M"]  # N


class Output(NamedTuple):
    """What the network says at one instant."""

    angle: Float[Array, "J ... D"]  # rad, rad/s, rad/s2
    force: Float[Array, "... M"]  # N


def init(
    key: Array, *, features: int, hidden: int, context: int, scale: OutputScale, nonnegative: bool = True
) -> dict[str, Any]:
    """Random head parameters whose forces start near the source subjects' mean.

    Args:
        features: width of the encoder's output.
        hidden: width of the hidden layer.
        context: width of the context input (posture, one hot; a time stamp in the time-input ablation).
        scale: of the outputs.
        nonnegative: as of `infer`.
    """
    k_hidden, k_angle, k_force = jax.random.split(key, 3)
    angle = jet.init_dense(k_angle, hidden, scale.angle_mean.shape[0])
    force = jet.init_dense(k_force, hidden, scale.strength.shape[0])
    share = jnp.maximum(scale.force_mean / scale.strength, 1e-3)
    return {
        "hidden": jet.init_dense(k_hidden, features + context, hidden),
        "angle": angle,
        # the inverse of softplus at the mean force
        "force": {"w": force["w"], "b": jnp.log(jnp.expm1(share)) if nonnegative else share},
    }


def infer(
    head: Head,
    features: Float[Array, "J ... Z"],
    context: Float[Array, "J ... P"],
    scale: OutputScale,
    *,
    activation: jet.Activation = "tanh",
    nonnegative: bool = True,
) -> Output:
    """Angles (with derivatives if the features have theirs) and muscle forces.

    The force is strength * softplus(.), so that a quiet muscle is near zero and none is below; without `nonnegative`,
    an ablation, it is linear in the hidden layer and a muscle may push.
    """
    h = jet.dense(head["hidden"], jnp.concatenate([features, context], axis=-1))
    h = jet.pointwise(jet.ACTIVATIONS[activation], h)
    raw = jet.dense(head["angle"], h)
    angle = jet.add_constant(raw * jnp.broadcast_to(scale.angle_std, raw.shape), scale.angle_mean)
    drive = jet.dense(head["force"], h[:1])[0]
    share = jax.nn.softplus(drive) if nonnegative else drive
    return Output(angle, jnp.broadcast_to(scale.strength, drive.shape) * share)
