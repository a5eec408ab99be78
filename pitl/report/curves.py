"""Curves over time: who is shown is decided by a rule that the report states, not by the eye."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from pitl.comparison.statistics import Primary
from pitl.report import canvas
from pitl.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PINK, RED, SKY

_SECONDS = 8.0  # as much as can be read on a phone
_MUSCLES = 4  # as many panels of forces
_DOFS = 3  # and of angles
Trace = dict[str, np.ndarray]


class Excerpt(NamedTuple):
    """Part of one trial of one subject."""

    trace: Trace
    rows: np.ndarray  # indices into the trace
    task: str
    trial: str
    before: str  # METHOD/LABELS of what the method is compared with
    after: str  # and of the method

    def key(self, what: str, model: str) -> np.ndarray | None:
        """Rows of what a model predicts; None if it does not predict that."""
        result = self.trace.get(f"{what}/{model}")
        return None if result is None or not len(result) else result[self.rows]

    @property
    def shaded(self) -> bool:
        """Whether the method has intervals here."""
        return self.key("half/angle_deg", self.after) is not None


def chosen(errors: dict[str, float]) -> list[tuple[str, str]]:
    """The subjects with the smallest, the median and the largest error, as (description, name)."""
    order = sorted(errors, key=lambda name: (errors[name], name))
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    result: dict[str, str] = {}
    for text, place in places.items():
        name = order[place]
        result[name] = f"{result[name]} and {text}" if name in result else text
    return [(text, name) for name, text in result.items()]


def excerpt(trace: Trace, primary: Primary) -> Excerpt:
    """The start of the trial whose angle error is the median of the subject's trials."""
    after, before = "/".join(primary.first), "/".join(primary.second)
    trials = list(dict.fromkeys(trace["trial"].tolist()))
    predicted, measured = trace.get(f"angle_deg/{after}"), trace["angle_deg"]
    if predicted is not None:
        error = {t: float(np.mean((predicted - measured)[trace["trial"] == t] ** 2)) for t in trials}
        trials = sorted(trials, key=lambda t: error[t])
    trial = trials[(len(trials) - 1) // 2]
    rows = np.flatnonzero(trace["trial"] == trial)
    rows = rows[trace["time_s"][rows] <= trace["time_s"][rows[0]] + _SECONDS]
    rows = rows[canvas.thinned(len(rows))]
    return Excerpt(trace, rows, str(trace["task"][rows[0]]), trial, before, after)


def angles(part: Excerpt, who: str) -> str:
    """Measured angle and the predictions before and after, of the coordinates that move most."""
    names = _names(part.trace, "dofs", part.trace["angle_deg"].shape[1])
    order = np.argsort(-np.ptp(part.trace["angle_deg"][part.rows], axis=0), kind="stable")[:_DOFS]
    fig, axes = canvas.figure(0.55 + (2.05 if len(order) == 1 else 1.15 * len(order)), len(order))
    for ax, d in zip(axes, order, strict=True):
        _lines(ax, part, "angle_deg", int(d))
        ax.set_title(f"{names[d]} angle [°]", pad=3)
        ax.locator_params(axis="y", nbins=5)
    _finish(axes)
    return canvas.svg(fig, f"Joint angle of {who}: measured, and predicted before and after personalisation")


def forces(part: Excerpt, who: str) -> tuple[str, int]:
    """The reference's forces and the predictions, the strongest muscles first, and how many muscles were left out."""
    labels = part.trace.get("force_n")
    shown = labels[part.rows] if labels is not None else part.key("force_n", part.after)
    if shown is None:
        return "", 0
    names = _names(part.trace, "muscles", shown.shape[1])
    order = np.argsort(-np.mean(shown, axis=0), kind="stable")[:_MUSCLES]
    down = -(-len(order) // 2)
    fig, axes = canvas.figure(0.55 + 2.05 * max(1, down) / 2, down, 2 if len(order) > 1 else 1)
    for ax, m in zip(axes, order, strict=False):
        _lines(ax, part, "force_n", int(m))
        ax.set_title(f"{names[m]} [N]", pad=3)
        ax.set_ylim(bottom=0.0)
        ax.locator_params(axis="y", nbins=3)
    for ax in axes[len(order) :]:
        ax.set_visible(False)
    _finish(axes[: len(order)])
    return canvas.svg(fig, f"Muscle forces of {who}: reference, and predicted before and after"), len(names) - len(
        order
    )


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
    _finish(axes)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=1.4, columnspacing=1.2, borderpad=0)
    return canvas.svg(fig, f"Torques of the equation of motion, {who}")


def _lines(ax: Axes, part: Excerpt, what: str, column: int) -> None:
    time = part.trace["time_s"][part.rows]
    half, after = part.key(f"half/{what}", part.after), part.key(what, part.after)
    if half is not None and after is not None:
        t, low, high = canvas.with_gaps(time, after[:, column] - half[:, column], after[:, column] + half[:, column])
        ax.fill_between(t, np.maximum(low, 0.0) if what == "force_n" else low, high, color=BLUE, alpha=0.17, lw=0)
    measured = part.trace[what][part.rows] if what in part.trace else None
    for values, colour, width in ((part.key(what, part.before), ORANGE, 1.1), (measured, INK, 1.5), (after, BLUE, 1.4)):
        if values is not None:
            t, y = canvas.with_gaps(time, values[:, column])
            ax.plot(t, y, color=colour, lw=width)


def _finish(axes: list[Axes]) -> None:
    bottom = {id(ax) for ax in axes[-2:]}
    for ax in axes:
        ax.margins(x=0.01)
        ax.tick_params(length=2.5, color=GREY)
        if ax is axes[-1] or (id(ax) in bottom and len(axes) > 1 and ax.get_subplotspec().get_geometry()[1] > 1):  # pyright: ignore[reportOptionalMemberAccess]
            ax.set_xlabel("time in the trial [s]")


def _names(trace: Trace, key: str, count: int) -> list[str]:
    result = [str(n).replace("_", " ") for n in np.atleast_1d(trace.get(key, np.array([])))]
    return result if len(result) == count else [f"{key[:-1]} {n + 1}" for n in range(count)]
