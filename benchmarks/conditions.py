"""Physics across conditions: personal models calibrated in one condition and judged in another, on virtual wrists.

    python -m benchmarks.conditions --walks DIR    # writes benchmarks/results/conditions.json and CONDITIONS.md

A generic network learns source people with recorded forces under physics. Fresh people give angle labels of their
calibration alone. The same head is fitted to them with and without the equation of motion; a network of their own is
trained from scratch under physics; support-vector regression learns the torque that inverse dynamics gives for their
calibration. True torques and forces of virtual people judge.

DIR has walks of one person at two speeds with EMG, inverse kinematics and inverse dynamics, such as those that come
with CEINMS: the EMG-driven model is calibrated on the moments of one speed and judged at the other, beside the same
regression.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typer.testing import CliRunner

import pitl
from benchmarks.forces import ratio
from pitl import cli
from pitl.comparison.baselines import support_vector
from pitl.comparison.baselines.lagged import LaggedInputs
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.cohort import read_cohort
from pitl.learn import measured, personal, played, predict, stacked, train
from pitl.learn.model import Model, stack
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import Split, split_rows
from pitl.mechanics import dynamics
from pitl.net import network
from pitl.signals import normalise, windows

_COHORT: dict[str, Any] = {
    "seconds": 18.0, "rhythmic_trials": 3, "random_trials": 1, "postures": ("pronated", "neutral"),
    "load_trials": 2, "load_kg": (0.5, 1.0), "load_postures": ("pronated", "neutral"),
}  # fmt: skip
# rhythmic trials go from slow and wide to fast and narrow, the first and the third pronated
_MOTION = ("rhythmic1", "rhythmic2", "rhythmic3", "random1")


class Condition(NamedTuple):
    """Trials to calibrate on and others to judge."""

    words: str
    calibrate: tuple[str, ...]
    judge: tuple[str, ...]
    perturb: dict[str, float] = {}  # of the test part, which is then the rest of the same trials


_CONDITIONS = {
    "same": Condition("the same trials, later", _MOTION, _MOTION),
    "fast": Condition("slow, then fast", ("rhythmic1",), ("rhythmic3",)),
    "loaded": Condition("unloaded, then 0.5 and 1 kg", _MOTION, ("load1", "load2")),
    "neutral": Condition("pronated, then neutral", ("rhythmic1", "rhythmic3"), ("rhythmic2", "random1")),
    "day": Condition("electrodes shifted, gains drifted", _MOTION, _MOTION, {"shift": 0.2, "gain_spread": 0.2}),
}
_RIVALS = {"data": "head without physics", "scratch": "from scratch, under physics", "svr": "support-vector regression"}


def divide(prepared: Prepared, condition: Condition) -> Prepared:
    """The cohort with whole trials for calibration and others for the test; the EMG's scale is that of the former."""
    table, trials = prepared.table, []
    for t in prepared.table.trials:
        calibrated = t.stop if t.name in condition.calibrate else t.start
        judged = t.start if t.name in condition.judge else t.stop
        trials.append(t._replace(calibration_stop=calibrated, test_start=judged))
    jets, scales = np.array(table.jets), list(table.scales)
    for s, scale in enumerate(scales):
        own = [t for t in trials if t.subject == s and t.calibration_stop > t.start]
        seen = np.concatenate([table.jets[t.start : t.stop, 0] for t in own]) * scale.volts  # V
        names = prepared.cohort.subjects[s].recordings[0].channels
        volts = normalise.fit_scale(prepared.emg.normalisation, seen, names, fixed_v=prepared.emg.fixed_scale_v).volts
        jets[table.subject == s] *= scale.volts / volts
        scales[s] = scale.replace(volts=volts)
    samples = prepared.samples._replace(jets=jnp.asarray(jets, jnp.float32))
    return prepared._replace(
        table=table._replace(jets=jets, scales=tuple(scales), trials=tuple(trials)), samples=samples
    )


def _torque(prepared: Prepared, person: int, estimate: predict.Estimate, rows: np.ndarray) -> np.ndarray:
    own = stacked.take(prepared.limbs, person)
    angle, force = (jnp.asarray(x, jnp.float32) for x in (estimate.angle, estimate.force))
    return np.asarray(_muscle_torque(own, angle, force, prepared.samples.posture[jnp.asarray(rows)]))


_muscle_torque = jax.jit(dynamics.muscle_torque)
_inverse = jax.jit(dynamics.inverse_dynamics)


