"""Who the virtual subjects are: every hidden parameter of one person, drawn around the built-in wrist.

Muscle arrays hold the M recorded muscles first and palmaris longus, which has no electrode, last (N = M + 1).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from pitl.config.schema import VirtualConfig
from pitl.mechanics.joints import WRIST
from pitl.mechanics.model import MusculoskeletalModel, body_properties
from pitl.mechanics.scaling import scale_to_body

Value = Any  # a NumPy array; within the compiled simulation a JAX array
Draw = Callable[..., Any]  # (standard deviation, size) -> numbers

UNRECORDED = "PL"  # palmaris longus

# Palmaris longus of MoBL-ARMS (Saul 2015, doi 10.1080/10255842.2014.916698), elbow 90 deg, forearm neutral:
# maximum force [N], optimal fibre length [m], pennation [rad], and length [m] against flexion [rad], ascending powers.
_PL_FORCE, _PL_FIBRE, _PL_PENNATION = 101.0, 0.0638, 0.0698
_PL_LENGTH = (0.31975957, -0.022553505, -0.0027121637, 0.00055557455, 0.0012372046, 0.00032711933)
PL_FIBRE_AT_ZERO = 0.79  # optimal fibre lengths along the tendon, as published

TENDON_STRAIN = 0.049  # at maximum force (Millard 2013, doi 10.1115/1.4023390)
RIGID = 0.04  # of it remains when elastic tendons are switched off


class Joint(NamedTuple):
    """The hand and the wrist without its muscles."""

    mass: Value  # kg
    lever: Value  # m, wrist to centre of mass of the hand
    inertia: Value  # kg m2, about the wrist
    flexion_sign: Value  # +1 or -1, as in the built-in wrist
    damping: Value  # N m s/rad
    stiffness: Value  # N m/rad
    rest_shift: Value  # rad, from the built-in rest angle
    friction: Value  # N m, Coulomb
    end_torque: Value  # N m, at the end angle
    end_angle: Value  # rad, where the ligaments tighten
    end_width: Value  # rad, over which their torque grows e-fold


class Muscles(NamedTuple):
    """The six muscles. K powers of the angle."""

    strength: Value  # (N,) N, maximum isometric force
    fibre: Value  # (N,) m, optimal fibre length
    slack: Value  # (N,) m, tendon slack length
    cosine: Value  # (N,) of the pennation angle
    fastest: Value  # (N,) optimal fibre lengths per s
    length: Value  # (P, N, K) m / rad^power, musculotendon length in each posture
    arm_factor: Value  # (N,) moment arm over the built-in wrist's
    arm_tilt: Value  # (N,) 1/rad, how its moment arm additionally changes with angle
    tendon_strain: Value  # at maximum force
    memory: Value  # force change per optimal fibre length of recent stretch
    memory_s: Value  # s, over which it is forgotten
    rise_s: Value  # s, activation
    fall_s: Value  # s, deactivation


class Control(NamedTuple):
    """How they drive their muscles."""

    share: Value  # (N,) habit of sharing a torque among muscles of one side
    co_contraction: Value  # (N,) drive that is always there while moving
    hurry: Value  # s/rad, growth of co-contraction with speed, on the side that moves twice
    noise: Value  # standard deviation over mean of the drive
    model_error: Value  # (4,) believed over true inertia, damping, gravity, stiffness
    lead_s: Value  # s, how far they plan ahead of their muscles' sluggishness
    proportional: Value  # N m/rad
    derivative: Value  # N m s/rad
    integral: Value  # N m/(rad s), slow visual correction
    lag_s: Value  # s, of what they feel


class SimulatedElectrodes(NamedTuple):
    """What surface EMG makes of the drive."""

    delay_s: Value  # s, electromechanical: EMG comes this much before activation
    gain: Value  # (N,) V, root mean square at full drive
    exponent: Value  # (N,) of amplitude against drive
    slide: Value  # (N,) 1/rad, change of gain as the skin slides over the muscle
    cross_talk: Value  # (M, N) share of muscle n's signal under electrode m; 1 on the diagonal
    floor: Value  # (M,) V, root mean square of the noise
    hum: Value  # (M,) V, amplitude of mains interference
    mvc_factor: Value  # (M,) recorded over true maximum voluntary contraction


class Goniometer(NamedTuple):
    offset: Value  # rad
    gain: Value  # read over true angle
    noise: Value  # rad, root mean square
    step: Value  # rad, quantisation


class VirtualPerson(NamedTuple):
    height: Value  # m
    mass: Value  # kg
    joint: Any  # Joint, or the Hand of two coordinates
    muscles: Muscles
    control: Control
    electrodes: SimulatedElectrodes
    goniometer: Goniometer


def draw(
    settings: VirtualConfig, wrist: MusculoskeletalModel, index: int, two: tuple[Callable[..., Any], ...] | None = None
) -> VirtualPerson:
    """Draws person number `index`; the others of the cohort, and the strengths of effects, make no difference.

    `two` draws the hand and the muscles of a wrist with two coordinates.

    Between-subject spreads (standard deviation over mean): strength 0.28, segment mass and length 0.10-0.15 (of which
    height and weight explain a part), moment arms 0.10, electrode gain a factor of 2.5.
    """
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index,)))
    vary = settings.variation

    def spread(sd: float, size: int | tuple[int, ...] = ()) -> np.ndarray:
        """A log-normal factor with median one."""
        return np.exp(vary * sd * rng.standard_normal(size))

    def shift(sd: float, size: int | tuple[int, ...] = ()) -> np.ndarray:
        return vary * sd * rng.standard_normal(size)

    tall = 1 + shift(0.05)
    height = float(wrist.body_height) * tall  # m
    mass = float(wrist.body_mass) * tall**2 * spread(0.13)  # kg, the body mass index varies by 13 %
    # what height and weight tell about the wrist, and around it what they do not tell
    likely = scale_to_body(wrist, float(height), float(mass))
    if two is None:
        joint: Any = _joint(settings, likely, spread, shift)
        muscles = _muscles(settings, likely, float(tall), float(mass / wrist.body_mass) ** (2 / 3), spread, shift)
    else:
        joint, muscles = (part(settings, likely, float(tall), spread, shift) for part in two)
    count = len(muscles.strength)
    control = Control(
        share=spread(0.35, count),
        co_contraction=settings.co_contraction * 0.03 * spread(0.4) * spread(0.3, count),
        hurry=0.15 * spread(0.3),
        noise=settings.drive_noise * 0.2 * spread(0.3),
        model_error=spread(0.15, 4),
        lead_s=0.05 * spread(0.15),
        proportional=2.0 * spread(0.2),
        derivative=0.06 * spread(0.2),
        integral=2.0 * spread(0.2),
        lag_s=0.03 * spread(0.15),
    )
    electrodes = _electrodes(settings, tuple(m for m in wrist.muscles if m != UNRECORDED), spread, shift)
    axes = None if two is None else len(wrist.dofs)
    goniometer = Goniometer(
        offset=settings.measurement_noise * np.deg2rad(4.0) * rng.standard_normal(axes),
        gain=np.asarray(1 + settings.measurement_noise * 0.02 * rng.standard_normal(axes)),
        noise=settings.measurement_noise * np.deg2rad(0.15) * spread(0.3),
        step=settings.measurement_noise * np.deg2rad(0.1) * np.ones(()),
    )
    return VirtualPerson(height, mass, joint, muscles, control, electrodes, goniometer)


def _joint(settings: VirtualConfig, likely: MusculoskeletalModel, spread: Draw, shift: Draw) -> Joint:
    hand = body_properties(likely)
    mass = hand.mass[0] * spread(0.10)  # kg
    longer = spread(0.08)
    lever = hand.centre[0, 0] * longer  # m
    about_com = hand.inertia[0, 2, 2] * mass / hand.mass[0] * longer**2  # kg m2
    return Joint(
        mass=mass,
        lever=lever,
        inertia=about_com + mass * lever**2,
        flexion_sign=np.asarray(WRIST["flexion_sign"][0], float),
        damping=float(likely.damping[0]) * spread(0.3),
        stiffness=float(likely.stiffness[0]) * spread(0.3),
        rest_shift=shift(np.deg2rad(6.0)),
        # chosen: a tenth of the hand's largest gravity torque, and ligaments that matter beyond 50 deg
        friction=settings.friction * 0.025 * spread(0.3),
        end_torque=settings.end_stiffness * 0.25 * spread(0.25),
        end_angle=np.deg2rad(60.0) + shift(np.deg2rad(3.0)),
        end_width=np.deg2rad(6.0) * spread(0.15),
    )


def _muscles(
    settings: VirtualConfig,
    likely: MusculoskeletalModel,
    longer: float,
    stronger: float,
    spread: Draw,
    shift: Draw,
) -> Muscles:
    recorded = len(likely.muscles)
    published = np.array(WRIST["length_coefficients"])  # m / rad^power
    # lengths in ascending powers of the angle; palmaris longus has the same in all postures
    length = np.zeros((len(published), recorded + 1, max(published.shape[-1], len(_PL_LENGTH))))  # m / rad^power
    length[:, :recorded, : published.shape[-1]] = longer * published
    length[:, recorded, : len(_PL_LENGTH)] = longer * np.asarray(_PL_LENGTH)

    def with_pl(values: Array, pl: float) -> np.ndarray:
        return np.append(np.asarray(values, float), pl)

    likely_fibre = with_pl(likely.optimal_fibre_length, longer * _PL_FIBRE)  # m
    cosine = np.cos(with_pl(likely.pennation, _PL_PENNATION))
    pl_slack = longer * (_PL_LENGTH[0] - PL_FIBRE_AT_ZERO * _PL_FIBRE)  # m
    likely_slack = with_pl(likely.tendon_slack_length, pl_slack)  # m
    works_at = (length[0, :, 0] - likely_slack) / (likely_fibre * cosine)  # optimal fibre lengths, at zero angle
    # a slack length drawn on its own would put fibres anywhere: what varies is where the fibres work
    works_at += shift(0.06, recorded + 1)
    fibre = likely_fibre * spread(0.08, recorded + 1)  # m
    slack = length[0, :, 0] - works_at * fibre * cosine  # m

    strength = with_pl(likely.max_isometric_force, stronger * _PL_FORCE)  # N
    strength = strength * spread(0.18) * spread(0.2, recorded + 1)  # 0.27 together
    strength[recorded] *= settings.unrecorded_muscle
    arm_factor = spread(0.10, recorded + 1)
    arm_tilt = shift(0.08, recorded + 1)  # 1/rad
    tilt = length[:, :, 1] * arm_factor * arm_tilt / 2  # m/rad^2
    length[:, :, 1:] *= arm_factor[:, None]
    length[:, :, 2] += tilt
    fastest = with_pl(likely.max_contraction_velocity, float(likely.max_contraction_velocity[0]))
    return Muscles(
        strength=strength,
        fibre=fibre,
        slack=slack,
        cosine=cosine,
        fastest=fastest * spread(0.1),
        length=length,
        arm_factor=arm_factor,
        arm_tilt=arm_tilt,
        **draw_contraction(settings, spread),
    )


def draw_contraction(settings: VirtualConfig, spread: Draw) -> dict[str, Any]:
    """How a person's muscles contract, whatever they cross: tendons, memory, and the speed of activation."""
    return {
        "tendon_strain": TENDON_STRAIN * max(settings.elastic_tendon, RIGID) * spread(0.15),
        "memory": settings.force_memory * 0.4 * spread(0.25),
        "memory_s": 1.5 * spread(0.2),
        "rise_s": 0.015 * spread(0.1),
        "fall_s": 0.060 * spread(0.1),
    }


