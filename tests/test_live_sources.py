"""Streams from files, packets and the Lab Streaming Layer, to the end, through outages, and into sinks."""

import csv
import json
import socket
import threading
import time
from functools import partial

import numpy as np
import pytest
from live_models import CHANNELS, RATE_HZ, wrist_model, wrist_recording

from pitl.data import cohort as cohorts
from pitl.data.recording import Cohort, Subject
from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import session, sinks, source, stream, udp
from pitl.live.open import open_source
from pitl.live.source import Vanished, Wanted
from pitl.live.stream import LOST, SampleBlock

RECORDING = wrist_recording(seconds=3.0)
MODEL = wrist_model()
OFFLINE = predict_recording(MODEL, RECORDING)
WANTED = Wanted(CHANNELS, ("wrist_flexion",), wait_s=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort")
    cohorts.write_cohort(Cohort("c", "wrist", (Subject("anna", (RECORDING,)),)), made)
    return made


def _play(opened, reopen=None, **options):
    seat = session.Seat(stream.engine(MODEL, opened.layout.rate_hz, "pronated"))
    updates = list(session.run(seat, opened, reopen or (lambda: opened), **options))
    return updates, stream.join([u.rows for u in updates])


def _same(rows, offline=OFFLINE, rtol=1e-3):
    np.testing.assert_allclose(rows.angle, offline.angle[: len(rows.angle)], rtol=rtol, atol=1e-4)
    np.testing.assert_allclose(rows.force, offline.force[: len(rows.force)], rtol=rtol, atol=1e-2)


def _free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# Replay


@pytest.mark.parametrize("speed", [0.0, 20.0])
def test_a_replay_is_the_recording(folder, speed):
    opened = open_source(f"replay:{folder / 'anna_r1.csv'}", WANTED._replace(speed=speed))
    assert opened.layout == source.Layout(CHANNELS, RATE_HZ, ("wrist_flexion",), "pronated")
    updates, rows = _play(opened)
    assert updates[-1].state.taken == len(RECORDING.emg)
    assert len(rows.flag) == len(OFFLINE.angle)
    _same(rows)
    np.testing.assert_allclose(np.concatenate([u.block.angle for u in updates]), RECORDING.angle, atol=1e-6)


def test_a_replay_keeps_time(folder):
    opened = open_source(f"replay:{folder / 'anna_r1.csv'}", WANTED)
    began = time.monotonic()
    updates, _ = _play(opened, seconds=0.5)
    assert time.monotonic() - began > 0.45
    assert 0.5 * RATE_HZ <= updates[-1].state.taken <= 3.0 * RATE_HZ


def test_a_replay_repeats(folder):
    opened = open_source(f"replay:{folder / 'anna_r1.csv'}", WANTED._replace(speed=0.0, repeat=3))
    updates, rows = _play(opened)
    state = updates[-1].state
    assert (state.taken, state.held, state.lost) == (3 * len(RECORDING.emg), 0, 0)
    assert len(rows.flag) == 900 - 39


# UDP


def _packets(recording, size=50, start=0, angle=True):
    for begin in range(0, len(recording.emg), size):
        emg = recording.emg[begin : begin + size]
        q = recording.angle[begin : begin + size] if angle else np.zeros((len(emg), 0))
        first = start + begin
        yield udp.pack(udp.Packet(emg, q, first, 50.0 + first / RATE_HZ, RATE_HZ))


def _send(port, packets, pause_s=0.0005, delay_s=0.1):
    def send():
        time.sleep(delay_s)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for p in packets:
                s.sendto(p, ("127.0.0.1", port))
                time.sleep(pause_s)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def test_packets_become_answers():
    port = _free_port()
    packets = list(_packets(RECORDING))
    _send(port, [*packets[:30], b"hello", *packets[30:]])
    opened = open_source(f"udp:{port}", WANTED)
    assert opened.layout.dofs == ("wrist_flexion",)
    updates, rows = _play(opened, seconds=3.0)
    state = updates[-1].state
    assert (state.taken, state.dropped, state.foreign) == (len(RECORDING.emg), 0, 1)  # all but the one that strayed
    _same(rows)
    np.testing.assert_allclose(rows.time_s, 50.0 + OFFLINE.time_s, atol=1e-6)
    assert sum("does not begin with the header" in (u.event or "") for u in updates) == 1


def test_lost_and_shuffled_packets_are_bridged():
    port, packets = _free_port(), list(_packets(RECORDING))
    del packets[60]
    packets[80], packets[81] = packets[81], packets[80]
    _send(port, packets)
    updates, rows = _play(open_source(f"udp:{port}", WANTED), seconds=2.9)
    assert updates[-1].state.held == 100  # the lost packet, and the one that came too late
    assert updates[-1].state.lost == 0
    assert len(np.unique(rows.flag)) == 2


class _Clock:
    """Time that passes only while somebody waits for it."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        for module in (session, udp):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self):
        return self.now_s

    def perf_counter(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


class _Wire:
    """A socket that gives datagrams at their times [s] and knows no network."""

    def __init__(self, clock, datagrams):
        self.clock, self.left, self.wait_s = clock, list(datagrams), 0.0

    def settimeout(self, wait_s):
        self.wait_s = wait_s

    def recvfrom(self, size):
        if not self.left or self.left[0][0] > self.clock.now_s + self.wait_s:
            self.clock.now_s += self.wait_s
            raise TimeoutError
        at_s, data, sender = self.left.pop(0)
        self.clock.now_s = max(self.clock.now_s, at_s)
        return data, sender

    def close(self):
        pass


def _wired(monkeypatch, datagrams):
    wire = _Wire(_Clock(monkeypatch), datagrams)
    monkeypatch.setattr(udp, "_bind", lambda host, port: wire)
    reopen = partial(open_source, "udp:5005", WANTED._replace(wait_s=0.3))
    return open_source("udp:5005", WANTED), reopen


def _sent(packets, begin_s=0.0, sender=("127.0.0.1", 9)):
    return [(begin_s + 0.05 * k, p, sender) for k, p in enumerate(packets)]


def test_a_sender_that_stops_and_comes_back(monkeypatch):
    packets = list(_packets(RECORDING, size=100))
    opened, reopen = _wired(monkeypatch, _sent(packets[:30]) + _sent(packets[40:], begin_s=5.0))
    updates, rows = _play(opened, reopen, seconds=2.5)
    events = [u.event for u in updates if u.event]
    assert "silent" in events[0] and "silent" in events[1] and "arrive again" in events[-1]
    assert updates[-1].state.lost == 1000
    assert (rows.flag == LOST).sum() >= 1


def test_a_sender_that_stays_away_ends_the_stream(monkeypatch):
    opened, reopen = _wired(monkeypatch, _sent(list(_packets(RECORDING))[:20]))
    with pytest.raises(PitlError, match="fell silent.*did not come back within 0.5 s"):
        _play(opened, reopen, patience_s=0.5)


def test_a_sender_that_comes_back_with_another_rate_is_refused(monkeypatch):
    slower = [udp.pack(udp.Packet(RECORDING.emg[:50], np.zeros((50, 1)), 50 * k, k / 20, 1000.0)) for k in range(200)]
    opened, reopen = _wired(monkeypatch, _sent(list(_packets(RECORDING))[:20]) + _sent(slower, begin_s=3.5))
    with pytest.raises(PitlError, match="came back with 5 channels at 1000 Hz, it had 5 at 2000 Hz"):
        _play(opened, reopen, patience_s=1.0)


def test_a_packet_of_another_shape_is_dropped_and_said_once(monkeypatch):
    packets = list(_packets(RECORDING))
    for at in (60, 30, 10):
        packets.insert(at, udp.pack(udp.Packet(np.zeros((50, 3)), np.zeros((50, 1)), 500, 0.0, RATE_HZ)))
    opened, reopen = _wired(monkeypatch, _sent(packets))
    updates, rows = _play(opened, reopen, seconds=3.0)
    assert (updates[-1].state.taken, updates[-1].state.foreign) == (len(RECORDING.emg), 3)
    assert [u.event for u in updates if u.event][0].startswith("udp:127.0.0.1:5005: a packet has 3 channels, 1 angles")
    assert sum("3 channels" in (u.event or "") for u in updates) == 1
    _same(rows)


GOOD = udp.pack(udp.Packet(np.ones((2, 5)), np.zeros((2, 0)), 0, 0.0, RATE_HZ))


@pytest.mark.parametrize(
    ("data", "predicted"),
    [
        (b"hello", "does not begin with the header"),
        (GOOD[:-3], "announces 2 samples of 5 \\+ 0 columns.*cut off"),
        (GOOD[:4] + b"\x09\x00" + GOOD[6:], "version 9; this one reads 1"),
        (udp.pack(udp.Packet(np.ones((2, 5)), np.zeros((2, 0)), 0, 0.0, -1.0)), "announces -1 samples per second"),
        (udp.pack(udp.Packet(np.ones((2, 4)), np.zeros((2, 0)), 0, 0.0, RATE_HZ)), "sends 4 EMG .*takes 5 .FCR, FCU"),
    ],
)
def test_packets_that_do_not_fit_are_refused(data, predicted):
    port = _free_port()
    _send(port, [data] * 3)
    with pytest.raises(PitlError, match=predicted):
        open_source(f"udp:{port}", WANTED._replace(wait_s=1.0))


def test_a_packet_comes_back_as_it_was():
    result = udp.unpack(GOOD)
    np.testing.assert_array_equal(result.emg, np.ones((2, 5)))
    assert result.angle.shape == (2, 0) and result.rate_hz == RATE_HZ


def test_a_port_in_use_is_a_sentence():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(PitlError, match=f"cannot listen on UDP port {port}.*in use"):
            open_source(f"udp:{port}", WANTED)


def test_silence_from_the_start_is_a_sentence():
    with pytest.raises(PitlError, match="no packet arrived at udp:.* within 0.2 s; start the sender"):
        open_source(f"udp:{_free_port()}", WANTED._replace(wait_s=0.2))


# What cannot be opened


@pytest.mark.parametrize(
    ("spec", "predicted"),
    [
        ("tcp:80", "there is no source 'tcp:80'; write replay:FILE"),
        ("replay", "there is no source 'replay'"),
        ("replay:", "there is no source"),
        ("udp:eighty", "'eighty' is not a port"),
        ("udp:99999", "'99999' is not a port"),
        ("replay:nowhere.csv", "nowhere.csv does not exist"),
        ("replay:.", "is a folder; name the file of one trial"),
    ],
)
def test_sources_that_are_not_there(spec, predicted):
    with pytest.raises(PitlError, match=predicted):
        open_source(spec, WANTED)


def test_a_unit_that_is_not_known():
    with pytest.raises(PitlError, match="the unit 'kV' is not known; write --unit V, mV, uV"):
        open_source("udp:5005", WANTED._replace(unit="kV"))


def test_a_file_that_is_no_trial_and_a_missing_channel(folder):
    stranger = folder / "stranger.csv"
    stranger.write_text("a,b\n1,2\n")
    with pytest.raises(PitlError, match="stranger.csv"):
        open_source(f"replay:{stranger}", WANTED)
    stranger.unlink()
    with pytest.raises(PitlError, match="channels FCR.* and none of the model.s .BIC, TRI.; name them"):
        open_source(f"replay:{folder / 'anna_r1.csv'}", WANTED._replace(channels=("BIC", "TRI")))


def test_the_posture_comes_from_the_user_the_source_or_nowhere():
    layout = source.Layout(CHANNELS, RATE_HZ)
    assert session.posture_of(MODEL, layout._replace(posture="pronated"), None) == "pronated"
    assert session.posture_of(MODEL, layout._replace(posture="pronated"), "neutral") == "neutral"
    with pytest.raises(PitlError, match="does not say the posture; add --posture neutral or --posture pronated"):
        session.posture_of(MODEL, layout, None)


# Sessions


class _Scripted:
    """A source that hands over what it is told."""

    def __init__(self, *answers, rate_hz=RATE_HZ):
        self.layout = source.Layout(CHANNELS, rate_hz)
        self.answers, self.closed = list(answers), False

    def read(self, wait_s):
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


def _block(begin, end, rate_hz=RATE_HZ):
    return SampleBlock(RECORDING.emg[begin:end], np.arange(begin, end) / rate_hz)


def test_an_outage_is_survived_and_every_source_is_closed():
    first = _Scripted(_block(0, 2000), Vanished("the stream has vanished."))
    second = _Scripted(_block(3000, 6000))
    updates, rows = _play(first, lambda: second)
    assert first.closed and second.closed
    assert updates[1].event == "the stream has vanished. Waiting for it to come back."
    assert updates[1].rows.flag.tolist() == [LOST]
    assert updates[-1].event == "samples arrive again." and updates[-1].state.lost == 1000


def test_a_rate_that_is_not_the_announced_one_is_noticed():
    slow = _Scripted(*(_block(k, k + 100, 1000.0) for k in range(0, 6000, 100)))
    with pytest.raises(PitlError, match="says 2000 samples per second, but its time stamps advance at 1000"):
        _play(slow)


def test_a_model_is_swapped_between_two_blocks():
    other = wrist_model(seed=7)
    seat = session.Seat(stream.engine(MODEL, RATE_HZ, "pronated"))
    parts = []
    for update in session.run(seat, _Scripted(*(_block(k, k + 50) for k in range(0, 6000, 50))), lambda: None):
        parts.append(update.rows)
        if update.state.taken == 3000:
            session.swap(seat, other)
    rows = stream.join(parts)
    assert len(rows.angle) == len(OFFLINE.angle)  # the stream did not stop
    before = int(3000 / 20) - 39
    np.testing.assert_allclose(rows.angle[:before], OFFLINE.angle[:before], rtol=1e-4, atol=1e-5)
    expected = predict_recording(other, RECORDING)
    np.testing.assert_allclose(rows.angle[before:], expected.angle[before:], rtol=1e-4, atol=1e-5)
    with pytest.raises(PitlError, match="start a new stream"):
        session.swap(seat, wrist_model("zscore"))


# Sinks


def test_csv_has_every_answer_under_its_own_name_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "out.csv"
    sink = sinks.open_sink(f"csv:{path}", MODEL.limb, 100.0)
    _, rows = _play(_Scripted(_block(0, 3000), _block(3000, 6000)))
    sink.write(rows)
    assert not path.exists()
    sink.close()
    assert [p.name for p in path.parent.iterdir()] == ["out.csv"]
    table = list(csv.DictReader(path.open()))
    assert len(table) == len(rows.flag) and table[0]["flag"] == "good"
    result = np.array([[float(r["angle_wrist_flexion_rad"]), float(r["force_FCU_N"])] for r in table])
    np.testing.assert_allclose(result, np.stack([rows.angle[:, 0], rows.force[:, 1]], 1), rtol=1e-5)


def test_intervals_of_force_are_sent_where_they_are_known(tmp_path):
    rows = _play(_Scripted(_block(0, 3000)))[1]
    known = rows._replace(force_half=0.25 * rows.force)
    for name, each in (("without", rows), ("with", known)):
        sink = sinks.open_sink(f"csv:{tmp_path / name}", MODEL.limb, 100.0)
        sink.write(each)
        sink.close()
    table = list(csv.DictReader((tmp_path / "with").open()))
    half = np.array([[float(r[f"force_{m}_half_N"]) for m in MODEL.limb.muscles] for r in table])
    np.testing.assert_allclose(half, known.force_half, rtol=1e-5)
    assert "half" not in (tmp_path / "without").read_text()


def test_udp_sends_one_object_an_answer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(2)
        sink = sinks.open_sink(f"udp:{listener.getsockname()[1]}", MODEL.limb, 100.0)
        _, rows = _play(_Scripted(_block(0, 1000)))
        sink.write(rows)
        predicted = json.loads(listener.recv(4096))
        sink.close()
    assert predicted["flag"] == "good" and predicted["time_s"] == pytest.approx(0.39)
    np.testing.assert_allclose(predicted["force_n"], rows.force[0], rtol=1e-5)


@pytest.mark.parametrize("spec", ["tcp", "none:x", "udp", "csv2:x"])
def test_sinks_that_are_not_there(spec):
    with pytest.raises(PitlError, match=f"there is no sink '{spec}'"):
        sinks.open_sink(spec, MODEL.limb, 100.0)


def test_a_sink_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PitlError, match="cannot write"):
        sinks.open_sink(f"csv:{tmp_path / 'file' / 'x.csv'}", MODEL.limb, 100.0)
    with pytest.raises(PitlError, match="cannot send to nowhere.invalid:5005"):
        sinks.open_sink("udp:nowhere.invalid:5005", MODEL.limb, 100.0)