def _regression(prepared: Prepared, split: Split, person: int) -> np.ndarray:
    """The torque of the test rows, from EMG, by regression on what inverse dynamics gave for the calibration."""
    table, samples, rows = prepared.table, prepared.samples, split.calibration[person]
    inputs = LaggedInputs(
        table.jets[:, 0], table.posture, prepared.net.postures, prepared.net.window, played.trials(prepared)
    )
    motion = (jnp.asarray(x[rows], jnp.float32) for x in table.motion)
    known = _inverse(stacked.take(prepared.limbs, person), *motion, samples.posture[jnp.asarray(rows)])
    fitted = support_vector.fit(inputs, rows, np.asarray(known, float))
    return support_vector.predict(fitted, inputs, split.test[person])


def _people(prepared: Prepared, generic: Model, settings: Config, key: Any) -> list[dict[str, Any]]:
    """Torque and force RMSE of everybody by method."""
    split, count = split_rows(prepared), len(prepared.cohort.subjects)
    start = stack([generic] * count).replace(limb=prepared.limbs)
    how = settings.personalize
    fit = partial(personal.fit, samples=prepared.samples, people=split.people)
    models = {
        "generic": start,
        "physics": fit(start, settings=personal.method_settings(how, "angle"), config=how).model,
        "data": fit(start, settings=personal.Settings(("head",), "angle", False), config=how).model,
    }
    answers = {name: predict.predict_rows(m, prepared.samples, split.test) for name, m in models.items()}
    alone = []
    everything = personal.Settings(("encoder", "head"), "angle", True)
    longer = change(how, steps=2 * how.steps, l2_to_generic=1e-4)
    for s in range(count):
        one = stacked.take(start, slice(s, s + 1))
        fresh = network.init(jax.random.fold_in(key, s), generic.net, generic.scale)
        one = one.replace(params=jax.tree.map(lambda x: x[None], fresh))
        people = stacked.take(split.people, slice(s, s + 1))
        alone.append(stacked.take(fit(one, people=people, settings=everything, config=longer).model, 0))
    answers["scratch"] = predict.predict_rows(stacked.stack(alone), prepared.samples, split.test)
    result = []
    for s in range(count):
        rows = split.test[s]
        force, torque, angle = (
            np.asarray(x)[rows] for x in (prepared.samples.force, prepared.samples.torque, prepared.samples.angle)
        )
        facts: dict[str, Any] = {"person": s + 1, "force": {}, "torque": {}, "angle": {}}
        for name, each in answers.items():
            wrong = (each[s].force - force) / np.asarray(generic.spread.force)
            facts["force"][name] = float(np.sqrt(np.mean(wrong**2, axis=0)).mean())
            facts["torque"][name] = float(np.sqrt(np.mean((_torque(prepared, s, each[s], rows) - torque) ** 2)))
            facts["angle"][name] = float(np.degrees(np.sqrt(np.mean((each[s].angle - angle) ** 2))))
        facts["torque"]["svr"] = float(np.sqrt(np.mean((_regression(prepared, split, s) - torque) ** 2)))
        result.append(facts)
    return result


