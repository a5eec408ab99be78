"""The only door for recordings: from a folder, or from the seed of a virtual cohort, to a cohort that can be used."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pitl.config.schema import Config, DataConfig
from pitl.config.toml import change
from pitl.data import cohort_file
from pitl.data.checks import suspicions, usable
from pitl.data.cohort import each_person
from pitl.data.folder import read_folder
from pitl.data.recording import Cohort, Recording
from pitl.errors import PitlError
from pitl.mechanics import library
from pitl.mechanics.model import MusculoskeletalModel


def load_cohort(config: Config, progress: Callable[[str], None] | None = None) -> Cohort:
    """Simulates or reads the cohort that the configuration names.

    Raises:
        PitlError: if nothing readable is found, or a subject or task that is asked for is not there.
    """
    if progress:
        progress("simulating the virtual cohort" if config.data.kind == "virtual" else f"reading {config.data.dir}")
    if config.data.kind == "virtual":
        cohort = simulate_cohort(config)
    else:
        if config.data.dir is None:
            raise PitlError("this configuration reads recordings from a folder: name it with --data DIR.")
        cohort = read_folder(Path(config.data.dir), config.data)
    return _usable(_selected(cohort, config), config, progress)


def simulate_cohort(config: Config) -> Cohort:
    """The virtual cohort of a configuration: wrists, or people with another model's joints.

    Raises:
        PitlError: there is no such model, or its muscles are too weak for the motions.
    """
    from pitl.data import virtual
    from pitl.data.virtual import imported

    if config.model.name in (None, "wrist"):
        return virtual.simulate(config.virtual)
    return imported.simulate(_stored_limb(config), config.model.name, config.virtual)


def simulate(subjects: int = 8, *, seed: int = 0, **settings: Any) -> Cohort:
    """A virtual cohort: people who move their wrists, whose true forces are known.

    Args:
        subjects: how many.
        seed: of everything random.
        settings: of `[virtual]` in a configuration, such as `seconds=10.0`.

    Raises:
        PitlError: a setting is not known or not possible.

    Example:
        people = pitl.simulate(subjects=8)
    """
    return simulate_cohort(change(Config(), virtual={"subjects": subjects, "seed": seed, **settings}))


def load_folder(folder: str | Path, config: Config | None = None) -> Cohort:
    """The people in a folder of recordings, of which what cannot be used is left out and named in `left_out`.

    Args:
        folder: a cohort (with `cohort.toml`) or the UCI set.
        config: settings; the defaults if None.

    Raises:
        PitlError: nothing in it can be read.

    Example:
        people = pitl.load("recordings"); people.names, people.left_out
    """
    base = Config() if config is None else config
    kind = "auto" if config is None or base.data.kind == "virtual" else base.data.kind
    return load_cohort(change(base, data={**base.data.model_dump(), "kind": kind, "dir": str(folder)}))


def _stored_limb(config: Config) -> MusculoskeletalModel:
    chosen = config.model
    assert chosen.name is not None
    return library.with_passive(
        library.load(chosen.name), chosen.damping, chosen.stiffness, calibrated=chosen.slack == "calibrated"
    )


def people_one_by_one(config: Config, progress: Callable[[str], None]) -> Iterator[Cohort]:
    """The cohort that the configuration names, a person at a time; of a cohort.toml no more than one is in memory.

    Who cannot be used is left out, and `progress` is told why.

    Raises:
        PitlError: if nothing readable is found, or a subject or task that is asked for is not there.
    """
    folder = None if config.data.dir is None else Path(config.data.dir)
    if config.data.kind not in ("cohort", "auto") or folder is None or not (folder / cohort_file.NAME).exists():
        whole = load_cohort(config, progress)
        yield from (dataclasses.replace(whole, subjects=(s,)) for s in whole.subjects)
        return
    listed = list(each_person(folder))
    missing = set(config.data.subjects) - {name for name, _ in listed}
    if missing:
        raise PitlError(f"data.subjects names {', '.join(sorted(missing))}; {folder} has not got them.")
    everyone = change(config, data={**config.data.model_dump(), "subjects": ()})
    for name, read in listed:
        if config.data.subjects and name not in config.data.subjects:
            continue
        try:
            one = _usable(_selected(read(), everyone), config, progress)
        except PitlError as e:
            progress(f"{name} is left out: {e}")
            continue
        yield one


def _usable(cohort: Cohort, config: Config, progress: Callable[[str], None] | None) -> Cohort:
    """Masks spoilt samples and leaves out by themselves what would stop the others; says so."""
    window_s, part, after = config.window.seconds, config.data.calibration_fraction, config.data.test_after
    shortest_s = 2 * window_s / part + 0.1
    if part < 1:
        shortest_s = max(shortest_s, (window_s + max(config.data.gap_s, window_s)) / (1 - part) + 0.1)
    if after is not None:
        shortest_s = max(shortest_s, window_s / (1 - after) + 0.1)
    if config.data.kind != "virtual":
        cohort = usable.without_copies(cohort)
    measured = config.data.kind != "virtual"
    result = usable.usable(cohort, shortest_s, part, window_s, max(config.data.gap_s, window_s), measured=measured)
    said = list(result.left_out)
    if config.data.kind != "virtual":
        recordings = [r for s in result.subjects for r in s.recordings]
        for s in suspicions.find(recordings, copied=False):
            r = recordings[s.recording]
            where = f"{r.subject}/{r.trial}" + (f", {s.column}" if s.column else "")
            said.append(f"{where}: {s.what}; {s.advice}")
        for r in recordings:
            if r.rate_hz < suspicions.LOWEST_RATE_HZ[r.emg_kind]:
                said.append(f"{r.subject}/{r.trial}: {r.rate_hz:g} samples per second are few for {r.emg_kind} EMG")
    if progress:
        for sentence in said:
            progress(sentence)
    return dataclasses.replace(result, notes=(*result.notes, *said))


def _selected(cohort: Cohort, config: Config) -> Cohort:
    wanted, tasks = set(config.data.subjects), set(config.data.tasks)
    names = {s.name for s in cohort.subjects}
    if wanted - names:
        raise PitlError(f"data.subjects names {', '.join(sorted(wanted - names))}; found {', '.join(sorted(names))}.")
    kept = []
    for s in cohort.subjects:
        recordings = tuple(r for r in s.recordings if not tasks or r.task in tasks)
        if (not wanted or s.name in wanted) and recordings:
            kept.append(dataclasses.replace(s, recordings=recordings))
    if not kept:
        raise PitlError(f"no recording has a task among {', '.join(sorted(tasks))}; check data.tasks.")
    return dataclasses.replace(cohort, subjects=tuple(kept))


def read_recording(path: Path) -> Recording:
    """The trial in one file, whatever the readers make of the folder that it lies in.

    Raises:
        PitlError: there is no such file, or no reader knows it.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise PitlError(f"the recording {path} {what}; name the file of one trial, as in replay:FILE.")
    above = [p for p in path.resolve().parents if (p / cohort_file.NAME).is_file()]
    folder = above[0] if above else path.parent
    try:
        cohort = read_folder(folder, DataConfig(kind="auto", dir=str(folder)))
    except PitlError as e:
        if above or path.suffix in (".txt", ".gz"):  # the UCI files say themselves what they are
            raise
        raise PitlError(
            f"{path}: no {cohort_file.NAME} in its folder or above says what its columns are; `pitl init {folder}` "
            "drafts one."
        ) from e
    recordings = [r for s in cohort.subjects for r in s.recordings]
    for r in recordings:
        if Path(r.source).resolve() == path.resolve():
            return r
    known = ", ".join(Path(r.source).name for r in recordings[:6])
    raise PitlError(
        f"{path} is not among the trials of its folder ({known}); add it to {cohort_file.NAME} or name another."
    )
