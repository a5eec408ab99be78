"""The envelope is causal, has exact derivatives, and does not depend on how the samples arrive."""

import numpy as np
import pytest

from pitl.config.schema import EmgConfig
from pitl.errors import PitlError
from pitl.signals import emg, normalise


def settings(**changes):
    """The defaults but for some, unchecked, as an order that is too low is refused by the filter too."""
    return EmgConfig.model_construct(**{**EmgConfig().model_dump(), **changes})


def burst(seconds=4.0, rate=2000.0, channels=3, seed=0):
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=(len(t), channels))
    return 1e-4 * noise * (1.2 + np.sin(2 * np.pi * 0.8 * t))[:, None]


@pytest.mark.parametrize("rate", [1000.0, 1024.0, 2000.0, 2148.1481])
@pytest.mark.parametrize("block", [1, 7, 333, 5000])
def test_blocks_of_any_size_give_the_same_envelope(rate, block):
    raw = burst(1.0 if block == 1 else 3.0, rate)
    f = emg.design(settings(), rate)
    whole = emg.envelope(f, raw)
    state, pieces = emg.initial_state(f, raw.shape[1]), []
    for i in range(0, len(raw), block):
        state, piece = emg.advance(f, state, raw[i : i + block])
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate([p.time_s for p in pieces]), whole.time_s)
    np.testing.assert_allclose(np.concatenate([p.jets for p in pieces]), whole.jets, rtol=0, atol=1e-13)


def test_the_future_does_not_change_the_past():
    raw = burst()
    f = emg.design(settings(), 2000.0)
    changed = raw.copy()
    changed[5000:] *= 10
    a, b = emg.envelope(f, raw), emg.envelope(f, changed)
    before = a.time_s < 5000 / 2000
    np.testing.assert_array_equal(a.jets[before], b.jets[before])
    assert not np.allclose(a.jets[~before], b.jets[~before])


@pytest.mark.parametrize("kind", ["bessel", "butterworth"])
@pytest.mark.parametrize("order", [3, 4, 5])
def test_rate_and_acceleration_are_the_derivatives_of_the_envelope(kind, order):
    f = emg.design(settings(lowpass_kind=kind, lowpass_order=order, rate_hz=2000.0), 2000.0)
    jets = emg.envelope(f, burst()).jets[200:]
    dt = 1 / 2000.0
    # the trapezoid of a derivative is the increment of what it derives from, to second order in the step
    for low, high in ((0, 1), (1, 2)):
        increment = np.diff(jets[:, low], axis=0) / dt
        middle = (jets[1:, high] + jets[:-1, high]) / 2
        assert np.max(np.abs(increment - middle)) < 0.02 * jets[:, high].std()
        assert np.max(np.abs(increment)) > jets[:, high].std()


