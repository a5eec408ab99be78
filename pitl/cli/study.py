"""The command of a study: many comparisons in one go, ending in one table and one page."""

from pathlib import Path
from typing import Annotated

import typer

from pitl import files
from pitl.cli import shell


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="TOML file, such as configs/study/full.toml.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder with real recordings; without it only virtual cells run."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where results go [default: runs/study_NAME].")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", metavar="N", min=1, help="Workers on this machine.")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CELL", help="Work on these cells alone now, such as uci or 'virtual_*'."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Only write the page of what is finished again.")] = False,
) -> None:
    """Run a whole study, ending in one table and a results page.

    A study is a list of cells: configurations under which methods are compared, over seeds and along curves. Finished
    cells are kept: the same command goes on where it stopped. What fails is named on the page and tried again
    the next time.

    \b
    Examples:
      pitl study configs/study/quick.toml
      pitl study configs/study/full.toml --data DIR --processes 2
      pitl study configs/study/full.toml --data DIR --only virtual --only 'virtual_*'
      pitl study configs/study/full.toml --data DIR --out runs/mine --report
    """
    folder = out or Path("runs") / f"study_{file.stem}"
    with shell.sentences(lambda: folder):
        from pitl import report as reporting

        if report:
            typer.echo(f"Report: {reporting.write(folder)}")
            return
        if data is not None:
            shell.must_be_folder(data)
        files.keep_compiled_programs()
        from pitl.comparison import study as studies

        result = studies.run(
            file, data, folder, processes, typer.echo, _command(file, data, processes), tuple(only or ())
        )
        for sentence in result["left_out"]:
            typer.echo(f"left out: {sentence}")
        for failure in result["failures"]:
            typer.echo("failed: " + " ".join(str(v) for v in failure.values()), err=True)
        typer.echo(f"Report: {reporting.write(folder)}")
        if result["missing"]:
            typer.echo(f"{result['missing']} results are not made yet; the same command goes on.")
        if result["failures"] or (result["missing"] and not only):
            raise typer.Exit(1)


def _command(file: Path, data: Path | None, processes: int) -> str:
    words = ["pitl", "study", file.name]
    words += ["--data", data.name] if data else []
    words += ["--processes", str(processes)] if processes > 1 else []
    return " ".join(words)


def register(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(study)
