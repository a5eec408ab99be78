"""Figures as inline SVG: as wide as a phone, text kept as text, and no bytes that nobody sees."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2933"
GREY = "#8a94a0"
FAINT = "#dfe3e8"
# Okabe and Ito's palette, distinct for colour-blind readers
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b59f00",
)
WIDTH_IN = 4.6

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pitl",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "path.simplify_threshold": 0.3,
}


@contextmanager
def style() -> Iterator[None]:
    """Everything is drawn within this; matplotlib's settings outside stay as they are."""
    with mpl.rc_context(_STYLE):
        yield


def figure(height_in: float, down: int = 1, across: int = 1) -> tuple[Figure, list[Axes]]:
    """Panels below and beside one another, row by row; pyplot is not used, so nothing stays open."""
    fig = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = fig.subplots(down, across, squeeze=False, sharex=True)
    return fig, list(axes.ravel())


def svg(fig: Figure, label: str) -> str:
    """The figure as an element that scales with the page and says what it is to those who cannot see it."""
    file = io.StringIO()
    fig.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # matplotlib numbers groups alike in every figure
    text = re.sub(r' (d|x|y)="[^"]*"', lambda m: re.sub(r"(\d\.\d)\d+", r"\1", m[0]), text)
    text = re.sub(r"\n\s*", " ", text)
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head, rest = text.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)  # the page decides
    return f'{head} role="img" aria-label="{label}">{rest}'


def with_gaps(time_s: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Breaks lines where samples are missing."""
    step = np.diff(time_s)
    if not len(step):
        return (time_s, *values)
    at = np.flatnonzero(step > 1.5 * np.median(step)) + 1
    return tuple(np.insert(np.asarray(v, float), at, np.nan) for v in (time_s, *values))


def thinned(count: int, most: int = 500) -> slice:
    """Every so many samples; a line as wide as a phone shows no more."""
    return slice(None, None, max(1, -(-count // most)))