def test_reading_between_samples_equals_a_finer_grid():
    raw = burst(2.0, 1000.0)
    coarse = emg.envelope(emg.design(settings(rate_hz=300.0), 1000.0), raw)
    # holding each sample (over the interval that it ends) three times leaves the continuous input as it was
    f = emg.design(settings(), 1000.0)
    fine = emg.EnvelopeFilter(f.sos, f.poles, f.readout, 1000.0, 1000.0)
    every = emg.envelope(fine, raw)
    shared_instants = np.arange(0, len(coarse.time_s), 3)
    np.testing.assert_allclose(
        coarse.jets[shared_instants], every.jets[(shared_instants // 3) * 10], rtol=1e-9, atol=1e-15
    )


def test_a_steady_contraction_has_a_steady_envelope_and_no_derivatives():
    t = np.arange(8000) / 2000.0
    raw = 1e-3 * np.sin(2 * np.pi * 100 * t)[:, None]
    jets = emg.envelope(emg.design(settings(), 2000.0), raw).jets[-50:]
    np.testing.assert_allclose(jets[:, 0], 1e-3 * 2 / np.pi, rtol=0.02)  # mean of a rectified sine
    assert np.max(np.abs(jets[:, 1])) < 1e-5


def test_an_electrode_offset_makes_no_start_up_burst():
    raw = burst()
    f = emg.design(settings(), 2000.0)
    with_offset = emg.envelope(f, raw + 5e-3).jets[:, 0]
    np.testing.assert_allclose(with_offset, emg.envelope(f, raw).jets[:, 0], atol=2e-5)


def test_group_delay_is_the_lag_behind_a_slow_ramp():
    f = emg.design(settings(), 2000.0)
    t = np.arange(20000) / 2000.0
    raw = (t * np.sin(2 * np.pi * 200 * t))[:, None]
    out = emg.envelope(f, raw)
    # a delayed ramp g (t - lag) has value over slope t - lag, whatever the gain g
    lag = np.mean(out.time_s[-100:] - out.jets[-100:, 0, 0] / out.jets[-100:, 1, 0])
    assert abs(lag - emg.group_delay_s(f)) < 5e-3
    assert 0.05 < emg.group_delay_s(f) < 0.12


def test_an_envelope_file_or_a_low_order_is_refused_in_one_sentence():
    with pytest.raises(PitlError, match="no band left"):
        emg.design(settings(), 50.0)
    with pytest.raises(PitlError, match="at least 3"):
        emg.design(settings(lowpass_order=2), 1000.0)


@pytest.mark.parametrize("method", ["blend", "mvc", "trial_max", "zscore", "fixed"])
def test_normalised_derivatives_are_derivatives_of_the_normalised_envelope(method):
    f = emg.design(settings(rate_hz=1000.0), 1000.0)
    jets = emg.envelope(f, burst(6.0, 1000.0)).jets
    scale = normalise.fit_scale(method, jets[:2000, 0], ("a", "b", "c"), mvc=np.array([1e-4, 2e-4, 3e-4]), window_s=2.0)
    z = normalise.normalise(scale, jets, 1000.0)[500:]
    for low, high in ((0, 1), (1, 2)):
        increment = np.diff(z[:, low], axis=0) * 1000.0
        middle = (z[1:, high] + z[:-1, high]) / 2
        assert np.max(np.abs(increment - middle)) < 0.03 * z[:, high].std()


def test_scale_comes_from_the_calibration_part_alone_and_blend_is_the_geometric_mean():
    jets = emg.envelope(emg.design(settings(), 2000.0), burst()).jets[:, 0]
    own = normalise.fit_scale("trial_max", jets[:100], ("a", "b", "c")).volts
    blend = normalise.fit_scale("blend", jets[:100], ("a", "b", "c"), fixed_v=5e-5).volts
    np.testing.assert_allclose(blend, np.sqrt(own * 5e-5))


def test_a_silent_channel_is_named():
    with pytest.raises(PitlError, match="channel VM is silent"):
        normalise.fit_scale("trial_max", np.array([[1e-4, 0.0]]), ("RF", "VM"))


@pytest.mark.parametrize("rate_hz", [100.0, 1000.0])
def test_an_envelope_keeps_its_size_has_exact_derivatives_and_begins_without_a_ramp(rate_hz):
    time = np.arange(int(6 * rate_hz)) / rate_hz
    given = 0.4 + 0.2 * np.sin(2 * np.pi * 0.5 * time)[:, None]
    filter_ = emg.design(EmgConfig(), rate_hz, "envelope")
    found = emg.envelope(filter_, given)
    late = np.interp(found.time_s - emg.group_delay_s(filter_), time, given[:, 0])
    np.testing.assert_allclose(found.jets[60:, 0, 0], late[60:], atol=0.004)
    assert abs(found.jets[0, 0, 0] - given[0, 0]) < 0.01
    rate = np.gradient(found.jets[:, 0, 0], found.time_s)
    np.testing.assert_allclose(found.jets[60:-1, 1, 0], rate[60:-1], atol=0.02)
    blocks, state = [], emg.initial_state(filter_, 1)
    for k in range(0, len(given), 37):
        state, piece = emg.advance(filter_, state, given[k : k + 37])
        blocks.append(piece.jets)
    np.testing.assert_allclose(np.concatenate(blocks), found.jets, atol=1e-12)


def test_rectified_emg_gives_what_raw_emg_without_a_band_pass_would():
    rng = np.random.default_rng(0)
    raw = 1e-4 * rng.normal(size=(4000, 2))
    a = emg.envelope(emg.design(EmgConfig(), 1000.0, "rectified"), np.abs(raw))
    b = emg.envelope(emg.design(EmgConfig(), 1000.0, "rectified"), raw)
    np.testing.assert_array_equal(a.jets, b.jets)
    assert a.jets[200:, 0].mean() == pytest.approx(np.abs(raw).mean(), rel=0.05)
