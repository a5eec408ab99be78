"""Writes the tables and the picture of README.md and STUDY.md from stored runs; nothing there is typed by hand.

python -m benchmarks.readme --study OUT NAME   keeps a finished study in benchmarks/results/NAME
python -m benchmarks.readme --picture OUT      draws benchmarks/picture.svg from a run's traces
python -m benchmarks.readme                    writes the tables into README.md and STUDY.md

A block `<!-- study NAME TABLE OF -->` ... `<!-- end -->` is filled with a table of a study: targets, methods COHORT,
comparisons COHORT, curve CURVE, amounts CURVE or COHORT, ablations COHORT, failures, made.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np

from pitl.comparison import statistics
from pitl.files import atomic_write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def store_study(out: Path, name: str) -> Path:
    """Keeps a study in the project: every person's errors over all tasks."""
    from pitl.comparison.study import FILE
    from pitl.comparison.study import table as tables

    place = RESULTS / name
    rows = [r for r in tables.read(out / tables.FILE) if r["task"] == "all"]
    tables.write(place / tables.FILE, (*tables.CELL, *tables.ANSWER), rows)
    atomic_write_text(place / FILE, (out / FILE).read_text())
    return place


def render(text: str) -> str:
    """A text with every `<!-- study NAME TABLE OF -->` block filled from what is stored."""
    from benchmarks.study_markdown import markdown
    from pitl.report import study

    def studied(match: re.Match[str]) -> str:
        name, *asked = match[1].split()
        return f"<!-- study {match[1]} -->\n{markdown(study.read(RESULTS / name), *asked)}\n<!-- end -->"

    return re.sub(r"<!-- study ([^>]+?) -->\n.*?<!-- end -->", studied, text, flags=re.DOTALL)


def picture(out: Path) -> Path:
    """Measured, generic and personalised angle and forces of the person with the median personalised error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [r for r in json.loads((out / "metrics.json").read_text())["rows"] if r["task"] == "all"]
    errors = statistics.per_subject(rows, "angle_rmse_deg", "deviation", "angle")
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
                data["angle_deg/deviation/angle"][trial],
                data["force_n/deviation/angle"][trial],
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
    parser.add_argument("--study", nargs=2, metavar=("OUT", "NAME"))
    parser.add_argument("--picture", metavar="OUT")
    arguments = parser.parse_args()
    if arguments.study:
        print(store_study(Path(arguments.study[0]), arguments.study[1]))
    if arguments.picture:
        print(picture(Path(arguments.picture)))
    for text in (ROOT / "README.md", ROOT / "benchmarks" / "STUDY.md"):
        atomic_write_text(text, render(text.read_text()))


if __name__ == "__main__":
    main()
