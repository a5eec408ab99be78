"""The dense encoder over a recording against the encoder on every window."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from benchmarks.row import Row
from pitl.net import network
from pitl.signals import samples

_ROWS = 12_000  # two minutes at 100 Hz


def along() -> Iterator[Row]:
    """Features with velocity and acceleration at every row of a recording."""
    for name, net in (("default", problem.DEFAULT), ("large", problem.LARGE)):
        task = problem.training(net)
        params = network.init(jax.random.key(0), net, task.scale)
        rows = np.arange(net.window, net.window + _ROWS)
        cover = jax.tree.map(jnp.asarray, samples.cover(rows))
        # in pieces of the same size on both sides: all windows of a recording at once would leave the caches
        pieces = jnp.asarray(rows.reshape(-1, 250), jnp.int32)

        @jax.jit
        def windowed(params, samples, pieces, net=net):
            return jax.lax.map(lambda r: network.features(params, net, samples, r, 3), pieces)

        @jax.jit
        def dense(params, samples, cover, net=net):
            return network.features_along(params, net, samples, cover.first, 3)

        each = np.moveaxis(np.asarray(windowed(params, task.samples, pieces)), 1, 0).reshape(3, _ROWS, -1)
        flat = np.asarray(dense(params, task.samples, cover)).reshape(3, -1, net.features)[:, cover.place]
        error = float(np.abs(flat - each).max() / np.abs(each).max())
        times = measure.interleaved(
            {
                "dense": lambda p=params, s=task.samples, c=cover, f=dense: f(p, s, c),
                "windowed": lambda p=params, s=task.samples, r=pieces, f=windowed: f(p, s, r),
            }
        )
        faster = measure.ratio(times["windowed"], times["dense"])
        memory = [measure.program_bytes(f.lower(params, task.samples, a).compile()) for f, a in ((dense, cover),)]
        yield Row(
            "dense_encoder" if name == "default" else "dense_encoder_large",
            f"encoder with velocity and acceleration over {_ROWS} rows, {name} network",
            times["dense"].median * 1e3,
            "ms",
            times["windowed"].median * 1e3,
            "every window by itself",
            faster,
            "ratio >= 5" if name == "default" else "",
            faster >= 5 and error < 1e-4 if name == "default" else None,
            f"largest difference {error:.1e} of the largest feature",
            memory_bytes=memory[0],
            compile_s=times["dense"].first,
            times={k: t.summary() for k, t in times.items()},
        )


BENCHMARKS = {"encoder": along}
