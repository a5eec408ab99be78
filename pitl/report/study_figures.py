"""Curves of a study: the median over people with a band between the quartiles, and one dot for each person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pitl.report import canvas, words
from pitl.report.canvas import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW

if TYPE_CHECKING:
    from pitl.report.study_points import Point

_LEGEND_CHARACTERS = 52  # that two columns have room for
_COLOURS = (ORANGE, GREEN, RED, PINK, SKY, YELLOW, GREY)


def curve(
    points: Sequence["Point"],
    metric: str,
    methods: Sequence[tuple[str, str]],
    unit: str,
    *,
    named: bool,
    ours: tuple[str, str],
) -> str:
    """An error along a curve; empty if no point has it.

    Args:
        points: of the curve.
        metric: the error.
        methods: with their grades, each a line.
        unit: of the axis.
        named: whether the points have names rather than numbers.
        ours: the method whose people are drawn as dots.
    """
    if not any(key[0] == metric for p in points for key in p.values):
        return ""
    heading, symbol, factor = words.METRICS[metric]
    names = {pair: _name(*pair) for pair in methods}
    columns = 2 if sum(sorted(map(len, names.values()))[-2:]) <= _LEGEND_CHARACTERS else 1
    fig, [ax] = canvas.figure(2.7 + 0.15 * -(-len(names) // columns))
    place = {p.x: float(k) if named else p.place for k, p in enumerate(points)}
    colours = iter(_COLOURS * 3)
    tops = []
    for pair in methods:
        have = [(place[p.x], p.values[metric, *pair]) for p in points if (metric, *pair) in p.values]
        if not have:
            continue
        colour = BLUE if pair == ours else next(colours)
        x = [at for at, _ in have]
        median, lower, upper = (
            factor * np.array([getattr(q, k) for _, q in have]) for k in ("median", "lower", "upper")
        )
        tops.append(float(np.max(upper)))
        ax.fill_between(x, lower, upper, color=colour, alpha=0.18 if pair == ours else 0.07, lw=0)
        ax.plot(x, median, "o-", ms=3, color=colour, lw=1.8 if pair == ours else 1.1, label=names[pair])
    if metric == "angle_rmse_deg":
        for p in points:
            each = factor * np.array(list(p.people.values()))
            limit = 1.6 * max(tops)
            ax.plot(np.full(len(each), place[p.x]), np.minimum(each, limit), "o", ms=3, mew=0, color=BLUE, alpha=0.5)
    ax.set_ylim(0, 1.65 * max(tops) if metric == "angle_rmse_deg" else None)
    if named or len(points) < 8:
        ax.set_xticks([place[p.x] for p in points], [p.words if named else f"{place[p.x]:.3g}" for p in points])
    ax.set_xlabel(unit)
    ax.set_ylabel(f"{heading} [{symbol}]" if symbol else heading)
    ax.tick_params(length=2.5, color=GREY)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=columns, handlelength=1.4, borderpad=0)
    return canvas.svg(fig, f"{heading} along {unit}")


def _name(method: str, grade: str) -> str:
    labels = words.short_labels(grade)
    return words.method(method) + (f" · {labels}" if labels else "")
