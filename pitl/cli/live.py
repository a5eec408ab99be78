"""The commands that run a model on a person in front of you."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pitl import files
from pitl.cli import shell
from pitl.errors import PitlError

if TYPE_CHECKING:
    from pitl.learn.model import Model
    from pitl.live.calibrate import Calibration
    from pitl.live.cues import Prompt
    from pitl.live.source import Source

_Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder of a person's model, such as runs/NAME/models/ANNA.")
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
_Session = Annotated[float, typer.Option("--seconds", help="Length of a calibration.")]
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

    Every answer carries the source's time stamp and a flag: good, held (lost samples were bridged), lost, or reduced (a
    channel is missing or dead).

    \b
    Examples:
      pitl stream runs/mine/models/anna --source lsl:EMG --sink lsl:kinetics
      pitl stream runs/mine/models/anna --source replay:recordings/anna_slow.csv --sink csv:out.csv
      pitl stream runs/mine/models/anna --source udp:5005 --sink udp:5006 --posture pronated
    """
    with shell.sentences():
        from pitl.learn.model import Model
        from pitl.live import latency, session, sinks
        from pitl.live import stream as streaming

        person = shell.network_of(Model.load(model), model)
        opened, reopen = _open(source, person, unit, speed, repeat)
        out = sinks.open_sink(sink, person.limb, person.emg.rate_hz)
        costs = latency.LatencyCosts()
        state = None
        try:
            where = session.posture_of(person, opened.layout, posture)
            seat = session.Seat(streaming.engine(person, opened.layout.rate_hz, where))
            shell.tell(
                f"{source}: {len(opened.layout.channels)} channels at {opened.layout.rate_hz:g} Hz, {where}; "
                "Ctrl-C ends."
            )
            for update in session.run(seat, opened, reopen, seconds=seconds, patience_s=patience):
                if len(update.rows.flag):
                    out.write(update.rows)
                    costs.add(update.compute_s)
                if update.event:
                    shell.tell(f"pitl: {update.event}")
                state = update.state
        except KeyboardInterrupt:
            pass  # how a stream ends
        finally:
            opened.close()
            out.close()
        if state is not None:
            others = f", {state.foreign} packets of others" if state.foreign else ""
            counts = f"{state.taken} samples used, {state.held} bridged, {state.lost} lost, {state.dropped} dropped"
            shell.tell(f"{counts}{others}; {costs.sentence()}")


