"""One generic model of everybody, from more recordings than memory holds.

OUT/recordings.h5   envelopes and labels of all people, written a person at a time
OUT/people/         their musculoskeletal models
OUT/model/          the generic model, for people who are not among them

What is finished is kept: the same command goes on after the last whole part.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import Config
from pitl.config.toml import to_dict
from pitl.data.load import people_one_by_one
from pitl.errors import PitlError
from pitl.files import check_place, load_checkpoint, save_checkpoint
from pitl.learn import generic, loss, stacked, store, train, units
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared, network_of, prepare
from pitl.mechanics import weak
from pitl.mechanics.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.signals.samples import Samples

_SPAN = 1024  # rows of a trial that are read at once; less where trials are shorter
_HELD_ROWS = 100_000  # of the held-out people, in memory for the checks


class PeopleStore(NamedTuple):
    """Everybody's recordings on disk, with what else training needs to know of them."""

    store: store.Store
    names: tuple[str, ...]
    limbs: MusculoskeletalModel  # stacked
    about: dict[str, Any]


def pretrain(config: Config, out: Path, say: Callable[[str], None]) -> Model:
    """Collects what is not collected yet, trains on it and leaves the model in OUT/model.

    Raises:
        PitlError: if there are fewer than two people, OUT holds something made with other settings, or a setting asks
            for what only recordings in memory can give.
    """
    _possible(config)
    if (out / "model").is_dir():
        result = Model.load(out / "model")
        _same(result.history["config"], config, out)
        return result
    for part in ("people", "model"):
        check_place(out / part)
    if (out / "recordings.h5").exists():
        store.open_store(out / "recordings.h5")  # nothing else is replaced
    people = collect(config, out, say)
    made = train_on_store(config, people, say)
    made.save(out / "model")
    return made


def collect(config: Config, out: Path, say: Callable[[str], None]) -> PeopleStore:
    """Everybody's recordings, made first if they are not in OUT."""
    path, beside = out / "recordings.h5", out / "people"
    if not (path.exists() and beside.is_dir()):
        _collect(config, path, beside, say)
    tree, about = load_checkpoint(beside)
    _same(about["config"], config, out)
    return PeopleStore(store.open_store(path), tuple(about["names"]), model_from_dict(about["model"], tree), about)


def _collect(config: Config, path: Path, beside: Path, say: Callable[[str], None]) -> None:
    names: list[str] = []
    own: list[MusculoskeletalModel] = []
    last: Prepared | None = None
    with store.writer(path) as made:
        for one in people_one_by_one(config, say):
            last = prepare(config, one)
            for t in last.table.trials:
                fields = {k: np.asarray(v[t.start : t.stop]) for k, v in last.samples._asdict().items()}
                made.add(f"{one.subjects[0].name}/{t.name}", len(names), fields)
            names.append(one.subjects[0].name)
            own.append(stacked.take(last.limbs, 0))
            say(f"{names[-1]}: {made.rows / config.emg.rate_hz / 3600:.3g} h so far")
        if last is None or len(names) < 2:
            raise PitlError(
                f"{len(names)} usable person(s) found; a generic model needs two: to train on and to stop on."
            )
    static, arrays = model_to_dict(stacked.stack(own))
    about = {
        "names": names,
        "model": static,
        "channels": list(last.cohort.subjects[0].recordings[0].channels),
        "emg_kind": last.cohort.subjects[0].recordings[0].emg_kind,
        "has_force": last.force_source != "none",
        "learns_forces": last.learns_forces,
        "config": to_dict(config),
    }
    save_checkpoint(beside, arrays, about)


