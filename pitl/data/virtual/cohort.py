"""The virtual cohort: people, trials and recordings from one seed."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import VirtualConfig
from pitl.data.recording import Cohort, Load, Recording, Subject
from pitl.data.virtual import foreign, motion, reference, surface_emg, wrist_two
from pitl.data.virtual.subject import UNRECORDED, Joint, VirtualPerson, draw
from pitl.errors import PitlError
from pitl.mechanics import model as msk
from pitl.mechanics.joints import WRIST
from pitl.mechanics.muscle import calibrate_slack_length
from pitl.mechanics.planar import builtin

_STEP_S = 5e-4  # s, longest step of the integration
_WARM_UP_S = 1.5  # s, simulated before the recording begins
_TAIL_S = 0.07  # s, simulated after it ends: EMG precedes force
_NOISE_HZ = 100.0  # at which the drive's noise is drawn
# Trials are simulated in groups of this fixed size, the last one filled up: whatever a trial's neighbours are, it runs
# in the same place of the same program, which makes a small cohort a bit-identical part of a larger one.
_LANES = 32


_Sample = motion.Sample | wrist_two.HandSample


class _Task(NamedTuple):
    subject: int
    name: str  # of the trial
    task: reference.Task
    place: float
    posture: str
    key: tuple[int, int, int]  # of its random numbers
    load: Load | None = None  # as the laboratory knows it
    direction: str = ""  # of an isometric effort


def simulate(settings: VirtualConfig, progress: Callable[[int, int], None] | None = None) -> Cohort:
    """Simulates people who move their wrists, and what a laboratory would record of it.

    Angles are as a goniometer reads them and MVCs as recorded. `force` and `torque` are the truth: tendon forces of the
    muscles under the electrodes, and the torque of all muscles, palmaris longus included. A subject's `truth` holds the
    hidden parameters (muscle arrays in the order of `truth["muscles"]`) and per trial, as `"<trial>/<name>"`, `angle`
    [rad], `activation` (T, N), `friction`, `ligament` and `unrecorded` torque [N m], and `load_place` [m] of a load.

    Everything follows from the seed: the same settings give the same bits on one machine, and more subjects leave the
    earlier ones as they were. Cost is linear in subjects, trials and seconds.

    Args:
        settings: who, what, how long, and which effects.
        progress: called with the trials done and all trials.

    Raises:
        PitlError: if no trial is asked for, or a posture is not known.
    """
    wrist = calibrate_slack_length(builtin(settings.joint))
    two = (wrist_two.draw_hand, wrist_two.draw_muscles) if settings.joint == "wrist2" else None
    people = [draw(settings, wrist, s, two) for s in range(settings.subjects)]
    tasks = [task for s in range(settings.subjects) for task in _tasks(settings, s)]
    recordings: list[list[Recording]] = [[] for _ in people]
    truths = [_hidden(p, wrist) for p in people]
    sos = surface_emg.design(settings.emg_rate_hz)
    done = 0
    for group, samples in _simulated(settings, wrist, people, tasks):
        for lane, task in enumerate(group):
            s = task.subject
            record, hidden = _record(settings, wrist, people[s], task, sos, samples, lane)
            recordings[s].append(record)
            truths[s] |= {f"{task.name}/{k}": v for k, v in hidden.items()}
            done += 1
            if progress:
                progress(done, len(tasks))
    subjects = tuple(
        Subject(
            name=_name(s),
            recordings=tuple(recordings[s]),
            height_m=float(person.height),
            mass_kg=float(person.mass),
            mvc=surface_emg.maximum_voluntary(person.electrodes),
            truth=truths[s],
        )
        for s, person in enumerate(people)
    )
    return Cohort(name="virtual wrist", joint=settings.joint, subjects=subjects)


def _name(subject: int) -> str:
    return f"V{subject + 1:02d}"


def _tasks(settings: VirtualConfig, subject: int) -> list[_Task]:
    """What one person does."""
    counts: tuple[tuple[reference.Task, int], ...] = (
        ("rhythmic", settings.rhythmic_trials),
        ("random", settings.random_trials),
        ("hold", settings.hold_trials),
        ("rest", settings.rest_trials),
    )
    tasks = []
    for kind, (task, count) in enumerate(counts):
        for k in range(count):
            posture = settings.postures[len(tasks) % len(settings.postures)] if settings.postures else ""
            place = k / (count - 1) if count > 1 else 0.5
            tasks.append(_Task(subject, f"{task}{k + 1}", task, place, posture, (subject, 1 + kind, k)))
    for k in range(settings.load_trials):
        posture = settings.load_postures[k % len(settings.load_postures)]
        place = settings.load_place_m[k % len(settings.load_place_m)]  # m
        load = Load(settings.load_kg[k % len(settings.load_kg)], (place, 0.0, 0.0), "hand")
        tasks.append(_Task(subject, f"load{k + 1}", "load", 0.5, posture, (subject, 1 + len(counts), k), load))
    for k in range(settings.effort_trials):
        direction = wrist_two.DIRECTIONS[k % len(wrist_two.DIRECTIONS)]
        key = (subject, 2 + len(counts), k)
        tasks.append(_Task(subject, f"effort{k + 1}", "effort", 0.5, settings.postures[0], key, direction=direction))
    if settings.joint == "wrist" and settings.effort_trials or settings.joint == "wrist2" and settings.load_trials:
        raise PitlError(
            "the virtual wrist makes efforts only with two coordinates, and carries loads only with one; set "
            "virtual.effort_trials = 0 or joint = 'wrist2', virtual.load_trials = 0 or joint = 'wrist'."
        )
    if settings.dynamics == "mujoco" and settings.joint != "wrist2":
        raise PitlError("MuJoCo simulates the wrist with two coordinates alone; set virtual.joint = 'wrist2'.")
    if not tasks or not settings.postures:
        raise PitlError(
            "the virtual cohort has no trials or no postures; set rhythmic_trials or random_trials, and postures."
        )
    return tasks


def _simulated(
    settings: VirtualConfig, wrist: msk.MusculoskeletalModel, people: list[VirtualPerson], tasks: list[_Task]
) -> Iterator[tuple[list[_Task], _Sample]]:
    """Simulates group after group; samples have axes (T, lane) and start at the recording's first sample."""
    rate = settings.emg_rate_hz
    finer = max(1, math.ceil(1 / (rate * _STEP_S) - 1e-9))  # steps per sample
    step_rate = rate * finer  # Hz
    warm_up = round(_WARM_UP_S * rate) * finer
    steps = warm_up + (round(settings.seconds * rate) + round(_TAIL_S * rate)) * finer
    ready = None
    if settings.dynamics == "mujoco":
        for task in tasks:
            lane = _prepare(settings, wrist, people[task.subject], task, steps, step_rate)
            samples = foreign.run(*lane, 1 / step_rate, round(step_rate / _NOISE_HZ))
            yield [task], jax.tree.map(lambda x: x[warm_up::finer, None], samples)
        return
    for start in range(0, len(tasks), _LANES):
        group = tasks[start : start + _LANES]
        lanes = [_prepare(settings, wrist, people[t.subject], t, steps, step_rate) for t in group]
        full = itertools.islice(itertools.cycle(lanes), _LANES)
        trials, targets, noise = jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float32), *full)
        with jax.default_device(_processor()):
            samples = _run(trials, targets, noise, 1 / step_rate, round(step_rate / _NOISE_HZ), warm_up, finer)
        # this group is simulated in the background while the caller makes the EMG of the one before
        if ready:
            yield ready[0], jax.tree.map(np.asarray, ready[1])
        ready = group, samples
    if ready:
        yield ready[0], jax.tree.map(np.asarray, ready[1])


