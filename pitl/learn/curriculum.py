"""From coarse to fine: recordings as they look at a coarser time scale, for training in levels.

A multi-resolution network (Taneja et al. 2023, arXiv 2305.16593) is trained on slow components first and hands its
parameters on to finer scales. The authors decompose with a fast wavelet transform. Here every level is the recording
smoothed with a Gaussian, which plays the part of the scaling function, and the derivatives of the envelope are those of
the smoothed one: the Gaussian's derivatives over the envelope itself. (Smoothing its sampled second derivative would
fold what that has above half the sampling rate into the slow components.)
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from pitl.signals.samples import Samples


def corner_hz(level: int, levels: int, coarsest_hz: float) -> float | None:
    """Corner of the smoothing at a level; it doubles from each to the next, and the last level has none."""
    return None if level >= levels - 1 else coarsest_hz * 2.0**level


def coarse(samples: Samples, corner_hz: float, rate_hz: float) -> Samples:
    """Envelopes with their derivatives, angles, forces and torques of every trial, smoothed without delay.

    Args:
        samples: rows of trials, or of parts of trials, one after the other.
        corner_hz: frequency at which the Gaussian halves the power [Hz].
        rate_hz: of the rows [Hz].
    """
    width = rate_hz * np.sqrt(np.log(2.0)) / (2.0 * np.pi * corner_hz)  # samples, standard deviation
    time, who = np.asarray(samples.time), np.asarray(samples.subject)
    broken = (np.abs(np.diff(time) * rate_hz - 1.0) > 0.5) | (np.diff(who) != 0)
    edges = [0, *(np.flatnonzero(broken) + 1), len(time)]
    jets = np.array(samples.jets, float)
    others = {name: np.array(getattr(samples, name), float) for name in ("angle", "force", "torque")}
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        value = jets[start:stop, 0].copy()
        for order in range(3):
            jets[start:stop, order] = rate_hz**order * _smooth(value, width, order)
        for values in others.values():
            values[start:stop] = _smooth(values[start:stop], width)
    f = np.float32
    return samples._replace(jets=jnp.asarray(jets, f), **{k: jnp.asarray(v, f) for k, v in others.items()})


def _smooth(x: Float[np.ndarray, "T F"], width: float, order: int = 0) -> Float[np.ndarray, "T F"]:
    """A signal under a Gaussian, or the derivative per sample of that; beyond its ends it is point-reflected."""
    if len(x) < 2:
        return x if order == 0 else np.zeros_like(x)
    beyond = int(np.ceil(5.0 * width))
    wide = np.pad(x, ((beyond, beyond), (0, 0)), mode="reflect", reflect_type="odd")
    smooth = np.asarray(ndimage.gaussian_filter1d(wide, width, axis=0, order=order, mode="nearest", truncate=5.0))
    return smooth[beyond : len(smooth) - beyond]
