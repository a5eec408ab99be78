"""The checker of types and shapes that every test runs under: a whole number is good where a real one is asked for."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that checks its arguments; fields of data classes are free, as they are stacked over people too."""
    return function if function.__name__ == "__init__" else _checked(function)
