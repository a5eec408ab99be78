"""What every method of the comparison is given and what it returns: same people, same calibration and test rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from jaxtyping import Array

from pitl.comparison.folds import Fold, GenericModels
from pitl.config.schema import Config, Supervision
from pitl.learn import emg_driven
from pitl.learn.personal import PersonalFit
from pitl.learn.predict import Estimate
from pitl.learn.prepare import Prepared
from pitl.learn.split import Split


class MethodResult(NamedTuple):
    """A method's estimates for everybody, and the fitted parameters where it has any."""

    estimates: tuple[Estimate, ...]
    fitted: PersonalFit | None = None
    muscles: emg_driven.Calibrated | None = None  # of the EMG-driven model


class Finished(NamedTuple):
    """Results of methods on one piece of work, and what each would have taken by itself."""

    results: dict[str, MethodResult]
    seconds: dict[str, float]
    saved: list[float]  # s, one for each result that was used again
    shared: dict[str, Any]  # what source people say, whoever is new and whatever they show


@dataclass(frozen=True)
class Task:
    """One method's work for everybody."""

    supervision: Supervision  # which labels of the calibration part it may use
    key: Array  # for what starts at random
    config: Config
    prepared: Prepared
    split: Split
    generic: GenericModels
    folds: tuple[Fold, ...]  # who was a source for whom; a method may use a person's own source people, nobody else
    report: Callable[[int, int], None] | None = None
    finished: Finished = field(default_factory=lambda: Finished({}, {}, [], {}))  # what has been run on this very work

    def but(self, **changes: Any) -> Self:
        """The same work with something changed, on which no method has been run yet."""
        return replace(self, **{"finished": Finished({}, {}, [], {}), **changes})

    def run_once(self, method: str, run: Callable[[Self], MethodResult]) -> MethodResult:
        """The result of a method, which is run if that has not been done."""
        kept = self.finished
        if method in kept.results:
            kept.saved.append(kept.seconds[method])
        else:
            began, saved = time.perf_counter(), len(kept.saved)
            kept.results[method] = run(self)
            kept.seconds[method] = time.perf_counter() - began + sum(kept.saved[saved:])
        return kept.results[method]

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        """What several methods find out from source people alone, made by the first of them.

        It serves every grade, and in a study every amount of calibration: nothing of a new person belongs here.
        """
        if name not in self.finished.shared:
            self.finished.shared[name] = make()
        return self.finished.shared[name]

    def sources(self, person: int) -> tuple[int, ...]:
        """Everyone whose labels may be used for this person."""
        fold = next(f for f in self.folds if person in f.target)
        return tuple(sorted((*fold.source, *fold.held_out)))
