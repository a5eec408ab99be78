"""What every command shares: errors as sentences, Ctrl-C that is heard, a console, compiled programs that are kept."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from pitl.errors import PitlError


def must_be_folder(folder: Path) -> None:
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
        typer.echo(f"pitl: {e}", err=True)
        raise typer.Exit(1) from e
    except KeyboardInterrupt as e:
        folder = resume() if resume else None
        kept = f" What is finished is kept in {folder}; the same command goes on from there." if folder else ""
        typer.echo(f"\npitl: interrupted.{kept}", err=True)
        raise typer.Exit(130) from e


_AGAIN_S = 1.0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Repeats Ctrl-C until it is heard: raised inside JAX's garbage-collection hook, it would only be printed."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs for the next run; without a place for them it compiles again, that is all."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "pitl" / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
