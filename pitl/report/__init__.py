"""One self-contained page about a run: what came out, for whom, against what, and how to make it again."""

import base64
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.console import Console
from rich.table import Table

from pitl.comparison import statistics
from pitl.comparison.statistics import METHOD
from pitl.errors import PitlError
from pitl.files import atomic_write_text
from pitl.mechanics import library
from pitl.report import canvas, curves, everyone, inputs, lost, mechanics, tables, uncertainty, words
from pitl.report.inputs import ReportInputs
from pitl.report.tables import summary_table

__all__ = ["lost_table", "show", "summary_table", "write"]


def write(out: str | Path) -> Path:
    """Makes OUT/report.html from the numbers that a run, or a study, left in OUT.

    Raises:
        PitlError: if a file of the run is missing or damaged, or the page cannot be written.
    """
    if (Path(out) / "study.csv").exists():
        from pitl.report import study

        with canvas.style():
            return _rendered("study.html.jinja", study.context(Path(out)), Path(out))
    result = inputs.read(Path(out))
    with canvas.style():
        return _rendered("page.html.jinja", _context(result), Path(out))


def _rendered(name: str, context: dict[str, Any], out: Path) -> Path:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": words.number,
        "p": words.probability,
        "values": words.values,
        "signed": lost.signed,
    }
    room = resources.files("pitl.report")
    template, style = ((room / file).read_text(encoding="utf-8") for file in (name, "style.css.jinja"))
    path = out / "report.html"
    atomic_write_text(path, environment.from_string(template).render(context | {"style": style}))
    return path


def _context(result: ReportInputs) -> dict[str, Any]:
    rows, supervision = result.rows, _main_supervision(result)
    lines = tables.lines(rows)
    metrics = [m for m in words.SUMMARY if any(f.values[m] is not None for f in lines)]
    return {
        "name": result.config.get("name", result.out.name),
        "headline": tables.headline(rows, supervision),
        "people": len({r["subject"] for r in rows}),
        "seeds": len({r["seed"] for r in rows}),
        "tasks": sorted({r["task"] for r in rows} - {"all"}),
        "supervision": words.labels(supervision),
        "force_labels": words.force_labels(result.force_source),
        "words": words,
        "metrics": metrics,
        "uneven": len({(f.subjects, f.seeds) for f in lines}) > 1,
        "lines": lines,
        "best": {m: tables.best(lines, m) for m in metrics},
        "families": tables.families(rows),
        "verdict": tables.verdict,
        "lost": _lost(result),
        "intervals": _intervals(result),
        "model_picture": _model_picture(result.out),
        "everyone": _everyone(result, supervision),
        "people_table": _people(result, supervision),
        "shown": _shown(result, supervision),
        "learned": result.learned,
        "factors": list(dict.fromkeys(k for v in result.learned.values() for k in v)),
        "learned_figure": everyone.learned(result.learned),
        "notes": list(dict.fromkeys(result.notes)),
        "configuration": _configuration(result.config),
        "environment": _environment(result.environment),
        "wall": result.environment.get("wall_seconds") or {},
        "command": result.environment.get("command", ""),
    }


def show(out: Path, console: Console) -> None:
    """Writes the report of a run, and shows its main numbers."""
    path = write(out)
    rows = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["rows"]
    console.print(summary_table(rows))
    for file in sorted(out.glob("hill-*.json")):
        console.print(tables.identification_table(json.loads(file.read_text(encoding="utf-8"))))
    lost_channels = lost_table(out)
    if lost_channels is not None:
        console.print(lost_channels)
    models = out / "models"
    if models.is_dir():
        console.print(f"Models to use: {models}", soft_wrap=True)
    console.print(f"Report: {path}", soft_wrap=True)


def _model_picture(out: Path) -> str | None:
    """A picture of the run's limb model, in the page itself."""
    if not (out / "limb").is_dir():
        return None
    return base64.b64encode(mechanics.png(library.load(out / "limb"))).decode()


def lost_table(out: str | Path) -> Table | None:
    """What the loss of each channel costs, for the console; None if the run did not look.

    Raises:
        PitlError: if a file of the run is missing or damaged.
    """
    result = _lost(inputs.read(Path(out)))
    return None if result is None else lost.console_table(result)


def _lost(result: ReportInputs) -> lost.LostCosts | None:
    try:
        return lost.costs(result.lost)
    except (KeyError, IndexError, TypeError, ValueError) as e:
        path = result.out / "lost_channels.json"
        raise PitlError(f"{path} lacks something ({e}); delete it and run `pitl evaluate` again.") from e


