"""The wrist with two coordinates, as plain numbers: what each constant is, and where it was published.

Lengths are polynomials of flexion and deviation, fitted to musculotendon lengths and both moment arms that OpenSim 4.6
computes for the wrist model of Gonzalez et al. 1997, doi 10.1016/S0021-9290(97)00015-8, with the elbow at 90 deg and
the forearm neutral (70 deg either way; 20 deg radial to 30 deg ulnar). Of 60 deg flexion either way and 10 deg radial
to 25 deg ulnar they are within 0.1 mm in length and moment arms, but for paths that gain a point at some flexion, where
OpenSim's lengths jump: FCU (0.5 mm in length, 1.9 mm in moment arm), PL (0.2 mm, 1.0 mm). Without any deviation
OpenSim's ECRL leaves its wrapping surface (4 mm); the polynomial stays on it.
"""

import math
from typing import Any

_DEG = math.pi / 180  # rad
# (flexion, deviation), every pair up to a sum of six
_POWERS = tuple((i, j) for i in range(7) for j in range(7 - i))
# fmt: off
_LENGTHS = (  # m / rad^(i + j), in the order of _POWERS
    (  # FCR
        0.284551, 0.00715605, -0.00136696, -0.000317668, 4.71493e-05, 1.77728e-05, -1.7588e-06,
        -0.0154641, -0.000928682, 0.00114068, 4.35841e-05, -7.82542e-05, 2.70613e-05, -0.00116702,
        -0.0011289, 0.000705917, -9.54011e-05, -7.39715e-05, 0.000695747, -0.000270985, 0.000488191,
        -8.38241e-05, 5.79101e-05, -0.000236156, 0.000235025, 3.38387e-05, -0.000100103, 1.53203e-05,
    ),
    (  # FCU
        0.287828, -0.0172956, -0.000850596, 0.00299641, -0.00100608, -0.00167365, 0.00223951,
        -0.0141253, 0.000569711, -0.00237329, -0.000521569, 0.000365351, -0.000363224, -0.00135403,
        0.00343612, 0.00310239, -0.000699719, 0.00108653, -0.000100074, -0.000642544, 0.00189383,
        0.000745598, -0.000324972, -0.000789084, -0.000787407, 1.37457e-05, 0.000146637, 0.000114338,
    ),
    (  # PL
        0.305733, 0.00229877, -0.00161973, -5.02852e-05, 6.88006e-07, -0.000164617, 0.000156322,
        -0.0212284, 0.000135584, -0.000678756, 0.000148629, 5.19938e-05, -0.000217598, -0.00133333,
        3.21464e-05, -0.00175476, -8.54148e-05, 4.46598e-05, 0.00081093, 3.24713e-05, 0.000747441,
        -0.00012602, -0.000668581, 1.4481e-05, 0.0012524, -0.000189235, 5.81153e-05, 7.9864e-05,
    ),
    (  # ECRL
        0.29799, 0.0215238, -0.00316825, -0.00121716, 0.000216607, -8.39623e-05, 3.42846e-05,
        0.00837235, -0.000114058, -0.000932312, 0.000257959, -0.000154233, 6.98154e-05, -0.00303288,
        -0.000635019, 0.000488274, -0.000167126, 9.08985e-05, -0.000470595, -4.23862e-05, 3.33986e-06,
        3.9716e-05, 8.82574e-05, 3.34497e-06, -3.41912e-06, -6.7391e-10, 5.35947e-06, 3.27127e-07,
    ),
    (  # ECRB
        0.27844, 0.0138977, -0.00103974, -0.000556993, 3.59144e-05, -0.000107008, 3.2634e-05,
        0.0162762, -0.000347487, -0.000158424, -0.000235556, -0.000351636, 0.000175454, -0.00122872,
        -0.000834437, 0.000275921, -0.000697355, 0.000402337, -0.000689746, 0.000139799, -0.000863454,
        0.000656205, 5.00693e-05, -0.000372252, 0.000506672, -6.87903e-05, 0.000183577, 3.21677e-05,
    ),
    (  # ECU
        0.287255, -0.0246375, -0.000753207, 0.000562419, 0.000144876, 0.000163359, 0.000168663,
        0.00595396, 0.000509432, -2.34205e-05, 8.68942e-05, -4.2341e-05, -0.000113382, -0.000879311,
        0.000219041, 0.000227725, 0.000153966, 0.000161952, -0.000122058, 3.89952e-05, -1.29709e-05,
        -6.35471e-05, 1.82142e-05, -1.62036e-06, 8.49433e-06, -3.0678e-06, -3.16832e-06, 8.26709e-07,
    ),
)
# fmt: on

