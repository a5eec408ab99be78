"""The Lab Streaming Layer, through real outlets and inlets on this machine."""

import os
import threading
import time
import uuid
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from live_models import CHANNELS, RATE_HZ, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import session, sinks, source, stream
from pitl.live.open import open_source
from pitl.live.source import Wanted

RECORDING = wrist_recording(seconds=2.0)
MODEL = wrist_model()
OFFLINE = predict_recording(MODEL, RECORDING)
WANTED = Wanted(CHANNELS, ("wrist_flexion",), wait_s=5.0)


@pytest.fixture(scope="module")
def lsl(tmp_path_factory):
    # streams of this test are nobody else's: loopback only, and a session of their own
    settings = tmp_path_factory.mktemp("lsl") / "lsl_api.cfg"
    settings.write_text(
        "[multicast]\nResolveScope = machine\n[lab]\nSessionID = " + uuid.uuid4().hex + "\n[log]\nlevel = -3\n"
    )
    os.environ.setdefault("LSLAPICFG", str(settings))
    pylsl = pytest.importorskip(
        "pylsl", reason="needs pylsl with its liblsl: pip install 'pitl[live]'", exc_type=Exception
    )
    outlet = _outlet(pylsl, "probe", 1)
    if not pylsl.resolve_byprop("name", "probe", timeout=5.0):
        pytest.skip("liblsl cannot find its own streams on this machine (no multicast on loopback)")
    del outlet
    return pylsl


def _outlet(pylsl, name, count, rate_hz=RATE_HZ, labels=(), units=()):
    info = pylsl.StreamInfo(name, "EMG", count, rate_hz, "double64", uuid.uuid4().hex)
    if labels:
        channels = info.desc().append_child("channels")
        for label, unit in zip(labels, units, strict=True):
            channels.append_child("channel").append_child_value("label", label).append_child_value("unit", unit)
    return pylsl.StreamOutlet(info)


def _push(pylsl, outlet, table, origin, size=40, pause_s=0.002, lost=()):
    """Pushes the samples with the time stamps that they would have at their rate."""

    def push():
        outlet.wait_for_consumers(10.0)
        time.sleep(0.1)
        for begin in range(0, len(table), size):
            part = table[begin : begin + size]
            if begin // size in lost:
                continue
            outlet.push_chunk(part.tolist(), origin + (begin + len(part) - 1) / RATE_HZ)
            time.sleep(pause_s)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    return thread


def _play(opened, reopen=None, **options):
    seat = session.Seat(stream.engine(MODEL, opened.layout.rate_hz, "pronated"))
    updates = list(session.run(seat, opened, reopen or (lambda: opened), **options))
    return updates, stream.join([u.rows for u in updates])


def test_a_stream_by_name_gives_the_offline_answer(lsl):
    # other order, other units, the angle among the channels: names say what is what
    labels = ("wrist_flexion", *reversed(CHANNELS), "trigger")
    units = ("degrees", *["microvolts"] * 5, "")
    table = np.column_stack([np.rad2deg(RECORDING.angle), 1e6 * RECORDING.emg[:, ::-1], np.zeros(len(RECORDING.emg))])
    outlet = _outlet(lsl, "named", 7, labels=labels, units=units)
    opened = open_source("lsl:named", WANTED)
    assert opened.layout == source.Layout(CHANNELS, RATE_HZ, ("wrist_flexion",))
    _push(lsl, outlet, table, lsl.local_clock())
    updates, rows = _play(opened, seconds=len(table) / RATE_HZ)
    state = updates[-1].state
    assert (state.taken, state.held, state.lost) == (len(table), 0, 0)
    np.testing.assert_allclose(rows.angle, OFFLINE.angle, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows.force, OFFLINE.force, rtol=1e-3, atol=1e-2)
    angle = np.concatenate([u.block.angle for u in updates if len(u.block.emg)])
    np.testing.assert_allclose(angle, RECORDING.angle, atol=1e-9)
    assert (np.diff(rows.time_s) > 0).all()
    np.testing.assert_allclose(np.median(np.diff(rows.time_s)), 0.01, rtol=0.05)


@pytest.mark.parametrize("lost", [range(100, 103), range(100, 110), range(100, 130), (103, 117, 133, 161, 184)])
def test_what_a_sender_skips_is_counted_and_flagged(lsl, lost):
    """30, 100 and 300 ms, and one chunk in twenty."""
    name = f"holes{len(lost)}"
    outlet = _outlet(lsl, name, 5)
    opened = open_source(f"lsl:{name}", WANTED)
    _push(lsl, outlet, RECORDING.emg, lsl.local_clock(), size=20, lost=lost)
    gone = 20 * len(lost)
    used = 4000 - gone if len(lost) == 30 else 4000  # what is lost for good is not played
    updates, rows = _play(opened, seconds=used / RATE_HZ)
    state = updates[-1].state
    assert (state.taken, state.held + state.lost, state.dropped) == (4000 - gone, gone, 0)
    assert state.lost == (gone if len(lost) == 30 else 0)
    good = rows.flag == stream.GOOD
    assert good[:60].all() and not good[-20:].any()
    at = np.round((rows.time_s - rows.time_s[0]) * 100).astype(int)
    assert np.abs(np.rad2deg(rows.angle - OFFLINE.angle[at]))[good].max(initial=0) < 1.0


