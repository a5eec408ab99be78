"""A virtual cohort for any musculoskeletal model: people who follow smooth motions with the muscles that it takes.

Simpler than the virtual wrist: the motion is given, its torque follows by inverse dynamics, muscles share it with an
effort and a co-contraction of the person's own, and EMG leads force by activation and delay. Nothing here is unknown to
the learner but the person's sizes, sharing habits, electrodes and noise, so such a cohort shows that a model works, not
that a method does.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.interpolate import CubicSpline

from pitl.config.schema import VirtualConfig
from pitl.data.recording import Cohort, Recording, Subject
from pitl.data.virtual import surface_emg
from pitl.data.virtual.subject import SimulatedElectrodes
from pitl.errors import PitlError
from pitl.mechanics import dynamics
from pitl.mechanics.correction import apply_correction, identity_correction
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.redundancy import Effort, static_optimisation
from pitl.mechanics.scaling import scale_to_body

_RATE_HZ = 100.0  # of the mechanics
_SLUGGISH_S = 0.04  # activation behind excitation
_SHARE_OF_RANGE = 0.7  # that motions use
_FASTEST_HZ = {"rhythmic": (0.35, 0.9), "random": (0.1, 0.7)}


def simulate(
    model: MusculoskeletalModel,
    joint: str,
    settings: VirtualConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Simulates people with the joints of a model; everything follows from the seed.

    Args:
        model: of the person in the middle of the cohort.
        joint: what the cohort's model is called, a name or a folder.
        settings: subjects, seed, seconds, rates and trials; the strengths of the wrist's effects are not used.
        progress: called with the people done and all people.

    Raises:
        PitlError: the muscles are far too weak for the motions.
    """
    sos = surface_emg.design(settings.emg_rate_hz)
    people = []
    for s in range(settings.subjects):
        people.append(_person(model, settings, s, sos))
        if progress:
            progress(s + 1, settings.subjects)
    return Cohort(name=f"virtual {model.name}", joint=joint, subjects=tuple(people))


def _person(model: MusculoskeletalModel, settings: VirtualConfig, index: int, sos: np.ndarray) -> Subject:
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index, 77)))
    name = f"V{index + 1:02d}"
    height = float(model.body_height) * (1 + 0.05 * rng.standard_normal())  # m
    mass = float(model.body_mass) * (height / float(model.body_height)) ** 2 * np.exp(0.13 * rng.standard_normal())
    likely = scale_to_body(model, height, mass)
    none = identity_correction(model)
    z = jax.tree.map(lambda x: jnp.asarray(settings.variation * rng.standard_normal(x.shape), jnp.float32), none)
    own = apply_correction(likely, z.replace(angle_offset=none.angle_offset))
    muscles = len(model.muscles)
    floor = jnp.asarray(0.02 * settings.co_contraction * np.exp(0.4 * rng.standard_normal(muscles)), jnp.float32)
    exponent = float(rng.choice([2.0, 2.5, 3.0]))
    electrodes = _electrodes(muscles, rng)
    recordings = []
    trials = [("rhythmic", k) for k in range(settings.rhythmic_trials)]
    trials += [("random", k) for k in range(settings.random_trials)]
    for number, (task, k) in enumerate(trials):
        posture = number % len(model.postures)
        q, qd, qdd = (jnp.asarray(x, jnp.float32) for x in _motion(own, task, settings.seconds, rng))
        activation, force, torque = _effort(own, q, qd, qdd, posture, exponent, floor)
        lacking = float(jnp.max(jnp.abs(torque[1]) / (1e-3 + jnp.max(jnp.abs(torque[0]), axis=0, keepdims=True))))
        if lacking > 0.5:
            raise PitlError(
                f"the muscles of {model.name} cannot move its joints ({', '.join(model.dofs)}): up to "
                f"{100 * lacking:.0f} % of the torque is missing; import more muscles or fewer coordinates."
            )
        moved = (np.asarray(q), np.asarray(activation), np.asarray(force), np.asarray(torque[0] - torque[1]))
        recordings.append(_record(model, settings, name, f"{task}{k + 1}", task, posture, moved, electrodes, sos, rng))
    return Subject(
        name, tuple(recordings), height_m=height, mass_kg=mass, mvc=surface_emg.maximum_voluntary(electrodes)
    )


