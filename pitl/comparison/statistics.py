"""From rows of errors to medians with quartiles and paired comparisons; a subject counts once, whatever the seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from pitl.config.methods import GRADES, METHODS

LEVEL = 0.05


class Quartiles(NamedTuple):
    """Over subjects."""

    median: float
    lower: float
    upper: float
    count: int


class Comparison(NamedTuple):
    """One method against another on the same subjects: first minus second, so below 0 the first is better."""

    method: str
    supervision: str
    against: str
    metric: str
    count: int  # subjects
    better: int  # of them, with a smaller error in the first method
    difference: float  # median over subjects, in the metric's unit
    low: float | None  # bootstrap 95 % interval of that median
    high: float | None
    effect: float | None  # matched-pairs rank-biserial correlation, -1 to 1
    p: float | None  # two-sided Wilcoxon signed-rank
    p_holm: float | None = None  # corrected over the family
    family: int = 1  # comparisons of this metric with the same labels

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below `LEVEL`."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def attainable(self) -> bool:
        """Whether the signed-rank test can be significant at all with so few subjects in so large a family."""
        return self.family * 2.0 ** (1 - self.count) < LEVEL


def per_subject(rows: Iterable[Mapping[str, Any]], metric: str, method: str, supervision: str) -> dict[str, float]:
    """Mean over seeds of a metric on all tasks together, by subject; subjects without a finite value are left out."""
    result: dict[str, list[float]] = {}
    for r in rows:
        if (r["task"], r["method"], r["supervision"]) == ("all", method, supervision):
            value = r.get(metric)
            if value is not None and np.isfinite(value):
                result.setdefault(r["subject"], []).append(float(value))
    return {subject: float(np.mean(values)) for subject, values in result.items()}


class Primary(NamedTuple):
    """The comparison that was named before the run: a method with its grade of supervision, and its reference."""

    method: str
    supervision: str
    against: str
    against_supervision: str

    @property
    def first(self) -> tuple[str, str]:
        """The method and its grade."""
        return self.method, self.supervision

    @property
    def second(self) -> tuple[str, str]:
        """What it is compared with, and its grade."""
        return self.against, self.against_supervision


def choose_primary(
    rows: Iterable[Mapping[str, Any]], named: Sequence[str], asked: Sequence[str] = ()
) -> Primary | None:
    """The primary comparison, in the first grade of supervision that was asked for; None if the run does not have it.

    Args:
        rows: errors.
        named: method and what it is compared with (`evaluate.primary`).
        asked: grades of supervision in the order of the configuration (`evaluate.supervision`).
    """
    have, (method, against) = methods_in(rows), named
    for grade in dict.fromkeys([*asked, *GRADES]):
        for other in (grade, "none"):
            if (method, grade) in have and (against, other) in have:
                return Primary(method, grade, against, other)
    return None


def methods_in(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Methods with their grades of supervision, in order of appearance."""
    return list(dict.fromkeys((r["method"], r["supervision"]) for r in rows))


def quartiles(values: Iterable[float]) -> Quartiles | None:
    """Median and quartiles; None if there are no values."""
    v = np.array(list(values), float)
    if not len(v):
        return None
    lower, median, upper = np.percentile(v, (25, 50, 75))
    return Quartiles(float(median), float(lower), float(upper), len(v))


def compare(
    rows: Sequence[Mapping[str, Any]], metric: str, method: str, apart: Primary | None = None
) -> list[Comparison]:
    """One method against all others; Holm's correction covers the comparisons in one grade of supervision.

    The generic models use no label of the person and stand in every grade. Methods that answer alike by construction
    (nobody's errors differ) are left out.

    Args:
        rows: errors.
        metric: which of them.
        method: that is compared.
        apart: a comparison of angle errors that is tested by itself and so belongs to no family.
    """
    have, result = methods_in(rows), []
    order = {name: k for k, name in enumerate(METHODS)}
    others = sorted({name for name, _ in have if name != method}, key=lambda name: order.get(name, len(order)))
    for supervision in [s for s in GRADES if (method, s) in have]:
        family = []
        for other in others:
            grade = "none" if (other, "none") in have and (other, supervision) not in have else supervision
            pair = (method, supervision), (other, grade)
            if apart is not None and metric == "angle_rmse_deg" and pair == (apart.first, apart.second):
                continue
            one = paired(rows, metric, *pair) if (other, grade) in have else None
            family += [one] if one is not None and one.effect is not None else []
        result += corrected(family)
    return result


def paired(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    first: tuple[str, str],
    second: tuple[str, str],
    others: Sequence[Mapping[str, Any]] | None = None,
) -> Comparison | None:
    """One method with its grade against another on the people that both have; None if there are none.

    Args:
        rows: errors.
        metric: which of them.
        first: method and grade of supervision.
        second: method and grade that it is compared with.
        others: rows of the second, where they are of another run.
    """
    a, b = per_subject(rows, metric, *first), per_subject(rows if others is None else others, metric, *second)
    names = sorted(set(a) & set(b))
    if not names:
        return None
    return _paired(first, second[0], metric, np.array([a[n] - b[n] for n in names]))


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons with p corrected for their number, after Holm."""
    stepped = iter(holm([c.p for c in family if c.p is not None]))
    return [c._replace(p_holm=None if c.p is None else next(stepped), family=len(family)) for c in family]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979, Scand. J. Statist. 6:65-70)."""
    order = np.argsort(p, kind="stable")
    stepped = np.array(p, float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected.tolist()


def _paired(first: tuple[str, str], against: str, metric: str, difference: np.ndarray) -> Comparison:
    count = len(difference)
    low = high = effect = p = None
    moved = difference[difference != 0]
    if len(moved):
        ranks = stats.rankdata(np.abs(moved))
        effect = float(np.sum(ranks * np.sign(moved)) / np.sum(ranks))
        p = float(stats.wilcoxon(moved).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    if count > 1:
        low, high = median_interval(difference)
    return Comparison(
        *first,
        against,
        metric,
        count,
        int(np.sum(difference < 0)),
        float(np.median(difference)),
        low,
        high,
        effect,
        p,
    )


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of the median; the same values give the same interval.

    The percentile method, since the bias correction of BCa is undefined where resampled medians tie, as they do here.
    """
    result = stats.bootstrap(
        (values,),
        np.median,
        n_resamples=9999,
        method="percentile",
        random_state=np.random.default_rng(0),  # pyright: ignore[reportCallIssue] # not yet called rng in scipy 1.14
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