def test_a_stream_that_vanishes_and_comes_back(lsl):
    outlet = _outlet(lsl, "fickle", 5)
    opened = open_source("lsl:fickle", WANTED)
    origin = lsl.local_clock()
    _push(lsl, outlet, RECORDING.emg[:2000], origin).join()
    later = {}

    def again():
        time.sleep(0.5)
        later["outlet"] = _outlet(lsl, "fickle", 5)
        _push(lsl, later["outlet"], RECORDING.emg[2000:], origin + 5.0)

    time.sleep(0.3)
    events = []
    seat = session.Seat(stream.engine(MODEL, RATE_HZ, "pronated"))
    reopen = partial(open_source, "lsl:fickle", WANTED._replace(wait_s=1.0))
    flags = []
    for update in session.run(seat, opened, reopen, seconds=1.9):
        flags.extend(update.rows.flag)
        if update.event:
            events.append(update.event)
        if update.state.taken == 2000 and outlet is not None:
            outlet = None  # its program ends
            threading.Thread(target=again, daemon=True).start()
    assert any("'fickle' has vanished. Waiting" in e for e in events)
    assert events[-1] == "samples arrive again."
    assert flags.count(stream.LOST) >= 1 and flags[-1] == stream.GOOD


@pytest.mark.slow
def test_a_stream_that_stays_away_ends_in_a_sentence(lsl):
    outlet = _outlet(lsl, "gone", 5)
    opened = open_source("lsl:gone", WANTED)
    _push(lsl, outlet, RECORDING.emg[:400], lsl.local_clock()).join()
    time.sleep(0.2)
    del outlet
    reopen = partial(open_source, "lsl:gone", WANTED._replace(wait_s=0.2))
    with pytest.raises(PitlError, match="'gone' has vanished. It did not come back within 0.4 s"):
        _play(opened, reopen, patience_s=0.4)


def test_a_channel_that_an_lsl_stream_lacks_is_silent(lsl):
    order = [4, 1, 0, 3]  # no ECRL
    labels, units = ("loose", *(CHANNELS[c] for c in order)), ("counts", *("microvolts",) * 4)
    outlet = _outlet(lsl, "fewer", 5, labels=labels, units=units)
    opened = open_source("lsl:fewer", WANTED)
    assert opened.layout.missing == ("ECRL",)
    raw = np.concatenate([np.ones((2000, 1)), 1e6 * RECORDING.emg[:2000, order]], axis=1)
    _push(lsl, outlet, raw, lsl.local_clock())
    updates, rows = _play(opened, seconds=1.0)
    assert updates[0].event.startswith("the source lacks ECRL")
    assert (rows.flag == stream.REDUCED).all()
    lost = RECORDING.emg * (np.array(CHANNELS) != "ECRL")
    with pytest.warns(UserWarning, match="dead ECRL"):
        offline = predict_recording(MODEL, replace(RECORDING, emg=lost))
    np.testing.assert_allclose(rows.angle, offline.angle[: len(rows.angle)], rtol=1e-3, atol=1e-4)


def test_streams_that_do_not_fit_are_refused(lsl):
    keep = [
        _outlet(lsl, "narrow", 3),
        _outlet(lsl, "irregular", 5, rate_hz=0.0),
        _outlet(lsl, "other", 5, labels=("A", "B", "C", "D", "E"), units=("V",) * 5),
        _outlet(lsl, "counts", 5, labels=CHANNELS, units=("counts",) * 5),
        _outlet(lsl, "twin", 5),
        _outlet(lsl, "twin", 5),
        _outlet(lsl, "slow", 5, rate_hz=40.0),
    ]
    for name, predicted in (
        ("narrow", "sends 3 EMG channel.s.; the model takes 5"),
        ("irregular", "has no sampling rate"),
        ("other", "has channels A, B, C, D, E and none of the model's"),
        ("counts", "gives its EMG in 'counts'; say --unit V, mV, uV"),
        ("twin", "2 LSL streams are called 'twin'"),
        ("absent", "there is no LSL stream 'absent' .(streams here|no stream)"),
    ):
        with pytest.raises(PitlError, match=predicted):
            open_source(f"lsl:{name}", WANTED._replace(wait_s=1.0))
    opened = open_source("lsl:slow", WANTED)
    with pytest.raises(PitlError, match="EMG sampled at 40 Hz"):
        stream.engine(MODEL, opened.layout.rate_hz, "pronated")
    opened.close()
    del keep


@pytest.mark.parametrize("own_clock", [False, True])
def test_answers_go_back_into_lsl(lsl, own_clock):
    origin = lsl.local_clock() - (1e6 if own_clock else 0.0)
    name = f"answers{own_clock:d}"
    sink = sinks.open_sink(f"lsl:{name}", MODEL.limb, 100.0)
    result = lsl.resolve_byprop("name", name, timeout=5.0)
    inlet = lsl.StreamInlet(result[0])
    inlet.open_stream(5.0)
    state, rows = stream.step(
        (engine := stream.engine(MODEL, RATE_HZ, "pronated")),
        stream.start(engine),
        stream.SampleBlock(RECORDING.emg[:2000], origin + np.arange(2000) / RATE_HZ),
    )
    sink.write(rows)
    values, stamps = [], []
    until = time.monotonic() + 5
    while len(stamps) < len(rows.flag) and time.monotonic() < until:
        v, s = inlet.pull_chunk(timeout=0.5)
        values += v
        stamps += s
    np.testing.assert_allclose(np.array(values)[:, 1:2], rows.angle, rtol=1e-6)
    np.testing.assert_allclose(np.array(values)[:, 2:], rows.force, rtol=1e-6)
    np.testing.assert_allclose(np.diff(stamps), np.diff(rows.time_s), atol=1e-6)
    if own_clock:
        assert abs(stamps[-1] - lsl.local_clock()) < 60
    else:
        np.testing.assert_allclose(stamps, rows.time_s, atol=1e-9)
    channel = inlet.info().desc().child("channels").child("channel")
    assert channel.next_sibling("channel").child_value("label") == "angle_wrist_flexion"
    inlet.close_stream()
    sink.close()