def _electrodes(muscles: int, rng: np.random.Generator) -> SimulatedElectrodes:
    return SimulatedElectrodes(
        delay_s=np.clip(0.038 + 0.01 * rng.standard_normal(), 0.02, 0.06),
        gain=3.5e-4 * np.exp(0.5 * rng.standard_normal(muscles)),
        exponent=1 + np.clip(-0.1 + 0.12 * rng.standard_normal(muscles), -0.4, 0.3),
        slide=np.zeros(muscles),
        cross_talk=np.eye(muscles) + 0.03 * np.abs(rng.standard_normal((muscles, muscles))) * (1 - np.eye(muscles)),
        floor=2e-6 * np.exp(0.4 * rng.standard_normal(muscles)),
        hum=2e-6 * np.exp(0.6 * rng.standard_normal(muscles)),
        mvc_factor=np.exp(-0.05 + 0.15 * rng.standard_normal(muscles)),
    )


def _motion(
    model: MusculoskeletalModel, task: str, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, velocities and accelerations (T, D), sums of sines that stay within the range."""
    low, high = np.asarray(model.angle_range, float).T  # rad
    time = np.arange(0, seconds + 0.5, 1 / _RATE_HZ)[:, None, None]  # s
    waves = 2 if task == "rhythmic" else 6
    slowest, fastest = _FASTEST_HZ[task]
    w = 2 * np.pi * rng.uniform(slowest, fastest, (1, waves, len(low)))  # rad/s
    size = rng.uniform(0.5, 1, w.shape)
    size *= _SHARE_OF_RANGE * (high - low) / 2 / size.sum(axis=1, keepdims=True)
    x = w * time + rng.uniform(0, 2 * np.pi, w.shape)
    angle = (low + high) / 2 + (size * np.sin(x)).sum(axis=1)
    return angle, (size * w * np.cos(x)).sum(axis=1), -(size * w**2 * np.sin(x)).sum(axis=1)


@partial(jax.jit, static_argnames=("posture", "exponent"))
def _effort(
    model: MusculoskeletalModel, q: Array, qd: Array, qdd: Array, posture: int, exponent: float, floor: Array
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Activations, forces, and the torque with what of it is missing."""
    torque = dynamics.inverse_dynamics(model, q, qd, qdd, posture)
    result = static_optimisation(
        model, q, qd, torque, posture, Effort(exponent=exponent, force_length_velocity=False, lower=floor)
    )
    return result.activation, result.force, (torque, result.reserve)


def _record(
    model: MusculoskeletalModel,
    settings: VirtualConfig,
    person: str,
    trial: str,
    task: str,
    posture: int,
    moved: tuple[np.ndarray, ...],
    electrodes: SimulatedElectrodes,
    sos: np.ndarray,
    rng: np.random.Generator,
) -> Recording:
    """What a laboratory records: EMG ahead of the force, angles with noise."""
    coarse = np.arange(len(moved[0])) / _RATE_HZ  # s
    clock = np.arange(round(settings.seconds * settings.emg_rate_hz)) / settings.emg_rate_hz  # s
    angle, force, torque = (CubicSpline(coarse, moved[k])(clock) for k in (0, 2, 3))
    ahead = CubicSpline(coarse, moved[1])
    drive = ahead(clock + electrodes.delay_s) + _SLUGGISH_S * ahead(clock + electrodes.delay_s, 1)
    jitter = np.repeat(rng.standard_normal((len(clock) // 20 + 1, drive.shape[1])), 20, axis=0)[: len(clock)]
    drive = np.clip(drive * np.exp(0.1 * jitter), 0, 1)
    noise = np.deg2rad(0.15) * rng.standard_normal(angle.shape)  # rad
    return Recording(
        subject=person,
        task=task,
        trial=trial,
        posture=model.postures[posture],
        rate_hz=settings.emg_rate_hz,
        emg=surface_emg.synthesise(electrodes, sos, drive, angle[:, 0], settings.emg_rate_hz, rng),
        channels=model.muscles,
        angle=angle + settings.measurement_noise * noise,
        dofs=model.dofs,
        force=np.maximum(force, 0.0),
        muscles=model.muscles,
        force_source="truth",
        torque=torque,
        source="virtual",
    )
