"""Generic models: one for each fold, seed and kind, kept in a folder, so that whoever wants the same need not train."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from pitl import bundle, devices, loss, windows
from pitl import train as training
from pitl.arms import Inherited
from pitl.baselines import emg_driven
from pitl.config import Config, to_dict
from pitl.errors import PitlError
from pitl.msk import weak
from pitl.prepare import Fold, Prepared, statistics
from pitl.schema import PerturbConfig

Kind = Literal["data", "physics"]
KINDS: tuple[Kind, ...] = ("data", "physics")

# Residuals taken along one stretch of training rows: enough that a kernel's margin is not most of the work.
_WEAK_RUN = 20


def unspoilt(config: Config) -> Config:
    """The configuration that generic models are trained with: nobody trains on spoilt recordings."""
    return config.model_copy(update={"perturb": PerturbConfig()})


def decides(config: Config) -> dict[str, Any]:
    """Every setting on which the generic models depend, the folder of the recordings and the seed aside."""
    found = to_dict(unspoilt(config))
    for key in ("name", "perturb", "hill"):
        found.pop(key)
    if config.train.hill_weight > 0:
        found["hill"] = to_dict(config)["hill"]
    for key in ("dir", "labelled_fraction"):
        found["data"].pop(key)
    personal, compared = found["personalize"], found["evaluate"]
    found["personalize"] = {k: personal[k] for k in ("scaled", "weak_kernel_s")}
    found["evaluate"] = {k: compared[k] for k in ("folds", "sources")}
    return found


def folder(root: Path, seed: int, k: int, kind: Kind) -> Path:
    """Where the model of one seed, fold and kind lies."""
    return root / f"seed{seed}" / f"fold{k}" / kind


def trained(
    config: Config,
    prepared: Prepared,
    fold: Fold,
    k: int,
    seed: int,
    kind: Kind,
    at: Path,
    say: Callable[[str], None],
) -> bundle.Bundle:
    """The model in the folder `at`, trained first if it is not there.

    Args:
        config: of the run, unspoilt.
        prepared: by that configuration.
        fold: whom to train on.
        k: its number.
        seed: of the random numbers, together with the fold's number.
        kind: with the law of motion or on data alone.
        at: folder of this model.
        say: told what came of the training.
    """
    if at.is_dir():
        return bundle.load(at)
    net = prepared.net
    spread, scale = statistics(prepared, fold)
    has_force = 0.0 if prepared.force_source == "none" else config.train.force_weight
    weights = (1.0, has_force, config.train.physics_weight, config.train.hill_weight)
    electrodes = emg_driven.electrodes(config, prepared) if config.train.hill_weight > 0 else None
    terms = loss.Terms(*(jnp.float32(w) for w in weights))
    problem = training.Problem(prepared.samples, prepared.models, spread, scale, terms, electrodes)
    began = time.perf_counter()
    found = training.fit(
        jax.random.key(seed * 1000 + k),
        net,
        problem,
        _stretches(config, prepared, fold.source),
        _stretches(config, prepared, fold.held_out),
        config.train,
        with_physics=kind == "physics",
        taps=prepared.taps,
    )
    seconds = time.perf_counter() - began
    about = {
        "kind": kind,
        "seed": seed,
        "fold": k,
        "target": _names(prepared, fold),
        "steps": found.steps,
        "seconds": seconds,
        "config": to_dict(config),
    }
    own = jax.tree.map(lambda x: x[fold.source[0]], prepared.models)
    channels = prepared.cohort.subjects[0].recordings[0].channels
    made = bundle.Bundle(found.params, net, own, scale, spread, config.emg, channels, None, None, about)
    if devices.first():
        bundle.save(at, made)
    score = found.history[:, 2:4].sum(axis=1).min()
    say(
        f"  seed {seed} fold {k} {kind:8s} best at {found.steps:5d} steps, held-out loss {score:.3f}, {seconds:.1f} s",
    )
    return made


def stacked(prepared: Prepared, split: tuple[Fold, ...], pairs: list[dict[Kind, bundle.Bundle]]) -> Inherited:
    """Everyone's generic models, from the fold in which they were left out.

    Args:
        prepared: whose people these are.
        split: the folds.
        pairs: of each fold, the models by kind.

    Raises:
        PitlError: a model left out other people than its fold does.
    """
    of_person: list[Any] = [None] * len(prepared.cohort.subjects)
    for fold, pair in zip(split, pairs, strict=True):
        for model in pair.values():
            left_out = model.about.get("target")
            if left_out != _names(prepared, fold):
                raise PitlError(
                    f"a generic model was trained with {', '.join(left_out or ['nobody'])} left out, this comparison "
                    f"leaves out {', '.join(_names(prepared, fold))}; use the same people and folds, or train anew."
                )
        data, physics = pair["data"], pair["physics"]
        for s in fold.target:
            of_person[s] = Inherited(data.params, physics.params, physics.spread, physics.scale)
    return jax.tree.map(lambda *x: jnp.stack(x), *of_person)


def _names(prepared: Prepared, fold: Fold) -> list[str]:
    return [prepared.cohort.subjects[s].name for s in fold.target]


def run_length(config: Config, taps: weak.Kernel) -> int:
    """Contiguous rows in one sample of the loss."""
    return len(taps.average) + _WEAK_RUN - 1 if config.train.residual == "weak" else 1


def _stretches(config: Config, prepared: Prepared, subjects: tuple[int, ...]) -> np.ndarray:
    """(W, S) rows for training: single rows for the pointwise residual, contiguous ones for the weak form."""
    rows = windows.rows_of(prepared.table, "all", subjects=subjects, window=prepared.net.window)
    if config.train.residual == "weak":
        length = run_length(config, prepared.taps)
        start = rows[: len(rows) - length + 1][windows.contiguous(rows, prepared.table, length)]
        return start[:, None] + np.arange(length)
    if config.train.derivative == "finite_difference":  # it reads one row on either side
        rows = rows[1:-1][windows.contiguous(rows, prepared.table, 3)]
    return rows[:, None]
