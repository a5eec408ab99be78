"""Digests of what the report reads, so that a figure that was changed after the run is never shown as the run's."""

import hashlib
import json
from pathlib import Path

from pitl.errors import PitlError
from pitl.files import atomic_write_text

FILE = "sums.json"
_SEALED = ("metrics.json", "learned.json", "notes.json", "lost_channels.json", "uncertainty.json", "hill-*.json",
           "traces/*.npz", "intervals/*.npz")  # fmt: skip


def seal(out: Path) -> None:
    """Writes the digests of a finished run."""
    found = sorted(p for pattern in _SEALED for p in out.glob(pattern) if p.is_file())
    atomic_write_text(out / FILE, json.dumps({p.relative_to(out).as_posix(): _digest(p) for p in found}, indent=1))


def changed(out: Path) -> list[str]:
    """Files that are missing or not as they were sealed; none where nothing was sealed.

    Raises:
        PitlError: the digests themselves are damaged.
    """
    path = out / FILE
    if not path.exists():
        return []
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(digest, str) for digest in sums.values()):
            raise ValueError("no digests")
    except (OSError, ValueError, RecursionError, AttributeError) as e:
        raise PitlError(f"{path} is damaged ({e}); start the same `pitl run` or `pitl compare` again.") from e
    return [name for name, digest in sums.items() if _digest(out / name) != digest]


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
