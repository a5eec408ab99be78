"""Finds recordings that share samples, whole or in part, so that nobody is two people."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)

_WINDOW = 64  # rows; raw EMG of that length never repeats by chance
_LIVELY = 8  # turns within a window, least
_EVERY = 8  # of the hashes of turns are kept, the same in all recordings
_SHARED = 0.05  # of the shorter recording's windows
_ALIKE = 0.9999  # correlation
_STEP_V = 1e-7  # finer than the recorder's resolution, coarser than rounding while parsing
_PRIME = 0x9E3779B97F4A7C15
_WORD = 2**64


def pairs(emg: Mapping[K, np.ndarray]) -> list[tuple[K, K, float]]:
    """Pairs of recordings with samples in common, and the common part of the shorter one.

    Windows of all recordings are hashed and sorted together: a truncated or shifted copy is found, and the time taken
    grows with the data and not with the number of pairs. Beside the samples themselves, the turns of each channel are
    hashed, which another unit, gain, offset or order of the channels leaves as they are.

    Args:
        emg: (T, C) each [V].

    Returns:
        Pairs in the mapping's order, the earlier first.
    """
    keys = list(emg)
    same = _common([_prints(emg[k]) for k in keys])
    turns = _common([np.unique(np.concatenate([_turns(x) for x in emg[k].T])) for k in keys])
    share = np.maximum(np.maximum(same, turns), _proportional([emg[k] for k in keys]))
    return [(keys[i], keys[j], float(share[i, j])) for i, j in np.argwhere(share > _SHARED)]


def repeated(emg: np.ndarray) -> list[tuple[int, int]]:
    """Channels of one recording that are the same signal, up to gain and offset."""
    share = _common([_turns(x) for x in emg.T])
    return [(int(i), int(j)) for i, j in np.argwhere(share > 0.5)]


def _common(prints: list[np.ndarray]) -> np.ndarray:
    """(K, K) common part of the smaller set of two, above the diagonal."""
    owner = np.repeat(np.arange(len(prints)), [len(p) for p in prints])
    order = np.argsort(np.concatenate([*prints, np.empty(0, np.uint64)]), kind="stable")
    sorted_prints, sorted_owner = np.concatenate([*prints, np.empty(0, np.uint64)])[order], owner[order]
    _, starts, counts = np.unique(sorted_prints, return_index=True, return_counts=True)
    common = np.zeros((len(prints), len(prints)), int)
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        # the stable sort keeps owners in order, so the first of each pair is the earlier recording
        owners = sorted_owner[start : start + count]
        for i, a in enumerate(owners):
            common[a, owners[i + 1 :]] += 1
    sizes = np.array([len(p) for p in prints])
    return common / np.maximum(1, np.minimum(sizes[:, None], sizes))


def _proportional(emg: list[np.ndarray]) -> np.ndarray:
    """(K, K) 1 above the diagonal where all of a recording's channels are the other's times something.

    Envelopes turn too seldom for the hashes.
    """
    shapes: dict[tuple[int, ...], list[int]] = {}
    for k, x in enumerate(emg):
        shapes.setdefault(x.shape, []).append(k)
    out = np.zeros((len(emg), len(emg)))
    for (length, _), own in shapes.items():
        if length < _WINDOW or len(own) < 2:
            continue
        places = np.linspace(0, length - 1, 4 * _WINDOW).round().astype(int)
        looks = np.stack([np.nan_to_num(emg[k][places]) for k in own])
        looks = looks - looks.mean(axis=1, keepdims=True)
        size = np.sqrt((looks**2).sum(axis=1, keepdims=True))
        looks = looks / np.where(size > 0, size, np.inf)
        alike = np.einsum("ktc,ltc->klc", looks, looks).min(axis=-1) > _ALIKE
        out[np.ix_(own, own)] = np.triu(alike, 1)
    return out


def _turns(x: np.ndarray) -> np.ndarray:
    """Hashes of when one channel rises and falls, a part of them; none of what repeats itself, as hum does."""
    rises = np.sign(np.diff(np.nan_to_num(x)))[:, None] * _STEP_V
    result = _prints(rises, _LIVELY)
    return result[result % np.uint64(_EVERY) == 0] if len(result) > len(x) / 4 else result[:0]


def _prints(emg: np.ndarray, least: int = _WINDOW // 2) -> np.ndarray:
    """Hashes of all windows that hold a signal; each once."""
    steps = np.clip(np.nan_to_num(np.round(emg / _STEP_V)), -1e15, 1e15).astype(np.int64).astype(np.uint64)
    weights = np.array([pow(_PRIME, c + 1, _WORD) for c in range(emg.shape[1])], np.uint64)
    row = (steps * weights).sum(axis=1, dtype=np.uint64)
    row = (row ^ (row >> np.uint64(29))) * np.uint64(_PRIME)
    changes = np.concatenate([[0], np.cumsum(row[1:] != row[:-1])]) if len(row) else np.zeros(0, int)
    window, factor, length = row, _PRIME, 1
    while length < _WINDOW:  # a polynomial hash by doubling
        if len(window) <= length:
            return np.empty(0, np.uint64)
        window = window[:-length] + np.uint64(factor) * window[length:]
        factor, length = factor * factor % _WORD, 2 * length
    # stretches that stand still, such as a loose cable, are alike in everybody
    lively = changes[_WINDOW - 1 :] - changes[: len(window)] > least
    return np.unique(window[lively])
