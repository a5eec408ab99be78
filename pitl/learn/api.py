"""The Python face: train on people, personalise one of them, predict, score (see `pitl`)."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from pitl.config.schema import Config, DataConfig, Supervision
from pitl.config.toml import change, load
from pitl.data.recording import Cohort, Recording
from pitl.errors import PitlError
from pitl.learn import alone as alone_
from pitl.learn import (
    deviation,
    devices,
    efforts,
    emg_driven,
    gains,
    gaussian_process,
    measured,
    muscle_part,
    personal,
    played,
    repetitions,
    stacked,
    train,
)
from pitl.learn.model import Model, stack
from pitl.learn.predict import Estimate, Prediction, predict_recording, predict_rows
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import Split, split_rows
from pitl.signals import windows

_HELD_BACK = 0.9  # part of the held-back errors that an interval contains


Labels = Supervision | Literal["torque"]  # "torque": measured net moments


class Score(NamedTuple):
    """How near a prediction is to what was measured, by coordinate and muscle; None where nothing was measured."""

    angle_rmse_deg: dict[str, float] | None
    angle_r2: dict[str, float] | None
    force_rmse_n: dict[str, float] | None
    force_r2: dict[str, float] | None
    torque_rmse_nm: dict[str, float] | None
    torque_r2: dict[str, float] | None = None


def settings_for(people: Cohort, config: Config | str | Path | None = None, **sections: dict[str, Any]) -> Config:
    """The settings for some people: of a configuration or the defaults, with sections changed by keyword.

    Without a configuration, force labels are those that were recorded, or static optimisation where none were.

    Raises:
        PitlError: a setting is not known or not possible.
    """
    if config is None:
        recorded = all(r.force is not None for s in people.subjects for r in s.recordings)
        angles = any(r.angle is not None for s in people.subjects for r in s.recordings)
        labels = "recorded" if recorded else "static_optimisation" if angles else "none"
        base = Config.model_validate({"data": {"kind": "cohort", "force_labels": labels}})
    else:
        base = config if isinstance(config, Config) else load(config)
    changed = {name: {**getattr(base, name).model_dump(), **values} for name, values in sections.items()}
    return change(base, **changed) if changed else base


def train_model(
    people: Cohort,
    config: Config | str | Path | None = None,
    *,
    report: Callable[[int, float], None] | None = None,
    **sections: dict[str, Any],
) -> Model:
    """Trains a generic model of some people, for a person who is not among them.

    Args:
        people: at least two. Everything that they recorded is used.
        config: settings, or a TOML file of them; the defaults if None.
        report: called now and then with step and loss.
        sections: changes, such as `train={"steps": 500}`.

    Raises:
        PitlError: there are too few people, or a setting is not possible.

    Example:
        generic = pitl.train(people.without("anna"), train={"steps": 500})
    """
    count = len(people.subjects)
    if count < 2:
        raise PitlError(
            f"a generic model needs at least two people, {people.name} has {count}: for one person alone use "
            "pitl.personalize(None, person), which trains from scratch under physics."
        )
    settings = settings_for(people, config, **sections)
    return train_prepared(prepare(settings, people), settings, report=report)


def train_prepared(
    prepared: Prepared,
    settings: Config,
    without_each: Mapping[int, Model] | None = None,
    *,
    report: Callable[[int, float], None] | None = None,
) -> Model:
    """The same of a cohort that is prepared.

    Args:
        prepared: cohort and samples.
        settings: of the training.
        without_each: for each person, by number, a generic model in which they had no part; trained here if None.
        report: called now and then with step and loss.
    """
    count = len(prepared.cohort.subjects)
    source, held_out = train.choose_held_out(count, settings.train.holdout_fraction)
    learn_network = partial(
        train.train_generic,
        prepared,
        source,
        held_out,
        settings.train,
        jax.random.key(0),
        with_physics=settings.train.physics_weight > 0,
        report=report,
    )
    (model, _), angle_prior = devices.together([learn_network, partial(_angle_prior, prepared, settings, without_each)])
    if isinstance(angle_prior, PitlError):
        warnings.warn(f"the prior of the angle's deviation is left out: {angle_prior}", stacklevel=3)
        angle_prior = None
    model = model.replace(angle_prior=angle_prior)
    model = model.replace(scale_prior=windows.learn_scales(prepared.table, prepared.emg))
    if settings.personalize.muscle:
        model = model.replace(muscle_prior=_muscle_prior(prepared, settings))
    if settings.data.force_labels == "recorded" and all(efforts.made_efforts(prepared)):
        model = model.replace(gain_prior=efforts.source_prior(prepared))
    return model


def _angle_prior(
    prepared: Prepared, settings: Config, without_each: Mapping[int, Model] | None
) -> gaussian_process.AnglePrior | PitlError | None:
    """What people say of how a new one's angle deviates; None of too few people, or why there is none."""
    everybody = tuple(range(len(prepared.cohort.subjects)))
    if not settings.personalize.deviation or len(everybody) < played.FEWEST_PEOPLE:
        return None
    try:
        if without_each is None:
            without_each = played.train_without_each(prepared, everybody, settings.train, jax.random.key(1))
        return played.learn_prior(prepared, without_each)
    except PitlError as e:
        return e


