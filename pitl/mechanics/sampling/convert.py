"""What a sampler says about a few coordinates, as a MusculoskeletalModel."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl.errors import PitlError
from pitl.mechanics import dynamics
from pitl.mechanics.loads import carry
from pitl.mechanics.model import MusculoskeletalModel, assemble, pseudo_inertia
from pitl.mechanics.sampling import links, paths
from pitl.mechanics.sampling.links import Cluster
from pitl.mechanics.sampling.sampler import Sampler

# Names of bodies in common models, as segments of the regression that scales people
_SEGMENTS = {
    "upper_arm": ("humerus",),
    "forearm": ("radius", "ulna", "forearm"),
    "hand": ("hand", "capitate", "metacarpal", "carpal"),
    "thigh": ("femur", "thigh"),
    "shank": ("tibia", "shank", "tibfib"),
    "foot": ("talus", "calcn", "foot"),
}


_LEAST_INERTIA = 1e-7  # kg m2, below which a coordinate has nothing to move


@dataclass(frozen=True)
class Imported:
    """A model, and how it follows the file it came from."""

    model: MusculoskeletalModel
    sentences: tuple[str, ...]  # what was smoothed, left out or changed
    fits: tuple[paths.PathFit, ...]  # of every muscle that was sampled, those left out as well
    about: dict[str, Any]  # provenance, for the stored model


def convert(
    samplers_of: Mapping[str, Sampler],
    muscles: Sequence[str] | None,
    accept: Sequence[str],
    progress: Callable[[str], None],
) -> Imported:
    """Samples an opened model, in each of its postures, over the ranges of its chosen coordinates.

    Args:
        samplers_of: by posture; all of the same file and coordinates.
        muscles: names; None is every muscle that is switched on and whose length depends on a chosen coordinate.
        accept: muscles that are kept although smooth functions follow them badly.
        progress: called with what is being sampled.

    Raises:
        PitlError: something in the request does not fit the file, or nothing useful remains.
    """
    rng = np.random.default_rng(0)
    postures, samplers = tuple(samplers_of), list(samplers_of.values())
    first = samplers[0]
    path, coordinates = first.path, [c.name for c in first.coordinates]
    sentences = list(dict.fromkeys(n for s in samplers for n in s.notes()))
    depends = _crossing(samplers, muscles, accept, sentences, rng)
    result = links.clusters(first, rng)
    if not result:
        raise PitlError(f"no body of {path} moves with {', '.join(coordinates)}; choose other coordinates.")
    parts, tables = [], []
    for cluster in result:
        root = result[cluster.parent].names[0] if cluster.parent >= 0 else None
        part, table = links.fit_link(samplers, cluster, root, cluster.parent, rng)
        parts.append(part)
        tables.append(table)
    sampled = paths.fit_paths(samplers, list(depends), depends, rng, progress)
    fitted = _usable(sampled, accept, path, sentences)
    chosen = [f.muscle for f in fitted.fits]
    own = [first.muscle(m) for m in chosen]
    dofs = len(coordinates)
    limits = np.array([[c.low, c.high] for c in first.coordinates])  # rad
    total = sum(b.mass for b in first.bodies())  # kg
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = f"{path.name} (sha256 {digest[:12]}), sampled with {first.program}"
    passive = first.passive()
    model = assemble(
        {
            "name": path.stem,
            "source": source,
            "dofs": tuple(coordinates),
            "muscles": tuple(chosen),
            "postures": postures,
            "bodies": tuple("+".join(c.names) for c in result),
            "segments": tuple(_segment(c) for c in result),
            "body_sex": "",
            "links": tuple(parts),
            "paths": fitted.groups,
            "link_coefficients": tuple(tables),
            "pseudo_inertia": np.stack([_inertia(s, result) for s in samplers]),
            "gravity": np.stack([s.gravity() for s in samplers]),
            "gravity_scale": np.ones(len(result)),
            "path_coefficients": fitted.coefficients,
            "path_reference": fitted.reference,
            "path_scale": np.ones(len(chosen)),
            "angle_range": limits,
            "max_isometric_force": [m.max_isometric_force for m in own],
            "optimal_fibre_length": [m.optimal_fibre_length for m in own],
            "tendon_slack_length": [m.tendon_slack_length for m in own],
            "pennation": [m.pennation for m in own],
            "max_contraction_velocity": [m.max_contraction_velocity for m in own],
            "damping": passive.damping,
            "stiffness": passive.stiffness,
            "rest_angle": np.tile(limits.mean(axis=1) if passive.rest is None else passive.rest, (len(postures), 1)),
            "limit_angle": limits,
            "limit_stiffness": np.zeros(dofs),
            "angle_offset": np.zeros(dofs),
            # a scaled model describes its own person; heights are not in the file
            "body_height": 1.75,
            "body_mass": total,
        }
    )
    about = {
        "file": path.name,
        "sha256": digest,
        "program": first.program,
        "units": "rad, m, kg, N",
        "postures": {name: dict(s.held) for name, s in samplers_of.items()},
        "fits": [asdict(f) for f in sampled.fits],
        "sentences": sentences,
    }
    return Imported(model, tuple(sentences), sampled.fits, about)


def _crossing(
    samplers: Sequence[Sampler],
    muscles: Sequence[str] | None,
    accept: Sequence[str],
    sentences: list[str],
    rng: np.random.Generator,
) -> dict[str, tuple[int, ...]]:
    """Chosen coordinates that the length of each muscle depends on, of muscles that can be sampled."""
    first = samplers[0]
    path, coordinates = first.path, [c.name for c in first.coordinates]
    known, off = first.muscle_names(), first.muscles_off()
    for option, names in (("", muscles or ()), ("--accept names it, but ", accept)):
        unknown = [m for m in names if m not in known]
        if unknown:
            raise PitlError(f"{option}{path} has no muscle {unknown[0]!r}; known are {', '.join(known)}.")
    depends = paths.crossed(samplers, muscles or known, rng)
    idle = [m for m in muscles or () if not depends[m]]
    if idle:
        raise PitlError(f"{idle[0]} of {path} does not cross {' or '.join(coordinates)}; leave it out of --muscles.")
    result = {m: which for m, which in depends.items() if which}
    for m in [m for m in result if m in off]:
        if muscles:
            sentences.append(f"{m} is switched off in the file and taken all the same, as it was asked for.")
        else:
            del result[m]
            sentences.append(f"{m} is switched off in the file and left out; --muscles {m} takes it all the same.")
    for m in [m for m, which in result.items() if len(which) > paths.MOST_CROSSED]:
        sentences.append(
            f"{m} crosses {len(result.pop(m))} of the chosen coordinates, more than the {paths.MOST_CROSSED} that can "
            "be sampled, and is left out; hold some of them with --posture."
        )
    for m in list(result):
        odd = _oddity(first, m)
        if odd:
            del result[m]
            sentences.append(f"{m} is left out: {odd}; mend it in the file.")
    if not result:
        raise PitlError(
            f"no muscle of {path} that is switched on and can be sampled crosses {', '.join(coordinates)}; choose "
            "other coordinates."
        )
    return result


def _oddity(sampler: Sampler, muscle: str) -> str:
    """What no muscle can be, in the parameters of one; "" if nothing is."""
    try:
        m = sampler.muscle(muscle)
    except PitlError as e:
        return str(e).removeprefix(f"{sampler.path}: ").rstrip(".")
    parts = (
        ("maximum isometric force", m.max_isometric_force, "N"),
        ("optimal fibre length", m.optimal_fibre_length, "m"),
        ("maximum contraction velocity", m.max_contraction_velocity, "lengths/s"),
    )
    return "; ".join(f"its {what} is {value:g} {unit}" for what, value, unit in parts if not 0 < value < np.inf)


def _usable(sampled: paths.PathFits, accept: Sequence[str], path: Path, sentences: list[str]) -> paths.PathFits:
    """Without the muscles that smooth functions cannot follow."""
    for f in sampled.fits:
        off = f"moment arm off by up to {f.arm_error_mm:.2f} mm, length by {f.length_error_mm:.2f} mm"
        if f.smoothed:
            sentences.append(f"{f.muscle} was smoothed: {f.reason}; {off}.")
        elif not f.accepted and f.muscle in accept:
            sentences.append(f"{f.muscle} is taken although it cannot be followed: {f.reason}; {off}.")
        elif not f.accepted:
            sentences.append(
                f"{f.muscle} is left out: {f.reason}; {off}. Narrow the range with --range, mend its path, or take it "
                "as it is with --accept."
            )
    kept = [k for k, f in enumerate(sampled.fits) if f.accepted or f.muscle in accept]
    if not kept:
        reasons = "; ".join(f"{f.muscle}: {f.reason}" for f in sampled.fits)
        raise PitlError(
            f"no muscle of {path} can be followed within {paths.ACCEPTED_MM:g} mm or {100 * paths.ACCEPTED_SHARE:g} % "
            f"of its moment arm's range ({reasons}); narrow the range with --range, or mend the paths."
        )
    return sampled.select(kept)


def load_bodies(imported: Imported, weights: Sequence[tuple[str, float, Sequence[float]]]) -> Imported:
    """The import with small masses [kg] fixed to bodies at places [m, body coordinates].

    Raises:
        PitlError: a body is not known, or the bodies that move have no mass, so that nothing resists motion.
    """
    model = imported.model
    for body, mass, place in weights:
        model = carry(model, body, mass, jnp.asarray(place, jnp.float32))
    low, high = np.asarray(model.angle_range).T
    q = jnp.asarray(np.random.default_rng(0).uniform(low, high, (20, len(low))), jnp.float32)
    mass = jax.jit(lambda x: dynamics.mass_matrix(model, x, 0))(q)  # kg m2; piece by piece takes far longer
    least = np.linalg.eigvalsh(np.asarray(mass, float)).min()
    if least < _LEAST_INERTIA:
        bodies = ", ".join(model.bodies)
        raise PitlError(
            f"the bodies that move ({bodies}) have no mass in this file, or none that resists every coordinate; give "
            f"them some, such as --weight {model.bodies[-1].split('+')[0]}=0.5@0,-0.05,0 (kg, and m in its frame)."
        )
    noted = [{"body": b, "kg": m, "at_m": list(p)} for b, m, p in weights]
    return replace(imported, model=model, about=imported.about | {"weights": noted})


def _inertia(sampler: Sampler, result: Sequence[Cluster]) -> np.ndarray:
    """(B, 4, 4) pseudo-inertia of each cluster in the frame of its first body."""
    body = {b.name: b for b in sampler.bodies()}
    middle = np.array([[(c.low + c.high) / 2 for c in sampler.coordinates]])
    total = []
    for cluster in result:
        frames = links.frames_at(sampler, cluster.names, middle)
        sum_ = np.zeros((4, 4))
        for k, name in enumerate(cluster.names):
            b = body[name]
            place = np.vstack([links.relative_to(frames[0], frames[k])[0], [0, 0, 0, 1]])
            sum_ += place @ pseudo_inertia(b.mass, b.centre, b.inertia) @ place.T
        total.append(sum_)
    return np.array(total)


def _segment(cluster: Cluster) -> str:
    """Body segments that a cluster is made of, the heaviest first; empty if its bodies' names tell nothing."""
    result = []
    for segment, words in _SEGMENTS.items():
        if any(word in name.lower() for name in cluster.names for word in words):
            result.append(segment)
    return "+".join(result)
