"""One worker of a study: takes whatever is not done and not taken, generic models first, and leaves answers as files.

OUT/generic/DIGEST/seed0/fold0/data|physics   generic models, shared by all cells that would train the same
OUT/cells/COHORT-DIGEST/seed0-ARM-GRADE.csv   errors of everybody under one arm; .failed.txt says what went wrong
OUT/locks/                                    who works on what at the moment
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
from pitl import arms, coverage, generic, results
from pitl.arms import Rows
from pitl.config import Config
from pitl.errors import PitlError
from pitl.outputs import atomic_write_text
from pitl.prepare import Prepared, folds, load_cohort, prepare
from pitl.schema import Arm, Supervision
from pitl.study import plan, table
from pitl.study.claims import claim
from pitl.study.plan import Cell, Study

_WAIT_S = 1.0  # between looks at what others are doing
_KEPT = 2  # prepared cohorts in memory
_FAILED = ".failed.txt"


@dataclass(frozen=True)
class Answer:
    """One arm under one cell and seed, for everybody."""

    cell: Cell
    seed: int
    arm: Arm
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
    prepared: OrderedDict[str, tuple[Prepared, Rows]] = field(default_factory=OrderedDict)

    def ready(self, config: Config) -> tuple[Prepared, Rows]:
        """The cohort of a configuration, kept for the next cell that has the same."""
        key = json.dumps(plan.decides(config), sort_keys=True) + str(config.data.dir)
        if key not in self.prepared:
            while len(self.prepared) >= _KEPT:
                self.prepared.popitem(last=False)
            found = prepare(config, load_cohort(config))
            self.prepared[key] = found, arms.rows(config, found)
        self.prepared.move_to_end(key)
        return self.prepared[key]


def answers(study: Study, out: Path) -> list[Answer]:
    """Everything that the study asks for, in order; a cell that cannot be read asks for nothing."""
    found = []
    for cell in study.cells:
        if cell.config is None:
            continue
        place = folder(cell, out)
        for seed in range(cell.seeds):
            for arm, supervision in asked(cell):
                path = place / f"seed{seed}-{arm}-{supervision}.csv"
                found.append(Answer(cell, seed, arm, supervision, path))
    return found


def asked(cell: Cell) -> Iterator[tuple[Arm, Supervision]]:
    """Arms of a cell in the grades that it asks for and they have; generic models need no label."""
    for arm in cell.arms:
        for grade in arms.ARMS[arm].grades:
            wanted = grade in cell.supervision or (grade == "none" and arm.startswith("generic"))
            unlabelled = cell.config is not None and cell.config.data.force_labels == "none"
            if wanted and not (grade == "angle_force" and unlabelled):
                yield arm, grade


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
) -> None:
    """Works until every answer is there or has failed.

    Args:
        study: what to do.
        out: folder that all workers share.
        say: told of progress.
        alive: whether to go on; looked at between pieces of work.
        only: cells to work on, by patterns of names; all if empty.
    """
    every = [a for a in answers(study, out) if not only or any(fnmatch(a.cell.name, p) for p in only)]
    distinct = list({a.path: a for a in reversed(every)}.values())[::-1]  # the first cell to ask gives its name
    desk = Desk(out, lambda text: say(f"[{sum(a.settled for a in distinct)}/{len(distinct)}] {text}"))
    groups: dict[tuple[Path, int], list[Answer]] = {}
    for a in distinct:
        groups.setdefault((a.path.parent, a.seed), []).append(a)
    while alive():
        open_ = [g for g in groups.values() if not all(a.settled for a in g)]
        if not open_:
            return
        moved = False
        for group in open_:
            if not alive():
                return
            moved = _group(desk, group) or moved
        if not moved:
            time.sleep(_WAIT_S)


def _group(desk: Desk, group: list[Answer]) -> bool:
    """Does what can be done of the arms of one cell and seed; whether anything was."""
    first = group[0]
    cell, seed = first.cell, first.seed
    assert cell.config is not None and cell.generic is not None
    try:
        _same_defaults(first.path.parent / "settings.json", plan.decides(cell.config))
        inherited, moved = _inherited(desk, cell.generic, seed)
        if inherited is None:
            return moved
        prepared, split = desk.ready(cell.config)
        own = generic.stacked(prepared, folds(cell.config, len(prepared.cohort.subjects)), inherited)
    except Exception as e:
        for a in group:
            if not a.settled:
                atomic_write_text(a.failure, _sentence(e))
        desk.say(f"{cell.name} seed {seed} failed: {_sentence(e)}")
        return True
    tasks: dict[Supervision, arms.Task] = {}
    for a in group:
        if a.settled:
            continue
        if a.supervision not in tasks:
            sides = folds(cell.config, len(prepared.cohort.subjects))
            tasks[a.supervision] = arms.Task(
                a.supervision, jax.random.key(seed), cell.config, prepared, split, own, sides
            )
        with claim(_lock(desk.out, a.path)) as taken:
            if not taken or a.settled:
                continue
            moved = True
            began = time.perf_counter()
            try:
                rows = _answer(a, tasks[a.supervision])
                table.write(a.path, table.ANSWER, rows)
                end = f"{time.perf_counter() - began:.1f} s"
            except Exception as e:
                atomic_write_text(a.failure, _sentence(e))
                end = f"failed: {_sentence(e)}"
        desk.say(f"{cell.name} seed {seed}: {a.arm}, labels: {a.supervision}, {end}")
    return moved


def _answer(a: Answer, task: arms.Task) -> list[table.Row]:
    config, prepared, split = task.config, task.prepared, task.split
    if a.supervision == "angle_force" and prepared.force_source == "none":
        return []
    people = prepared.cohort.subjects
    found = arms.run(a.arm, task)
    about = {
        "arm": a.arm,
        "supervision": a.supervision,
        "seed": a.seed,
        "seconds": task.answered.seconds[a.arm] / len(people),
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
    if a.cell.role == "main" and a.seed == 0 and a.arm in coverage.ARMS:
        before = earlier = None
        if a.supervision != "none":
            before = coverage.kept_out(task)
            earlier = arms.run(a.arm, before).said
        intervals = coverage.arm_coverage(task, a.arm, found.said, before, earlier)
        for name, own_row in of_person.items():
            own_row |= _intervals(intervals, name)
    spread = np.asarray(task.inherited.spread.force)
    scored = results.score(prepared, split, spread, found.said)
    return [{**row, **about, **of_person[row["subject"]]} for row in scored]


def _intervals(found: list[dict[str, Any]], name: str) -> dict[str, float]:
    """How often one person's intervals hold, and their width, over the outputs of a kind."""
    row = {}
    for kind, unit in (("angle", "deg"), ("force", "n")):
        mine = [f["people"][name] for f in found if f["kind"] == kind]
        if mine:
            row[f"{kind}_coverage"] = float(np.mean([m["coverage"] for m in mine]))
            row[f"{kind}_width_{unit}"] = float(np.mean([m["width"] for m in mine]))
    return row


