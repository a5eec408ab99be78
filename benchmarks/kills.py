"""Resumes a small run from every state that a kill could leave, and compares: python -m benchmarks.kills

A run is stopped (SIGSTOP) at random moments and whenever a file of its folder appears, changes or goes; what is in the
folder then is what a kill would have left, and is copied. Each copy that differs is resumed, all in one process, which
compiles once; what it becomes must equal the run that nobody disturbed, to the bit, wall times and the machine aside.
Others are killed in earnest (SIGKILL) at random moments and resumed by `pitl run`, which may be killed again. The step
is what the run had printed last.
"""

import argparse
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import subprocess
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
from pitl.learn import devices

TOML = """name = "kills"
[virtual]
subjects = 4
seconds = 4.0
rhythmic_trials = 1
random_trials = 1
[window]
seconds = 0.2
[net]
channels = [4, 4]
features = 8
[train]
steps = 4
check_every = 2
batch = 32
[personalize]
steps = 4
batch = 64
[evaluate]
folds = 2
methods = ["generic_physics", "head_physics"]
supervision = ["angle"]
lost_channels = false
"""
_TIMES = {"seconds", "environment", "wall_seconds", "command"}  # what no two runs share
_ALONE = 8.0  # s, of a command before it does anything
Known = dict[str, Any]


def work(out: Path, console: Console, *, page: bool = True) -> None:
    """The whole job, as `pitl run` does it."""
    import tomllib

    run.evaluate(Config.model_validate(tomllib.loads(TOML)), out, console, models=True)
    if page:
        console.print("report ...")
        report.show(out, Console(quiet=True))


def keep_all_programs() -> None:
    """Compiled programs stay, in memory and on the disk, so that only the first of many runs compiles."""
    keep_compiled_programs()
    devices.drop_programs = lambda above_bytes=0.0: False


def start(out: Path) -> tuple[int, int]:
    """A process that does the job, and a descriptor on which it says what it does."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the one who watches
            keep_all_programs()
            with os.fdopen(sink, "w", buffering=1) as file:
                work(out, Console(file=file, width=500))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(sink)
    return child, source


class _Progress:
    """What a run prints, read as it comes: its step is the last line that ends in three dots."""

    def __init__(self, source: int) -> None:
        self.step, self.ended, self._source, self._rest = "start", False, source, b""

    def read(self, wait_s: float) -> None:
        while not self.ended and select.select([self._source], [], [], wait_s)[0]:
            data = os.read(self._source, 65536)
            self.ended = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            told = (t.decode()[:-4] for t in reversed(lines) if t.endswith(b" ..."))
            self.step, wait_s = next(told, self.step), 0.0


def step_of(told: str) -> str:
    """The step that a line of progress belongs to."""
    groups = {"data": ("data", "filtering"), "personalisation": ("method",),
              "evaluation": ("evaluation", "lost channels", "intervals")}  # fmt: skip
    return next((k for k, begins in groups.items() if told.startswith(begins)), told)


def watch(out: Path, copies: Path, draw: random.Random, every_s: float) -> dict[str, tuple[str, int]]:
    """Runs undisturbed but for stops; in which step, and how often, each state was met, by the copy's name."""
    child, source = start(out)
    progress, due, before, ended = _Progress(source), time.monotonic(), "", False
    states: dict[str, tuple[str, int]] = {}
    while not ended:
        progress.read(0.002)
        if progress.ended:
            break
        changed = _state(out) != before
        if not changed and time.monotonic() < due:
            continue
        if not changed:
            due = time.monotonic() + draw.expovariate(1 / every_s)
        os.kill(child, signal.SIGSTOP)
        ended = not os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
        progress.read(0.0)  # what it had said before it stopped
        before = _state(out)
        step = step_of(progress.step)
        # the same files met in another step are another kill
        name = hashlib.sha256(f"{step} {before}".encode()).hexdigest()[:12]
        if name not in states:
            shutil.copytree(out, copies / name) if out.exists() else (copies / name).mkdir()
        states[name] = (step, states.get(name, ("", 0))[1] + 1)
        os.kill(child, signal.SIGCONT)
    os.close(source)
    if not ended and os.waitpid(child, 0)[1]:
        raise RuntimeError("the run failed")
    return states


def _state(out: Path) -> str:
    """Names, sizes and times of what lies there."""
    found = []
    for folder, _, names in os.walk(out):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 (hundreds of times a second)
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
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
        elif path.suffix == ".json" and path.name not in ("seconds.json", "sums.json"):
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


def page_differs(whole: Path, out: Path) -> list[str]:
    """Whether the page is another than that of the undisturbed run, with that run's wall times and in its place."""
    if not (out / "report.html").exists():
        return ["report.html"]
    for name in ("metrics.json", "sums.json"):
        shutil.copy(whole / name, out / name)
    same = report.write(out).read_bytes() == (whole / "report.html").read_bytes()
    return [] if same else ["report.html"]


def kill(out: Path, config: Path, draw: random.Random, kills: int, within_s: float) -> list[str]:
    """A run by the command line that is killed in earnest, several times, and resumed till its end; the steps."""
    command = [sys.executable, "-m", "pitl", "run", str(config), "--out", str(out)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "500"}
    steps: list[str] = []
    while True:
        source, sink = os.pipe()
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment)
        os.close(sink)
        progress, due = _Progress(source), time.monotonic() + draw.uniform(_ALONE, within_s)
        while not progress.ended and (len(steps) == kills or time.monotonic() < due):
            progress.read(0.01)
        if not progress.ended:
            child.send_signal(signal.SIGKILL)
            progress.read(0.0)
        code = child.wait()
        os.close(source)
        if code == -signal.SIGKILL:
            steps.append(step_of(progress.step))
        elif code:
            raise RuntimeError(f"{out}: the resumed command failed with {code}")
        elif len(steps) == kills:
            return steps
        else:
            within_s /= 2  # it was done before its time


