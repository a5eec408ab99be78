"""What a virtual subject tries to do: target angles as smooth functions of time."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

Task = Literal["rhythmic", "random", "hold", "rest", "load", "effort"]

_LARGEST = np.deg2rad(60.0)  # rad, targets stay this far inside the range of +-70 deg


class Reference(NamedTuple):
    """A target movement on an even time grid."""

    angle: np.ndarray  # (T,) rad
    rate: np.ndarray  # (T,) rad/s
    acceleration: np.ndarray  # (T,) rad/s2
    effort: float  # 1 while moving, small while relaxed: scales the whole neural drive


def plan(task: Task, place: float, rng: np.random.Generator, steps: int, rate_hz: float) -> Reference:
    """A target movement with the irregularities of a person.

    Args:
        task: rhythmic flexion-extension, random smooth tracking, held positions, rest, or positions held with a load.
        place: 0 to 1, for rhythmic trials from slow and wide (0.4 Hz) to fast and narrow (1.3 Hz).
        rng: of this trial.
        steps: T, number of samples.
        rate_hz: samples per second.
    """
    time = np.arange(steps) / rate_hz  # s
    shape = {"rhythmic": _rhythmic, "random": _random, "hold": _hold, "rest": _rest, "load": _hold}[task]
    angle = shape(place, rng, time)
    rate = np.gradient(angle, 1 / rate_hz)
    return Reference(angle, rate, np.gradient(rate, 1 / rate_hz), 0.1 if task == "rest" else 1.0)


def _rhythmic(place: float, rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    frequency = 0.4 * (1.3 / 0.4) ** place * np.exp(0.1 * rng.standard_normal())  # Hz
    amplitude = np.deg2rad(56.0 - 18.0 * place) * np.exp(0.1 * rng.standard_normal())  # rad
    centre = np.deg2rad(5.0) * rng.standard_normal()  # rad
    # a person's cadence and amplitude wander over some seconds
    cadence = frequency * (1 + 0.06 * wander(rng, time, 0.03, 0.3))  # Hz
    phase = 2 * np.pi * (np.cumsum(cadence) * (time[1] - time[0]) + rng.uniform())
    wave = amplitude * (1 + 0.08 * wander(rng, time, 0.03, 0.3)) * np.sin(phase)
    return _inside(centre + wave)


def _random(place: float, rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    del place
    return _inside(np.deg2rad(24.0) * wander(rng, time, 0.1, 0.9, waves=14))


def _hold(place: float, rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Positions held for seconds, joined by minimum-jerk movements (Flash and Hogan 1985)."""
    del place
    angle = np.full(len(time), np.deg2rad(rng.uniform(-45, 45)))
    start = rng.uniform(1.0, 2.5)  # s
    while start < time[-1]:
        target, takes = np.deg2rad(rng.uniform(-50, 50)), rng.uniform(0.5, 0.9)  # rad, s
        x = np.clip((time - start) / takes, 0, 1)
        angle += (target - angle[-1]) * x**3 * (10 - 15 * x + 6 * x**2)
        start += takes + rng.uniform(1.5, 3.0)
    return angle


def _rest(place: float, rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    del place, rng
    return np.zeros(len(time))


def wander(
    rng: np.random.Generator, time: np.ndarray, lowest_hz: float, highest_hz: float, *, waves: int = 8
) -> np.ndarray:
    """A smooth random function of unit variance: a sum of sinusoids."""
    frequency = rng.uniform(lowest_hz, highest_hz, waves)  # Hz
    phase = rng.uniform(0, 2 * np.pi, waves)
    # sines at 2 kHz would cost more than the simulation of a muscle; a spline through 50 per second is exact to 1e-6
    knots = np.arange(0.0, time[-1] + 0.02, 0.02)  # s
    total = np.sin(2 * np.pi * frequency * knots[:, None] + phase).sum(axis=1)
    return CubicSpline(knots, total * np.sqrt(2 / waves))(time)


def _inside(angle: np.ndarray) -> np.ndarray:
    """Bends large targets smoothly towards the largest one; below 70 % of it they change by less than 10 %."""
    return _LARGEST * np.tanh(angle / _LARGEST * (1 + 0.3 * (angle / _LARGEST) ** 2))
