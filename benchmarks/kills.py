"""Resumes a small run from every state that a kill could leave, and compares: python -m benchmarks.kills

A run is stopped (SIGSTOP) at random moments and whenever a file of its folder appears, changes or goes; what is in the
folder then is what a kill would have left, and is copied. Each copy that differs is resumed, and what it becomes must
equal the run that nobody disturbed, to the bit; wall times and the machine aside. Some runs are killed in earnest.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pitl import report
from pitl.comparison import run
from pitl.config.schema import Config
from pitl.files import keep_compiled_programs, load_checkpoint

CONFIG = {
    "name": "kills",
    "virtual": {"subjects": 4, "seconds": 5.0, "rhythmic_trials": 1, "random_trials": 1},
    "train": {"steps": 40, "check_every": 20, "batch": 32},
    "personalize": {"steps": 20, "batch": 64},
    "evaluate": {
        "folds": 2,
        "methods": ["generic_physics", "deviation", "head_physics", "ridge"],
        "supervision": ["angle"],
    },
}
_TIMES = {"seconds", "environment", "wall_seconds", "command"}  # what no two runs share


def work(out: Path, console: Console, *, page: bool = True) -> None:
    """The whole job."""
    run.evaluate(Config.model_validate(CONFIG), out, console, models=True)
    if page:
        console.print("report ...")
        report.show(out, Console(quiet=True))


def start(out: Path) -> tuple[int, int]:
    """A process that does the job, and a descriptor on which it says what it does."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            keep_compiled_programs()
            with os.fdopen(sink, "w", buffering=1) as file:
                work(out, Console(file=file, width=500))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(sink)
    return child, source


def watch(out: Path, copies: Path, draw: random.Random, every_s: float) -> dict[str, tuple[str, int]]:
    """Runs undisturbed but for stops; how often, and in which step, each state was met, by the copy's name."""
    child, source = start(out)
    step, rest, due, before = "start", b"", time.monotonic(), ""
    states: dict[str, tuple[str, int]] = {}
    while True:
        if select.select([source], [], [], 0.002)[0]:
            data = os.read(source, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            step = next((t.decode()[:-4] for t in reversed(lines) if t.endswith(b" ...")), step)
        changed = _state(out) != before
        if not changed and time.monotonic() < due:
            continue
        if not changed:
            due = time.monotonic() + draw.expovariate(1 / every_s)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        before = _state(out)
        name = hashlib.sha256(before.encode()).hexdigest()[:12]
        if name not in states and out.exists():
            shutil.copytree(out, copies / name)
        states[name] = (states.get(name, (step,))[0], states.get(name, ("", 0))[1] + 1)
        os.kill(child, signal.SIGCONT)
    os.close(source)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the run failed")
    return states


def _state(out: Path) -> str:
    """Names, sizes and times of what lies there."""
    found = []
    for folder, _, names in os.walk(out):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 (hundreds of times a second)
            if os.path.lexists(path):  # noqa: PTH110
                about = os.lstat(path)
                found.append(f"{path} {about.st_size} {about.st_mtime_ns}")
        found.append(folder)
    return "\n".join(sorted(found))


def content(out: Path) -> dict[str, Any]:
    """What a run left, by file: digests of arrays, and JSON without times."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if path.name == "pitl.json":
            tree, meta = load_checkpoint(path.parent)
            found[name] = [_plain(meta), sorted(_bits(tree).items())]
        elif path.suffix == ".npz":
            with np.load(path) as data:
                found[name] = {k: [str(data[k].dtype), data[k].tobytes()] for k in data.files if k != "seconds"}
        elif path.suffix == ".json" and path.name != "seconds.json":
            found[name] = _plain(json.loads(path.read_text()))
        elif "/tree/" not in name and name != "report.html":
            found[name] = None  # that it is there
    return found


def _bits(tree: Any, at: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {at: (str(tree.dtype), tree.tobytes())}
    return {k: v for name, part in tree.items() for k, v in _bits(part, f"{at}/{name}").items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in _TIMES}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def differing(expected: dict[str, Any], out: Path) -> list[str]:
    """Files that are not as they should be."""
    result = content(out)
    return sorted(n for n in expected.keys() | result.keys() if expected.get(n, 0) != result.get(n, 0))


def kill(out: Path, after_s: float) -> None:
    """A run that is killed in earnest."""
    child, source = start(out)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.close(source)
    os.waitpid(child, 0)


def main() -> None:
    """Prints and stores the table: moments, the states they met, and how many resumed runs came out equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=0.5, help="mean time between random stops [s]")
    parser.add_argument("--kills", type=int, default=3, help="runs that are killed in earnest")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no other state is resumed")
    parser.add_argument("--folder", type=Path, help="for the states, which a second call finds there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the table")
    args = parser.parse_args()
    draw, until = random.Random(args.seed), time.monotonic() + 60 * args.minutes
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        whole, copies, known = folder / "whole", folder / "copies", folder / "states.json"
        if not known.exists():
            copies.mkdir(parents=True)
            began = time.monotonic()
            states = watch(whole, copies, draw, args.every)
            took_s = time.monotonic() - began
            for k in range(args.kills):
                kill(copies / f"kill{k}", draw.uniform(0.1, 0.9) * took_s)
                states[f"kill{k}"] = ("killed in earnest", 1)
            known.write_text(json.dumps(states))
        states = json.loads(known.read_text())
        print(f"{sum(n for _, n in states.values())} moments, {len(states)} states", file=sys.stderr, flush=True)
        expected, unequal = content(whole), dict[str, list[str]]()
        moments, resumed, seconds = Counter[str](), Counter[str](), list[float]()
        by_step: dict[str, list[str]] = {}
        for name in sorted(states):
            if (copies / name).exists():
                by_step.setdefault(states[name][0], []).append(name)
        for names in by_step.values():
            draw.shuffle(names)
        # one of each step in turn, in case the time does not suffice for all
        turns = itertools.zip_longest(*by_step.values())
        for name in (n for turn in turns for n in turn if n is not None):
            step, count = states[name]
            if time.monotonic() > until:
                break
            began, out = time.monotonic(), folder / "resumed"
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(copies / name, out)
            work(out, Console(quiet=True), page=False)
            seconds.append(round(time.monotonic() - began, 1))
            moments[step], resumed[step] = moments[step] + count, resumed[step] + 1
            if other := differing(expected, out):
                unequal[f"{step} {name}"] = other
                print(f"{step}: {name} differs in {other}", file=sys.stderr, flush=True)
            table = {
                "command": "python -m benchmarks.kills " + " ".join(sys.argv[1:]),
                "moments": sum(n for _, n in states.values()), "states": len(states), "resumed": sum(resumed.values()),
                "equal": sum(resumed.values()) - len(unequal), "unequal": unequal,
                "resumed by step": {k: {"moments": moments[k], "states": resumed[k]} for k in sorted(moments)},
            }  # fmt: skip
            print(f"{step} {name} {seconds[-1]} s", file=sys.stderr, flush=True)
            if args.json is not None:
                args.json.write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps(table, indent=1))
    sys.exit(1 if unequal else 0)


if __name__ == "__main__":
    main()
