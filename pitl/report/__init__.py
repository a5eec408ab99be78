"""One self-contained page about a run: what came out, for whom, against what, and how to make it again."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.console import Console
from rich.table import Table

from pitl.comparison import statistics
from pitl.comparison.statistics import Primary
from pitl.config.schema import EvaluateConfig
from pitl.errors import PitlError
from pitl.files import atomic_write_text
from pitl.mechanics import library
from pitl.report import canvas, curves, everyone, findings, inputs, lost, mechanics, tables, uncertainty, words
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

        with canvas.style(), _complete(Path(out) / "study.json"):
            return _rendered("study.html.jinja", study.context(Path(out)), Path(out))
    result = inputs.read(Path(out))
    # what no check of one file has found does not fit together
    with canvas.style(), _complete(Path(out) / "metrics.json"):
        return _rendered("page.html.jinja", _context(result), Path(out))


def _rendered(name: str, context: dict[str, Any], out: Path) -> Path:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pitl", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": words.number,
        "p": words.probability,
        "values": words.values,
        "signed": lost.signed,
    }
    style = environment.get_template("style.css.jinja").render()
    path = out / "report.html"
    atomic_write_text(path, environment.get_template(name).render(context | {"style": style}))
    return path


def _context(result: ReportInputs) -> dict[str, Any]:
    rows, asked = result.rows, result.config.get("evaluate") or {}
    named = asked.get("primary") or EvaluateConfig().primary
    chosen = statistics.choose_primary(rows, named, asked.get("supervision") or ())
    primary = chosen or _substitute(rows)
    lines = tables.lines(rows)
    metrics = [m for m in words.SUMMARY if any(f.values[m] is not None for f in lines)]
    costs, intervals, outputs = _lost(result), _intervals(result), result.intervals.get("outputs") or []
    errors = statistics.per_subject(rows, "angle_rmse_deg", *primary.first)
    shown = _shown(result, primary, errors)
    last = max(sorted(errors), key=lambda n: errors[n], default="")
    traces = {n: inputs.trace(p) for n, p in [(last, result.trace_of(last))] if p is not None}
    return {
        "name": result.config.get("name", result.out.name),
        "primary": primary,
        "named": None if chosen else [words.method(n) for n in named],
        "effect": findings.effect(rows, primary),
        "significance": findings.significance(statistics.paired(rows, "angle_rmse_deg", primary.first, primary.second)),
        "worst": findings.worst(rows, primary, traces, outputs, result.notes),
        "best_method": findings.best(rows, primary),
        "advice": findings.advice(rows, primary, outputs, costs, result.identified),
        "people": len({r["subject"] for r in rows}),
        "seeds": len({r["seed"] for r in rows}),
        "tasks": sorted({r["task"] for r in rows} - {"all"}),
        "labels": words.labels(primary.supervision),
        "force_labels": words.force_labels(result.force_source),
        "reference": _REFERENCES.get(result.force_source or "", "label"),
        "words": words,
        "metrics": metrics,
        "uneven": len({(f.subjects, f.seeds) for f in lines}) > 1,
        "lines": lines,
        "best": {m: tables.best(lines, m) for m in metrics},
        "families": tables.families(rows, primary.method, chosen),
        "verdict": tables.verdict,
        "lost": costs,
        "intervals": intervals,
        "model_picture": _model_picture(result.out),
        "everyone": _everyone(rows, primary, lines),
        "people_table": _people(rows, primary),
        "shown": shown,
        "learned": result.learned,
        "factors": list(dict.fromkeys(k for v in result.learned.values() for k in v)),
        "learned_figure": _learned(result),
        "notes": list(dict.fromkeys(result.notes)),
        "configuration": _configuration(result.config),
        "environment": _environment(result.environment),
        "wall": result.environment.get("wall_seconds") or {},
        "command": result.environment.get("command", ""),
    }


_REFERENCES = {"truth": "true force", "static_optimisation": "static optimisation"}


def show(out: Path, console: Console) -> None:
    """Writes the report of a run, and shows its main numbers."""
    path, result = write(out), inputs.read(out)
    console.print(summary_table(result.rows))
    asked = result.config.get("evaluate") or {}
    primary = statistics.choose_primary(result.rows, asked.get("primary") or EvaluateConfig().primary)
    for sentence in findings.effect(result.rows, primary) if primary else []:
        console.print(sentence, soft_wrap=True, highlight=False)
    for file in sorted(out.glob("hill-*.json")):
        with _complete(file):
            told = tables.identified(inputs.identified(file), file.stem.removeprefix("hill-"))
        console.print(told, soft_wrap=True, highlight=False)
    lost_channels = lost_table(out)
    if lost_channels is not None:
        console.print(lost_channels)
    models = out / "models"
    if models.is_dir():
        console.print(f"Models to use: {models}", soft_wrap=True)
    console.print(f"Report: {path}", soft_wrap=True)


def _substitute(rows: list[dict[str, Any]]) -> Primary:
    """What is drawn where the run does not have the primary comparison: its best method against a generic model."""
    have = statistics.methods_in(rows)
    generic = next((pair for pair in reversed(have) if pair[0].startswith("generic")), have[0])
    medians = {}
    for pair in have:
        q = statistics.quartiles(statistics.per_subject(rows, "angle_rmse_deg", *pair).values())
        if q is not None and pair != generic:
            medians[pair] = q.median
    method, supervision = min(medians, key=lambda pair: medians[pair], default=generic)
    return Primary(method, supervision, *generic)


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
    with _complete(result.out / "lost_channels.json"):
        return lost.costs(result.lost)


def _intervals(result: ReportInputs) -> uncertainty.Intervals | None:
    with _complete(result.out / "uncertainty.json"):
        return uncertainty.intervals(result.intervals)


def _learned(result: ReportInputs) -> str:
    with _complete(result.out / "learned.json"):
        return everyone.learned(result.learned)


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    """Turns whatever a file lacks into a sentence."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, jinja2.TemplateError) as e:
        raise PitlError(f"{path} lacks something ({e!r:.200}); delete it and run `pitl compare` again.") from e


