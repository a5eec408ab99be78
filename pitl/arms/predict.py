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
def _each(net: network.Network, params: Any, scale: OutputScale, samples: windows.Samples, rows: Array) -> Any:
    out = network.outputs(params, net, samples, rows, scale)
    return out.angle[0], out.force


@partial(jax.jit, static_argnums=0)
def _along(
    net: network.Network,
    params: Any,
    scale: OutputScale,
    samples: windows.Samples,
    rows: Array,
    cover: windows.Cover,
) -> Any:
    z = network.features_of_rows(params, net, samples, cover, 1)
    out = network.infer(params, net, z, network.context(net, samples, rows, 1), scale)
    return out.angle[0], out.force


# Rows of the stretches that cover the rows asked for, for each of these, up to which sharing convolutions pays.
_SPARSE = 2


def predict(prepared: Prepared, params: Any, scale: OutputScale, rows: tuple[np.ndarray, ...]) -> tuple[Said, ...]:
    """Everyone's own parameters on everyone's own rows; neighbouring windows share their convolutions."""
    longest = max(len(r) for r in rows)
    padded = [np.concatenate([r, np.full(longest - len(r), r[-1])]).astype(np.int32) for r in rows]
    covers = [windows.cover(r) for r in padded]
    most = max(len(c.first) for c in covers)
    dense = most * windows.COVER <= _SPARSE * max(longest, windows.COVER)
    found = []
    for s, (r, wide, cover) in enumerate(zip(rows, padded, covers, strict=True)):
        own_params, own_scale = jax.tree.map(lambda x, s=s: x[s], (params, scale))
        given = (prepared.net, own_params, own_scale, prepared.samples, jnp.asarray(wide))
        if dense:
            first = np.pad(cover.first, (0, most - len(cover.first)), mode="edge")
            angle, force = _along(*given, windows.Cover(jnp.asarray(first), jnp.asarray(cover.place)))
        else:
            angle, force = _each(*given)
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
