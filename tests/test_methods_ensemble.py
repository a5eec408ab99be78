"""An ensemble of personal heads: members differ for a reason, and their disagreement is part of the answer."""

import numpy as np
import pytest
from method_cohort import task

from pitl.comparison import results
from pitl.comparison.methods import run_method
from pitl.comparison.siblings import ensemble

pytestmark = pytest.mark.thorough  # siblings of the method: long to compile


@pytest.fixture(scope="module")
def work():
    return task("angle")


@pytest.fixture(scope="module")
def answer(work):
    return run_method("ensemble", work)


def test_members_disagree_everywhere_and_their_mean_is_an_answer(work, answer):
    for predicted, rows in zip(answer.estimates, work.split.test, strict=True):
        assert predicted.angle.shape == predicted.angle_spread.shape == (len(rows), 1)
        assert predicted.force.shape == predicted.force_spread.shape == (len(rows), 5)
        assert predicted.angle_spread.min() > 0 and predicted.force_spread.min() > 0
        assert all(np.isfinite(x).all() for x in predicted)


def test_bootstrap_draws_blocks_and_never_a_row_without_a_label(work):
    people = ensemble.bag_blocks(work, np.random.default_rng(0))
    weights = np.asarray(people.labelled)
    assert weights.shape[0] == 3 * ensemble.MEMBERS
    for p, (rows, mask) in enumerate(zip(work.split.calibration, work.split.labelled, strict=True)):
        mine = weights[p * ensemble.MEMBERS : (p + 1) * ensemble.MEMBERS]
        assert not mine[:, len(rows) :].any() and not mine[:, : len(rows)][:, ~mask].any()
        assert len(np.unique(mine, axis=0)) > ensemble.MEMBERS // 2
        changes = np.count_nonzero(np.diff(mine[:, : len(rows)]), axis=1)
        assert np.all(changes <= len(rows) // 50)  # blocks, not rows


def test_answers_with_their_spread_survive_the_file(tmp_path, work, answer):
    results.keep(tmp_path / "e.npz", ("ensemble", "angle", 0), answer, 1.0)
    again = results.read_result(tmp_path / "e.npz", work.split.test).estimates
    for a, b in zip(again, answer.estimates, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