def _electrodes(settings: VirtualConfig, muscles: tuple[str, ...], spread: Draw, shift: Draw) -> SimulatedElectrodes:
    count = len(muscles) + 1
    nonlinear = settings.emg_nonlinearity
    # who lies next to whom around the forearm (De Luca and Merletti 1988: up to 17 % of the neighbour's signal)
    ring = ("ECRL", "ECRB", "ECU", "FCU", UNRECORDED, "FCR")
    share = settings.cross_talk * 0.07 * spread(0.5, (len(muscles), count))
    place = {name: k for k, name in enumerate(ring)}
    cross_talk = np.zeros((len(muscles), count))
    for m, mine in enumerate(muscles):
        for n, other in enumerate((*muscles, UNRECORDED)):
            apart = abs(place[mine] - place[other])
            apart = min(apart, len(ring) - apart)
            cross_talk[m, n] = 1.0 if apart == 0 else min(share[m, n], 0.3 * settings.cross_talk) * (apart == 1)
    return SimulatedElectrodes(
        delay_s=np.clip(0.038 + shift(0.010), 0.020, 0.060),
        gain=np.clip(3.5e-4 * spread(0.4) * spread(0.35, count), 1e-4, 1.2e-3),
        exponent=1 + nonlinear * np.clip(-0.1 + shift(0.12, count), -0.4, 0.3),
        slide=nonlinear * shift(0.15, count),
        cross_talk=cross_talk,
        floor=settings.measurement_noise * 2e-6 * spread(0.4, len(muscles)),
        hum=settings.measurement_noise * 2e-6 * spread(0.6, len(muscles)),
        # maxima are missed rather than exceeded: people do not give everything
        mvc_factor=np.exp(settings.mvc_error * (-0.05 + 0.15 * shift(1.0, len(muscles)))),
    )
