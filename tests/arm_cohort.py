"""Three small virtual people with untrained generic models, on which methods are tried."""

import jax
import jax.numpy as jnp

from pitl.comparison import methods
from pitl.config.toml import Config
from pitl.config.schema import DataConfig
from pitl.config.schema import EvaluateConfig
from pitl.config.schema import PersonalizeConfig
from pitl.config.schema import TrainConfig
from pitl.config.schema import VirtualConfig
from pitl.learn.prepare import prepare
from pitl.comparison.folds import make_folds
from pitl.data.load import load_cohort
from pitl.learn.train import source_units
from pitl.net import network
from pitl.learn import split
from pitl.comparison import folds

CONFIG = Config(
    name="small",
    data=DataConfig(kind="virtual"),
    virtual=VirtualConfig(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1),
    train=TrainConfig(steps=20, check_every=10, batch=64),
    personalize=PersonalizeConfig(steps=20, batch=64),
    evaluate=EvaluateConfig(folds=3),
)


def task(supervision="angle_force", **personalize):
    """Work for a method; `personalize` are changes of that section."""
    config = CONFIG.model_copy(update={"personalize": CONFIG.personalize.model_copy(update=personalize)})
    prepared = prepare(config, load_cohort(config))
    people, split = [], make_folds(config, 3)
    for s, fold in enumerate(split):
        spread, scale = source_units(prepared, fold)
        params = network.init(jax.random.key(s), prepared.net, scale)
        people.append(folds.GenericModels(params, params, spread, scale))
    inherited = jax.tree.map(lambda *x: jnp.stack(x), *people)
    return methods.Task(supervision, jax.random.key(0), config, prepared, split.split_rows(config, prepared), inherited, split)
