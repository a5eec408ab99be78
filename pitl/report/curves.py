"""Curves over time: who is shown is decided by a rule that the report states, not by the eye."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from pitl.comparison.statistics import METHOD
from pitl.report import canvas
from pitl.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PINK, RED, SKY

_SECONDS = 8.0  # as much as can be read on a phone
_MUSCLES = 6  # as many panels of forces
Trace = dict[str, np.ndarray]


class Excerpt(NamedTuple):
    """Part of one trial of one subject."""

    trace: Trace
    rows: np.ndarray  # indices into the trace
    task: str
    trial: str
    generic: str | None  # arm/supervision
    personal: str | None

    def key(self, what: str, model: str | None) -> np.ndarray | None:
        """Rows of `what` as a model says it; None if it says nothing."""
        result = self.trace.get(f"{what}/{model}")
        return None if result is None or not len(result) else result[self.rows]


def chosen(errors: dict[str, float]) -> list[tuple[str, str]]:
    """The subjects with the smallest, the median and the largest error, as (description, name)."""
    order = sorted(errors, key=lambda name: (errors[name], name))
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    result: dict[str, str] = {}
    for text, place in places.items():
        name = order[place]
        result[name] = f"{result[name]} and {text}" if name in result else text
    return [(text, name) for name, text in result.items()]


def excerpt(trace: Trace, supervision: str) -> Excerpt:
    """The start of the trial whose personalised angle error is the median of the subject's trials."""
    personal, generic = f"{METHOD}/{supervision}", "generic_physics/none"
    trials = list(dict.fromkeys(trace["trial"].tolist()))
    predicted, measured = trace.get(f"angle_deg/{personal}"), trace["angle_deg"]
    if predicted is not None:
        error = {t: float(np.mean((predicted - measured)[trace["trial"] == t] ** 2)) for t in trials}
        trials = sorted(trials, key=lambda t: error[t])
    trial = trials[(len(trials) - 1) // 2]
    rows = np.flatnonzero(trace["trial"] == trial)
    rows = rows[trace["time_s"][rows] <= trace["time_s"][rows[0]] + _SECONDS]
    rows = rows[canvas.thinned(len(rows))]
    return Excerpt(trace, rows, str(trace["task"][rows[0]]), trial, generic, personal)


def angles(part: Excerpt, who: str) -> str:
    """Measured, generic and personalised angle."""
    names = _names(part.trace, "dofs", part.trace["angle_deg"].shape[1])
    fig, axes = canvas.figure(1.0 + 1.15 * len(names), len(names))
    for d, (ax, name) in enumerate(zip(axes, names, strict=True)):
        _three(ax, part, "angle_deg", d, measured="measured")
        ax.set_ylabel(f"{name} [°]" if len(names) > 1 else "angle [°]")
    _finish(fig, axes)
    return canvas.svg(fig, f"Angle of {who}: measured, generic and personalised")


def forces(part: Excerpt, who: str, reference: str) -> tuple[str, int]:
    """The forces that labels and models give, the strongest muscles first, and how many muscles were left out."""
    labels = part.trace.get("force_n")
    shown = labels if labels is not None else part.key("force_n", part.personal)
    if shown is None:
        return "", 0
    shown = shown[part.rows] if labels is not None else shown
    names = _names(part.trace, "muscles", shown.shape[1])
    order = np.argsort(-np.mean(shown, axis=0), kind="stable")[:_MUSCLES]
    fig, axes = canvas.figure(0.8 + 0.72 * len(order), len(order))
    for ax, m in zip(axes, order, strict=True):
        _three(ax, part, "force_n", int(m), measured=reference)
        ax.set_ylabel("N")
        ax.set_title(names[m], pad=2)
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        ax.locator_params(axis="y", nbins=3)
    _finish(fig, axes)
    return canvas.svg(fig, f"Muscle forces of {who}: {reference}, generic and personalised"), len(names) - len(order)


_TERMS = {
    "muscle": (BLUE, "muscles"),
    "inertia": (RED, "inertia"),
    "gravity": (GREEN, "gravity"),
    "passive": (PINK, "passive"),
    "coriolis": (SKY, "Coriolis, centrifugal"),
    "external": (ORANGE, "external"),
    "residual": (INK, "residual: what is left over"),
}


def balance(part: Excerpt, who: str) -> str:
    """Every torque of the equation of motion; terms that are zero throughout are left out."""
    terms = {name: part.key("balance", name) for name in _TERMS}
    result = {name: v for name, v in terms.items() if v is not None and np.any(np.abs(v) > 1e-9)}
    if not result:
        return ""
    dofs = _names(part.trace, "dofs", next(iter(result.values())).shape[1])
    fig, axes = canvas.figure(1.3 + 1.5 * len(dofs), len(dofs))
    time = part.trace["time_s"][part.rows]
    for d, (ax, dof) in enumerate(zip(axes, dofs, strict=True)):
        ax.axhline(0, color=canvas.FAINT, lw=0.8)
        for name, v in result.items():
            colour, text = _TERMS[name]
            t, y = canvas.with_gaps(time, v[:, d])
            ax.plot(t, y, color=colour, lw=1.8 if name == "residual" else 1.2, label=text)
        ax.set_ylabel(f"{dof} [N m]" if len(dofs) > 1 else "torque [N m]")
    _finish(fig, axes)
    return canvas.svg(fig, f"Torques of the equation of motion, {who}")


def _three(ax: Axes, part: Excerpt, what: str, column: int, measured: str) -> None:
    time = part.trace["time_s"][part.rows]
    lines = [
        (part.trace[what][part.rows] if what in part.trace else None, INK, 1.6, measured),
        (part.key(what, part.generic), ORANGE, 1.2, "generic"),
        (part.key(what, part.personal), BLUE, 1.4, "personalised"),
    ]
    for values, colour, width, label in lines:
        if values is not None:
            t, y = canvas.with_gaps(time, values[:, column])
            ax.plot(t, y, color=colour, lw=width, label=label)


def _finish(fig, axes: list[Axes]) -> None:
    axes[-1].set_xlabel("time in the trial [s]")
    for ax in axes:
        ax.margins(x=0.01)
        ax.tick_params(length=2.5, color=GREY)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=1.4, columnspacing=1.2, borderpad=0)


def _names(trace: Trace, key: str, count: int) -> list[str]:
    result = [str(n).replace("_", " ") for n in np.atleast_1d(trace.get(key, np.array([])))]
    return result if len(result) == count else [f"{key[:-1]} {n + 1}" for n in range(count)]
