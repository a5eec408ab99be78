"""One line of the table: a number, what it is compared with, and what it should be."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measured number beside its alternative, both from the same interleaved run.

    `ratio` is reference / value where both are costs, so that above 1 the project is the cheaper side.
    """

    name: str
    what: str
    value: float | None  # None where it was skipped
    unit: str
    reference: float | None = None
    against: str = ""  # what the reference is
    ratio: float | None = None
    target: str = ""  # in words and numbers, as in "ratio >= 4"
    met: bool | None = None  # None without a target, or where nothing was measured
    note: str = ""  # why it was skipped, or what to know when reading it
    gemm_share: float | None = None  # of the matrix-product rate measured in the same run
    memory_bytes: int | None = None  # peak of the compiled program, or of the process where the note says so
    compile_s: float | None = None
    times: dict[str, dict[str, float]] = field(default_factory=dict)  # every side: min, median, p99 [s], rounds

    curve: dict[str, list[float]] = field(default_factory=dict)  # of a scaling row: size, seconds, bytes

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def skipped(name: str, what: str, target: str, why: str) -> Row:
    """A row that could not be measured here."""
    return Row(name, what, None, "", target=target, note=why)
