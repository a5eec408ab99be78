"""Which bodies move with the chosen coordinates, and their frames as a few terms of those coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pitl.errors import PitlError
from pitl.mechanics import bodies
from pitl.mechanics.model import Link
from pitl.mechanics.sampling.sampler import Body, Sampler

_RIGID = 1e-6  # m or 1, difference of frames that is rounding


@dataclass(frozen=True)
class Cluster:
    """Bodies that move as one."""

    names: tuple[str, ...]
    parent: int  # cluster; -1 is the ground
    coordinates: tuple[int, ...]  # that its pose relative to the parent depends on


def clusters(sampler: Sampler, rng: np.random.Generator) -> list[Cluster]:
    """The moving bodies, lumped where they do not move against each other, parents first."""
    tree = {b.name: b for b in sampler.bodies()}
    names = list(tree)
    base = sampler.random(rng, 6)
    frames = frames_at(sampler, names, base)
    still = [n for k, n in enumerate(names) if np.abs(frames[k] - frames[k][0]).max() < _RIGID]
    results: list[list[str]] = []
    for name in _parents_first(names, tree):
        if name in still:
            continue
        k = names.index(name)
        for members in results:
            relative = relative_to(frames[names.index(members[0])], frames[k])
            if np.abs(relative - relative[0]).max() < _RIGID:
                members.append(name)
                break
        else:
            results.append([name])
    home = {name: k for k, members in enumerate(results) for name in members}
    result = []
    for members in results:
        above = tree[members[0]].parent
        while above not in home and above in tree:
            above = tree[above].parent
        parent = home.get(above, -1)
        result.append(Cluster(tuple(members), parent, _depends(sampler, members[0], results, parent, rng)))
    return result


def _depends(
    sampler: Sampler, body: str, results: list[list[str]], parent: int, rng: np.random.Generator
) -> tuple[int, ...]:
    which = set()
    asked = [body] if parent < 0 else [results[parent][0], body]
    for start in sampler.random(rng, 3):
        for k, c in enumerate(sampler.coordinates):
            line = np.repeat(start[None], 4, axis=0)
            line[:, k] = c.low + (c.high - c.low) * np.array([0.03, 0.4, 0.6, 0.97])
            frames = frames_at(sampler, asked, line)
            relative = frames[0] if parent < 0 else relative_to(*frames)
            if np.abs(relative - relative[0]).max() > _RIGID:
                which.add(k)
    return tuple(sorted(which))


def fit_link(
    samplers: Sequence[Sampler], cluster: Cluster, root: str | None, parent: int, rng: np.random.Generator
) -> tuple[Link, np.ndarray]:
    """A cluster's transform as a function of its coordinates: exact terms if the joint is made of hinges.

    Returns:
        The link and its coefficients (P, K, 3, 4).

    Raises:
        PitlError: no smooth function follows it within 0.3 mm or mrad.
    """
    which = cluster.coordinates
    chosen = [samplers[0].coordinates[c] for c in which]
    asked = [cluster.names[0]] if root is None else [root, cluster.names[0]]
    low, high = np.array([c.low for c in chosen]), np.array([c.high for c in chosen])
    count = {1: 120, 2: 400}.get(len(which), 900)
    poses = np.tile([(c.low + c.high) / 2 for c in samplers[0].coordinates], (count + 100, 1))
    drawn = samplers[0].random(rng, count + 100)[:, list(which)]
    # more samples at the ends of the range, where polynomials are hardest to hold
    drawn[:count] = (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * (drawn[:count] - low) / (high - low))
    poses[:, list(which)] = drawn
    values = []
    for sampler in samplers:
        frames = frames_at(sampler, asked, poses)
        values.append((frames[0] if root is None else relative_to(*frames)).reshape(len(poses), 12))
    degrees = {1: (8, 14, 20, 32), 2: (8, 12, 16)}.get(len(which), (6, 9, 11))
    best: tuple[float, Link, np.ndarray] | None = None
    for basis, degree, enough in [("trigonometric", 0, 1e-8), *(("chebyshev", d, 2e-6) for d in degrees)]:
        link = Link(parent, which, basis, degree, tuple(low.tolist()), tuple(high.tolist()))
        functions = bodies.features(link, list(poses[:, list(which)].T), np)
        results = [np.linalg.lstsq(functions[:count], v[:count], rcond=None)[0] for v in values]
        worst = max(np.abs(functions[count:] @ f - v[count:]).max() for f, v in zip(results, values, strict=True))
        if best is None or worst < best[0]:
            best = (worst, link, np.stack(results).reshape(len(samplers), -1, 3, 4))
        if worst < enough:
            break
    assert best is not None
    if best[0] > 3e-4:
        raise PitlError(
            f"{samplers[0].path}: the pose of {cluster.names[0]} cannot be followed (worst {1e3 * best[0]:.2f} mm or "
            f"mrad); narrow the range of {', '.join(c.name for c in chosen)} with --range."
        )
    return best[1], best[2]


def frames_at(sampler: Sampler, names: Sequence[str], poses: np.ndarray) -> np.ndarray:
    """(B, N, 3, 4)."""
    results = []
    for q in poses:
        sampler.pose(q)
        results.append(sampler.frames(names))
    return np.moveaxis(np.array(results), 1, 0)


def relative_to(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Frames (N, 3, 4) of a child in its parent's frame."""
    back = np.swapaxes(parent[..., :3], -1, -2)
    rotation = back @ child[..., :3]
    shift = back @ (child[..., 3:] - parent[..., 3:])
    return np.concatenate([rotation, shift], axis=-1)


def _parents_first(names: Sequence[str], tree: dict[str, Body]) -> list[str]:
    def depth(name: str) -> int:
        return 0 if name not in tree else 1 + depth(tree[name].parent)

    return sorted(names, key=depth)
