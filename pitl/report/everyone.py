"""Every person's error, method by method, and the corrections that were learned."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pitl.comparison import statistics
from pitl.comparison.statistics import Primary
from pitl.report import canvas, curves, words
from pitl.report.canvas import BLUE, FAINT, GREY, INK, ORANGE


def strips(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[tuple[str, str]], metric: str, ours: tuple[str, str]
) -> str:
    """One dot per subject, a bar at the median, the quartiles as a line."""
    heading, unit, factor = words.METRICS[metric]
    result = [(a, s, statistics.per_subject(rows, metric, a, s)) for a, s in methods]
    result = [(a, s, v) for a, s, v in result if v]
    if not result:
        return ""
    fig, [ax] = canvas.figure(0.75 + 0.27 * len(result))
    rng = np.random.default_rng(0)
    most = max(np.percentile(list(v.values()), 75) for _, _, v in result) * factor
    beyond = 0
    for place, (method, grade, values) in enumerate(result):
        x = np.array(list(values.values())) * factor
        colour = BLUE if (method, grade) == ours else ORANGE if method.startswith("generic") else GREY
        limit = 3 * most
        beyond += int(np.sum(x > limit))
        ax.plot([0, limit], [place, place], color=FAINT, lw=0.7, zorder=0)
        jitter = place + rng.uniform(-0.18, 0.18, len(x))
        ax.plot(np.minimum(x, limit), jitter, "o", ms=3.4, mew=0, color=colour, alpha=0.55)
        lower, median, upper = np.percentile(x, (25, 50, 75))
        ax.plot(np.minimum([lower, upper], limit), [place, place], color=INK, lw=1.2)
        ax.plot([min(median, limit)], [place], "|", ms=11, mew=2.2, color=INK)
    ax.set_yticks(range(len(result)), [textwrap.fill(_label(a, s), 30) for a, s, _ in result])
    ax.set_ylim(len(result) - 0.5, -0.5)
    top = max(min(max(v.values()) * factor, 3 * most) for _, _, v in result)
    ax.set_xlim(0, 1.04 * top)
    ax.tick_params(axis="y", length=0)
    tail = f"; {beyond} beyond the right edge" if beyond else ""
    ax.set_xlabel(f"{heading} [{unit}]{tail}" if unit else heading + tail)
    return canvas.svg(fig, f"{heading} of every person with every method")


def pairs(rows: Sequence[Mapping[str, Any]], metric: str, primary: Primary) -> str:
    """Each person's error after against before; below the diagonal, the method helped."""
    heading, unit, factor = words.METRICS[metric]
    generic = statistics.per_subject(rows, metric, *primary.second)
    personal = statistics.per_subject(rows, metric, *primary.first)
    names = sorted(set(generic) & set(personal))
    if not names:
        return ""
    x, y = (np.array([v[n] for n in names]) * factor for v in (generic, personal))
    top = 1.08 * max(x.max(), y.max())
    fig, [ax] = canvas.figure(3.4)
    ax.plot([0, top], [0, top], color=GREY, lw=0.8, ls=(0, (4, 3)))
    ax.plot(x, y, "o", ms=5, mew=0, color=BLUE, alpha=0.8)
    named = {name for _, name in curves.chosen({n: personal[n] for n in names})}
    for name, px, py in zip(names, x, y, strict=True):
        if name in named or py > px:
            ax.annotate(name, (px, py), (3.5, 2.5), textcoords="offset points", fontsize=7, color=GREY)
    before, after = words.method(primary.against), words.method(primary.method)
    ax.set(xlim=(0, top), ylim=(0, top), xlabel=f"{before} [{unit}]", ylabel=f"{after} [{unit}]")
    ax.set_aspect("equal")
    ax.set_title(heading)
    return canvas.svg(fig, f"{heading} of each person, {after} against {before}")


def learned(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Corrections that are factors, one dot per subject, on a logarithmic axis around 1."""
    factors: dict[str, list[float]] = {}
    for subject in result.values():
        for name, value in subject.items():
            numbers = np.ravel(np.asarray(value, float)) if _numeric(value) else np.array([])
            if len(numbers) and not name.endswith(("_deg", "_nm", "_s")) and np.all(numbers > 0):
                factors.setdefault(name, []).extend(numbers.tolist())
    if not factors:
        return ""
    fig, [ax] = canvas.figure(0.75 + 0.27 * len(factors))
    rng = np.random.default_rng(0)
    ax.axvline(1.0, color=GREY, lw=0.8, ls=(0, (4, 3)))
    for place, values in enumerate(factors.values()):
        ax.plot(values, place + rng.uniform(-0.2, 0.2, len(values)), "o", ms=3.4, mew=0, color=BLUE, alpha=0.5)
    far = max(1.02, *(max(v, 1 / v) for values in factors.values() for v in values)) ** 1.1
    step = max(s for s in _STEPS if s < far)
    ticks = (1 / step, 1.0, step)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{t:.3g}" for t in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(1 / far, far)
    ax.set_yticks(range(len(factors)), [n.replace("_", " ") for n in factors])
    ax.set_ylim(len(factors) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("learned factor on the generic limb model")
    return canvas.svg(fig, "Learned corrections of every person")


_STEPS = (1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)  # factors that have a tick, the largest that fits


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, list) and bool(value) and all(_numeric(v) for v in value)
    )


def _label(method: str, supervision: str) -> str:
    short = words.short_labels(supervision)
    return f"{words.method(method)} · {short}" if short else words.method(method)
