"""A chosen part of an OpenSim model as a MusculoskeletalModel."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from pitl.errors import PitlError
from pitl.mechanics import dynamics
from pitl.mechanics.loads import carry
from pitl.mechanics.model import MusculoskeletalModel, assemble, pseudo_inertia
from pitl.mechanics.opensim import links, paths
from pitl.mechanics.opensim.links import Cluster
from pitl.mechanics.opensim.sampler import Sampler, open_model

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
    """A model and how well it follows the file it came from."""

    model: MusculoskeletalModel
    fits: tuple[paths.PathFit, ...]
    about: dict[str, Any]  # provenance, for the stored model


def import_model(
    path: Path,
    coordinates: Sequence[str],
    muscles: Sequence[str] | None = None,
    postures: Mapping[str, Mapping[str, float]] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Samples an OpenSim model over the ranges of a few coordinates.

    Passive joint forces of the file (coordinate limit forces, ligaments) are not taken over: damping and stiffness are
    zero until the configuration sets them.

    Args:
        path: the .osim file.
        coordinates: D coordinates that move.
        muscles: names; None is every muscle whose length depends on a chosen coordinate.
        postures: by name, values of held coordinates [rad or m]; None is one posture, the file's defaults.
        ranges: [rad] of chosen coordinates, in place of the file's.
        progress: called with what is being sampled.

    Raises:
        PitlError: anything in the request does not fit the file, or a muscle cannot be followed well enough.
    """
    rng = np.random.default_rng(0)
    postures = dict(postures or {"default": {}})
    samplers = [open_model(path, coordinates, held, ranges) for held in postures.values()]
    first = samplers[0]
    known = first.muscle_names()
    unknown = [m for m in muscles or () if m not in known]
    if unknown:
        raise PitlError(f"{path} has no muscle {unknown[0]!r}; known are {', '.join(known)}.")
    depends = paths.crossed(samplers, muscles or known, rng)
    chosen = [m for m in muscles or known if depends[m]]
    idle = [m for m in muscles or () if not depends[m]]
    if idle:
        raise PitlError(f"{idle[0]} of {path} does not cross {' or '.join(coordinates)}; leave it out of --muscles.")
    if not chosen:
        raise PitlError(f"no muscle of {path} crosses {', '.join(coordinates)}; choose other coordinates.")
    result = links.clusters(first, rng)
    if not result:
        raise PitlError(f"no body of {path} moves with {', '.join(coordinates)}; choose other coordinates.")
    parts, tables = [], []
    for cluster in result:
        root = result[cluster.parent].names[0] if cluster.parent >= 0 else None
        part, table = links.fit_link(samplers, cluster, root, cluster.parent, rng)
        parts.append(part)
        tables.append(table)
    fitted = paths.fit_paths(samplers, chosen, {m: depends[m] for m in chosen}, rng, progress)
    own = [first.muscle(m) for m in chosen]
    dofs = len(coordinates)
    limits = np.array([[c.low, c.high] for c in first.coordinates])  # rad
    total = sum(b.mass for b in first.bodies())  # kg
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    source = f"{Path(path).name} (sha256 {digest[:12]}), sampled with OpenSim {first.version}"
    model = assemble(
        {
            "name": Path(path).stem,
            "source": source,
            "dofs": tuple(coordinates),
            "muscles": tuple(chosen),
            "postures": tuple(postures),
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
            "damping": np.zeros(dofs),
            "stiffness": np.zeros(dofs),
            "rest_angle": np.tile(limits.mean(axis=1), (len(postures), 1)),
            "limit_angle": limits,
            "limit_stiffness": np.zeros(dofs),
            "angle_offset": np.zeros(dofs),
            # a scaled model describes its own person; heights are not in the file
            "body_height": 1.75,
            "body_mass": total,
        }
    )
    about = {
        "file": Path(path).name,
        "sha256": digest,
        "opensim": first.version,
        "units": "rad, m, kg, N",
        "postures": {name: dict(s.held) for name, s in zip(postures, samplers, strict=True)},
        "fits": [asdict(f) for f in fitted.fits],
    }
    return Imported(model, fitted.fits, about)


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
    least = np.linalg.eigvalsh(np.asarray(dynamics.mass_matrix(model, q, 0), float)).min()
    if least < _LEAST_INERTIA:
        bodies = ", ".join(model.bodies)
        raise PitlError(
            f"the bodies that move ({bodies}) have no mass in this file, or none that resists every coordinate; give "
            f"them some, such as --weight {model.bodies[-1].split('+')[0]}=0.5@0,-0.05,0 (kg, and m in its frame)."
        )
    noted = [{"body": b, "kg": m, "at_m": list(p)} for b, m, p in weights]
    return replace(imported, model=model, about=imported.about | {"weights": noted})


def accept(imported: Imported, although_bad: Sequence[str] = ()) -> Imported:
    """The import, if every muscle's splines are what OpenSim says, or the user takes them as they are.

    Raises:
        PitlError: names every other muscle that cannot be followed, and why.
    """
    unknown = [m for m in although_bad if m not in imported.model.muscles]
    if unknown:
        raise PitlError(f"--accept names {unknown[0]}, which is not imported.")
    bad = [f for f in imported.fits if not f.accepted and f.muscle not in although_bad]
    if bad:
        lines = "; ".join(
            f"{f.muscle}: moment arm off by {f.arm_error_mm:.2f} mm, length by {f.length_error_mm:.2f} mm, {f.reason}"
            for f in bad
        )
        raise PitlError(
            f"{len(bad)} of {len(imported.fits)} muscles cannot be followed within {paths.ACCEPTED_MM:g} mm or "
            f"{100 * paths.ACCEPTED_SHARE:g} % of their moment arm's range. {lines}. Narrow the range with --range, "
            "leave the muscle out with --muscles, mend its path in OpenSim, or take it as it is with --accept."
        )
    return replace(imported, about=imported.about | {"accepted": list(although_bad)})


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
