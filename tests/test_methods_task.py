"""A method that is made of others does not make them again, and its time is still the time of all."""

import time
from dataclasses import replace

import method_cohort
import numpy as np
import pytest

from pitl.comparison import heads
from pitl.comparison.task import Finished, MethodResult, Task


@pytest.fixture
def task():
    nothing: dict = dict.fromkeys(("key", "config", "prepared", "split", "generic"))
    return Task(supervision="angle", folds=(), **nothing)


def slow(task):
    time.sleep(0.05)
    return MethodResult(())


def made_of_it(task):
    task.run_once("slow", slow)
    return MethodResult(())


def test_a_method_runs_once_for_a_piece_of_work_and_again_for_another(task):
    first = task.run_once("slow", slow)
    assert task.run_once("slow", slow) is first
    assert task.but(key=1).run_once("slow", slow) is not first


@pytest.mark.parametrize("before", [False, True])
def test_the_time_of_a_method_is_that_of_its_members_too_whoever_ran_them(task, before):
    if before:
        task.run_once("slow", slow)
    task.run_once("both", made_of_it)
    assert task.finished.seconds["both"] >= task.finished.seconds["slow"] >= 0.05


def test_what_work_shares_says_nothing_of_what_a_new_person_shows():
    work, shared = method_cohort.task("angle"), {}
    whole = work.split
    less = whole._replace(people=whole.people._replace(labelled=whole.people.labelled.at[:, 40:].set(0.0)))

    def angle(rows):
        start = Finished({}, {}, [], shared)  # as a study hands it on from one amount of calibration to the next
        return heads.head_physics(replace(work, split=rows, finished=start)).estimates[0].angle

    assert np.abs(angle(whole) - angle(less)).max() > 1e-3
