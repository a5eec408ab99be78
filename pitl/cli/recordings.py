"""The commands that look at recordings before anything is learned from them."""

from pathlib import Path
from typing import Annotated

import typer

from pitl.cli import shell


def check(data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the recordings.")]) -> None:
    """Say what is wrong or suspicious in recordings.

    \b
    Example:
      pitl check recordings
    """
    with shell.sentences():
        shell.must_be_folder(data)
        from pitl import quality

        cohort, findings = quality.check_folder(data)
        quality.render(cohort, findings, shell.console())


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (check,):
        app.command()(command)
