"""More recordings than memory holds: a chunked HDF5 file of envelopes and labels, read ahead in blocks of fixed size.

FILE /rows/NAME   one dataset a field of `Samples`, one row per envelope sample, in chunks, every trial after the last
     /trials      where each trial begins and ends, whose it is

A block is S spans of L contiguous rows drawn from all trials; every block has the same shape, so that one compiled
program trains on all of them, and reading the next one goes on while the device works on this one.
"""

import json
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pitl.errors import PitlError
from pitl.files import temporary, writing
from pitl.signals.samples import Samples

if TYPE_CHECKING:
    import h5py

SCHEMA = 1
_CHUNK = 4096  # rows; at 15 numbers of jets each, a quarter of a megabyte
_TYPES = {name: np.int32 if name in ("posture", "subject") else np.float32 for name in Samples._fields}


class Stored(NamedTuple):
    """One trial in a store."""

    subject: int
    name: str
    start: int  # row
    stop: int


class Store(NamedTuple):
    """A file of recordings; nothing but the list of its trials is in memory."""

    path: Path
    trials: tuple[Stored, ...]
    rows: int


class Writer:
    """Appends trials to a store that is being made."""

    def __init__(self, file: "h5py.File", path: Path):
        self._file, self._path = file, path
        self.trials: list[Stored] = []
        self.rows = 0

    def add(self, name: str, subject: int, rows: dict[str, np.ndarray]) -> None:
        """Appends one trial.

        Args:
            name: of the trial, for messages.
            subject: whose.
            rows: for each field of `pitl.signals.windows.Samples` but `subject` the values (T, ...), in its units.

        Raises:
            PitlError: if a field is missing, has another length or width, or is not finite.
        """
        where = f"{self._path}, trial {name}"
        count = len(rows["jets"]) if "jets" in rows else 0
        rows = rows | {"subject": np.full(count, subject)}
        for field, kind in _TYPES.items():
            if field not in rows or len(rows[field]) != count or count == 0:
                result = len(rows[field]) if field in rows else "no"
                raise PitlError(
                    f"{where}: {field} has {result} rows where {count} were expected; give as many for all."
                )
            values = np.asarray(rows[field], kind)
            if not np.isfinite(values).all():
                at = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise PitlError(f"{where}: {field} is not a finite number in row {at}; leave that part out.")
            self._append(where, field, values)
        self.trials.append(Stored(subject, name, self.rows, self.rows + count))
        self.rows += count

    def _append(self, where: str, field: str, values: np.ndarray) -> None:
        key = f"rows/{field}"
        if key not in self._file:
            shape = (0, *values.shape[1:])
            chunks, most = (_CHUNK, *values.shape[1:]), (None, *values.shape[1:])
            self._file.create_dataset(key, shape, values.dtype, maxshape=most, chunks=chunks)
        data: Any = self._file[key]
        if data.shape[1:] != values.shape[1:]:
            raise PitlError(
                f"{where}: {field} is {values.shape[1:]} wide where earlier trials have {data.shape[1:]}; "
                "one store has one set of channels and one model."
            )
        data.resize(self.rows + len(values), axis=0)
        data[self.rows :] = values


@contextmanager
def writer(path: str | Path) -> Iterator[Writer]:
    """Makes a store; it appears under its name when all trials are in it.

    Raises:
        PitlError: if it cannot be written.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = temporary(path)
        try:
            with _file(part, "w") as file:
                made = Writer(file, path)
                yield made
                about = {"format": "pitl recordings", "schema": SCHEMA, "rows": made.rows}
                file.attrs["about"] = json.dumps(about)
                file["trials"] = json.dumps([t._asdict() for t in made.trials])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def write(path: str | Path, samples: Samples, trials: Sequence[Any]) -> Store:
    """Makes a store of samples that are in memory; `trials` as in `pitl.signals.windows.Table`."""
    with writer(path) as made:
        for t in trials:
            fields = {k: np.asarray(v[t.start : t.stop]) for k, v in samples._asdict().items() if k != "subject"}
            made.add(t.name, t.subject, fields)
    return open_store(path)


def open_store(path: str | Path) -> Store:
    """Looks into a store.

    Raises:
        PitlError: if there is none, or it is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise PitlError(f"there is no store of recordings {path}; check the path.")
    try:
        with _file(path, "r") as file:
            about = json.loads(str(file.attrs["about"]))
            trials = tuple(Stored(**t) for t in json.loads(_text(file["trials"])))
            lengths = {len(_data(file, name)) for name in Samples._fields}
    except (OSError, KeyError, ValueError, TypeError, RecursionError) as e:
        raise PitlError(f"{path} is no store of recordings, or a damaged one ({e}); make it again.") from e
    if about.get("schema") != SCHEMA or lengths != {about.get("rows")}:
        raise PitlError(
            f"{path} was written by another version (schema {about.get('schema')}) or is cut short; make it again."
        )
    return Store(path, trials, about["rows"])


