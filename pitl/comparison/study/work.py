"""One worker of a study: makes what is its share and not done, generic models first, and leaves errors as files.

OUT/generic/DIGEST/seed0/fold0/data|physics   generic models, shared by all cells that would train the same
OUT/cells/COHORT-DIGEST/seed0-METHOD-GRADE.csv   errors of everybody under one method; .failed.txt says what went wrong
"""

import hashlib
import json
import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

import pitl
from pitl.comparison import coverage, folds, results
from pitl.comparison.methods import run_method
from pitl.comparison.study import plan, table
from pitl.comparison.study.plan import Cell, Study
from pitl.comparison.task import Finished, Task
from pitl.config.methods import METHODS
from pitl.config.schema import Config, Supervision
from pitl.data.load import load_cohort
from pitl.errors import PitlError
from pitl.files import atomic_write_text
from pitl.learn import devices
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import Split, split_rows

_KEPT = 2  # prepared cohorts in memory
_FAILED = ".failed.txt"
_CONFORMAL = tuple(m for m in coverage.WITH_INTERVALS if m not in coverage.POSTERIOR)
_OF_THE_PERSON = ("calibration_fraction", "calibration_repetitions", "test_after", "gap_s")


@dataclass(frozen=True)
class MethodRun:
    """One method under one cell and seed, for everybody."""

    cell: Cell
    seed: int
    method: str
    supervision: Supervision
    path: Path  # where its errors are kept

    @property
    def failure(self) -> Path:
        return self.path.with_suffix(_FAILED)

    @property
    def settled(self) -> bool:
        return self.path.exists() or self.failure.exists()


@dataclass
class Desk:
    """What one worker has at hand."""

    out: Path
    say: Callable[[str], None]
    prepared: OrderedDict[str, tuple[Prepared, Split]] = field(default_factory=OrderedDict)
    sources: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)

    def ready(self, config: Config) -> tuple[Prepared, Split]:
        """The cohort of a configuration, kept for the next cell that has the same."""
        key = json.dumps(plan.decides(config), sort_keys=True) + str(config.data.dir)
        if key not in self.prepared:
            while len(self.prepared) >= _KEPT:
                self.prepared.popitem(last=False)
            result = prepare(config, load_cohort(config))
            self.prepared[key] = (
                result,
                split_rows(
                    result,
                    labelled_fraction=config.data.labelled_fraction,
                    unlabelled=config.personalize.unlabelled,
                ),
            )
        self.prepared.move_to_end(key)
        return self.prepared[key]

    def shared(self, config: Config, seed: int) -> dict[str, Any]:
        """What methods find out from source people alone, the same for every amount of a new person's calibration."""
        settings = plan.decides(config)
        if config.data.kind == "virtual" or config.data.offset_fraction is not None:
            for key in _OF_THE_PERSON:  # else they also say which part of a recording shows its sign and zero
                settings["data"].pop(key)
        name = json.dumps([settings, seed], sort_keys=True) + str(config.data.dir)
        if name not in self.sources:
            while len(self.sources) >= _KEPT:
                self.sources.popitem(last=False)
            self.sources[name] = {}
        return self.sources[name]


def answers(study: Study, out: Path) -> list[MethodRun]:
    """Everything that the study asks for, in order; a cell that cannot be read asks for nothing."""
    result = []
    for cell in study.cells:
        if cell.config is None:
            continue
        place = folder(cell, out)
        for seed in range(cell.seeds):
            for method, supervision in asked(cell):
                path = place / f"seed{seed}-{method}-{supervision}.csv"
                result.append(MethodRun(cell, seed, method, supervision, path))
    return result


def asked(cell: Cell) -> Iterator[tuple[str, Supervision]]:
    """Methods of a cell in the grades that it asks for and they have; generic models need no label."""
    for method in cell.methods:
        for grade in METHODS[method].grades:
            wanted = grade in cell.supervision or METHODS[method].grades == ("none",)
            unlabelled = cell.config is not None and cell.config.data.force_labels == "none"
            if wanted and not (grade == "angle_force" and unlabelled):
                yield method, grade


