"""The commands of an experiment: from a configuration to models, numbers and a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pitl.cli import shell
from pitl.errors import PitlError

if TYPE_CHECKING:
    from pitl.config import Config

_Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file, such as configs/virtual_wrist.toml.")]
_Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the configuration, such as train.steps=500."),
]
_Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder with the recordings, in place of data.dir.")
]
_Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where results go [default: runs/NAME].")]

_Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts",
        metavar="ADDRESS:PORT,ADDRESS,...",
        envvar="PITL_HOSTS",
        help="Processes that share this run, one an address; OUT must be a folder that all of them see. "
        "Under Slurm's srun nothing need be said.",
    ),
]
_Process = Annotated[
    int | None,
    typer.Option("--process", metavar="N", envvar="PITL_PROCESS", help="Which of the hosts this is, from 0."),
]


def run(
    config: _Config,
    changes: _Changes = None,
    data: _Data = None,
    out: _Out = None,
    hosts: _Hosts = None,
    process: _Process = None,
) -> None:
    """Do the whole job, ending in a report.

    Trains generic models, personalises them, compares every arm and writes the report. What is finished is kept: the
    same command goes on where it stopped.

    \b
    Examples:
      pitl run configs/virtual_wrist.toml
      pitl run configs/uci_knee.toml --data recordings --out runs/mine
      pitl run configs/virtual_wrist.toml name=short train.steps=300 evaluate.folds=2
      pitl run configs/virtual_wrist.toml --hosts 10.0.0.1:5000,10.0.0.2 --process 0
    """
    _step("run", config, changes, data, out, (hosts, process))


def simulate(
    config: _Config,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write the recordings to.")],
    changes: _Changes = None,
) -> None:
    """Write a virtual cohort as CSV files with a cohort.toml, true forces included.

    \b
    Examples:
      pitl simulate configs/virtual_wrist.toml --out cohort
      pitl simulate configs/virtual_wrist.toml --out cohort virtual.subjects=20 virtual.seed=7
    """
    with shell.sentences():
        from pitl import config as configuration

        settings = configuration.load(config, changes or []).virtual
        shell.keep_compiled_programs()
        from pitl import virtual
        from pitl.io.cohort import write_cohort

        cohort = virtual.simulate(virtual.VirtualSettings(**settings.model_dump()))
        write_cohort(cohort, out)
        typer.echo(f"Wrote {sum(len(s.recordings) for s in cohort.subjects)} trials to {out}")


def train(
    config: _Config,
    changes: _Changes = None,
    data: _Data = None,
    out: _Out = None,
    hosts: _Hosts = None,
    process: _Process = None,
) -> None:
    """Train the generic models only.

    \b
    Example:
      pitl train configs/virtual_wrist.toml --out runs/mine
    """
    _step("train", config, changes, data, out, (hosts, process))


def pretrain(
    config: _Config,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for recordings as they are read, and model.")
    ],
    changes: _Changes = None,
    data: _Data = None,
) -> None:
    """Train one generic model of everybody, from more recordings than memory holds.

    People are read one at a time into OUT/recordings.h5, blocks of which are read ahead of training; the model is
    OUT/model, which `pitl calibrate` takes. `pitl run` compares methods on people left out; this makes the model that a
    laboratory hands on.

    \b
    Examples:
      pitl pretrain configs/virtual_wrist.toml --out runs/everybody
      pitl calibrate runs/everybody/model --source lsl:EMG --posture pronated --out anna
    """
    with shell.sentences(lambda: out):
        chosen = _configuration(config, changes or [], data)
        shell.keep_compiled_programs()
        from pitl import pretrain as job

        console = shell.console()
        made = job.pretrain(chosen, out, lambda text: console.print(text, soft_wrap=True, markup=False))
        console.print(f"Wrote {out / 'model'}: best after {made.about['steps']} steps", soft_wrap=True)


def personalize(
    config: _Config,
    changes: _Changes = None,
    data: _Data = None,
    out: _Out = None,
    hosts: _Hosts = None,
    process: _Process = None,
) -> None:
    """Personalise the generic models, made first if missing.

    \b
    Example:
      pitl personalize configs/virtual_wrist.toml --out runs/mine
    """
    _step("personalize", config, changes, data, out, (hosts, process))


def evaluate(
    config: _Config,
    changes: _Changes = None,
    data: _Data = None,
    out: _Out = None,
    hosts: _Hosts = None,
    process: _Process = None,
) -> None:
    """Compare every arm; makes first what is missing.

    \b
    Example:
      pitl evaluate configs/virtual_wrist.toml --out runs/mine
    """
    _step("evaluate", config, changes, data, out, (hosts, process))


def report(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run.")]) -> None:
    """Write the report of a finished run again.

    \b
    Example:
      pitl report runs/virtual_wrist
    """
    with shell.sentences():
        from pitl import report as reporting

        typer.echo(f"Report: {reporting.write(out)}")


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
    with shell.sentences():
        from pitl import config as configuration

        chosen = configuration.Config() if config is None else configuration.load(config, changes or [])
        typer.echo(configuration.to_toml(chosen, explain=True), nl=False)


def _step(
    name: str,
    file: Path,
    changes: list[str] | None,
    data: Path | None,
    out: Path | None,
    together: tuple[str | None, int | None],
) -> None:
    """One function of `pitl.run` on a configuration."""
    folder = out
    with shell.sentences(lambda: folder):
        config = _configuration(file, changes or [], data)
        folder = out or Path("runs") / config.name
        shell.keep_compiled_programs()
        from pitl import devices

        with devices.joined(*together):  # before anything of JAX looks for devices
            from pitl import run as job

            getattr(job, name)(config, folder, shell.console())


def _configuration(file: Path, changes: list[str], data: Path | None) -> "Config":
    import json

    from pitl import config as configuration

    if data is not None:
        shell.must_be_folder(data)
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
    shell.must_be_folder(Path(config.data.dir))
    return config


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (run, simulate, train, pretrain, personalize, evaluate, report, config):
        app.command()(command)
