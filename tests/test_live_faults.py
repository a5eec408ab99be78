"""What a source may do wrong: every sample is accounted for, and no answer that is far off is called good."""

from dataclasses import replace

import numpy as np
import pytest
from live_models import CHANNELS, RATE_HZ, deviating, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import page, session, stream, timeline, udp
from pitl.live.block import GOOD, HELD, LOST, SampleBlock
from pitl.live.source import Layout, Vanished, Wanted
from pitl.signals import emg, emg_steps

RECORDING = wrist_recording(seconds=6.0)
MODEL = wrist_model()
ENGINE = stream.engine(MODEL, RATE_HZ, "pronated")
OFFLINE = predict_recording(MODEL, RECORDING)
TIME_S = np.arange(len(RECORDING.emg)) / RATE_HZ
WANTED = Wanted(CHANNELS, ("wrist_flexion",))
US, OTHER = ("127.0.0.1", 1), ("127.0.0.1", 2)


def _blocks(raw=RECORDING.emg, size=20, counted=True):
    for k in range(0, len(raw), size):
        yield SampleBlock(raw[k : k + size], TIME_S[k : k + size], k if counted else None)


def _run(blocks):
    state, parts = stream.start(ENGINE), []
    for block in blocks:
        state, rows = stream.step(ENGINE, state, block)
        parts.append(rows)
    return state, stream.join(parts)


def _all_good_are_right(rows):
    assert np.isfinite(rows.angle).all() and np.isfinite(rows.force).all()
    good = rows.flag == GOOD
    at = np.round(rows.time_s[good] * 100).astype(int) - 39
    assert np.abs(np.rad2deg(rows.angle[good] - OFFLINE.angle[at])).max(initial=0.0) < 1.0
    return good


class _Scripted:
    def __init__(self, blocks):
        self.layout, self.left = Layout(CHANNELS, RATE_HZ), list(blocks)

    def read(self, wait_s):
        return self.left.pop(0) if self.left else None

    def close(self):
        pass


def _session(blocks):
    source = _Scripted(blocks)
    return list(session.run(session.Seat(ENGINE), source, lambda: source))


# Gaps


def test_the_filter_says_how_long_it_remembers():
    design = emg.design(MODEL.emg, RATE_HZ)
    memory_s = emg_steps.memory_s(design)
    torn = np.concatenate([1e-3 * np.ones((4000, 5)), RECORDING.emg])  # V, another past
    offline, other = (emg.envelope(design, raw).jets[:, 0] for raw in (RECORDING.emg, torn))
    apart = np.abs(other[200:] - offline).max(axis=1) / 1e-3
    assert (apart[round(memory_s * 100) + 1 :] < 1e-3).all() and apart[: round(memory_s * 50)].max() > 1e-3
    slow = MODEL.emg.model_copy(update={"lowpass_hz": 1.0})
    assert emg_steps.memory_s(emg.design(slow, RATE_HZ)) > 3 * memory_s


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("gap_ms", [30, 100, 300, 1500])
def test_after_a_gap_no_answer_is_called_good_until_the_filter_has_forgotten(gap_ms, counted):
    gap = gap_ms * 2
    kept = [b for b in _blocks(counted=True) if not 4000 <= b.first < 4000 + gap]
    state, rows = _run(b if counted else b._replace(first=None) for b in kept)
    assert state.taken + state.held + state.lost == len(RECORDING.emg) and state.taken == len(RECORDING.emg) - gap
    good = _all_good_are_right(rows)
    back_s = (4000 + gap) / RATE_HZ
    assert not good[(rows.time_s > 2.0) & (rows.time_s < back_s + 0.4)].any()
    assert good[rows.time_s > back_s + ENGINE.forget / 100 + 0.02].all()
    assert good[(rows.time_s < 1.999) & (rows.flag != LOST)].all() and (rows.flag == LOST).sum() == (gap > ENGINE.hold)


