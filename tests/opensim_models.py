"""OpenSim models that tests make themselves."""

import re
from pathlib import Path

import numpy as np

SOMETIMES = """<ConditionalPathPoint name="sometimes">
<socket_parent_frame>/bodyset/upper</socket_parent_frame>
<location>-0.06 -0.25 0</location>
<socket_coordinate>/jointset/elbow_joint/elbow</socket_coordinate>
<range>1.0471975512 2.2</range>
</ConditionalPathPoint>
"""


def two_links(folder: Path, *, jumps: bool = False, massless: bool = False, off: tuple[str, ...] = ()) -> Path:
    """A hanging arm of two links with a muscle across each way of crossing joints, one of them around a cylinder.

    Args:
        folder: where to write it.
        jumps: adds a muscle whose path gains a point at 60 degrees, and its length 5 mm with it.
        massless: leaves the bodies without mass.
        off: muscles that are switched off.
    """
    import opensim as osim

    model = osim.Model()
    model.setName("two_links")
    mass = 1e-12 if massless else 1.0
    upper = osim.Body(
        "upper",
        2.0 * mass,
        osim.Vec3(0.02, -0.14, 0),
        osim.Inertia(0.02 * mass, 0.003 * mass, 0.021 * mass, 0.001 * mass, 0, 0),
    )
    lower = osim.Body(
        "lower", 1.2 * mass, osim.Vec3(0, -0.12, 0.01), osim.Inertia(0.01 * mass, 0.001 * mass, 0.011 * mass, 0, 0, 0)
    )
    for body in (upper, lower):
        model.addBody(body)
    zero = osim.Vec3(0)
    shoulder = osim.PinJoint("shoulder_joint", model.getGround(), osim.Vec3(0.05, 1.2, 0), zero, upper, zero, zero)
    elbow = osim.PinJoint("elbow_joint", upper, osim.Vec3(0, -0.3, 0), zero, lower, zero, zero)
    for joint, name, low, high in ((shoulder, "shoulder", -60, 90), (elbow, "elbow", 0, 120)):
        c = joint.updCoordinate()
        c.setName(name)
        c.setRangeMin(np.deg2rad(low))
        c.setRangeMax(np.deg2rad(high))
        model.addJoint(joint)
    wrap = osim.WrapCylinder()
    wrap.setName("elbow_cylinder")
    wrap.set_radius(0.02)
    wrap.set_length(0.2)
    wrap.set_translation(osim.Vec3(0, -0.3, 0))
    wrap.set_quadrant("+x")
    upper.addWrapObject(wrap)

    def muscle(name: str, points: list) -> osim.Millard2012EquilibriumMuscle:
        m = osim.Millard2012EquilibriumMuscle(name, 600.0, 0.1, 0.15, 0.1)
        for k, (body, place) in enumerate(points):
            m.addNewPathPoint(f"{name}{k}", body, osim.Vec3(*place))
        m.set_appliesForce(name not in off)
        model.addForce(m)
        return m

    ground = model.getGround()
    muscle("monoarticular", [(ground, (0.09, 1.15, 0)), (upper, (0.02, -0.15, 0))])
    muscle("biarticular", [(ground, (0.08, 1.18, 0)), (upper, (0.03, -0.2, 0)), (lower, (0.02, -0.05, 0))])
    around = muscle("wrapping", [(upper, (0.03, -0.05, 0)), (lower, (0.025, -0.12, 0))])
    around.updGeometryPath().addPathWrap(wrap)
    if jumps:
        muscle("jumping", [(upper, (-0.03, -0.1, 0)), (lower, (-0.02, -0.06, 0))])
    model.finalizeConnections()
    path = folder / "two_links.osim"
    model.printToXML(str(path))
    if jumps:
        first, then = re.split(r'(?=<PathPoint name="jumping1">)', path.read_text())
        path.write_text(first + SOMETIMES + then)
    return path
