"""The commands that run a model on a person in front of you."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pitl.cli import shell

if TYPE_CHECKING:
    from pitl.bundle import Bundle
    from pitl.live.source import Source, Wanted

_Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder of a person's model, such as runs/NAME/personalized/ANNA-angle.")
]
_Source = Annotated[
    str, typer.Option("--source", metavar="SOURCE", help="replay:FILE, lsl:NAME, udp:PORT or udp:HOST:PORT.")
]
_Sink = Annotated[
    str, typer.Option("--sink", metavar="SINK", help="none, csv:FILE, lsl:NAME, udp:PORT or udp:HOST:PORT.")
]
_Posture = Annotated[
    str | None, typer.Option("--posture", help="Posture of the person, where the source does not say it.")
]
_Unit = Annotated[str | None, typer.Option("--unit", help="V, mV or uV, where the source does not say it.")]
_Speed = Annotated[float, typer.Option("--speed", min=0, help="Of a replay, times real time; 0 is as fast as it goes.")]
_Repeat = Annotated[int, typer.Option("--repeat", min=1, help="How often a replay is played.")]
_Seconds = Annotated[float | None, typer.Option("--seconds", min=0, help="End after so many seconds of samples.")]
_Patience = Annotated[
    float, typer.Option("--patience", min=0, help="How long to wait for a source that vanished, in seconds.")
]


def stream(
    model: _Model,
    source: _Source,
    sink: _Sink = "none",
    posture: _Posture = None,
    unit: _Unit = None,
    speed: _Speed = 1.0,
    repeat: _Repeat = 1,
    seconds: _Seconds = None,
    patience: _Patience = 30.0,
) -> None:
    """Angles and muscle forces while the person moves.

    Every answer carries the source's time stamp and a flag: good, held (lost samples were bridged) or lost.

    \b
    Examples:
      pitl stream runs/mine/personalized/anna-angle --source lsl:EMG --sink lsl:kinetics
      pitl stream runs/mine/personalized/anna-angle --source replay:recordings/anna_slow.csv --sink csv:out.csv
      pitl stream runs/mine/personalized/anna-angle --source udp:5005 --sink udp:5006 --posture pronated
    """
    with shell.sentences():
        from pitl import bundle
        from pitl.live import latency, session, sinks
        from pitl.live import stream as streaming

        person = bundle.load(model)
        opened, reopen = _open(source, person, unit, speed, repeat)
        out = sinks.open_sink(sink, person.model, person.emg.rate_hz)
        costs = latency.Costs()
        state = None
        try:
            where = session.posture_of(person, opened.layout, posture)
            seat = session.Seat(streaming.engine(person, opened.layout.rate_hz, where))
            typer.echo(
                f"{source}: {len(opened.layout.channels)} channels at {opened.layout.rate_hz:g} Hz, {where}; "
                "Ctrl-C ends.",
                err=True,
            )
            for update in session.run(seat, opened, reopen, seconds=seconds, patience_s=patience):
                if len(update.rows.flag):
                    out.write(update.rows)
                    costs.add(update.compute_s)
                if update.event:
                    typer.echo(f"pitl: {update.event}", err=True)
                state = update.state
        except KeyboardInterrupt:
            pass  # how a stream ends
        finally:
            opened.close()
            out.close()
        if state is not None:
            typer.echo(
                f"{state.taken} samples used, {state.held} bridged, {state.lost} lost; {costs.sentence()}", err=True
            )


def _open(
    spec: str, person: "Bundle", unit: str | None, speed: float, repeat: int
) -> "tuple[Source, Callable[[], Source]]":
    from pitl.live.source import Wanted, open_source

    wanted = Wanted(person.channels, person.model.dofs, unit, speed, repeat)
    return open_source(spec, wanted), functools.partial(open_source, spec, wanted._replace(wait_s=1.0))


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (stream,):
        app.command()(command)
