"""The built-in joints as plain numbers: what each constant is, and where it was published.

Polynomials were fitted, with moment arms as further equations, to musculotendon lengths and moment arms sampled with
OpenSim 4.6 from the published models. Slack lengths are not the published ones, see `muscle.calibrate_slack_length`.
"""

import math
from typing import Any

from pitl.mechanics.wrist_two import WRIST_TWO

_DEG = math.pi / 180  # rad

# Strengths, fibre lengths, pennation, paths: Saul et al. 2015 (MoBL-ARMS), doi 10.1080/10255842.2014.916698, after
# Holzbaur et al. 2005, doi 10.1007/s10439-005-3320-7. Elbow at 90 deg, forearm neutral, no deviation. Moment arms agree
# with that model within 0.35 mm (ECU 1.2 mm) over +-70 deg.
WRIST: dict[str, Any] = {
    "name": "wrist",
    "source": "built in, after Saul et al. 2015, doi 10.1080/10255842.2014.916698",
    "bodies": ("hand",),
    "segments": ("hand",),
    "body_sex": "male",
    "dofs": ("wrist_flexion",),
    "muscles": ("FCR", "FCU", "ECRL", "ECRB", "ECU"),
    "postures": ("neutral", "pronated"),
    "length_coefficients": (
        (
            (0.29477144, -0.014831348, -0.0011461046, 0.00010514023, -3.6349297e-05, 0.00014438832, 8.619237e-05),
            (0.29813874, -0.014925037, -0.0014557799, 0.00014406029, -2.2502241e-05, -2.4921659e-05, -2.8956278e-06),
            (0.30895549, 0.0096463139, -0.00080280325, 0.00054767887, -0.00067216658, -8.0765194e-05, 0.00022273389),
            (0.28258297, 0.013267242, -0.001079907, -5.9623382e-05, -3.0460968e-05, 6.5964315e-06, 4.7930949e-06),
            (0.29921417, 0.006546908, -0.0012104033, -0.0012985677, 0.0014143834, -8.4450524e-05, -0.00032027359),
        ),
    )
    * 2,  # m / rad^k, the same in both postures
    "angle_range": ((-70 * _DEG, 70 * _DEG),),  # rad
    "max_isometric_force": (407.9, 479.8, 337.3, 252.5, 192.9),  # N
    "optimal_fibre_length": (0.0628, 0.0509, 0.0810, 0.0585, 0.0622),  # m
    "tendon_slack_length": (0.232302, 0.250321, 0.226000, 0.223912, 0.237351),  # m, calibrated with longest=1.25
    "pennation": (0.0523599, 0.2094395, 0.0, 0.1570796, 0.0698132),  # rad
    "max_contraction_velocity": (10.0,) * 5,  # optimal fibre lengths per s (Zajac 1989)
    "segment_mass": (0.58,),  # kg, hand
    "segment_length": (0.08,),  # m, wrist to knuckles
    "segment_com": (0.049,),  # m
    "segment_inertia": (1.48e-3 - 0.58 * 0.049**2,),  # kg m2; 1.48e-3 about the wrist
    "flexion_sign": (-1.0,),  # forearm points to +x, palm faces down: flexion turns the hand down, clockwise
    "base_orientation": (0.0, 0.0),  # rad
    "gravity": ((0.0, 0.0), (0.0, -9.81)),  # m/s2; neutral: the plane of motion is horizontal
    "gravity_scale": (1.0,),
    # Chosen: near critical damping, and a stiffness that with the muscles' own passive force is of the order that
    # Formica et al. 2012, doi 10.1152/jn.01014.2011, measured in relaxed wrists
    "damping": (0.03,),  # N m s/rad
    "stiffness": (0.3,),  # N m/rad
    "rest_angle": ((0.0,), (0.0,)),  # rad
    "limit_angle": ((-75 * _DEG, 75 * _DEG),),  # rad
    "limit_stiffness": (2.0,),  # N m/rad, chosen
    "angle_offset": (0.0,),  # rad
    "body_height": 1.75,  # m, chosen for this hand
    "body_mass": 75.0,  # kg, chosen for this hand
}

_VASTI = (0.28602609, 0.043181397, 0.006635269, -0.015680846, 0.011270072, -0.0056519165, 0.0012178529)
_BFSH = (0.23794704, -0.020885004, -0.01035708, 0.012383955, -0.018882476, 0.010223097, -0.0016169845)

