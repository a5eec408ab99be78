"""Splines through the musculotendon lengths that a simulator computes, on grids as fine as each path needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as splinalg

from pitl.mechanics import splines
from pitl.mechanics.model import Paths
from pitl.mechanics.sampling.reasons import why
from pitl.mechanics.sampling.sampler import Sampler

ACCEPTED_MM = 1.0  # worst error of a moment arm or length
ACCEPTED_SHARE = 0.02  # of the arm's range, where that is more
_SMOOTHED_MM = 3.0  # worst error of the moment arm where a jump is smoothed
_SMOOTHED_SHARE = 0.2  # of the arm's range, where that is more
_SMOOTHED_POSES = 0.05  # of all poses, at which the arm may be off by more than is accepted
_WANTED_MM = 0.1  # finer grids are tried until the arms are this good
_NODES = {1: (25, 49, 97, 193), 2: (13, 25, 49, 81), 3: (9, 13, 19, 25), 4: (7, 9, 11)}  # along each coordinate
MOST_CROSSED = max(_NODES)
_CHECKED = 200  # random poses at which every fit is judged
_PER_COEFFICIENT = 3  # poses at which a path that jumps is sampled, for each coefficient
_LENGTH_SIGMA_M, _ARM_SIGMA_M = 1e-3, 1e-4  # m, what counts as equally bad there
_NOT_A_NUMBER_M = 1.0  # error counted where the program gives none
_NODES_OF_JUMPS = {1: (25, 49, 97), 2: (13, 21, 33), 3: (9, 11), 4: (7,)}
_CLOSER = 20  # poses around each of the three worst
_MOVES_M = 1e-7  # a length that changes less does not depend on the coordinate


@dataclass(frozen=True)
class PathFit:
    """How well a muscle's splines follow the simulator at random poses, which are not nodes of the grid."""

    muscle: str
    coordinates: tuple[str, ...]
    nodes: tuple[int, ...]
    length_error_mm: float  # worst
    arm_error_mm: float  # worst
    arm_range_mm: float  # of the arm that is worst
    worst_deg: tuple[float, ...]  # pose of the worst error
    worst_along: str  # coordinate of the arm that is worst
    posture: int  # in which it is
    accepted: bool
    smoothed: bool  # accepted although it differs somewhere: a jump was smoothed
    reason: str  # of a fit that is not accepted, or smoothed


class PathFits(NamedTuple):
    """Splines of all muscles in all postures."""

    groups: tuple[Paths, ...]
    coefficients: tuple[np.ndarray, ...]  # (P, N, G) m
    reference: np.ndarray  # (P, M) m
    fits: tuple[PathFit, ...]  # one a muscle, of its worst posture

    def select(self, kept: Sequence[int]) -> "PathFits":
        """The splines of some of the muscles."""
        groups, coefficients = [], []
        for group, table in zip(self.groups, self.coefficients, strict=True):
            columns = [g for g, m in enumerate(group.muscles) if m in kept]
            if columns:
                groups.append(group._replace(muscles=tuple(kept.index(group.muscles[g]) for g in columns)))
                coefficients.append(table[:, :, columns])
        fits = tuple(self.fits[k] for k in kept)
        return PathFits(tuple(groups), tuple(coefficients), self.reference[:, list(kept)], fits)


def crossed(
    samplers: Sequence[Sampler], muscles: Sequence[str], rng: np.random.Generator
) -> dict[str, tuple[int, ...]]:
    """Which of the chosen coordinates each muscle's length depends on."""
    result: dict[str, set[int]] = {m: set() for m in muscles}
    for sampler in samplers:
        for start in sampler.random(rng, 8):
            sampler.pose(start)
            before = sampler.lengths(muscles)
            for k, c in enumerate(sampler.coordinates):
                for share in (0.05, 0.35, 0.65, 0.95):
                    there = start.copy()
                    there[k] = c.low + share * (c.high - c.low)
                    sampler.pose(there)
                    for m, change in zip(muscles, np.abs(sampler.lengths(muscles) - before), strict=True):
                        if change > _MOVES_M:
                            result[m].add(k)
    return {m: tuple(sorted(which)) for m, which in result.items()}


