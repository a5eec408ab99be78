"""What the Gaussian process reads of a generic model and of recordings, and people's deviations fitted and used."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.learn import gaussian_process as gp
from pitl.learn import stacked
from pitl.learn.gaussian_process import Deviation, Rows
from pitl.learn.model import Model
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.signals.samples import Samples

_AT_ONCE, _FEW = 1024, 128  # windows in one compiled program
_ROWS_WITHOUT = 200  # of a person, for each channel that may be lost


class Envelopes(NamedTuple):
    """Envelopes of any recordings, on the host."""

    envelope: np.ndarray  # (N, C) normalised
    posture: np.ndarray  # (N,) index
    trial: np.ndarray  # (N,) number of the recording; none of the calibration if negative
    time: np.ndarray  # (N,) s


def inherited(model: Model) -> dict[str, Any]:
    """The parameters of the generic model that a model is, or from which it came."""
    return model.params if model.generic is None else model.generic


def prior_of(model: Model) -> gp.AnglePrior | None:
    """What is known of a person before they have shown anything, of a generic model or of a person's."""
    known = model.deviation
    return model.angle_prior if known is None else gp.AnglePrior(known.hyper, known.units)


def read_samples(samples: Samples, trial: np.ndarray) -> Envelopes:
    """The envelopes of a cohort, or of one recording, that is on the device."""
    return Envelopes(np.asarray(samples.jets)[:, 0], np.asarray(samples.posture), trial, np.asarray(samples.time))


def read_rows(model: Model, source: Envelopes, ends: np.ndarray, gain: np.ndarray | float = 1.0) -> Rows:
    """What the Gaussian process reads at the rows `ends` (W,), at each of which a whole window ends.

    Args:
        model: a generic model, or a personal one that knows from which it came.
        source: rows of anybody.
        ends: any rows.
        gain: (C,) multiplies the envelopes.
    """
    params, parts = inherited(model), []
    wide = _AT_ONCE if len(ends) > _FEW else _FEW  # few shapes, few compiled programs
    for first in range(0, len(ends), wide):
        at = ends[np.minimum(np.arange(first, first + wide), len(ends) - 1)]
        seen = source.envelope[at[:, None] + np.arange(1 - model.net.window, 1)] * gain
        given = seen.astype(np.float32), source.posture[at].astype(np.int32), source.time[at].astype(np.float32)
        parts.append([np.asarray(x) for x in _read(model.net, params, model.scale, *given)])
    # on the host: every number of rows would be a program
    generic, inputs, features = (np.concatenate(x)[: len(ends)] for x in zip(*parts, strict=True))
    posture, trial = (x[ends].astype(np.int32) for x in (source.posture, source.trial))
    time = source.time[ends].astype(np.float32)
    put = jax.device_put
    used = put(np.ones(len(ends), np.float32))
    return Rows(put(generic), put(inputs), put(features), put(posture), put(trial), put(time), used)


@partial(jax.jit, static_argnums=0)
def _read(net: network.Network, params: Any, scale: OutputScale, seen: Array, posture: Array, time: Array) -> Any:
    """Angle, lagged log-envelopes and features of windows (W, L, C)."""
    z = network.encode(params, net, seen[None])
    context = Samples(seen, seen, seen, seen, posture, posture, time)  # which reads posture and time alone
    out = network.infer(params, net, z, network.context(net, context, jnp.arange(len(seen)), 1), scale)
    return out.angle[0], gp.lagged_inputs(seen), z[0]


def fit_person(model: Model, prior: gp.AnglePrior, source: Envelopes, rows: np.ndarray, angle: np.ndarray) -> Deviation:
    """One person's deviation from a generic model.

    Args:
        model: generic.
        prior: of other people.
        source: whose rows.
        rows: (W,) with labels.
        angle: (N, D) measured along the source [rad].
    """
    some = gp.thin(rows)
    return gp.fit(prior.hyper, prior.units, *gp.pad(read_rows(model, source, some), angle[some]))


def fit_without_each(
    model: Model, prior: gp.AnglePrior, source: Envelopes, rows: np.ndarray, angle: np.ndarray
) -> Deviation:
    """The same as if each channel in turn had never been there, stacked over channels: for the one that is lost.

    What the generic model makes of a silent channel is wrong in a way that the person's calibration shows.
    """
    some, channels = gp.thin(rows, _ROWS_WITHOUT), source.envelope.shape[1]
    fits = []
    for gain in 1.0 - np.eye(channels):
        seen = gp.pad(read_rows(model, source, some, gain), angle[some], _ROWS_WITHOUT)
        fits.append(gp.fit(prior.hyper, prior.units, *seen))
    return stacked.stack(fits)


def fit_people(start: Model, samples: Samples, trial: np.ndarray, rows: list[np.ndarray]) -> dict[str, Any]:
    """What personal models, stacked, have beside their forces: each person's deviation from the generic model.

    Args:
        start: a generic model with a prior, or a person's that has a deviation.
        samples: rows of everybody.
        trial: (N,) number of the recording of each.
        rows: everyone's rows with labels.
    """
    source, angle, prior = read_samples(samples, trial), np.asarray(samples.angle), prior_of(start)
    assert prior is not None
    people = [fit_person(start, prior, source, r, angle) for r in rows]
    without = [fit_without_each(start, prior, source, r, angle) for r in rows]
    generic = stacked.repeat(inherited(start), len(rows))
    return {"deviation": stacked.stack(people), "deviation_without": stacked.stack(without), "generic": generic}


def predict_angle(model: Model, samples: Samples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle and its standard deviation (W, D) [rad] of one personal model, on recordings that it was not fitted to."""
    assert model.deviation is not None
    source = read_samples(samples, np.full(len(samples.time), -1))
    return gp.predict_along(model.deviation, read_rows(model, source, rows))
