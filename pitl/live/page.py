"""The live page: one local address with the envelopes, the angle, the forces and the limb, 30 times a second."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pitl.errors import PitlError
from pitl.learn.model import Model
from pitl.live import cues, latency, limb, session
from pitl.live.access import HERE, Access, refusals
from pitl.live.block import FLAGS, LivePrediction, SampleBlock
from pitl.live.calibrate import Calibration
from pitl.live.session import Seat
from pitl.live.source import Source

FRAMES_HZ = 30.0
HISTORY = 1000  # answers that a page which has just been opened is shown


@dataclass
class Board:
    """What the stream writes and the pages read; takes the same memory however long it runs."""

    answers: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=20))
    count: int = 0  # of answers
    told: int = 0  # of events
    angle: np.ndarray | None = None  # rad, the last
    costs: latency.LatencyCosts = field(default_factory=latency.LatencyCosts)
    samples: tuple[int, int, int, int] = (0, 0, 0, 0)  # used, bridged, lost, dropped
    calibration: Calibration | None = None
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, event: str) -> None:
        """Shows a sentence on every page."""
        with self.lock:
            self.told += 1
            self.events.append((self.told, event))


def drive(
    board: Board,
    seat: Seat,
    source: Source,
    reopen: Callable[[], Source],
    *,
    write: Callable[[Any], None] = lambda _: None,
    patience_s: float = 30.0,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the stream into the board until it ends; what goes wrong is shown there."""
    ended = "the source has come to its end."
    told = None
    try:
        for update in session.run(seat, source, reopen, patience_s=patience_s, stop=stop):
            rows, state = update.rows, update.state
            if len(rows.flag):
                write(rows)
                board.costs.add(update.compute_s)
                _post(board, rows, _measured(update.block, rows.time_s))
            board.samples = (state.taken, state.held, state.lost, state.dropped)
            if update.event:
                board.say(update.event)
            running = board.calibration
            if running is not None:
                running.feed(seat, update)
                if running.phase in ("done", "failed") and told is not running:
                    told = running
                    board.say(running.message)
    except PitlError as e:
        ended = str(e)
    finally:
        board.ended = True
        board.say(ended)


def _measured(block: SampleBlock, time_s: np.ndarray) -> np.ndarray | None:
    """The source's first angle at the instants of the answers [rad]."""
    if block.angle is None or not len(block.angle):
        return None
    return np.interp(time_s, block.time_s, block.angle[:, 0])


def _post(board: Board, rows: LivePrediction, measured: np.ndarray | None) -> None:
    with board.lock:
        for k, time_s in enumerate(rows.time_s):
            board.count += 1
            q = None if measured is None or not np.isfinite(measured[k]) else round(float(measured[k]), 4)
            envelope, angle, force, half = (
                np.round(x[k], 4).tolist() for x in (rows.envelope, rows.angle, rows.force, rows.force_half)
            )
            known = half if np.isfinite(half).all() else None  # JSON has no NaN
            board.answers.append([round(float(time_s), 4), envelope, angle, force, int(rows.flag[k]), q, known])
        board.angle = np.asarray(rows.angle[-1])


def describe(model: Model, posture: str, drawn: limb.Limb) -> dict[str, Any]:
    """What a page needs to know once."""
    return {
        "kind": "model",
        "subject": model.subject,
        "joint": model.limb.name,
        "posture": posture,
        "channels": model.channels,
        "dofs": model.limb.dofs,
        "muscles": model.limb.muscles,
        "flexes": drawn.flexes.tolist(),
        "side": drawn.side,
        "strength": [float(s) for s in drawn.strength],
        "range": np.asarray(model.limb.angle_range, float).tolist(),
        "fixed": drawn.fixed.tolist(),
        "rate_hz": model.emg.rate_hz,
        "flags": FLAGS,
    }


