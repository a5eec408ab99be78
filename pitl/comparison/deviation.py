"""The personal model of an angle (`pitl.learn.gaussian_process`), and the same without some of its parts.

Hyper-parameters are learned from each fold's source people alone, once for everybody whom the fold leaves out.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from pitl.comparison import heads
from pitl.comparison.folds import without_perturbation
from pitl.comparison.task import MethodResult, Task
from pitl.files import one_lapack_thread
from pitl.learn import devices, played, stacked
from pitl.learn import gaussian_process as gp
from pitl.learn.deviation import fit_person, fit_without_each, read_rows, read_samples
from pitl.learn.gaussian_process import Played, Units
from pitl.learn.model import Model
from pitl.learn.predict import Estimate, predict_rows
from pitl.learn.prepare import prepare

WITHOUT: Mapping[str, tuple[tuple[str, ...], ...]] = {  # of each of a method's processes: the `gp.PARTS` that it lacks
    "deviation": gp.PROCESSES,
    "deviation_features": ((),),
    "gain_offset_shrunk": (("smooth", "linear"),),
    "linear_features": (("smooth",),),
    "gp_generic_mean": (("linear",),),
    "gp_zero_mean": (("generic", "linear"),),
}
_BLOCKS = 4  # of folds, of which two at a time are left out of the models by which source people are played


def deviation(task: Task) -> MethodResult:
    """Processes with and without the generic model, weighed; forces are those of the personal head."""
    head, people = devices.together(
        [lambda: task.run_once("head_physics", heads.head_physics), lambda: fit_people(task, WITHOUT["deviation"])]
    )
    assert head.fitted is not None
    fitted, each = stacked.stack(people[p] for p in sorted(people)), None
    if task.config.evaluate.lost_channels:
        without = fit_people(task, WITHOUT["deviation"], fit_without_each)
        each = stacked.stack(without[p] for p in sorted(without))
    model = head.fitted.model.replace(deviation=fitted, deviation_without=each, generic=task.generic.physics.params)
    return MethodResult(_with_forces(predict_people(task, people), head.estimates), head.fitted._replace(model=model))


def deviation_features(task: Task) -> MethodResult:
    """Gain, offset, a Gaussian process on lagged log-envelopes and a linear function of the encoder's features."""
    return _run(task, "deviation_features")


def gain_offset_shrunk(task: Task) -> MethodResult:
    """Gain and offset alone, both shrunk towards the source people's."""
    return _run(task, "gain_offset_shrunk")


def linear_features(task: Task) -> MethodResult:
    """Gain, offset and a linear function of the frozen encoder's features, with learned priors."""
    return _run(task, "linear_features")


def gp_generic_mean(task: Task) -> MethodResult:
    """Gain, offset and a Gaussian process on lagged log-envelopes, alone."""
    return _run(task, "gp_generic_mean")


def gp_zero_mean(task: Task) -> MethodResult:
    """A Gaussian process on lagged envelopes that does not know the generic model."""
    return _run(task, "gp_zero_mean")


def _run(task: Task, name: str) -> MethodResult:
    """Everybody's angle with its standard deviation; forces are the generic model's, as nothing here changes them."""
    forces = predict_rows(task.generic.physics, task.prepared.samples, task.split.test)
    return MethodResult(_with_forces(predict_people(task, fit_people(task, WITHOUT[name])), forces))


def _with_forces(
    angles: Mapping[int, tuple[np.ndarray, np.ndarray]], forces: Sequence[Estimate]
) -> tuple[Estimate, ...]:
    return tuple(Estimate(angles[p][0], f.force, angles[p][1]) for p, f in enumerate(forces))


def fit_people(
    task: Task, without: tuple[tuple[str, ...], ...], fit: Callable[..., gp.Deviation] = fit_person
) -> dict[int, gp.Deviation]:
    """Everybody's deviation, with the prior that the source people of their fold teach."""
    source, angle = read_samples(task.prepared.samples, played.trials(task.prepared)), task.prepared.samples.angle
    result = {}
    folds = range(len(task.folds))
    for k in folds:
        sources_played(task, k)  # one after the other, as folds share generic models
    with one_lapack_thread():  # around both threads: what one of them lifts would be lifted for the other
        priors = devices.together([partial(learn_prior, task, k, without) for k in folds])
    for fold, prior in zip(task.folds, priors, strict=True):
        for p in fold.target:
            rows = task.split.calibration[p][task.split.labelled[p]]
            result[p] = fit(_generic(task, p), prior, source, rows, np.asarray(angle))
    return result


def predict_people(task: Task, people: Mapping[int, gp.Deviation]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Angle and standard deviation (W, D) [rad] on people's test rows."""
    source = read_samples(task.prepared.samples, played.trials(task.prepared))
    return {
        p: gp.predict_along(person, read_rows(_generic(task, p), source, task.split.test[p]))
        for p, person in people.items()
    }


def _generic(task: Task, person: int) -> Model:
    return stacked.take(task.generic.physics, person)


def learn_prior(task: Task, k: int, without: tuple[tuple[str, ...], ...]) -> gp.AnglePrior:
    """What the source people of fold `k` say of a new one."""
    units, sources = sources_played(task, k)

    def learn(absent: tuple[str, ...]) -> gp.Hyper:
        return task.share(
            f"hyper-parameters in fold {k} without {absent}", lambda: gp.fit_hyper(units, sources, absent)
        )

    return gp.AnglePrior(tuple(learn(absent) for absent in without), units)


def sources_played(task: Task, k: int) -> tuple[Units, Played]:
    """`play`, once for all methods."""
    return task.share(f"played in fold {k}", lambda: play(task, k))


def play(task: Task, k: int) -> tuple[Units, Played]:
    """The source people of fold `k` played as new, their recordings as they are."""
    clean = without_perturbation(task.config)
    prepared = task.prepared if clean == task.config else prepare(clean, task.prepared.cohort)
    fold, everybody = task.folds[k], range(len(prepared.cohort.subjects))
    people, settings = tuple(sorted((*fold.source, *fold.held_out))), task.config.train
    all_learn = all(len(f.source) + len(f.held_out) + len(f.target) == len(everybody) for f in task.folds)
    if len(task.folds) < _BLOCKS or not all_learn:
        models = played.train_without_each(prepared, people, settings, jax.random.fold_in(task.key, k))
        return played.play_sources(prepared, models)
    # a model without two blocks of folds serves the folds of both
    block = {p: j % _BLOCKS for j, f in enumerate(task.folds) for p in f.target}
    models = {}
    for p in people:
        away = {k % _BLOCKS, block[p]}
        others = tuple(q for q in everybody if block[q] not in away)
        key = jax.random.fold_in(task.key, sum(1 << b for b in away))
        train = partial(played.train_quickly, prepared, others, settings, key)
        models[p] = task.share(f"generic model without blocks {sorted(away)}", train)
    return played.play_sources(prepared, models)
