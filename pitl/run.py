"""The one job: data, generic model, personalised models, evaluation, report; what a killed run finished is kept.

OUT/run.json                          which configuration this folder belongs to
OUT/generic/seed0/fold0/data|physics  generic models (see `pitl.bundle`)
OUT/said/seed0/ARM-SUPERVISION.npz    every arm's answers on everyone's test rows
OUT/personalized/SUBJECT              each person's model
OUT/hill-SUPERVISION.json             what the data identify of the EMG-driven model
OUT/metrics.json, traces/, learned.json, notes.json, lost_channels.json, uncertainty.json, model.png, report.html
"""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

import pitl
from pitl import arms, bundle, coverage, devices, generic, lost_channels, results
from pitl.arms import Inherited
from pitl.baselines import emg_driven
from pitl.config import Config, to_dict
from pitl.errors import PitlError
from pitl.msk.correction import apply_correction
from pitl.outputs import atomic_write_bytes, atomic_write_text
from pitl.personalize import stronger
from pitl.prepare import Prepared, folds, load_cohort, prepare
from pitl.schema import Supervision


@dataclass(frozen=True)
class Job:
    """What the steps of one run share."""

    config: Config
    out: Path
    console: Console
    seconds: dict[str, float]  # wall time of each step, earlier tries at the same run counted in

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the wall time of a step to the record, and says that it runs."""
        start = time.perf_counter()
        with self.console.status(name) if self.console.is_terminal else _line(self.console, name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if devices.first():
            atomic_write_text(self.out / "seconds.json", json.dumps(self.seconds))


def start(config: Config, out: Path, console: Console) -> Job:
    """Claims the output folder for this configuration, or takes up what an earlier try left there.

    Raises:
        PitlError: if the folder belongs to another configuration or cannot be written.
    """
    _claim(config, out)
    past = out / "seconds.json"
    return Job(config, out, console, json.loads(past.read_text()) if past.exists() else {})


def run(config: Config, out: Path, console: Console) -> None:
    """Everything, from recordings to report."""
    from pitl import report

    evaluate(config, out, console)
    if not devices.first():
        return
    job = start(config, out, console)
    with job.timed("writing the report"):
        path = report.write(out)
    rows = json.loads((out / "metrics.json").read_text())["rows"]
    console.print(report.summary_table(rows))
    lost = report.lost_table(out)
    if lost is not None:
        console.print(lost)
    console.print(f"Report: {path}", soft_wrap=True)


def train(config: Config, out: Path, console: Console) -> None:
    """Generic models alone."""
    job = start(config, out, console)
    _train(job, _prepare(job))


def personalize(config: Config, out: Path, console: Console) -> None:
    """Personalised models; trains generic ones first where they are missing."""
    job = start(config, out, console)
    prepared = _prepare(job)
    _personalize(job, prepared, _train(job, prepared))


def evaluate(config: Config, out: Path, console: Console) -> None:
    """Metrics and traces; makes what is missing first."""
    job = start(config, out, console)
    prepared = _prepare(job)
    inherited = _train(job, prepared)
    _personalize(job, prepared, inherited)
    if devices.first():
        _evaluate(job, prepared, inherited)


def _prepare(job: Job) -> Prepared:
    with job.timed("data"):
        cohort = load_cohort(job.config)
    with job.timed("filtering and labels"):
        prepared = prepare(job.config, cohort)
    trials = len(prepared.table.trials)
    job.console.print(f"{cohort.name}: {len(cohort.subjects)} subjects, {trials} trials, {cohort.joint} model")
    return prepared


def _train(job: Job, prepared: Prepared) -> list[Inherited]:
    """Generic models of every fold and seed; returns them per seed, stacked over people."""
    config = generic.unspoilt(job.config)
    if config != job.config:
        prepared = prepare(config, prepared.cohort)
    split = folds(config, len(prepared.cohort.subjects))
    say = job.console.print
    found = []
    for seed in range(config.evaluate.seeds):
        pairs = []
        for k, fold in enumerate(split):
            with job.timed("generic models"):
                places: dict[generic.Kind, Path] = {
                    kind: generic.folder(job.out / "generic", seed, k, kind) for kind in generic.KINDS
                }
                pairs.append(
                    {
                        kind: generic.trained(config, prepared, fold, k, seed, kind, at, say)
                        for kind, at in places.items()
                    }
                )
        found.append(generic.stacked(prepared, split, pairs))
    return found


def _personalize(job: Job, prepared: Prepared, inherited: list[Inherited]) -> None:
    config = job.config
    split, sides = arms.rows(config, prepared), folds(config, len(prepared.cohort.subjects))
    chosen = _possible(job, prepared)
    for seed, own in enumerate(inherited):
        tasks: dict[Supervision, arms.Task] = {}
        for arm in chosen:
            for supervision in arms.ARMS[arm].grades:
                if supervision not in (*config.evaluate.supervision, *(("none",) if arm.startswith("generic") else ())):
                    continue
                if supervision == "angle_force" and prepared.force_source == "none":
                    continue
                path = job.out / "said" / f"seed{seed}" / f"{arm}-{supervision}.npz"
                if path.exists():
                    continue
                with job.timed(f"arm {arm}, labels: {supervision}"):
                    if supervision not in tasks:
                        tasks[supervision] = arms.Task(
                            supervision, jax.random.key(seed), config, prepared, split, own, sides
                        )
                    answer = arms.run(arm, tasks[supervision])
                if not devices.first():
                    continue
                seconds = tasks[supervision].answered.seconds[arm] / len(split.test)
                if arm == "head_physics" and answer.fitted is not None and seed == 0:
                    _keep_people(job, prepared, own, answer.fitted, supervision)
                if arm == "hill_calibrated" and answer.muscles is not None and seed == 0:
                    _say_muscles(job, prepared, own, answer.muscles, supervision)
                results.keep(path, answer, seconds)


def _possible(job: Job, prepared: Prepared) -> Sequence[str]:
    """The arms of the configuration; where no channel belongs to a muscle, those that need it are left out."""
    chosen = job.config.evaluate.arms
    driven = [a for a in chosen if arms.ARMS[a].needs_electrodes]
    if driven:
        try:
            emg_driven.electrodes(job.config, prepared)
        except PitlError as e:
            job.console.print(f"left out: {', '.join(driven)}, because {e}", soft_wrap=True)
            return [a for a in chosen if a not in driven]
    return chosen


def _say_muscles(job: Job, prepared: Prepared, own: Inherited, fitted: emg_driven.Calibrated, supervision: str) -> None:
    """Which of the EMG-driven model's parameters the data identify, on screen and in hill-SUPERVISION.json."""
    found = emg_driven.identification(prepared, fitted, own.spread)
    atomic_write_text(job.out / f"hill-{supervision}.json", json.dumps(found, indent=1))
    job.console.print(emg_driven.identification_table(found))


