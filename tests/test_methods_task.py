"""A method that is made of others does not make them again, and its time is still the time of all."""

import time

import pytest

from pitl.comparison.task import MethodResult, Task


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