@pytest.mark.parametrize("normalisation", ["blend", "zscore"])
@pytest.mark.parametrize("deviates", [True, False])
@pytest.mark.parametrize("missing_ms", [30, 100, 300, 2000])
def test_neither_deviation_nor_sliding_statistics_call_a_wrong_answer_good(normalisation, deviates, missing_ms):
    """The default personal model, and the one whose running mean and spread lack what was lost for tens of seconds."""
    model, recording = wrist_model(normalisation), wrist_recording(seconds=20.0)
    model = deviating(model) if deviates else model
    offline, engine = predict_recording(model, recording), stream.engine(model, RATE_HZ, "pronated")
    state, parts = stream.start(engine), []
    for k in range(0, len(recording.emg), 20):
        if not 12_000 <= k < 12_000 + 2 * missing_ms:
            block = SampleBlock(recording.emg[k : k + 20], np.arange(k, k + 20) / RATE_HZ, k)
            state, rows = stream.step(engine, state, block)
            parts.append(rows)
    rows = stream.join(parts)
    assert state.taken + state.held + state.lost == len(recording.emg)
    good = rows.flag == GOOD
    at = np.round(rows.time_s[good] * 100).astype(int) - 39
    assert np.abs(np.rad2deg(rows.angle[good] - offline.angle[at])).max() < 1.0
    assert good[rows.time_s < 5.98].all() and (good[-1] or normalisation == "zscore")
    if missing_ms == 100 and normalisation == "zscore":
        assert good[-1]  # so little is forgotten in time


def test_a_hole_within_a_block_without_a_counter_is_found():
    keep = np.r_[0:4000, 4100:8000]
    blocks = [
        SampleBlock(RECORDING.emg[keep[k : k + 300]], TIME_S[keep[k : k + 300]]) for k in range(0, len(keep), 300)
    ]
    state, rows = _run(blocks)
    assert (state.taken, state.held, state.lost) == (7900, 100, 0)
    _all_good_are_right(rows)


@pytest.mark.parametrize("seed", range(4))
def test_every_sample_is_accounted_for_under_loss_reordering_and_repetition(seed):
    random = np.random.default_rng(seed)
    blocks = [b for b in _blocks() if random.uniform() > 0.05 or b.first in (0, len(RECORDING.emg) - 20)]
    for k in random.integers(1, len(blocks) - 2, 15):
        blocks[k], blocks[k + 1] = blocks[k + 1], blocks[k]
    for k in sorted(random.integers(1, len(blocks) - 1, 10))[::-1]:
        blocks.insert(k, blocks[k - 1])
    state, rows = _run(blocks)
    assert state.taken + state.held + state.lost == len(RECORDING.emg)
    assert state.taken + state.dropped == sum(len(b.emg) for b in blocks)
    _all_good_are_right(rows)


# Samples that are no samples


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e10, 1e300, -1e300])
@pytest.mark.parametrize("size", [1, 20, 333])
def test_an_absurd_sample_is_a_gap(value, size):
    raw = RECORDING.emg.copy()
    raw[4000:4050] = value
    raw[6000, 2] = value
    state, rows = _run(_blocks(raw, size))
    assert (state.taken, state.held, state.lost, state.dropped) == (len(raw) - 51, 51, 0, 51)
    good = _all_good_are_right(rows)
    assert not good[(rows.time_s > 2.0) & (rows.time_s < 2.4)].any() and good[rows.time_s > 4.0].all()
    assert np.abs(rows.angle).max() < 10