def fit_paths(
    samplers: Sequence[Sampler],
    muscles: Sequence[str],
    depends: dict[str, tuple[int, ...]],
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda _: None,
) -> PathFits:
    """Splines of all muscles, each on the coarsest grid that is fine enough in every posture."""
    reference = np.zeros((len(samplers), len(muscles)))  # m
    groups: list[Paths] = []
    tables: list[np.ndarray] = []
    fits: dict[int, PathFit] = {}
    coordinates = samplers[0].coordinates
    coordinates_named = {c.name: k for k, c in enumerate(coordinates)}
    for which in sorted(set(depends.values())):
        waiting = [k for k, m in enumerate(muscles) if depends[m] == which]
        across = ", ".join(coordinates[c].name for c in which)
        progress(f"{', '.join(muscles[k] for k in waiting)} across {across}")
        poses = samplers[0].random(rng, _CHECKED)
        if len(which) == 1:  # every half degree or so: a small jump is seen only from nearby
            c = coordinates[which[0]]
            poses = np.repeat(poses, 2, axis=0)
            poses[:, which[0]] = np.linspace(c.low, c.high, len(poses))
        names = [muscles[k] for k in waiting]
        truths = [_truth(s, names, poses, which) for s in samplers]
        truth = {k: [t[m] for t in truths] for k, m in zip(waiting, names, strict=True)}

        def keep(group: Paths, table: np.ndarray, middle: np.ndarray, chosen: list[int], columns: list[int]) -> None:
            groups.append(group._replace(muscles=tuple(chosen)))
            tables.append(table[:, :, columns])
            reference[:, chosen] = middle[:, columns]

        def judge(
            group: Paths, table: np.ndarray, middle: np.ndarray, k: int, g: int, poses=poses, truth=truth
        ) -> PathFit:
            own = [
                _judge(s, muscles[k], group, poses, table[p, :, g : g + 1], middle[p, g], truth[k][p])
                for p, s in enumerate(samplers)
            ]
            own = [replace(f, posture=p) for p, f in enumerate(own)]
            return max(own, key=_badness)

        sizes = _NODES[len(which)]
        for size in sizes:
            group = _grid(samplers[0], which, size)
            table, middle = _interpolate(samplers, [muscles[k] for k in waiting], group)
            fits |= {k: judge(group, table, middle, k, g) for g, k in enumerate(waiting)}
            last = size == sizes[-1]
            good = [k for k in waiting if fits[k].accepted and not fits[k].smoothed]
            done = [g for g, k in enumerate(waiting) if fits[k].arm_error_mm <= _WANTED_MM or (last and k in good)]
            if done:
                keep(group, table, middle, [waiting[g] for g in done], done)
            waiting = [k for g, k in enumerate(waiting) if g not in done]
            if not waiting:
                break
        for k in waiting:  # paths that jump: the grid that is nearest to them
            tries = []
            for size in _NODES_OF_JUMPS[len(which)]:
                group = _grid(samplers[0], which, size)
                table, middle = _least_squares(samplers, [muscles[k]], group, rng)
                tries.append((judge(group, table, middle, k, 0), group, table, middle))
            fits[k], group, table, middle = min(tries, key=lambda t: _badness(t[0]))
            keep(group, table, middle, [k], [0])
    for k, f in fits.items():
        if f.smoothed or not f.accepted:
            sampler, axis = samplers[f.posture], coordinates_named[f.worst_along]
            fits[k] = replace(f, reason=why(sampler, f.muscle, np.deg2rad(f.worst_deg), axis))
    return PathFits(tuple(groups), tuple(tables), reference, tuple(fits[k] for k in range(len(muscles))))


class _Truth(NamedTuple):
    length: np.ndarray  # (N,) m
    arm: np.ndarray  # (N, d) m, along the coordinates that the path depends on