def live(
    model: _Model,
    source: _Source,
    sink: _Sink = "none",
    posture: _Posture = None,
    unit: _Unit = None,
    speed: _Speed = 1.0,
    repeat: _Repeat = 1,
    patience: _Patience = 30.0,
    host: Annotated[str, typer.Option("--host", help="Address to serve; others than this let the network look.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8080,
    seconds: _Session = 20.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where calibrated models go [default: MODEL-calibrated], numbered."),
    ] = None,
) -> None:
    """A page with the envelopes, the angle, the forces and the limb, as they happen.

    Its button calibrates: twenty seconds of following cues, and the model has learned.

    \b
    Examples:
      pitl live runs/mine/models/anna --source lsl:EMG --posture pronated
      pitl live runs/mine/models/anna --source replay:recordings/anna_slow.csv --repeat 100
    """
    with shell.sentences():
        import threading

        files.keep_compiled_programs()
        from pitl.learn.model import Model
        from pitl.live import access, calibrate, limb, page, session, sinks
        from pitl.live import stream as streaming

        if out is not None:  # else the page can be looked at where nothing can be written
            files.check_place(calibrate.fresh(out))
        person = shell.network_of(Model.load(model), model)
        at = page.listen(host, port)
        opened, reopen = _open(source, person, unit, speed, repeat)
        into = sinks.open_sink(sink, person.limb, person.emg.rate_hz)
        board, stopped = page.Board(), threading.Event()
        try:
            where = session.posture_of(person, opened.layout, posture)
            seat = session.Seat(streaming.engine(calibrate.provisional(person), opened.layout.rate_hz, where))
            drawn = limb.limb(person.limb, where)

            def keep(made: Model) -> None:
                folder = calibrate.fresh(out or model.with_name(model.name + "-calibrated"))
                made.save(folder)
                board.say(f"the new model is kept in {folder}.")

            def begin() -> None:
                if board.calibration is not None and board.calibration.phase in calibrate.BUSY:
                    return
                calibration = calibrate.Calibration(seat.engine.model, seconds, bool(opened.layout.dofs), keep)
                calibration.begin(seat)
                board.calibration = calibration

            who = access.access(host)
            server = page.serve(page.application(board, seat, drawn, begin, who), at)
            streams = threading.Thread(
                target=page.drive,
                args=(board, seat, opened, reopen),
                kwargs={"write": into.write, "patience_s": patience, "stop": stopped.is_set},
                daemon=True,
            )
            streams.start()
            shell.tell(f"{access.link(host, at.getsockname()[1], who)} shows {source}; Ctrl-C ends.")
            server.run(sockets=[at])
        except KeyboardInterrupt:
            pass  # how it ends
        finally:
            stopped.set()
            opened.close()
            into.close()
            at.close()


def calibrate(
    model: _Model,
    source: _Source,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the person's model goes.")],
    sink: _Sink = "none",
    posture: _Posture = None,
    unit: _Unit = None,
    speed: _Speed = 1.0,
    seconds: _Session = 20.0,
    patience: _Patience = 30.0,
) -> None:
    """Record a short session with cues, personalise, and go on with the new model.

    MODEL may be a generic one. The angle is learned from if the source measures it; without, the equation of motion
    alone teaches. The stream does not stop; with --sink none it ends when the model is saved.

    \b
    Examples:
      pitl calibrate runs/mine/models/generic --source lsl:EMG --posture pronated --out anna
      pitl calibrate runs/mine/models/anna --source replay:recordings/anna_slow.csv --out anna2 --sink lsl
    """
    with shell.sentences():
        import time

        files.keep_compiled_programs()
        from pitl.learn.model import Model
        from pitl.live import calibrate as calibrating
        from pitl.live import cues, session, sinks
        from pitl.live import stream as streaming

        if out.exists():
            raise PitlError(f"{out} exists, and an earlier calibration is never overwritten; name another with --out.")
        files.check_place(out)
        person = shell.network_of(Model.load(model), model)
        opened, reopen = _open(source, person, unit, speed, 1)
        into = sinks.open_sink(sink, person.limb, person.emg.rate_hz)
        running, told, began = None, "", 0.0
        try:
            where = session.posture_of(person, opened.layout, posture)
            seat = session.Seat(streaming.engine(calibrating.provisional(person), opened.layout.rate_hz, where))
            running = calibrating.Calibration(person, seconds, bool(opened.layout.dofs), lambda made: made.save(out))
            running.begin(seat)
            with shell.console().status("") as status:
                for update in session.run(seat, opened, reopen, patience_s=patience):
                    running.feed(seat, update)
                    into.write(update.rows)
                    if update.event:
                        shell.tell(f"pitl: {update.event}")
                    if running.phase != "recording" and not began:
                        began = time.monotonic()
                    now = _cue(cues.prompt(running.done * seconds, seconds), running)
                    status.update(now)
                    if now.partition("  ")[0] != told and not shell.console().is_terminal:
                        shell.tell(now)
                    told = now.partition("  ")[0]
                    if running.phase == "failed" or (running.phase == "done" and sink == "none"):
                        break
                running.wait()  # a replay may end while it is learned from
        except KeyboardInterrupt:
            pass
        finally:
            opened.close()
            into.close()
        _ended(running, out, time.monotonic() - began if began else 0.0)


def efforts(
    model: _Model,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Table of when each effort began and ended.")],
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Length of all efforts.")] = 90.0,
) -> None:
    """Lead a person through the isometric efforts that tell their muscles apart.

    The hand, or whatever MODEL moves, is held by a dynamometer or load cell, which your own system records together
    with the EMG. Start it first; FILE then says when each effort began and ended, in seconds since the first cue and on
    the computer's clock. Each direction becomes a trial with dynamometer = true in cohort.toml.

    \b
    Example:
      pitl efforts runs/mine/models/generic --out anna_efforts.csv
    """
    with shell.sentences():
        import time

        from pitl.learn.model import Model
        from pitl.live import cues

        files.check_place(out)
        asked = cues.efforts(Model.load(model).limb.dofs)
        began, rows, now = time.time(), [], ""
        with contextlib.suppress(KeyboardInterrupt), shell.console().status("") as status:
            while (at := time.time() - began) < seconds:
                prompt = cues.prompt(at, seconds, asked)
                if prompt.text != now:
                    now = prompt.text
                    rows.append([at, now])
                    if not shell.console().is_terminal:
                        shell.tell(now)
                status.update(f"{prompt.text}  {prompt.left_s:.0f} s")
                time.sleep(0.05)
        ends = [*(at for at, _ in rows[1:]), min(seconds, time.time() - began)]
        lines = ["begin_s,end_s,begin_unix_s,cue"]
        lines += [f'{at:.2f},{end:.2f},{began + at:.2f},"{text}"' for (at, text), end in zip(rows, ends, strict=True)]
        files.atomic_write_text(out, "\n".join(lines) + "\n")
        shell.tell(f"{out} says when each effort was made; add them to cohort.toml, then pitl personalize.")


def _cue(prompt: "Prompt", running: "Calibration") -> str:
    if running.phase == "recording":
        at = round(20 * (prompt.target + 1) / 2)
        return f"{prompt.text}  {'-' * at}o{'-' * (20 - at)}  {prompt.left_s:.0f} s"
    return f"learning  {100 * running.done:.0f} %" if running.phase == "fitting" else running.phase


def _ended(running: "Calibration | None", out: Path, took_s: float) -> None:
    if running is None or running.phase == "recording":
        raise PitlError("the stream ended before the session did; nothing was learned. Record for longer.")
    if running.phase == "failed":
        raise PitlError(f"nothing was learned: {running.message}")
    shell.tell(f"{running.message} It took {took_s:.1f} s. Model: {out}")


def _open(
    spec: str, person: "Model", unit: str | None, speed: float, repeat: int
) -> "tuple[Source, Callable[[], Source]]":
    from pitl.live.open import open_source
    from pitl.live.source import Wanted

    wanted = Wanted(person.channels, person.limb.dofs, unit, speed, repeat)
    return open_source(spec, wanted), functools.partial(open_source, spec, wanted._replace(wait_s=1.0))


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (stream, live, calibrate, efforts):
        app.command()(command)
