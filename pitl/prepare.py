"""From a configuration to everything that training and evaluation read: cohort, physics, labels, splits."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl import external, loss, models, usable, windows
from pitl.config import Config
from pitl.errors import PitlError
from pitl.io import cohort_file
from pitl.io.cohort import each_person
from pitl.msk import dynamics, redundancy, weak
from pitl.msk.model import MusculoskeletalModel
from pitl.msk.muscle import calibrate_slack_length
from pitl.msk.scaling import conform, scale_to_body
from pitl.net.head import OutputScale
from pitl.net.network import Network
from pitl.recording import Cohort, Subject
from pitl.windows import Samples, Table


class Prepared(NamedTuple):
    """A cohort ready for use."""

    cohort: Cohort
    table: Table
    samples: Samples
    models: MusculoskeletalModel  # stacked over subjects
    net: Network
    taps: weak.Kernel
    force_source: str  # what the force labels are
    reserve_nm: float  # largest torque that static optimisation could not give to the muscles
    learns_forces: bool = True  # whether there are force labels and training may see them


class Fold(NamedTuple):
    """One split of the subjects. Nobody is on two sides."""

    source: tuple[int, ...]  # trained on
    held_out: tuple[int, ...]  # source subjects kept out of training for early stopping
    target: tuple[int, ...]


def load_cohort(config: Config, progress: Callable[[str], None] | None = None) -> Cohort:
    """Simulates or reads the cohort that the configuration names.

    Raises:
        PitlError: if nothing readable is found, or a subject or task that is asked for is not there.
    """
    if progress:
        progress("simulating the virtual cohort" if config.data.kind == "virtual" else f"reading {config.data.dir}")
    if config.data.kind == "virtual":
        from pitl import virtual
        from pitl.virtual import imported

        settings = virtual.VirtualSettings(**config.virtual.model_dump())
        if config.model.name in (None, "wrist"):
            cohort = virtual.simulate(settings)
        else:
            cohort = imported.simulate(
                _with_settings(config, models.load(config.model.name)), config.model.name, settings
            )
    else:
        from pitl.io.folder import read_folder

        if config.data.dir is None:
            raise PitlError("this configuration reads recordings from a folder: name it with --data DIR.")
        cohort = read_folder(Path(config.data.dir), config.data)
    return _usable(_selected(cohort, config), config, progress)


def people_one_by_one(config: Config, progress: Callable[[str], None]) -> Iterator[Cohort]:
    """The cohort that the configuration names, a person at a time; of a cohort.toml no more than one is in memory.

    Who cannot be used is left out, and `progress` is told why.

    Raises:
        PitlError: if nothing readable is found, or a subject or task that is asked for is not there.
    """
    folder = None if config.data.dir is None else Path(config.data.dir)
    if config.data.kind not in ("cohort", "auto") or folder is None or not (folder / cohort_file.NAME).exists():
        whole = load_cohort(config, progress)
        yield from (dataclasses.replace(whole, subjects=(s,)) for s in whole.subjects)
        return
    listed = list(each_person(folder))
    missing = set(config.data.subjects) - {name for name, _ in listed}
    if missing:
        raise PitlError(f"data.subjects names {', '.join(sorted(missing))}; {folder} has not got them.")
    everyone = config.model_copy(update={"data": config.data.model_copy(update={"subjects": ()})})
    for name, read in listed:
        if config.data.subjects and name not in config.data.subjects:
            continue
        try:
            one = _usable(_selected(read(), everyone), config, progress)
        except PitlError as e:
            progress(f"{name} is left out: {e}")
            continue
        yield one


def prepare(config: Config, cohort: Cohort) -> Prepared:
    """Filters, labels and uploads a cohort.

    Raises:
        PitlError: if force labels are asked for and a recording has none.
    """
    base = chosen_model(config, cohort)
    table = windows.tabulate(cohort, config, base.postures, len(base.dofs))
    own = [_own_model(config, base, s) for s in cohort.subjects]
    everyone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *own)
    torque, force, reserve = _labels(config, cohort, table, everyone)
    everyone = _mistaken(config, everyone)  # after the labels, which are not the learner's
    samples = windows.upload(table, force, torque)
    net = network_of(config, table.jets.shape[2], base)
    taps = weak.kernel(config.personalize.weak_kernel_s, config.emg.rate_hz)
    source = {
        "recorded": cohort.subjects[0].recordings[0].force_source or "none",
        "static_optimisation": "static_optimisation",
        "none": "none",
    }[config.data.force_labels]
    learns = source != "none" and config.train.force_weight > 0
    return Prepared(cohort, table, samples, everyone, net, taps, source, reserve, learns)


def network_of(config: Config, channels: int, model: MusculoskeletalModel) -> Network:
    """The network that the configuration describes, for some channels and the model's postures."""
    return Network(
        inputs=channels,
        postures=len(model.postures),
        window=windows.window_samples(config),
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


def chosen_model(config: Config, cohort: Cohort) -> MusculoskeletalModel:
    """The model of the configuration, or the cohort's own joint, with the configuration's passive properties.

    Raises:
        PitlError: there is no such model, its coordinates are not those of the recordings, or a property does not have
            one value a coordinate.
    """
    base = models.load(config.model.name or cohort.joint)
    for subject in cohort.subjects:
        for r in subject.recordings:
            if r.dofs and r.dofs != base.dofs:
                raise PitlError(
                    f"{r.source} ({subject.name}/{r.trial}): angles are of {', '.join(r.dofs)}; the model {base.name} "
                    f"has {', '.join(base.dofs)}, in this order: rename the coordinates or choose another model."
                )
    return _with_settings(config, base)


def _with_settings(config: Config, model: MusculoskeletalModel) -> MusculoskeletalModel:
    for name in ("damping", "stiffness"):
        values = getattr(config.model, name)
        if values and len(values) != len(model.dofs):
            raise PitlError(
                f"model.{name} has {len(values)} value(s); the model {model.name} has {len(model.dofs)} coordinates "
                f"({', '.join(model.dofs)}): give one for each."
            )
        if values:
            model = dataclasses.replace(model, **{name: jnp.asarray(values, jnp.float32)})
    return calibrate_slack_length(model) if config.model.slack == "calibrated" else model


def _own_model(config: Config, base: MusculoskeletalModel, subject: Subject) -> MusculoskeletalModel:
    """A person's own stored model, or the common one scaled to their body."""
    if subject.model is not None and config.personalize.scaled:
        return conform(_with_settings(config, models.load(subject.model)), base, subject.name)
    return scale_to_body(base, subject.height_m, subject.mass_kg, subject.sex) if config.personalize.scaled else base


def _mistaken(config: Config, models: MusculoskeletalModel) -> MusculoskeletalModel:
    """The learner's models with the errors that the wrong-physics control puts into them."""
    heavier, longer = config.model.inertia_factor, config.model.moment_arm_factor
    if heavier == 1.0 and longer == 1.0:
        return models
    return dataclasses.replace(
        models,
        pseudo_inertia=models.pseudo_inertia * jnp.float32(heavier),
        path_scale=models.path_scale * jnp.float32(longer),
    )


def folds(config: Config, subjects: int) -> tuple[Fold, ...]:
    """Splits the subjects: everybody is a target exactly once.

    Raises:
        PitlError: if there are too few subjects to train on, stop on and test on.
    """
    if subjects < 3:
        raise PitlError(
            f"the cohort has {subjects} subject(s); leaving one out needs at least 3: one to test on, one to stop "
            "training on and one to train on."
        )
    count = subjects if config.evaluate.folds == "loso" else min(int(config.evaluate.folds), subjects)
    found = []
    for k in range(count):
        target = tuple(s for s in range(subjects) if s % count == k)
        others = [s for s in range(subjects) if s % count != k]
        if len(others) < 2:
            raise PitlError(f"evaluate.folds = {count} leaves {len(others)} subject(s) to train on; use more folds.")
        # rotate, so that not the same people decide when to stop in every fold
        turned = others[k % len(others) :] + others[: k % len(others)]
        turned = turned[: config.evaluate.sources]
        held = max(1, round(config.train.holdout_fraction * len(turned)))
        held = min(held, len(turned) - 1)
        fold = Fold(tuple(sorted(turned[held:])), tuple(sorted(turned[:held])), target)
        assert not set(fold.target) & (set(fold.source) | set(fold.held_out)), "a subject is on two sides"
        found.append(fold)
    return tuple(found)


def statistics(prepared: Prepared, fold: Fold) -> tuple[loss.Spread, OutputScale]:
    """Units of the loss and the outputs, from the source subjects of a fold alone.

    Where training may not see the force labels that there are, they are still the units in which forces are judged, but
    the network does not start from their mean.
    """
    rows = windows.rows_of(prepared.table, "all", subjects=fold.source + fold.held_out, window=prepared.net.window)
    strength = np.asarray(prepared.models.max_isometric_force)[list(fold.source)].mean(axis=0)
    angle, force, torque = (
        np.asarray(x)[rows] for x in (prepared.samples.angle, prepared.samples.force, prepared.samples.torque)
    )
    spread, scale = loss.source_statistics(angle, force, torque, strength, labelled=prepared.force_source != "none")
    return spread, scale if prepared.learns_forces else loss.without_forces(scale)


def _usable(cohort: Cohort, config: Config, progress: Callable[[str], None] | None) -> Cohort:
    """Masks spoilt samples and leaves out by themselves what would stop the others; says so."""
    window_s, part, after = config.window.seconds, config.data.calibration_fraction, config.data.test_after
    shortest_s = max(2 * window_s / part, (window_s + max(config.data.gap_s, window_s)) / (1 - part)) + 0.1
    if after is not None:
        shortest_s = max(shortest_s, window_s / (1 - after) + 0.1)
    found = usable.usable(cohort, shortest_s, part)
    if progress:
        for sentence in found.left_out:
            progress(sentence)
    return dataclasses.replace(found, notes=(*found.notes, *found.left_out))


def _selected(cohort: Cohort, config: Config) -> Cohort:
    wanted, tasks = set(config.data.subjects), set(config.data.tasks)
    names = {s.name for s in cohort.subjects}
    if wanted - names:
        raise PitlError(f"data.subjects names {', '.join(sorted(wanted - names))}; found {', '.join(sorted(names))}.")
    kept = []
    for s in cohort.subjects:
        recordings = tuple(r for r in s.recordings if not tasks or r.task in tasks)
        if (not wanted or s.name in wanted) and recordings:
            kept.append(dataclasses.replace(s, recordings=recordings))
    if not kept:
        raise PitlError(f"no recording has a task among {', '.join(sorted(tasks))}; check data.tasks.")
    return dataclasses.replace(cohort, subjects=tuple(kept))


@jax.jit
def _inverse_dynamics(models: MusculoskeletalModel, subject: Array, q: Array, qd: Array, qdd: Array, posture: Array):
    own = jax.tree.map(lambda x: x[subject], models)
    return jax.vmap(dynamics.inverse_dynamics)(own, q, qd, qdd, posture)


def _labels(
    config: Config, cohort: Cohort, table: Table, everyone: MusculoskeletalModel
) -> tuple[np.ndarray, np.ndarray, float]:
    """Torque and force of every row, recorded or computed from the measured motion."""
    f = np.float32
    motion = [jnp.asarray(x, f) for x in table.motion]
    posture = jnp.asarray(table.posture, np.int32)
    torque = table.torque
    if torque is None:
        torque = np.asarray(_inverse_dynamics(everyone, jnp.asarray(table.subject, np.int32), *motion, posture))
        carried = external.torque(table, everyone)
        torque = torque if carried is None else torque - carried
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
        own = jax.tree.map(lambda x, s=s: x[s], everyone)
        # ideal muscles: a rigid-tendon force-length curve that nobody calibrated would put its errors into the labels
        found = redundancy.static_optimisation(
            own,
            motion[0][rows],
            motion[1][rows],
            jnp.asarray(torque[rows], f),
            posture[rows],
            force_length_velocity=False,
        )
        force[rows] = np.asarray(found.force)
        reserve = max(reserve, float(jnp.max(jnp.abs(found.reserve))))
    return torque, force, reserve
