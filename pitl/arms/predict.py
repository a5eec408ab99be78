"""What parameters say on rows, and what their forces do to the joint there."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl import windows
from pitl.arms.task import Said
from pitl.msk import dynamics, weak
from pitl.msk.model import MusculoskeletalModel
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.prepare import Prepared


@partial(jax.jit, static_argnums=0)
def _predict(net: network.Network, params: Any, scale: OutputScale, samples: windows.Samples, rows: Array) -> Any:
    out = network.outputs(params, net, samples, rows, scale)
    return out.angle[0], out.force


def predict(prepared: Prepared, params: Any, scale: OutputScale, rows: tuple[np.ndarray, ...]) -> tuple[Said, ...]:
    """Everyone's own parameters on everyone's own rows."""
    longest = max(len(r) for r in rows)
    found = []
    for s, r in enumerate(rows):
        padded = jnp.asarray(np.concatenate([r, np.full(longest - len(r), r[-1])]), jnp.int32)
        own_params, own_scale = jax.tree.map(lambda x, s=s: x[s], (params, scale))
        angle, force = _predict(prepared.net, own_params, own_scale, prepared.samples, padded)
        found.append(Said(np.asarray(angle)[: len(r)], np.asarray(force)[: len(r)]))
    return tuple(found)


@jax.jit
def _mechanics(model: MusculoskeletalModel, q: Array, force: Array, posture: Array, kernel: weak.Kernel) -> Any:
    return (
        dynamics.muscle_torque(model, q, force, posture),
        weak.weak_residual(model, q, force, posture, kernel),
    )


def mechanics(
    prepared: Prepared, subject: int, rows: np.ndarray, said: Said, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """What an arm's forces do at its angles, under the person's model.

    Args:
        prepared: physics and rows.
        subject: whose model.
        rows: (W,) rows.
        said: angles and forces there.
        length: rows are padded to it, so that everybody's answers run through one compiled function.

    Returns:
        Muscle torque (W, D) [N m], and the weak residual (W - K + 1, D) [N m], NaN where its kernel does not fit.
    """
    model = jax.tree.map(lambda x: x[subject], prepared.models)
    kernel = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
    wide = np.concatenate([np.arange(len(rows)), np.full(length - len(rows), len(rows) - 1)])
    assert said.force is not None
    posture = prepared.samples.posture[jnp.asarray(rows[wide])]
    angle, force = jnp.asarray(said.angle[wide], jnp.float32), jnp.asarray(said.force[wide], jnp.float32)
    torque, residual = _mechanics(model, angle, force, posture, kernel)
    taps = len(prepared.taps.average)
    fits = windows.contiguous(rows, prepared.table, taps)
    return np.asarray(torque)[: len(rows)], np.where(
        fits[:, None], np.asarray(residual)[: len(rows) - taps + 1], np.nan
    )
