"""Forces of virtual people whose muscles' gains are told by torque: motion alone, and with 90 s of efforts.

    python -m benchmarks.forces            # writes benchmarks/results/forces.json and benchmarks/FORCES.md

A generic network learns source people with recorded forces. Fresh people give angle labels of the first 40 % of each
motion trial and, where efforts count, what a dynamometer read; nobody tells their forces. Their true forces are judged
on the rest of the motion trials, over the five muscles with electrodes.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pitl
from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.recording import Cohort
from pitl.learn import efforts, gains, personal, predict, stacked, train
from pitl.learn.model import Model, stack
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.split import split_rows

_TRIALS = {"seconds": 18.0, "rhythmic_trials": 3, "random_trials": 1, "postures": ("pronated", "neutral")}
_WRONG, _FOUND = 0.2, 0.07  # logarithms of strengths: an error, and what may remain of it
_WAYS: dict[str, dict[str, bool]] = {
    "prior": {"motion": False, "efforts": False},
    "motion": {"motion": True, "efforts": False},
    "motion_efforts": {"motion": True, "efforts": True},
}


def _people(joint: str, count: int, seed: int) -> Cohort:
    made: dict[str, Any] = {} if joint == "wrist" else {"effort_trials": 5}
    if joint == "mujoco":
        made["dynamics"], joint = "mujoco", "wrist2"
    return pitl.simulate(subjects=count, seed=seed, joint=joint, **_TRIALS, **made)


def _judge(
    joint: str, source: int, seed: int, fresh: list[int], each: int, networks: int, head: bool
) -> Iterator[list[dict[str, Any]]]:
    """Of each network and seed, one row a fresh person: errors by way, intervals that hold, strengths found again."""
    electrodes = {"PL": ("FCR", "FCU")} if joint != "wrist" else {}
    settings = change(Config(), model={"electrodes": electrodes}, data={"kind": "cohort"})
    sources = prepare(settings, _people(joint, source, seed))
    chosen = train.choose_held_out(source, settings.train.holdout_fraction)
    prior = efforts.source_prior(sources)
    cohorts = {number: prepare(settings, _people(joint, each, number)) for number in fresh}
    strengths = {n: [{}] * each if joint == "wrist" else _strengths(p, prior, n) for n, p in cohorts.items()}
    for k in range(networks):
        generic, _ = train.train_generic(sources, *chosen, settings.train, jax.random.key(k))
        print(f"{joint}: a generic model of {source} people, seed {k}", flush=True)
        for number, prepared in cohorts.items():
            table = _judge_people(joint, prepared, generic, prior, head)
            about = {"joint": joint, "seed": number, "network": k}
            yield [about | row | again for row, again in zip(table, strengths[number], strict=True)]


def _judge_people(
    joint: str, prepared: Prepared, generic: Model, prior: gains.GainPrior, head: bool
) -> list[dict[str, Any]]:
    """Of each person: force and torque RMSE by way, over their spread, and how many intervals of 90 % hold."""
    each = len(prepared.cohort.subjects)
    spread = np.asarray(generic.spread.force)
    seen = [k for k, m in enumerate(generic.limb.muscles) if m in generic.channels]
    split = split_rows(prepared)
    start = stack([generic] * each).replace(limb=prepared.limbs)
    halves: dict[str, list[np.ndarray]] = {}
    answers = {"generic": predict.predict_rows(start, prepared.samples, split.test)}
    if head:
        way = personal.method_settings(prepared.personalize, "angle")
        fitted = personal.fit(start, prepared.samples, split.people, way, prepared.personalize).model
        answers["head"] = predict.predict_rows(fitted, prepared.samples, split.test)
    for name, how in _WAYS.items():
        if joint != "wrist" or not how["efforts"]:
            told = efforts.fit_gains(start, prepared, prior, **how)
            answers[name] = predict.predict_rows(told, prepared.samples, split.test)
            assert told.gains is not None
            halves[name] = [gains.relative_half(stacked.take(told.gains, s)) for s in range(each)]
    table = []
    for s in range(each):
        rows = split.test[s]
        truth, torque = (np.asarray(x)[rows] for x in (prepared.samples.force, prepared.samples.torque))
        facts: dict[str, Any] = {"person": s + 1, "force": {}, "torque": {}}
        own = stacked.take(prepared.limbs, s)
        for name, each_answer in answers.items():
            e = each_answer[s]
            assert e.force is not None
            error = np.sqrt(np.mean((e.force - truth) ** 2, axis=0)) / spread
            facts["force"][name] = float(error[seen].mean())
            posture = prepared.samples.posture[jnp.asarray(rows)]
            given = (jnp.asarray(x, jnp.float32) for x in (e.angle, e.force))
            wrong = np.asarray(predict._torque(own, *given, posture)) - torque
            facts["torque"][name] = float(np.mean(np.sqrt(np.mean(wrong**2, axis=0))))
            if name in halves:
                holds = np.abs(e.force - truth) < halves[name][s][None] * e.force
                facts.setdefault("holds", {})[name] = float(holds[:, seen].mean())
        table.append(facts)
    return table


def _strengths(prepared: Prepared, prior: gains.GainPrior, seed: int) -> list[dict[str, Any]]:
    """Of each person: strengths of the learner's muscles changed by 20 % up or down, and what of that recordings leave.

    A muscle counts as found again where 7 % or less remain; the verdict is right where that is what it says.
    """
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], np.shape(prepared.limbs.max_isometric_force))
    changed = jnp.asarray(np.exp(_WRONG * sign), jnp.float32)
    limbs = replace(prepared.limbs, max_isometric_force=prepared.limbs.max_isometric_force * changed)
    names, recorded = prepared.limbs.muscles, prepared.cohort.subjects[0].recordings[0].channels
    both = prepared, prepared._replace(limbs=limbs)
    result = []
    for s, on in enumerate(efforts.electrodes(prepared)):
        of_person: dict[str, Any] = {}
        for way in ("motion", "motion_efforts"):
            rows = [efforts.torque_rows(p, s, on, efforts=_WAYS[way]["efforts"])[0] for p in both]
            right, wrong = (gains.posterior(r, prior) for r in rows)
            left = np.log(np.asarray(wrong.mean[:, 0] * changed[s]) / np.asarray(right.mean[:, 0]))
            told = gains.verdicts(wrong, prior, names)
            muscles = {m: {"left": float(abs(x)), "by_data": told[m].by_data} for m, x in zip(names, left, strict=True)}
            of_person[way] = {m: v for m, v in muscles.items() if m in recorded}
        result.append({"strength": of_person})
    return result


def ratio(rows: list[dict[str, Any]], way: str, over: str, what: str = "force") -> dict[str, float]:
    """Of one error over another's, a mean over networks for each person: median [95 %], share below 1, worst."""
    people: dict[Any, list[float]] = {}
    for r in rows:
        people.setdefault((r["seed"], r["person"]), []).append(r[what][way] / r[what][over])
    x = np.array([np.mean(v) for v in people.values()])
    drawn = np.random.default_rng(0).choice(x, (4000, len(x)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return {
        "median": float(np.median(x)),
        "low": float(low),
        "high": float(high),
        "better": float((x < 1).mean()),
        "worst": float(x.max()),
    }


def summarise(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios by joint and way."""
    result: dict[str, Any] = {}
    for joint in sorted({r["joint"] for r in table}):
        rows = [r for r in table if r["joint"] == joint]
        ways = [w for w in ("head", *_WAYS) if all(w in r["force"] for r in rows)]
        result[joint] = {
            "people": len({(r["seed"], r["person"]) for r in rows}),
            "networks": len({r["network"] for r in rows}),
            "generic": float(np.median([r["force"]["generic"] for r in rows])),
            "force": {w: ratio(rows, w, "generic") for w in ways},
            "torque": {w: ratio(rows, w, "generic", "torque") for w in ways},
            "over_prior": {w: ratio(rows, w, "prior") for w in ways if w not in ("head", "prior")},
            "holds": {w: float(np.mean([r["holds"][w] for r in rows])) for w in ways if w != "head"},
            "strength": {
                way: _found_again([m for r in rows if r["network"] == 0 for m in r["strength"][way].values()])
                for way in ("motion", "motion_efforts")
                if any("strength" in r for r in rows)
            },
        }
    return result


def _found_again(muscles: list[dict[str, Any]]) -> dict[str, float]:
    """What is left of wrong strengths where efforts are said to tell them and where not; how often that is right."""
    told, others = ([m["left"] for m in muscles if m["by_data"] == told] for told in (True, False))
    right = [m["by_data"] == (m["left"] <= _FOUND) for m in muscles]
    result = {"told": len(told), "of": len(muscles), "right": float(np.mean(right))}
    return result | {f"left_{k}": float(np.median(v)) for k, v in (("told", told), ("others", others)) if v}


_JOINTS = {"wrist": "one", "wrist2": "two", "mujoco": "two, MuJoCo"}
_WORDS = {
    "head": "personal head, angle labels (no gains)",
    "prior": "control: the prior without any torque",
    "motion": "gains from motion alone",
    "motion_efforts": "gains from motion and 90 s of efforts",
}


def markdown(facts: dict[str, Any]) -> str:
    """The table, with the commands that make it."""
    lines = ["# Forces: gains of muscles, told by torque", ""]
    for joint, run in facts["runs"].items():
        seeds, summary = " ".join(map(str, run["seeds"])), facts["summary"][joint]
        each, networks = summary["people"] // len(run["seeds"]), summary["networks"]
        lines.append(
            f"- Coordinates: {_JOINTS[joint]}. `python -m benchmarks.forces --joints {joint} --seeds {seeds} "
            f"--each {each} --networks {networks}`, {run['wall_s']:.0f} s on {run['device']}; {run['sources']} source "
            f"people of seed {run['source_seed']}."
        )
    lines += [
        "",
        "True forces of virtual people, no force labels; RMSE over the generic network's, medians over people. "
        "MuJoCo: its own muscles, tendons, joints and integration (`virtual.dynamics`).",
        "",
        "| coordinates | way | n | force RMSE over generic | better | worst | over the prior [95 %] | torque | 90 % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for joint, s in facts["summary"].items():
        for way, f in s["force"].items():
            p, holds = s["over_prior"].get(way), s["holds"].get(way)
            against = "–" if p is None else f"{p['median']:.2f} [{p['low']:.2f}–{p['high']:.2f}]"
            lines.append(
                f"| {_JOINTS[joint]} | {_WORDS[way]} | {s['people']} | {f['median']:.2f} "
                f"[{f['low']:.2f}–{f['high']:.2f}] | {100 * f['better']:.0f} % | {f['worst']:.2f} | {against} | "
                f"{s['torque'][way]['median']:.2f} | {'–' if holds is None else f'{100 * holds:.0f} %'} |"
            )
    for joint, s in facts["summary"].items():
        for way, found in s["strength"].items():
            lines += ["", _strength_sentence(f"coordinates: {_JOINTS[joint]}; {_WORDS[way]}", found)]
    return "\n".join(lines) + "\n"


def _strength_sentence(where: str, found: dict[str, float]) -> str:
    left = {k: f"{100 * found[k]:.0f} %" if k in found else "–" for k in ("left_told", "left_others")}
    return (
        f"Strengths of the learner's muscles changed by {100 * _WRONG:.0f} % up or down ({where}): of "
        f"{found['of']:.0f} muscles torque told {found['told']:.0f} apart, where an error of {left['left_told']} "
        f"remains in the median, {left['left_others']} in the others. The verdict is right for "
        f"{100 * found['right']:.0f} %: {100 * _FOUND:.0f} % or less remain where it says that they were told, and "
        "more where it does not."
    )


def main() -> None:
    """Runs the comparison and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--source-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1001, 1002, 1003, 1004])
    parser.add_argument("--each", type=int, default=3, help="fresh people of each seed")
    parser.add_argument("--networks", type=int, default=3, help="generic networks, each of another seed")
    parser.add_argument("--head", action="store_true", help="also personal heads, which need angle labels")
    parser.add_argument("--joints", nargs="+", default=["wrist2", "wrist"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    for joint in given.joints:
        start, table = time.time(), []
        for rows in _judge(
            joint, given.sources, given.source_seed, given.seeds, given.each, given.networks, given.head
        ):
            table += rows
            _write(given, joint, table, time.time() - start)


def _write(given: argparse.Namespace, joint: str, table: list[dict[str, Any]], wall_s: float) -> None:
    """Puts one joint's people into the stored ones, in place of those of an earlier run."""
    stored = given.out / "results" / "forces.json"
    before = json.loads(stored.read_text()) if stored.exists() else {"runs": {}, "people": []}
    run = {
        "device": f"{jax.devices()[0].platform}, 2 cores, shared",
        "wall_s": wall_s,
        "sources": given.sources,
        "source_seed": given.source_seed,
        "seeds": sorted({r["seed"] for r in table}),
    }
    people = [r for r in before["people"] if r["joint"] != joint] + table
    facts = {"runs": {**before["runs"], joint: run}, "summary": summarise(people), "people": people}
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(facts, indent=1) + "\n")
    (given.out / "FORCES.md").write_text(markdown(facts))


if __name__ == "__main__":
    main()
