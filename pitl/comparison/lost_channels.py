"""What the loss of each EMG channel costs: everybody's own model on their test part, with one channel silent.

Silent is zero in the normalised envelope and its derivatives, as it is for a channel that is missing or dead at use
time, and as training with `train.channel_dropout` had it.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pitl.comparison import evaluate, results
from pitl.config.toml import Config
from pitl.learn import deviation, gaussian_process
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.signals.samples import Samples

FILE = "lost_channels.json"


class Errors(NamedTuple):
    """Errors of one person, with all channels and then without each in turn."""

    angle_rmse_deg: tuple[float, ...]  # (1 + C,)
    force_rmse_n: tuple[float, ...] | None  # (1 + C,) None without force labels


def measure(own: Model, samples: Samples, rows: np.ndarray, *, has_force: bool, length: int | None = None) -> Errors:
    """Errors of one person's model on their rows.

    Args:
        own: the person's model.
        samples: the cohort.
        rows: (W,) at which windows of the person end.
        has_force: whether `samples.force` means anything.
        length: W padded to this; the same for everybody compiles once.
    """
    channels = len(own.channels)
    gains = np.concatenate([np.ones((1, channels)), 1.0 - np.eye(channels)])
    padded = np.concatenate([rows, np.full(max(0, (length or 0) - len(rows)), rows[-1])])
    angle, force = _answers(
        own.net, own.params, own.scale, samples, jnp.asarray(padded, jnp.int32), jnp.asarray(gains, jnp.float32)
    )
    angle, force = (np.asarray(x)[:, : len(rows)] for x in (angle, force))
    if own.deviation is not None:
        source = deviation.read_samples(samples, np.full(len(samples.time), -1))
        known = (own.without_channels(gain == 0).deviation or own.deviation for gain in gains)
        read = (deviation.read_rows(own, source, rows, gain) for gain in gains)
        angle = np.stack([gaussian_process.predict_along(d, r)[0] for d, r in zip(known, read, strict=True)])
    at = jnp.asarray(rows, jnp.int32)
    truth = evaluate.Truth(*(np.asarray(x[at]) for x in (samples.angle, samples.force, samples.torque)))
    unit = np.ones(truth.force.shape[1])  # N
    scores = [
        evaluate.score(truth, evaluate.TestPrediction(q, f if has_force else None, None, None), unit)
        for q, f in zip(angle, force, strict=True)
    ]
    forces = tuple(s.force_rmse_n for s in scores if s.force_rmse_n is not None)
    return Errors(tuple(s.angle_rmse_deg for s in scores), forces or None)


def everyone(out: Path, config: Config, prepared: Prepared, test: tuple[np.ndarray, ...]) -> dict[str, Any] | None:
    """Errors of everybody whose personalised model lies in OUT, for `FILE`; None if there is nobody.

    Models of the first grade of supervision that the configuration asks for; first seed.
    """
    people, longest = prepared.cohort.subjects, max(len(r) for r in test)
    for supervision in config.evaluate.supervision:
        folders = [results.folder_of(out, s.name, supervision) for s in people]
        if not all(f.is_dir() for f in folders):
            continue
        has_force = prepared.force_source != "none"
        result = {
            s.name: measure(Model.load(folder), prepared.samples, rows, has_force=has_force, length=longest)._asdict()
            for s, folder, rows in zip(people, folders, test, strict=True)
        }
        channels = list(people[0].recordings[0].channels)
        dropout = config.train.channel_dropout
        return {"supervision": supervision, "channel_dropout": dropout, "channels": channels, "people": result}
    return None


@partial(jax.jit, static_argnums=0)
def _answers(
    net: network.Network,
    params: Any,
    scale: OutputScale,
    samples: Samples,
    rows: Int[Array, " W"],
    gains: Float[Array, "K C"],
) -> tuple[Float[Array, "K W D"], Float[Array, "K W M"]]:
    """Angles and forces with each set of gains."""

    def one(gain: Array) -> tuple[Array, Array]:
        wide = jnp.broadcast_to(gain[None], (rows.shape[0], gain.shape[0]))
        predicted = network.outputs(params, net, samples, rows, scale, gain=wide)
        return predicted.angle[0], predicted.force

    return jax.lax.map(one, gains)
