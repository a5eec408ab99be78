"""The commands that look at recordings before anything is learned from them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pitl.cli import shell
from pitl.errors import PitlError, printable

_MODEL = "model"
_Data = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the recordings.")]


def init(
    data: _Data,
    force: Annotated[bool, typer.Option("--force", help="Replace a cohort.toml that is there.")] = False,
    side: Annotated[str, typer.Option("--side", metavar="r|l", help="Which side to take where both are there.")] = "",
    model: Annotated[
        bool | None, typer.Option("--model/--no-model", help="Import an OpenSim model that lies beside the recordings.")
    ] = None,
) -> None:
    """Guess what the files in a folder are, and write a draft of its cohort.toml.

    Reads .mot, .sto, .c3d, .csv, .txt, .mat, .h5 and .xdf files, told apart by what they hold. Every guess has a
    comment; what is not used is named; `pitl check DIR` says what is still wrong.

    \b
    Examples:
      pitl init recordings
      pitl init recordings --side l --model --force
    """
    with shell.sentences():
        shell.must_be_folder(data)
        if side not in ("", "r", "l"):
            raise PitlError(f"--side is {side!r}; give r or l.")
        from pitl.data import draft
        from pitl.files import atomic_write_text

        path = draft.path_of(data)
        if path.exists() and not force:
            raise PitlError(f"{path} is there already; edit it, or let --force replace it with a new draft.")
        result = draft.draft(data, side=side)
        if result.model and model is None and sys.stdin.isatty():
            model = typer.confirm(f"Import {printable(result.model.name)} with {', '.join(result.coordinates)}?", True)
        if result.model and model:
            limb = _import(data, result)
            result = draft.draft(data, limb, side) if limb else result
        atomic_write_text(path, result.text)
        typer.echo(f"Wrote {printable(str(path))} with {result.trials} trial(s).")
        for title, sentences in (("Decided:", result.decisions), ("Please look at:", result.questions)):
            if sentences:
                typer.echo("\n".join([title, *(f"  - {printable(s)}" for s in sentences)]))
        typer.echo(f"Then: pitl check {printable(str(data))}")


def _import(data: Path, drafted: Any) -> Any:
    """The model beside the recordings, in a folder of its own; None if it cannot be imported."""
    from pitl.data.draft import JointGuess
    from pitl.mechanics import library
    from pitl.mechanics.importing import import_model, muscles_across

    try:
        with shell.console().status("sampling") as status:
            imported = import_model(
                drafted.model,
                drafted.coordinates,
                ranges=drafted.ranges,
                muscles=muscles_across(drafted.model, drafted.moved_by),
                progress=status.update,
            )
        library.save(data / _MODEL, imported.model, imported.about)
    except PitlError as e:
        typer.echo(f"The model was not imported, the built-in joint is taken: {e}")
        return None
    typer.echo(f"Wrote {printable(str(data / _MODEL))}: {len(imported.model.muscles)} muscles.")
    for sentence in imported.sentences:
        typer.echo(f"  - {printable(sentence)}")
    model_ = imported.model
    return JointGuess(_MODEL, model_.dofs, model_.muscles, model_.postures)


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
