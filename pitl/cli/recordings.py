"""The commands that look at recordings before anything is learned from them."""

from pathlib import Path
from typing import Annotated

import typer

from pitl.cli import shell
from pitl.errors import PitlError

_Data = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the recordings.")]


def init(
    data: _Data,
    force: Annotated[bool, typer.Option("--force", help="Replace a cohort.toml that is there.")] = False,
) -> None:
    """Guess what the files in a folder are, and write a draft of its cohort.toml.

    Reads .mot, .sto, .c3d, .csv, .txt, .mat, .h5 and .xdf files. Every guess has a comment; `pitl check DIR` says what
    is still wrong.

    \b
    Examples:
      pitl init recordings
      pitl init recordings --force
    """
    with shell.sentences():
        shell.must_be_folder(data)
        from pitl.data import draft
        from pitl.files import atomic_write_text

        path = draft.path_of(data)
        if path.exists() and not force:
            raise PitlError(f"{path} is there already; edit it, or let --force replace it with a new draft.")
        result = draft.draft(data)
        atomic_write_text(path, result.text)
        typer.echo(f"Wrote {path} with {result.trials} trial(s). Please look at:")
        for question in result.questions:
            typer.echo(f"  - {question}")
        typer.echo(f"Then: pitl check {data}")


def check(
    data: _Data,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write a page with pictures, such as check.html.")
    ] = None,
) -> None:
    """Say what is wrong or suspicious in recordings.

    \b
    Examples:
      pitl check recordings
      pitl check recordings --out check.html
    """
    with shell.sentences():
        shell.must_be_folder(data)
        from pitl.data.checks import quality

        cohort, findings = quality.check_folder(data)
        quality.render(cohort, findings, shell.console())
        if out is not None:
            from pitl.report import recordings

            typer.echo(f"Pictures: {recordings.write(cohort, findings, out)}")
        else:
            typer.echo(f"For pictures: pitl check {data} --out check.html")


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (init, check):
        app.command()(command)
