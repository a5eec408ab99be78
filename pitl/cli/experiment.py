"""The commands of an experiment: recordings, a generic model, a person's model, predictions, and the comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pitl import files
from pitl.cli import shell
from pitl.errors import PitlError

if TYPE_CHECKING:
    from pitl.config.schema import Config
    from pitl.data.recording import Cohort

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
_People = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with recordings (`pitl init DATA` describes it).")
]
_Settings = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG", help="TOML file with settings [default: those built in]."),
]


def _job(name: str, text: str, work: "Callable[[Config, Path, Any], None]") -> Callable[..., None]:
    """A command that does some work on a configuration; all of them take the same."""

    def command(
        config: _Config,
        changes: _Changes = None,
        data: _Data = None,
        out: _Out = None,
        hosts: _Hosts = None,
        process: _Process = None,
    ) -> None:
        folder = out
        with shell.sentences(lambda: folder):
            if name == "run" and config.is_dir():
                _run_few(config, out, changes or [], data)
                return
            chosen = _configuration(config, changes or [], data)
            folder = out or Path("runs") / chosen.name
            files.keep_compiled_programs()
            from pitl.learn import devices

            with devices.joined(hosts, process):  # before anything of JAX looks for devices
                work(chosen, folder, shell.console())

    command.__name__, command.__doc__ = name, text
    return command


def _compare(config: "Config", out: Path, console: Any, *, models: bool = False) -> None:
    from pitl.comparison import run as comparing
    from pitl.learn import devices

    comparing.evaluate(config, out, console, models=models)
    if devices.first():
        from pitl import report

        with comparing.show_step(console, "report"):
            report.show(out, console)


def _run(config: "Config", out: Path, console: Any) -> None:
    _compare(config, out, console, models=True)


def _run_few(folder: Path, out: Path | None, changes: list[str], data: Path | None) -> None:
    """The job for a folder of one or two people."""
    if data is not None:
        raise PitlError(f"{folder} is a folder of recordings already; leave --data {data} away.")
    files.keep_compiled_programs()
    from pitl.config import toml

    asked = toml.load(None, changes).model_dump(exclude_unset=True)
    name = asked.pop("name", folder.resolve().name)
    people, _ = _people(folder, None)
    from pitl.comparison import few_people
    from pitl.learn import api

    if len(people) >= few_people.FEWEST:
        raise PitlError(
            f"{folder} has {len(people)} people: comparing them needs settings, such as "
            f"pitl run configs/own.toml --data {folder}."
        )
    console = shell.console()
    settings = api.settings_for(people, None, **asked)
    into = out or Path("runs") / str(name)
    few_people.run(people, settings, into, lambda text: console.print(text, soft_wrap=True, markup=False))


run = _job(
    "run",
    """Do the whole job, ending in models to use and a report.

    Compares methods on people left out in turn, then trains a generic model on everybody and a personal model of each
    person on all of their data, into OUT/models. What is finished is kept: the same command goes on where it stopped.
    In place of CONFIG a folder of one or two people gives each a model of their own, judged trial by trial.

    \b
    Examples:
      pitl run configs/virtual_wrist.toml
      pitl run configs/uci_knee.toml --data recordings --out runs/mine
      pitl run recordings                                    (one or two people, without settings)
      pitl run configs/virtual_wrist.toml name=short train.steps=300 evaluate.folds=2
      pitl run configs/virtual_wrist.toml --hosts 10.0.0.1:5000,10.0.0.2 --process 0
    """,
    _run,
)
compare = _job(
    "compare",
    """Compare methods on people left out in turn, ending in a report.

    \b
    Examples:
      pitl compare configs/virtual_wrist.toml --out runs/methods
      pitl compare configs/family/pigrn.toml evaluate.seeds=3
    """,
    _compare,
)


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
        from pitl.config import toml

        chosen = toml.load(config, changes or [])
        files.keep_compiled_programs()
        from pitl.data.cohort import write_cohort
        from pitl.data.load import simulate_cohort

        cohort = simulate_cohort(chosen)
        write_cohort(cohort, out)
        typer.echo(f"Wrote {sum(len(s.recordings) for s in cohort.subjects)} trials to {out}")


def train(
    data: _People,
    out: Annotated[Path, typer.Option("--out", metavar="GENERIC", help="Folder for the generic model.")],
    config: _Settings = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="NAME", help="A person to leave out; may be repeated.")
    ] = None,
) -> None:
    """Train a generic model of everybody in a folder, for people who are not in it.

    \b
    Examples:
      pitl train recordings --out generic
      pitl train recordings --config configs/own.toml --without anna --out generic
    """
    with shell.sentences():
        files.check_place(out)
        files.keep_compiled_programs()
        people, settings = _people(data, config)
        from pitl.learn import api

        for name in without or []:
            people = people.without(name)
        settings = settings or api.settings_for(people)
        model = api.train_model(people, settings, report=shell.progress("training", settings.train.steps))
        model.save(out)
        typer.echo(
            f"Wrote {out}: a generic model of {len(people.subjects)} people after {model.history['steps']} steps.\n"
            f"Next: pitl personalize {out} {data} --subject NAME --out NAME"
        )


def personalize(
    generic: Annotated[str, typer.Argument(metavar="GENERIC", help="Folder of a generic model, or none.")],
    data: _People,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the person's model.")],
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="NAME", help="Whose; needed where DATA has several people.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="angle, angle_force, torque or none [default: what was measured]."),
    ] = None,
    config: _Settings = None,
) -> None:
    """Fit a generic model to one person, on all of their data.

    With none in place of GENERIC the person's model is trained from scratch, under the equation of motion. What is
    printed is how well a model that saw the first part of each trial predicts the rest. Where net moments were
    measured, muscles are calibrated on them instead: an EMG-driven model, judged on each trial by the others.

    \b
    Examples:
      pitl personalize generic recordings --subject anna --out anna
      pitl personalize none recordings --subject anna --out anna
    """
    with shell.sentences():
        if labels not in (None, "angle", "angle_force", "torque", "none"):
            raise PitlError(f"labels '{labels}' are not known; write --labels angle, angle_force, torque or none.")
        files.check_place(out)
        files.keep_compiled_programs()
        from pitl.learn import api
        from pitl.learn.model import Model

        start = None if generic == "none" else Model.load(generic)
        people, settings = _people(data, config)
        names = [s.name for s in people.subjects]
        if subject is None and len(names) > 1:
            raise PitlError(f"{data} has {', '.join(names)}; say whose model it is to be with --subject.")
        person = people if subject is None else people[subject]
        chosen = None if start is not None and config is None else settings
        model = api.personalize_model(start, person, labels=labels, config=chosen, report=shell.steps("personalising"))  # pyright: ignore[reportArgumentType]
        model.save(out)
        from pitl.learn import repetitions

        told = (
            f"Wrote {out}.",
            shell.trust_sentence(model.history),
            repetitions.advice(model.history.get("shown", {})),
            shell.gains_sentence(model.history),
        )
        typer.echo(" ".join(filter(None, told)))


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a person's model.")],
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="A recording, or a folder of one person's.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="What to write: .sto (for OpenSim) or .csv; a folder for a folder."),
    ],
) -> None:
    """Predict angles, muscle forces and torques from EMG.

    \b
    Examples:
      pitl predict anna recordings/anna_slow.csv --out answers.sto
      pitl predict anna recordings --out answers
    """
    with shell.sentences():
        from pitl.data.load import load_folder, read_recording
        from pitl.learn import api
        from pitl.learn.model import Model

        person = Model.load(model)
        if recording.is_dir():
            cohort = load_folder(recording)
            trials = [r for s in cohort.subjects for r in s.recordings if person.subject in (None, s.name)]
            if not trials:
                raise PitlError(f"{recording} has no recording of {person.subject}; name another folder or a file.")
            targets = [out / f"{files.safe_name(r.trial)}.sto" for r in trials]
        else:
            trials, targets = [read_recording(recording)], [out]
        for trial, target in zip(trials, targets, strict=True):
            prediction = api.predict(person, trial)
            prediction.write(target)
            typer.echo(f"Wrote {target}: {len(prediction.time_s)} instants")


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
    OUT/model, a model like that of `pitl train`.

    \b
    Examples:
      pitl pretrain configs/virtual_wrist.toml --out runs/everybody
      pitl personalize runs/everybody/model recordings --subject anna --out anna
    """
    with shell.sentences(lambda: out):
        chosen = _configuration(config, changes or [], data)
        files.keep_compiled_programs()
        from pitl.learn import pretrain as job

        console = shell.console()
        made = job.pretrain(chosen, out, lambda text: console.print(text, soft_wrap=True, markup=False))
        console.print(f"Wrote {out / 'model'}: after {made.history['steps']} steps", soft_wrap=True)


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
        from pitl.config import toml

        chosen = toml.Config() if config is None else toml.load(config, changes or [])
        typer.echo(toml.to_toml(chosen, explain=True), nl=False)


def _people(data: Path, config: Path | None) -> "tuple[Cohort, Config | None]":
    """The people in a folder, and the settings of a file."""
    from pitl.config import toml
    from pitl.data.load import load_folder

    shell.must_be_folder(data)
    settings = None if config is None else toml.load(config)
    people = load_folder(data, settings)
    for sentence in dict.fromkeys((*people.left_out, *people.notes)):
        typer.echo(sentence, err=True)
    return people, settings


def _configuration(file: Path, changes: list[str], data: Path | None) -> "Config":
    import json

    from pitl.config import toml

    if data is not None:
        shell.must_be_folder(data)
        changes = [*changes, f"data.dir={json.dumps(str(data.resolve()), ensure_ascii=False)}"]
    config = toml.load(file, changes)
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
    for command in (run, compare, simulate, train, personalize, predict, pretrain, report, config):
        app.command()(command)
