"""EMG-driven models whose parameters are calibrated in part."""

import jax
import numpy as np
import pytest
from method_cohort import changed, task

from pitl.comparison.methods import run_method
from pitl.learn import hill


@pytest.mark.thorough
def test_hope_mm_moves_strength_and_lengths_and_leaves_gains_shape_delay_and_joint_alone():
    work = task("angle")
    answer = run_method("hope_mm_measured", changed(work, hill={"steps": 30}))
    assert answer.muscles is not None
    for name in hill.PRIOR:
        moved = np.abs(getattr(answer.muscles.z, name)).max()
        assert moved > 1e-2 if name in ("strength", "fibre", "slack") else moved == 0, name
    assert answer.muscles.loss[-1].mean() < answer.muscles.loss[0].mean()
    for predicted, rows in zip(answer.estimates, work.split.test, strict=True):
        assert predicted.angle.shape == (len(rows), 1) and all(
            np.isfinite(x).all() for x in jax.tree.leaves(tuple(predicted))
        )
