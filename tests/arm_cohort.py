"""Three small virtual people with untrained generic models, on which arms are tried."""

import jax
import jax.numpy as jnp

from pitl import arms
from pitl.config import Config, DataConfig, EvaluateConfig, PersonalizeConfig, TrainConfig, VirtualConfig
from pitl.net import network
from pitl.prepare import folds, load_cohort, prepare, statistics

CONFIG = Config(
    name="small",
    data=DataConfig(kind="virtual"),
    virtual=VirtualConfig(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=1),
    train=TrainConfig(steps=20, check_every=10, batch=64),
    personalize=PersonalizeConfig(steps=20, batch=64),
    evaluate=EvaluateConfig(folds=3),
)


def task(supervision="angle_force", **personalize):
    """Work for an arm; `personalize` are changes of that section."""
    config = CONFIG.model_copy(update={"personalize": CONFIG.personalize.model_copy(update=personalize)})
    prepared = prepare(config, load_cohort(config))
    people, split = [], folds(config, 3)
    for s, fold in enumerate(split):
        spread, scale = statistics(prepared, fold)
        params = network.init(jax.random.key(s), prepared.net, scale)
        people.append(arms.Inherited(params, params, spread, scale))
    inherited = jax.tree.map(lambda *x: jnp.stack(x), *people)
    return arms.Task(supervision, jax.random.key(0), config, prepared, arms.rows(config, prepared), inherited, split)
