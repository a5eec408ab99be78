"""The arms of the comparison: same people, same calibration rows, same test rows."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl import loss, personalize, windows
from pitl.baselines import emg_driven, linear, recalibration
from pitl.config import Config
from pitl.errors import PitlError
from pitl.msk import dynamics, weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.personalize import Fitted, Person, Settings, Supervision
from pitl.prepare import Prepared

Arm = Literal[
    "generic_data",
    "generic_physics",
    "gain_offset",
    "head_data",
    "head_physics",
    "full_finetune",
    "scratch",
    "ridge",
    "hill_calibrated",
]
# An arm appears in these grades of supervision; the generic models use no label of the person at all.
GRADES: dict[str, tuple[Supervision, ...]] = {
    "generic_data": ("none",),
    "generic_physics": ("none",),
    "head_physics": ("angle_force", "angle", "none"),
    **dict.fromkeys(
        ("gain_offset", "head_data", "full_finetune", "scratch", "ridge", "hill_calibrated"), ("angle_force", "angle")
    ),
}


class Inherited(NamedTuple):
    """Generic models, stacked over people: each person's comes from a fold in which they were not a source."""

    data: dict[str, Any]  # parameters trained on data alone
    physics: dict[str, Any]  # parameters trained with the law of motion
    spread: loss.Spread
    scale: OutputScale


class Rows(NamedTuple):
    """Everyone's calibration and test rows, on the host."""

    calibration: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    people: Person  # calibration, padded and stacked


class Said(NamedTuple):
    """What an arm says about one person on their test rows."""

    angle: np.ndarray  # (W, D) rad
    force: np.ndarray | None  # (W, M) N


class ArmResult(NamedTuple):
    """An arm's answer for everybody, and the fitted parameters where it has any."""

    said: tuple[Said, ...]
    fitted: Fitted | None
    muscles: emg_driven.Calibrated | None = None  # of the EMG-driven model


def rows(config: Config, prepared: Prepared) -> Rows:
    """Calibration and test rows of everybody; the part of calibration without labels feeds the physics alone."""
    table, window, count = prepared.table, prepared.net.window, len(prepared.cohort.subjects)
    taps = len(prepared.taps.average)
    calibration = tuple(windows.rows_of(table, "calibration", subjects=(s,), window=window) for s in range(count))
    test = tuple(windows.rows_of(table, "test", subjects=(s,), window=window) for s in range(count))
    for subject, seen, unseen in zip(prepared.cohort.subjects, calibration, test, strict=True):
        if len(seen) < taps or not len(unseen):
            raise PitlError(
                f"{subject.name}: no usable windows are left in the calibration or the test part; "
                "`pitl check` says why; leave this person out with data.subjects."
            )
    longest = max(len(r) for r in calibration)
    people = []
    for r in calibration:
        labelled = _labelled(r, prepared, config.data.labelled_fraction)
        stretch = windows.contiguous(r, table, taps)
        if not config.personalize.unlabelled:
            middle = taps // 2
            stretch = stretch & labelled[middle : len(labelled) - middle]
        people.append(personalize.person(r, labelled, stretch, longest, taps))
    return Rows(calibration, test, jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v) for v in x]), *people))


def _labelled(rows: np.ndarray, prepared: Prepared, fraction: float) -> np.ndarray:
    """The first part of each trial's calibration has labels."""
    keep = np.zeros(len(rows), bool)
    for t in prepared.table.trials:
        last = t.start + fraction * (t.calibration_stop - t.start)
        keep |= (rows >= t.start) & (rows < last)
    return keep