@pytest.mark.parametrize("value", [np.nan, 1e10])
@pytest.mark.parametrize("begins", [0, 4000])
def test_a_source_that_sends_no_numbers_from_some_moment_is_said_flagged_and_counted(value, begins):
    raw = RECORDING.emg[:8000].copy()
    raw[begins:] = value
    updates = _session(_blocks(raw))
    state, events = updates[-1].state, [u.event for u in updates if u.event]
    assert len(events) == 1 and events[0].startswith("the source sends no usable numbers")
    assert (state.taken, state.held + state.lost, state.dropped) == (begins, 8000 - begins, 8000 - begins)
    rows = stream.join([u.rows for u in updates])
    if begins:
        assert rows.flag[-1] == LOST and state.held == ENGINE.hold
        assert not _all_good_are_right(rows)[rows.time_s > 2.0].any()
        assert (rows.flag[rows.time_s > 1.995] == HELD).sum() == 10  # the bridge is answered while it lasts
    raw[6000:] = RECORDING.emg[6000:8000]
    again = _session(_blocks(raw))
    assert [u.event for u in again if u.event][1:] == ["usable numbers arrive again."]
    _all_good_are_right(stream.join([u.rows for u in again]))


def test_the_page_shows_what_is_lost_and_its_json_is_what_browsers_read():
    import json

    from pitl.live import limb

    raw = RECORDING.emg[:8000].copy()
    raw[4000:] = 3e38
    blocks = [b._replace(angle=np.full((len(b.emg), 1), np.inf)) for b in _blocks(raw)]
    board, source = page.Board(), _Scripted(blocks)
    page.drive(board, session.Seat(ENGINE), source, lambda: source)
    frame = page.frame(board, limb.limb(MODEL.limb, "pronated"), 0, 0)
    read = json.loads(json.dumps(frame, allow_nan=False))
    assert read["answers"][-1][4] == LOST and read["answers"][-1][5] is None
    assert any("no usable numbers" in e for e in read["events"])
    assert read["samples"] == [4000, 200, 3800, 4000]


# Datagrams of others


def _packets(size=50, begin=0, end=6000, start=0):
    made = []
    for k in range(begin, end, size):
        emg, angle, first = RECORDING.emg[k : k + size], RECORDING.angle[k : k + size], start + k
        made.append(udp.Packet(emg, angle, first, 50 + first / RATE_HZ, RATE_HZ))
    return made


_FIRST = _packets()[0]
STRAYS = {
    "noise": b"hello",
    "nothing": b"",
    "cut": udp.pack(_FIRST)[:-3],
    "version": udp.pack(_FIRST)[:4] + b"\x09\x00" + udp.pack(_FIRST)[6:],
    "channels": udp.pack(_FIRST._replace(emg=np.zeros((50, 3)))),
    "no angle": udp.pack(_FIRST._replace(angle=np.zeros((50, 0)))),
    "rate": udp.pack(_FIRST._replace(rate_hz=1000.0)),
    "rate below zero": udp.pack(_FIRST._replace(rate_hz=-1.0)),
    "rate no number": udp.pack(_FIRST._replace(rate_hz=np.nan)),
    "time no number": udp.pack(_FIRST._replace(time_s=np.inf)),
    "time far away": udp.pack(_FIRST._replace(time_s=1e300)),
    "empty": udp.pack(_FIRST._replace(emg=np.zeros((0, 5)), angle=np.zeros((0, 1)))),
    "ahead": udp.pack(_FIRST._replace(first=2**63)),
    "late": udp.pack(_FIRST),
}


@pytest.mark.parametrize("name", STRAYS)
@pytest.mark.parametrize("at", [0, 1, 100])
@pytest.mark.parametrize("sender", [US, OTHER])
def test_one_stray_datagram_changes_nothing(name, at, sender):
    if at < 2 and sender == US and name in ("no angle", "rate", "ahead", "late", "time far away"):
        pytest.skip("it is the sender's own first packet: which of two is the stray cannot be known")
    sent = [(udp.pack(p), US) for p in _packets()]
    sent.insert(at, (STRAYS[name], sender))
    wire, result = udp.Filter("udp:here", WANTED), []
    for data, who in sent:
        result += wire.take(data, who)
    assert [p.first for p in result] == list(range(0, 6000, 50))
    assert wire.dropped == 1 and wire.reason.startswith("udp:here") and wire.reason.endswith((".", "?"))
    assert wire.shape == (5, 1, RATE_HZ)