def _badness(fit: PathFit) -> tuple[bool, bool, float]:
    return not fit.accepted, fit.smoothed, fit.arm_error_mm


def _truth(sampler: Sampler, muscles: Sequence[str], poses: np.ndarray, which: Sequence[int]) -> dict[str, _Truth]:
    lengths, arms = [], []
    for q in poses:
        sampler.pose(q)
        lengths.append(sampler.lengths(muscles))
        arms.append([sampler.arms(m, which) for m in muscles])
    length, arm = np.array(lengths), np.array(arms)
    return {m: _Truth(length[:, k], arm[:, k]) for k, m in enumerate(muscles)}


def _grid(sampler: Sampler, which: tuple[int, ...], size: int) -> Paths:
    chosen = [sampler.coordinates[c] for c in which]
    step = tuple((c.high - c.low) / (size - 1) for c in chosen)
    return Paths(which, (), tuple(c.low for c in chosen), step, (size,) * len(which))


def _sample(sampler: Sampler, muscles: Sequence[str], group: Paths) -> np.ndarray:
    """Lengths (N, G) [m] at the nodes; coordinates that do not matter stay in the middle of their range."""
    q = np.array([(c.low + c.high) / 2 for c in sampler.coordinates])
    lengths = []
    for node in splines.nodes(group):
        q[list(group.coordinates)] = node
        sampler.pose(q)
        lengths.append(sampler.lengths(muscles))
    return np.array(lengths)


def _interpolate(samplers: Sequence[Sampler], muscles: Sequence[str], group: Paths) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P, N, G) [m] through the lengths at the nodes, above their means (P, G)."""
    lengths = np.stack([_sample(s, muscles, group) for s in samplers])  # m
    middle = lengths.mean(axis=1)
    grids = (lengths - middle[:, None]).reshape(len(samplers), *group.count, -1)
    return np.stack([splines.interpolate(g) for g in grids]).reshape(len(samplers), -1, len(muscles)), middle


def _least_squares(
    samplers: Sequence[Sampler], muscles: Sequence[str], group: Paths, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P, N, G) [m] nearest to lengths and moment arms at scattered poses, for paths that jump.

    A path point that appears at some angle makes the length jump by a fraction of a millimetre. Interpolated, the jump
    becomes a spike in the moment arm; fitted, it becomes a length error that small.
    """
    which = list(group.coordinates)
    size = int(np.prod([n + splines.MARGIN for n in group.count]))
    poses = np.tile([(c.low + c.high) / 2 for c in samplers[0].coordinates], (_PER_COEFFICIENT * size, 1))
    poses[:, which] = samplers[0].random(rng, len(poses))[:, which]
    at = splines.taps(group, poses.T, np)
    index = np.asarray(at.index)

    def rows(along: tuple[int, ...]) -> sparse.csr_matrix:
        weights = np.ones((len(poses), 1))
        for k in range(len(which)):
            own = np.asarray(at.slope[k] if k in along else at.value[k], float)
            weights = (weights[:, :, None] * own[:, None, :]).reshape(len(poses), -1)
        row = np.repeat(np.arange(len(poses)), index.shape[1])
        return sparse.csr_matrix((weights.ravel(), (row, index.ravel())), (len(poses), size))

    slopes = (rows((k,)) / _ARM_SIGMA_M for k in range(len(which)))
    system = sparse.csr_matrix(sparse.vstack([rows(()) / _LENGTH_SIGMA_M, *slopes]))
    table, middle = np.zeros((len(samplers), size, len(muscles))), np.zeros((len(samplers), len(muscles)))
    for p, sampler in enumerate(samplers):
        for g, muscle in enumerate(muscles):
            truth = _truth(sampler, [muscle], poses, which)[muscle]
            middle[p, g] = np.median(truth.length)
            lengths = (truth.length - middle[p, g]) / _LENGTH_SIGMA_M
            right = np.concatenate([lengths, *(-truth.arm.T / _ARM_SIGMA_M)])
            seen = np.isfinite(right)  # it may say that a moment arm is not a number
            right, weight = np.where(seen, right, 0.0), seen.astype(float)
            for _ in range(4):  # a pose where wrapping fails must not bend the fit around it
                scaled = sparse.diags(weight) @ system
                normal = sparse.csc_matrix(scaled.T @ scaled + 1e-4 * sparse.identity(size))
                table[p, :, g] = np.asarray(splinalg.spsolve(normal, scaled.T @ (weight * right)))
                weight = seen / np.sqrt(1 + np.abs(system @ table[p, :, g] - right) / 3)
    return table, middle


