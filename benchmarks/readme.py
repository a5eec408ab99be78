"""Writes the tables and the picture of README.md and STUDY.md from stored runs; nothing there is typed by hand.

python benchmarks/readme.py --store OUT NAME   keeps the metrics of a finished run as benchmarks/results/NAME.json
python benchmarks/readme.py --study OUT NAME   keeps a finished study in benchmarks/results/NAME
python benchmarks/readme.py --picture OUT      draws benchmarks/picture.svg from a run's traces
python benchmarks/readme.py                    writes the tables into README.md and benchmarks/STUDY.md

A block `<!-- results NAME -->` ... `<!-- end -->` is filled with the table of a run, `<!-- study NAME TABLE OF -->`
with one of a study: targets, methods COHORT, comparisons COHORT, curve CURVE, ablations COHORT, failures, made.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pitl.comparison import statistics
from pitl.files import atomic_write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ARMS = {
    "generic_data": "generic, data only",
    "generic_physics": "generic, with physics",
    "gain_offset": "gain and offset",
    "ridge": "ridge regression",
    "hill_calibrated": "calibrated EMG-driven model (its forces use the measured angle)",
    "scratch": "from scratch",
    "full_finetune": "full fine-tuning",
    "head_data": "personalised head, data only",
    "head_physics": "personalised head, with physics",
}
LABELS = {"none": "none", "angle_force": "angle, force", "angle": "angle"}
COLUMNS = (
    ("angle_rmse_deg", "angle RMSE [deg]", ".1f"),
    ("angle_r2", "angle R2", ".2f"),
    ("force_nrmse", "force error / spread", ".2f"),
    ("torque_rmse_nm", "torque RMSE [N m]", ".2f"),
)


def store(out: Path, name: str) -> Path:
    """Keeps the metrics of a run in the project."""
    result = json.loads((out / "metrics.json").read_text())
    result["config"].get("data", {}).pop("dir", None)
    path = RESULTS / f"{name}.json"
    atomic_write_text(path, json.dumps(result))
    return path


def store_study(out: Path, name: str) -> Path:
    """Keeps a study in the project: every person's errors over all tasks."""
    from pitl.comparison.study import FILE
    from pitl.comparison.study import table as tables

    place = RESULTS / name
    rows = [r for r in tables.read(out / tables.FILE) if r["task"] == "all"]
    tables.write(place / tables.FILE, (*tables.CELL, *tables.ANSWER), rows)
    atomic_write_text(place / FILE, (out / FILE).read_text())
    return place


def table(result: dict[str, Any]) -> str:
    """A Markdown table: median [quartiles] over people of every method and grade of supervision."""
    rows = [r for r in result["rows"] if r["task"] == "all"]
    lines = [
        "| method | labels used | " + " | ".join(c[1] for c in COLUMNS) + " |",
        "| --- " * (2 + len(COLUMNS)) + "|",
    ]
    for supervision, words in LABELS.items():
        for method, title in ARMS.items():
            mine = [r for r in rows if r["method"] == method and r["supervision"] == supervision]
            if not mine:
                continue
            cells = []
            for key, _, form in COLUMNS:
                values = list(statistics.per_subject(rows, key, method, supervision).values())
                if not values:
                    cells.append("")
                    continue
                low, middle, high = np.percentile(values, [25, 50, 75])
                cells.append(f"{middle:{form}} [{low:{form}}, {high:{form}}]")
            lines.append(f"| {title} | {words} | " + " | ".join(cells) + " |")
    environment = result["environment"]
    people, seeds = len({r["subject"] for r in rows}), len({r["seed"] for r in rows})
    lines.append("")
    lines.append(
        f"`{environment['command']}`: {people} people, {seeds} seed(s), {environment['cpus']} {environment['device']} "
        f"cores, JAX {environment['jax']}, {environment['wall_seconds']['total']:.0f} s in all."
    )
    return "\n".join(lines)


def render(text: str) -> str:
    """A text with every `<!-- results NAME -->` and `<!-- study NAME TABLE OF -->` block filled from what is stored."""
    from benchmarks.study_markdown import markdown
    from pitl.report import study

    def filled(match: re.Match[str]) -> str:
        result = json.loads((RESULTS / f"{match[1]}.json").read_text())
        return f"<!-- results {match[1]} -->\n{table(result)}\n<!-- end -->"

    def studied(match: re.Match[str]) -> str:
        name, *asked = match[1].split()
        return f"<!-- study {match[1]} -->\n{markdown(study.read(RESULTS / name), *asked)}\n<!-- end -->"

    text = re.sub(r"<!-- results (\w+) -->\n.*?<!-- end -->", filled, text, flags=re.DOTALL)
    return re.sub(r"<!-- study ([^>]+?) -->\n.*?<!-- end -->", studied, text, flags=re.DOTALL)


def picture(out: Path) -> Path:
    """Measured, generic and personalised angle and forces of the person with the median personalised error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [r for r in json.loads((out / "metrics.json").read_text())["rows"] if r["task"] == "all"]
    errors = statistics.per_subject(rows, "angle_rmse_deg", "head_physics", "angle")
    subject = sorted(errors, key=lambda s: errors[s])[(len(errors) - 1) // 2]
    with np.load(out / "traces" / f"{subject}.npz") as data:
        trial = data["trial"] == data["trial"][0]
        time = data["time_s"][trial]
        muscles = list(data["muscles"])
        curves = {
            "measured": (data["angle_deg"][trial], data["force_n"][trial], "#222222"),
            "generic": (
                data["angle_deg/generic_physics/none"][trial],
                data["force_n/generic_physics/none"][trial],
                "#d95f02",
            ),
            "personalised": (
                data["angle_deg/head_physics/angle"][trial],
                data["force_n/head_physics/angle"][trial],
                "#1b7fbd",
            ),
        }
    plt.rcParams |= {"svg.hashsalt": "pitl", "font.size": 9}
    chosen = [0, len(muscles) // 2]
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for name, (angle, force, colour) in curves.items():
        axes[0].plot(time, angle[:, 0], color=colour, label=name, lw=1.2)
        for axis, m in zip(axes[1:], chosen, strict=True):
            axis.plot(time, force[:, m], color=colour, lw=1.2)
    axes[0].set(title=f"{subject}: wrist flexion [deg]", xlabel="time [s]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    for axis, m in zip(axes[1:], chosen, strict=True):
        axis.set(title=f"{muscles[m]} force [N], true in black", xlabel="time [s]")
    path = ROOT / "benchmarks" / "picture.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", nargs=2, metavar=("OUT", "NAME"))
    parser.add_argument("--study", nargs=2, metavar=("OUT", "NAME"))
    parser.add_argument("--picture", metavar="OUT")
    arguments = parser.parse_args()
    if arguments.store:
        print(store(Path(arguments.store[0]), arguments.store[1]))
    if arguments.study:
        print(store_study(Path(arguments.study[0]), arguments.study[1]))
    if arguments.picture:
        print(picture(Path(arguments.picture)))
    for text in (ROOT / "README.md", ROOT / "benchmarks" / "STUDY.md"):
        if text.exists():
            atomic_write_text(text, render(text.read_text()))


if __name__ == "__main__":
    main()
