"""The live page: what the server sends, whom it answers, and what a browser makes of it."""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from live_models import CHANNELS, RATE_HZ, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.live import access, limb, page, session, stream
from pitl.live.source import Layout
from pitl.live.stream import SampleBlock
from pitl.mechanics import bodies
from pitl.mechanics.planar import builtin

pytest.importorskip("uvicorn", reason="needs the server: pip install 'pitl[live]'")
websockets = pytest.importorskip("websockets.sync.client", reason="needs websockets: pip install 'pitl[live]'")

RECORDING = wrist_recording(seconds=4.0)
MODEL = wrist_model()


class _Endless:
    """A recording over and over, at real time, until told to stop."""

    def __init__(self):
        self.layout = Layout(CHANNELS, RATE_HZ, ("wrist_flexion",), "pronated")
        self.at, self.began, self.stopped = 0, time.monotonic(), False

    def read(self, wait_s):
        if self.stopped:
            return None
        time.sleep(0.01)
        due = int((time.monotonic() - self.began) * RATE_HZ)
        at = np.arange(self.at, due)
        self.at = due
        row = at % len(RECORDING.emg)
        return SampleBlock(RECORDING.emg[row], at / RATE_HZ, int(at[0]) if len(at) else None, RECORDING.angle[row])

    def close(self):
        pass


@pytest.fixture(scope="module")
def server():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        board, source = page.Board(), _Endless()
        seat = session.Seat(stream.engine(MODEL, RATE_HZ, "pronated"))
        drawn = limb.limb(MODEL.limb, "pronated")
        at = page.listen("127.0.0.1", 0)
        asked = []

        def begin():
            asked.append(True)
            raise PitlError("not today.")

        running = page.serve(page.application(board, seat, drawn, begin), at)
        threads = [
            threading.Thread(target=running.run, kwargs={"sockets": [at]}, daemon=True),
            threading.Thread(target=page.drive, args=(board, seat, source, lambda: source), daemon=True),
        ]
        for t in threads:
            t.start()
        host = f"127.0.0.1:{at.getsockname()[1]}"
        for _ in range(100):
            if running.started:
                break
            time.sleep(0.05)
        yield host, board, asked
        source.stopped = True
        running.should_exit = True
        for t in threads:
            t.join(5)


def _frames(host, answers):
    """What the page is told until it has so many answers, however long that takes."""
    with websockets.connect(f"ws://{host}/stream") as ws:
        hello, frames = json.loads(ws.recv(timeout=60)), []
        while sum(len(f["answers"]) for f in frames) < answers:
            frames.append(json.loads(ws.recv(timeout=60)))
        return hello, frames


def test_a_page_gets_every_answer_once(server):
    host, *_ = server
    hello, frames = _frames(host, 60)
    assert hello["muscles"] == ["FCR", "FCU", "ECRL", "ECRB", "ECU"] and hello["calibrates"]
    answers = [a for f in frames for a in f["answers"]]
    times = np.array([a[0] for a in answers])
    np.testing.assert_allclose(np.diff(times), 0.01, atol=1e-4)
    assert len(answers[0][1]) == 5 and len(answers[0][3]) == 5 and answers[0][4] == stream.GOOD
    measured = np.array([a[5] for a in answers])
    expected = 0.5 * np.sin(np.pi * times)
    np.testing.assert_allclose(measured, expected, atol=2e-3)


def test_what_the_server_keeps_does_not_grow(server):
    _, board, _ = server
    rows = stream.LivePrediction(
        np.zeros(1500), np.zeros((1500, 5)), np.zeros((1500, 1)), np.zeros((1500, 5)), np.zeros(1500, int),
        np.full((1500, 5), np.nan),
    )  # fmt: skip
    alone = page.Board()
    page._post(alone, rows, None)
    page._post(alone, rows, None)
    for k in range(100):
        alone.say(f"event {k}")
    assert len(alone.answers) == page.HISTORY and alone.count == 3000 and len(alone.events) == 20
    late = page.frame(alone, limb.limb(MODEL.limb, "pronated"), 0, 0)
    assert len(late["answers"]) == page.HISTORY
    assert page.frame(alone, limb.limb(MODEL.limb, "pronated"), 3000, 100)["answers"] == []


def test_other_sites_and_names_are_refused(server):
    host, *_ = server
    with urllib.request.urlopen(f"http://{host}/") as predicted:
        assert b"pitl live" in predicted.read()
    foreign = urllib.request.Request(f"http://{host}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign)
    with pytest.raises(Exception, match="403"):
        websockets.connect(f"ws://{host}/stream", origin="http://evil.example").recv(timeout=2)


def test_a_browser_is_told_what_to_refuse(server):
    with urllib.request.urlopen(f"http://{server[0]}/") as answer:
        headers, html = answer.headers, answer.read().decode()
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
    script = html[html.index("<script>") + 8 : html.index("</script>")]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def _ask(app, kind, query, host="192.0.2.7:8080"):
    """The first thing that the application says to a request, without a network."""
    said = []

    async def receive():
        if not said and kind == "websocket":
            return {"type": "websocket.connect"}
        return {"type": f"{kind}.disconnect", "code": 1000}

    async def send(message):
        said.append(message)

    path = "/" if kind == "http" else "/stream"
    scope = {
        "type": kind, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", host.encode())], "scheme": "http", "http_version": "1.1", "server": ("192.0.2.7", 8080),
        "client": ("192.0.2.8", 1), "root_path": "", "asgi": {"version": "3.0"}, "subprotocols": [],
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))
    return said[0]


