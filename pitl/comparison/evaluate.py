"""Errors on the test part, the same for every method."""

from typing import NamedTuple

import numpy as np


class Truth(NamedTuple):
    """What the test part is judged against."""

    angle: np.ndarray  # (W, D) rad, measured
    force: np.ndarray  # (W, M) N, labels
    torque: np.ndarray  # (W, D) N m, true, or by inverse dynamics of the measured motion


class TestPrediction(NamedTuple):
    """What a method says on the test part; None where the method says nothing."""

    angle: np.ndarray  # (W, D) rad
    force: np.ndarray | None  # (W, M) N
    torque: np.ndarray | None  # (W, D) N m, of the predicted forces at the predicted angle
    residual: np.ndarray | None  # (R, D) N m, weak form, wherever enough contiguous rows exist


class Metrics(NamedTuple):
    """Errors over the rows; angle and force are averaged over their columns."""

    angle_rmse_deg: float
    angle_nrmse: float  # RMSE over the range of the measured angle
    angle_r2: float
    angle_r: float
    force_rmse_n: float | None
    force_nrmse: float | None  # RMSE over the source subjects' standard deviation
    force_r2: float | None
    torque_rmse_nm: float | None
    residual_nm: float | None


def score(truth: Truth, prediction: TestPrediction, force_spread: np.ndarray) -> Metrics:
    """Compares a prediction with the truth.

    Args:
        truth: test rows.
        prediction: the same rows.
        force_spread: (M,) standard deviation of each force over the source subjects [N].
    """
    error = prediction.angle - truth.angle
    rmse = np.sqrt(np.mean(error**2, axis=0))
    spread = np.maximum(np.ptp(truth.angle, axis=0), 1e-9)
    force_rmse = force_nrmse = force_r2 = torque = residual = None
    if prediction.force is not None:
        each = np.sqrt(np.mean((prediction.force - truth.force) ** 2, axis=0))
        force_rmse = float(np.mean(each))
        force_nrmse = float(np.mean(each / force_spread))
        force_r2 = float(np.mean(_r2(truth.force, prediction.force)))
    if prediction.torque is not None:
        torque = float(np.mean(np.sqrt(np.mean((prediction.torque - truth.torque) ** 2, axis=0))))
    if prediction.residual is not None and len(prediction.residual):
        residual = float(np.mean(np.sqrt(np.mean(prediction.residual**2, axis=0))))
    return Metrics(
        float(np.degrees(np.mean(rmse))),
        float(np.mean(rmse / spread)),
        float(np.mean(_r2(truth.angle, prediction.angle))),
        float(np.mean(_pearson(truth.angle, prediction.angle))),
        force_rmse,
        force_nrmse,
        force_r2,
        torque,
        residual,
    )


def _r2(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    total = np.sum((truth - truth.mean(axis=0)) ** 2, axis=0)
    return 1.0 - np.sum((truth - predicted) ** 2, axis=0) / np.maximum(total, 1e-12)


def _pearson(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    a, b = truth - truth.mean(axis=0), predicted - predicted.mean(axis=0)
    scale = np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))
    return np.sum(a * b, axis=0) / np.maximum(scale, 1e-12)