def frame(board: Board, drawn: limb.Limb, seen: int, told: int) -> dict[str, Any]:
    """What has happened since a page saw answer `seen` and event `told`."""
    with board.lock:
        fresh = min(board.count - seen, len(board.answers))
        answers = [board.answers[k] for k in range(len(board.answers) - fresh, len(board.answers))]
        message = [text for number, text in board.events if number > told]
        count, number, angle = board.count, board.told, board.angle
    median, p99, _ = board.costs.quantiles()
    running = board.calibration
    made: dict[str, Any] = {
        "kind": "frame",
        "count": count,
        "told": number,
        "answers": answers,
        "events": message,
        "limb": None if angle is None else np.round(limb.points(drawn, angle), 4).tolist(),
        "samples": board.samples,
        "compute_us": None if np.isnan(median) else [round(1e6 * median), round(1e6 * p99)],
        "ended": board.ended,
        "calibration": None,
    }
    if running is not None:
        cue = cues.prompt(running.done * running.seconds, running.seconds)
        made["calibration"] = {
            "phase": running.phase, "done": running.done, "cue": cue.text, "target": cue.target, "left_s": cue.left_s,
        }  # fmt: skip
    return made


def application(
    board: Board, seat: Seat, drawn: limb.Limb, begin: Callable[[], None] | None, who: Access = HERE
) -> Any:
    """The server's application.

    Args:
        begin: starts a calibration; None if there is nothing to calibrate with.
        who: may ask.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    html = files("pitl.live").joinpath("page.html").read_text(encoding="utf-8")

    async def page(request: Request) -> Response:
        headers = refusals(html, request.headers.get("host", ""))
        if not who.admits(request.query_params.get("token")):
            return PlainTextResponse("This page needs the link that pitl live printed, token included.", 403, headers)
        return HTMLResponse(html, headers=headers)

    async def listen(socket_: WebSocket) -> None:
        # other sites' pages may open sockets to this machine; a browser then says whose page it is
        origin = socket_.headers.get("origin")
        stranger = origin is not None and urlsplit(origin).netloc != socket_.headers.get("host")
        if stranger or not who.admits(socket_.query_params.get("token")):
            await socket_.close(1008)
            return
        await socket_.accept()
        hello = describe(seat.engine.model, seat.engine.posture, drawn) | {"calibrates": begin is not None}
        await socket_.send_text(json.dumps(hello))
        asked = asyncio.create_task(_obey(socket_))
        seen = told = 0
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            async for _ in _ticks():
                if asked.done():
                    break
                now = frame(board, drawn, seen, told)
                seen, told = now["count"], now["told"]
                await socket_.send_text(json.dumps(now))
        asked.cancel()

    async def _obey(socket_: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await socket_.receive_text()
                if message == "calibrate" and begin is not None:
                    try:
                        begin()
                    except PitlError as e:
                        board.say(str(e))

    return Starlette(
        routes=[Route("/", page), WebSocketRoute("/stream", listen)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(who.hosts), www_redirect=False)],
    )


async def _ticks() -> AsyncIterator[None]:
    """One a frame; a late one is not made up for."""
    due = time.monotonic()
    while True:
        yield
        due = max(due + 1.0 / FRAMES_HZ, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


def listen(host: str, port: int) -> socket.socket:
    """A socket for the page.

    Raises:
        PitlError: the port is in use or the address is not this machine's.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()
    except OSError as e:
        made.close()
        raise PitlError(
            f"cannot serve the page at {host}:{port}: {e.strerror or e}; another program may use that port, choose one "
            "with --port."
        ) from e
    return made


def serve(app: Any, at: socket.socket) -> Any:
    """A server to be run; `should_exit` ends it.

    Raises:
        PitlError: the server's library is not installed.
    """
    try:
        import uvicorn
    except ImportError as e:
        raise PitlError(f"the live page needs uvicorn and starlette ({e}); pip install 'pitl[live]'.") from e
    return uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
