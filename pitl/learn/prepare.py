"""From a configuration and a cohort to everything that training and evaluation read: physics, labels, rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.config.schema import Config, EmgConfig, PersonalizeConfig
from pitl.data.recording import Cohort
from pitl.errors import PitlError
from pitl.learn import external, limbs, stacked
from pitl.mechanics import dynamics, redundancy, weak
from pitl.mechanics.model import MusculoskeletalModel
from pitl.net.network import Network
from pitl.signals import windows
from pitl.signals.normalise import ScalePrior
from pitl.signals.samples import Samples
from pitl.signals.windows import Table


class Prepared(NamedTuple):
    """A cohort ready for use."""

    cohort: Cohort
    table: Table
    samples: Samples
    limbs: MusculoskeletalModel  # stacked over subjects
    net: Network
    taps: weak.Kernel
    force_source: str  # what the force labels are
    reserve_nm: float  # largest torque that static optimisation could not give to the muscles
    learns_forces: bool = True  # whether there are force labels and training may see them
    electrodes: Mapping[str, tuple[str, ...]] = {}  # channels of muscles that are not called like their channel
    emg: EmgConfig = EmgConfig()
    personalize: PersonalizeConfig = PersonalizeConfig()
    angle_lowpass_hz: float = 6.0
    about: Mapping[str, Any] = {}  # the configuration, for the record


def prepare(
    config: Config, cohort: Cohort, scale_prior: ScalePrior | None = None, *, with_dynamics: bool = True
) -> Prepared:
    """Filters, labels and uploads a cohort.

    Args:
        config: all settings.
        cohort: as read.
        scale_prior: of a generic model, to which scales of channels are shrunk.
        with_dynamics: whether the torque of coordinates where none was measured comes from the equation of motion; if
            not it is zero, for work that does not look at it.

    Raises:
        PitlError: if force labels are asked for and a recording has none.
    """
    base = limbs.choose_limb(config.model, cohort)
    table = windows.tabulate(
        cohort,
        config.data,
        config.emg,
        config.perturb,
        windows.window_samples(config.window, config.emg),
        base.postures,
        len(base.dofs),
        scale_prior,
    )
    scaled = config.personalize.scaled
    own = [limbs.scale_limb(config.model, base, s, scaled=scaled) for s in cohort.subjects]
    everyone = jax.tree.map(jnp.asarray, stacked.stack(own))
    torque, force, reserve = _labels(config, cohort, table, everyone, with_dynamics)
    everyone = limbs.put_errors(config.model, everyone)  # after the labels, which are not the learner's
    samples = windows.upload(table, force, torque)
    net = network_of(config, table.jets.shape[2], base)
    taps = weak.kernel(config.personalize.weak_kernel_s, config.emg.rate_hz)
    source = {
        "recorded": cohort.subjects[0].recordings[0].force_source or "none",
        "static_optimisation": "static_optimisation",
        "none": "none",
    }[config.data.force_labels]
    learns = source != "none" and config.train.force_weight > 0
    return Prepared(
        cohort,
        table,
        samples,
        everyone,
        net,
        taps,
        source,
        reserve,
        learns,
        config.model.electrodes,
        config.emg,
        config.personalize,
        config.data.angle_lowpass_hz,
        config.model_dump(mode="json"),
    )


def network_of(config: Config, channels: int, model: MusculoskeletalModel) -> Network:
    """The network that the configuration describes, for some channels and the model's postures."""
    return Network(
        inputs=channels,
        postures=len(model.postures),
        window=windows.window_samples(config.window, config.emg),
        rate_hz=config.emg.rate_hz,
        channels=config.net.channels,
        kernels=config.net.kernels,
        strides=config.net.strides,
        features=config.net.features,
        hidden=config.net.hidden,
        activation=config.net.activation,
        derivative=config.train.derivative,
        compression=config.net.compression,
        encoder=config.net.encoder,
        recurrent_state=config.net.recurrent_state,
        recurrent_stride=config.net.recurrent_stride,
        nonnegative=config.net.nonnegative,
    )


@jax.jit
def _inverse_dynamics(models: MusculoskeletalModel, subject: Array, q: Array, qd: Array, qdd: Array, posture: Array):
    own = stacked.take(models, subject)
    return jax.vmap(dynamics.inverse_dynamics)(own, q, qd, qdd, posture)


def _labels(
    config: Config, cohort: Cohort, table: Table, everyone: MusculoskeletalModel, with_dynamics: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Torque and force of every row, recorded or computed from the measured motion."""
    f = np.float32
    motion = [jax.device_put(x.astype(f)) for x in table.motion]
    posture = jax.device_put(table.posture.astype(np.int32))
    torque = table.torque
    if torque is not None and not with_dynamics:
        torque = np.nan_to_num(torque)
    if torque is None or not np.isfinite(torque).all():
        required = np.asarray(_inverse_dynamics(everyone, jnp.asarray(table.subject, np.int32), *motion, posture))
        carried = external.torque(table, everyone)
        required = required if carried is None else required - carried
        torque = required if torque is None else np.where(np.isfinite(torque), torque, required)
    muscles = len(everyone.muscles)
    if config.data.force_labels == "none":
        return torque, np.zeros((len(torque), muscles)), 0.0
    if config.data.force_labels == "recorded":
        if table.force is None or len(table.force) != len(table.posture):
            raise PitlError(
                "data.force_labels = 'recorded' but not every recording has forces; use 'static_optimisation' "
                "(forces from the measured motion) or 'none'."
            )
        if table.force.shape[1] != muscles:
            raise PitlError(
                f"the recordings have forces of {table.force.shape[1]} muscles, the model '{cohort.joint}' has "
                f"{muscles} ({', '.join(everyone.muscles)})."
            )
        return torque, table.force, 0.0
    force, reserve = np.zeros((len(torque), muscles)), 0.0
    for s in range(len(cohort.subjects)):
        rows = np.flatnonzero(table.subject == s)
        own = stacked.take(everyone, s)
        # ideal muscles: a rigid-tendon force-length curve that nobody calibrated would put its errors into the labels
        result = redundancy.static_optimisation(
            own,
            motion[0][rows],
            motion[1][rows],
            jnp.asarray(torque[rows], f),
            posture[rows],
            redundancy.Effort(force_length_velocity=False),
        )
        force[rows] = np.asarray(result.force)
        reserve = max(reserve, float(jnp.max(jnp.abs(result.reserve))))
    return torque, force, reserve