# A hand is widest across and thinnest through the palm: radii of gyration about its three axes, of a man's hand in
# fractions of its length (de Leva 1996, doi 10.1016/0021-9290(95)00178-6, table 4)
_ALONG, _ACROSS, _THROUGH = 0.401, 0.513, 0.628
_ABOUT_FLEXION = 1.48e-3 - 0.58 * 0.049**2  # kg m2, about the centre of mass, of the wrist with one coordinate

# Strengths, fibre lengths, pennation: Saul et al. 2015 (MoBL-ARMS), doi 10.1080/10255842.2014.916698, after Holzbaur et
# al. 2005, doi 10.1007/s10439-005-3320-7, as in the wrist with one coordinate
WRIST_TWO: dict[str, Any] = {
    "name": "wrist2",
    "source": "built in, paths after Gonzalez et al. 1997, muscles after Saul et al. 2015",
    "bodies": ("hand",),
    "segments": ("hand",),
    "body_sex": "male",
    "dofs": ("wrist_flexion", "wrist_deviation"),  # deviation is positive to the ulnar side
    "muscles": ("FCR", "FCU", "PL", "ECRL", "ECRB", "ECU"),
    "postures": ("neutral", "pronated"),
    "length_powers": _POWERS,
    "length_coefficients": (_LENGTHS,) * 2,  # the same in both postures
    "angle_range": ((-70 * _DEG, 70 * _DEG), (-20 * _DEG, 30 * _DEG)),  # rad
    "max_isometric_force": (407.9, 479.8, 101.0, 337.3, 252.5, 192.9),  # N
    "optimal_fibre_length": (0.0628, 0.0509, 0.0638, 0.0810, 0.0585, 0.0622),  # m
    "tendon_slack_length": (
        0.224987,
        0.244214,
        0.248233,
        0.213825,
        0.228077,
        0.223445,
    ),  # m, calibrated, longest=1.25
    "pennation": (0.0523599, 0.2094395, 0.0698132, 0.0, 0.1570796, 0.0698132),  # rad
    "max_contraction_velocity": (10.0,) * 6,  # optimal fibre lengths per s (Zajac 1989)
    "segment_mass": 0.58,  # kg, hand
    "segment_com": 0.049,  # m, wrist to centre of mass
    "segment_inertia": tuple(_ABOUT_FLEXION * (r / _ACROSS) ** 2 for r in (_ALONG, _THROUGH, _ACROSS)),  # kg m2
    # right hand, fingers to +x, palm to -y, thumb to -z
    "gravity": ((0.0, 0.0, 9.81), (0.0, -9.81, 0.0)),  # m/s2; neutral: the thumb is up
    "gravity_scale": (1.0,),
    # Chosen as for one coordinate; deviation about twice as stiff as flexion, as Formica et al. 2012,
    # doi 10.1152/jn.01014.2011, measured in relaxed wrists
    "damping": (0.03, 0.04),  # N m s/rad
    "stiffness": (0.3, 0.6),  # N m/rad
    "rest_angle": ((0.0, 0.0), (0.0, 0.0)),  # rad
    "limit_angle": ((-75 * _DEG, 75 * _DEG), (-20 * _DEG, 30 * _DEG)),  # rad
    "limit_stiffness": (2.0, 4.0),  # N m/rad, chosen
    "angle_offset": (0.0, 0.0),  # rad
    "body_height": 1.75,  # m, chosen for this hand
    "body_mass": 75.0,  # kg, chosen for this hand
}