def _inherited(desk: Desk, config: Config, seed: int) -> tuple[list[dict[generic.Kind, Any]] | None, bool]:
    """Generic models of every fold; None while some are missing, and whether anything was done about it."""
    config = generic.unspoilt(config)
    name = _generic_digest(config)
    root = desk.out / "generic" / name
    _same_defaults(root / "settings.json", generic.decides(config))
    prepared = desk.ready(config)[0]
    split = folds(config, len(prepared.cohort.subjects))
    pairs: list[dict[generic.Kind, Any]] = [{} for _ in split]
    moved, complete = False, True
    for k, fold in enumerate(split):
        for kind in generic.KINDS:
            at = generic.folder(root, seed, k, kind)
            if not at.is_dir():
                with claim(_lock(desk.out, at)) as taken:
                    if not taken:
                        complete = False
                        continue
                    moved = True
                    generic.trained(config, prepared, fold, k, seed, kind, at, lambda t: desk.say("generic" + t))
            pairs[k][kind] = at
    if not complete:
        return None, moved
    load = generic.trained
    return [
        {kind: load(config, prepared, fold, k, seed, kind, at, desk.say) for kind, at in pair.items()}
        for k, (fold, pair) in enumerate(zip(split, pairs, strict=True))
    ], moved


def _generic_digest(config: Config) -> str:
    return plan.digest(generic.decides(config), generic.decides(Config()), plan.files(config))


def _same_defaults(path: Path, settings: dict[str, Any]) -> None:
    """Keeps the settings beside what they made, and refuses what was made with other defaults."""
    if not path.exists():
        atomic_write_text(path, json.dumps(settings, indent=1))
        return
    before = json.loads(path.read_text())
    for section, values in settings.items():
        for key, value in values.items():
            old = before.get(section, {}).get(key, value)
            if old != json.loads(json.dumps(value)):
                raise PitlError(
                    f"{path.parent} was made when {section}.{key} was {old}, now it is {value}; "
                    "delete that folder, or choose another --out."
                )


def _lock(out: Path, path: Path) -> Path:
    return out / "locks" / ("-".join(path.relative_to(out).with_suffix("").parts) + ".lock")


def _sentence(error: Exception) -> str:
    if isinstance(error, PitlError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}: {text}"


@cache
def code() -> str:
    """Version of the program by its own files, so that a table says when it mixes two."""
    found = hashlib.sha256()
    root = Path(pitl.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:8]


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
