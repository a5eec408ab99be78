"""Live equals offline: on the same samples, for any size of block, for every kind of model."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_models import RATE_HZ, deviating, gained, wrist_model, wrist_recording

from pitl.errors import PitlError
from pitl.learn.predict import predict_recording
from pitl.live import stream
from pitl.live.stream import GOOD, HELD, LOST, SampleBlock
from pitl.signals import emg, emg_steps

RECORDING = wrist_recording()
MODEL = wrist_model()
ENGINE = stream.engine(MODEL, RATE_HZ, "pronated")
OFFLINE = predict_recording(MODEL, RECORDING)
ORIGIN_S = 1000.0


def _blocks(recording, sizes, counted=False):
    time = ORIGIN_S + np.arange(len(recording.emg)) / recording.rate_hz
    begin = 0
    for size in itertools.cycle(sizes):
        if begin >= len(time):
            return
        end = min(begin + size, len(time))
        yield SampleBlock(recording.emg[begin:end], time[begin:end], begin if counted else None)
        begin = end


def _run(engine, blocks):
    state, parts = stream.start(engine), []
    for block in blocks:
        state, rows = stream.step(engine, state, block)
        parts.append(rows)
    return state, stream.join(parts)


def _same(rows, offline, rtol=1e-4, atol=1e-5):
    np.testing.assert_allclose(rows.time_s - ORIGIN_S, offline.time_s, atol=1e-6)
    np.testing.assert_allclose(rows.angle, offline.angle, rtol=rtol, atol=atol)
    np.testing.assert_allclose(rows.force, offline.force, rtol=rtol, atol=1e-3)


@pytest.mark.parametrize("size", [1, 7, 20, 21, 160, 161, 100_000])
def test_live_equals_offline(size):
    state, rows = _run(ENGINE, _blocks(RECORDING, [size]))
    _same(rows, OFFLINE)
    assert (rows.flag == GOOD).all()
    assert (state.taken, state.held, state.lost) == (len(RECORDING.emg), 0, 0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 20), st.booleans())
def test_live_equals_offline_for_blocks_of_any_size(sizes, counted):
    _same(_run(ENGINE, _blocks(RECORDING, sizes, counted))[1], OFFLINE)


def test_forces_at_told_gains_and_their_intervals_are_the_offline_ones():
    model = gained(deviating(MODEL))
    offline = predict_recording(model, RECORDING)
    rows = _run(stream.engine(model, RATE_HZ, "pronated"), _blocks(RECORDING, [7, 777]))[1]
    _same(rows, offline)
    np.testing.assert_allclose(rows.force_half, offline.force_half, rtol=1e-4, atol=1e-3)
    usual = predict_recording(deviating(MODEL), RECORDING)
    np.testing.assert_allclose(rows.force / usual.force, np.tile(model.gains.factor, (len(rows.force), 1)), rtol=1e-3)


def test_held_back_errors_are_the_intervals_where_forces_had_labels():
    known = [3.0, 1.0, 2.0, 5.0, 4.0]  # N
    for model, half in ((MODEL, np.full(5, np.nan)), (MODEL.with_history(trust={"force_half_n": known}), known)):
        rows = _run(stream.engine(model, RATE_HZ, "pronated"), _blocks(RECORDING, [4000]))[1]
        np.testing.assert_array_equal(rows.force_half, np.tile(np.float32(half), (len(rows.force), 1)))


@pytest.mark.parametrize("normalisation", ["zscore", "fixed"])
@pytest.mark.parametrize("size", [20, 777])
def test_every_normalisation(normalisation, size):
    model = wrist_model(normalisation)
    engine = stream.engine(model, RATE_HZ, "pronated")
    _same(_run(engine, _blocks(RECORDING, [size]))[1], predict_recording(model, RECORDING))


@pytest.mark.parametrize("activation", ["gelu", "softplus", "relu"])
def test_every_activation(activation):
    model = wrist_model(activation=activation)
    engine = stream.engine(model, RATE_HZ, "pronated")
    _same(_run(engine, _blocks(RECORDING, [64]))[1], predict_recording(model, RECORDING))


def test_the_time_input_ablation():
    model = wrist_model(derivative="time_input")
    engine = stream.engine(model, RATE_HZ, "pronated")
    _same(_run(engine, _blocks(RECORDING, [50]))[1], predict_recording(model, RECORDING))


@pytest.mark.parametrize("rate_hz", [1000.0, 1926.0, 2148.1481])
def test_rates_that_the_output_does_not_divide(rate_hz):
    recording = wrist_recording(rate_hz=rate_hz)
    engine = stream.engine(MODEL, rate_hz, "pronated")
    for size in (1, 19, 500):
        _same(_run(engine, _blocks(recording, [size]))[1], predict_recording(MODEL, recording))


@pytest.mark.parametrize("posture", ["neutral", "pronated"])
@pytest.mark.parametrize("inherited", [True, False])
def test_the_deviation_is_in_the_angle_and_not_in_the_force(posture, inherited):
    own = deviating(MODEL)
    if not inherited:  # an encoder of the person's own, beside the one that the deviation reads
        own = own.replace(params={**own.params, "encoder": wrist_model(seed=4).params["encoder"]})
    recording = replace(RECORDING, posture=posture)
    engine = stream.engine(own, RATE_HZ, posture)
    assert (engine.answers[0].forces is None) == inherited
    rows, offline = _run(engine, _blocks(recording, [160]))[1], predict_recording(own, recording)
    np.testing.assert_allclose(rows.angle, offline.angle, atol=2e-5)
    np.testing.assert_allclose(rows.force, offline.force, rtol=1e-4, atol=1e-3)
    without = predict_recording(own.replace(deviation=None), recording)
    np.testing.assert_array_equal(offline.force, without.force)
    assert np.abs(offline.angle - without.angle).max() > 0.05


def test_the_posture_matters():
    neutral = stream.engine(MODEL, RATE_HZ)
    assert neutral.posture == "neutral"
    angle = _run(neutral, _blocks(RECORDING, [500]))[1].angle
    assert np.abs(angle - OFFLINE.angle).max() > 0.01


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, emg_steps.FEW + 40), min_size=1, max_size=30))
def test_the_filter_may_change_between_samples_and_blocks(sizes):
    design = emg.design(MODEL.emg, RATE_HZ)
    few = emg_steps.sample_filter(design)
    raw = RECORDING.emg[: sum(sizes)]
    state, result, begin = emg.initial_state(design, 5), [], 0
    for size in sizes:
        state, envelope = emg_steps.advance(few, state, raw[begin : begin + size])
        result.append(envelope)
        begin += size
    expected = emg.envelope(design, raw).jets[:, 0]
    np.testing.assert_allclose(np.concatenate(result), expected, rtol=1e-9, atol=1e-15)


def _without(blocks, first, last):
    """Drops the samples from `first` to `last`, as a lost packet does."""
    for b in blocks:
        if not (first <= b.first < last):
            yield b


@pytest.mark.parametrize("counted", [True, False])
def test_a_short_gap_is_bridged_and_flagged(counted):
    whole = list(_blocks(RECORDING, [20], counted=True))
    kept = list(_without(whole, 4000, 4100))  # 50 ms
    if not counted:
        kept = [b._replace(first=None) for b in kept]
    state, rows = _run(ENGINE, kept)
    assert (state.held, state.lost, state.taken) == (100, 0, len(RECORDING.emg) - 100)
    np.testing.assert_allclose(rows.time_s - ORIGIN_S, OFFLINE.time_s, atol=1e-6)  # no answer is missing
    at = rows.time_s - ORIGIN_S
    held = (at > 2.0 - 1e-6) & (at < 2.05 + ENGINE.forget / 100 - 0.005)
    assert (rows.flag[held] == HELD).mean() > 0.95 and (rows.flag[~held] == GOOD).all()
    np.testing.assert_allclose(rows.angle[at < 1.99], OFFLINE.angle[at < 1.99], rtol=1e-4, atol=1e-5)
    # what was held is forgotten: a second later both agree again
    late = at > 3.2
    np.testing.assert_allclose(rows.angle[late], OFFLINE.angle[late], atol=2e-3)
    assert np.isfinite(rows.angle).all()


def test_a_held_envelope_stands_still():
    whole = list(_blocks(RECORDING, [20], counted=True))
    _, rows = _run(ENGINE, _without(whole, 4000, 4200))
    at = rows.time_s - ORIGIN_S
    during = rows.envelope[(at > 2.005) & (at < 2.095)]
    assert len(during) == 9
    np.testing.assert_array_equal(during, np.broadcast_to(during[:1], during.shape))


def test_a_long_gap_is_flagged_once_and_the_stream_starts_afresh():
    whole = list(_blocks(RECORDING, [20], counted=True))
    state, rows = _run(ENGINE, _without(whole, 3000, 4000))  # 500 ms
    assert state.lost == 1000 and state.held == 0
    lost = np.flatnonzero(rows.flag == LOST)
    assert len(lost) == 1
    np.testing.assert_array_equal(rows.angle[lost], rows.angle[lost - 1])
    # afterwards it is the answer to a recording that begins there
    rest = wrist_recording()
    later = predict_recording(MODEL, type(rest)(**{**vars(rest), "emg": rest.emg[4000:], "angle": rest.angle[4000:]}))
    after = rows.angle[lost[0] + 1 :]
    np.testing.assert_allclose(after, later.angle, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows.time_s[lost[0] + 1 :] - ORIGIN_S, later.time_s + 2.0, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_jitter_of_the_time_stamps_changes_no_answer(seed):
    random = np.random.default_rng(seed)
    blocks = [
        b._replace(time_s=b.time_s + random.uniform(-0.4, 0.4) * stream.JITTER_S) for b in _blocks(RECORDING, [37])
    ]
    state, rows = _run(ENGINE, blocks)
    assert state.held == state.lost == 0
    np.testing.assert_allclose(rows.angle, OFFLINE.angle, rtol=1e-4, atol=1e-5)


def test_repeated_and_late_samples_are_dropped():
    blocks = list(_blocks(RECORDING, [100], counted=True))
    noisy = []
    for k, b in enumerate(blocks):
        noisy.append(b)
        if k % 5 == 3:
            noisy.append(blocks[k - 1])  # an old packet
            noisy.append(b)  # the same once more
    state, rows = _run(ENGINE, noisy)
    assert state.taken == len(RECORDING.emg)
    _same(rows, OFFLINE)


def test_samples_that_are_no_numbers_count_as_lost():
    emg_ = RECORDING.emg.copy()
    emg_[4000:4100, 2] = np.nan
    emg_[5000] = np.inf
    blocks = [b._replace(emg=emg_[b.first : b.first + len(b.emg)]) for b in _blocks(RECORDING, [333], counted=True)]
    state, rows = _run(ENGINE, blocks)
    assert (state.held, state.lost) == (101, 0)
    assert np.isfinite(rows.angle).all() and np.isfinite(rows.force).all()
    assert set(np.unique(rows.flag)) == {GOOD, HELD}


def test_a_source_that_begins_again_starts_afresh():
    blocks = list(_blocks(RECORDING, [200], counted=True))
    again = [b._replace(time_s=b.time_s + 10.0) for b in blocks]
    _, rows = _run(ENGINE, [*blocks, *again])
    half = np.flatnonzero(rows.flag == LOST)
    assert len(half) == 1
    np.testing.assert_allclose(rows.angle[half[0] + 1 :], OFFLINE.angle, rtol=1e-4, atol=1e-5)


def test_a_step_leaves_its_state_alone():
    state = stream.start(ENGINE)
    first, second, *_ = _blocks(RECORDING, [1500])
    state, _ = stream.step(ENGINE, state, first)
    once = stream.step(ENGINE, state, second)[1]
    twice = stream.step(ENGINE, state, second)[1]
    np.testing.assert_array_equal(once.force, twice.force)


def test_what_cannot_be_streamed_is_said():
    with pytest.raises(PitlError, match="generic model.*personalise it first"):
        stream.engine(wrist_model(generic=True), RATE_HZ)
    with pytest.raises(PitlError, match="no posture 'sitting'; known are neutral, pronated"):
        stream.engine(MODEL, RATE_HZ, "sitting")
    with pytest.raises(PitlError, match="raw surface EMG needs about 1000 Hz"):
        stream.engine(MODEL, 50.0)
