"""Force plates of a C3D file: forces and moments on the plate in the laboratory's axes, and their centre.

Kinds of plates: https://www.c3d.org/HTML/Documents/forceplatformtype.htm
"""

import numpy as np

from pitl.data.formats.c3d_parameters import C3dParameters
from pitl.data.formats.signals import Stream, known_unit
from pitl.errors import PitlError

_COLUMNS = ("Fx", "Fy", "Fz", "Mx", "My", "Mz", "px", "py", "pz")
_CHANNELS = {1: 6, 2: 6, 3: 8, 4: 6}


def plates(p: C3dParameters, analog: Stream) -> list[Stream]:
    """Streams `plate1`, ... in the units of their channels.

    Raises:
        PitlError: if a plate is of another kind than 1 to 4 or names channels that are not there.
    """
    out = []
    for k in range(int(p.number("FORCE_PLATFORM", "USED"))):
        kind = int(p.numbers("FORCE_PLATFORM", "TYPE")[k])
        if kind not in _CHANNELS:
            raise PitlError(f"plate {k + 1} is of kind {kind}, which is not known")
        channels = p.array("FORCE_PLATFORM", "CHANNEL")[: _CHANNELS[kind], k].astype(int) - 1
        if channels.min() < 0 or channels.max() >= analog.values.shape[1]:
            raise PitlError(f"plate {k + 1} names channels that are not there")
        signals = analog.values[:, channels]
        if kind == 4:
            signals = signals @ p.array("FORCE_PLATFORM", "CAL_MATRIX")[:, :, k].T
        corners = p.array("FORCE_PLATFORM", "CORNERS")[:, :, k].T  # (4, 3)
        origin = p.array("FORCE_PLATFORM", "ORIGIN")[:, k]
        force, moment = _at_surface(kind, signals, origin)
        axes, centre = _axes(corners), corners.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = -moment[:, 1] / force[:, 2], moment[:, 0] / force[:, 2]
        place = np.stack([x, y, np.zeros(len(x))], axis=1) @ axes.T + centre
        values = np.concatenate([force @ axes.T, moment @ axes.T, place], axis=1)
        newton, metre = known_unit(analog.units[channels[0]]), known_unit(p.text("POINT", "UNITS"))
        turn = known_unit(analog.units[channels[-1]]) if kind in (2, 4) else f"{newton} {metre}".strip()
        units = (newton,) * 3 + (turn,) * 3 + (metre,) * 3
        out.append(Stream(f"plate{k + 1}", _COLUMNS, units, values, analog.time_s, analog.rate_hz))
    return out


def _at_surface(kind: int, s: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) force, and moment about the middle of the surface, in the plate's axes."""
    if kind == 1:  # Fx Fy Fz, centre x y, free moment
        force = s[:, :3]
        arm = np.stack([s[:, 3], s[:, 4], np.zeros(len(s))], axis=1)
        return force, np.cross(arm, force) + s[:, 5:] * [0.0, 0.0, 1.0]
    below = -abs(origin[2])  # from the sensors to the surface, along an axis that points down
    if kind == 3:  # Fx12 Fx34 Fy14 Fy23 Fz1 Fz2 Fz3 Fz4
        x12, x34, y14, y23, z1, z2, z3, z4 = s.T
        a, b = abs(origin[0]), abs(origin[1])
        force = np.stack([x12 + x34, y14 + y23, z1 + z2 + z3 + z4], axis=1)
        turn = [b * (z1 + z2 - z3 - z4), a * (z2 + z3 - z1 - z4), b * (x34 - x12) + a * (y14 - y23)]
        return force, np.stack(turn, axis=1) + np.cross(force, [0.0, 0.0, below])
    force = s[:, :3]
    return force, s[:, 3:6] + np.cross(force, [origin[0], origin[1], below])


def _axes(corners: np.ndarray) -> np.ndarray:
    """(3, 3) the plate's axes as columns: x from corner 2 to 1, y from corner 4 to 1."""
    x = corners[0] - corners[1]
    z = np.cross(x, corners[0] - corners[3])
    out = np.stack([x, np.cross(z, x), z], axis=1)
    length = np.linalg.norm(out, axis=0)
    if not np.isfinite(length).all() or length.min() <= 0:
        raise PitlError("the corners of a plate do not span a plane")
    return out / length
