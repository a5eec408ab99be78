"""The `pitl` command. It parses and hands over; what takes time to import is imported where it is used."""

import os
import sys
from typing import Annotated

import typer

from pitl import __version__
from pitl.cli import experiment, handover, live, model, recordings, study
from pitl.cli.shell import INTERRUPTED

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (experiment, study, model, recordings, live, handover):
    room.register(app)


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except SystemExit as e:
        if e.code == INTERRUPTED:  # what still computes in the background may fall over when Python takes itself apart
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def _version(wanted: bool) -> None:
    if wanted:
        import platform

        import jax

        device = jax.devices()[0]
        what = f"{len(jax.devices())} x {device.device_kind}" if len(jax.devices()) > 1 else device.device_kind
        typer.echo(f"pitl {__version__}, JAX {jax.__version__} on {what}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _pitl(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say which version this is, and on what it runs."
        ),
    ] = False,
) -> None:
    """From surface EMG to muscle forces and joint motion, personalised in seconds.

    \b
    What people do, in this order:
    pitl init DIR                                   what are these files? drafts DIR/cohort.toml
    pitl check DIR                                  what is wrong with the recordings
    pitl train DIR --out GENERIC                    one model of everybody
    pitl personalize GENERIC DIR --subject ANNA --out ANNA
    pitl predict ANNA FILE --out answers.sto        angles and muscle forces
    The whole job on virtual people: pitl run configs/virtual_wrist.toml
    """
