"""Damages good inputs of every kind and counts how reading them ends: python -m benchmarks.fuzz --inputs N --seed S

What is damaged knows the structure: counts and lengths in binary files, numbers, separators and lines in text, keys and
values in settings. Each kind runs in a process of its own that is started again when it dies or hangs.
"""

import argparse
import json
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.fuzz_kinds import NAMES, TEXT, make, reader
from pitl.errors import PitlError

LONGEST_S = 10.0
LARGEST_BYTES = 2**31
ENDINGS = ("inputs", "sentences", "read", "tracebacks", "crashes", "over 10 s", "over 2 GiB")


class Outcome(NamedTuple):
    """How one input ended, and where, if it did not end well."""

    ending: str
    about: str


def damage(kind: str, whole: bytes, rng: random.Random) -> bytes:
    """One to four changes of those that this kind of file may suffer."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        changes = (_token, _token, _line, _separator, _bytes) if kind in TEXT else (_count, _count, _bytes, _slice)
        data = rng.choice(changes)(data, rng)
    return bytes(data)


_TOKENS = (
    "", " ", "nan", "inf", "-inf", "1e300", "1e-300", "-1", "0", "9" * 5000, "²", "٣", "1_000", "0x10", '"', "'", "\0",
    "\r", "\n", "\r\r\n", "true", "[]", "{}", "[[[[[[[[", "../../x", "/etc/passwd", "=1+1", "\x1b[2J", "a" * 3000,
    "\ud800", ",", ";", "\t", "1,5", "1;2", "é", "\ufeff", "1e", "--1", "$x_{1$", "[mV", "mV)", "(" * 300,
)  # fmt: skip


def _token(data: bytearray, rng: random.Random) -> bytearray:
    """A word or number becomes another."""
    spots = [m.span() for m in re.finditer(rb"[^\s,;=\"'\[\]{}:]+", bytes(data[:20_000]))]
    if not spots:
        return data
    start, stop = rng.choice(spots[:60] if rng.random() < 0.5 else spots)
    data[start:stop] = rng.choice(_TOKENS).encode("utf-8", "surrogatepass")
    return data


def _line(data: bytearray, rng: random.Random) -> bytearray:
    """A line is lost, repeated, emptied, cut or moved."""
    lines = bytes(data).split(b"\n")
    k = rng.randrange(min(len(lines), 12) if rng.random() < 0.6 else len(lines))
    line = lines[k]
    other = rng.choice(lines)
    lines[k : k + 1] = rng.choice(
        ([], [line, line], [b"", line], [line, b""], [line[: len(line) // 2]], [other], [line, other], [line + b"\r\r"])
    )
    return bytearray(b"\n".join(lines))


def _separator(data: bytearray, rng: random.Random) -> bytearray:
    """All or some separators become others."""
    old, new = rng.sample([b",", b";", b"\t", b" ", b"\n", b"\r\n", b"=", b'"', b"\0", b"."], 2)
    count = rng.choice((1, 2, 50, -1))
    return bytearray(bytes(data).replace(old, new, count))


_COUNTS = (0, 1, 2, 127, 128, 255, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def _count(data: bytearray, rng: random.Random) -> bytearray:
    """An aligned number becomes one at the edge of its type; those of headers more often."""
    size = rng.choice((1, 2, 4, 8))
    span = len(data) if rng.random() < 0.3 else min(len(data), 2048)
    if span <= size:
        return data
    at = rng.randrange(span - size) // size * size
    near = int.from_bytes(data[at : at + size], "little") + rng.choice((-1, 1, 256))
    value = rng.choice((*_COUNTS, near, near)) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "little", "big")))
    return data


def _bytes(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 3, 20))):
        if data:
            data[rng.randrange(min(len(data), rng.choice((64, 1024, 10**9))))] = rng.choice(
                (0, 255, rng.randrange(256))
            )
    return data


def _slice(data: bytearray, rng: random.Random) -> bytearray:
    """A part is lost, repeated or put elsewhere."""
    if len(data) < 16:
        return data
    start, stop = sorted(rng.randrange(len(data)) for _ in range(2))
    part, place = data[start : min(stop, start + 4096)], rng.randrange(len(data))
    way = rng.randrange(4)
    if way == 0:
        return data[:start] + data[stop:]
    if way == 1:
        return data[:place]
    if way == 2:
        return data[:place] + part + data[place:]
    data[place : place + len(part)] = part
    return data


def run(kind: str, inputs: int, seed: int, keep: Path | None = None) -> tuple[Counter[str], list[str]]:
    """Counts of endings over a number of inputs, and the first of those that ended badly; `keep` gets their files."""
    counts: Counter[str] = Counter(inputs=0)
    bad: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = make(kind, Path(folder))
        whole = path.read_bytes()
        done = 0
        while done < inputs:
            for outcome in _process(kind, path, whole, range(done, inputs), seed):
                counts["inputs"] += 1
                counts[outcome.ending] += 1
                if outcome.ending not in ("sentences", "read"):
                    bad.setdefault(outcome.about, f"{kind} input {done}: {outcome.ending}: {outcome.about}")
                    if keep is not None:
                        data = damage(kind, whole, random.Random(f"{kind} {seed} {done}"))
                        (keep / f"{seed}-{done}-{NAMES[kind]}").write_bytes(data)
                done += 1
    return counts, list(bad.values())


def _process(kind: str, path: Path, whole: bytes, inputs: range, seed: int) -> Any:
    """Outcomes of inputs, until one ends the process."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        try:  # whatever happens, this copy of the caller goes no further
            with open(sink, "w") as out:  # noqa: PTH123 (a descriptor)
                _work(kind, path, whole, inputs, seed, out)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(sink)
    ready = False
    with open(source) as told:  # noqa: PTH123
        for _ in range(len(inputs) + 1):
            # the first line comes when everything is imported
            waited, _, _ = select.select([told], [], [], LONGEST_S if ready else 600.0)
            line = told.readline() if waited else ""
            if ready and not waited:
                yield Outcome("over 10 s", "hangs")
            elif not line and not ready:
                raise RuntimeError(f"{kind}: the good input is not read")
            elif not line:
                yield Outcome("crashes", "the process ended")
            elif ready:
                yield Outcome(*json.loads(line))
            ready = True
            if not line:
                break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _work(kind: str, path: Path, whole: bytes, inputs: range, seed: int, out: Any) -> None:
    read = reader(kind)
    path.write_bytes(whole)
    read(path)
    print("ready", file=out, flush=True)
    for k in inputs:
        path.write_bytes(damage(kind, whole, random.Random(f"{kind} {seed} {k}")))
        begun = time.monotonic()
        outcome = _ending(read, path)
        if time.monotonic() - begun > LONGEST_S:
            outcome = Outcome("over 10 s", outcome.about)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > LARGEST_BYTES:
            outcome = Outcome("over 2 GiB", outcome.about)
        print(json.dumps(outcome), file=out, flush=True)
        if outcome.ending == "over 2 GiB":
            return


