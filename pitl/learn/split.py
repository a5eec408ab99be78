"""Which rows of whom: calibration and test rows of every person, and what of the calibration has labels."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pitl.errors import PitlError
from pitl.learn.prepare import Prepared
from pitl.signals import windows


class CalibrationRows(NamedTuple):
    """One person's calibration rows, padded to a common length T; stacked over people in front (P, ...)."""

    rows: Int[Array, " T"]  # into Samples
    labelled: Float[Array, " T"]  # 1 where the labels may be used, else 0
    segment: Float[Array, " R"]  # 1 where K contiguous rows begin and the residual may be taken; R = T - K + 1
    target: Float[Array, "T M"] | None = None  # N, forces that the head is drawn to: the muscle part of the physics
    has_target: Float[Array, " T"] | None = None  # 1 where it is, else 0


class Split(NamedTuple):
    """Everyone's calibration and test rows, on the host."""

    calibration: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    people: CalibrationRows  # calibration, padded and stacked

    @property
    def labelled(self) -> list[np.ndarray]:
        """(W,) everyone's mask of calibration rows whose labels may be used."""
        mask = np.asarray(self.people.labelled) > 0
        return [m[: len(r)] for m, r in zip(mask, self.calibration, strict=True)]


def pad_rows(
    rows: np.ndarray, labelled: Bool[np.ndarray, " W"], segment: Bool[np.ndarray, " R"], length: int, taps: int
) -> CalibrationRows:
    """Pads one person's rows to a common length with rows that count for nothing."""
    f = np.float32
    padded = np.concatenate([rows, np.full(length - len(rows), rows[-1])])
    return CalibrationRows(
        jax.device_put(padded.astype(np.int32)),
        jax.device_put(np.pad(labelled.astype(f), (0, length - len(rows)))),
        jax.device_put(np.pad(segment.astype(f), (0, length - taps + 1 - len(segment)))),
    )


def split_rows(prepared: Prepared, *, labelled_fraction: float = 1.0, unlabelled: bool = True) -> Split:
    """Calibration and test rows of everybody; the part of calibration without labels feeds the physics alone.

    Args:
        prepared: cohort and samples.
        labelled_fraction: first part of each calibration that has labels.
        unlabelled: whether the residual is taken where there are no labels too.
    """
    table, window, count = prepared.table, prepared.net.window, len(prepared.cohort.subjects)
    calibration = tuple(windows.rows_of(table, "calibration", subjects=(s,), window=window) for s in range(count))
    test = tuple(windows.rows_of(table, "test", subjects=(s,), window=window) for s in range(count))
    labelled = [_labelled(r, prepared, labelled_fraction) for r in calibration]
    return Split(calibration, test, stack_calibration(prepared, calibration, labelled, test, unlabelled=unlabelled))


def stack_calibration(
    prepared: Prepared,
    calibration: tuple[np.ndarray, ...],
    labelled: list[np.ndarray],
    test: tuple[np.ndarray, ...],
    *,
    unlabelled: bool = True,
) -> CalibrationRows:
    """Everyone's calibration rows for the personalised models, padded and stacked.

    Raises:
        PitlError: somebody has no usable windows.
    """
    table, taps = prepared.table, len(prepared.taps.average)
    for subject, seen, unseen in zip(prepared.cohort.subjects, calibration, test, strict=True):
        if len(seen) < taps or (not len(unseen) and any(map(len, test))):
            raise PitlError(
                f"{subject.name}: no usable windows are left in the calibration or the test part; "
                "`pitl check` says why; leave this person out with data.subjects."
            )
    longest = max(len(r) for r in calibration)
    people = []
    for r, mask in zip(calibration, labelled, strict=True):
        segment = windows.contiguous(r, table, taps)
        if not unlabelled:
            middle = taps // 2
            segment = segment & mask[middle : len(mask) - middle]
        people.append(pad_rows(r, mask, segment, longest, taps))
    return jax.tree.map(lambda *x: jax.device_put(np.stack(x)), *people)


def _labelled(rows: np.ndarray, prepared: Prepared, fraction: float) -> np.ndarray:
    """The first part of each trial's calibration has labels."""
    keep = np.zeros(len(rows), bool)
    for t in prepared.table.trials:
        last = t.start + fraction * (t.calibration_stop - t.start)
        keep |= (rows >= t.start) & (rows < last)
    return keep
