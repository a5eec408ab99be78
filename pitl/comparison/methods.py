"""Runs a method of the one list, `pitl.config.methods.METHODS`."""

from importlib import import_module

from pitl.comparison.task import MethodResult, Task
from pitl.config.methods import METHODS


def run_method(name: str, task: Task) -> MethodResult:
    """Runs one method for everybody, once for a task: one that is made of others finds their results there."""
    module = import_module(f"pitl.comparison.{METHODS[name].module}")
    return task.run_once(name, getattr(module, name))
