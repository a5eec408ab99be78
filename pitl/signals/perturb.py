"""What goes wrong between calibration and use, done to the raw EMG of a test part: noise, shifts, lost channels."""

import zlib

import numpy as np
from jaxtyping import Float

from pitl.config.schema import PerturbConfig
from pitl.data.recording import Recording
from pitl.errors import PitlError


def active(config: PerturbConfig) -> bool:
    """Whether anything is to be perturbed."""
    return config != PerturbConfig(seed=config.seed)


def perturb(
    config: PerturbConfig,
    recording: Recording,
    raw: Float[np.ndarray, "T C"],
    start: int,
    calibrated: int,
    person: int,
) -> Float[np.ndarray, "T C"]:
    """Raw EMG [V] that is spoilt from sample `start` on; what comes before is untouched.

    The electrode shift is a mixture of neighbouring channels with other gains, which is what moving a sleeve of
    electrodes does to a first approximation; real shifts also change the shape of the action potentials.

    Args:
        config: what goes wrong.
        recording: whose channels these are; random numbers belong to the person's and the trial's name.
        raw: EMG [V].
        start: first sample that is spoilt.
        calibrated: samples of the calibration part, whose RMS is the unit of the noise.
        person: number of the person, which decides whose channels are lost.

    Raises:
        PitlError: every channel would be lost.
    """
    channels = raw.shape[1]
    if config.lost >= channels:
        raise PitlError(
            f"perturb.lost = {config.lost} silences all {channels} channels of {recording.subject}; leave at least one."
        )
    words = [zlib.crc32(x.encode()) for x in (recording.subject, recording.trial)]
    # the gains belong to the person, since electrodes are shifted once; the noise to the trial
    gains = np.exp(config.gain_spread * np.random.default_rng([config.seed, words[0]]).normal(size=channels))
    noise = np.random.default_rng([config.seed, *words]).normal(size=(len(raw) - start, channels))
    rms = np.sqrt(np.mean(raw[:calibrated] ** 2, axis=0))
    part = raw[start:]
    part = gains * ((1 - config.shift) * part + config.shift * np.roll(part, -1, axis=1)) + config.noise * rms * noise
    part[:, [(person + k) % channels for k in range(config.lost)]] = 0.0
    return np.concatenate([raw[:start], part])
