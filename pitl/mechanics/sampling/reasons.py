"""Why smooth functions cannot follow a muscle's path."""

import numpy as np

from pitl.mechanics.sampling.sampler import Sampler


def why(sampler: Sampler, muscle: str, pose: np.ndarray, axis: int) -> str:
    """Why splines cannot follow a path near a pose: its length jumps there, or bends, or does not give its arm."""
    width = np.deg2rad(3.0)
    line = np.linspace(pose[axis] - width, pose[axis] + width, 241)
    c = sampler.coordinates[axis]
    line = line[(line >= c.low) & (line <= c.high)]
    lengths, arms = [], []
    for value in line:
        q = pose.copy()
        q[axis] = value
        sampler.pose(q)
        lengths.append(sampler.lengths([muscle])[0])
        arms.append(sampler.arms(muscle, [axis])[0])
    what = sampler.muscle(muscle).geometry or "has fixed points only"
    if not np.all(np.isfinite(lengths + arms)):
        where = np.rad2deg(line[np.argmin(np.isfinite(np.add(lengths, arms)))])
        return f"{sampler.program} gives no number for it at {c.name} = {where:.1f} deg (its path {what})"
    steps, kinks = np.abs(np.diff(lengths)), np.abs(np.diff(arms))
    typical = np.median(steps)
    if steps.max() > 10 * typical + 2e-5:
        where = np.rad2deg(line[np.argmax(steps)])
        return f"its length jumps by {1e3 * steps.max():.2f} mm at {c.name} = {where:.1f} deg (its path {what})"
    if kinks.max() > 3e-4:
        where = np.rad2deg(line[np.argmax(kinks)])
        return f"its moment arm jumps by {1e3 * kinks.max():.2f} mm at {c.name} = {where:.1f} deg (its path {what})"
    slope = -np.gradient(lengths, line)
    apart = np.abs(slope - arms)[1:-1].max()
    if apart > 3e-4:
        return (
            f"the moment arm of {sampler.program} differs by {1e3 * apart:.2f} mm from the derivative of its length "
            f"(its path {what})"
        )
    return f"its moment arm changes too sharply near {c.name} = {np.rad2deg(pose[axis]):.1f} deg (its path {what})"