def resume(state: Path, out: Path, expected: Known, whole: Path, *, page: bool) -> list[str]:
    """Goes on with a copy of a state, and gives what is not as it should be."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(state, out)
    work(out, Console(quiet=True), page=page)
    return differing(expected, out) + (page_differs(whole, out) if page else [])


def resume_side_by_side(folder: Path, states: dict[str, tuple[str, int]], processes: int, until: float) -> None:
    """Resumes states in several processes, each its own, and keeps what came of all of them in `folder`."""
    ended, running = folder / "resumed.json", []
    done = json.loads(ended.read_text()) if ended.exists() else {}
    left = sorted(states.keys() - done.keys(), key=lambda name: (states[name][0], name))
    for k in range(processes):
        part = folder / f"part{k}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name in ("whole", "copies"):
            (part / name).symlink_to((folder / name).resolve())
        (part / "states.json").write_text(json.dumps({n: states[n] for n in left[k::processes]}))
        minutes = max(0.0, until - time.monotonic()) / 60
        own = ["--folder", str(part), "--chains", "0", "--minutes", str(minutes)]
        running.append((part, subprocess.Popen([sys.executable, "-m", "benchmarks.kills", *own], stdout=sys.stderr)))
    for part, child in running:
        if child.wait() not in (0, 1):
            raise RuntimeError(f"{part}: resuming ended with {child.returncode}")
        if (part / "resumed.json").exists():
            done |= json.loads((part / "resumed.json").read_text())
    ended.write_text(json.dumps(done))


def main() -> None:
    """Prints and stores the table: moments, the states they met, and how many resumed runs came out equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=0.5, help="mean time between random stops [s]")
    parser.add_argument("--chains", type=int, default=7, help="runs that are killed in earnest")
    parser.add_argument("--kills", type=int, default=3, help="how often each of them is")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no other state is resumed")
    parser.add_argument("--processes", type=int, default=1, help="in which states are resumed side by side")
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
            states = watch(whole, copies, draw, args.every)
            known.write_text(json.dumps(states))
        states: dict[str, tuple[str, int]] = json.loads(known.read_text())
        moments, kept = Counter[str](), Counter[str]()
        for step, count in states.values():
            moments[step], kept[step] = moments[step] + count, kept[step] + 1
        print(f"{moments.total()} moments, {len(states)} states", dict(kept), file=sys.stderr, flush=True)
        if args.processes > 1:
            resume_side_by_side(folder, states, args.processes, until)
        keep_all_programs()
        expected, unequal = content(whole), dict[str, list[str]]()
        resumed, earnest, seconds = Counter[str](), Counter[str](), list[float]()
        ended = folder / "resumed.json"  # what an earlier call resumed: name to what differed and how long it took
        done: dict[str, tuple[list[str], float]] = json.loads(ended.read_text()) if ended.exists() else {}
        for name, (other, took_s) in done.items():
            resumed[states[name][0]] += 1
            seconds.append(took_s)
            if other:
                unequal[f"{states[name][0]} {name}"] = other

        def store() -> dict[str, Any]:
            table = {
                "command": "python -m benchmarks.kills " + " ".join(sys.argv[1:]),
                "moments": moments.total(), "states kept": len(states), "resumed": resumed.total(),
                "killed in earnest": earnest.total(),
                "equal": resumed.total() + earnest.total() - len(unequal), "unequal": unequal,
                "median and longest resume [s]": [float(np.median(seconds)), max(seconds)] if seconds else [],
                "by step": {
                    k: {"moments": moments[k], "states kept": kept[k], "resumed": resumed[k], "killed in earnest":
                        earnest[k]} for k in sorted(moments.keys() | earnest.keys())
                },
            }  # fmt: skip
            if args.json is not None:
                args.json.write_text(json.dumps(table, indent=1) + "\n")
            return table

        by_step: dict[str, list[str]] = {}
        for name in sorted(states.keys() - done.keys()):
            by_step.setdefault(states[name][0], []).append(name)
        for names in by_step.values():
            draw.shuffle(names)
        # one of each step in turn, in case the time does not suffice for all
        turns = itertools.zip_longest(*by_step.values())
        for name in (n for turn in turns for n in turn if n is not None):
            if time.monotonic() > until:
                break
            began, (step, _) = time.monotonic(), states[name]
            other = resume(copies / name, folder / "resumed", expected, whole, page=step == "report")
            seconds.append(round(time.monotonic() - began, 1))
            resumed[step] += 1
            if other:
                unequal[f"{step} {name}"] = other
                print(f"{step}: {name} differs in {other}", file=sys.stderr, flush=True)
            print(f"{step} {name} {seconds[-1]} s", file=sys.stderr, flush=True)
            done[name] = other, seconds[-1]
            ended.write_text(json.dumps(done))
            store()
        config = folder / "kills.toml"
        config.write_text(TOML)
        for k in range(args.chains):
            out = folder / f"killed{k}"
            shutil.rmtree(out, ignore_errors=True)
            steps = kill(out, config, draw, args.kills, 40.0)
            earnest.update(steps)
            if other := differing(expected, out) + page_differs(whole, out):
                unequal[f"killed in earnest: {', '.join(steps)}"] = other
            print(f"killed in earnest: {', '.join(steps)}", other, file=sys.stderr, flush=True)
            table = store()
        table = store()
    print(json.dumps(table, indent=1))
    sys.exit(1 if unequal else 0)


if __name__ == "__main__":
    main()