def folder(cell: Cell, out: Path) -> Path:
    """Where a cell's answers lie: cells with the same configuration and generic models share them."""
    assert cell.config is not None and cell.generic is not None
    usual = plan.decides(Config())
    name = plan.digest(plan.decides(cell.config), usual, _generic_digest(cell.generic), plan.files(cell.config))
    return out / "cells" / f"{cell.cohort}-{name}"


def work(
    study: Study,
    out: Path,
    say: Callable[[str], None],
    alive: Callable[[], bool] = lambda: True,
    only: tuple[str, ...] = (),
    share: tuple[int, int] = (0, 1),
) -> None:
    """Works until everything of this worker's share is there or has failed.

    Args:
        study: what to do.
        out: folder that all workers share.
        say: told of progress.
        alive: whether to go on; looked at between pieces of work.
        only: cells to work on, by patterns of names; all if empty.
        share: number of this worker and of all; who meets the same generic models works with them alone.
    """
    every = [a for a in answers(study, out) if not only or any(fnmatch(a.cell.name, p) for p in only)]
    distinct = list({a.path: a for a in reversed(every)}.values())[::-1]  # the first cell to ask gives its name
    desk = Desk(out, lambda text: say(f"[{sum(a.settled for a in distinct)}/{len(distinct)}] {text}"))
    groups: dict[tuple[Path, int], list[MethodRun]] = {}
    of_generic: dict[tuple[str, int], int] = {}
    for a in distinct:
        assert a.cell.generic is not None
        number = of_generic.setdefault((_generic_digest(a.cell.generic), a.seed), len(of_generic))
        if number % share[1] == share[0]:
            groups.setdefault((a.path.parent, a.seed), []).append(a)
    for group in groups.values():
        if not alive():
            return
        if not all(a.settled for a in group):
            _group(desk, group)


def _group(desk: Desk, group: list[MethodRun]) -> None:
    """The methods of one cell and seed."""
    first = group[0]
    cell, seed = first.cell, first.seed
    assert cell.config is not None and cell.generic is not None
    try:
        _same_defaults(first.path.parent / "settings.json", plan.decides(cell.config))
        pairs = _generic_models(desk, cell.generic, seed)
        prepared, split = desk.ready(cell.config)
        sides = _folds(cell.config, prepared)
        models = folds.stack_over_people(prepared, sides, pairs)
    except Exception as e:
        for a in group:
            if not a.settled:
                atomic_write_text(a.failure, _sentence(e))
        desk.say(f"{cell.name} seed {seed} failed: {_sentence(e)}")
        return
    tasks: dict[Supervision, Task] = {}
    for a in group:
        if a.settled:
            continue
        if a.supervision not in tasks:
            key = jax.random.key(seed)
            start = Finished({}, {}, [], desk.shared(cell.config, seed))
            tasks[a.supervision] = Task(a.supervision, key, cell.config, prepared, split, models, sides, finished=start)
        began = time.perf_counter()
        try:
            table.write(a.path, table.ANSWER, _answer(a, tasks[a.supervision]))
            end = f"{time.perf_counter() - began:.1f} s"
        except Exception as e:
            atomic_write_text(a.failure, _sentence(e))
            end = f"failed: {_sentence(e)}"
        devices.drop_programs()
        desk.say(f"{cell.name} seed {seed}: {a.method}, labels: {a.supervision}, {end}")


def _folds(config: Config, prepared: Prepared) -> tuple[folds.Fold, ...]:
    return folds.make_folds(config.evaluate, config.train, len(prepared.cohort.subjects))


