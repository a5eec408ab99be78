"""Who is left out of what, and the generic models of every fold, kept in a folder.

Whoever wants the same model need not train it: one for each fold, seed and kind.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from pitl.config.methods import METHODS
from pitl.config.schema import Config, EvaluateConfig, PerturbConfig, TrainConfig
from pitl.config.toml import change, to_dict
from pitl.errors import PitlError
from pitl.learn import devices, model, train
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared

Kind = Literal["data", "physics"]
KINDS: tuple[Kind, ...] = ("physics", "data")


class Fold(NamedTuple):
    """One split of the subjects. Nobody is on two sides."""

    source: tuple[int, ...]  # trained on
    held_out: tuple[int, ...]  # source subjects who decide when to stop, where somebody does
    target: tuple[int, ...]


class GenericModels(NamedTuple):
    """Generic models, stacked over people: each person's comes from a fold in which they were not a source."""

    physics: Model  # trained with the equation of motion
    data_alone: Model | None  # None where no chosen method starts from it

    @property
    def data(self) -> Model:
        """Trained on data alone."""
        assert self.data_alone is not None, "a method starts from the model of data alone and does not say so"
        return self.data_alone


def kinds_of(methods: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of generic model that these methods start from; the one with physics always."""
    return KINDS if any(METHODS[m].without_physics for m in methods) else ("physics",)


def make_folds(evaluate: EvaluateConfig, settings: TrainConfig, subjects: int) -> tuple[Fold, ...]:
    """Splits the subjects: everybody is a target exactly once.

    Raises:
        PitlError: if there are too few subjects to train on, stop on and test on.
    """
    if subjects < 3:
        raise PitlError(
            f"the cohort has {subjects} subject(s); leaving one out needs at least 3: one to test on, one to stop "
            "training on and one to train on; for one or two people give their folder: pitl run FOLDER."
        )
    count = subjects if evaluate.folds == "loso" else min(int(evaluate.folds), subjects)
    folds = []
    for k in range(count):
        target = tuple(s for s in range(subjects) if s % count == k)
        others = [s for s in range(subjects) if s % count != k]
        if len(others) < 2:
            raise PitlError(f"evaluate.folds = {count} leaves {len(others)} subject(s) to train on; use more folds.")
        # rotate, so that not the same people decide when to stop in every fold
        turned = others[k % len(others) :] + others[: k % len(others)]
        turned = turned[: evaluate.sources]
        held = max(1, round(settings.holdout_fraction * len(turned)))
        held = min(held, len(turned) - 1)
        fold = Fold(tuple(sorted(turned[held:])), tuple(sorted(turned[:held])), target)
        assert not set(fold.target) & (set(fold.source) | set(fold.held_out)), "a subject is on two sides"
        folds.append(fold)
    return tuple(folds)


def without_perturbation(config: Config) -> Config:
    """The configuration that generic models are trained with: nobody trains on perturbed recordings."""
    return change(config, perturb=PerturbConfig().model_dump())


def decisive_settings(config: Config) -> dict[str, Any]:
    """Every setting on which the generic models depend, the folder of the recordings and the seed aside."""
    settings = to_dict(without_perturbation(config))
    for key in ("name", "perturb", "hill"):
        settings.pop(key)
    if config.train.hill_weight > 0:
        settings["hill"] = to_dict(config)["hill"]
    for key in ("dir", "labelled_fraction"):
        settings["data"].pop(key)
    personal, compared = settings["personalize"], settings["evaluate"]
    settings["personalize"] = {k: personal[k] for k in ("scaled", "weak_kernel_s")}
    settings["evaluate"] = {k: compared[k] for k in ("folds", "sources")}
    return settings


def folder(root: Path, seed: int, k: int, kind: Kind) -> Path:
    """Where the model of one seed, fold and kind lies."""
    return root / f"seed{seed}" / f"fold{k}" / kind


def train_fold(
    settings: TrainConfig,
    prepared: Prepared,
    fold: Fold,
    k: int,
    seed: int,
    kind: Kind,
    at: Path,
    say: Callable[[str], None],
) -> Model:
    """The model in the folder `at`, trained first if it is not there.

    Args:
        settings: of the training.
        prepared: without perturbation.
        fold: whom to train on.
        k: its number.
        seed: of the random numbers, together with the fold's number.
        kind: with the equation of motion or on data alone.
        at: folder of this model.
        say: told what came of the training.
    """
    if at.is_dir():
        try:
            there = Model.load(at)
            if [there.history.get(k) for k in ("kind", "seed", "fold")] != [kind, seed, k]:
                raise PitlError(f"{at} holds another model than that of seed {seed}, fold {k}, {kind}.")
            return there
        except PitlError as e:
            say(f"{e} It is made again now.")
    began = time.perf_counter()
    key = jax.random.key(seed * 1000 + k)
    made, found = train.train_generic(
        prepared, fold.source, fold.held_out, settings, key, with_physics=kind == "physics"
    )
    seconds = time.perf_counter() - began
    made = made.with_history(kind=kind, seed=seed, fold=k, target=_names(prepared, fold), seconds=seconds)
    if devices.first():
        made.save(at)
    say(f"  seed {seed} fold {k} {kind:8s} {found.steps:5d} steps, loss {made.history['loss']:.3f}, {seconds:.1f} s")
    return made


def stack_over_people(prepared: Prepared, split: tuple[Fold, ...], pairs: list[dict[Kind, Model]]) -> GenericModels:
    """Everyone's generic models, from the fold in which they were left out, each with the person's own limb.

    Args:
        prepared: whose people these are.
        split: the folds.
        pairs: of each fold, the models by kind.

    Raises:
        PitlError: a model left out other people than its fold does.
    """
    of_person: dict[Kind, list[Any]] = {kind: [None] * len(prepared.cohort.subjects) for kind in pairs[0]}
    for fold, pair in zip(split, pairs, strict=True):
        for kind, trained in pair.items():
            left_out = trained.history.get("target")
            if left_out != _names(prepared, fold):
                raise PitlError(
                    f"a generic model was trained with {', '.join(left_out or ['nobody'])} left out, this comparison "
                    f"leaves out {', '.join(_names(prepared, fold))}; use the same people and folds, or train anew."
                )
            for s in fold.target:
                of_person[kind][s] = trained
    names = tuple(s.name for s in prepared.cohort.subjects)
    stacked = {k: model.stack(m).replace(people=names, limb=prepared.limbs) for k, m in of_person.items()}
    return GenericModels(stacked["physics"], stacked.get("data"))


def _names(prepared: Prepared, fold: Fold) -> list[str]:
    return [prepared.cohort.subjects[s].name for s in fold.target]
