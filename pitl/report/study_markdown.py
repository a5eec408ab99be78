"""Tables of a stored study for a text file; what they say is decided by the study alone."""

from collections.abc import Callable, Iterable, Sequence

from pitl.errors import PitlError
from pitl.report import study, tables, words
from pitl.report.study import Found
from pitl.statistics import Comparison, Quartiles

_COLUMNS = ("angle_rmse_deg", "angle_r2", "force_rmse_n", "force_nrmse", "torque_rmse_nm")


def markdown(found: Found, what: str, of: str = "") -> str:
    """One table of a study.

    Args:
        found: the study.
        what: a name of `TABLES`.
        of: the cohort or curve that it is about.

    Raises:
        PitlError: there is no such table, cohort or curve.
    """
    if what not in TABLES:
        raise PitlError(f"a study has no table '{what}'; it has {', '.join(TABLES)}.")
    return TABLES[what](found, of)


def _targets(found: Found, of: str) -> str:
    lines = []
    for t in found.targets:
        if of and t.cohort not in (of, ""):
            continue
        interval = "" if t.low is None else f"{words.number(t.low)} to {words.number(t.high)}"
        reached = "not judged" if t.reached is None else "yes" if t.reached else "no"
        note = f" ({t.note})" if t.note else ""
        value = "" if t.value is None else f"{words.number(t.value)}{t.unit}"
        people = str(t.people or "")
        lines.append((t.cohort, t.statement, t.goal, value, interval, people, reached + note))
    return _table(("cohort", "what", "goal", "value", "95 % interval", "people", "reached"), lines)


def _arms(found: Found, cohort: str) -> str:
    _known(cohort, found.cohorts, "cohort")
    rows = found.of(cell=cohort)
    every = tables.lines(rows)
    metrics = [m for m in _COLUMNS if any(f.values[m] is not None for f in every)]
    lines = [
        (
            words.arm(f.arm),
            words.labels(f.supervision),
            *(words.spread(f.values[m], words.METRICS[m][2]) for m in metrics),
        )
        for f in every
    ]
    people, seeds = len({r["subject"] for r in rows}), len({r["seed"] for r in rows})
    return _table(("arm", "labels", *map(_heading, metrics)), lines) + f"\n\n{people} people, {seeds} seed(s)."


def _comparisons(found: Found, cohort: str) -> str:
    _known(cohort, found.cohorts, "cohort")
    lines = []
    for family in study.families(found.of(cell=cohort), found.ours[0]):
        for c in family.comparisons:
            if c.supervision == found.ours[1]:
                name = f"{family.heading} [{family.unit}]"
                lines.append((name, words.arm(c.against), *_compared(c, family.factor), tables.verdict(c)))
    return _table(
        ("error", "against", "difference", "95 % interval", "better in", "effect", "p, Holm", "verdict"), lines
    )


def _curve(found: Found, name: str) -> str:
    curves = {c["name"]: c for c in found.about["curves"]}
    _known(name, curves, "curve")
    along = study.points(found, curves[name])
    lines = []
    for arm, grade in dict.fromkeys((a, g) for p in along for _, a, g in p.values):
        for m in study.COMPARED:
            cells = [p.values.get((m, arm, grade)) for p in along]
            if any(cells):
                spread = (_spread(q, words.METRICS[m][2]) for q in cells)
                lines.append((words.arm(arm), words.labels(grade), _heading(m), *spread))
    return _table(("arm", "labels", "error", *(p.words for p in along)), lines)


def _ablations(found: Found, cohort: str) -> str:
    _known(cohort, found.cohorts, "cohort")
    lines = []
    for a in study.ablations(found, cohort):
        cells = []
        for m, c in a.differences.items():
            factor = words.METRICS[m][2]
            cells += [_spread(a.values[m], factor), "" if c is None else _difference(c, factor)]
        against = "the same" if a.against == a.arm else words.arm(a.against)
        lines.append((a.cell, words.arm(a.arm), words.labels(a.supervision), against, *cells))
    heads = [h for m in study.COMPARED for h in (_heading(m), "difference [95 %], better in, p")]
    return _table(("configuration", "arm", "labels", "against", *heads), lines)


def _failures(found: Found, _: str) -> str:
    about = found.about
    said = [f"- failed: {' '.join(str(v) for v in f.values())}" for f in about["failures"]]
    said += [f"- left out: {sentence}" for sentence in about["left_out"]]
    said += [f"- {about['missing']} answers are missing"] if about["missing"] else []
    return "\n".join(said) or "Nothing failed and nothing was left out."


def _made(found: Found, _: str) -> str:
    about, cells = found.about, {r["cell"] for r in found.rows}
    codes = sorted({r["code"] for r in found.rows})
    return (
        f"`{about['command']}`: {len(cells)} cells, {about['wall_seconds'] / 60:.0f} min with "
        f"{about['processes']} worker(s) on {', '.join(sorted({r['device'] for r in found.rows}))}, "
        f"JAX {about['environment']['jax']}, version {', '.join(codes)} of the program."
    )


TABLES: dict[str, Callable[[Found, str], str]] = {
    "targets": _targets,
    "arms": _arms,
    "comparisons": _comparisons,
    "curve": _curve,
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
    found = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    return "\n".join([*found, *("| " + " | ".join(line) + " |" for line in lines)])