def _answer(a: MethodRun, task: Task) -> list[table.Row]:
    config, prepared, split = task.config, task.prepared, task.split
    if a.supervision == "angle_force" and prepared.force_source == "none":
        return []
    people = prepared.cohort.subjects
    result = run_method(a.method, task)
    about = {
        "method": a.method,
        "supervision": a.supervision,
        "seed": a.seed,
        "seconds": task.finished.seconds[a.method] / len(people),
        "forces": prepared.force_source,
        "device": f"{jax.devices()[0].device_kind} x{os.cpu_count()}",
        "code": code(),
    }
    of_person = {}
    for s, (person, rows) in enumerate(zip(people, split.test, strict=True)):
        parts = [t for t in prepared.table.trials if t.subject == s and t.has_angle]
        offset = min(t.start for t in prepared.table.trials if t.subject == s)
        of_person[person.name] = {
            "calibration_s": sum(t.calibration_stop - t.start for t in parts) / config.emg.rate_hz,
            "test_rows": len(rows),
            "test_mark": hashlib.sha256((rows - offset).tobytes()).hexdigest()[:8],
        }
    if a.cell.role == "main" and a.seed == 0 and a.method in _CONFORMAL:
        before = earlier = None
        if a.supervision != "none":
            before = coverage.kept_out(task)
            earlier = run_method(a.method, before).estimates
        intervals = coverage.method_coverage(task, a.method, result.estimates, before, earlier).outputs
        for name, own_row in of_person.items():
            own_row |= _intervals(intervals, name)
    elif a.method in coverage.POSTERIOR:
        for own_row, own in zip(of_person.values(), coverage.of_posterior(task, result.estimates), strict=True):
            own_row |= {"angle_coverage": own.coverage, "angle_width_deg": own.width_deg}
    spread = np.asarray(task.generic.physics.spread.force)
    scored = results.score(prepared, split, spread, result.estimates)
    return [{**row, **about, **of_person[row["subject"]]} for row in scored]


def _intervals(result: list[dict[str, Any]], name: str) -> dict[str, float]:
    """How often one person's intervals hold, and their width, over the outputs of a kind."""
    row = {}
    for kind, unit in (("angle", "deg"), ("force", "n")):
        mine = [f["people"][name] for f in result if f["kind"] == kind]
        if mine:
            row[f"{kind}_coverage"] = float(np.mean([m["coverage"] for m in mine]))
            row[f"{kind}_width_{unit}"] = float(np.mean([m["width"] for m in mine]))
    return row


def _generic_models(desk: Desk, config: Config, seed: int) -> list[dict[folds.Kind, Model]]:
    """Generic models of every fold, trained if they are not there."""
    config = folds.without_perturbation(config)
    root = desk.out / "generic" / _generic_digest(config)
    _same_defaults(root / "settings.json", folds.decisive_settings(config))
    prepared = desk.ready(config)[0]

    def model(k: int, fold: folds.Fold, kind: folds.Kind) -> Model:
        at = folds.folder(root, seed, k, kind)
        return folds.train_fold(config.train, prepared, fold, k, seed, kind, at, lambda t: desk.say("generic" + t))

    return [{kind: model(k, fold, kind) for kind in folds.KINDS} for k, fold in enumerate(_folds(config, prepared))]


def _generic_digest(config: Config) -> str:
    return plan.digest(folds.decisive_settings(config), folds.decisive_settings(Config()), plan.files(config))


def _same_defaults(path: Path, settings: dict[str, Any]) -> None:
    """Keeps the settings beside what they made, and refuses what was made with other defaults."""
    if not path.exists():
        atomic_write_text(path, json.dumps(settings, indent=1))
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(values, dict) for values in before.values()):
            raise ValueError("no tables of settings")
    except (OSError, ValueError, AttributeError, RecursionError) as e:
        raise PitlError(
            f"{path} is damaged ({e}), so nobody knows which settings made this folder; choose another --out."
        ) from e
    for section, values in settings.items():
        for key, value in values.items():
            old = before.get(section, {}).get(key, value)
            if old != json.loads(json.dumps(value)):
                raise PitlError(
                    f"{path.parent} was made when {section}.{key} was {old}, now it is {value}; "
                    "delete that folder, or choose another --out."
                )


def _sentence(error: Exception) -> str:
    if isinstance(error, PitlError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}: {text}"


@cache
def code() -> str:
    """Version of the program by its own files, so that a table says when it mixes two."""
    result = hashlib.sha256()
    root = Path(pitl.__file__).parent
    for path in sorted(root.rglob("*.py")):
        result.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return result.hexdigest()[:8]


def environment() -> dict[str, Any]:
    """What the numbers were made on."""
    import platform

    return {
        "device": jax.devices()[0].device_kind,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "pitl": pitl.__version__,
        "code": code(),
    }