def _processor() -> jax.Device:
    """The CPU even where there is an accelerator, on which a scan of tiny steps waits for launches.

    It also gives the same seed the same people with and without one. Only JAX_PLATFORMS can rule it out.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _run(
    trials: motion.SimulatedTrial | wrist_two.HandTrial,
    targets: motion.MotionTarget | wrist_two.HandTarget,
    noise: jax.Array,
    step: float,
    block: int,
    warm_up: int,
    finer: int,
) -> _Sample:
    run: Any = wrist_two.run if isinstance(trials, wrist_two.HandTrial) else motion.run
    samples = run(trials, targets, jnp.swapaxes(noise, 0, 1), step, block)
    return jax.tree.map(lambda x: x[warm_up::finer], samples)


def _prepare(
    settings: VirtualConfig,
    wrist: msk.MusculoskeletalModel,
    person: VirtualPerson,
    task: _Task,
    steps: int,
    step_rate: float,
) -> tuple[Any, Any, np.ndarray]:
    """One lane: who and where, what they try, and the noise of their drive."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=task.key))
    posture = msk.posture_index(wrist, task.posture)
    beyond = round(motion.LARGEST_LEAD_S * step_rate)
    blocks = math.ceil(steps / round(step_rate / _NOISE_HZ))
    if isinstance(person.joint, wrist_two.Hand):
        length, effort = person.muscles.length[posture], 1.0  # m / rad^power
        if task.direction:
            whose = person.muscles, person.control, length
            target = wrist_two.effort_target(task.direction, whose, rng, steps + beyond, step_rate)
        else:
            target, effort = wrist_two.moving_target(task.task, task.place, rng, steps + beyond, step_rate)
        down, held = np.asarray(wrist.gravity)[posture], np.asarray(float(bool(task.direction)))
        parts = person.joint, person.muscles, person.control, length, down, np.asarray(effort), held
        return wrist_two.HandTrial(*parts), target, rng.standard_normal((blocks, len(length)), np.float32)
    plan = reference.plan(task.task, task.place, rng, steps + beyond, step_rate)
    trial = motion.SimulatedTrial(
        _with_load(settings, person.joint, task),
        person.muscles,
        person.control,
        person.muscles.length[posture],
        np.array(WRIST["gravity"][posture]),
        np.array(WRIST["base_orientation"][posture]),
        np.asarray(wrist.rest_angle)[posture, 0] + person.joint.rest_shift,
        np.asarray(plan.effort),
    )
    noise = rng.standard_normal((blocks, len(person.muscles.strength)), np.float32)
    return trial, motion.MotionTarget(plan.angle, plan.rate, plan.acceleration), noise


