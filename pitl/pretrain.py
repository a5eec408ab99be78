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

from pitl import bundle, checkpoint, generic, loss, store, train
from pitl.config import Config, to_dict
from pitl.errors import PitlError
from pitl.msk import weak
from pitl.msk.model import MusculoskeletalModel, model_from_dict, model_to_dict
from pitl.prepare import Prepared, network_of, people_one_by_one, prepare
from pitl.windows import Samples

_SPAN = 1024  # rows of a trial that are read at once; less where trials are shorter
_HELD_ROWS = 100_000  # of the held-out people, in memory for the checks


class Collected(NamedTuple):
    """Everybody's recordings on disk, with what else training needs to know of them."""

    store: store.Store
    names: tuple[str, ...]
    models: MusculoskeletalModel  # stacked
    about: dict[str, Any]


def pretrain(config: Config, out: Path, say: Callable[[str], None]) -> bundle.Bundle:
    """Collects what is not collected yet, trains on it and leaves the model in OUT/model.

    Raises:
        PitlError: if there are fewer than two people, OUT holds something made with other settings, or a setting asks
            for what only recordings in memory can give.
    """
    _possible(config)
    if (out / "model").is_dir():
        found = bundle.load(out / "model")
        _same(found.about["config"], config, out)
        return found
    people = collected(config, out, say)
    made = trained(config, people, say)
    bundle.save(out / "model", made)
    return made


def collected(config: Config, out: Path, say: Callable[[str], None]) -> Collected:
    """Everybody's recordings, made first if they are not in OUT."""
    path, beside = out / "recordings.h5", out / "people"
    if not (path.exists() and beside.is_dir()):
        _collect(config, path, beside, say)
    tree, about = checkpoint.load(beside)
    _same(about["config"], config, out)
    return Collected(store.opened(path), tuple(about["names"]), model_from_dict(about["model"], tree), about)


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
            own.append(jax.tree.map(lambda x: x[0], last.models))
            say(f"{names[-1]}: {made.rows / config.emg.rate_hz / 3600:.3g} h so far")
        if last is None or len(names) < 2:
            raise PitlError(
                f"{len(names)} usable person(s) found; a generic model needs two: to train on and to stop on."
            )
    static, arrays = model_to_dict(jax.tree.map(lambda *x: jnp.stack(x), *own))
    about = {
        "names": names,
        "model": static,
        "channels": list(last.cohort.subjects[0].recordings[0].channels),
        "has_force": last.force_source != "none",
        "learns_forces": last.learns_forces,
        "config": to_dict(config),
    }
    checkpoint.save(beside, arrays, about)


def trained(config: Config, people: Collected, say: Callable[[str], None]) -> bundle.Bundle:
    """Trains on blocks of the store; every so-many-th person decides when to stop and is not trained on."""
    net = network_of(config, len(people.about["channels"]), people.models)
    taps = weak.kernel(config.personalize.weak_kernel_s, config.emg.rate_hz)
    stretch = generic.run_length(config, taps)
    count = len(people.names)
    held = max(1, round(config.train.holdout_fraction * count))
    held_out = sorted({int(k) for k in np.linspace(0, count - 1, held + 2)[1:-1].round()}) if count > 2 else [1]
    source = [k for k in range(count) if k not in held_out]
    of_sources = [t for t in people.store.trials if t.subject in source]
    means, deviations = zip(
        *(store.moments(people.store, of_sources, f) for f in ("angle", "force", "torque")), strict=True
    )
    strength = np.asarray(people.models.max_isometric_force)[source].mean(axis=0)
    spread, scale = loss.units(means, deviations, strength, labelled=people.about["has_force"])
    scale = scale if people.about["learns_forces"] else loss.without_forces(scale)
    samples, checked = _held(people, held_out, net.window, stretch)
    has_force = config.train.force_weight if people.about["has_force"] else 0.0
    weights = loss.Terms(*(jnp.float32(w) for w in (1.0, has_force, config.train.physics_weight, 0.0)))
    with_physics = config.train.physics_weight > 0
    longest = max(t.stop - t.start for t in of_sources)
    usable = [n for t in of_sources if (n := t.stop - t.start) >= min(2 * (net.window + stretch), longest)]
    drawn = store.blocks(people.store, source, window=net.window, stretch=stretch, length=min(_SPAN, *usable, longest))
    say(
        f"training on {len(source)} people, {sum(usable) / config.emg.rate_hz / 3600:.3g} h; {held} decide when to stop"
    )
    try:
        found = train.fit(
            jax.random.key(0),
            net,
            train.Problem(samples, people.models, spread, scale, weights),
            drawn,
            checked,
            config.train.model_copy(update={"refit": False}),
            with_physics=with_physics,
            taps=taps,
            report=lambda step, value, score: say(f"step {step}: loss {value:.3f}, held out {score:.3f}"),
        )
    finally:
        drawn.close()
    about = {
        "kind": "physics" if with_physics else "data",
        "target": [],
        "trained_on": [people.names[k] for k in source],
        "held_out": [people.names[k] for k in held_out],
        "steps": found.steps,
        "config": to_dict(config),
    }
    one = jax.tree.map(lambda x: x[source[0]], people.models)
    channels = tuple(people.about["channels"])
    return bundle.Bundle(found.params, net, one, scale, spread, config.emg, channels, None, None, about)


def _held(people: Collected, held_out: list[int], window: int, stretch: int) -> tuple[Samples, np.ndarray]:
    """Rows of the held-out people in memory, of every trial as much of its beginning, and where windows may end."""
    trials = [t for t in people.store.trials if t.subject in held_out]
    most = max(window + stretch, _HELD_ROWS // len(trials))
    parts = [(t.start, min(t.stop, t.start + most)) for t in trials if t.stop - t.start >= window + stretch]
    if not parts:
        raise PitlError(
            f"no trial of {', '.join(people.names[k] for k in held_out)} is as long as a window; record longer ones."
        )
    samples = jax.tree.map(lambda *x: jnp.concatenate(x), *(store.read(people.store, *p) for p in parts))
    ends, at = [], 0
    for start, stop in parts:
        ends.append(np.arange(at + window - 1, at + stop - start - stretch + 1))
        at += stop - start
    return samples, np.concatenate(ends)[:, None] + np.arange(stretch)


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
