"""Intervals hold for people whose errors nobody has seen, and use nobody's errors but those of source people."""

import numpy as np
import pytest
from method_cohort import task

from pitl.comparison import conformal, coverage
from pitl.comparison.conformal import PersonErrors
from pitl.comparison.methods import run_method
from pitl.learn.predict import Estimate

pytestmark = pytest.mark.deep


def cohort(seed=0, people=24, rows=900, spread=0.5, steady=True):
    """People whose errors differ in size, follow the end of the range, and are slow in time."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(people):
        true = np.sin(np.linspace(0, 40, rows) + rng.uniform(0, 6))
        noise = np.convolve(rng.normal(size=rows + 40), np.ones(40) / np.sqrt(40), "valid")[:rows]
        size = np.exp(spread * rng.normal())
        earlier = size * np.exp(0.1 * rng.normal()) if steady else np.exp(spread * rng.normal())
        error = 0.2 * size * (1 + 2 * np.abs(true)) * noise
        result.append(PersonErrors(true + 0.02 * error, true + 0.02 * error - error, np.zeros(rows, int), earlier))
    return result


def loso(count):
    return [tuple(s for s in range(count) if s != p) for p in range(count)]


def coverages(people, sources=None):
    made = conformal.intervals(people, sources or loso(len(people)))
    return np.array([np.mean(p.error <= i.half) for p, i in zip(people, made, strict=True)]), made


@pytest.mark.parametrize("seed", range(3))
def test_nine_tenths_of_unseen_peoples_rows_are_covered(seed):
    covered, _ = coverages(cohort(seed))
    assert 0.87 < covered.mean() < 0.93


def test_a_persons_own_earlier_error_makes_coverage_even_where_it_tells_something():
    informed, made = coverages(cohort())
    blind, _ = coverages([p._replace(earlier=None) for p in cohort()])
    assert informed.std() < 0.5 * blind.std()
    assert np.mean([i.trust.earlier for i in made]) > 0.7


def test_an_earlier_error_that_tells_nothing_is_trusted_less_and_does_no_harm():
    told = [np.mean([i.trust.earlier for i in coverages(cohort(k, people=12))[1]]) for k in range(3)]
    false = [coverages(cohort(k, people=12, steady=False)) for k in range(3)]
    assert np.mean([i.trust.earlier for _, made in false for i in made]) < np.mean(told) - 0.3
    assert abs(np.mean([c.mean() for c, _ in false]) - 0.9) < 0.04


def test_intervals_are_wider_where_source_people_err_more():
    people = cohort()
    _, made = coverages(people)
    ends = np.concatenate([i.half[np.abs(p.predicted) > 0.9] for p, i in zip(people, made, strict=True)])
    middle = np.concatenate([i.half[np.abs(p.predicted) < 0.2] for p, i in zip(people, made, strict=True)])
    assert ends.mean() > 1.3 * middle.mean()


def test_an_ensembles_disagreement_is_used_where_it_follows_the_error():
    rng = np.random.default_rng(1)
    people = []
    for p in cohort(spread=0.1):
        size = np.exp(np.convolve(rng.normal(size=939), np.ones(40) / np.sqrt(40), "valid")[:900])
        error = (p.predicted - p.true) * size
        people.append(p._replace(true=p.predicted - error, spread=size))
    _, made = coverages(people)
    assert np.mean([i.trust.spread for i in made]) > 0.4
    _, deaf = coverages([p._replace(spread=None) for p in people])
    assert np.mean([i.half.mean() for i in made]) < np.mean([i.half.mean() for i in deaf])


def test_nobodys_truth_but_that_of_source_people_moves_an_interval():
    people, sources = cohort(people=8), loso(8)
    sources[0] = (2, 3, 4, 5)
    before = conformal.intervals(people, sources)[0]
    for other, moves in ((0, False), (1, False), (6, False), (3, True)):
        wrong = [p._replace(true=p.true + 5) if k == other else p for k, p in enumerate(people)]
        same = np.array_equal(conformal.intervals(wrong, sources)[0].half, before.half)
        assert same != moves


def test_coverage_is_told_by_task_posture_and_end_of_the_range_and_misses_by_their_length():
    true = np.linspace(0, 1, 100)
    predicted = np.where(true > 0.8, true + 1, true)
    person = PersonErrors(predicted, true, np.repeat([0, 1], 50))
    interval = conformal.Interval(np.full(100, 0.5), conformal.Trust(0, 0, 0), 0.9)
    tasks = np.where(np.arange(100) < 90, "slow", "fast")
    how = conformal.covered(person, interval, tasks, ("seated", "standing"), 0.01)
    assert how.coverage == pytest.approx(0.8) and how.width == pytest.approx(1.0)
    assert how.parts["highest fifth of the range"] == 0 and how.parts["lowest fifth of the range"] == 1
    assert how.parts["posture seated"] == 1 and how.parts["task fast"] == 0
    assert how.longest_s == pytest.approx(0.2)


@pytest.mark.thorough
def test_kept_out_rows_are_not_trained_on_and_neither_are_their_neighbours():
    work = task()
    before = coverage.kept_out(work)
    window = work.prepared.net.window
    taps = len(work.prepared.taps.average)
    for p in range(3):
        held, rows = before.split.test[p], work.split.calibration[p]
        assert 0.2 < len(held) / len(rows) < 0.3 and set(held) <= set(rows)
        seen = rows[before.split.labelled[p]]
        assert np.abs(seen[:, None] - held[None, :]).min() >= window
        used = np.asarray(before.split.people.segment)[p][: len(rows) - taps + 1] > 0
        reached = np.concatenate([rows[k : k + taps] for k in np.flatnonzero(used)])
        assert not set(reached) & set(held)
        assert set(reached) | set(seen) <= set(rows)


def test_every_output_of_a_method_gets_an_interval_for_every_person():
    work = task("angle")
    estimates = run_method("head_physics", work).estimates
    before = coverage.kept_out(work)
    made = coverage.method_coverage(
        work, "head_physics", estimates, before, run_method("head_physics", before).estimates
    )
    limb = work.prepared.limbs
    assert [f["output"] for f in made.outputs] == [*limb.dofs, *limb.muscles]
    for f in made.outputs:
        assert len(f["people"]) == 3 and 0 <= f["mean"] <= 1 and f["width"] > 0
        # nobody without force labels knows how wrong their forces are
        assert f["kind"] == "angle" or all(p["trust"]["earlier"] == 0 for p in f["people"].values())
    # what the report shades is what was counted
    for kind, columns in (("angle", len(limb.dofs)), ("force", len(limb.muscles))):
        assert [h.shape for h in made.half[kind]] == [(len(r), columns) for r in work.split.test]
    truth = np.asarray(work.prepared.samples.angle)
    for name, half, rows, e in zip(
        made.outputs[0]["people"], made.half["angle"], work.split.test, estimates, strict=True
    ):
        held = np.mean(np.abs(e.angle[:, 0] - truth[rows, 0]) <= half[:, 0])
        assert held == pytest.approx(made.outputs[0]["people"][name]["coverage"], abs=0.01)


def test_a_posterior_gives_its_own_intervals_and_looks_at_nobody_else():
    work = task("angle")
    truth = np.asarray(work.prepared.samples.angle)
    off = [0.0, 0.1, 0.3]  # rad
    made = [
        Estimate(truth[rows] + x, np.zeros((len(rows), 5)), np.full((len(rows), 1), 0.1))
        for rows, x in zip(work.split.test, off, strict=True)
    ]
    held = coverage.of_posterior(work, tuple(made))
    assert [h.coverage for h in held] == [1.0, 1.0, 0.0]
    assert all(h.width_deg == pytest.approx(np.degrees(2 * 1.645 * 0.1)) for h in held)
    whole = coverage.method_coverage(work, "deviation", tuple(made))
    (angle,) = whole.outputs  # forces have none
    assert [p["coverage"] for p in angle["people"].values()] == [1.0, 1.0, 0.0] and not angle["adapted"]
    np.testing.assert_allclose(whole.half["angle"][2], 0.1645, rtol=1e-6)


def test_a_report_shows_every_output_and_names_where_intervals_fail():
    from pitl.report import uncertainty as shown

    def person(covered, end):
        return {
            "coverage": covered,
            "width": 20.0,
            "missed_s": 0.2,
            "longest_missed_s": 1.0,
            "parts": {"middle of the range": covered, "highest fifth of the range": end},
            "trust": {"near": 1.0, "earlier": 0.5, "spread": 0.0},
            "rows": 100,
        }

    people = {"P1": person(0.95, 0.9), "P2": person(0.92, 0.7), "P3": person(0.5, 0.4)}
    output = {"method": "head_physics", "supervision": "angle", "kind": "angle", "output": "knee", "unit": "deg"}
    output |= {"level": 0.9, "adapted": True, "people": people, **coverage.summary(people)}
    result = shown.intervals({"level": 0.9, "outputs": [output]})
    assert result is not None and not result.lines[0].met and result.people == 3
    assert "P3 50 %" in result.lines[0].poor and "highest fifth of the range 67 %" in result.lines[0].poor
    assert len(result.figures) == 1 and "<svg" in result.figures[0]
    assert shown.intervals({}) is None
