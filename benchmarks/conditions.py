"""Physics across conditions: personal models calibrated in one condition and judged in another, on virtual wrists.

    python -m benchmarks.conditions        # writes benchmarks/results/conditions.json and benchmarks/CONDITIONS.md

A generic network learns source people with recorded forces under physics. Fresh people give angle labels of their
calibration alone. The same head is fitted to them with and without the equation of motion; a network of their own is
trained from scratch under physics; support-vector regression learns the torque that inverse dynamics gives for their
calibration. True torques and forces of virtual people judge.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pitl
from benchmarks.forces import ratio
from pitl.comparison.baselines import support_vector
from pitl.comparison.baselines.lagged import LaggedInputs
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.learn import personal, played, predict, stacked, train
from pitl.learn.model import Model, stack
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import Split, split_rows
from pitl.mechanics import dynamics
from pitl.net import network
from pitl.signals import normalise

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


def markdown(facts: dict[str, Any]) -> str:
    """The table, with the command that makes it."""
    lines = [
        "# Physics across conditions",
        "",
        f"Made by `python -m benchmarks.conditions`; {facts['wall_s']:.0f} s on {facts['device']}. Source people: "
        f"seed {facts['source_seed']}, {facts['sources']}; fresh people: seeds {', '.join(map(str, facts['seeds']))}. "
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
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs all conditions and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--source-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1001])
    parser.add_argument("--each", type=int, default=12, help="fresh people of each seed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
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
            (given.out / "results").mkdir(exist_ok=True)
            (given.out / "results" / "conditions.json").write_text(json.dumps(facts, indent=1) + "\n")
            (given.out / "CONDITIONS.md").write_text(markdown(facts))
            print(f"{seed} {name}: {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
