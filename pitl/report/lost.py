"""What the loss of each channel costs, as a table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from pitl import statistics
from pitl.report import words
from pitl.statistics import Quartiles

_METRICS = ("angle_rmse_deg", "force_rmse_n")


class Line(NamedTuple):
    """Errors over people without one channel."""

    channel: str | None  # None: with all
    error: dict[str, Quartiles | None]
    added: dict[str, Quartiles | None]  # person by person, against all channels
    worst: str  # the person to whom the angle loses most


class Costs(NamedTuple):
    """The table, dearest channel first."""

    lines: list[Line]
    metrics: list[str]
    people: int
    supervision: str
    channel_dropout: float


def costs(found: Mapping[str, Any]) -> Costs | None:
    """From what `pitl.lost_channels` left; None if that is nothing."""
    if not found.get("people"):
        return None
    people = found["people"]
    metrics = [m for m in _METRICS if all(p.get(m) is not None for p in people.values())]
    errors = {m: np.array([p[m] for p in people.values()]) for m in metrics}
    names = list(people)
    lines = []
    for k, channel in enumerate([None, *found["channels"]]):
        added = {m: e[:, k] - e[:, 0] for m, e in errors.items()}
        worst = int(np.argmax(added["angle_rmse_deg"]))
        lines.append(
            Line(
                channel,
                {m: statistics.quartiles(e[:, k]) for m, e in errors.items()},
                {m: statistics.quartiles(a) for m, a in added.items()},
                "" if channel is None else f"{names[worst]}, {signed(float(added['angle_rmse_deg'][worst]))}°",
            )
        )
    dearest = sorted(lines[1:], key=lambda n: -(n.added["angle_rmse_deg"] or Quartiles(0, 0, 0, 0)).median)
    return Costs([lines[0], *dearest], metrics, len(people), found["supervision"], float(found["channel_dropout"]))


def console_table(found: Costs) -> Table:
    """The table for the console: medians over people."""
    table = Table(
        title="What the loss of a channel costs the personal model with physics: medians over people",
        title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False,
    )  # fmt: skip
    table.add_column("without", no_wrap=True)
    for m in found.metrics:
        heading, unit, _ = words.METRICS[m]
        table.add_column(f"{heading} {unit}", justify="right", no_wrap=True)
        table.add_column("added", justify="right", no_wrap=True)
    for line in found.lines:
        cells = []
        for m in found.metrics:
            error, added = line.error[m], line.added[m]
            cells += [words.number(error and error.median), "" if line.channel is None else _added(added)]
        table.add_row(line.channel or "(none lost)", *cells)
    return table


def signed(value: float | None) -> str:
    """A change, with its sign."""
    said = words.number(value)
    return f"+{said}" if value is not None and value > 0 else said


def _added(value: Quartiles | None) -> str:
    return signed(None if value is None else value.median)
