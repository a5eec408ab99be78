"""The `pitl` command. It parses and hands over; what takes time to import is imported where it is used."""

from typing import Annotated

import typer

from pitl import __version__
from pitl.cli import experiment, handover, live, model, recordings, study

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (experiment, study, model, recordings, live, handover):
    room.register(app)


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
