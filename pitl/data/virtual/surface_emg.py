"""Raw surface EMG from the drive of the muscles: band-limited noise that the drive modulates."""

from typing import cast

import numpy as np
from scipy import signal

from pitl.data.virtual.subject import SimulatedElectrodes

_BAND_HZ = (20.0, 450.0)  # of the amplifier (Merletti and Hermens, SENIAM recommendations)
_SHAPE_HZ = (60.0, 120.0)  # corners of the EMG spectrum (form: Shwedyk et al. 1977, IEEE Trans. Biomed. Eng. 24)
_MAINS_HZ = 50.0
HALF_NORMAL = np.sqrt(2 / np.pi)  # mean absolute value of unit Gaussian noise


def design(rate_hz: float) -> np.ndarray:
    """Second-order sections that turn unit white noise into unit noise with the spectrum of surface EMG.

    Shwedyk's spectrum k f^2 / ((f^2 + f_l^2) (f^2 + f_h^2)^2), then the amplifier's band-pass.
    """
    low, high = _SHAPE_HZ
    # each pole as a bilinear section of its own: the zero at f = 0 goes with the first
    stages = [(1, low, "highpass"), (1, high, "lowpass"), (1, high, "lowpass"), (2, _BAND_HZ, "bandpass")]
    sos = np.concatenate(
        [cast(np.ndarray, signal.butter(n, corner, kind, fs=rate_hz, output="sos")) for n, corner, kind in stages]
    )
    impulse = np.zeros(int(rate_hz))
    impulse[0] = 1.0
    response = cast(np.ndarray, signal.sosfilt(sos, impulse))
    sos[0, :3] /= np.sqrt(np.sum(response**2))
    return sos


def synthesise(
    electrodes: SimulatedElectrodes,
    sos: np.ndarray,
    drive: np.ndarray,
    angle: np.ndarray,
    rate_hz: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Raw EMG under the electrodes.

    The filter comes after the modulation, so the whole signal stays within the amplifier's band.

    Args:
        electrodes: of this person.
        sos: from `design`.
        drive: (T, N) in [0, 1]; the caller has already moved it ahead of the force.
        angle: (T,) rad.
        rate_hz: samples per second.
        rng: of this trial.

    Returns:
        (T, M) float32 [V].
    """
    gain, exponent, steepness, cross_talk, floor = (
        np.asarray(x, np.float32)
        for x in (electrodes.gain, electrodes.exponent, electrodes.slide, electrodes.cross_talk, electrodes.floor)
    )
    slide = np.clip(1 + steepness * angle[:, None], 0.3, 2.0)
    source = rng.standard_normal(drive.shape, np.float32) * gain * drive**exponent * slide  # V
    mixed = source @ cross_talk.T  # V
    mixed += rng.standard_normal(mixed.shape, np.float32) * floor
    band = cast(np.ndarray, signal.sosfilt(sos, mixed, axis=0))  # V
    phase = rng.uniform(0, 2 * np.pi, len(electrodes.hum))
    turn = 2 * np.pi * _MAINS_HZ / rate_hz * np.arange(len(drive))  # rad
    band += np.sin(turn)[:, None] * (electrodes.hum * np.cos(phase))
    band += np.cos(turn)[:, None] * (electrodes.hum * np.sin(phase))
    return band.astype(np.float32)


def maximum_voluntary(electrodes: SimulatedElectrodes) -> np.ndarray:
    """(M,) rectified, averaged EMG at the recorded maximum [V], with this person's error."""
    recorded = len(electrodes.mvc_factor)
    return HALF_NORMAL * electrodes.gain[:recorded] * electrodes.mvc_factor
