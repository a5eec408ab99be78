"""The job for one or two people: too few for a generic model, so each gets a model of their own.

OUT/models/NAME               the model, of all trials
OUT/answers/NAME/TRIAL.sto    what it says along each trial: angles, forces and moments that OpenSim reads
OUT/by_trial.json             R2 of each trial by what learned from the others, beside a regression that did the same
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pitl.comparison.baselines import lagged, linear
from pitl.config.schema import Config
from pitl.data import swing
from pitl.data.recording import Cohort, Recording
from pitl.files import atomic_write_text, safe_name
from pitl.learn import api, measured
from pitl.learn.prepare import Prepared, prepare
from pitl.signals import windows

FEWEST = 3  # people of whom a generic model can be made and judged


def run(people: Cohort, config: Config | None, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Models of one or two people, their answers, and how each trial is told from the others.

    Args:
        people: as read.
        config: settings; None is the defaults.
        out: folder for everything that is made.
        say: told what is done and what it means.

    Raises:
        PitlError: the recordings or settings do not allow it.
    """
    moments = measured.has_moments(people)
    what = "net moment" if moments else "angle"
    say(
        f"{people.name}: {len(people)} person(s), too few for a generic model. Each gets a model of their own, "
        + (
            "an EMG-driven one calibrated on measured moments along the measured motion: no equation of motion."
            if moments
            else "trained from scratch under the equation of motion."
        )
    )
    for told in {n for s in people.subjects for r in s.recordings for n in r.notes if n.startswith(swing.WHY)}:
        say(f"  {told}.")
    result: dict[str, Any] = {}
    for person in people:
        (subject,) = person.subjects
        model = api.personalize_model(None, person, config=config)
        model.save(out / "models" / safe_name(subject.name))
        for trial, spans in model.history.get("extrapolated", {}).items():
            say(f"  {subject.name}, {trial}: {'; '.join(spans)} does not follow the other channels: taken from them.")
        for r in subject.recordings:
            target = out / "answers" / safe_name(subject.name) / f"{safe_name(r.trial)}.sto"
            target.parent.mkdir(parents=True, exist_ok=True)
            api.predict(model, r).to_sto(target)
        say(f"  {subject.name}: model and answers of {len(subject.recordings)} trial(s) are written; judging them ...")
        trials: dict[str, Any] = {}
        theirs = measured.ceinms_model(model, person) if moments and subject.ceinms else None
        if len(subject.recordings) > 1:
            for r in subject.recordings:
                trials[r.trial] = {
                    "ridge": regression_of(person, r, config, moments=moments),
                    "model": model.history["trust"]["torque_r2_by_trial"][r.trial]
                    if moments
                    else api.score(api.predict(_of_others(person, r, config), r), r).angle_r2,
                }
                if theirs is not None:
                    trials[r.trial]["ceinms"] = api.score(api.predict(theirs, r), r).torque_r2
        result[subject.name] = trials
        for name, each in trials.items():
            for dof, value in each["model"].items():
                say(
                    f"  {subject.name}, {name} told from the other trials: R2 of the {what} {dof} {value:.2f}, "
                    f"ridge regression {each['ridge'][dof]:.2f}"
                    + (f", CEINMS's parameters in our muscle model {each['ceinms'][dof]:.2f}" if theirs else "")
                )
        if not trials:
            say(f"  {subject.name}: a single trial, so nothing is left to judge the model on.")
    atomic_write_text(out / "by_trial.json", json.dumps({"of": what, "people": result}, indent=1))
    say(f"Models: {out / 'models'}. Forces and moments: {out / 'answers'}.")
    return result


def _of_others(person: Cohort, left_out: Recording, config: Config | None) -> Any:
    """A model of the other trials; the one that is left out judges it, so nothing else need."""
    (subject,) = person.subjects
    others = tuple(r for r in subject.recordings if r is not left_out)
    those = replace(person, subjects=(replace(subject, recordings=others),))
    trust = {"unknown": f"{left_out.trial} judges it"}
    return api.personalize_model(None, those, labels="angle", config=config, trust=trust)


def regression_of(person: Cohort, left_out: Recording, config: Config | None, *, moments: bool) -> dict[str, float]:
    """R2 of a trial's moments or angles by ridge regression on lagged envelopes, fitted on the others."""
    settings = measured.settings_measured(api.settings_for(person, config))
    prepared = prepare(settings, person, with_dynamics=False)
    seen = lagged_inputs(prepared)
    labels = prepared.table.torque if moments else prepared.table.motion.angle
    assert labels is not None
    known = np.any(np.isfinite(labels), axis=0).tolist()
    rows = windows.rows_of(prepared.table, "all", subjects=(0,), window=prepared.net.window)
    rows = rows[np.isfinite(labels[rows][:, known]).all(axis=1)]
    (trial,) = [t for t in prepared.table.trials if t.name == left_out.trial]
    inside = (rows >= trial.start) & (rows < trial.stop)
    truth = labels[rows[inside]][:, known]
    told = linear.predict(linear.fit(seen, rows[~inside], labels[rows[~inside]][:, known]), seen, rows[inside])
    r2 = 1 - np.sum((told - truth) ** 2, axis=0) / np.sum((truth - truth.mean(axis=0)) ** 2, axis=0)
    names = [d for d, has in zip(prepared.limbs.dofs, known, strict=True) if has]
    return dict(zip(names, map(float, r2), strict=True))


def lagged_inputs(prepared: Prepared) -> lagged.LaggedInputs:
    """Everybody's envelopes as the regressions take them."""
    trial = np.zeros(len(prepared.table.subject), int)
    for k, t in enumerate(prepared.table.trials):
        trial[t.start : t.stop] = k
    envelope, posture = np.asarray(prepared.samples.jets[:, 0], float), np.asarray(prepared.samples.posture)
    return lagged.LaggedInputs(envelope, posture, prepared.net.postures, prepared.net.window, trial)
