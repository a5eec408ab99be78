"""What the loss of each channel costs, as a table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from pitl.comparison import statistics
from pitl.comparison.statistics import Quartiles
from pitl.report import words

_METRICS = ("angle_rmse_deg", "force_rmse_n")


class LostLine(NamedTuple):
    """Errors over people without one channel."""

    channel: str | None  # None: with all
    error: dict[str, Quartiles | None]
    added: dict[str, Quartiles | None]  # person by person, against all channels
    worst: str  # the person to whom the angle loses most


class LostCosts(NamedTuple):
    """The table, dearest channel first."""

    lines: list[LostLine]
    metrics: list[str]
    people: int
    supervision: str
    channel_dropout: float


def costs(result: Mapping[str, Any]) -> LostCosts | None:
    """From what `pitl.comparison.lost_channels` left; None if that is nothing."""
    if not result.get("people"):
        return None
    people = result["people"]
    metrics = [m for m in _METRICS if all(p.get(m) is not None for p in people.values())]
    errors = {m: np.array([p[m] for p in people.values()]) for m in metrics}
    names = list(people)
    lines = []
    for k, channel in enumerate([None, *result["channels"]]):
        added = {m: e[:, k] - e[:, 0] for m, e in errors.items()}
        worst = int(np.argmax(added["angle_rmse_deg"]))
        lines.append(
            LostLine(
                channel,
                {m: statistics.quartiles(e[:, k]) for m, e in errors.items()},
                {m: statistics.quartiles(a) for m, a in added.items()},
                "" if channel is None else f"{names[worst]}, {signed(float(added['angle_rmse_deg'][worst]))}°",
            )
        )
    dearest = sorted(lines[1:], key=lambda n: -(n.added["angle_rmse_deg"] or Quartiles(0, 0, 0, 0)).median)
    return LostCosts(
        [lines[0], *dearest], metrics, len(people), result["supervision"], float(result["channel_dropout"])
    )


def console_table(result: LostCosts) -> Table:
    """The table for the console: medians over people."""
    table = Table(
        title="What the loss of a channel costs the personal model with physics: medians over people",
        title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False,
    )  # fmt: skip
    table.add_column("without", no_wrap=True)
    for m in result.metrics:
        heading, unit, _ = words.METRICS[m]
        table.add_column(f"{heading} {unit}", justify="right", no_wrap=True)
        table.add_column("added", justify="right", no_wrap=True)
    for line in result.lines:
        cells = []
        for m in result.metrics:
            error, added = line.error[m], line.added[m]
            cells += [words.number(error and error.median), "" if line.channel is None else _added(added)]
        table.add_row(line.channel or "(none lost)", *cells)
    return table


def signed(value: float | None) -> str:
    """A change, with its sign."""
    predicted = words.number(value)
    return f"+{predicted}" if value is not None and value > 0 else predicted


def _added(value: Quartiles | None) -> str:
    return signed(None if value is None else value.median)
