"""The musculoskeletal model of one joint or a planar chain of joints, as a pytree of physical constants."""

from flax import struct
from jaxtyping import Array, Float


@struct.dataclass
class MusculoskeletalModel:
    """D coordinates, M muscles, P postures. Flexion is positive; a flexor has a positive moment arm.

    The bodies form a planar chain; segment d hangs on coordinate d. Its orientation is the posture's
    `base_orientation` plus the signed sum of the coordinates up to d.
    """

    name: str = struct.field(pytree_node=False)
    dofs: tuple[str, ...] = struct.field(pytree_node=False)
    muscles: tuple[str, ...] = struct.field(pytree_node=False)
    postures: tuple[str, ...] = struct.field(pytree_node=False)
    # (K, D) powers of the angles in the musculotendon-length polynomial
    exponents: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)

    length_coefficients: Float[Array, "P M K"]  # m / rad^power
    angle_range: Float[Array, "D 2"]  # rad, where the length polynomials hold
    max_isometric_force: Float[Array, " M"]  # N
    optimal_fibre_length: Float[Array, " M"]  # m
    tendon_slack_length: Float[Array, " M"]  # m
    pennation: Float[Array, " M"]  # rad, at optimal fibre length
    max_contraction_velocity: Float[Array, " M"]  # optimal fibre lengths per s
    segment_mass: Float[Array, " D"]  # kg
    segment_length: Float[Array, " D"]  # m, to the next joint
    segment_com: Float[Array, " D"]  # m, joint to centre of mass
    segment_inertia: Float[Array, " D"]  # kg m2, about the centre of mass
    flexion_sign: Float[Array, " D"]  # +1 or -1, rotation sense of positive flexion in the plane
    base_orientation: Float[Array, " P"]  # rad, of the first segment at zero angles; 0 is along +x
    gravity: Float[Array, "P 2"]  # m/s2, in the plane of motion (x right, y up)
    damping: Float[Array, " D"]  # N m s/rad
    stiffness: Float[Array, " D"]  # N m/rad
    rest_angle: Float[Array, "P D"]  # rad, where the stiffness pulls to