def test_a_second_sender_neither_mixes_in_nor_silences_the_first():
    wire, result = udp.Filter("udp:here", WANTED), []
    for k, (a, b) in enumerate(zip(_packets(), _packets(start=777), strict=True)):
        result += wire.take(udp.pack(a), US)
        if k > 3:
            result += wire.take(udp.pack(b._replace(emg=-b.emg)), OTHER)
    assert [p.first for p in result] == list(range(0, 6000, 50))
    assert wire.dropped == 116 and "second sender, 127.0.0.1:2" in wire.reason


def test_jumps_that_last_are_followed():
    gap, again = _packets(end=1000) + _packets(begin=4000), _packets(end=3000) + _packets(end=1000)
    for packets in (gap, again):
        wire, result = udp.Filter("udp:here", WANTED), []
        for p in packets:
            result += wire.take(udp.pack(p), US)
        assert [p.first for p in result] == [p.first for p in packets] and wire.dropped == 0


def test_a_late_packet_books_nothing_as_lost():
    packets = _packets()
    packets.insert(100, packets[2])  # 2.4 s late
    packets.insert(110, packets[105])  # a repetition
    wire, state = udp.Filter("udp:here", WANTED), stream.start(ENGINE)
    for data in map(udp.pack, packets):
        for p in wire.take(data, US):
            at = p.time_s + np.arange(len(p.emg)) / RATE_HZ
            state, _ = stream.step(ENGINE, state, SampleBlock(p.emg, at, p.first))
    assert (state.taken, state.held, state.lost, state.dropped, wire.dropped) == (6000, 0, 0, 50, 1)


def test_a_lone_packet_is_enough_when_nobody_else_speaks():
    wire = udp.Filter("udp:here", WANTED)
    assert wire.take(udp.pack(_FIRST), US) == [] and len(wire.settle()) == 1


def test_what_was_dropped_is_said_once_and_counted():
    blocks = list(_blocks())
    blocks[10] = blocks[10]._replace(foreign=1, event="a packet of others.")
    blocks[20] = SampleBlock(np.zeros((0, 5)), np.zeros(0), foreign=3)
    updates = _session(blocks)
    assert updates[-1].state.foreign == 4
    assert [u.event for u in updates if u.event][0] == "a packet of others."


def test_holes_in_the_first_seconds_do_not_end_the_stream_and_a_wrong_rate_does():
    keep = [b._replace(first=None) for b in _blocks() if b.first % 2000 < 1400]
    assert _session(keep)[-1].state.taken == sum(len(b.emg) for b in keep)
    with pytest.raises(PitlError, match="advance at 1000"):
        _session(SampleBlock(b.emg, 2 * b.time_s) for b in _blocks(size=100))


def test_a_calibration_learns_from_nothing_that_was_not_sent():
    from pitl.live.calibrate import Calibration

    raw = RECORDING.emg.copy()
    raw[500:520] = 1e10
    blocks = list(_blocks(raw))
    blocks.insert(40, blocks[39])  # a repetition
    del blocks[60]
    calibration, seat, source = Calibration(MODEL, 100.0, False), session.Seat(ENGINE), _Scripted(blocks)
    for update in session.run(seat, source, lambda: source):
        calibration.feed(seat, update)
    fed = np.concatenate(calibration._emg)
    expected = replace(RECORDING, emg=raw).emg
    expected[500:520] = np.nan
    expected[59 * 20 : 60 * 20] = np.nan
    np.testing.assert_array_equal(fed, expected)


# All of it at once