def _ending(read: Callable[[Path], Any], path: Path) -> Outcome:
    try:
        read(path)
    except PitlError as e:
        if "\n" in str(e) or len(str(e)) > 1500:
            return Outcome("tracebacks", f"a sentence of {len(str(e))} characters: {str(e)[-200:]!r}")
        return Outcome("sentences", "")
    except Exception as e:
        last = traceback.extract_tb(e.__traceback__)[-1]
        return Outcome(
            "tracebacks", f"{type(e).__name__} at {Path(last.filename).name}:{last.lineno}: {str(e)[:100]!r}"
        )
    return Outcome("read", "")


def main() -> None:
    """Prints the table, then what ended badly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--json", type=Path, help="file for the table and what ended badly; other kinds in it stay")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that ended badly")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    table, stated = Table("kind", *ENDINGS), []
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    for kind in args.kinds:
        counts, bad = run(kind, args.inputs, args.seed, args.keep)
        table.add_row(kind, *(str(counts[e]) for e in ENDINGS))
        print(kind, *(f"{e} {counts[e]}" for e in ENDINGS), sep=", ", file=sys.stderr, flush=True)
        stated += bad
        if args.json is not None:
            kept = json.loads(args.json.read_text()) if args.json.exists() else {}
            kept[kind] = {"seed": args.seed, "commit": commit, **{e: counts[e] for e in ENDINGS}, "bad": bad}
            kept["all kinds"] = {e: sum(v[e] for k, v in kept.items() if k in NAMES) for e in ENDINGS}
            args.json.write_text(json.dumps(kept, indent=1) + "\n")
    Console(width=120).print(table)
    for line in stated[:60]:
        print(line)
    sys.exit(1 if stated else 0)


if __name__ == "__main__":
    main()
