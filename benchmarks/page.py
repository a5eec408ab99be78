"""Writes the tables of benchmarks in README.md and benchmarks/*.md from stored rows; nothing is typed by hand.

python -m benchmarks.page   reads what `bin/bench --json benchmarks/results/bench.json` and
`bin/bench --device gpu` wrote.
"""

import json
import re
from pathlib import Path
from typing import Any

from pitl.files import atomic_write_text

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "results" / "bench.json"
STORED_GPU = ROOT / "benchmarks" / "results" / "gpu.json"
_WANTED = (10_000.0, 1000.0)  # people, hours


def table(result: dict[str, Any]) -> str:
    """Every row that has a target or a comparison, as Markdown, with the device and the command."""
    lines = ["| benchmark | value | compared with | ratio | target | met |", "| --- | --- | --- | --- | --- | --- |"]
    for r in result["rows"]:
        shown = r["target"] or r["reference"] is not None or r["name"].startswith("accelerator_")
        if not shown or r["name"].startswith("scaling_"):
            continue
        value = f"skipped: {r['note'].split(chr(10))[0]}" if r["value"] is None else f"{r['value']:.3g} {r['unit']}"
        other = "" if r["reference"] is None else f"{r['reference']:.3g}, {r['against']}"
        ratio = "" if r["ratio"] is None else f"{r['ratio']:.3g}"
        met = {True: "yes", False: "no", None: ""}[r["met"]]
        lines.append(f"| {r['what']} | {value} | {other} | {ratio} | {r['target']} | {met} |")
    return "\n".join([*lines, "", _where(result)])


def slopes(result: dict[str, Any]) -> str:
    """The scaling curves, one a line."""
    lines = ["| cost | slope | measured | met |", "| --- | --- | --- | --- |"]
    for r in result["rows"]:
        if r["name"].startswith("scaling_"):
            met = {True: "yes", False: "no", None: ""}[r["met"]]
            lines.append(f"| {r['what']} | {r['value']:.2f} | {r['note']} | {met} |")
    return "\n".join(lines)


def _where(result: dict[str, Any]) -> str:
    e = result["environment"]
    loads = [r["measured"]["load_before"] for r in result["rows"] if r.get("measured")]
    busy = f"; load before {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    if loads and max(loads) > 1:
        busy += ", so times are those of a shared machine"
    kept = "--json benchmarks/results/bench.json" if e["device"].startswith("cpu") else "--device gpu"
    return (
        f"`bin/bench {kept}` on {e['device']}, {e['processor']}, {e['cpus']} CPUs, "
        f"JAX {e['jax']}, PyTorch {e['torch'] or 'not installed'}, {e['time']}{busy}."
    )


def outlook(result: dict[str, Any]) -> str:
    """What many people and hours would take, carried on from the two largest measured sizes of each curve."""
    rows = {r["name"]: r for r in result["rows"] if r.get("curve")}
    people, hours = _WANTED
    lines = ["| what | carried on from | at | gives |", "| --- | --- | --- | --- |"]
    for name, size, key, unit, label in (
        ("scaling_people", people, "seconds", "s", "personalising, 10 steps on 256 rows each"),
        ("scaling_subjects", people, "seconds", "s", "one training step, 256 windows, that many source people"),
        ("scaling_subjects", people, "bytes", "B", "memory of that step"),
        ("scaling_hours", hours, "bytes", "B", "peak memory of training from a store"),
        ("scaling_hours_made", hours, "seconds", "s", "raw EMG to envelopes in a store"),
        ("scaling_hours_made", hours, "bytes", "B", "envelopes on disk"),
    ):
        if name not in rows or len(rows[name]["curve"].get(key, [])) < 2:
            continue
        n, cost = rows[name]["curve"]["size"], rows[name]["curve"][key]
        # a straight line through the two largest sizes: a fixed cost stays fixed
        more = max(0.0, (cost[-1] - cost[-2]) / (n[-1] - n[-2]))
        value = cost[-1] + more * (size - n[-1])
        shown = f"{value:.3g} s" if unit == "s" else f"{value / 2**30:.3g} GiB"
        lines.append(f"| {label} | {n[-2]:g} and {n[-1]:g} | {size:g} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    result = json.loads(STORED.read_text())
    gpu = json.loads(STORED_GPU.read_text())
    parts = [
        "# Scaling",
        "Written by `python -m benchmarks.page`. A slope is the exponent of size in the cost; 1 is linear.",
        slopes(result),
        f"## {_WANTED[0]:,.0f} people, {_WANTED[1]:,.0f} hours",
        "Extrapolated, not measured; on the machine below.",
        outlook(result),
        _where(result),
    ]
    atomic_write_text(ROOT / "benchmarks" / "SCALING.md", "\n\n".join(parts) + "\n")
    for readme in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        text = readme.read_text()
        for name, filled in (("slopes", slopes(result)), ("benchmarks", table(result)), ("gpu", table(gpu))):
            text = re.sub(
                rf"<!-- {name} -->\n.*?<!-- {name} end -->",
                lambda _, name=name, filled=filled: f"<!-- {name} -->\n{filled}\n<!-- {name} end -->",
                text,
                flags=re.DOTALL,
            )
        atomic_write_text(readme, text)


if __name__ == "__main__":
    main()
