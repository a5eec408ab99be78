"""The comparison: data, generic models, personalised models, evaluation; what a killed run finished is kept.

OUT/run.json                                   which configuration this folder belongs to
OUT/generic/seed0/fold0/data|physics           generic models of the comparison, each without the people it is for
OUT/predictions/seed0/METHOD-SUPERVISION.npz   every method's estimates on everyone's test rows
OUT/personalized/SUBJECT-SUPERVISION           models of the comparison, which saw the calibration part alone
OUT/models/generic, OUT/models/SUBJECT         the models to use: trained on everything
OUT/limb                                       the limb model of the first person
OUT/hill-SUPERVISION.json                      what the data identify of the EMG-driven model
OUT/metrics.json, traces/, learned.json, notes.json, lost_channels.json, uncertainty.json
OUT/sums.json                                  digests of what the report reads
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
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from pitl import __version__
from pitl.comparison import coverage, folds, lost_channels, results, seal
from pitl.comparison.folds import GenericModels, make_folds
from pitl.comparison.methods import run_method
from pitl.comparison.task import Finished, Task
from pitl.config.methods import METHODS
from pitl.config.schema import Config, Supervision
from pitl.config.toml import change, load, to_dict
from pitl.data.load import load_cohort
from pitl.errors import PitlError
from pitl.files import atomic_write_text, safe_name, sweep, writing
from pitl.learn import api, devices, efforts, emg_driven, stacked
from pitl.learn.model import Model
from pitl.learn.personal import PersonalFit
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import Split, split_rows
from pitl.mechanics import library


@dataclass(frozen=True)
class Job:
    """What the steps of one run share."""

    config: Config
    out: Path
    console: Console
    seconds: dict[str, float]  # wall time of each step, earlier tries at the same run counted in
    edited: frozenset[str] = frozenset()  # files that are not as an earlier try left them

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the wall time of a step to the record, says that it runs, and drops its programs if there are many."""
        start = time.perf_counter()
        with show_step(self.console, name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if devices.first():
            atomic_write_text(self.out / "seconds.json", json.dumps(self.seconds))
        devices.drop_programs()


def start(config: Config, out: Path, console: Console) -> Job:
    """Claims the output folder for this configuration, or takes up what an earlier try left there.

    Raises:
        PitlError: if the folder belongs to another configuration or cannot be written.
    """
    _claim(config, out)
    if devices.first():
        sweep(out)
    return Job(config, out, console, _past_seconds(out / "seconds.json", console), _edited(out, console))


def _edited(out: Path, console: Console) -> frozenset[str]:
    """Files that were changed after an earlier try was done; they are made again, and that is said."""
    try:
        found = seal.changed(out)
    except PitlError:
        found = [seal.FILE]
    if found:
        console.print(
            f"{', '.join(found)} in {out}: not as the run left it, and made again.", soft_wrap=True, markup=False
        )
    return frozenset(found)


def _past_seconds(path: Path, console: Console) -> dict[str, float]:
    """Wall times of earlier tries, which are no more than a record: none if the file is damaged."""
    found = _json(path) if path.exists() else {}
    if isinstance(found, dict) and all(isinstance(v, int | float) and v >= 0 for v in found.values()):
        return found
    console.print(f"{path} is damaged; the wall times of earlier tries are not counted.", soft_wrap=True, markup=False)
    return {}


def _json(path: Path) -> Any:
    """What a file holds, None if it cannot be read, or holds a number that is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=int)
    except (OSError, ValueError, RecursionError):
        return None


def compare(
    config: Config | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    **sections: dict[str, Any],
) -> list[dict[str, Any]]:
    """Compares methods on people left out in turn, and returns one row of errors for each person, method and seed.

    Args:
        config: settings, or a TOML file of them.
        data: folder with recordings, in place of the configuration's.
        out: folder for everything that is made; `runs/NAME` if None. The same call goes on where it stopped.
        sections: changes, such as `evaluate={"methods": ("head_physics", "svr")}`.

    Raises:
        PitlError: the recordings or the settings do not allow it, or the folder holds results of other settings.

    Example:
        rows = pitl.compare("configs/own.toml", data="recordings")
    """
    settings = config if isinstance(config, Config) else load(config)
    changed = {name: {**getattr(settings, name).model_dump(), **values} for name, values in sections.items()}
    if data is not None:
        changed["data"] = {**settings.data.model_dump(), **changed.get("data", {}), "dir": str(Path(data).resolve())}
    settings = change(settings, **changed) if changed else settings
    folder = Path(out) if out is not None else Path("runs") / settings.name
    evaluate(settings, folder, Console(quiet=True))
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["rows"]


def evaluate(config: Config, out: Path, console: Console, *, models: bool = False) -> None:
    """Metrics and traces of every method, and if asked for the final models; makes first what is missing."""
    job = start(config, out, console)
    prepared = _prepare(job)
    generic = _train(job, prepared)
    split = split_rows(
        prepared, labelled_fraction=config.data.labelled_fraction, unlabelled=config.personalize.unlabelled
    )
    _personalize(job, prepared, split, generic)
    if devices.first():
        _evaluate(job, prepared, split, generic)
        if models:
            _make_models(job, prepared, split, generic)


def _prepare(job: Job) -> Prepared:
    with job.timed("data"):
        cohort = load_cohort(job.config, lambda text: job.console.print(text, soft_wrap=True, markup=False))
    with job.timed("filtering and labels"):
        prepared = prepare(job.config, cohort)
    trials = len(prepared.table.trials)
    job.console.print(f"{cohort.name}: {len(cohort.subjects)} subjects, {trials} trials, {cohort.joint} model")
    return prepared


def _train(job: Job, prepared: Prepared) -> list[GenericModels]:
    """Generic models of every fold, of each seed, stacked over people."""
    config = folds.without_perturbation(job.config)
    if config != job.config:
        prepared = prepare(config, prepared.cohort)
    split = make_folds(config.evaluate, config.train, len(prepared.cohort.subjects))
    of_seed, kinds = [], folds.kinds_of(config.evaluate.methods)
    for seed in range(config.evaluate.seeds):

        def train(k: int, seed: int = seed) -> dict[folds.Kind, Model]:
            at = {kind: folds.folder(job.out / "generic", seed, k, kind) for kind in kinds}
            say = job.console.print
            return {
                kind: folds.train_fold(config.train, prepared, split[k], k, seed, kind, at[kind], say) for kind in kinds
            }

        with job.timed("generic models"):
            first = train(0)  # compiles what the others use
            pairs = [first, *devices.together([partial(train, k) for k in range(1, len(split))])]
        of_seed.append(folds.stack_over_people(prepared, split, pairs))
    return of_seed


def _personalize(job: Job, prepared: Prepared, split: Split, generic: list[GenericModels]) -> None:
    config = job.config
    sides = make_folds(config.evaluate, config.train, len(prepared.cohort.subjects))
    chosen = _possible(job, prepared)
    kept = next((m for m in results.PERSONAL if m in chosen), None)
    for seed, models in enumerate(generic):
        tasks: dict[Supervision, Task] = {}
        shared: dict[str, Any] = {}  # what source people say is the same for every grade
        for method in chosen:
            for supervision in grades(config, prepared, method):
                path = results.path_of(job.out, seed, method, supervision)
                if results.read_result(path, split.test) is not None and not (
                    seed == 0 and _lacks(job, prepared, (method, supervision), kept)
                ):
                    continue
                with job.timed(f"method {method}, labels: {supervision}"):
                    if supervision not in tasks:
                        key = jax.random.key(seed)
                        start = Finished({}, {}, [], shared)
                        tasks[supervision] = Task(
                            supervision, key, config, prepared, split, models, sides, finished=start
                        )
                    result = run_method(method, tasks[supervision])
                if not devices.first():
                    continue
                seconds = tasks[supervision].finished.seconds[method] / len(split.test)
                if method == kept and result.fitted is not None and seed == 0:
                    _keep_people(job, prepared, result.fitted, supervision)
                if method == "emg_driven_measured" and result.muscles is not None and seed == 0:
                    _keep_muscles(job, prepared, models, result.muscles, supervision)
                results.keep(path, (method, supervision, seed), result, seconds)


def _lacks(job: Job, prepared: Prepared, made: tuple[str, str], kept: str | None) -> bool:
    """Whether something that a method, with its labels, leaves beside its estimates is missing or damaged."""
    method, supervision = made
    if method == "emg_driven_measured":
        name = f"hill-{supervision}.json"
        return not isinstance(_json(job.out / name), dict) or name in job.edited
    people = [s.name for s in prepared.cohort.subjects] if method == kept else []
    return any(_usable(job, results.folder_of(job.out, name, supervision), name) is None for name in people)


def _usable(job: Job, folder: Path, name: str | None) -> Model | None:
    """The model of a person, or of everybody, that an earlier try left, if it is whole; says so if it is not."""
    if not folder.is_dir():
        return None
    try:
        model = Model.load(folder)
        if model.subject != name:
            raise PitlError(
                f"{folder} holds the model of {model.subject or 'everybody'}, not of {name or 'everybody'}."
            )
    except PitlError as e:
        job.console.print(f"{e} It is made again now.", soft_wrap=True, markup=False)
        return None
    return model


def grades(config: Config, prepared: Prepared, method: str) -> list[Supervision]:
    """Grades of supervision of a method that are asked for and possible; generic models need no label."""
    wanted: tuple[Supervision, ...] = (
        *config.evaluate.supervision,
        *(("none",) if METHODS[method].grades == ("none",) else ()),
    )
    possible: list[Supervision] = [g for g in METHODS[method].grades if g in wanted]
    lacking = {
        "angle_force": prepared.force_source == "none",
        "angle_torque": not all(efforts.made_efforts(prepared)),
    }
    return [g for g in possible if not lacking.get(g)]


def _possible(job: Job, prepared: Prepared) -> Sequence[str]:
    """The methods of the configuration; where no channel belongs to a muscle, those that need it are left out."""
    chosen = job.config.evaluate.methods
    driven = [m for m in chosen if METHODS[m].needs_electrodes]
    if driven:
        try:
            emg_driven.electrodes(prepared)
        except PitlError as e:
            job.console.print(f"left out: {', '.join(driven)}, because {e}", soft_wrap=True)
            return [m for m in chosen if m not in driven]
    return chosen


def _keep_muscles(
    job: Job, prepared: Prepared, models: GenericModels, fitted: emg_driven.Calibrated, supervision: str
) -> None:
    """Which of the EMG-driven model's parameters the data identify, in hill-SUPERVISION.json."""
    found = emg_driven.identification(prepared, fitted, models.physics.spread)
    atomic_write_text(job.out / f"hill-{supervision}.json", json.dumps(found, indent=1))


def _keep_people(job: Job, prepared: Prepared, fitted: PersonalFit, supervision: str) -> None:
    for s, subject in enumerate(prepared.cohort.subjects):
        own: Model = stacked.take(fitted.model, s)
        own = own.replace(
            channel_scale=prepared.table.scales[s], people=(subject.name,), personalize=prepared.personalize
        )
        own = own.with_history(kind="personal", labels=supervision, config=to_dict(job.config))
        own.save(results.folder_of(job.out, subject.name, supervision))


def _make_models(job: Job, prepared: Prepared, split: Split, compared: list[GenericModels]) -> None:
    """The models to use: a generic one of everybody, and everybody's own, on all of the data.

    The generic models that were compared had left people out: by them everybody is played as new.
    """
    root, config, cohort = job.out / "models", folds.without_perturbation(job.config), prepared.cohort
    # a person may be called like the folder of the generic model
    wanted = [root / safe_name(s.name if s.name != "generic" else "generic (a person)") for s in cohort.subjects]
    with job.timed("model of everybody"):
        generic = _usable(job, root / "generic", None)
        if generic is None:
            clean = prepared if config == job.config else prepare(config, cohort)
            without_each = {p: stacked.take(compared[0].physics, p) for p in range(len(cohort.subjects))}
            generic = api.train_prepared(clean, config, without_each)
            generic.save(root / "generic")
    with job.timed("models of each person"):
        names = [s.name for s in cohort.subjects]
        if any(_usable(job, folder, name) is None for folder, name in zip(wanted, names, strict=True)):
            labels = "angle" if "angle" in config.evaluate.supervision else config.evaluate.supervision[0]
            trust = _trust(job, prepared, split, labels)
            people = api.personalize_model(generic, cohort, labels=labels, config=config, trust=trust)
            for subject, folder in zip(cohort.subjects, wanted, strict=True):
                own = people[subject.name]
                own.with_history(trust=people.history["trust"].get(subject.name, {})).save(folder)


def _trust(job: Job, prepared: Prepared, split: Split, labels: Supervision) -> dict[str, Any] | None:
    """What the comparison says of the way in which the final models are made, by generic models without the person.

    None where it was not compared, or on recordings that were changed.
    """
    config = job.config
    method = "deviation" if config.personalize.deviation else "head_physics"
    found = results.read_result(results.path_of(job.out, 0, method, labels), split.test)
    if found is None or config != folds.without_perturbation(config):
        return None
    return api.trust_of(prepared, split.test, found.estimates, config.data, labels)


def _evaluate(job: Job, prepared: Prepared, split: Split, generic: list[GenericModels]) -> None:
    config = job.config
    with writing(job.out / seal.FILE):
        (job.out / seal.FILE).unlink(missing_ok=True)
    with job.timed("evaluation"):
        rows = results.score_all(job.out, prepared, split, generic)
        results.write_traces(job.out, config.evaluate.supervision, prepared, split)
    if config.evaluate.lost_channels:
        with job.timed("lost channels"):
            lost = lost_channels.everyone(job.out, config, prepared, split.test)
            if lost is not None:
                atomic_write_text(job.out / lost_channels.FILE, json.dumps(lost, indent=1))
    if config.evaluate.intervals:
        with job.timed("intervals"):
            sides = make_folds(config.evaluate, config.train, len(prepared.cohort.subjects))
            task = Task(config.evaluate.supervision[0], jax.random.key(0), config, prepared, split, generic[0], sides)
            intervals = coverage.everyone(job.out, task)
            if intervals is not None:
                atomic_write_text(job.out / coverage.FILE, json.dumps(intervals, indent=1))
    library.save(job.out / "limb", stacked.take(prepared.limbs, 0), {"from": "a run"})
    notes = [*prepared.cohort.notes]
    notes += [f"{r.subject}/{r.trial}: {n}" for s in prepared.cohort.subjects for r in s.recordings for n in r.notes]
    notes.append(f"force labels: {prepared.force_source}")
    if prepared.reserve_nm > 0.5:
        notes.append(
            f"static optimisation needed a reserve torque of up to {prepared.reserve_nm:.1f} N m where the muscles "
            "could not carry the load"
        )
    atomic_write_text(job.out / "notes.json", json.dumps(notes, indent=1))
    metrics = {"schema": 2, "config": to_dict(config), "environment": _environment(job), "rows": rows}
    atomic_write_text(job.out / "metrics.json", json.dumps(metrics, indent=1))
    seal.seal(job.out)


def _environment(job: Job) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "pitl": __version__,
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
        result = _json(mark)
        if not isinstance(result, dict) or "digest" not in result:
            raise PitlError(
                f"{mark} is damaged, so nobody knows which settings made this folder; choose another --out, or delete "
                "that folder."
            )
        if result["digest"] != digest:
            raise PitlError(
                f"{out} holds results of another configuration ({result.get('name')}); "
                "choose another --out, or delete that folder."
            )
    elif there := [n for n in ("generic", "predictions", "models", "metrics.json") if (out / n).exists()]:
        raise PitlError(
            f"{out} holds {there[0]} but no run.json, so nobody knows which settings made it; choose another --out, or "
            "delete that folder."
        )
    else:
        atomic_write_text(mark, json.dumps({"name": config.name, "digest": digest}))


@contextmanager
def show_step(console: Console, name: str) -> Iterator[None]:
    """Says what runs now: at its end no more in a terminal, in a line of its own elsewhere."""
    if console.is_terminal:
        with console.status(name):
            yield
    else:
        console.print(f"{name} ...")
        yield