# Strengths, pennation, paths: Rajagopal et al. 2016, doi 10.1109/TBME.2016.2586891. VAS lumps the three vasti and MH
# semimembranosus and semitendinosus: strengths add up, the other values are means weighted by strength. Hip flexed by
# 85 deg (seated) or 0 (standing). Moment arms agree with that model within 1.8 mm over 0-120 deg.
KNEE: dict[str, Any] = {
    "name": "knee",
    "source": "built in, after Rajagopal et al. 2016, doi 10.1109/TBME.2016.2586891",
    "bodies": ("shank",),
    "segments": ("shank+foot",),
    "body_sex": "male",
    "dofs": ("knee_flexion",),
    "muscles": ("RF", "VAS", "BFLH", "BFSH", "MH"),
    "postures": ("seated", "standing"),
    "length_coefficients": (
        (
            (0.44335434, 0.048143437, 0.0013997347, -0.010976425, 0.014099726, -0.0094055956, 0.0021033014),
            _VASTI,
            (0.49809069, -0.028939839, -0.0038634195, -0.0015054142, -6.0594279e-05, 0.0012699233, -0.00030306179),
            _BFSH,
            (0.49841154, -0.033231385, -0.0072416614, -0.0099143092, 0.010939148, -0.0033942121, 0.00040963042),
        ),
        (
            (0.51206391, 0.047615751, 0.0023468614, -0.011079802, 0.013080457, -0.0087339695, 0.0019829225),
            _VASTI,
            (0.41399727, -0.028986014, -0.0038040129, -0.0014407974, -0.00014264118, 0.0013229499, -0.00031265165),
            _BFSH,
            (0.42051514, -0.033350565, -0.0073786308, -0.0093674333, 0.010392248, -0.0031668955, 0.00037846517),
        ),
    ),  # m / rad^k
    "angle_range": ((0.0, 120 * _DEG),),  # rad
    "max_isometric_force": (2191.74, 9593.95, 1313.18, 557.11, 2792.28),  # N
    # BFSH as published. A rigid tendon would take the published fibres (RF 0.076, VAS 0.099, BFLH 0.098, MH 0.095 m) to
    # 0-2 optimal lengths between standing and sitting; the effective lengths chosen here keep them between 0.45 and 1.2
    "optimal_fibre_length": (0.200, 0.120, 0.210, 0.1103, 0.225),  # m
    "tendon_slack_length": (0.357372, 0.215384, 0.256591, 0.111102, 0.239662),  # m, calibrated with longest=1.15
    "pennation": (0.2170149, 0.2474, 0.1759182, 0.2642232, 0.2517),  # rad
    "max_contraction_velocity": (10.0,) * 5,  # optimal fibre lengths per s
    # Shank and foot of a 75 kg person (Winter 2009, Biomechanics and Motor Control, table 4.1; de Leva 1996,
    # doi 10.1016/0021-9290(95)00178-6)
    "segment_mass": (5.3,),  # kg
    "segment_length": (0.43,),  # m, knee to ankle
    "segment_com": (0.255,),  # m
    "segment_inertia": (0.45 - 5.3 * 0.255**2,),  # kg m2; 0.45 about the knee
    "flexion_sign": (-1.0,),  # the person faces +x: flexion takes the foot back, clockwise
    "base_orientation": (0.0, -90 * _DEG),  # rad, of the straight leg's shank
    "gravity": ((0.0, -9.81), (0.0, -9.81)),  # m/s2
    "gravity_scale": (1.0,),
    # Chosen: a relaxed leg then swings with a period near 1.1 s and loses a third of its amplitude per cycle, as in the
    # pendulum test of healthy adults
    "damping": (0.35,),  # N m s/rad
    "stiffness": (1.0,),  # N m/rad
    "rest_angle": ((80 * _DEG,), (0.0,)),  # rad
    "limit_angle": ((-5 * _DEG, 130 * _DEG),),  # rad
    "limit_stiffness": (20.0,),  # N m/rad, chosen
    "angle_offset": (0.0,),  # rad
    "body_height": 1.70,  # m, of the published model
    "body_mass": 75.0,  # kg, of the published model
}

BUILTIN = {joint["name"]: joint for joint in (WRIST, WRIST_TWO, KNEE)}
