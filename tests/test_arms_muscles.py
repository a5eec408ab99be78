"""EMG-driven models whose parameters are calibrated in part."""

import jax
import numpy as np
from arm_cohort import task

from pitl.comparison import methods
from pitl.learn import hill


def test_hope_mm_moves_strength_and_lengths_and_leaves_gains_shape_delay_and_joint_alone():
    work = task("angle")
    config = work.config.model_copy(update={"hill": work.config.hill.model_copy(update={"steps": 30})})
    answer = methods.run("hope_mm", work.but(config=config))
    assert answer.muscles is not None
    for name in hill.PRIOR:
        moved = np.abs(getattr(answer.muscles.z, name)).max()
        assert moved > 1e-2 if name in ("strength", "fibre", "slack") else moved == 0, name
    assert answer.muscles.loss[-1].mean() < answer.muscles.loss[0].mean()
    for predicted, rows in zip(answer.predicted, work.split.test, strict=True):
        assert predicted.angle.shape == (len(rows), 1) and all(np.isfinite(x).all() for x in jax.tree.leaves(tuple(predicted)))
