"""What the report says in words and numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.table import Table

from pitl.comparison import statistics
from pitl.comparison.statistics import Comparison, Primary, Quartiles
from pitl.config.methods import METHODS
from pitl.report import words

COMPARED = ("angle_rmse_deg", "force_rmse_n", "torque_rmse_nm")


class TableLine(NamedTuple):
    """One method with one grade of supervision."""

    method: str
    supervision: str
    subjects: int
    seeds: int
    values: dict[str, Quartiles | None]


class Family(NamedTuple):
    """Comparisons of one metric, corrected together."""

    heading: str
    unit: str
    factor: float
    comparisons: list[Comparison]


def lines(rows: Sequence[dict[str, Any]]) -> list[TableLine]:
    """Median and quartiles over subjects of every metric, for every method; of equal methods the first alone."""
    result, seen = [], []
    for method, supervision in statistics.methods_in(rows):
        own = [r for r in rows if (r["method"], r["supervision"], r["task"]) == (method, supervision, "all")]
        errors = sorted((r["subject"], r["seed"], *(str(r.get(m)) for m in words.ERRORS)) for r in own)
        if errors in seen:
            continue
        seen.append(errors)
        values = {
            m: statistics.quartiles(statistics.per_subject(own, m, method, supervision).values()) for m in words.METRICS
        }
        result.append(
            TableLine(method, supervision, len({r["subject"] for r in own}), len({r["seed"] for r in own}), values)
        )
    place = {name: n for n, name in enumerate(METHODS)}
    grade = {name: n for n, name in enumerate(words.LABELS)}
    return sorted(
        result,
        key=lambda f: (
            f.supervision != "none" or not f.method.startswith("generic"),
            grade.get(f.supervision, 9),
            place.get(f.method, 99),
        ),
    )


def best(result: Sequence[TableLine], metric: str) -> float | None:
    """The best median of a column: the largest of R² and r, the smallest of errors; None where none is better."""
    medians = [q.median for q in (f.values[metric] for f in result) if q is not None]
    if len(medians) < 2 or metric in ("seconds", "residual_nm"):
        return None
    return max(medians) if metric in ("angle_r2", "angle_r", "force_r2") else min(medians)


def families(rows: Sequence[dict[str, Any]], method: str, apart: Primary | None) -> list[Family]:
    """A method against the others, for every error that has a unit; the primary comparison stands by itself."""
    result = [Family(*words.METRICS[m], statistics.compare(rows, m, method, apart)) for m in COMPARED]
    return [f for f in result if f.comparisons]


def verdict(c: Comparison) -> str:
    """What a comparison shows, and no more."""
    if c.significant:
        return "better" if c.difference < 0 else "worse"
    return "not significant" if c.attainable else "not significant (too few people)"


def _people(count: int) -> str:
    return "one person" if count == 1 else f"{count} people"


def summary_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The summary for the console, 80 columns wide: medians over subjects, of angle and force with [quartiles]."""
    result = lines(rows)
    people, seeds = max(f.subjects for f in result), max(f.seeds for f in result)
    title = (
        f"Median \\[quartiles] over {_people(people)}, {seeds} seed{'s' if seeds > 1 else ''}; labels: A angle, F force"
    )
    if any(f.supervision == "angle_torque" for f in result):
        title += ", T torque"
    table = Table(
        title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False
    )
    table.add_column("method")  # alone gives way, so that no number is ever cut
    table.add_column("labels", no_wrap=True)
    shown = [m for m in _CONSOLE if any(f.values[m] is not None for f in result)]
    for m in shown:
        table.add_column(_CONSOLE[m], justify="right", no_wrap=True)
    for f in result:
        values = [f.values[m] for m in shown]
        cells = [
            words.spread(q).replace("[", "\\[") if m.endswith(("_deg", "_n")) else words.number(q and q.median)
            for m, q in zip(shown, values, strict=True)
        ]
        table.add_row(words.method(f.method).removeprefix("personal "), words.short_labels(f.supervision), *cells)
    return table


_CONSOLE = {
    "angle_rmse_deg": "angle RMSE °",
    "angle_r2": "R²",
    "force_rmse_n": "force RMSE N",
    "torque_rmse_nm": "torque N m",
}


def identified(people: dict[str, dict[str, dict[str, Any]]], supervision: str) -> str:
    """Which parameters of the EMG-driven model the data identify, and in how many people."""
    names = list(next(iter(people.values())))
    count = {n: sum(p[n]["by_data"] for p in people.values()) for n in names}
    sure = sorted((n for n in names if count[n]), key=lambda n: -count[n])
    which = ", ".join(f"{n} ({count[n]} of {len(people)})" for n in sure) or "none"
    return (
        f"EMG-driven model, labels {words.labels(supervision)}: of {len(names)} parameters the data identify "
        f"{which}; the prior decides the others."
    )
