"""Intervals around a method's answers that hold for a person it has never seen: conformal prediction over people.

Split-conformal prediction (Vovk, Gammerman, Shafer 2005, doi 10.1007/b106715; Lei et al. 2018,
doi 10.1080/01621459.2017.1307116) needs scores that are exchangeable with those of the unseen case. Rows of one
recording are not: a miss at one instant is a miss at the next. People are. So the scores are the source people's errors
on their own test parts, each of them personalised like the target and left out of their generic model, and people
count alike however long they were recorded (the two-layer setting of Dunn, Wasserman, Ramdas 2023,
doi 10.1080/01621459.2022.2060112). What is promised is therefore an average over people and time: one person's coverage
may be lower or higher, and misses come in runs.

Errors are divided by an expected size before they are pooled: by the source people's mean error near the same answer in
the same posture, by the person's own error on the end of their calibration part, which is kept out of a second
personalisation, and by the spread of an ensemble if there is one. How far to trust each of these, and the level at
which source people cover one another, are found on the source people alone.

One impurity remains, as in every leave-one-out scheme that is not nested: the generic model behind a source person's
errors has seen the target person. A person who comes after the study is not in anybody's generic model.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

LEVEL = 0.9
# Evenly spaced rows of each person that scores are taken from; neighbours tell nothing new.
_ROWS = 200
_BINS = 6  # of the answer's range within each posture, in which the size of errors is averaged
_TRY = np.concatenate([np.linspace(0.5, 0.95, 46), np.linspace(0.955, 0.999, 23)])  # levels of the pooled scores


class PersonErrors(NamedTuple):
    """One output of one person on their test rows, and what is known of its errors."""

    predicted: np.ndarray  # (W,)
    true: np.ndarray  # (W,)
    posture: np.ndarray  # (W,) index
    earlier: float | None = None  # typical error on the part of the calibration that was kept out
    spread: np.ndarray | None = None  # (W,) of an ensemble's members

    @property
    def error(self) -> np.ndarray:
        return np.abs(self.predicted - self.true)


class Trust(NamedTuple):
    """Exponents of what errors are divided by: 0 ignores it, 1 believes it."""

    near: float  # mean error of the source people near the same answer
    earlier: float  # the person's own error, kept out of personalisation
    spread: float  # of the ensemble


class Interval(NamedTuple):
    """Half the width of the interval at every row of one person, and how it came about."""

    half: np.ndarray  # (W,)
    trust: Trust
    level: float  # of the pooled scores at which the source people cover one another


class _Sizes(NamedTuple):
    """Mean absolute error of some people by posture and answer."""

    edges: dict[int, np.ndarray]
    mean: dict[int, np.ndarray]
    overall: float
    earlier: float
    spread: float


def intervals(people: list[PersonErrors], sources: list[tuple[int, ...]], level: float = LEVEL) -> list[Interval]:
    """Intervals for everybody, each from the errors of their source people alone.

    Args:
        people: everybody's answers, from any method.
        sources: whose errors may be used for whom.
        level: share of rows that an interval should cover, on average over people.
    """
    return [_one(people, p, tuple(s for s in sources[p] if s != p), level) for p in range(len(people))]


def _one(people: list[PersonErrors], target: int, sources: tuple[int, ...], level: float) -> Interval:
    some = [_thinned(people[s]) for s in sources]
    sizes = _sizes(some)
    best: tuple[float, Trust, float, float] | None = None
    for trust in _trusts([*some, people[target]]):
        expected = [_expected(p, sizes, trust) for p in some]
        scores = [np.sort(p.error / e) for p, e in zip(some, expected, strict=True)]
        at = calibrated(scores, level)
        bound = float(np.quantile(np.concatenate(scores), at))
        # Winkler's score: width, and what is missed counts 2 / (1 - level) times
        cost = np.mean(
            [
                np.mean(2 * bound * e + 2 / (1 - level) * np.maximum(p.error - bound * e, 0))
                for p, e in zip(some, expected, strict=True)
            ]
        )
        if best is None or cost < best[0]:
            best = (float(cost), trust, at, bound)
    assert best is not None
    _, trust, at, bound = best
    return Interval(bound * _expected(people[target], sizes, trust), trust, at)


def calibrated(scores: list[np.ndarray], level: float) -> float:
    """The level of pooled scores at which people, each left out in turn, are covered as often as asked, on average.

    Args:
        scores: of each person, sorted; as many for each.
        level: coverage asked for.
    """
    if len(scores) < 2:
        return level
    coverage = np.empty((len(scores), len(_TRY)))
    for k, own in enumerate(scores):
        others = np.concatenate([s for j, s in enumerate(scores) if j != k])
        coverage[k] = np.searchsorted(own, np.quantile(others, _TRY), side="right") / len(own)
    mean = coverage.mean(axis=0)
    return float(np.interp(level, np.maximum.accumulate(mean), _TRY)) if mean[-1] >= level else 1.0


def _trusts(people: list[PersonErrors]) -> list[Trust]:
    earlier = (0.0, 0.5, 1.0) if all(p.earlier is not None for p in people) else (0.0,)
    spread = (0.0, 0.5, 1.0) if all(p.spread is not None for p in people) else (0.0,)
    return [Trust(*t) for t in product((0.0, 1.0), earlier, spread)]


def _thinned(person: PersonErrors) -> PersonErrors:
    at = np.linspace(0, len(person.predicted) - 1, _ROWS).astype(int)
    arrays = (x[at] if x is not None else None for x in (person.predicted, person.true, person.posture, person.spread))
    predicted, true, posture, spread = arrays
    assert predicted is not None and true is not None and posture is not None
    return PersonErrors(predicted, true, posture, person.earlier, spread)


def _sizes(people: list[PersonErrors]) -> _Sizes:
    predicted, error, posture = (
        np.concatenate(x) for x in zip(*((p.predicted, p.error, p.posture) for p in people), strict=True)
    )
    overall = max(float(error.mean()), 1e-12)
    edges, mean = {}, {}
    for k in np.unique(posture):
        mine = posture == k
        inner = np.quantile(predicted[mine], np.linspace(0, 1, _BINS + 1)[1:-1])
        bin_of = np.searchsorted(inner, predicted[mine])
        count = np.bincount(bin_of, minlength=_BINS)
        total = np.bincount(bin_of, weights=error[mine], minlength=_BINS)
        # a thin bin is worth little more than everybody's mean
        mean[int(k)], edges[int(k)] = (total + _ROWS / 4 * overall) / (count + _ROWS / 4), inner
    earlier = [p.earlier for p in people if p.earlier is not None]
    spread = [p.spread.mean() for p in people if p.spread is not None]
    return _Sizes(
        edges,
        mean,
        overall,
        float(np.exp(np.mean(np.log(np.maximum(earlier, 1e-12))))) if earlier else 1.0,
        max(float(np.mean(spread)), 1e-12) if spread else 1.0,
    )


def _expected(person: PersonErrors, sizes: _Sizes, trust: Trust) -> np.ndarray:
    """Expected size of the error at every row; its scale does not matter."""
    size = np.ones(len(person.predicted))
    if trust.near:
        near = np.full(len(person.predicted), sizes.overall)
        for k, inner in sizes.edges.items():
            mine = person.posture == k
            near[mine] = sizes.mean[k][np.searchsorted(inner, person.predicted[mine])]
        size *= near / sizes.overall
    if trust.earlier and person.earlier is not None:
        # ten times the others' error, or a tenth, is no information about the future
        size *= np.clip(person.earlier / sizes.earlier, 0.1, 10.0) ** trust.earlier
    if trust.spread and person.spread is not None:
        # an ensemble that agrees is not thereby right
        size *= (0.5 + 0.5 * person.spread / sizes.spread) ** trust.spread
    return size


class Coverage(NamedTuple):
    """How an interval did on one person's test part."""

    coverage: float
    width: float  # mean, in the output's unit
    missed_s: float  # mean length of a run of misses
    longest_s: float
    parts: dict[str, float]  # coverage by task, posture and end of the range