def personalize_model(
    generic: Model | None,
    person: Cohort,
    *,
    labels: Labels | None = None,
    config: Config | str | Path | None = None,
    report: Callable[[int, int], None] | None = None,
    trust: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> Model:
    """Fits a generic model to a person, or to each of several people at once; without one, trains from scratch.

    All of the person's data are used. How far to trust the model is found first, on one that has seen only the first
    part of each trial (`data.calibration_fraction`) and is judged on the rest: `history["trust"]`.

    Args:
        generic: to start from; None trains a network of the person's own under the equation of motion.
        person: whose model; several give a model stacked over them, from which `model["anna"]` takes one.
        labels: what may be learned from: `"angle"`, `"angle_force"`, `"none"`, or `"torque"`: measured net moments, on
            which muscles are calibrated that then follow a measured motion (`pitl.learn.measured`). None is the moments
            where they were measured and there is no generic model, else the angle where there is one.
        config: settings; None takes those of the generic model, or the defaults.
        report: called now and then with the steps done and their total.
        trust: how far to trust the models, by name, where a comparison has found it already (`trust_of`).
        sections: changes, such as `personalize={"steps": 500}`.

    Raises:
        PitlError: the recordings do not fit the model, are too short, or a setting is not possible.

    Example:
        anna = pitl.personalize(generic, people["anna"], labels="angle")
        anna.history["trust"]["angle_rmse_deg"]
    """
    if config is None and generic is not None:
        config = Config.model_validate(generic.history["config"])
    settings = settings_for(person, config, **sections)
    if generic is not None:
        person = _with_channels_of(generic, person)
    if labels == "torque" and generic is not None:
        raise PitlError("measured moments calibrate muscles, not a network: give none in place of the generic model.")
    if labels == "torque" or (labels is None and generic is None and measured.has_moments(person)):
        each = [_by_moments(one, settings) for one in person]
        return each[0] if len(each) == 1 else stack(each)
    angles = all(r.angle is not None for s in person.subjects for r in s.recordings)
    grade: Supervision = labels or ("angle" if angles else "none")
    if grade != "none" and not angles:
        raise PitlError(f"labels = '{grade}' needs measured angles, and a recording has none; use labels = 'none'.")
    if generic is None and grade == "none":
        raise PitlError("without a generic model there is nothing to learn from but measured angles; record them.")
    trust = trust or {}
    if grade != "none" and not trust:
        try:
            trust = _judge(generic, person, change(settings, perturb={}), grade)
        except PitlError as e:
            trust = {"unknown": str(e)}
    whole = change(settings, data={**settings.data.model_dump(), "calibration_fraction": 1.0, "test_after": None})
    prepared = prepare(whole, person, None if generic is None else generic.scale_prior)
    split = split_rows(prepared, unlabelled=settings.personalize.unlabelled)
    models = _fit(generic, prepared, split, whole, grade, report)
    found: list[dict[str, Any]] = [{} for _ in person.subjects]
    if all(efforts.made_efforts(prepared)):
        prior = None if generic is None else generic.gain_prior
        prior = gains.population_prior(len(prepared.limbs.muscles)) if prior is None else prior
        models = efforts.fit_gains(models, prepared, prior)
        found = [efforts.describe_gains(stacked.take(models, s), prior) for s in range(len(found))]
    if models.deviation is not None:
        for s, (rows, known) in enumerate(zip(split.calibration, split.labelled, strict=True)):
            angle = prepared.table.motion.angle[gaussian_process.thin(rows[known])]
            found[s]["shown"] = repetitions.describe(stacked.take(models.deviation, s), angle)
    kept = [
        _finish(models, prepared, s, grade, trust, generic).with_history(**found[s])
        for s in range(len(person.subjects))
    ]
    return (
        kept[0] if len(kept) == 1 else stack(kept).with_history(trust={m.people[0]: m.history["trust"] for m in kept})
    )


def predict(model: Model, recording: Recording) -> Prediction:
    """Angles, forces and torques along a recording, from its EMG alone.

    Raises:
        PitlError: the model is not a person's, or the recording has none of its channels.

    Example:
        answer = pitl.predict(anna, people["anna"][0])
    """
    return predict_recording(model, recording)


def score(prediction: Prediction, recording: Recording) -> Score:
    """RMSE and R2 of a prediction, for each coordinate and muscle that the recording measured.

    Example:
        pitl.score(answer, people["anna"][0]).angle_rmse_deg
    """
    clock = np.arange(len(recording.emg)) / recording.rate_hz  # s
    good = np.ones(len(clock), bool) if recording.valid is None else recording.valid
    at = np.minimum(np.round(prediction.time_s * recording.rate_hz).astype(int), len(clock) - 1)
    use = good[at]

    def errors(
        predicted: np.ndarray, measured: np.ndarray | None, names: Sequence[str], known: Sequence[str], factor: float
    ) -> tuple[dict[str, float], dict[str, float]] | tuple[None, None]:
        if measured is None or not use.any():
            return None, None
        rmse, r2 = {}, {}
        for k, name in enumerate(names):
            if name in known:
                truth, x = measured[at, list(known).index(name)][use], predicted[use, k]
                both = np.isfinite(truth)  # in gait without force plates moments are known in swing alone
                if not both.any() or not np.isfinite(x[both]).all():
                    continue
                truth, x = truth[both], x[both]
                rmse[name] = float(np.sqrt(np.mean((x - truth) ** 2))) * factor
                r2[name] = float(1 - np.sum((x - truth) ** 2) / max(np.sum((truth - truth.mean()) ** 2), 1e-12))
        return rmse, r2

    angle = errors(prediction.angle, recording.angle, prediction.dofs, recording.dofs, float(np.degrees(1.0)))
    force = errors(prediction.force, recording.force, prediction.muscles, recording.muscles, 1.0)
    torque = errors(prediction.torque, recording.torque, prediction.dofs, recording.dofs, 1.0)
    return Score(*angle, *force, *torque)


def _with_channels_of(generic: Model, person: Cohort) -> Cohort:
    """The person's recordings with the model's channels, in its order."""
    subjects = []
    for s in person.subjects:
        recordings = []
        for r in s.recordings:
            lacking = [c for c in generic.channels if c not in r.channels]
            if lacking:
                raise PitlError(
                    f"{r.source or r.trial} ({s.name}) lacks channel {', '.join(lacking)} of the model "
                    f"({', '.join(generic.channels)}); rename its channels, or train a generic model without it."
                )
            at = [r.channels.index(c) for c in generic.channels]
            recordings.append(dataclasses.replace(r, emg=r.emg[:, at], channels=generic.channels))
        order = [s.recordings[0].channels.index(c) for c in generic.channels]
        mvc = None if s.mvc is None else s.mvc[order]
        places = {old: new for new, old in enumerate(order)}
        contractions = tuple(
            c._replace(emg=c.emg[:, kept], places=tuple(places[c.places[k]] for k in kept))
            for c in s.contractions
            for kept in [[k for k, place in enumerate(c.places) if place in places]]
        )
        subjects.append(dataclasses.replace(s, recordings=tuple(recordings), mvc=mvc, contractions=contractions))
    return dataclasses.replace(person, subjects=tuple(subjects))


def _fit(
    generic: Model | None,
    prepared: Prepared,
    split: Split,
    settings: Config,
    grade: Supervision,
    report: Callable[[int, int], None] | None = None,
) -> Model:
    """Everybody's model, stacked, fitted on the calibration rows of the split."""
    count = len(prepared.cohort.subjects)
    if generic is None:
        return _fit_alone(prepared, split, settings, grade)
    if prepared.limbs.dofs != generic.limb.dofs or prepared.limbs.muscles != generic.limb.muscles:
        raise PitlError(
            f"recordings are of '{prepared.cohort.joint}' ({', '.join(prepared.limbs.dofs)}), the model is of "
            f"{', '.join(generic.limb.dofs)}; personalise a model of the same joint."
        )
    start = stacked.repeat(generic.without_priors(), count).replace(limb=prepared.limbs)
    people = split
    if settings.personalize.muscle and grade != "angle_force" and generic.muscle_prior is not None:
        belief = stacked.repeat(generic.muscle_prior, count)
        towards = muscle_part.target_forces(
            prepared,
            split,
            start,
            grade,
            settings.hill,
            belief,
            lowpass_hz=settings.data.angle_lowpass_hz,
            fitted=settings.personalize.muscle_fitted,
        )
        people = muscle_part.with_targets(split, towards)
    way = personal.method_settings(settings.personalize, grade)
    fit = partial(personal.fit, start, prepared.samples, people.people, way, settings.personalize, report=report)
    if not settings.personalize.deviation or generic.angle_prior is None or grade == "none":
        return fit().model
    rows = [r[known] for r, known in zip(split.calibration, split.labelled, strict=True)]
    of_angle = partial(deviation.fit_people, generic, prepared.samples, played.trials(prepared), rows)
    forces, angles = devices.together([fit, of_angle])
    return forces.model.replace(**angles)


def _fit_alone(prepared: Prepared, split: Split, settings: Config, grade: Supervision) -> Model:
    """Networks of people's own, one after the other."""
    models = []
    for s in range(len(prepared.cohort.subjects)):
        of_units = train.source_units(prepared, (s,), ())
        limb = stacked.take(prepared.limbs, s)
        about = {"config": prepared.about, "joint": prepared.cohort.joint}
        start = train.kept_model(prepared, {}, limb, of_units, about)
        rows = split.calibration[s][split.labelled[s]]
        params, _ = alone_.train_alone(
            prepared, rows, start, settings.train, settings.personalize, grade, jax.random.key(s)
        )
        models.append(start.replace(params=params))
    return stack(models)


def _by_moments(person: Cohort, settings: Config) -> Model:
    """One person's EMG-driven model, and how well those of all trials but one follow that one."""
    (subject,) = person.subjects
    trust: dict[str, Any] = {"unknown": "there is a single trial, and none is left to be judged on"}
    if len(subject.recordings) > 1:
        by_trial = {}
        for r in subject.recordings:
            others = tuple(o for o in subject.recordings if o is not r)
            model = measured.fit(
                dataclasses.replace(person, subjects=(dataclasses.replace(subject, recordings=others),)), settings
            )
            by_trial[r.trial] = score(predict_recording(model, r), r).torque_r2
        trust = {"torque_r2_by_trial": by_trial}
    history = {
        "kind": "personal",
        "labels": "torque",
        "from": "nothing",
        "seconds": sum(r.seconds for r in subject.recordings),
        "trials": [r.trial for r in subject.recordings],
        "joint": person.joint,
        "trust": trust,
    }
    return measured.fit(person, settings).with_history(**history)


def _judge(generic: Model | None, person: Cohort, settings: Config, grade: Supervision) -> dict[str, Any]:
    """How well models that have seen the first part of each trial predict the rest, for everybody."""
    prepared = prepare(settings, person, None if generic is None else generic.scale_prior)
    split = split_rows(prepared, unlabelled=settings.personalize.unlabelled)
    estimates = predict_rows(_fit(generic, prepared, split, settings, grade), prepared.samples, split.test)
    return trust_of(prepared, split.test, estimates, settings.data, grade)


def trust_of(
    prepared: Prepared, test: Sequence[np.ndarray], estimates: Sequence[Estimate], data: DataConfig, grade: Supervision
) -> dict[str, Any]:
    """How far to trust each person's model: its errors on rows that it has not learned from, by name."""
    recorded = data.force_labels == "recorded" and grade == "angle_force"
    return {
        subject.name: _trust(prepared, rows, estimate, data.calibration_fraction, recorded)
        for subject, rows, estimate in zip(prepared.cohort.subjects, test, estimates, strict=True)
    }


def _trust(prepared: Prepared, rows: np.ndarray, estimate: Estimate, seen: float, recorded: bool) -> dict[str, Any]:
    angle = np.asarray(prepared.samples.angle)[rows]
    error = estimate.angle - angle
    facts: dict[str, Any] = {
        "calibration_fraction": seen,
        "test_s": len(rows) / prepared.net.rate_hz,
        "angle_rmse_deg": float(np.degrees(np.sqrt(np.mean(error**2)))),
        "angle_r2": float(1 - np.sum(error**2) / max(np.sum((angle - angle.mean(axis=0)) ** 2), 1e-12)),
        "angle_half_rad": np.quantile(np.abs(error), _HELD_BACK, axis=0).tolist(),
    }
    if recorded and estimate.force is not None:
        wrong = np.abs(estimate.force - np.asarray(prepared.samples.force)[rows])
        facts["force_rmse_n"] = float(np.mean(np.sqrt(np.mean(wrong**2, axis=0))))
        facts["force_half_n"] = np.quantile(wrong, _HELD_BACK, axis=0).tolist()
    return facts


def _finish(
    models: Model, prepared: Prepared, s: int, grade: Supervision, trust: dict[str, Any], generic: Model | None
) -> Model:
    """One person's model out of those fitted, with the scale of their channels."""
    subject = prepared.cohort.subjects[s]
    own: Model = stacked.take(models, s)
    history = {
        "kind": "personal",
        "labels": grade,
        "from": "nothing" if generic is None else "a generic model",
        "seconds": sum(r.seconds for r in subject.recordings),
        "trials": [r.trial for r in subject.recordings],
        "joint": prepared.cohort.joint,
        "trust": trust.get(subject.name, trust),
        "config": prepared.about,
    }
    made = own.replace(channel_scale=prepared.table.scales[s], people=(subject.name,), personalize=prepared.personalize)
    return made.with_history(**history)


def _muscle_prior(prepared: Prepared, settings: Config) -> Any:
    """What these people's muscles turned out to be; None, said in a warning, where no channel belongs to a muscle."""
    try:
        emg_driven.electrodes(prepared)
    except PitlError as e:
        warnings.warn(f"the muscle part of the modified physics is left out: {e}", stacklevel=3)
        return None
    everybody = tuple(range(len(prepared.cohort.subjects)))
    recorded = settings.data.force_labels == "recorded"
    belief = muscle_part.prior_of_sources(prepared, [everybody], settings.hill, with_forces=recorded)
    return stacked.take(belief, 0)