class _Wire:
    """What a sender sends, through what the UDP and LSL sources are made of; at None in it the source vanishes."""

    def __init__(self, kind, sent):
        self.layout, self.kind, self.sent = Layout(CHANNELS, RATE_HZ), kind, sent
        self.filter, self.line, self.waiting, self.told = udp.Filter("udp:here", WANTED), None, [], 0

    def read(self, wait_s):
        while self.sent and not self.waiting:
            one = self.sent.pop(0)
            if one is None:
                raise Vanished(f"{self.kind} has vanished.")
            if self.kind == "udp":
                for p in self.filter.take(*one):
                    time_s = p.time_s + np.arange(len(p.emg)) / p.rate_hz
                    self.waiting.append(SampleBlock(p.emg, time_s, p.first))
            else:
                emg, stamps = one
                self.line = timeline.begin(stamps[0], RATE_HZ) if self.line is None else self.line
                self.line, pieces, event = timeline.place(self.line, stamps)
                assert event is None
                self.waiting += [SampleBlock(emg[p.begin : p.end], p.time_s, p.first) for p in pieces]
        if not self.waiting:
            return None
        foreign, self.told = self.filter.dropped - self.told, self.filter.dropped
        return self.waiting.pop(0)._replace(foreign=foreign)

    def close(self):
        pass


def _hurt(raw, kind, seed, faults):
    """Chunks of 20 samples as they arrive, and how many samples of the sender did."""
    random, size = np.random.default_rng(seed), 20
    chunks = [np.arange(k, k + size) for k in range(0, len(raw), size)]
    keep = np.ones(len(chunks), bool)
    if "loss" in faults:
        keep[100:-100] = random.uniform(size=len(chunks) - 200) > 0.02  # near the ends there is time to forget
        keep[200:220] = False
    if "vanish" in faults:
        keep[300:345] = False
    order = [k for k in range(len(chunks)) if keep[k]]
    if "order" in faults and kind == "udp":  # LSL keeps it
        for k in random.integers(100, len(order) - 100, 8):
            order[k], order[k + 1] = order[k + 1], order[k]
        order[150:150] = order[148:150]
    sent, late_s = [], 2e-3 * random.uniform(size=len(chunks)) * ("jitter" in faults)
    for k in order:
        if "vanish" in faults and k >= 345 and None not in sent:
            sent.append(None)
        at = chunks[k]
        if kind == "udp":
            packet = udp.Packet(raw[at], np.zeros((size, 1)), int(at[0]), 50 + at[0] / RATE_HZ + late_s[k], RATE_HZ)
            sent.append((udp.pack(packet), US))
            if "second" in faults and k > 5 and random.uniform() < 0.3:
                sent.append((udp.pack(packet._replace(emg=-packet.emg, first=packet.first + 7)), OTHER))
        else:
            sent.append((raw[at], 50 + at / RATE_HZ + late_s[k]))
    return sent, len(order) * size


_FAULTS = ("loss", "jitter", "order", "second", "nan", "vanish")


@pytest.mark.parametrize(("seed", "faults"), [*((0, (f,)) for f in _FAULTS), (0, _FAULTS), (1, _FAULTS)])
@pytest.mark.parametrize("kind", ["udp", "lsl"])
def test_every_sample_is_accounted_for_and_good_answers_are_those_of_the_whole_recording(kind, seed, faults):
    raw = RECORDING.emg.copy()
    if "nan" in faults:
        raw[3000:3030], raw[7000:7500, 1] = np.nan, np.nan
    sent, came = _hurt(raw, kind, seed, faults)
    source = _Wire(kind, sent)
    updates = list(session.run(session.Seat(ENGINE), source, lambda: _Wire(kind, sent)))
    state, rows = updates[-1].state, stream.join([u.rows for u in updates])
    assert state.taken + state.dropped == came
    # where LSL is opened again, its stamps, which wander, say how long it was gone
    exact = kind == "udp" or "vanish" not in faults or "jitter" not in faults
    assert abs(state.taken + state.held + state.lost - len(raw)) <= (0 if exact else 4)
    assert (state.foreign > 0) == (kind == "udp" and "second" in faults)
    assert ("vanish" in faults) == any("has vanished" in (u.event or "") for u in updates)
    good = rows.flag == GOOD
    at = np.round((rows.time_s[good] - 50) * 100).astype(int) - 39
    offline = OFFLINE.angle[np.clip(at, 0, len(OFFLINE.angle) - 1)]
    assert np.abs(np.rad2deg(rows.angle[good] - offline)).max() < 1.0
    assert good.sum() > 60 and good[-1]
