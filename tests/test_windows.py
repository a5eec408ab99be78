"""Nobody is on two sides, no window crosses a split, and every statistic comes from where it may."""

import dataclasses

import numpy as np
import pytest

from pitl.comparison.folds import make_folds
from pitl.config.schema import DataConfig, EvaluateConfig, PerturbConfig
from pitl.config.toml import Config
from pitl.data.recording import Cohort, Recording, Subject
from pitl.errors import PitlError
from pitl.signals import windows


def recording(subject="a", trial="t1", seconds=10.0, seed=0, **changes):
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 1000)) / 1000.0
    base = Recording(
        subject=subject,
        task="sen",
        trial=trial,
        posture="seated",
        rate_hz=1000.0,
        emg=1e-4 * rng.normal(size=(len(t), 2)),
        channels=("RF", "BF"),
        angle=0.5 + 0.4 * np.sin(2 * np.pi * 0.5 * t)[:, None],
        dofs=("knee_flexion",),
        source=f"{subject}-{trial}.csv",
    )
    return dataclasses.replace(base, **changes)


def cohort(*recordings):
    names = dict.fromkeys(r.subject for r in recordings)
    return Cohort("c", "knee", tuple(Subject(n, tuple(r for r in recordings if r.subject == n)) for n in names))


CONFIG = Config()
POSTURES = ("seated", "standing")


def window_of(config):
    return windows.window_samples(config.window, config.emg)


def table(*recordings, config=CONFIG):
    return windows.tabulate(
        cohort(*recordings), config.data, config.emg, config.perturb, window_of(config), POSTURES, 1
    )


def test_calibration_and_test_windows_never_share_a_sample():
    t = table(recording(), recording(trial="t2", seed=1))
    window = window_of(CONFIG)
    seen = windows.rows_of(t, "calibration", window=window)
    unseen = windows.rows_of(t, "test", window=window)
    used = {r - k for r in seen for k in range(window)}
    assert not used & {r - k for r in unseen for k in range(window)}
    assert len(seen) and len(unseen)


def test_a_window_never_reaches_into_another_trial():
    t = table(recording(), recording("b", seed=1))
    window = window_of(CONFIG)
    rows = windows.rows_of(t, "all", window=window)
    assert np.all(t.subject[rows] == t.subject[rows - window + 1])


def test_the_scale_ignores_what_comes_after_calibration():
    quiet = recording()
    loud = np.array(quiet.emg)
    loud[6000:] *= 50
    a, b = table(quiet), table(dataclasses.replace(quiet, emg=loud))
    np.testing.assert_array_equal(a.scales[0].volts, b.scales[0].volts)
    np.testing.assert_array_equal(a.jets[:500], b.jets[:500])
    assert not np.array_equal(a.jets, b.jets)


def test_unusable_samples_take_every_window_that_touches_them():
    valid = np.ones(10000, bool)
    valid[5000:5200] = False
    t = table(recording(valid=valid))
    window = window_of(CONFIG)
    rows = windows.rows_of(t, "all", window=window)
    assert not np.isin(rows, np.arange(500, 520 + window - 1)).any()
    assert 499 in rows and 520 + window in rows


def test_contiguous_segments_stay_inside_a_trial():
    t = table(recording(), recording(trial="t2", seed=1))
    rows = windows.rows_of(t, "all", window=window_of(CONFIG))
    good = windows.contiguous(rows, t, 11)
    starts = rows[: len(good)][good]
    for trial in t.trials:
        crossing = (starts < trial.stop) & (starts + 10 >= trial.stop)
        assert not crossing.any()
    assert good.any()


def test_measured_motion_is_smoothed_without_delay_and_differentiated():
    t = np.arange(4000) / 1000.0
    motion = windows.smooth_motion(np.sin(2 * np.pi * t)[:, None], 1000.0, 6.0)
    middle = slice(1000, 3000)
    np.testing.assert_allclose(motion.angle[middle, 0], np.sin(2 * np.pi * t[middle]), atol=2e-3)
    np.testing.assert_allclose(motion.rate[middle, 0], 2 * np.pi * np.cos(2 * np.pi * t[middle]), atol=2e-2)
    expected = -((2 * np.pi) ** 2) * np.sin(2 * np.pi * t[middle])
    np.testing.assert_allclose(motion.acceleration[middle, 0], expected, atol=0.1)


