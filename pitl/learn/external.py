"""Torque of known loads and dynamometers along a motion: what the outside world adds to the equation of motion."""

import jax
import jax.numpy as jnp
import numpy as np

from pitl.learn import stacked
from pitl.mechanics import loads
from pitl.mechanics.model import MusculoskeletalModel
from pitl.signals.windows import Motion, Table


def torque(table: Table, models: MusculoskeletalModel, motion: Motion | None = None) -> np.ndarray | None:
    """(N, D) torque of loads that were carried and dynamometers that held [N m]; None if there were none.

    Args:
        table: motion of everybody, and the load of each trial.
        models: everyone's mechanics, stacked over subjects.
        motion: along which, of all rows; the measured one if None.

    Raises:
        PitlError: a load is on a body that the model does not have.
    """
    if not any(t.load or t.isometric for t in table.trials):
        return None
    none = np.zeros(table.motion.angle.shape, np.float32)
    result = none if table.dynamometer is None else (-table.dynamometer).astype(np.float32)
    for t in table.trials:
        if t.load is None:
            continue
        rows = slice(t.start, t.stop)
        own = stacked.take(models, t.subject)
        along = (jnp.asarray(x[rows], jnp.float32) for x in motion or table.motion)
        count = t.stop - t.start
        mass, place = jnp.full(count, t.load.mass_kg, jnp.float32), jnp.tile(jnp.asarray(t.load.place_m), (count, 1))
        result[rows] += _torque(own, *along, t.posture, t.load.body, mass, place)
    return result


_torque = jax.jit(loads.weight_torque, static_argnames=("body",))
