"""The virtual cohort: people, trials and recordings from one seed."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.errors import PitlError
from pitl.msk import model as msk
from pitl.msk.muscle import calibrate_slack_length
from pitl.recording import Cohort, Recording, Subject
from pitl.virtual import motion, reference, surface_emg
from pitl.virtual.settings import VirtualSettings
from pitl.virtual.subject import UNRECORDED, Person, draw

_STEP_S = 5e-4  # s, longest step of the integration
_WARM_UP_S = 1.5  # s, simulated before the recording begins
_TAIL_S = 0.07  # s, simulated after it ends: EMG precedes force
_NOISE_HZ = 100.0  # at which the drive's noise is drawn
_LARGEST_LEAD_S = 0.12  # s
# Trials are simulated in groups of this fixed size, the last one filled up: whatever a trial's neighbours are, it runs
# in the same place of the same program, which makes a small cohort a bit-identical part of a larger one.
_LANES = 32


class _Task(NamedTuple):
    subject: int
    name: str  # of the trial
    task: reference.Task
    place: float
    posture: str
    key: tuple[int, int, int]  # of its random numbers


def simulate(settings: VirtualSettings, progress: Callable[[int, int], None] | None = None) -> Cohort:
    """Simulates people who move their wrists, and what a laboratory would record of it.

    Angles are as a goniometer reads them and MVCs as recorded. `force` and `torque` are the truth: tendon forces of the
    muscles under the electrodes, and the torque of all muscles, palmaris longus included. A subject's `truth` holds the
    hidden parameters (muscle arrays in the order of `truth["muscles"]`) and per trial, as `"<trial>/<name>"`, `angle`
    [rad], `activation` (T, N), `friction`, `ligament` and `unrecorded` torque [N m].

    Everything follows from the seed: the same settings give the same bits on one machine, and more subjects leave the
    earlier ones as they were. Cost is linear in subjects, trials and seconds.

    Args:
        settings: who, what, how long, and which effects.
        progress: called with the trials done and all trials.

    Raises:
        PitlError: if no trial is asked for, or a posture is not known.
    """
    wrist = calibrate_slack_length(msk.builtin("wrist"))
    names = _trials(settings)
    for posture in settings.postures:
        msk.posture_index(wrist, posture)
    people = [draw(settings, wrist, s) for s in range(settings.subjects)]
    tasks = [trial._replace(subject=s, key=(s, *trial.key[1:])) for s in range(settings.subjects) for trial in names]
    recordings: list[list[Recording]] = [[] for _ in people]
    truths = [_hidden(p, wrist) for p in people]
    sos = surface_emg.design(settings.emg_rate_hz)
    done = 0
    for group, samples in _simulated(settings, wrist, people, tasks):
        for lane, trial in enumerate(group):
            s = trial.subject
            record, hidden = _record(settings, wrist, people[s], trial, sos, samples, lane)
            recordings[s].append(record)
            truths[s] |= {f"{trial.name}/{k}": v for k, v in hidden.items()}
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
    return Cohort(name="virtual wrist", joint="wrist", subjects=subjects)


def _name(subject: int) -> str:
    return f"V{subject + 1:02d}"


def _trials(settings: VirtualSettings) -> list[_Task]:
    """The trials of one person."""
    counts: tuple[tuple[reference.Task, int], ...] = (
        ("rhythmic", settings.rhythmic_trials),
        ("random", settings.random_trials),
        ("hold", settings.hold_trials),
        ("rest", settings.rest_trials),
    )
    trials = []
    for kind, (task, count) in enumerate(counts):
        for k in range(count):
            posture = settings.postures[len(trials) % len(settings.postures)] if settings.postures else ""
            place = k / (count - 1) if count > 1 else 0.5
            trials.append(_Task(0, f"{task}{k + 1}", task, place, posture, (0, 1 + kind, k)))
    if not trials or not settings.postures:
        raise PitlError(
            "virtual: no trial or no posture is asked for; set rhythmic_trials or random_trials, and postures."
        )
    return trials


def _simulated(
    settings: VirtualSettings, wrist: msk.MusculoskeletalModel, people: list[Person], tasks: list[_Task]
) -> Iterator[tuple[list[_Task], motion.Sample]]:
    """Simulates group after group; samples have axes (T, lane) and start at the recording's first sample."""
    rate = settings.emg_rate_hz
    finer = max(1, math.ceil(1 / (rate * _STEP_S) - 1e-9))  # steps per sample
    step_rate = rate * finer  # Hz
    warm_up = round(_WARM_UP_S * rate) * finer
    steps = warm_up + (round(settings.seconds * rate) + round(_TAIL_S * rate)) * finer
    # The processor even where there is an accelerator: a scan of tiny steps is bound by launches there, and the same
    # seed must give the same people everywhere.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for start in range(0, len(tasks), _LANES):
            group = tasks[start : start + _LANES]
            full = (group * math.ceil(_LANES / len(group)))[:_LANES]
            prepared = {
                t.name + str(t.subject): _prepare(wrist, people[t.subject], t, steps, step_rate, settings)
                for t in group
            }
            lanes = [prepared[t.name + str(t.subject)] for t in full]
            trials, plans = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), jnp.float32), *lanes)
            samples = _run(trials, plans, 1 / step_rate, round(step_rate / _NOISE_HZ), warm_up, finer)
            yield group, jax.tree.map(np.asarray, samples)


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _run(
    trials: motion.Trial, targets: motion.Plan, step: float, block: int, warm_up: int, finer: int
) -> motion.Sample:
    believed = jax.vmap(motion.feed_forward)(trials, targets.angle, targets.rate, targets.torque)
    lead = jnp.round(trials.control.lead_s / step).astype(jnp.int32)
    steps = targets.angle.shape[1] - round(_LARGEST_LEAD_S / step)

    def ahead(values: jax.Array, by: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(values, by, steps)

    plans = motion.Plan(
        targets.angle[:, :steps],
        targets.rate[:, :steps],
        jax.vmap(ahead)(believed, lead),
    )
    samples = motion.run(trials, plans, step, block)
    return jax.tree.map(lambda x: x[warm_up::finer], samples)


def _prepare(
    wrist: msk.MusculoskeletalModel,
    person: Person,
    trial: _Task,
    steps: int,
    step_rate: float,
    settings: VirtualSettings,
) -> tuple[motion.Trial, motion.Plan]:
    """One lane's constants and target; the plan's third entry still is the target's acceleration [rad/s2]."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=trial.key))
    posture = msk.posture_index(wrist, trial.posture)
    target = reference.plan(trial.task, trial.place, rng, steps + round(_LARGEST_LEAD_S * step_rate), step_rate)
    blocks = math.ceil(steps / round(step_rate / _NOISE_HZ))
    noise = rng.standard_normal((blocks, len(person.muscles.strength)), np.float32)
    lane = motion.Trial(
        person.joint,
        person.muscles,
        person.control,
        person.muscles.length[posture],
        np.asarray(wrist.gravity)[posture],
        np.asarray(wrist.base_orientation)[posture],
        np.asarray(wrist.rest_angle)[posture, 0] + person.joint.rest_shift,
        np.asarray(target.effort),
        noise,
    )
    return lane, motion.Plan(target.angle, target.rate, target.acceleration)


def _record(
    settings: VirtualSettings,
    wrist: msk.MusculoskeletalModel,
    person: Person,
    trial: _Task,
    sos: np.ndarray,
    samples: motion.Sample,
    lane: int,
) -> tuple[Recording, dict[str, np.ndarray]]:
    """What the laboratory records of one simulated trial, and what it cannot know."""
    rate = settings.emg_rate_hz
    length = round(settings.seconds * rate)
    recorded = len(wrist.muscles)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(*trial.key, 1)))
    early = round(float(person.electrodes.delay_s) * rate)
    drive = samples.drive[early : early + length, lane]
    angle, force, arm = (x[:length, lane] for x in (samples.angle, samples.force, samples.arm))  # rad, N, m
    emg = surface_emg.synthesise(person.electrodes, sos, drive, angle, rate, rng)  # V
    torque = (arm * force).astype(np.float32)  # N m, of each muscle
    record = Recording(
        subject=_name(trial.subject),
        task=trial.task,
        trial=trial.name,
        posture=trial.posture,
        rate_hz=rate,
        emg=emg,
        channels=wrist.muscles,
        angle=_goniometer(person, angle, rng)[:, None],
        dofs=wrist.dofs,
        force=np.ascontiguousarray(force[:, :recorded]),
        muscles=wrist.muscles,
        force_source="truth",
        torque=torque.sum(axis=1, keepdims=True),
        source="virtual",
    )
    hidden = {
        "angle": angle.copy(),
        "activation": samples.activation[:length, lane].copy(),
        "friction": samples.friction[:length, lane].copy(),
        "ligament": samples.ligament[:length, lane].copy(),
        "unrecorded": torque[:, recorded].copy(),
    }
    return record, hidden


def _goniometer(person: Person, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T,) angle as read [rad]."""
    g = person.goniometer
    read = g.gain * angle + g.offset + g.noise * rng.standard_normal(len(angle), np.float32)
    if g.step > 0:
        read = g.step * np.round(read / g.step)
    return read.astype(np.float32)


def _hidden(person: Person, wrist: msk.MusculoskeletalModel) -> dict[str, np.ndarray]:
    """Every hidden parameter under one flat name."""
    values: dict[str, np.ndarray] = {"muscles": np.array((*wrist.muscles, UNRECORDED))}
    for part in (person.joint, person.muscles, person.control, person.electrodes):
        values |= {k: np.asarray(v) for k, v in part._asdict().items()}
    values |= {f"goniometer_{k}": np.asarray(v) for k, v in person.goniometer._asdict().items()}
    values["musculotendon_length"] = values.pop("length")
    return values
