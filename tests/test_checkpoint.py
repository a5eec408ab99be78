import errno
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

from pitl import files
from pitl.errors import PitlError


def _tree():
    return {
        "params": {"w": jnp.arange(6.0).reshape(2, 3), "half": jnp.full((3,), 1.3, jnp.bfloat16)},
        "double": np.random.default_rng(0).normal(size=(40, 3)),
        "special": np.array([np.nan, -0.0, np.inf, 5e-324]),
        "count": np.int64(2**40),
        "flag": np.array([True, False]),
        "none yet": np.zeros((0, 3), np.float32),
        "a/b.c": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    }


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "sub" / "model"
    files.save_checkpoint(folder, _tree(), {"net": [1, 2], "name": "ü"})
    return folder


def _say(folder):
    with pytest.raises(PitlError) as caught:
        files.load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_every_bit_and_type_comes_back(saved):
    tree, meta = files.load_checkpoint(saved)
    assert meta == {"net": [1, 2], "name": "ü"}
    assert jax.tree.structure(tree) == jax.tree.structure(_tree())
    for before, after in zip(jax.tree.leaves(_tree()), jax.tree.leaves(tree), strict=True):
        before = np.asarray(before)
        assert (before.dtype, before.shape, before.tobytes()) == (after.dtype, after.shape, after.tobytes())


def test_nothing_else_is_left_in_the_folder(saved):
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_second_save_takes_the_place_of_the_first(saved):
    files.save_checkpoint(saved, {"x": np.ones(2)}, {})
    tree, meta = files.load_checkpoint(saved)
    assert list(tree) == ["x"]
    assert meta == {}
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_tree_without_arrays(tmp_path):
    files.save_checkpoint(tmp_path / "empty", {}, {"only": "this"})
    assert files.load_checkpoint(tmp_path / "empty") == ({}, {"only": "this"})


