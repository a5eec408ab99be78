"""Damages what a small run left, in every way that follows, and looks: python -m benchmarks.damage

Reading it (`pitl report`) and going on with it (`pitl run`) must end in a sentence or in the right result: the page of
the whole run to the byte, the files of the whole run to the bit. All in one process, which compiles once.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import kills
from pitl import report
from pitl.errors import PitlError

_JSON = {
    "nothing": lambda v: None, "list": lambda v: [], "number": lambda v: 3, "other keys": lambda v: {"a": 1},
    "strings": lambda v: _each(v, lambda x: "a"), "NaN": lambda v: _each(v, lambda x: float("nan")),
    "nulls": lambda v: _each(v, lambda x: None), "lists": lambda v: _each(v, lambda x: []),
    "minus": lambda v: _each(v, lambda x: -1e300),
}  # fmt: skip


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Every leaf changed."""
    if isinstance(value, dict):
        return {k: _each(v, change) for k, v in value.items()}
    return [_each(v, change) for v in value] if isinstance(value, list) else change(value)


def _arrays(path: Path, change: Callable[[str, Any], Any]) -> None:
    with np.load(path) as data:
        made = {k: change(k, data[k]) for k in data.files}
    np.savez_compressed(path, **{k: v for k, v in made.items() if v is not None})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x5A
    path.write_bytes(data)


def _exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


_ARRAYS = {
    "NaN": lambda k, v: v * np.nan if v.dtype.kind == "f" else v,
    "short": lambda k, v: v[: len(v) // 2] if v.ndim else v,
    "narrow": lambda k, v: v[:, :0] if v.ndim == 2 else v,
    "flat": lambda k, v: v.reshape(-1),
    "text": lambda k, v: np.full(v.shape, "a"),
    "pickled": lambda k, v: np.array([{}], object),
    "fewer": lambda k, v: None if k.startswith(("angle", "time")) else v,
    "complex": lambda k, v: v + 1j if v.dtype.kind == "f" else v,
}
FILES = (
    "run.json", "seconds.json", "metrics.json", "learned.json", "notes.json", "uncertainty.json", "sums.json",
    "predictions/seed0/head_physics-angle.npz", "predictions/seed0/generic_physics-none.npz", "traces/V02.npz",
    "intervals/V01.npz", "kept_out/head_physics-angle.npz", "generic/seed0/fold1/physics/pitl.json",
    "personalized/V03-angle/pitl.json", "models/V02/pitl.json", "models/generic/pitl.json", "limb/pitl.json",
)  # fmt: skip
PAIRS = (
    ("generic/seed0/fold0/physics", "generic/seed0/fold1/physics"),
    ("generic/seed0/fold0/physics", "models/generic"),
    ("personalized/V01-angle", "personalized/V02-angle"),
    ("models/V01", "models/V04"),
    ("models/V01", "models/generic"),
    ("predictions/seed0/generic_physics-none.npz", "predictions/seed0/head_physics-angle.npz"),
    ("traces/V01.npz", "traces/V02.npz"),
    ("learned.json", "uncertainty.json"),
    ("notes.json", "metrics.json"),
    ("limb", "models/V01"),
)


def damages() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Name and deed of each damage."""
    for name in FILES:
        yield f"{name} lost", lambda out, n=name: (out / n).unlink()
        yield f"{name} empty", lambda out, n=name: (out / n).write_bytes(b"")
        yield f"{name} cut", lambda out, n=name: (out / n).write_bytes((out / n).read_bytes()[:-40])
        yield f"{name} one byte other", lambda out, n=name: _flip(out / n)
        yield f"{name} a folder", lambda out, n=name: ((out / n).unlink(), (out / n).mkdir())
        if name.endswith(".json"):
            for way, change in _JSON.items():
                yield (
                    f"{name} {way}",
                    lambda out, n=name, c=change: (out / n).write_text(
                        json.dumps(c(json.loads((out / n).read_text())))
                    ),
                )
        else:
            for way, change in _ARRAYS.items():
                yield f"{name} {way}", lambda out, n=name, c=change: _arrays(out / n, c)
    for one, other in PAIRS:
        yield f"{one} <-> {other}", lambda out, a=one, b=other: _exchange(out / a, out / b)
    for folder in ("traces", "predictions", "generic", "models", "personalized/V01-angle", "models/V02/tree"):
        yield f"{folder} lost", lambda out, n=folder: shutil.rmtree(out / n)
    yield (
        "one array of a model other",
        lambda out: _flip(
            max((out / "models/V03/tree").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
        ),
    )


def look(do: Callable[[], object], right: Callable[[], list[str]]) -> str:
    """How it ends: a sentence, the right result, another result, or an exception of another kind."""
    try:
        do()
    except PitlError as e:
        return f"sentence: {e}"
    except Exception as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        return f"TRACEBACK {type(e).__name__} at {Path(at.filename).name}:{at.lineno}: {str(e)[:100]}"
    other = right()
    return f"OTHER RESULT {other}" if other else "right result"


def main() -> None:
    """Prints what ended badly, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a finished run of benchmarks.kills, made if not given")
    parser.add_argument("--only", default="", help="part of the names of damages")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no other damage is looked at")
    parser.add_argument("--json", type=Path, help="file for the table")
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes
    kills.keep_all_programs()
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole, out = args.run or Path(folder) / "whole", Path(folder) / "out"
        if args.run is None:
            kills.work(whole, Console(quiet=True))
        expected = kills.content(whole)
        chosen = [(n, deed) for n, deed in damages() if args.only in n]
        random.Random(0).shuffle(chosen)  # some of every kind, in case the time does not suffice for all
        page = (whole / "report.html").read_bytes()
        for name, deed in chosen:
            if time.monotonic() > until:
                break
            table[name] = {}
            for way in ("report", "run"):
                shutil.copytree(whole, out)
                deed(out)
                if way == "report":
                    same = lambda: [] if (out / "report.html").read_bytes() == page else ["report.html"]  # noqa: E731
                    ended = look(lambda: report.show(out, Console(quiet=True)), same)
                else:
                    work = lambda: kills.work(out, Console(quiet=True), page=False)  # noqa: E731
                    ended = look(work, lambda: kills.differing(expected, out))
                shutil.rmtree(out)
                table[name][way] = ended
                if ended[0].isupper():
                    print(f"{way}: {name}: {ended}", file=sys.stderr, flush=True)
            counts = {w: dict(Counter(t[w].split(":")[0].split(" at ")[0] for t in table.values() if w in t))
                      for w in ("report", "run")}  # fmt: skip
            if args.json is not None:
                command = "python -m benchmarks.damage " + " ".join(sys.argv[1:])
                about = {"command": command, "kinds": len(chosen), "looked at": len(table)}
                args.json.write_text(json.dumps({**about, "counts": counts, "each": table}, indent=1) + "\n")
    print(json.dumps(counts, indent=1))
    sys.exit(any(e[0].isupper() for t in table.values() for e in t.values()))


if __name__ == "__main__":
    main()
