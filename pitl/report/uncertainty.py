"""How often intervals hold on people whom no model has seen, and where they do not."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pitl.report import canvas, words
from pitl.report.canvas import BLUE, FAINT, GREY, INK, RED

# Around the level asked for: what over people and time should be met.
BAND = 0.02
_POOR = 0.8  # a person or a part below this is named


class IntervalLine(NamedTuple):
    """One output of one method, over people."""

    method: str
    supervision: str
    output: str
    unit: str
    mean: float
    median: float
    pooled: float
    width: float
    met: bool  # mean and median within the band
    missed_s: float  # median over people of the mean run of misses
    poor: str  # people and parts that are covered least
    adapted: bool


class Intervals(NamedTuple):
    """What the page shows."""

    level: float
    lines: list[IntervalLine]
    figures: list[str]
    people: int


def intervals(result: Mapping[str, Any]) -> Intervals | None:
    """From what `pitl.comparison.coverage` left; None if that is nothing."""
    if not result.get("outputs"):
        return None
    level, outputs = float(result["level"]), result["outputs"]
    lines = [_line(o, level) for o in outputs]
    figures, groups = [], list(dict.fromkeys((o["method"], o["supervision"]) for o in outputs))
    for method, supervision in groups:
        mine = [o for o in outputs if (o["method"], o["supervision"]) == (method, supervision)]
        figures.append(_dots(mine, level, method, supervision))
    return Intervals(level, lines, figures, len(outputs[0]["people"]))


def _line(output: Mapping[str, Any], level: float) -> IntervalLine:
    met = all(abs(output[k] - level) <= BAND + 1e-9 for k in ("mean", "median"))
    missed = [p["missed_s"] for p in output["people"].values()]
    return IntervalLine(
        output["method"],
        output["supervision"],
        output["output"],
        "°" if output["unit"] == "deg" else str(output["unit"]),
        float(output["mean"]),
        float(output["median"]),
        float(output["pooled"]),
        float(output["width"]),
        met,
        float(np.median(missed)),
        _poor(output["people"]),
        bool(output["adapted"]),
    )


def _poor(people: Mapping[str, Mapping[str, Any]]) -> str:
    """The least covered people, and the parts in which people on the whole are covered least."""
    low = sorted((p["coverage"], name) for name, p in people.items() if p["coverage"] < _POOR)
    predicted = [f"{name} {100 * c:.0f} %" for c, name in low[:4]] + ([f"{len(low) - 4} more"] if len(low) > 4 else [])
    parts: dict[str, list[float]] = {}
    for p in people.values():
        for part, covered in p["parts"].items():
            parts.setdefault(part, []).append(covered)
    weak = sorted((float(np.mean(v)), part) for part, v in parts.items())
    predicted += [f"{part} {100 * c:.0f} %" for c, part in weak[:3] if c < 0.86]
    return ", ".join(predicted)


def _dots(outputs: list[Mapping[str, Any]], level: float, method: str, supervision: str) -> str:
    """One dot a person, a line an output, the band that is aimed at behind them."""
    fig, [ax] = canvas.figure(0.95 + 0.27 * len(outputs))
    ax.axvspan(100 * (level - BAND), 100 * (level + BAND), color=FAINT, lw=0, zorder=0)
    rng = np.random.default_rng(0)
    lowest = 100 * (level - 0.3)
    for place, output in enumerate(outputs):
        x = 100 * np.array([p["coverage"] for p in output["people"].values()])
        low = x < 100 * _POOR
        jitter = place + rng.uniform(-0.18, 0.18, len(x))
        for mask, colour in ((~low, BLUE), (low, RED)):
            ax.plot(x[mask], jitter[mask], "o", ms=3.4, mew=0, color=colour, alpha=0.6)
        ax.plot([100 * output["mean"]], [place], "|", ms=11, mew=2.2, color=INK)
        lowest = min(lowest, x.min())
    ax.axvline(100 * level, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=0)
    ax.set_yticks(range(len(outputs)), [o["output"] for o in outputs])
    ax.set_ylim(len(outputs) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(max(0, lowest - 3), 101.5)
    ax.set_xlabel("rows of the test part inside the interval [%]")
    ax.set_title(f"{words.method(method)}; labels: {words.labels(supervision)}")
    return canvas.svg(fig, f"Coverage of every person's intervals, {words.method(method)}")
