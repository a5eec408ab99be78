"""A method that is made of others does not make them again, and its time is still the time of all."""

import time

import pytest

from pitl.comparison.methods import MethodResult, Task


@pytest.fixture
def task():
    nothing: dict = dict.fromkeys(("key", "config", "prepared", "split", "inherited"))
    return Task(supervision="angle", folds=(), **nothing)


def slow(task):
    time.sleep(0.05)
    return MethodResult(())


def made_of_it(task):
    task.answer("slow", slow)
    return MethodResult(())


def test_an_arm_runs_once_for_a_piece_of_work_and_again_for_another(task):
    first = task.answer("slow", slow)
    assert task.answer("slow", slow) is first
    assert task.but(key=1).answer("slow", slow) is not first


@pytest.mark.parametrize("before", [False, True])
def test_the_time_of_an_arm_is_that_of_its_members_too_whoever_ran_them(task, before):
    if before:
        task.answer("slow", slow)
    task.answer("both", made_of_it)
    assert task.answered.seconds["both"] >= task.answered.seconds["slow"] >= 0.05
