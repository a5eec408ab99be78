"""What every arm of the comparison is given and what it answers: same people, same calibration rows, same test rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl import loss, personalize, windows
from pitl.baselines import emg_driven
from pitl.config import Config
from pitl.errors import PitlError
from pitl.net.head import OutputScale
from pitl.personalize import Fitted, Person, Supervision
from pitl.prepare import Fold, Prepared


class Inherited(NamedTuple):
    """Generic models, stacked over people: each person's comes from a fold in which they were not a source."""

    data: dict[str, Any]  # parameters trained on data alone
    physics: dict[str, Any]  # parameters trained with the law of motion
    spread: loss.Spread
    scale: OutputScale


class Rows(NamedTuple):
    """Everyone's calibration and test rows, on the host."""

    calibration: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    people: Person  # calibration, padded and stacked

    @property
    def labelled(self) -> list[np.ndarray]:
        """(W,) everyone's mask of calibration rows whose labels may be used."""
        mask = np.asarray(self.people.labelled) > 0
        return [m[: len(r)] for m, r in zip(mask, self.calibration, strict=True)]


class Said(NamedTuple):
    """What an arm says about one person on their test rows."""

    angle: np.ndarray  # (W, D) rad
    force: np.ndarray | None  # (W, M) N
    angle_spread: np.ndarray | None = None  # (W, D) rad, how far the members of an ensemble disagree
    force_spread: np.ndarray | None = None  # (W, M) N


class ArmResult(NamedTuple):
    """An arm's answer for everybody, and the fitted parameters where it has any."""

    said: tuple[Said, ...]
    fitted: Fitted | None = None
    muscles: emg_driven.Calibrated | None = None  # of the EMG-driven model


class Answered(NamedTuple):
    """Answers of arms to one piece of work, and what each would have taken by itself."""

    results: dict[str, ArmResult]
    seconds: dict[str, float]
    saved: list[float]  # s, one for each answer that was used again


@dataclass(frozen=True)
class Task:
    """One arm's work for everybody."""

    supervision: Supervision  # which labels of the calibration part it may use
    key: Array  # for what starts at random
    config: Config
    prepared: Prepared
    split: Rows
    inherited: Inherited
    folds: tuple[Fold, ...]  # who was a source for whom; an arm may use a person's own source people, nobody else
    report: Callable[[int, int], None] | None = None
    answered: Answered = field(default_factory=lambda: Answered({}, {}, []))  # what has been run on this very work

    def but(self, **changes: Any) -> Self:
        """The same work with something changed, of which no arm has answered yet."""
        return replace(self, **{"answered": Answered({}, {}, []), **changes})

    def answer(self, arm: str, run: Callable[[Self], ArmResult]) -> ArmResult:
        """What an arm says, run once: an arm that is made of others finds their answers here."""
        kept = self.answered
        if arm in kept.results:
            kept.saved.append(kept.seconds[arm])
        else:
            began, saved = time.perf_counter(), len(kept.saved)
            kept.results[arm] = run(self)
            kept.seconds[arm] = time.perf_counter() - began + sum(kept.saved[saved:])
        return kept.results[arm]

    def sources(self, person: int) -> tuple[int, ...]:
        """Everyone whose labels may be used for this person."""
        fold = next(f for f in self.folds if person in f.target)
        return tuple(sorted((*fold.source, *fold.held_out)))


def rows(config: Config, prepared: Prepared) -> Rows:
    """Calibration and test rows of everybody; the part of calibration without labels feeds the physics alone."""
    table, window, count = prepared.table, prepared.net.window, len(prepared.cohort.subjects)
    calibration = tuple(windows.rows_of(table, "calibration", subjects=(s,), window=window) for s in range(count))
    test = tuple(windows.rows_of(table, "test", subjects=(s,), window=window) for s in range(count))
    labelled = [_labelled(r, prepared, config.data.labelled_fraction) for r in calibration]
    return Rows(calibration, test, people(config, prepared, calibration, labelled, test))


def people(
    config: Config,
    prepared: Prepared,
    calibration: tuple[np.ndarray, ...],
    labelled: list[np.ndarray],
    test: tuple[np.ndarray, ...],
) -> Person:
    """Everyone's calibration rows for the personalised models, padded and stacked.

    Raises:
        PitlError: somebody has no usable windows.
    """
    table, taps = prepared.table, len(prepared.taps.average)
    for subject, seen, unseen in zip(prepared.cohort.subjects, calibration, test, strict=True):
        if len(seen) < taps or not len(unseen):
            raise PitlError(
                f"{subject.name}: no usable windows are left in the calibration or the test part; "
                "`pitl check` says why; leave this person out with data.subjects."
            )
    longest = max(len(r) for r in calibration)
    found = []
    for r, mask in zip(calibration, labelled, strict=True):
        stretch = windows.contiguous(r, table, taps)
        if not config.personalize.unlabelled:
            middle = taps // 2
            stretch = stretch & mask[middle : len(mask) - middle]
        found.append(personalize.person(r, mask, stretch, longest, taps))
    return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v) for v in x]), *found)


def _labelled(rows: np.ndarray, prepared: Prepared, fraction: float) -> np.ndarray:
    """The first part of each trial's calibration has labels."""
    keep = np.zeros(len(rows), bool)
    for t in prepared.table.trials:
        last = t.start + fraction * (t.calibration_stop - t.start)
        keep |= (rows >= t.start) & (rows < last)
    return keep
