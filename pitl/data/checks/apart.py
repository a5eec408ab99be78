"""Channels that for a while show what no fellow does: an electrode that came loose, or noise that came up.

While a movement repeats, a channel's envelope is to a good part a nonnegative mixture of the other channels' (muscle
synergies). Pieces of a recording in which one channel leaves that mixture while the others stay within theirs are told
apart without any label, and there the channel is what the others say: synergy extrapolation (Ao et al. 2020, doi
10.3389/fncom.2020.588943), with weights from the rest of the same trial. A mixture of envelopes with their derivatives
has the mixture's exact derivatives.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, signal

from pitl.data.recording import Recording

_MEAN_S, _SLOW_HZ = 0.02, 6.0
_PIECE_S = 5.0  # several cycles of a walk
_FEWEST = 6  # pieces, of which most have to be good
_MOST_BAD = 0.4  # part of them
_FACTOR = 3.0  # times the usual distance from the mixture; clean channels stay below 2, noise that came up above 5
_LEAST_TOLD = 0.3  # part of the variance that the others explain in good pieces; else they cannot judge the channel


class Apart(NamedTuple):
    """Where channels leave the mixture of the others, and what that mixture is."""

    bad: np.ndarray  # (T, C) True where a channel is not to be believed
    weights: np.ndarray  # (C, C + 1) of the others' envelopes and of 1, with nothing on the diagonal

    def spans(self, rate_hz: float) -> list[tuple[int, float, float]]:
        """Channel, beginning and end [s] of every piece."""
        edges = np.diff(np.pad(self.bad.astype(int), ((1, 1), (0, 0))), axis=0)
        return [
            (c, float(a) / rate_hz, float(b) / rate_hz)
            for c in range(edges.shape[1])
            for a, b in zip(np.flatnonzero(edges[:, c] > 0), np.flatnonzero(edges[:, c] < 0), strict=True)
        ]


def find_apart(envelope: np.ndarray, rate_hz: float) -> Apart:
    """Pieces of a trial in which a channel does not follow the others.

    Args:
        envelope: (T, C) of one trial, in any unit.
        rate_hz: samples per second.
    """
    count, channels = envelope.shape
    found = Apart(np.zeros(envelope.shape, bool), np.zeros((channels, channels + 1)))
    pieces = int(count / (_PIECE_S * rate_hz))
    cuts = np.linspace(0, count, pieces + 1).astype(int)
    left = list(range(channels))
    # the one that changed most first: where it is bad, others that are told by it seem so
    while pieces >= _FEWEST and len(left) >= 3:
        each = [_leaves(envelope[:, c], envelope[:, [o for o in left if o != c]], cuts) for c in left]
        worst = int(np.argmax([e.change for e in each]))
        if not each[worst].change:
            break
        c = left.pop(worst)
        found.bad[:, c] = np.repeat(each[worst].pieces, np.diff(cuts))
        found.weights[c, [*left, channels]] = each[worst].weights
    return found


class _Leaves(NamedTuple):
    change: float  # of the channel's own size in bad pieces, as a logarithm; 0 where nothing is wrong
    pieces: np.ndarray  # True of bad ones
    weights: np.ndarray  # of the others, and of 1


def _leaves(own: np.ndarray, others: np.ndarray, cuts: np.ndarray) -> _Leaves:
    """Pieces in which one channel leaves a mixture of the others that is fitted on the other pieces."""
    keep, told, spread = np.ones(len(cuts) - 1, bool), 0.0, 0.0
    weights, error = np.zeros(others.shape[1] + 1), np.zeros(len(keep))
    for _ in keep:
        rows = np.repeat(keep, np.diff(cuts))
        weights = _mixture(others[rows], own[rows])
        apart = own - others @ weights[:-1] - weights[-1]
        error = np.sqrt([np.mean(x**2) for x in np.split(apart, cuts[1:-1])])
        spread = float(own[rows].std())
        told = 1 - float(np.mean(apart[rows] ** 2)) / max(spread**2, 1e-30)
        again = error <= _FACTOR * np.median(error[keep])
        if (again == keep).all() or not again.any():
            break
        keep = again
    bad = ~keep & (error > spread)  # what is there beside the mixture is as large as the EMG itself
    if told < _LEAST_TOLD or not 0 < bad.mean() <= _MOST_BAD:
        return _Leaves(0.0, bad, weights)
    size = [np.sqrt(np.mean(own[np.repeat(x, np.diff(cuts))] ** 2)) for x in (bad, keep)]
    return _Leaves(abs(float(np.log(max(size[0], 1e-30) / max(size[1], 1e-30)))), bad, weights)


def rough_envelope(r: Recording) -> tuple[np.ndarray, float]:
    """A recording's envelopes (T, C) above rest as far as a search needs them, and their samples per second."""
    good = np.ones(len(r.emg), bool) if r.valid is None else r.valid
    x = np.where(good[:, None], r.emg - np.median(r.emg[good], axis=0) if r.emg_kind == "raw" else r.emg, 0.0)
    n = max(1, int(_MEAN_S * r.rate_hz))
    x = np.abs(x[: len(x) // n * n]).reshape(-1, n, x.shape[1]).mean(axis=1)
    rate = r.rate_hz / n
    if len(x) < _PIECE_S * rate or rate <= 2 * _SLOW_HZ:
        return x, rate
    sos = signal.butter(2, _SLOW_HZ, fs=rate, output="sos")
    return np.asarray(signal.sosfiltfilt(sos, x, axis=0)), rate


def extrapolate(jets: np.ndarray, apart: Apart) -> np.ndarray:
    """Envelopes (T, 3, C) with their derivatives, those of bad pieces taken from the other channels."""
    if not apart.bad.any():
        return jets
    mixed = jets @ apart.weights[:, :-1].T
    mixed[:, 0] += apart.weights[:, -1]
    return np.where(apart.bad[:, None, :], mixed, jets)


def _mixture(others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Nonnegative weights of the other channels, and a constant; from the normal equations, which are small."""
    x = np.concatenate([others, np.ones((len(others), 1))], axis=1)
    size = np.maximum(np.sqrt(np.mean(x**2, axis=0)), 1e-30)
    upper = np.asarray(np.linalg.qr(np.concatenate([x / size, own[:, None]], axis=1), mode="r"))
    return optimize.nnls(upper[:, :-1], upper[:, -1])[0] / size
