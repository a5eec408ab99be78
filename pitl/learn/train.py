"""Train a generic model of some people, kept with everything that its use takes."""

import json
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.config.schema import TrainConfig
from pitl.learn import emg_driven, generic, loss, stacked, units
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared
from pitl.net.head import OutputScale
from pitl.signals import windows


def train_generic(
    prepared: Prepared,
    source: tuple[int, ...],
    held_out: tuple[int, ...],
    settings: TrainConfig,
    key: Array,
    *,
    with_physics: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> tuple[Model, generic.GenericFit]:
    """A generic model of the source people, who are numbers in the cohort.

    Args:
        prepared: cohort, physics and samples.
        source: people to train on.
        held_out: people who decide when to stop; trained on as well where `settings.patience` is 0.
        settings: of the training.
        key: the same key gives the same model.
        with_physics: with the equation of motion, or on data alone.
        report: called at each check with step and loss.

    Returns:
        The model, with the limb of the first source person, and how the training went.
    """
    spread, scale = source_units(prepared, source, held_out)
    if settings.patience == 0:
        source, held_out = tuple(sorted((*source, *held_out))), ()
    has_force = 0.0 if prepared.force_source == "none" else settings.force_weight
    weights = (1.0, has_force, settings.physics_weight, settings.hill_weight)
    problem = loss.Problem(
        prepared.samples,
        prepared.limbs,
        spread,
        scale,
        loss.LossTerms(*(jnp.float32(w) for w in weights)),
        prepared.taps,
        emg_driven.electrodes(prepared) if settings.hill_weight > 0 else None,
    )
    found = generic.fit(
        key,
        prepared.net,
        problem,
        training_segments(prepared, settings, source),
        training_segments(prepared, settings, held_out) if held_out else None,
        settings,
        with_physics=with_physics,
        report=report,
    )
    names = [s.name for s in prepared.cohort.subjects]
    about = {
        "kind": "physics" if with_physics else "data",
        "trained_on": [names[s] for s in source],
        "held_out": [names[s] for s in held_out],
        "steps": found.steps,
        "loss": float(found.history[-1, 1]),
        "joint": prepared.cohort.joint,
        "config": prepared.about,
    }
    limb = stacked.take(prepared.limbs, source[0])
    return kept_model(prepared, found.params, limb, (spread, scale), about), found


def choose_held_out(count: int, fraction: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the people to train on, and of those who decide when to stop, spread evenly over the list."""
    held = max(1, round(fraction * count))
    held_out = tuple(sorted({int(k) for k in np.linspace(0, count - 1, held + 2)[1:-1].round()})) if count > 2 else (1,)
    return tuple(k for k in range(count) if k not in held_out), held_out


def kept_model(
    prepared: Prepared,
    params: dict[str, Any],
    limb: Any,
    of_units: tuple[units.Spread, OutputScale],
    about: dict[str, Any],
) -> Model:
    """A generic model with the settings under which it was prepared."""
    spread, scale = of_units
    return Model(
        params=params,
        limb=limb,
        scale=scale,
        spread=spread,
        channel_scale=None,
        net=prepared.net,
        emg=prepared.emg,
        personalize=prepared.personalize,
        angle_lowpass_hz=prepared.angle_lowpass_hz,
        emg_kind=prepared.cohort.subjects[0].recordings[0].emg_kind,
        channels=prepared.cohort.subjects[0].recordings[0].channels,
        about=json.dumps(about, default=str),
    )


def source_units(
    prepared: Prepared, source: tuple[int, ...], held_out: tuple[int, ...]
) -> tuple[units.Spread, OutputScale]:
    """Units of the loss and the outputs, from the source people alone.

    Where training may not see the force labels that there are, they are still the units in which forces are judged, but
    the network does not start from their mean.
    """
    rows = windows.rows_of(prepared.table, "all", subjects=source + held_out, window=prepared.net.window)
    strength = np.asarray(prepared.limbs.max_isometric_force)[list(source)].mean(axis=0)
    angle, force, torque = (
        np.asarray(x)[rows] for x in (prepared.samples.angle, prepared.samples.force, prepared.samples.torque)
    )
    spread, scale = units.source_statistics(angle, force, torque, strength, labelled=prepared.force_source != "none")
    return spread, scale if prepared.learns_forces else units.without_forces(scale)


def training_segments(prepared: Prepared, settings: TrainConfig, people: tuple[int, ...]) -> np.ndarray:
    """(W, S) rows for training: single rows for the pointwise residual, contiguous ones for the weak form."""
    rows = windows.rows_of(prepared.table, "all", subjects=people, window=prepared.net.window)
    if settings.residual == "weak":
        length = generic.segment_length(settings, prepared.taps)
        start = rows[: len(rows) - length + 1][windows.contiguous(rows, prepared.table, length)]
        return start[:, None] + np.arange(length)
    if settings.derivative == "finite_difference":  # it reads one row on either side
        rows = rows[1:-1][windows.contiguous(rows, prepared.table, 3)]
    return rows[:, None]