_GRIP_M = 0.003  # m, deviation of where a load is from where it was measured to be


def _load_place(settings: VirtualConfig, task: _Task) -> float:
    """Where a load really is, along the hand [m]."""
    if task.load is None:
        return 0.0
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(*task.key, 2)))
    return task.load.place_m[0] + settings.measurement_noise * _GRIP_M * rng.standard_normal()


def _with_load(settings: VirtualConfig, joint: Joint, task: _Task) -> Joint:
    """The hand together with what it holds, which the person knows as well as their hand."""
    if task.load is None:
        return joint
    place, added = _load_place(settings, task), task.load.mass_kg  # m, kg
    mass = joint.mass + added
    return joint._replace(
        mass=mass,
        lever=(joint.mass * joint.lever + added * place) / mass,
        inertia=joint.inertia + added * place**2,
    )


def _record(
    settings: VirtualConfig,
    wrist: msk.MusculoskeletalModel,
    person: VirtualPerson,
    task: _Task,
    sos: np.ndarray,
    samples: _Sample,
    lane: int,
) -> tuple[Recording, dict[str, np.ndarray]]:
    """What the laboratory records of one simulated trial, and what it cannot know."""
    rate = settings.emg_rate_hz
    length = round(settings.seconds * rate)
    channels = tuple(m for m in wrist.muscles if m != UNRECORDED)
    recorded = len(channels)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(*task.key, 1)))
    early = round(float(person.electrodes.delay_s) * rate)
    drive = samples.drive[early : early + length, lane]
    angle, force, arm = (x[:length, lane] for x in (samples.angle, samples.force, samples.arm))  # rad, N, m
    flexion = angle if angle.ndim == 1 else angle[:, 0]  # rad
    emg = surface_emg.synthesise(person.electrodes, sos, drive, flexion, rate, rng)  # V
    torque = (arm.reshape(*force.shape, -1) * force[..., None]).astype(np.float32)  # N m, of each muscle
    # the simulation has the muscles without an electrode last
    order = [(*channels, UNRECORDED).index(m) for m in wrist.muscles]
    read = _goniometer(person, angle, rng).reshape(length, -1)  # rad
    exerted = None
    if task.direction:
        assert isinstance(samples, wrist_two.HandSample)
        exerted = _dynamometer(settings, samples.exerted[:length, lane], rng)  # N m
    record = Recording(
        subject=_name(task.subject),
        task=task.task,
        trial=task.name,
        posture=task.posture,
        rate_hz=rate,
        emg=emg,
        channels=channels,
        angle=read,
        dofs=wrist.dofs,
        force=np.ascontiguousarray(force[:, order]),
        muscles=wrist.muscles,
        force_source="truth",
        torque=torque.sum(axis=1),
        source="virtual",
        load=task.load,
        dynamometer=exerted,
    )
    hidden = {
        "angle": angle.copy(),
        "activation": samples.activation[:length, lane].copy(),
        "friction": samples.friction[:length, lane].copy(),
        "ligament": samples.ligament[:length, lane].copy(),
        "unrecorded": np.squeeze(torque[:, recorded], axis=-1).copy()
        if angle.ndim == 1
        else torque[:, recorded].copy(),
    }
    if task.direction:
        hidden["direction"] = np.asarray(task.direction)
    if task.load:
        hidden["load_place"] = np.asarray(_load_place(settings, task))
    return record, hidden