def train_on_store(config: Config, people: PeopleStore, say: Callable[[str], None]) -> Model:
    """Trains on blocks of the store; people spread evenly over the list decide when to stop and are not trained on."""
    net = network_of(config, len(people.about["channels"]), people.limbs)
    taps = weak.kernel(config.personalize.weak_kernel_s, config.emg.rate_hz)
    segment = generic.segment_length(config.train, taps)
    count = len(people.names)
    source, held_out = (list(who) for who in train.choose_held_out(count, config.train.holdout_fraction))
    of_sources = [t for t in people.store.trials if t.subject in source]
    means, deviations = zip(
        *(store.moments(people.store, of_sources, f) for f in ("angle", "force", "torque")), strict=True
    )
    strength = np.asarray(people.limbs.max_isometric_force)[source].mean(axis=0)
    spread, scale = units.standard_units(means, deviations, strength, labelled=people.about["has_force"])
    scale = scale if people.about["learns_forces"] else units.without_forces(scale)
    samples, checked = _held(people, held_out, net.window, segment)
    has_force = config.train.force_weight if people.about["has_force"] else 0.0
    weights = loss.LossTerms(*(jnp.float32(w) for w in (1.0, has_force, config.train.physics_weight, 0.0)))
    with_physics = config.train.physics_weight > 0
    longest = max(t.stop - t.start for t in of_sources)
    usable = [n for t in of_sources if (n := t.stop - t.start) >= min(2 * (net.window + segment), longest)]
    drawn = store.blocks(people.store, source, window=net.window, segment=segment, length=min(_SPAN, *usable, longest))
    say(
        f"training on {len(source)} people, {sum(usable) / config.emg.rate_hz / 3600:.3g} h; "
        f"{len(held_out)} decide when to stop"
    )
    try:
        result = generic.fit(
            jax.random.key(0),
            net,
            loss.Problem(samples, people.limbs, spread, scale, weights, taps),
            drawn,
            checked,
            config.train,
            with_physics=with_physics,
            report=lambda step, score: say(f"step {step}: loss of the people held out {score:.3f}"),
        )
    finally:
        drawn.close()
    about = {
        "kind": "physics" if with_physics else "data",
        "trained_on": [people.names[k] for k in source],
        "held_out": [people.names[k] for k in held_out],
        "steps": result.steps,
        "config": to_dict(config),
    }
    one = jax.tree.map(lambda x: x[source[0]], people.limbs)
    return Model(
        params=result.params,
        limb=one,
        scale=scale,
        spread=spread,
        channel_scale=None,
        net=net,
        emg=config.emg,
        personalize=config.personalize,
        angle_lowpass_hz=config.data.angle_lowpass_hz,
        emg_kind=str(people.about["emg_kind"]),
        channels=tuple(people.about["channels"]),
        about=json.dumps(about, default=str),
    )


def _held(people: PeopleStore, held_out: list[int], window: int, segment: int) -> tuple[Samples, np.ndarray]:
    """Rows of the held-out people in memory, of every trial as much of its beginning, and where windows may end."""
    trials = [t for t in people.store.trials if t.subject in held_out]
    most = max(window + segment, _HELD_ROWS // len(trials))
    parts = [(t.start, min(t.stop, t.start + most)) for t in trials if t.stop - t.start >= window + segment]
    if not parts:
        raise PitlError(
            f"no trial of {', '.join(people.names[k] for k in held_out)} is as long as a window; record longer ones."
        )
    samples = jax.tree.map(lambda *x: jnp.concatenate(x), *(store.read(people.store, *p) for p in parts))
    ends, at = [], 0
    for start, stop in parts:
        ends.append(np.arange(at + window - 1, at + stop - start - segment + 1))
        at += stop - start
    return samples, np.concatenate(ends)[:, None] + np.arange(segment)


def _possible(config: Config) -> None:
    for key, usual in (("derivative", "total"), ("hill_weight", 0.0), ("curriculum", 1)):
        if getattr(config.train, key) != usual:
            raise PitlError(
                f"train.{key} = {getattr(config.train, key)} needs all recordings in memory; "
                f"pretrain with train.{key} = {usual}, or use `pitl train`."
            )


def _same(before: dict[str, Any], config: Config, out: Path) -> None:
    """Refuses what was made with other settings."""
    now = json.loads(json.dumps(to_dict(config)))
    for section in ("data", "emg", "normalisation", "model", "window", "net", "train", "virtual"):
        if section in now and before.get(section) != now[section]:
            changed = [k for k, v in now[section].items() if before.get(section, {}).get(k) != v]
            raise PitlError(
                f"{out} was made with another {section}.{changed[0] if changed else '?'}; choose another --out, "
                "or delete it."
            )