def _everyone(rows: list[dict[str, Any]], primary: Primary, lines: list[tables.TableLine]) -> list[str]:
    methods = [(f.method, f.supervision) for f in lines if f.supervision in (primary.supervision, "none")]
    figures = [everyone.strips(rows, methods, m, primary.first) for m in tables.COMPARED]
    return [f for f in (*figures, everyone.pairs(rows, "angle_rmse_deg", primary)) if f]


def _people(rows: list[dict[str, Any]], primary: Primary) -> list[dict[str, Any]]:
    """Errors of every person, before and after."""
    columns = [primary.second, primary.first]
    metrics = ("angle_rmse_deg", "angle_nrmse", "angle_r2", "angle_r", "force_rmse_n", "force_r2", "torque_rmse_nm")
    values = {(m, c): statistics.per_subject(rows, m, *c) for m in metrics for c in columns}
    metrics = tuple(m for m in metrics if any(values[m, c] for c in columns))
    names = sorted({r["subject"] for r in rows}, key=_natural)
    return [
        {"subject": n, "cells": {m: [_scaled(values[m, c].get(n), m) for c in columns] for m in metrics}} for n in names
    ]


def _scaled(value: float | None, metric: str) -> float | None:
    return None if value is None else value * words.METRICS[metric][2]


def _natural(name: str) -> tuple[Any, ...]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else -1, name)


def _shown(result: ReportInputs, primary: Primary, errors: dict[str, float]) -> list[dict[str, Any]]:
    """Curves of the median, the best and the worst person; the balance of torques of the median one."""
    errors = {name: e for name, e in errors.items() if result.trace_of(name) is not None}
    shown = []
    for description, name in curves.chosen(errors) if errors else []:
        path = result.trace_of(name)
        assert path is not None
        trace = inputs.trace(path)
        with _complete(path):
            part = curves.excerpt(trace, primary)
            forces, left_out = curves.forces(part, name)
            shown.append(
                {
                    "description": description,
                    "subject": name,
                    "error": errors[name],
                    "task": part.task,
                    "trial": part.trial,
                    "shaded": part.shaded,
                    "angle": curves.angles(part, name),
                    "forces": forces,
                    "left_out": left_out,
                    "muscles": len(np.atleast_1d(trace["muscles"])) if "muscles" in trace else 0,
                    "balance": curves.balance(part, name) if "median" in description else "",
                    "balance_note": _balance_note(trace, part),
                }
            )
    return sorted(shown, key=lambda s: "median" not in s["description"])


def _balance_note(trace: curves.Trace, part: curves.Excerpt) -> str:
    residual, muscle = part.key("balance", "residual"), part.key("balance", "muscle")
    if residual is None or muscle is None:
        return ""
    left, all_ = (words.number(float(np.sqrt(np.nanmean(v**2)))) for v in (residual, muscle))
    labels = words.labels(str(trace.get("balance_supervision", "")))
    by = f" The model was personalised with labels: {labels}." if labels else ""
    return f"Root mean square over these seconds: residual {left} N m, muscle torque {all_} N m.{by}"


def _configuration(config: dict[str, Any]) -> str:
    from pydantic import ValidationError

    from pitl.config.toml import Config, to_toml

    try:
        return to_toml(Config(**config))
    except ValidationError:  # of another version: still worth showing
        return json.dumps(config, indent=1)


def _environment(result: dict[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in result.items() if k not in ("wall_seconds", "command") and v is not None}