def covered(
    person: PersonErrors, interval: Interval, tasks: np.ndarray, postures: tuple[str, ...], dt: float
) -> Coverage:
    """Coverage on the test part, in all and in parts.

    Args:
        person: with the truth.
        interval: around the answers.
        tasks: (W,) name of each row's task.
        postures: names of the postures.
        dt: [s] between rows.
    """
    inside = person.error <= interval.half
    low, high = person.true.min(), person.true.max()
    share = (person.true - low) / max(high - low, 1e-12)
    parts = {
        "lowest fifth of the range": share < 0.2,
        "middle of the range": (share >= 0.2) & (share <= 0.8),
        "highest fifth of the range": share > 0.8,
    }
    parts |= {f"task {t}": tasks == t for t in np.unique(tasks)}
    parts |= {f"posture {postures[k]}": person.posture == k for k in np.unique(person.posture)}
    missed = _runs(~inside) * dt
    return Coverage(
        float(inside.mean()),
        float(2 * interval.half.mean()),
        float(missed.mean()) if len(missed) else 0.0,
        float(missed.max()) if len(missed) else 0.0,
        {name: float(inside[at].mean()) for name, at in parts.items() if at.any()},
    )


def _runs(hit: np.ndarray) -> np.ndarray:
    """Lengths of the runs of True."""
    edge = np.flatnonzero(np.diff(np.concatenate([[0], hit.astype(int), [0]])))
    return edge[1::2] - edge[::2]