def _judge(
    sampler: Sampler,
    muscle: str,
    group: Paths,
    poses: np.ndarray,
    table: np.ndarray,
    reference: float,
    truth: _Truth,
) -> PathFit:
    """Compares one muscle's splines (coefficients (N, 1)) with the simulator's lengths and moment arms."""
    errors = _errors(group, table, reference, poses, truth)
    usual = errors.arm.max(axis=1)  # m, at poses that nobody chose
    asked = list(group.coordinates)
    if errors.arm.max() > _WANTED_MM * 1e-3:  # where it is worst, look closer: a corner is narrow
        rng = np.random.default_rng(0)
        worst = poses[np.argsort(errors.arm.max(axis=1))[-3:]]
        near = np.repeat(worst, _CLOSER, axis=0) + np.deg2rad(2.0) * rng.uniform(-1, 1, (3 * _CLOSER, poses.shape[1]))
        limits = np.array([(c.low, c.high) for c in sampler.coordinates])
        near = np.clip(near, limits[:, 0], limits[:, 1])
        more = _truth(sampler, [muscle], near, asked)[muscle]
        truth = _Truth(*(np.concatenate(pair) for pair in zip(truth, more, strict=True)))
        poses = np.concatenate([poses, near])
        errors = _errors(group, table, reference, poses, truth)
    pose, axis = np.unravel_index(np.argmax(errors.arm), errors.arm.shape)
    along = truth.arm[:, axis]
    spread = 1e3 * float(np.nanmax(along) - np.nanmin(along))
    wrong_length, worst_arm = 1e3 * float(errors.length.max()), 1e3 * float(errors.arm[pose, axis])
    enough = max(ACCEPTED_MM, ACCEPTED_SHARE * spread)
    exact = worst_arm <= enough and wrong_length <= ACCEPTED_MM
    smoothed = (
        not exact
        and wrong_length <= ACCEPTED_MM
        and worst_arm <= max(_SMOOTHED_MM, _SMOOTHED_SHARE * spread)
        and float(np.mean(1e3 * usual > enough)) <= _SMOOTHED_POSES
    )
    return PathFit(
        muscle,
        tuple(sampler.coordinates[c].name for c in asked),
        group.count,
        wrong_length,
        worst_arm,
        spread,
        tuple(np.rad2deg(poses[pose]).tolist()),
        sampler.coordinates[asked[axis]].name,
        0,
        exact or smoothed,
        smoothed,
        "",
    )


class _Errors(NamedTuple):
    length: np.ndarray  # (N,) m
    arm: np.ndarray  # (N, d) m


def _errors(group: Paths, table: np.ndarray, reference: float, poses: np.ndarray, truth: _Truth) -> _Errors:
    at = splines.taps(group, poses.T, np)
    rows = table[at.index]
    axes = range(len(group.coordinates))
    length = splines.combine(at, rows, (), np)[:, 0] + reference  # m
    arm = np.stack([-splines.combine(at, rows, (k,), np)[:, 0] for k in axes], axis=-1)  # m
    pairs = ((length, truth.length), (arm, truth.arm))
    return _Errors(*(np.nan_to_num(np.abs(ours - theirs), nan=_NOT_A_NUMBER_M) for ours, theirs in pairs))
