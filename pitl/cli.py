"""The `pitl` command. It parses and hands over; what takes time to import is imported where it is used."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pitl import __version__
from pitl.errors import PitlError

if TYPE_CHECKING:
    from pitl.config import Config

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file, such as configs/virtual_wrist.toml.")]
_Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the configuration, such as train.steps=500."),
]
_Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder with the recordings, in place of data.dir.")
]
_Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where results go [default: runs/NAME].")]


def main() -> None:
    """Runs the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pitl {__version__}")
        raise typer.Exit


@app.callback()
def _pitl(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """From surface EMG to muscle forces and joint motion, personalised in seconds.

    \b
    pitl run configs/virtual_wrist.toml        the whole job, ending in report.html
    pitl check DIR                             look at your recordings before anything else
    """


@app.command()
def run(config: _Config, changes: _Changes = None, data: _Data = None, out: _Out = None) -> None:
    """Do the whole job, ending in a report.

    Trains generic models, personalises them, compares every arm and writes the report. What is finished is kept: the
    same command goes on where it stopped.

    \b
    Examples:
      pitl run configs/virtual_wrist.toml
      pitl run configs/uci_knee.toml --data recordings --out runs/mine
      pitl run configs/virtual_wrist.toml name=short train.steps=300 evaluate.folds=2
    """
    _step("run", config, changes, data, out)


@app.command()
def simulate(
    config: _Config,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write the recordings to.")],
    changes: _Changes = None,
) -> None:
    """Write a virtual cohort as CSV files, true forces included.

    \b
    Examples:
      pitl simulate configs/virtual_wrist.toml --out cohort
      pitl simulate configs/virtual_wrist.toml --out cohort virtual.subjects=20 virtual.seed=7
    """
    with _sentences():
        from pitl import config as configuration

        settings = configuration.load(config, changes or []).virtual
        _keep_compiled_programs()
        from pitl import virtual
        from pitl.io import csv

        cohort = virtual.simulate(virtual.VirtualSettings(**settings.model_dump()))
        csv.write_cohort(cohort, out)
        typer.echo(f"Wrote {sum(len(s.recordings) for s in cohort.subjects)} trials to {out}")


@app.command()
def check(data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the recordings.")]) -> None:
    """Say what is wrong or suspicious in recordings.

    \b
    Example:
      pitl check recordings
    """
    with _sentences():
        _must_be_folder(data)
        from pitl import quality

        cohort, findings = quality.check_folder(data)
        quality.render(cohort, findings, _console())


@app.command()
def train(config: _Config, changes: _Changes = None, data: _Data = None, out: _Out = None) -> None:
    """Train the generic models only.

    \b
    Example:
      pitl train configs/virtual_wrist.toml --out runs/mine
    """
    _step("train", config, changes, data, out)


@app.command()
def personalize(config: _Config, changes: _Changes = None, data: _Data = None, out: _Out = None) -> None:
    """Personalise the generic models, made first if missing.

    \b
    Example:
      pitl personalize configs/virtual_wrist.toml --out runs/mine
    """
    _step("personalize", config, changes, data, out)


@app.command()
def evaluate(config: _Config, changes: _Changes = None, data: _Data = None, out: _Out = None) -> None:
    """Compare every arm; makes first what is missing.

    \b
    Example:
      pitl evaluate configs/virtual_wrist.toml --out runs/mine
    """
    _step("evaluate", config, changes, data, out)


@app.command()
def report(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run.")]) -> None:
    """Write the report of a finished run again.

    \b
    Example:
      pitl report runs/virtual_wrist
    """
    with _sentences():
        from pitl import report as reporting

        typer.echo(f"Report: {reporting.write(out)}")


@app.command()
def config(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="TOML file; without it, defaults.")] = None,
    changes: _Changes = None,
) -> None:
    """Print every setting with its meaning and unit.

    The output is itself a configuration.

    \b
    Examples:
      pitl config
      pitl config configs/uci_knee.toml train.steps=500
    """
    with _sentences():
        from pitl import config as configuration

        chosen = configuration.Config() if config is None else configuration.load(config, changes or [])
        typer.echo(configuration.to_toml(chosen, explain=True), nl=False)


def _step(name: str, file: Path, changes: list[str] | None, data: Path | None, out: Path | None) -> None:
    """One function of `pitl.run` on a configuration."""
    folder = out
    with _sentences(lambda: folder):
        config = _configuration(file, changes or [], data)
        folder = out or Path("runs") / config.name
        _keep_compiled_programs()
        from pitl import run as job

        getattr(job, name)(config, folder, _console())


def _configuration(file: Path, changes: list[str], data: Path | None) -> "Config":
    import json

    from pitl import config as configuration

    if data is not None:
        _must_be_folder(data)
        changes = [*changes, f"data.dir={json.dumps(str(data.resolve()), ensure_ascii=False)}"]
    config = configuration.load(file, changes)
    if config.data.kind == "virtual":
        if data is not None:
            raise PitlError(
                f"{file} simulates its recordings (data.kind = 'virtual') and would not read {data}; "
                "leave --data away, or add data.kind=auto."
            )
        return config
    if config.data.dir is None:
        raise PitlError(
            f"{file} needs recordings (data.kind = '{config.data.kind}'); name their folder with --data DIR."
        )
    _must_be_folder(Path(config.data.dir))
    return config


def _must_be_folder(folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise PitlError(f"the folder with recordings {folder} {what}; check the path.")


@contextmanager
def _sentences(resume: Any = None) -> Iterator[None]:
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


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _keep_compiled_programs() -> None:
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
