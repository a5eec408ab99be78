"""Source people played as new: what a person's deviation from the generic model looks like, from other people alone.

Each source person is calibrated on the first part of every recording, little and much, with the EMG scale of that part,
by a generic model in whose training they were left out; their later rows say which hyper-parameters of
`pitl.learn.gaussian_process` are likely.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.config.schema import TrainConfig
from pitl.config.toml import change
from pitl.errors import PitlError
from pitl.files import one_lapack_thread
from pitl.learn import devices, stacked, train
from pitl.learn import gaussian_process as gp
from pitl.learn.deviation import Envelopes, read_rows, read_samples
from pitl.learn.gaussian_process import Played, Units
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared
from pitl.signals import windows

FEWEST_PEOPLE = 4  # of whom hyper-parameters can be learned
_GROUPS = 3  # of source people, each left out of one generic model
_MOST_STEPS = 300  # of those models' training: they are as good as after more
_SEEN, _LATER = 120, 80  # rows of each person that are played


def learn_prior(prepared: Prepared, models: Mapping[int, Model]) -> gp.AnglePrior:
    """What some people say of how a new one deviates from a generic model; arguments as of `play_sources`."""
    units, played = play_sources(prepared, models)
    with one_lapack_thread():  # around both threads: what one of them lifts would be lifted for the other
        hyper = devices.together([partial(gp.fit_hyper, units, played, without) for without in gp.PROCESSES])
    return gp.AnglePrior(tuple(hyper), units)


def train_without_each(
    prepared: Prepared, people: tuple[int, ...], settings: TrainConfig, key: Array
) -> dict[int, Model]:
    """For each of some people a generic model of the others in which they had no part, in few trainings."""
    models = {}
    for j in range(min(_GROUPS, len(people))):
        group = people[j::_GROUPS]
        others = tuple(p for p in people if p not in group)
        model = train_quickly(prepared, others, settings, jax.random.fold_in(key, j))
        models |= dict.fromkeys(group, model)
    return models


def train_quickly(prepared: Prepared, people: tuple[int, ...], settings: TrainConfig, key: Array) -> Model:
    """A generic model of some people on data alone, with the EMG scale of all that they recorded."""
    quick = change(settings, steps=min(_MOST_STEPS, settings.steps), patience=0)
    return train.train_generic(with_whole_scale(prepared, people), people, (), quick, key, with_physics=False)[0]


def trials(prepared: Prepared) -> np.ndarray:
    """(N,) number of each row's recording."""
    number = np.zeros(len(prepared.table.subject), np.int32)
    for k, t in enumerate(prepared.table.trials):
        number[t.start : t.stop] = k
    return number


def play_sources(prepared: Prepared, models: Mapping[int, Model]) -> tuple[Units, Played]:
    """Units, and some people each played as new at every amount of calibration.

    Args:
        prepared: cohort and samples.
        models: for each of the source people, by number, a generic model in which they had no part.

    Raises:
        PitlError: nobody's recordings are long enough.
    """
    people = tuple(sorted(models))
    prepared = with_whole_scale(prepared, people)
    source, window = read_samples(prepared.samples, trials(prepared)), prepared.net.window
    volts = {a: windows.scales_at(prepared.table, prepared.emg, people, a) for a in windows.AMOUNTS}
    played, whole = [], []
    for person in people:
        model = models[person]
        each = (_play(prepared, source, model, person, (a, volts[a][person])) for a in windows.AMOUNTS)
        played += [p for p in each if p is not None]
        ends = gp.thin(windows.rows_of(prepared.table, "all", subjects=(person,), window=window))
        whole.append(read_rows(model, source, ends))
    if not played:
        raise PitlError("the source people's recordings are too short to be played as new; record for longer.")
    angle = prepared.table.motion.angle[windows.rows_of(prepared.table, "all", subjects=people, window=window)]
    return gp.units(angle, whole), stacked.stack(played)


def with_whole_scale(prepared: Prepared, people: tuple[int, ...]) -> Prepared:
    """The cohort with the EMG scale of some people from all that they recorded, which a source person may use."""
    table = prepared.table
    jets, scales = np.array(table.jets), list(table.scales)
    for p in people:
        volts = windows.scale_at(table, prepared.emg, p, 1.0)
        rows = table.subject == p
        jets[rows] *= scales[p].volts / volts
        scales[p] = scales[p].replace(volts=volts)
    samples = prepared.samples._replace(jets=jnp.asarray(jets, jnp.float32))
    return prepared._replace(table=table._replace(jets=jets, scales=tuple(scales)), samples=samples)


def _play(
    prepared: Prepared, source: Envelopes, model: Model, person: int, calibration: tuple[float, np.ndarray]
) -> Played | None:
    """One person, calibrated on a first part of every recording; None where that leaves nothing to judge.

    `calibration` is that part, and the EMG scale (C,) [V] that is known from it.
    """
    (amount, volts), table, window = calibration, prepared.table, prepared.net.window
    ends = windows.rows_of(table, "all", subjects=(person,), window=window)
    first, last = np.zeros(len(ends), bool), np.zeros(len(ends), bool)
    for t in table.trials:
        stop = t.start + max(2 * window, round(amount * (t.stop - t.start)))
        first |= (ends >= t.start) & (ends < stop)
        last |= (ends >= stop + window) & (ends < t.stop)
    if not (first.any() and last.any()):
        return None
    gain = table.scales[person].volts / volts
    halves = []
    for part, most in ((first, _SEEN), (last, _LATER)):
        some = gp.thin(ends[part], most)
        halves += gp.pad(read_rows(model, source, some, gain), table.motion.angle[some], most)
    return Played(*halves)
