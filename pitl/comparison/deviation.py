"""The recalibrated generic model plus a Gaussian process (`gaussian_process`), and the same without some parts.

Hyper-parameters are learned from each fold's source people alone, once for everybody whom the fold leaves out.
"""

from collections.abc import Mapping

import jax
import numpy as np

from pitl.comparison.folds import without_perturbation
from pitl.comparison.task import MethodResult, Task
from pitl.learn import gaussian_process as gp
from pitl.learn import played
from pitl.learn.deviation import fit_person, read_rows, read_samples
from pitl.learn.gaussian_process import Played, Units
from pitl.learn.predict import Estimate, predict_rows
from pitl.learn.prepare import prepare

WITHOUT: Mapping[str, tuple[str, ...]] = {  # the parts of `pitl.learn.gaussian_process.PARTS` that each method lacks
    "deviation": gp.USUALLY_WITHOUT,
    "deviation_features": (),
    "gain_offset_shrunk": ("smooth", "linear"),
    "linear_features": ("smooth",),
    "gp_zero_mean": ("generic", "linear"),
}


def deviation(task: Task) -> MethodResult:
    """Gain, offset and a Gaussian process on lagged log-envelopes."""
    return _run(task, "deviation")


def deviation_features(task: Task) -> MethodResult:
    """The same with a linear function of the frozen encoder's features."""
    return _run(task, "deviation_features")


def gain_offset_shrunk(task: Task) -> MethodResult:
    """Gain and offset alone, both shrunk towards the source people's."""
    return _run(task, "gain_offset_shrunk")


def linear_features(task: Task) -> MethodResult:
    """Gain, offset and a linear function of the frozen encoder's features, with learned priors."""
    return _run(task, "linear_features")


def gp_zero_mean(task: Task) -> MethodResult:
    """A Gaussian process on lagged envelopes that does not know the generic model."""
    return _run(task, "gp_zero_mean")


def _run(task: Task, name: str) -> MethodResult:
    """Everybody's angle with its standard deviation; forces are the generic model's, as nothing here changes them."""
    forces = predict_rows(task.generic.physics, task.prepared.samples, task.split.test)
    angles = {p: a for k in range(len(task.folds)) for p, a in estimate(task, k, WITHOUT[name]).items()}
    return MethodResult(tuple(Estimate(angles[p][0], f.force, angles[p][1]) for p, f in enumerate(forces)))


def estimate(task: Task, k: int, without: tuple[str, ...]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Angle and standard deviation (W, D) [rad] on the test rows of everybody whom fold `k` leaves out."""
    units, sources = task.share(f"played in fold {k}", lambda: play(task, k))
    hyper = task.share(f"hyper-parameters in fold {k} without {without}", lambda: gp.fit_hyper(units, sources, without))
    prior = gp.AnglePrior(hyper, units)
    source, result = read_samples(task.prepared.samples, played.trials(task.prepared)), {}
    angle = np.asarray(task.prepared.samples.angle)
    for p in task.folds[k].target:
        model = jax.tree.map(lambda x, p=p: x[p], task.generic.physics)
        rows = task.split.calibration[p][task.split.labelled[p]]
        person = fit_person(model, prior, source, rows, angle)
        result[p] = gp.predict_along(person, read_rows(model, source, task.split.test[p]))
    return result


def play(task: Task, k: int) -> tuple[Units, Played]:
    """The source people of fold `k` played as new, their recordings as they are."""
    fold, clean = task.folds[k], without_perturbation(task.config)
    prepared = task.prepared if clean == task.config else prepare(clean, task.prepared.cohort)
    people = tuple(sorted((*fold.source, *fold.held_out)))
    return played.play_sources(prepared, people, task.config.train, jax.random.fold_in(task.key, k))