def run(
    arm: str,
    supervision: Supervision,
    key: Array,
    config: Config,
    prepared: Prepared,
    split: Rows,
    inherited: Inherited,
    report: Callable[[int, int], None] | None = None,
) -> ArmResult:
    """Runs one arm for everybody.

    Args:
        arm: a name in `GRADES`.
        supervision: which labels of the calibration part it may use.
        key: random key, for what starts from scratch.
        config: the run's configuration.
        prepared: cohort, physics and samples.
        split: everyone's rows.
        inherited: generic models.
        report: progress.
    """
    if arm in ("generic_data", "generic_physics"):
        params = inherited.data if arm == "generic_data" else inherited.physics
        return ArmResult(predict(prepared, params, inherited.scale, split.test), None)
    if arm == "gain_offset":
        return ArmResult(_gain_offset(prepared, split, inherited, supervision), None)
    if arm == "hill_calibrated":
        return _hill(config, prepared, split, inherited, supervision)
    if arm == "ridge":
        return ArmResult(_ridge(prepared, split, supervision), None)
    settings, start, changes = _recipe(arm, supervision, config, inherited, prepared, key)
    p = config.personalize.model_copy(update=changes)
    fixed = personalize.Fixed(prepared.samples, inherited.spread, inherited.scale)
    fit = partial(personalize.fit, net=prepared.net, settings=settings, config=p, taps=prepared.taps)
    if "encoder" in settings.trainable:
        # one person after the other: with a moving encoder everyone's windows would have to be held at once
        parts = []
        count = len(split.test)
        for s in range(count):
            one = partial(jax.tree.map, lambda x, s=s: x[s : s + 1])
            own = personalize.Fixed(prepared.samples, one(inherited.spread), one(inherited.scale))
            parts.append(fit(one(start), fixed=own, models=one(prepared.models), people=one(split.people)))
            if report:
                report(s + 1, count)
        stack = partial(jax.tree.map, lambda *x: jnp.concatenate(x))
        history = np.concatenate([f.history for f in parts], axis=1)
        fitted = Fitted(stack(*(f.params for f in parts)), stack(*(f.correction for f in parts)), history)
    else:
        fitted = fit(start, fixed=fixed, models=prepared.models, people=split.people, report=report)
    scale = jax.vmap(personalize.stronger)(inherited.scale, fitted.correction)
    said = predict(prepared, fitted.params, scale, split.test)
    if supervision != "angle_force" and arm == "scratch":
        said = tuple(Said(s.angle, None) for s in said)  # forces that nothing ever trained
    return ArmResult(said, fitted)


def _recipe(
    arm: str, supervision: Supervision, config: Config, inherited: Inherited, prepared: Prepared, key: Array
) -> tuple[Settings, dict[str, Any], dict[str, Any]]:
    """Which parts train, from where, and what differs in the settings."""
    if arm == "head_data":
        return Settings(("head",), supervision, False), inherited.data, {}
    if arm == "head_physics":
        trainable = ("head", "correction") if config.personalize.learnable else ("head",)
        return Settings(trainable, supervision, True), inherited.physics, {}
    both: tuple[personalize.Group, ...] = ("encoder", "head")
    if arm == "full_finetune":
        return Settings(both, supervision, False), inherited.data, {}
    keys = jax.random.split(key, len(prepared.cohort.subjects))
    fresh = jax.vmap(lambda k, s: network.init(k, prepared.net, s))(keys, inherited.scale)
    return Settings(both, supervision, False), fresh, {"steps": 2 * config.personalize.steps, "l2_to_generic": 1e-4}


@partial(jax.jit, static_argnums=0)
def _predict(net: network.Network, params: Any, scale: OutputScale, samples: windows.Samples, rows: Array) -> Any:
    out = network.outputs(params, net, samples, rows, scale)
    return out.angle[0], out.force


def predict(prepared: Prepared, params: Any, scale: OutputScale, rows: tuple[np.ndarray, ...]) -> tuple[Said, ...]:
    """Everyone's own parameters on everyone's own rows."""
    longest = max(len(r) for r in rows)
    found = []
    for s, r in enumerate(rows):
        padded = jnp.asarray(np.concatenate([r, np.full(longest - len(r), r[-1])]), jnp.int32)
        own_params, own_scale = jax.tree.map(lambda x, s=s: x[s], (params, scale))
        angle, force = _predict(prepared.net, own_params, own_scale, prepared.samples, padded)
        found.append(Said(np.asarray(angle)[: len(r)], np.asarray(force)[: len(r)]))
    return tuple(found)


