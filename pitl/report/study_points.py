"""What a curve of a study is drawn from."""

from typing import NamedTuple

from pitl.comparison.statistics import Quartiles


class Point(NamedTuple):
    """One cell of a curve."""

    x: str
    place: float  # on the axis
    words: str
    values: dict[tuple[str, str, str], Quartiles]  # by metric, method, grade
    people: dict[str, float]  # the method's angle error of each person
