"""A store gives back what was put in, draws whole windows of whom it is asked for, and trains what memory trains."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import problem as made_up
from pitl.config.schema import TrainConfig
from pitl.errors import PitlError
from pitl.learn import generic, store
from pitl.signals import samples as gathering

NET = made_up.DEFAULT
TRIALS = tuple(store.Stored(k // 2, f"t{k}", 1500 * k, 1500 * (k + 1)) for k in range(8))  # two each of four people


@pytest.fixture(scope="module")
def samples():
    result = made_up.recordings(NET, 12_000, 4)
    envelope = result.jets[:, 0]  # labels that follow from it
    angle = envelope[:, :1] - envelope[:, 1:2]
    return result._replace(angle=angle, force=60.0 * envelope, posture=jnp.zeros(12_000, jnp.int32))


@pytest.fixture
def kept(samples, tmp_path):
    return store.write(tmp_path / "all.h5", samples, TRIALS)


def test_what_was_stored_is_read_back_to_the_bit(samples, kept):
    assert kept.rows == 12_000 and kept.trials == TRIALS
    for a, b in zip(store.read(kept, 1400, 4000), samples, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b[1400:4000])


def test_blocks_hold_contiguous_spans_of_the_right_people_inside_one_trial(samples, kept):
    drawn = store.blocks(kept, (1, 3), window=NET.window, segment=3, spans=6, length=200, seed=4)
    shapes, seen = set(), []
    for _, block in zip(range(30), drawn, strict=False):
        shapes.add(block.samples.jets.shape)
        time = np.asarray(block.samples.time).reshape(6, 200)
        rows = np.round(time * NET.rate_hz).astype(int)
        seen.append(rows)
        assert (np.diff(rows, axis=1) == 1).all()
        assert (rows[:, 0] // 1500 == rows[:, -1] // 1500).all()
        np.testing.assert_array_equal(block.samples.jets.reshape(6, 200, 3, 5), samples.jets[rows])
        assert set(np.asarray(block.samples.subject).tolist()) <= {1, 3}
        assert (block.segments[:, -1] // 200 == (block.segments[:, 0] - NET.window + 1) // 200).all()
    assert shapes == {(1200, 3, 5)}
    assert len(np.unique(seen)) > 0.9 * 6000  # all of their rows, in time
    again = next(store.blocks(kept, (1, 3), window=NET.window, segment=3, spans=6, length=200, seed=4))
    np.testing.assert_array_equal(np.round(np.asarray(again.samples.time) * NET.rate_hz).reshape(6, 200), seen[0])


def test_the_reading_thread_ends_with_its_reader(kept):
    drawn = store.blocks(kept, (0,), window=NET.window, spans=2, length=100)
    next(drawn)
    assert any(t.name == "pitl-reads-ahead" for t in threading.enumerate())
    drawn.close()
    assert not any(t.name == "pitl-reads-ahead" for t in threading.enumerate())


def test_training_from_a_store_learns_as_training_in_memory_does(samples, kept):
    task = made_up.training(NET, 2000, 4).replace(samples=samples)
    config = TrainConfig(steps=200, check_every=20, batch=32)
    held = gathering.neighbours(jnp.arange(9100, 10_400, 4), 0, 1)
    rows = np.concatenate([np.arange(t.start + NET.window - 1, t.stop) for t in TRIALS[:6]])[:, None]
    key = jax.random.key(0)
    inside = generic.fit(key, NET, task, rows, np.asarray(held), config, with_physics=False)
    drawn = store.blocks(kept, (0, 1, 2), window=NET.window, spans=8, length=256)
    outside = generic.fit(key, NET, task, drawn, np.asarray(held), config, with_physics=False)
    drawn.close()
    score = [t.history[:, 2:4].sum(axis=1) for t in (inside, outside)]
    assert score[1].min() < 0.5 * score[1][0]
    assert score[1].min() < 1.3 * score[0].min()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"force": None}, "force has no rows where 10"),
        ({"angle": np.zeros((9, 1))}, "angle has 9 rows where 10"),
        ({"jets": np.full((10, 3, 5), np.nan)}, "jets is not a finite number in row 0"),
        ({"torque": np.zeros((10, 2))}, "torque is \\(2,\\) wide"),
    ],
)
def test_a_trial_that_does_not_fit_is_refused_and_leaves_no_file(samples, tmp_path, change, says):
    good = {k: np.asarray(v[:10]) for k, v in samples._asdict().items()}
    bad = {k: v for k, v in (good | change).items() if v is not None}
    path = tmp_path / "bad.h5"
    with pytest.raises(PitlError, match=says), store.writer(path) as made:
        made.add("good", 0, good)
        made.add("bad", 1, bad)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_refused(kept, tmp_path):
    with pytest.raises(PitlError, match="there is no store"):
        store.open_store(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(PitlError, match="is no store of recordings"):
        store.open_store(tmp_path / "text.h5")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(kept.path.read_bytes()[:20_000])
    with pytest.raises(PitlError, match="damaged"):
        store.open_store(cut)
    with pytest.raises(PitlError, match="take shorter spans"):
        next(store.blocks(kept, (0,), window=NET.window, length=2000))
    with pytest.raises(PitlError, match="cannot hold a window"):
        next(store.blocks(kept, (0,), window=NET.window, length=20))


def test_a_file_that_goes_bad_while_it_is_read_stops_training_with_a_sentence(kept):
    drawn = store.blocks(kept._replace(path=kept.path.with_name("gone.h5")), (0,), window=NET.window, length=100)
    with pytest.raises(PitlError, match="cannot read .*gone.h5"):
        next(drawn)