def _intervals(result: ReportInputs) -> uncertainty.Intervals | None:
    try:
        return uncertainty.intervals(result.intervals)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
        path = result.out / "uncertainty.json"
        raise PitlError(f"{path} lacks something ({e}); delete it and run `pitl evaluate` again.") from e


def _main_supervision(result: ReportInputs) -> str:
    """The first grade of supervision that the configuration asks for and the method has."""
    have = [s for a, s in statistics.arms_in(result.rows) if a == METHOD]
    asked = (result.config.get("evaluate") or {}).get("supervision") or []
    return next((s for s in [*asked, *have] if s in have), "none")


def _everyone(result: ReportInputs, supervision: str) -> list[str]:
    rows = result.rows
    metrics = ("angle_rmse_deg", "force_rmse_n", "torque_rmse_nm")
    methods = [(f.method, f.supervision) for f in tables.lines(rows)]
    figures = [everyone.pairs(rows, "angle_rmse_deg", supervision)]
    return [f for f in (*figures, *(everyone.strips(rows, methods, m) for m in metrics)) if f]


def _people(result: ReportInputs, supervision: str) -> list[dict[str, Any]]:
    """Errors of every subject: generic, and personalised."""
    columns = [("generic_physics", "none"), (METHOD, supervision)]
    metrics = ("angle_rmse_deg", "angle_nrmse", "angle_r2", "angle_r", "force_rmse_n", "force_r2", "torque_rmse_nm")
    values = {(m, c): statistics.per_subject(result.rows, m, *c) for m in metrics for c in columns}
    metrics = tuple(m for m in metrics if any(values[m, c] for c in columns))
    names = sorted({r["subject"] for r in result.rows}, key=_natural)
    return [
        {"subject": n, "cells": {m: [_scaled(values[m, c].get(n), m) for c in columns] for m in metrics}} for n in names
    ]


def _scaled(value: float | None, metric: str) -> float | None:
    return None if value is None else value * words.METRICS[metric][2]


def _natural(name: str) -> tuple[Any, ...]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else -1, name)


def _shown(result: ReportInputs, supervision: str) -> list[dict[str, Any]]:
    """Curves of the best, the median and the worst subject; the balance of torques of the median one."""
    errors = statistics.per_subject(result.rows, "angle_rmse_deg", METHOD, supervision)
    errors = {name: e for name, e in errors.items() if name in result.traces}
    if not errors:
        return []
    reference = {"truth": "true force", "static_optimisation": "static optimisation"}.get(
        result.force_source or "", "label"
    )
    shown = []
    for description, name in curves.chosen(errors):
        trace = inputs.trace(result.traces[name])
        try:
            part = curves.excerpt(trace, supervision)
            forces, left_out = curves.forces(part, name, reference)
            balance = curves.balance(part, name) if "median" in description else ""
            angle = curves.angles(part, name)
        except (KeyError, IndexError, ValueError) as e:
            path = result.traces[name]
            raise PitlError(f"{path} lacks something ({e}); delete it and run `pitl evaluate` again.") from e
        shown.append(
            {
                "description": description,
                "subject": name,
                "error": errors[name],
                "task": part.task,
                "trial": part.trial,
                "angle": angle,
                "forces": forces,
                "left_out": left_out,
                "balance": balance,
                "balance_note": _balance_note(trace, part),
            }
        )
    return shown


def _balance_note(trace: curves.Trace, part: curves.Excerpt) -> str:
    residual, muscle = part.key("balance", "residual"), part.key("balance", "muscle")
    if residual is None or muscle is None:
        return ""
    left, all_ = (float(np.sqrt(np.nanmean(v**2))) for v in (residual, muscle))
    labels = words.labels(str(trace.get("balance_supervision", "")))
    by = f" The model was personalised with labels: {labels}." if labels else ""
    return f"Root mean square here: residual {words.number(left)} N m, muscles {words.number(all_)} N m.{by}"


def _configuration(config: dict[str, Any]) -> str:
    from pydantic import ValidationError

    from pitl.config.toml import Config, to_toml

    try:
        return to_toml(Config(**config))
    except ValidationError:  # of another version: still worth showing
        return json.dumps(config, indent=1)


def _environment(result: dict[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in result.items() if k not in ("wall_seconds", "command") and v is not None}
