"""Three small virtual people with untrained generic models, on which methods are tried."""

from functools import lru_cache

import jax

from pitl.comparison.folds import GenericModels, make_folds
from pitl.comparison.task import Task
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.load import load_cohort
from pitl.learn.model import stack
from pitl.learn.prepare import prepare
from pitl.learn.split import split_rows
from pitl.learn.train import kept_model, source_units
from pitl.net import network

CONFIG = Config.model_validate(
    {
        "name": "small",
        "data": {"kind": "virtual"},
        "virtual": {"subjects": 3, "seconds": 6.0, "rhythmic_trials": 1, "random_trials": 1},
        "train": {"steps": 20, "check_every": 10, "batch": 64, "gain_augmentation": 0.0},
        "personalize": {"steps": 20, "batch": 64},
        "evaluate": {"folds": 3},
    }
)


def with_personal(**personalize):
    """The small configuration with changes of that section."""
    return change(CONFIG, personalize={**CONFIG.personalize.model_dump(), **personalize})


@lru_cache(maxsize=1)
def cohort():
    return load_cohort(CONFIG)


@lru_cache(maxsize=2)
def ready(unlabelled):
    """Everything that a method is given, for everybody."""
    config = CONFIG
    prepared = prepare(config, cohort())
    split = make_folds(config.evaluate, config.train, 3)
    people = []
    for s, fold in enumerate(split):
        of_units = source_units(prepared, fold.source, fold.held_out)
        params = network.init(jax.random.key(s), prepared.net, of_units[1])
        limb = jax.tree.map(lambda x, s=s: x[s], prepared.limbs)
        people.append(kept_model(prepared, params, limb, of_units, {}))
    generic = stack(people)
    return prepared, split_rows(prepared, unlabelled=unlabelled), GenericModels(generic, generic), split


def task(supervision="angle_force", **personalize):
    """Work for a method; `personalize` are changes of that section."""
    config = with_personal(**personalize)
    prepared, rows, generic, folds = ready(config.personalize.unlabelled)
    return Task(supervision, jax.random.key(0), config, prepared, rows, generic, folds)


def changed(work, **sections):
    """The same work under other settings."""
    values = {k: {**getattr(work.config, k).model_dump(), **v} for k, v in sections.items()}
    return work.but(config=change(work.config, **values))
