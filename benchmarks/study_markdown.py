"""Tables of a stored study for a text file; what they say is decided by the study alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks import targets
from pitl.comparison import statistics
from pitl.comparison.statistics import Comparison, Quartiles
from pitl.config.methods import METHODS
from pitl.errors import PitlError
from pitl.report import study, tables, words
from pitl.report.study import StudyResult

_COLUMNS = ("angle_rmse_deg", "angle_r2", "force_rmse_n", "force_nrmse", "torque_rmse_nm")


def markdown(result: StudyResult, what: str, of: str = "") -> str:
    """One table of a study.

    Args:
        result: the study.
        what: a name of `TABLES`.
        of: the cohort or curve that it is about.

    Raises:
        PitlError: there is no such table, cohort or curve.
    """
    if what not in TABLES:
        raise PitlError(f"a study has no table '{what}'; it has {', '.join(TABLES)}.")
    return TABLES[what](result, of)


def _targets(result: StudyResult, of: str) -> str:
    lines = []
    judged = [name for name in result.cohorts if name in result.about["judged"]]
    data = {name: result.cohorts[name]["config"]["data"] for name in judged}
    # mar: marcha, the walking of the UCI recordings
    kinds = {name: "walking" if "mar" in d["tasks"] else d["kind"] for name, d in data.items()}
    for t in targets.judged(result.rows, kinds, result.about["curves"], *result.ours):
        if of and t.cohort not in (of, ""):
            continue
        interval = "" if t.low is None else f"{words.number(t.low)} to {words.number(t.high)}"
        reached = "not judged" if t.reached is None else "yes" if t.reached else "no"
        note = f" ({t.note})" if t.note else ""
        value = "" if t.value is None else f"{words.number(t.value)}{t.unit}"
        people = str(t.people or "")
        lines.append((t.cohort, t.statement, t.goal, value, interval, people, reached + note))
    return _table(("cohort", "what", "goal", "value", "95 % interval", "people", "reached"), lines)


def _summary(result: StudyResult, _: str) -> str:
    """Of every cohort and error the generic model, the method, and the best other without measured test motion."""
    lines, ours = [], result.ours
    for name, cell in ((n, c) for n, c in result.cohorts.items() if n in result.about["judged"]):
        every = {(f.method, f.supervision): f for f in tables.lines(result.of(cell=name))}
        seconds = statistics.quartiles([r["calibration_s"] for r in result.of(cell=name) if r["method"] == ours[0]])
        who = f"{cell['title']}, {words.number(seconds.median)} s" if seconds else cell["title"]
        for metric in ("angle_rmse_deg", "force_nrmse", "torque_rmse_nm"):
            known = {pair: f.values[metric] for pair, f in every.items() if f.values[metric] is not None}
            if ours not in known:
                continue
            others = [p for p in known if p[1] == ours[1] and p != ours and not METHODS[p[0]].measured_motion]
            best = min(others, key=lambda p: _median(known[p]))
            factor = words.METRICS[metric][2]
            cells = [_spread(known.get(pair), factor) for pair in (("generic_physics", "none"), ours, best)]
            lines.append((who, _heading(metric), *cells[:2], f"{cells[2]}, {words.method(best[0])}"))
    heads = ("people, calibration", "error", "generic", words.method(ours[0]), "best of the others")
    return _table(heads, lines)


def _median(value: Quartiles | None) -> float:
    return float("inf") if value is None else value.median


def _methods(result: StudyResult, cohort: str) -> str:
    _known(cohort, result.cohorts, "cohort")
    rows = result.of(cell=cohort)
    every = tables.lines(rows)
    metrics = [m for m in _COLUMNS if any(f.values[m] is not None for f in every)]
    lines = [
        (
            words.method(f.method),
            words.labels(f.supervision),
            *(words.spread(f.values[m], words.METRICS[m][2]) for m in metrics),
        )
        for f in every
    ]
    people, seeds = len({r["subject"] for r in rows}), len({r["seed"] for r in rows})
    return _table(("method", "labels", *map(_heading, metrics)), lines) + f"\n\n{people} people, {seeds} seed(s)."


def _comparisons(result: StudyResult, cohort: str) -> str:
    _known(cohort, result.cohorts, "cohort")
    lines = []
    for family in tables.families(result.of(cell=cohort), result.ours[0], None):
        for c in family.comparisons:
            if c.supervision == result.ours[1]:
                name = f"{family.heading} [{family.unit}]"
                lines.append((name, words.method(c.against), *_compared(c, family.factor), tables.verdict(c)))
    return _table(
        ("error", "against", "difference", "95 % interval", "better in", "effect", "p, Holm", "verdict"), lines
    )


def _curve(result: StudyResult, name: str) -> str:
    curves = {c["name"]: c for c in result.about["curves"]}
    _known(name, curves, "curve")
    along = study.points(result, curves[name])
    lines = []
    for method, grade in dict.fromkeys((a, g) for p in along for _, a, g in p.values):
        for m in study.COMPARED:
            cells = [p.values.get((m, method, grade)) for p in along]
            if any(cells):
                spread = (_spread(q, words.METRICS[m][2]) for q in cells)
                lines.append((words.method(method), words.labels(grade), _heading(m), *spread))
    return _table(("method", "labels", "error", *(p.words for p in along)), lines)


def _amounts(result: StudyResult, name: str) -> str:
    """Angle error of every method along a curve or in a cohort, how often it beats generic, and its intervals."""
    _known(name, [*(c["name"] for c in result.about["curves"]), *result.cohorts], "curve or cohort")
    lines, metric, ours = [], "angle_rmse_deg", result.ours
    curve = next((c for c in result.about["curves"] if c["name"] == name), {"keys": ["data.calibration_fraction"]})
    for cell in dict.fromkeys(r["cell"] for r in result.rows if name in (r["curve"], r["cell"])):
        rows = result.of(cell=cell, task="all")
        seconds = statistics.quartiles([r["calibration_s"] for r in rows if r["method"] == ours[0]])
        generic = statistics.per_subject(rows, metric, "generic_physics", "none")
        best = statistics.per_subject(rows, metric, *ours)
        for method, grade in statistics.methods_in(rows):
            errors = statistics.per_subject(rows, metric, method, grade)
            held = [r["angle_coverage"] for r in rows if r["method"] == method and r["angle_coverage"] is not None]
            lines.append(
                (
                    "" if seconds is None else study.amount(curve, rows[0]["x"], seconds.median),
                    words.method(method),
                    words.spread(statistics.quartiles(errors.values())),
                    words.number(max(errors.values())),
                    _better(errors, generic),
                    "" if method == ours[0] else _better(best, errors),
                    f"{100 * sum(held) / len(held):.0f} %" if held else "",
                )
            )
    heads = ("calibration", "method", _heading(metric), "worst person", "better than generic in")
    return _table((*heads, f"{words.method(ours[0])} is better in", "90 % intervals hold"), lines)


def _better(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    both = set(first) & set(second)
    return f"{sum(first[p] < second[p] for p in both)} of {len(both)}"


def _ablations(result: StudyResult, cohort: str) -> str:
    _known(cohort, result.cohorts, "cohort")
    lines = []
    for a in study.ablations(result, cohort):
        cells = []
        for m, c in a.differences.items():
            factor = words.METRICS[m][2]
            cells += [_spread(a.values[m], factor), "" if c is None else _difference(c, factor)]
        against = "the same" if a.against == a.method else words.method(a.against)
        lines.append((a.cell, words.method(a.method), words.labels(a.supervision), against, *cells))
    heads = [h for m in study.COMPARED for h in (_heading(m), "difference [95 %], better in, p")]
    return _table(("configuration", "method", "labels", "against", *heads), lines)


def _failures(result: StudyResult, _: str) -> str:
    about = result.about
    predicted = [f"- failed: {' '.join(str(v) for v in f.values())}" for f in about["failures"]]
    predicted += [f"- left out: {sentence}" for sentence in about["left_out"]]
    predicted += [f"- {about['missing']} answers are missing"] if about["missing"] else []
    return "\n".join(predicted) or "Nothing failed and nothing was left out."


def _made(result: StudyResult, _: str) -> str:
    about, cells = result.about, {r["cell"] for r in result.rows}
    codes = sorted({r["code"] for r in result.rows})
    return (
        f"`{about['command']}`: {len(cells)} cells, {about['wall_seconds'] / 60:.0f} min with "
        f"{about['processes']} worker(s) on {', '.join(sorted({r['device'] for r in result.rows}))}, "
        f"JAX {about['environment']['jax']}, version {', '.join(codes)} of the program."
    )


TABLES: dict[str, Callable[[StudyResult, str], str]] = {
    "summary": _summary,
    "targets": _targets,
    "methods": _methods,
    "comparisons": _comparisons,
    "curve": _curve,
    "amounts": _amounts,
    "ablations": _ablations,
    "failures": _failures,
    "made": _made,
}


def _known(name: str, among: Iterable[str], what: str) -> None:
    if name not in list(among):
        raise PitlError(f"the study has no {what} '{name}'; it has {', '.join(among)}.")


def _heading(metric: str) -> str:
    heading, unit, _ = words.METRICS[metric]
    return f"{heading} [{unit}]" if unit else heading


def _spread(q: Quartiles | None, factor: float) -> str:
    return "" if q is None else words.spread(q, factor)


def _difference(c: Comparison, factor: float) -> str:
    value, interval, better, _, p = _compared(c, factor)
    return f"{value} [{interval}], {better}, {p}"


def _compared(c: Comparison, factor: float) -> tuple[str, str, str, str, str]:
    interval = (
        "" if c.low is None or c.high is None else f"{words.number(c.low * factor)} to {words.number(c.high * factor)}"
    )
    value, effect, p = words.number(c.difference * factor), words.number(c.effect), words.probability(c.p_holm)
    return value, interval, f"{c.better} of {c.count}", effect, p


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    result = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    return "\n".join([*result, *("| " + " | ".join(line) + " |" for line in lines)])