def test_every_subject_is_a_target_once_and_never_its_own_source():
    for setting in ("loso", 2, 3):
        result = make_folds(EvaluateConfig(folds=setting), CONFIG.train, 7)
        assert sorted(s for f in result for s in f.target) == list(range(7))
        for f in result:
            sides = [*f.source, *f.held_out, *f.target]
            assert sorted(sides) == list(range(7))


def test_too_few_subjects_and_too_short_trials_are_one_sentence():
    with pytest.raises(PitlError, match="at least 3"):
        make_folds(CONFIG.evaluate, CONFIG.train, 2)
    with pytest.raises(PitlError, match="too short"):
        table(recording(seconds=1.0))
    with pytest.raises(PitlError, match="posture 'lying'"):
        table(recording(posture="lying"))
    with pytest.raises(PitlError, match="maximum voluntary contraction"):
        table(recording(), config=Config.model_validate({"emg": {"normalisation": "mvc"}, "data": DataConfig()}))


@pytest.mark.parametrize("part", [0.1, 0.2, 0.4])
def test_a_fixed_test_part_does_not_move_with_the_calibration(part):
    chosen = CONFIG.model_copy(update={"data": DataConfig(calibration_fraction=part, test_after=0.5)})
    whole = CONFIG.model_copy(update={"data": DataConfig(calibration_fraction=0.4, test_after=0.5)})
    window = window_of(CONFIG)
    a, b = (windows.rows_of(table(recording(), config=c), "test", window=window) for c in (chosen, whole))
    np.testing.assert_array_equal(a, b)
    assert a[0] == 500


def test_a_test_part_that_begins_within_the_calibration_is_refused():
    chosen = CONFIG.model_copy(update={"data": DataConfig(calibration_fraction=0.4, test_after=0.42)})
    with pytest.raises(PitlError, match="before calibration and gap end at 4.50 s"):
        table(recording(), config=chosen)


@pytest.mark.parametrize("change", [{"noise": 0.5}, {"shift": 0.3}, {"gain_spread": 0.3}, {"lost": 1}])
def test_perturbing_the_test_leaves_calibration_untouched(change):
    chosen = CONFIG.model_copy(update={"perturb": PerturbConfig(**change)})
    window = window_of(CONFIG)
    people = (recording(), recording("b", seed=1))
    clean, spoilt = table(*people), table(*people, config=chosen)
    seen, unseen = (windows.rows_of(clean, part, window=window) for part in ("calibration", "test"))
    used = np.unique([r - k for r in seen for k in range(window)])
    np.testing.assert_array_equal(clean.jets[used], spoilt.jets[used])
    for a, b in zip(clean.scales, spoilt.scales, strict=True):
        np.testing.assert_array_equal(a.volts, b.volts)
    assert np.abs(clean.jets[unseen, 0] - spoilt.jets[unseen, 0]).mean() > 1e-2


def test_people_lose_different_channels_and_the_first_window_of_the_test_has_lost_it_too():
    config = CONFIG.model_copy(update={"perturb": PerturbConfig(lost=1)})
    t = table(recording(), recording("b", seed=1), config=config)
    for person, trial in enumerate(t.trials):
        envelope = t.jets[trial.test_start : trial.stop, 0]
        assert np.abs(envelope[:, person]).max() < 0.05 * np.abs(envelope[:, 1 - person]).max()


def test_losing_every_channel_is_refused():
    config = CONFIG.model_copy(update={"perturb": PerturbConfig(lost=2)})
    with pytest.raises(PitlError, match="silences all 2 channels of a"):
        table(recording(), config=config)


def test_fewer_source_people_are_fewer_and_still_on_one_side():
    config = CONFIG.model_copy(update={"evaluate": EvaluateConfig(sources=3)})
    for fold in make_folds(config.evaluate, config.train, 8):
        assert len(fold.source) + len(fold.held_out) == 3
        assert not set(fold.source) & set(fold.held_out) and not set(fold.target) & {*fold.source, *fold.held_out}


def test_envelopes_in_parts_of_the_maximum_stay_as_they_are_and_kinds_are_not_mixed():
    values = 0.3 + 0.2 * np.sin(np.arange(10_000) / 700.0)[:, None] * np.ones((1, 2))
    given = recording(emg=values, emg_kind="envelope", emg_unit="1")
    t = table(given)
    np.testing.assert_array_equal(t.scales[0].volts, 1.0)
    assert t.jets[100:, 0].max() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(PitlError, match="mixes kinds of EMG"):
        table(given, recording("b"))