def judge_walks(folder: Path) -> list[dict[str, Any]]:
    """Of each walk, calibrated on the other: share of the measured moment explained, by method and coordinate."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "walks"
        shutil.copytree(folder, copy)
        done = CliRunner().invoke(cli.app, ["init", str(copy), "--model"])
        if done.exit_code:
            raise SystemExit(done.output)
        people, settings = read_cohort(copy), change(Config(), data={"kind": "cohort"})
        (person,) = people.subjects
        prepared = prepare(measured.settings_measured(settings), people, with_dynamics=False)
        table, window = prepared.table, prepared.net.window
        assert table.torque is not None
        trial = played.trials(prepared)
        inputs = LaggedInputs(table.jets[:, 0], table.posture, prepared.net.postures, window, trial)
        rows, result = windows.rows_of(table, "all", subjects=(0,), window=window), []
        known = np.all(np.isfinite(table.torque[rows]), axis=0)  # coordinates whose moment is a label
        names = [d for d, k in zip(person.recordings[0].dofs, np.atleast_1d(known), strict=True) if k]
        for k, judged in ((0, person.recordings[1]), (1, person.recordings[0])):
            calibrated = person.recordings[k]
            one = replace(people, subjects=(replace(person, recordings=(calibrated,)),))
            physics = pitl.score(pitl.predict(measured.fit(one, settings), judged), judged).torque_r2
            seen, later = rows[trial[rows] == k], rows[trial[rows] != k]
            fitted = support_vector.fit(inputs, seen, table.torque[seen][:, known])
            truth = table.torque[later][:, known]  # N m
            wrong = support_vector.predict(fitted, inputs, later) - truth
            svr = 1 - np.mean(wrong**2, axis=0) / np.var(truth, axis=0)
            r2 = {"physics": physics, "svr": dict(zip(names, svr.tolist(), strict=True))}
            result.append({"calibrated": calibrated.trial, "judged": judged.trial, "r2": r2})
    return result


def markdown(facts: dict[str, Any]) -> str:
    """The tables, with the command that makes them."""
    lines = ["# Physics across conditions", ""]
    if facts.get("people"):
        lines += _people_table(facts)
    if facts.get("walks"):
        lines += _walks_table(facts["walks"])
    return "\n".join(lines) + "\n"


def _people_table(facts: dict[str, Any]) -> list[str]:
    seeds = ", ".join(map(str, facts["seeds"]))
    lines = [
        f"Made by `python -m benchmarks.conditions --walks DIR`; {facts['wall_s']:.0f} s on {facts['device']}. Source "
        f"people: seed {facts['source_seed']}, {facts['sources']}; fresh people: seeds {seeds}. "
        "The head under physics over each rival: ratio of the RMSE, median over people [95 %], and how often below 1.",
        "",
        "| calibrated, then judged | n | error | " + " | ".join(("generic model", *_RIVALS.values())) + " |",
        "| --- | --- | --- |" + " --- |" * (1 + len(_RIVALS)),
    ]
    for name, condition in _CONDITIONS.items():
        rows = [r for r in facts["people"] if r["condition"] == name]
        for what in ("torque", "force") if rows else ():
            cells = []
            for rival in ("generic", *_RIVALS):
                known = rival in rows[0][what]
                r = ratio(rows, "physics", rival, what) if known else {}
                cells.append(
                    f"{r['median']:.2f} [{r['low']:.2f}–{r['high']:.2f}], {100 * r['better']:.0f} %" if r else "–"
                )
            lines.append(f"| {condition.words} | {len(rows)} | {what} | {' | '.join(cells)} |")
    return [*lines, ""]


def _walks_table(walks: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Walks of one person, from their EMG, inverse kinematics and inverse dynamics: R2 of the measured moment. "
        "The EMG-driven model follows the measured motion, the regression reads EMG alone.",
        "",
        "| calibrated | judged | coordinate | EMG-driven model | support-vector regression |",
        "| --- | --- | --- | --- | --- |",
    ]
    for walk in walks:
        for d, r2 in walk["r2"]["physics"].items():
            lines.append(f"| {walk['calibrated']} | {walk['judged']} | {d} | {r2:.2f} | {walk['r2']['svr'][d]:.2f} |")
    return lines


def main() -> None:
    """Runs all conditions and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--source-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1001, 1002, 1003])
    parser.add_argument("--each", type=int, default=4, help="fresh people of each seed")
    parser.add_argument("--walks", type=Path, help="folder with walks of one person at two speeds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    stored = given.out / "results" / "conditions.json"
    facts: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    if given.walks:
        facts["walks"] = judge_walks(given.walks)
        _write(given.out, facts)
    if given.seeds:
        for people in _judge(given):
            facts |= people
            _write(given.out, facts)


def _write(out: Path, facts: dict[str, Any]) -> None:
    (out / "results").mkdir(parents=True, exist_ok=True)
    (out / "results" / "conditions.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "CONDITIONS.md").write_text(markdown(facts))


def _judge(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All people so far, after each condition."""
    began, table = time.time(), []
    settings = change(Config(), data={"kind": "cohort"}, personalize={"deviation": False})
    whole = change(settings, data={"kind": "cohort", "calibration_fraction": 1.0})
    prepared = prepare(
        settings, pitl.simulate(subjects=given.sources, seed=given.source_seed, joint="wrist", **_COHORT)
    )
    chosen = train.choose_held_out(given.sources, settings.train.holdout_fraction)
    generic, _ = train.train_generic(prepared, *chosen, settings.train, jax.random.key(0))
    for seed in given.seeds:
        people = pitl.simulate(subjects=given.each, seed=seed, joint="wrist", **_COHORT)
        undivided = prepare(whole, people)
        for name, condition in _CONDITIONS.items():
            if name in ("same", "day"):
                use = prepare(change(settings, perturb={**condition.perturb, "seed": seed}), people)
            else:
                use = divide(undivided, condition)
            rows = _people(use, generic, settings, jax.random.key(seed))
            table += [{"condition": name, "seed": seed, **r} for r in rows]
            facts = {
                "device": f"{jax.devices()[0].platform}, 2 cores, shared", "wall_s": time.time() - began,
                "sources": given.sources, "source_seed": given.source_seed, "seeds": given.seeds, "people": table,
            }  # fmt: skip
            print(f"{seed} {name}: {time.time() - began:.0f} s", flush=True)
            yield facts


if __name__ == "__main__":
    main()
