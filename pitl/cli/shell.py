"""What every command shares: errors as sentences, Ctrl-C and SIGTERM that are heard, a console."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from pitl.errors import PitlError

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def must_be_folder(folder: Path) -> None:
    """Refuses what is not a folder.

    Raises:
        PitlError: it is a file, or does not exist.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise PitlError(f"the folder with recordings {folder} {what}; check the path.")


@contextmanager
def sentences(resume: Any = None) -> Iterator[None]:
    """Shows what the user can mend as a sentence, and after Ctrl-C how to go on."""
    try:
        with _interruptible():
            yield
    except PitlError as e:
        tell(f"pitl: {e}")
        raise typer.Exit(1) from e
    except KeyboardInterrupt as e:
        folder = resume() if resume else None
        kept = f" What is finished is kept in {folder}; the same command goes on from there." if folder else ""
        typer.echo(f"\npitl: interrupted.{kept}", err=True)
        raise typer.Exit(INTERRUPTED) from e


def plain(text: str) -> str:
    """Text without what a terminal would obey: names come from files and from the network."""
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)


def tell(text: str) -> None:
    """Writes a line for the user on standard error, whatever names are in it."""
    typer.echo(plain(text), err=True)


def network_of(model: Any, folder: Path) -> Any:
    """A model that predicts from EMG alone.

    Raises:
        PitlError: it is an EMG-driven one, which follows a measured motion.
    """
    if model.muscles is not None:
        raise PitlError(
            f"{folder} is an EMG-driven model, which needs the measured motion; for work from EMG alone make one with "
            "pitl personalize ... --labels angle."
        )
    return model


_AGAIN_S = 1.0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Repeats Ctrl-C and SIGTERM until heard: raised inside JAX's garbage-collection hook, it is only printed."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        raise KeyboardInterrupt

    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def console() -> Any:
    """The terminal, or a file or pipe in its place, without colours of its own."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def progress(what: str, total: int) -> Callable[[int, float], None]:
    """Tells of training on standard error: one line that changes on a terminal, else one at each check."""
    began = time.monotonic()

    def tell(step: int, loss: float) -> None:
        left = (time.monotonic() - began) * (total - step) / max(step, 1)
        _tell(f"{what}: {step} of {total} steps, loss {loss:.3f}, {max(left, 0):.0f} s left")

    return tell


def steps(what: str) -> Callable[[int, int], None]:
    """Tells of steps done and their total on standard error, with the time that is left."""
    began = time.monotonic()

    def tell(done: int, total: int) -> None:
        left = (time.monotonic() - began) * (total - done) / max(done, 1)
        _tell(f"{what}: {min(done, total)} of {total} steps, {max(left, 0):.0f} s left")

    return tell


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<78}")
        sys.stderr.flush()
    else:
        typer.echo(text, err=True)


def trust_sentence(history: dict[str, Any]) -> str:
    """How far to trust a person's model, in a sentence."""
    trust = history.get("trust", {})
    if "torque_r2_by_trial" in trust:
        each = "; ".join(
            f"{trial}: " + ", ".join(f"{d} {v:.2f}" for d, v in r2.items())
            for trial, r2 in trust["torque_r2_by_trial"].items()
        )
        return f"R2 of the measured moments along the measured motion, by models of the other trials: {each}."
    if "angle_rmse_deg" not in trust:
        why = trust.get("unknown", "no angle was measured")
        return f"How far to trust it is not known: {why.rstrip('.')}."
    return (
        f"On the last {trust['test_s']:.0f} s of the trials, before learning from them too, a model that had seen the "
        f"first {100 * trust['calibration_fraction']:.0f} % was {trust['angle_rmse_deg']:.1f} degrees off (R2 "
        f"{trust['angle_r2']:.2f})."
    )


def gains_sentence(history: dict[str, Any]) -> str:
    """Which muscles efforts told apart, and which effort to add next; nothing where nobody made efforts."""
    if "gains" not in history:
        return ""
    known, following = history["gains"], history["next_effort"]
    told = [name for name, v in known.items() if v["by_data"]]
    left = [name for name in known if name not in told]
    direction = " and ".join(
        f"{'+' if x > 0 else '-'}{dof}" for dof, x in following["direction"].items() if abs(x) > 0.3
    )
    parts = [f"The efforts told the force of {', '.join(told)}" if told else "The efforts told no muscle's force"]
    parts += [f"; that of {', '.join(left)} is the prior's"] if left else []
    return "".join(parts) + f". An effort towards {direction} would tell most next, about {following['muscle']}."
