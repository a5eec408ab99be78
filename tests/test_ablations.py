"""Every ablation and member of the family is a small file, says what it changes, and runs from data to answers."""

import re
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from pitl.comparison import folds
from pitl.comparison.folds import make_folds
from pitl.comparison.methods import run_method
from pitl.comparison.task import Task
from pitl.config import toml
from pitl.data.load import load_cohort
from pitl.learn import model
from pitl.learn.prepare import prepare
from pitl.learn.split import split_rows

ROOT = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted([*(ROOT / "ablations").glob("*.toml"), *(ROOT / "family").glob("*.toml")])
TINY = [
    "virtual.subjects=3", "virtual.seconds=6.0", "virtual.rhythmic_trials=1", "virtual.random_trials=1",
    "train.steps=6", "train.check_every=2", "train.batch=32", "personalize.steps=4",
    "hill.steps=4", "evaluate.folds=3",
]  # fmt: skip
FIRST = {"pigrn", "encoder_last_layer_trains", "forces_of_any_sign"}  # of forty; the others are for a slow run
REAL = {"uci_knee_no_physics"}  # recordings that tests do not have


def flat(tree, at=()):
    """Every setting by its dotted name, but the run's own name and where its data lie."""
    result = {}
    for key, value in tree.items():
        name = (*at, key)
        result |= flat(value, name) if isinstance(value, dict) and len(at) < 1 else {".".join(name): value}
    return {k: v for k, v in result.items() if k not in ("name", "data.dir")}


@pytest.fixture(scope="module")
def cohort():
    return load_cohort(toml.load(ROOT / "virtual_wrist.toml", TINY))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_changes_exactly_what_its_first_line_names(path):
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# ") and ":" in first
    named = {n.strip() for n in first[2:].partition(":")[0].split(",")}
    assert all(re.fullmatch(r"\w+\.\w+", n) for n in named)
    own, base = (flat(toml.to_dict(toml.load(p))) for p in (path, path.parent / tomllib.loads(text)["base"]))
    assert {k for k in own if own[k] != base[k]} == named


def test_ablations_differ_from_each_other():
    seen = {p.stem: repr(sorted(flat(toml.to_dict(toml.load(p))).items())) for p in FILES}
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.thorough if p.stem in FIRST else pytest.mark.slow)
        for p in FILES
        if p.stem not in REAL
    ],
    ids=lambda p: p.stem,
)
def test_a_file_trains_and_personalises(path, tmp_path, cohort):
    settings = toml.load(path, TINY)
    prepared = prepare(settings, cohort)
    sides = make_folds(settings.evaluate, settings.train, 3)
    made = folds.train_fold(settings.train, prepared, sides[0], 0, 0, "physics", tmp_path / "model", lambda _: None)
    assert made.net == prepared.net and all(np.isfinite(x).all() for x in jax.tree.leaves(made.params))
    # one model for everybody, and for both kinds: this is about running, not about what comes out
    generic = model.stack([made] * 3).replace(limb=prepared.limbs)
    rows = split_rows(prepared, unlabelled=settings.personalize.unlabelled)
    both = folds.GenericModels(generic, generic)
    task = Task("angle", jax.random.key(0), settings, prepared, rows, both, sides)
    answer = run_method("head_physics", task)
    for person, test in zip(answer.estimates, rows.test, strict=True):
        assert person.angle.shape == (len(test), 1) and np.isfinite(person.angle).all()
        assert person.force is not None and person.force.shape[1] == 5 and np.isfinite(person.force).all()
        assert settings.net.nonnegative is False or person.force.min() >= 0
    assert answer.fitted is not None
    before, after = generic.params["encoder"], answer.fitted.model.params["encoder"]
    trunk = {k: v for k, v in before.items() if k != "features"}
    moved = {
        "features": not np.array_equal(before["features"]["w"], after["features"]["w"]),
        "encoder": any(
            not np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(trunk), jax.tree.leaves({k: after[k] for k in trunk}), strict=True)
        ),
    }
    how = settings.personalize.unfreeze
    assert moved == {"features": how != "nothing", "encoder": how == "encoder"}
