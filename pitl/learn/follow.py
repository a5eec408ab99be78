"""What an EMG-driven model says along a measured motion: muscle forces, and the moments that they give."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.data.recording import Recording
from pitl.errors import PitlError
from pitl.learn import hill
from pitl.learn.model import Model, pick_channels
from pitl.mechanics import dynamics
from pitl.mechanics.model import MusculoskeletalModel, posture_index
from pitl.signals import emg, normalise, windows


class ForcesAlongMotion(NamedTuple):
    """N instants along a measured motion."""

    time_s: np.ndarray  # (N,)
    angle: np.ndarray  # (N, D) rad, measured
    force: np.ndarray  # (N, M) N
    torque: np.ndarray  # (N, D) N m, net; NaN of coordinates whose moment was not a label
    silent: np.ndarray  # (C,) True of channels that are missing or dead


def follow(model: Model, recording: Recording) -> ForcesAlongMotion:
    """Forces and net moments from a recording's EMG and measured angles.

    Raises:
        PitlError: the angles were not measured, or are of other coordinates.
    """
    assert model.muscles is not None and model.channel_scale is not None
    where = f"{recording.source or 'the recording'} ({recording.subject}/{recording.trial})"
    if recording.angle is None or recording.dofs != model.limb.dofs:
        have = ", ".join(recording.dofs) if recording.angle is not None else "none"
        raise PitlError(
            f"{where}: this EMG-driven model needs the measured angles {', '.join(model.limb.dofs)}, the recording has "
            f"{have}; add them, or make a model that predicts angles with --labels angle."
        )
    raw, silent = pick_channels(model, recording)
    env = emg.envelope(emg.design(model.emg, recording.rate_hz, model.emg_kind), raw)
    jets = normalise.normalise(model.channel_scale, env.jets, model.emg.rate_hz)
    jets = hill.clean(jets, model.emg.rate_hz)
    motion = windows.motion_at(recording, env.time_s, model.angle_lowpass_hz)
    posture = posture_index(model.limb, recording.posture)
    f = jnp.float32
    along = [jnp.asarray(x, f) for x in (normalise.silence(jets, silent), motion.angle, motion.rate)]
    at = jnp.full(len(jets), posture, jnp.int32)
    force, torque = _along(model.limb, model.muscles, *along, at, hill.whole_course(model.limb, along[1], along[2], at))
    known = np.isfinite(np.asarray(model.muscles.torque_spread))
    return ForcesAlongMotion(
        env.time_s, motion.angle, np.asarray(force), np.where(known, np.asarray(torque), np.nan), silent
    )


@jax.jit
def _along(
    limb: MusculoskeletalModel,
    muscles: hill.Fitted,
    jets: Array,
    angle: Array,
    rate: Array,
    posture: Array,
    course: Any,
) -> tuple[Array, Array]:
    force = hill.forces_along(limb, muscles.z, muscles.on, jets, course)
    given = jnp.sum(course.arm * force[..., None], axis=-2)  # N m
    constant = hill.values(muscles.z)["bias"] * muscles.torque_spread  # N m
    return force, given - dynamics.passive_torque(limb, angle, rate, posture) - constant[None, :]