def read(store: Store, start: int, stop: int) -> Samples:
    """Rows of a store, in memory."""
    with _file(store.path, "r") as file:
        return Samples(*(jnp.asarray(_data(file, name)[start:stop]) for name in Samples._fields))


def moments(store: Store, trials: Sequence[Stored], field: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a field over all rows of some trials, one trial in memory at a time."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    with _file(store.path, "r") as file:
        for t in trials:
            rows = np.asarray(_data(file, field)[t.start : t.stop], float)
            own, share = rows.mean(axis=0), len(rows) / (count + len(rows))
            squares = squares + ((rows - own) ** 2).sum(axis=0) + (own - mean) ** 2 * count * share
            mean, count = mean + share * (own - mean), count + len(rows)
    return mean, np.sqrt(squares / max(count, 1))


class StoredBlock(NamedTuple):
    """A part of a store in memory."""

    samples: Samples  # S spans of L rows, one after the other
    segments: np.ndarray  # (W, R) rows of the block at which windows may end, R of them contiguous


# Blocks in memory besides the one in use: one waits, one is being read.
_AHEAD = 1


def blocks(
    store: Store,
    subjects: Sequence[int],
    *,
    window: int,
    segment: int = 1,
    spans: int = 32,
    length: int = 1024,
    seed: int = 0,
) -> Generator[StoredBlock, None, None]:
    """Draws blocks without end, reading ahead.

    A span is equally likely to begin at any row of the trials at which it fits, and the next block is another draw,
    so that in the long run every row is seen as often as it would be with all in memory, but for `length` rows at
    either end of a trial, which fewer spans hold.

    Args:
        store: the file.
        subjects: whose trials.
        window: samples that a window reaches back.
        segment: contiguous rows in one sample of the loss.
        spans: S.
        length: L, rows in a span.
        seed: of the draws.

    Raises:
        PitlError: if no trial of these subjects is long enough, or the file cannot be read.
    """
    if length < window + segment:
        raise PitlError(f"spans of {length} rows cannot hold a window of {window} and a segment of {segment}.")
    chosen = set(subjects)
    trials = [t for t in store.trials if t.subject in chosen and t.stop - t.start >= length]
    if not trials:
        raise PitlError(f"{store.path}: no trial of subjects {sorted(chosen)} has {length} rows; take shorter spans.")
    ends = np.arange(window - 1, length - segment + 1)
    segments = (np.arange(spans)[:, None] * length + ends).reshape(-1, 1) + np.arange(segment)
    room = np.cumsum([t.stop - t.start - length + 1 for t in trials])
    first = np.array([t.start for t in trials])

    def draw(file: "h5py.File", rng: np.random.Generator) -> dict[str, np.ndarray]:
        at = np.sort(rng.integers(room[-1], size=spans))  # in the order of the file
        which = np.searchsorted(room, at, side="right")
        start = first[which] + at - np.concatenate([[0], room])[which]
        return {
            name: np.concatenate([_data(file, name)[s : s + length] for s in start.tolist()])
            for name in Samples._fields
        }

    for values in _ahead(store.path, draw, seed):
        yield StoredBlock(Samples(**{k: jnp.asarray(v) for k, v in values.items()}), segments)


def _ahead(
    path: Path, draw: Callable[["h5py.File", np.random.Generator], dict[str, np.ndarray]], seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """What a background thread draws from the file; it ends when nobody asks any more."""
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def give(item: Any) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return

    def work() -> None:
        rng = np.random.default_rng(seed)
        try:
            # a cache for each dataset would be memory that nobody counts
            with _file(path, "r", rdcc_nbytes=0) as file:
                while not stopped.is_set():
                    give(draw(file, rng))
        except Exception as e:  # raised where the blocks are used
            give(e)

    thread = threading.Thread(target=work, name="pitl-reads-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, Exception):
                raise PitlError(f"cannot read {path}: {item}; is the disk still there?") from item
            yield item
    finally:
        stopped.set()
        thread.join()


def _file(path: str | Path, mode: str, **settings: Any) -> "h5py.File":
    import h5py  # here, as only a cohort that is kept on disk needs it

    return h5py.File(path, mode, **settings)


def _data(file: "h5py.File", name: str) -> Any:
    return file[f"rows/{name}"]


def _text(result: Any) -> str:
    value = result[()]
    return value.decode() if isinstance(value, bytes) else str(value)
