"""Which recordings identify what: said by the information that each kind of evidence brings, not by us.

A quantity is identified by some kinds of evidence where, with them, its deviation is below 7 % and at most half of what
it was without any. Of quantities that nothing identifies it is said with which unknowns their error goes together.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import jax
import numpy as np

from pitl.identify import unknowns
from pitl.identify.unknowns import PRIOR, Unknowns

TARGET = 0.07  # deviation of a logarithm, about 7 %


class Verdict(NamedTuple):
    """What the recordings say about one quantity of one person."""

    name: str
    factor: float  # fitted over the model as it came
    deviation: float  # of its logarithm, given the evidence used
    prior: float  # the same without evidence
    by: tuple[tuple[str, ...], ...]  # smallest sets of kinds of evidence, among those used, that identify it
    tied_to: str  # unknown with which what is left of its error goes together most

    @property
    def identified(self) -> bool:
        return enough(self.deviation, self.prior)


def enough(deviation: float, prior: float) -> bool:
    """Whether a quantity is known to the target, and at least twice as well as before."""
    return deviation <= TARGET and deviation <= 0.5 * prior


def verdicts(
    z: Unknowns,
    information: np.ndarray,
    kinds: Sequence[str],
    used: Sequence[str],
    muscles: Sequence[str],
    bodies: Sequence[str],
    gain_deviation: float = PRIOR["gain"].deviation,
) -> list[Verdict]:
    """Judges every quantity of one person.

    Args:
        z: as fitted.
        information: (kinds, n, n) at the fit.
        kinds: names of the kinds of evidence.
        used: those that the fit saw.
        muscles: their names.
        bodies: their names.
        gain_deviation: as in the fit.
    """
    owners = {"weight": bodies, "inertia": bodies, "strong": ("all muscles",), "strength": muscles, "torque": muscles}
    value = unknowns.quantities(z, gain_deviation)
    slope = gradients(z, gain_deviation)
    chosen = [kinds.index(k) for k in used]
    covariance = posterior(information, chosen)
    names = labels(z, muscles)
    found = []
    for name, who in owners.items():
        for k, owner in enumerate(who):
            g = slope[name][k]
            prior, deviation = float(np.sqrt(g @ g)), float(np.sqrt(g @ covariance @ g))
            together = np.abs(covariance @ g) / np.sqrt(np.diag(covariance))
            others = np.where(np.abs(g) > 0.02, 0.0, together)  # of which the quantity is not made
            by = _smallest(g, information, chosen, prior) if enough(deviation, prior) else ()
            sets = tuple(tuple(kinds[c] for c in s) for s in by)
            tied = names[int(np.argmax(others))]
            found.append(Verdict(f"{name} {owner}", float(np.exp(value[name][k])), deviation, prior, sets, tied))
    return found


def _smallest(g: np.ndarray, information: np.ndarray, chosen: list[int], prior: float) -> list[tuple[int, ...]]:
    for size in range(1, len(chosen) + 1):
        sets = [
            s
            for s in combinations(chosen, size)
            if enough(float(np.sqrt(g @ posterior(information, list(s)) @ g)), prior)
        ]
        if sets:
            return sets
    return []


def posterior(information: np.ndarray, used: list[int]) -> np.ndarray:
    """(n, n) covariance of the z-scores with the evidence of some kinds, under the prior."""
    total = np.asarray(information, float)[used].sum(axis=0)
    return np.linalg.inv(0.5 * (total + total.T) + np.eye(len(total)))


def gradients(z: Unknowns, gain_deviation: float = PRIOR["gain"].deviation) -> dict[str, np.ndarray]:
    """(K, n) of every quantity against the z-scores of one person."""
    jacobian = jax.jacfwd(lambda x: unknowns.quantities(x, gain_deviation))(z)
    return {
        name: np.concatenate([np.asarray(x, float).reshape(len(x), -1) for x in parts], axis=1)
        for name, parts in jacobian.items()
    }


def labels(z: Unknowns, muscles: Sequence[str]) -> list[str]:
    """Names of the z-scores, in the order of the information."""
    found = []
    for name, x in zip(z._fields, z, strict=True):
        owners = muscles if np.size(x) == len(muscles) and np.ndim(x) else [str(i + 1) for i in range(np.size(x))]
        found += [name if np.size(x) == 1 else f"{name} {o}" for o in owners]
    return found


def sentence(v: Verdict) -> str:
    """What is to be said about a quantity."""
    size = f"{v.name} x {v.factor:.2f} +- {100 * v.deviation:.0f} %"
    if v.identified:
        return f"{size}: identified by " + ", or by ".join(" with ".join(s) for s in v.by)
    if v.deviation <= 0.5 * v.prior:
        return f"{size}: narrowed from {100 * v.prior:.0f} %, not identified; goes together with {v.tied_to}"
    return f"{size}: not identified, the prior decides; goes together with {v.tied_to}"
