"""A limb as lines in the plane of its motion, from the model's own frames."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.mechanics import bodies, geometry
from pitl.mechanics.model import MusculoskeletalModel, body_properties, posture_index


class Limb(NamedTuple):
    """What does not change while it moves."""

    model: MusculoskeletalModel
    posture: int
    children: tuple[tuple[int, ...], ...]  # of each body
    centre: np.ndarray  # (B, 3) m, of mass, body coordinates
    fixed: np.ndarray  # (2, 2) m, the segment before the first joint, in line with the straight limb
    flexes: np.ndarray  # (M,) +1 where a muscle pulls towards positive angles of the first coordinate, else -1
    side: float  # +1 where positive angles turn the limb counter-clockwise, else -1
    strength: np.ndarray  # (M,) N


def limb(model: MusculoskeletalModel, posture: str) -> Limb:
    """Prepares a model for drawing.

    Raises:
        PitlError: it has no such posture.
    """
    at = posture_index(model, posture)
    count = len(model.links)
    children = tuple(tuple(c for c in range(count) if model.links[c].parent == b) for b in range(count))
    middle = jnp.asarray(model.angle_range).mean(axis=1)
    arm = np.asarray(geometry.moment_arm(model, middle, at))[:, 0]  # m
    centre = body_properties(model, at).centre
    made = Limb(model, at, children, centre, np.zeros((2, 2)), np.where(arm >= 0, 1.0, -1.0), 1.0, np.zeros(0))
    straight, bent = (points(made, q * np.ones(len(model.dofs))) for q in (0.0, 0.1))
    first = straight[0]
    along = (first[1] - first[0]) / max(1e-6, float(np.linalg.norm(first[1] - first[0])))
    reach = 2.5 * np.linalg.norm(first[1] - first[0])  # m, chosen: a forearm or thigh against its hand or shank
    reach = min(reach, 0.4)
    turned = bent[0][1] - bent[0][0]
    side = float(np.sign(along[0] * turned[1] - along[1] * turned[0])) or 1.0
    fixed = np.stack([first[0] - reach * along, first[0]])
    return made._replace(fixed=fixed, side=side, strength=np.asarray(model.max_isometric_force))


def points(limb: Limb, angle: np.ndarray) -> np.ndarray:
    """Segments (S, 2, 2) [m]: x forward, y up, at angles (D,) [rad]; each from a joint to the next, or to its end."""
    frames = np.asarray(_frames(limb.model, jnp.asarray(angle, jnp.float32), limb.posture))
    lines = []
    for b, children in enumerate(limb.children):
        origin = frames[b, :, 3]
        # the last segment ends as far beyond its centre of mass as that lies from the joint
        ends = [frames[c, :, 3] for c in children] or [origin + 2 * frames[b, :, :3] @ limb.centre[b]]
        lines += [(origin[:2], end[:2]) for end in ends if np.linalg.norm(end - origin) > 1e-4]
    return np.array(lines)


@jax.jit
def _frames(model: MusculoskeletalModel, angle: jax.Array, posture: int) -> jax.Array:
    return bodies.stacked_frames(model, angle, posture)
