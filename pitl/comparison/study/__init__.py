"""A study: many cells, each a configuration under which methods are compared, from one file to one table and one page.

OUT/study.csv    every error (see `pitl.comparison.study.table`)
OUT/study.json   what was asked for, on what it ran, what failed
OUT/report.html  the results page
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pitl.comparison.study import plan, table
from pitl.comparison.study.plan import Study
from pitl.config.toml import to_dict
from pitl.errors import PitlError
from pitl.files import atomic_write_text

__all__ = ["FILE", "Study", "read", "run"]
FILE = "study.json"
read = plan.read


def run(
    path: Path,
    data: Path | None,
    out: Path,
    processes: int,
    say: Callable[[str], None],
    command: str = "",
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Makes what is missing of a study and writes its table.

    Args:
        path: the study file.
        data: folder with real recordings, or None.
        out: where everything is kept; the same folder goes on where it stopped.
        processes: workers on this machine.
        say: told of progress.
        command: how it was asked for, for the page.
        only: cells to work on now, by patterns of their names; the table has all that is finished either way.

    Returns:
        What `FILE` holds.

    Raises:
        PitlError: the study file is not valid, or OUT cannot be written.
    """
    from pitl.comparison.study import work

    study = plan.read(path, data)
    for pattern in only:
        if not any(fnmatch(c.name, pattern) for c in study.cells):
            names = ", ".join(dict.fromkeys(c.curve or c.name for c in study.cells))
            raise PitlError(f"no cell of {path} is called like '{pattern}'; there are {names} (curves: NAME-VALUE).")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise PitlError(f"cannot make the output folder {out}: {e.strerror}; choose another with --out.") from e
    for answer in work.answers(study, out):
        answer.failure.unlink(missing_ok=True)  # what failed is tried again
    began, before = time.perf_counter(), _before(out)
    try:
        if processes > 1:
            _several(path, data, out, processes, say, only)
        else:
            work.work(study, out, say, only=only)
    finally:
        seconds = before + time.perf_counter() - began
        about = _gather(study, out, seconds, processes, command)
    return about


def _gather(study: Study, out: Path, seconds: float, processes: int, command: str) -> dict[str, Any]:
    """The table of everything that is finished, and what belongs to it."""
    from pitl.comparison.study import work

    rows: list[table.Row] = []
    failures: list[dict[str, Any]] = [{"cell": c.name, "why": c.error} for c in study.cells if c.config is None]
    missing = 0
    for a in work.answers(study, out):
        cell = {k: getattr(a.cell, k) for k in ("cohort", "role", "curve", "x")} | {"cell": a.cell.name}
        if a.path.exists():
            result = table.read(a.path)
            rows += [cell | r for r in result if a.cell.role == "main" or r["task"] == "all"]
        elif a.failure.exists():
            why = a.failure.read_text()
            failures.append(
                {"cell": a.cell.name, "seed": a.seed, "method": a.method, "supervision": a.supervision, "why": why}
            )
        else:
            missing += 1
    table.write(out / table.FILE, (*table.CELL, *table.ANSWER), rows)
    file = study.file
    about = {
        "schema": 1,
        "name": study.name,
        "title": file.title,
        "about": file.about,
        "method": file.method,
        "against": file.against,
        "grade": file.grade,
        "cells": [_told(c) for c in study.cells],
        "judged": [c.name for c in file.cell if c.judged],
        "curves": [c.model_dump(mode="json") for c in file.curve],
        "left_out": list(study.left_out),
        "failures": failures,
        "missing": missing,
        "environment": work.environment(),
        "processes": processes,
        "wall_seconds": seconds,
        "command": command,
    }
    atomic_write_text(out / FILE, json.dumps(about, indent=1))
    return about


def _told(cell: plan.Cell) -> dict[str, Any]:
    result: dict[str, Any] = {k: getattr(cell, k) for k in ("name", "cohort", "role", "curve", "x", "title", "seeds")}
    if cell.role == "main" and cell.config is not None:
        result["config"] = to_dict(cell.config)
        result["config"]["data"].pop("dir")
    return result


def _before(out: Path) -> float:
    """Wall time of earlier tries at the same study."""
    try:
        return float(json.loads((out / FILE).read_text())["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0.0


def _several(
    path: Path, data: Path | None, out: Path, processes: int, say: Callable[[str], None], only: tuple[str, ...]
) -> None:
    """Workers in processes of their own, each with a share of the generic models and what depends on them."""
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads half
    workers = [
        context.Process(target=_worker, args=(path, data, out, (n, processes), only), daemon=True)
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
                worker.join()
    for n, worker in enumerate(workers):
        if worker.exitcode:
            say(f"worker {n} ended with code {worker.exitcode}; the same command makes what it left undone.")


def _worker(path: Path, data: Path | None, out: Path, share: tuple[int, int], only: tuple[str, ...]) -> None:
    from pitl import files
    from pitl.comparison.study import work

    def say(text: str) -> None:
        print(f"{share[0]}: {text}", flush=True)

    parent = os.getppid()
    with suppress(KeyboardInterrupt):  # the parent says so
        files.keep_compiled_programs()
        work.work(plan.read(path, data), out, say, lambda: os.getppid() == parent, only, share)