def _goniometer(person: VirtualPerson, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Angles as read [rad], of the same shape."""
    g = person.goniometer
    read = g.gain * angle + g.offset + g.noise * rng.standard_normal(angle.shape, np.float32)
    if g.step > 0:
        read = g.step * np.round(read / g.step)
    return read.astype(np.float32)


_DEVICE_GAIN, _DEVICE_OFFSET_NM, _DEVICE_NOISE_NM = 0.02, 0.05, 0.02  # of a dynamometer, chosen


def _dynamometer(settings: VirtualConfig, exerted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 2) torque exerted on the device, as it reads it [N m]."""
    error = settings.measurement_noise * np.array([_DEVICE_GAIN, _DEVICE_OFFSET_NM, _DEVICE_NOISE_NM])
    gain, offset = 1 + error[0] * rng.standard_normal(2), error[1] * rng.standard_normal(2)  # , N m
    return (gain * exerted + offset + error[2] * rng.standard_normal(exerted.shape)).astype(np.float32)


def _hidden(person: VirtualPerson, wrist: msk.MusculoskeletalModel) -> dict[str, np.ndarray]:
    """Every hidden parameter under one flat name."""
    recorded = [m for m in wrist.muscles if m != UNRECORDED]
    values: dict[str, np.ndarray] = {"muscles": np.array((*recorded, UNRECORDED))}
    for part in (person.joint, person.muscles, person.control, person.electrodes):
        values |= {k: np.asarray(v) for k, v in part._asdict().items()}
    values |= {f"goniometer_{k}": np.asarray(v) for k, v in person.goniometer._asdict().items()}
    values["musculotendon_length"] = values.pop("length")
    return values
