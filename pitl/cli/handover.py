"""The commands for a finished model: how late it is, and how to take it elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from pitl.cli import shell

_Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder of a person's model, such as runs/NAME/models/ANNA.")
]
_Posture = Annotated[str | None, typer.Option("--posture", help="Posture of the person.")]
_Rate = Annotated[float, typer.Option("--rate", min=1, help="Samples of raw EMG per second.")]


def latency(
    model: _Model,
    rate: _Rate = 2000.0,
    block_ms: Annotated[float, typer.Option("--block-ms", min=0, help="Length of the amplifier's blocks.")] = 10.0,
    recording: Annotated[
        Path | None,
        typer.Option("--recording", metavar="FILE", help="A trial with a measured angle, to measure the lag in all."),
    ] = None,
) -> None:
    """How late an answer is, line by line.

    \b
    Examples:
      pitl latency runs/mine/models/anna
      pitl latency runs/mine/models/anna --rate 1000 --block-ms 32 --recording recordings/anna_slow.csv
    """
    with shell.sentences():
        from rich.table import Table

        from pitl.data.load import read_recording
        from pitl.learn.model import Model
        from pitl.live import latency as timing
        from pitl.live import stream

        person = shell.network_of(Model.load(model), model)
        result = timing.budget(stream.engine(person, rate), block_s=1e-3 * block_ms)
        table = Table("", "typical [ms]", "worst [ms]", "", box=None)
        for line in (*result.lines, timing.LatencyLine("in all", result.typical_s, result.worst_s, "")):
            table.add_row(line.name, f"{1e3 * line.typical_s:.2f}", f"{1e3 * line.worst_s:.2f}", line.note)
        console = shell.console()
        console.print(table)
        low, high = (1e3 * x for x in timing.OPTIMAL_S)
        total = 1e3 * result.typical_s
        verdict = "within" if total <= low else ("at the edge of" if total <= high else "beyond")
        early, late = 1e3 * min(timing.ELECTROMECHANICAL_S), 1e3 * max(timing.ELECTROMECHANICAL_S)
        console.print(
            f"{total:.0f} ms is {verdict} the {low:.0f}-{high:.0f} ms that myoelectric control may take (Farrell & "
            f"Weir 2007). Force follows EMG by {early:.0f}-{late:.0f} ms anyway (electromechanical delay, Cavanagh & "
            f"Komi 1979), so that the answer is {total - late:.0f}-{total - early:.0f} ms behind the muscle's force."
        )
        if recording is not None:
            lag = timing.lag(person, read_recording(recording))
            console.print(
                "The lag cannot be measured: no angle, or no clear best agreement with it."
                if lag is None
                else f"Measured on {recording.name}: the angle said is {abs(1e3 * lag):.0f} ms "
                f"{'behind' if lag >= 0 else 'ahead of'} the measured one (filters and what the network has learned to "
                "make up for; block, transport, hop and compute come on top)."
            )


def export(
    model: _Model,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")],
    rate: _Rate = 2000.0,
    posture: _Posture = None,
    recording: Annotated[
        Path | None, typer.Option("--recording", metavar="FILE", help="A trial to check the files with.")
    ] = None,
) -> None:
    """The model as StableHLO and ONNX, with its preprocessing and an example.

    Each file is checked against the original, on random windows and on a recording if one is given.

    \b
    Example:
      pitl export runs/mine/models/anna --out anna --rate 2000 --posture pronated
    """
    with shell.sentences():
        from pitl.data.load import read_recording
        from pitl.learn.model import Model
        from pitl.live import export as exporting

        person = shell.network_of(Model.load(model), model)
        trial = None if recording is None else read_recording(recording)
        where = posture or (trial.posture if trial else person.limb.postures[0])
        result = exporting.write(out, person, rate, where, trial)
        for name, checks in (("random", result.random), ("recorded", result.recorded)):
            for file, difference in (checks or {}).items():
                typer.echo(f"{file} on {name} input: at most {max(difference):.1e} of the largest output off")
        typer.echo(f"Wrote {out} for raw EMG at {rate:g} Hz; example.py runs it in the posture '{where}'.")


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (latency, export):
        app.command()(command)