def _keep_people(job: Job, prepared: Prepared, own: Inherited, fitted: Any, supervision: str) -> None:
    channels = prepared.cohort.subjects[0].recordings[0].channels
    for s, subject in enumerate(prepared.cohort.subjects):
        one = lambda tree, s=s: jax.tree.map(lambda x: x[s], tree)  # noqa: E731
        bundle.save(
            job.out / "personalized" / f"{subject.name}-{supervision}",
            bundle.Bundle(
                one(fitted.params),
                prepared.net,
                apply_correction(one(prepared.models), one(fitted.correction)),
                stronger(one(own.scale), one(fitted.correction)),
                one(own.spread),
                job.config.emg,
                channels,
                prepared.table.scales[s],
                subject.name,
                {"kind": "personalised", "supervision": supervision, "config": to_dict(job.config)},
            ),
        )


def _evaluate(job: Job, prepared: Prepared, inherited: list[Inherited]) -> None:
    from pitl.report import mechanics

    split = arms.rows(job.config, prepared)
    with job.timed("evaluation"):
        rows = results.score_all(job.out, job.config, prepared, split, inherited)
        results.write_traces(job.out, job.config, prepared, split, inherited)
    if job.config.evaluate.lost_channels:
        with job.timed("lost channels"):
            lost = lost_channels.everyone(job.out, job.config, prepared, split.test)
            if lost is not None:
                atomic_write_text(job.out / lost_channels.FILE, json.dumps(lost, indent=1))
    if job.config.evaluate.intervals:
        with job.timed("intervals"):
            intervals = coverage.everyone(job.out, job.config, prepared, split, inherited[0])
            if intervals is not None:
                atomic_write_text(job.out / coverage.FILE, json.dumps(intervals, indent=1))
    metrics = {"schema": 1, "config": to_dict(job.config), "environment": _environment(job), "rows": rows}
    atomic_write_text(job.out / "metrics.json", json.dumps(metrics, indent=1))
    picture = mechanics.png(jax.tree.map(lambda x: x[0], prepared.models))
    atomic_write_bytes(job.out / "model.png", picture)
    notes = [*prepared.cohort.notes]
    notes += [f"{r.subject}/{r.trial}: {n}" for s in prepared.cohort.subjects for r in s.recordings for n in r.notes]
    notes.append(f"force labels: {prepared.force_source}")
    if prepared.reserve_nm > 0.5:
        notes.append(
            f"static optimisation needed a reserve torque of up to {prepared.reserve_nm:.1f} N m where the muscles "
            "could not carry the load"
        )
    atomic_write_text(job.out / "notes.json", json.dumps(notes, indent=1))


def _environment(job: Job) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "pitl": pitl.__version__,
        "wall_seconds": {**job.seconds, "total": sum(job.seconds.values())},
        "command": " ".join(["pitl", *(Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:])]),
    }


def _claim(config: Config, out: Path) -> None:
    """Marks the folder as this configuration's, so that a resumed run never mixes two."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise PitlError(f"cannot make the output folder {out}: {e.strerror}; choose another with --out.") from e
    digest = hashlib.sha256(json.dumps(to_dict(config), sort_keys=True, default=str).encode()).hexdigest()
    mark = out / "run.json"
    if mark.exists():
        found = json.loads(mark.read_text())
        if found.get("digest") != digest:
            raise PitlError(
                f"{out} holds results of another configuration ({found.get('name')}); "
                "choose another --out, or delete that folder."
            )
    else:
        atomic_write_text(mark, json.dumps({"name": config.name, "digest": digest}))


@contextmanager
def _line(console: Console, name: str) -> Iterator[None]:
    console.print(f"{name} ...")
    yield
