"""Nobody's answer moves when the truth of the test part is changed; a method that reads it says so in its name."""

import jax.numpy as jnp
import numpy as np
import pytest
from method_cohort import changed, task

from pitl.comparison.methods import run_method
from pitl.config.methods import METHODS


def nonsense(work):
    """The same work, with angle, force and torque of the first person's test rows, and the motion there, replaced.

    The others stay as they are: they may be this person's source people.
    """
    prepared, test = work.prepared, work.split.test[0]
    samples, table = prepared.samples, prepared.table
    at = jnp.asarray(test)
    samples = samples._replace(
        angle=samples.angle.at[at].set(9.0),
        force=samples.force.at[at].set(1e4),
        torque=samples.torque.at[at].set(-77.0),
    )
    motion = [np.array(x) for x in table.motion]
    for course in motion:
        course[test] = 5.0
    table = table._replace(
        motion=type(table.motion)(*motion),
        force=None
        if table.force is None
        else np.where(np.isin(np.arange(len(table.force)), test)[:, None], 1e4, table.force),
        torque=None
        if table.torque is None
        else np.where(np.isin(np.arange(len(table.torque)), test)[:, None], 9.0, table.torque),
    )
    return work.but(prepared=prepared._replace(samples=samples, table=table))


def quick(supervision):
    few = {"steps": 4, "check_every": 2, "batch": 32}
    return changed(task(supervision), personalize={"steps": 4, "batch": 64}, train=few, hill={"steps": 4})


# Compiling takes most of the time, so the siblings of the method are for a thorough run.
FIRST = {"generic_physics", "gain_offset", "head_physics", "deviation", "ridge", "svr"}
ROWS = [(n, m.grades[0]) for n, m in METHODS.items()] + [("head_physics", "none")]


@pytest.mark.parametrize(
    ("name", "supervision"), [pytest.param(*r, marks=[] if r[0] in FIRST else pytest.mark.thorough) for r in ROWS]
)
def test_predictions_do_not_move_when_the_truth_of_the_test_part_is_nonsense(name, supervision):
    work = quick(supervision)
    if not METHODS[name].without_physics:  # what a run does not train for these methods must not be missed
        work = work.but(generic=work.generic._replace(data_alone=None))
    before, after = (run_method(name, w).estimates for w in (work, nonsense(work)))
    same = all(np.array_equal(x, y) for x, y in zip(before[0], after[0], strict=True) if x is not None)
    assert same != METHODS[name].measured_motion
