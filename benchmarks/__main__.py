"""Runs the benchmarks: python -m benchmarks [--device gpu] [--json FILE] [--only NAME]; `bin/bench` sets up first.

Every file beside this one that has `BENCHMARKS`, a mapping from name to a function without arguments that yields
rows (`benchmarks.row.Row`), is part of the suite.
"""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

import benchmarks
import pitl
from benchmarks.measure import on_gpu, process_bytes
from benchmarks.row import Row
from pitl.files import atomic_write_text

ACCELERATOR = ("accelerator", "step", "personal_torch")  # benchmarks of `--device gpu`
_NONE = "bench: JAX sees no accelerator here; install its build for one, such as `pip install 'jax[cuda13]'`."
ORDER = ("startup", "accelerator", "step", "personal", "encoder", "cohort", "live", "mechanics", "scaling")


def suite() -> dict[str, Callable[[], Iterator[Row]]]:
    """Every benchmark by name, in the order of the table of targets."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "pytorch")]
    names.sort(key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    result: dict[str, Callable[[], Iterator[Row]]] = {}
    for name in names:
        result |= getattr(importlib.import_module(f"benchmarks.{name}"), "BENCHMARKS", {})
    return result


def environment() -> dict[str, Any]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    try:
        from importlib.metadata import version

        torch = version("torch")
    except ModuleNotFoundError:
        torch = None
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch,
        "pitl": pitl.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _of_accelerator() -> Path:
    return Path(__file__).parent / "results" / "gpu.json"


def table(rows: list[Row]) -> Table:
    """The rows for a terminal."""
    shown = Table(show_lines=False)
    for title in ("benchmark", "value", "reference", "ratio", "target", "met"):
        shown.add_column(title, justify="right" if title in ("value", "reference", "ratio") else "left")
    for r in rows:
        value = "skipped" if r.value is None else f"{r.value:.4g} {r.unit}"
        reference = "" if r.reference is None else f"{r.reference:.4g} ({r.against})"
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[r.met]
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}"
        shown.add_row(r.name, value, reference, ratio, r.target or r.note, met)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Runs what is asked for; returns 1 where a benchmark failed, which is not a missed target."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the rows there; with --only other rows in it stay"
    )
    parser.add_argument("--only", metavar="NAME", help="benchmarks whose name contains this")
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        default="cpu",
        help=f"gpu: what an accelerator is for, the processor beside it; without --json kept in {_of_accelerator()}",
    )
    given = parser.parse_args(arguments)
    console = Console()
    if given.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif not on_gpu():
        console.print(_NONE, markup=False)
        return 2
    else:
        given.json = given.json or _of_accelerator()
    result = {k: v for k, v in suite().items() if (k.startswith(ACCELERATOR) if given.device == "gpu" else v)}
    chosen = {k: v for k, v in result.items() if not given.only or given.only in k}
    if not chosen:
        console.print(f"bench: no benchmark is called {given.only!r}; there are {', '.join(result)}.")
        return 2
    where = environment()
    earlier: list[dict[str, Any]] = []
    if given.only and given.json and given.json.exists():
        earlier = json.loads(given.json.read_text())["rows"]
    rows: list[Row] = []
    peaks: list[int] = []
    failed = []
    for name, benchmark in chosen.items():
        console.print(f"[dim]{name} ...[/]")
        try:
            for row in benchmark():
                rows.append(row)
                peaks.append(process_bytes())
        except Exception:
            failed.append(name)
            traceback.print_exc(file=sys.stderr)
        where["peak_memory_bytes"] = process_bytes()
        if given.json:  # what was measured is kept even if a later one fails
            here = {"time": where["time"], "load_before": where["load_before"], "device": where["device"]}
            new = [r.to_json() | {"process_peak_bytes": m, "measured": here} for r, m in zip(rows, peaks, strict=True)]
            measured = {r["name"] for r in new}
            kept = [r for r in earlier if r["name"] not in measured] + new
            text = json.dumps({"environment": where, "rows": kept, "failed": failed}, indent=1)
            atomic_write_text(given.json, text)
    console.print(table(rows))
    console.print(f"{where['device']}, {where['processor']}, {where['cpus']} CPUs, load {where['load_before']}")
    for name in failed:
        console.print(f"[red]{name} failed, see above.[/]")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