def test_a_page_for_the_network_has_names_and_needs_its_link():
    assert access.access("127.0.0.1") == access.HERE and access.HERE.token is None
    who = access.access("192.0.2.7")
    assert who.hosts[0] == "192.0.2.7" and "*" not in who.hosts and len(who.token) > 20
    everywhere = access.access("0.0.0.0")
    assert "*" not in everywhere.hosts and socket.gethostname() in everywhere.hosts
    assert access.link("192.0.2.7", 8080, who) == f"http://192.0.2.7:8080/?token={who.token}"
    seat = session.Seat(stream.engine(MODEL, RATE_HZ, "pronated"))
    app = page.application(page.Board(), seat, limb.limb(MODEL.limb, "pronated"), None, who)
    assert _ask(app, "http", "")["status"] == _ask(app, "http", "token=guess")["status"] == 403
    assert _ask(app, "http", f"token={who.token}")["status"] == 200
    assert _ask(app, "http", f"token={who.token}", host="evil.example")["status"] == 400
    assert _ask(app, "websocket", "") == _ask(app, "websocket", "token=guess")
    assert _ask(app, "websocket", "")["type"] == "websocket.close" and _ask(app, "websocket", "")["code"] == 1008
    assert _ask(app, "websocket", f"token={who.token}")["type"] == "websocket.accept"


def test_what_goes_wrong_is_told_on_the_page(server):
    host, _, asked = server
    with websockets.connect(f"ws://{host}/stream") as ws:
        ws.send("calibrate")
        predicted = list(
            itertools.chain.from_iterable(json.loads(ws.recv(timeout=60)).get("events", []) for _ in range(30))
        )
    assert asked and "not today." in predicted


def test_the_page_asks_nobody_else():
    html = (Path(page.__file__).parent / "page.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=|https?://|@import", html)


def test_a_port_in_use_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PitlError, match=f"cannot serve the page at 127.0.0.1:{port}: .*in use.*--port"):
            page.listen("127.0.0.1", port)


@pytest.mark.parametrize("joint", ["wrist", "knee"])
def test_the_limb_is_drawn_where_the_model_has_it(joint):
    model = builtin(joint)
    for posture in model.postures:
        drawn = limb.limb(model, posture)
        for angle in (0.2, 0.7):
            line = limb.points(drawn, np.array([angle]))[0]
            at = model.postures.index(posture)
            end = bodies.point(model, jnp.float32([angle]), at, 0, jnp.float32(2 * drawn.centre[0]))
            np.testing.assert_allclose(line[1], np.asarray(end)[:2], atol=1e-6)
        np.testing.assert_allclose(drawn.fixed[1], limb.points(drawn, np.zeros(1))[0][0], atol=1e-6)
    flexors = {"wrist": ("FCR", "FCU"), "knee": ("BFLH", "BFSH", "MH")}[joint]
    assert {m for m, sign in zip(model.muscles, drawn.flexes, strict=True) if sign > 0} == set(flexors)


# In a browser


class _Browser:
    """A headless browser spoken to through its debugging port."""

    def __init__(self, command, folder, url):
        self.process = subprocess.Popen(
            [
                *command, "--disable-background-networking",
                "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={folder}",
                "--enable-precise-memory-info", "--js-flags=--expose-gc", "--window-size=1280,800", url,
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.number, told = 0, Path(folder) / "DevToolsActivePort"
        until = time.monotonic() + 120
        while not (told.exists() and told.read_text().count("\n")) and time.monotonic() < until:
            time.sleep(0.1)
        port = told.read_text().splitlines()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as predicted:
                pages = [p for p in json.loads(predicted.read()) if p["type"] == "page" and p["url"].startswith(url)]
            if pages:
                break
            time.sleep(0.1)
        self.socket = websockets.connect(pages[0]["webSocketDebuggerUrl"], max_size=None)

    def ask(self, method, **values):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": values}))
        while True:
            predicted = json.loads(self.socket.recv(timeout=120))
            if predicted.get("id") == self.number:
                return predicted["result"]

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression):
        until = time.monotonic() + 600  # a page that stands still would never end
        while not self.value(expression):
            assert time.monotonic() < until, expression
            time.sleep(0.2)

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(10)


def test_a_browser_draws_it_without_growing(server, browser, tmp_path):
    host, *_ = server
    browser = _Browser(browser, tmp_path / "profile", f"http://{host}/")
    try:
        browser.wait("window.pitl && pitl.frames() >= 30")
        frames, at = browser.value("pitl.frames()"), time.monotonic()
        browser.value("gc()")
        heap = browser.value("performance.memory.usedJSHeapSize")
        browser.wait(f"pitl.answers() > 400 && pitl.frames() >= {frames} + 50")
        rate = (browser.value("pitl.frames()") - frames) / (time.monotonic() - at)
        browser.value("gc()")
        grown = browser.value("performance.memory.usedJSHeapSize") - heap
        assert browser.value("pitl.errors") == []
        assert browser.value("document.getElementById('flag').textContent") == "good"
        assert browser.value("document.getElementById('title').textContent") == "wrist of anna"
        assert grown < 2e6
        # every picture has been drawn on
        for name in ("limb", "c0", "c1", "c2"):
            inked = browser.value(
                f"c = document.getElementById('{name}');"
                "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v).length"
            )
            assert inked > 500, name
        picture = base64.b64decode(browser.ask("Page.captureScreenshot")["data"])
        keep = os.environ.get("PITL_SCREENSHOT")
        (Path(keep) if keep else tmp_path / "page.png").write_bytes(picture)
        print(f"{rate:.1f} frames/s, heap {heap / 1e6:.1f} MB {grown / 1e6:+.2f} MB")
    finally:
        browser.close()