@pytest.mark.parametrize("damage", [lambda good: good[: len(good) // 2], lambda good: good[:-1] + b"\xa5", None])
def test_damage_of_any_file_is_noticed(saved, damage):
    written = [p for p in saved.rglob("*") if p.is_file()]
    assert len(written) > 3
    for file in written:
        good = file.read_bytes()
        if damage is None:
            file.unlink()
        elif damage(good) == good:
            continue
        else:
            file.write_bytes(damage(good))
        assert file.name in _say(saved)
        file.write_bytes(good)
    files.load_checkpoint(saved)


def test_a_truncated_description_is_noticed(saved):
    text = (saved / "pitl.json").read_text()
    (saved / "pitl.json").write_text(text[: len(text) // 2])
    assert "is damaged (pitl.json" in _say(saved)


def test_an_edited_description_is_noticed(saved):
    text = (saved / "pitl.json").read_text()
    (saved / "pitl.json").write_text(text.replace('"name": "\\u00fc"', '"name": "v"'))
    assert "pitl.json differs from what was saved" in _say(saved)


def test_what_is_no_checkpoint_is_never_replaced(tmp_path, saved):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    (recordings / "anna.csv").write_text("time")
    (saved / "my notes").write_text("mine")
    for folder, name in ((recordings, "anna.csv"), (saved, "my notes")):
        with pytest.raises(PitlError, match=f"holds {name}, which is no part of a model, and would be deleted"):
            files.save_checkpoint(folder, {"x": np.ones(2)}, {})
        assert (folder / name).exists()


def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "notes").write_text("mine")
    for place, match in (("notes", "notes is a file"), ("notes/model", "Not a directory"), ("a" * 300, "too long"),
                         ("a" * 240, "too long")):  # fmt: skip
        with pytest.raises(PitlError, match=match):
            files.check_place(tmp_path / place)
    files.check_place(tmp_path / "a" / "b" / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["notes"]


def test_a_link_to_a_checkpoint_stays_a_link(tmp_path, saved):
    (tmp_path / "link").symlink_to(saved)
    files.save_checkpoint(tmp_path / "link", {"x": np.ones(2)}, {})
    assert (tmp_path / "link").is_symlink() and list(files.load_checkpoint(saved)[0]) == ["x"]
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("stops_at", [1, 2])
def test_there_is_always_a_model_where_folders_cannot_be_exchanged(saved, monkeypatch, stops_at):
    real, calls = type(saved).rename, []

    def rename(path, target):
        calls.append(target)
        if len(calls) == stops_at:
            raise KeyboardInterrupt  # in place of a kill
        return real(path, target)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(type(saved), "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint(saved, {"x": np.ones(2)}, {})
    monkeypatch.undo()
    assert "special" in files.load_checkpoint(saved)[0]
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    files.save_checkpoint(saved, {"x": np.ones(2)}, {})
    assert list(files.load_checkpoint(saved)[0]) == ["x"] and [p.name for p in saved.parent.iterdir()] == ["model"]


def test_what_killed_processes_left_is_swept_and_what_others_write_is_not(saved):
    here, beside = files._machine(), saved.parent
    dead, me = f"{2**22 + 1}@{here}-abcd1234", f"{os.getpid()}@{here}-abcd1234"  # no process has the first number
    for name in (f".model.{dead}", f".other.{dead}", f".model.{me}"):
        (beside / name).mkdir()
    (beside / f".a.json.{dead}").write_text("half")
    files.save_checkpoint(saved, {"x": np.ones(2)}, {})
    assert sorted(p.name for p in beside.iterdir()) == [
        f".a.json.{dead}", f".model.{me}", f".other.{dead}", "model",
    ]  # fmt: skip
    files.sweep(beside.parent)
    assert sorted(p.name for p in beside.iterdir()) == [f".model.{me}", "model"]


HOSTILE = [
    "../../x",
    "/abs/x",
    "a\0b",
    ".hidden",
    "..",
    ".",
    "",
    "~",
    "a/b",
    "a\\b",
    "-rf",
    "x" * 1000,
    "\ud800",
    "a\nb",
    "=1+1",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_stay_within_the_folder(tmp_path, name):
    made = files.safe_name(name)
    assert made[:1].isalnum() and len(made) < 100 and not set(made) & set("/\\\0\n ") and made.isascii()
    files.save_checkpoint(tmp_path / "models" / made, {"x": np.ones(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["models"] and [p.name for p in (tmp_path / "models").iterdir()] == [
        made
    ]


def test_different_names_never_share_a_folder():
    names = [*HOSTILE, "anna", "Anna", "a b", "a_b", "anna.", "anna-", "x" * 999]
    assert len({files.safe_name(n) for n in names}) == len(names)
    assert files.safe_name("anna") == "anna" and files.safe_name("V01-angle") == "V01-angle"


def test_another_schema_is_refused(saved):
    about = json.loads((saved / "pitl.json").read_text())
    (saved / "pitl.json").write_text(json.dumps({**about, "schema": 99}))
    assert "has schema 99, this version reads 1" in _say(saved)


def test_foreign_and_missing_folders_are_refused(tmp_path):
    assert "there is no folder" in _say(tmp_path / "nowhere")
    assert "it has no pitl.json" in _say(tmp_path)
    (tmp_path / "pitl.json").write_text("[]")
    assert "does not say so" in _say(tmp_path)


def test_a_full_disk_keeps_what_was_there(saved, monkeypatch):
    def full(*_args, **_kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']")

    monkeypatch.setattr(orbax.checkpoint.Checkpointer, "save", full)
    with pytest.raises(PitlError, match="the disk is full; free some space"):
        files.save_checkpoint(saved, {"x": np.ones(2)}, {})
    monkeypatch.undo()
    assert "special" in files.load_checkpoint(saved)[0]
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PitlError, match="cannot write .*: (Not a directory|File exists)"):
        files.save_checkpoint(tmp_path / "file" / "model", {}, {})


def test_keys_must_be_text(tmp_path):
    with pytest.raises(PitlError, match="checkpoint key a/3 is not text"):
        files.save_checkpoint(tmp_path / "model", {"a": {3: np.ones(1)}}, {})


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "metrics.json"
    files.atomic_write_text(path, "ü")
    assert path.read_text(encoding="utf-8") == "ü"

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PitlError, match="the disk is full"):
        files.atomic_write_text(path, "other")
    assert path.read_text(encoding="utf-8") == "ü"
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_arrays_are_written_under_the_name_that_was_asked_for(tmp_path):
    files.atomic_savez(tmp_path / "a.npz", {"angle_deg/ridge/angle": np.arange(3)})
    with np.load(tmp_path / "a.npz") as data:
        np.testing.assert_array_equal(data["angle_deg/ridge/angle"], np.arange(3))


def test_what_another_machine_may_be_writing_stays_until_it_is_old(tmp_path):
    dead = 2**22 + 1  # a process of that number is not here, but may be elsewhere
    names = [f".model.{dead}@0123abcd-abcd1234", f".model.{dead}-abcd1234"]
    for name in names:
        (tmp_path / name).write_text("half")
    files.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    os.utime(tmp_path / names[0], (0, 0))
    files.sweep(tmp_path, "model")
    assert [p.name for p in tmp_path.iterdir()] == names[1:]