def _gain_offset(prepared: Prepared, split: Rows, inherited: Inherited, supervision: Supervision) -> tuple[Said, ...]:
    on_calibration = predict(prepared, inherited.physics, inherited.scale, split.calibration)
    on_test = predict(prepared, inherited.physics, inherited.scale, split.test)
    angle, force = np.asarray(prepared.samples.angle), np.asarray(prepared.samples.force)
    found = []
    for r, labelled, generic, test in zip(split.calibration, _labels_of(split), on_calibration, on_test, strict=True):
        labels = force[r[labelled]] if supervision == "angle_force" else None
        assert generic.force is not None and test.force is not None
        fitted = recalibration.fit(angle[r[labelled]], generic.angle[labelled], labels, generic.force[labelled])
        found.append(Said(*recalibration.apply(fitted, test.angle, test.force)))
    return tuple(found)


def _ridge(prepared: Prepared, split: Rows, supervision: Supervision) -> tuple[Said, ...]:
    envelope, posture = np.asarray(prepared.samples.jets[:, 0]), np.asarray(prepared.samples.posture)
    angle, force = np.asarray(prepared.samples.angle), np.asarray(prepared.samples.force)
    net = prepared.net
    found = []
    for calibration, labelled, test in zip(split.calibration, _labels_of(split), split.test, strict=True):
        r = calibration[labelled]
        x = linear.lagged(envelope, r, net.window, posture, net.postures)
        fitted = linear.fit(x, angle[r], force[r] if supervision == "angle_force" else None)
        found.append(Said(*linear.predict(fitted, linear.lagged(envelope, test, net.window, posture, net.postures))))
    return tuple(found)


def _hill(config: Config, prepared: Prepared, split: Rows, inherited: Inherited, supervision: Supervision) -> ArmResult:
    with_forces = supervision == "angle_force"
    rows, labelled = list(split.calibration), _labels_of(split)
    fitted = emg_driven.calibrate(config, prepared, rows, labelled, inherited.spread, with_forces=with_forces)
    answers = emg_driven.answers(prepared, fitted, inherited.spread, split.test)
    return ArmResult(tuple(Said(*a) for a in answers), None, fitted)


def _labels_of(split: Rows) -> list[np.ndarray]:
    labelled = np.asarray(split.people.labelled) > 0
    return [m[: len(r)] for m, r in zip(labelled, split.calibration, strict=True)]


@jax.jit
def _mechanics(model: MusculoskeletalModel, q: Array, force: Array, posture: Array, kernel: weak.Kernel) -> Any:
    return (
        dynamics.muscle_torque(model, q, force, posture),
        weak.weak_residual(model, q, force, posture, kernel),
    )


def mechanics(
    prepared: Prepared, subject: int, rows: np.ndarray, said: Said, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """What an arm's forces do at its angles, under the person's model.

    Args:
        prepared: physics and rows.
        subject: whose model.
        rows: (W,) rows.
        said: angles and forces there.
        length: rows are padded to it, so that everybody's answers run through one compiled function.

    Returns:
        Muscle torque (W, D) [N m], and the weak residual (W - K + 1, D) [N m], NaN where its kernel does not fit.
    """
    model = jax.tree.map(lambda x: x[subject], prepared.models)
    kernel = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
    wide = np.concatenate([np.arange(len(rows)), np.full(length - len(rows), len(rows) - 1)])
    assert said.force is not None
    posture = prepared.samples.posture[jnp.asarray(rows[wide])]
    angle, force = jnp.asarray(said.angle[wide], jnp.float32), jnp.asarray(said.force[wide], jnp.float32)
    torque, residual = _mechanics(model, angle, force, posture, kernel)
    taps = len(prepared.taps.average)
    fits = windows.contiguous(rows, prepared.table, taps)
    return np.asarray(torque)[: len(rows)], np.where(
        fits[:, None], np.asarray(residual)[: len(rows) - taps + 1], np.nan
    )
