"""Inertia and strength that are wrong by 20 %: which recordings of virtual people bring them back, and to what.

`python -m benchmarks.identify [--people N] [--seed S] [--json FILE]`. The learner starts with the hand of a person of
the same height and weight, made 20 % too heavy or too light, and muscles 20 % too strong or too weak. Beside that
stands what height and weight do not tell. The same people are met twice: with all effects that the learner does not
model, and without, so that errors of the method and of the model can be told apart.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pitl.identify import evidence, verdict
from pitl.identify.fit import fit
from rich.console import Console
from rich.table import Table

from pitl.config.schema import EmgConfig
from pitl.data.recording import Cohort
from pitl.data.virtual import simulate
from pitl.config.schema import VirtualConfig
from pitl.files import atomic_write_text
from pitl.mechanics.model import MusculoskeletalModel
from pitl.mechanics.muscle import calibrate_slack_length
from pitl.mechanics.planar import builtin
from pitl.mechanics.scaling import scale_to_body

WRONG = 1.2  # factor of inertia and weight, and of strength, either way
TARGET = 0.07
QUANTITIES = ("weight", "inertia", "strong", "strength", "torque")
# effects that the learner does not have; drive noise stays, without it EMG would be no signal
WITHOUT = dict.fromkeys(
    (
        "friction",
        "elastic_tendon",
        "force_memory",
        "unrecorded_muscle",
        "end_stiffness",
        "cross_talk",
        "emg_nonlinearity",
        "mvc_error",
        "measurement_noise",
    ),
    0.0,
)
TRIALS: dict[str, Any] = {
    "seconds": 10.0,
    "rhythmic_trials": 3,
    "random_trials": 1,
    "hold_trials": 2,
    "rest_trials": 2,
    "postures": ("pronated", "neutral"),
    "load_trials": 4,
    "load_kg": (1.0, 1.0, 2.0, 2.0),
    "load_place_m": (0.07, -0.07),
}
_FRONT, _BEHIND, _HEAVY, _HEAVY_BEHIND = (f"load {m} kg at {p} cm" for m in (1, 2) for p in (7, -7))
DESIGNS = {
    "motion": ("motion",),
    "motion, hold": ("motion", "hold"),
    "motion, rest": ("motion", "rest"),
    "motion, 1 kg": ("motion", _FRONT),
    "motion, 1 and 2 kg": ("motion", _FRONT, _HEAVY),
    "all": ("motion", "hold", "rest", _FRONT, _BEHIND, _HEAVY, _HEAVY_BEHIND),
}


class Start(NamedTuple):
    """Logarithms per person: (P, K) of every quantity."""

    model: list[MusculoskeletalModel]
    ratio: dict[str, np.ndarray]  # of the learner's start over the truth


def start(cohort: Cohort) -> Start:
    """Everybody's wrong model, and how wrong it is. Signs of the two errors are balanced over people."""
    wrist = calibrate_slack_length(builtin("wrist"))
    result, ratios = [], []
    for k, s in enumerate(cohort.subjects):
        heavy, strong = WRONG ** (1 - 2 * (k % 2)), WRONG ** (1 - 2 * (k // 2 % 2))
        own = scale_to_body(wrist, s.height_m, s.mass_kg)
        own = replace(
            own, pseudo_inertia=own.pseudo_inertia * heavy, max_isometric_force=own.max_isometric_force * strong
        )
        result.append(own)
        pseudo, t, m = np.asarray(own.pseudo_inertia[0, 0], float), s.truth, len(own.muscles)
        strength = np.log(np.asarray(own.max_isometric_force, float) / t["strength"][:m])
        ratios.append(
            {
                "weight": np.log([pseudo[0, 3] / (t["mass"] * t["lever"])]),
                "inertia": np.log([pseudo[0, 0] / t["inertia"]]),
                "strong": strength.mean(keepdims=True),
                "strength": strength,
                "torque": strength - np.log(t["arm_factor"][:m]),
            }
        )
    return Start(result, {q: np.stack([r[q] for r in ratios]) for q in QUANTITIES})


def measure(people: int, seed: int, effects: bool, console: Console) -> list[dict[str, Any]]:
    """One entry per design, person and quantity."""
    cohort = simulate(VirtualConfig(subjects=people, seed=seed, **TRIALS, **({} if effects else WITHOUT)))
    kinds = tuple(dict.fromkeys(evidence.kind_of(r) for s in cohort.subjects for r in s.recordings))
    begun = start(cohort)
    everyone = evidence.stack(
        [evidence.gather(s, m, kinds, EmgConfig()) for s, m in zip(cohort.subjects, begun.model, strict=True)]
    )
    models = jax.tree.map(lambda *x: jnp.stack(x), *begun.model)
    first = begun.model[0]
    entries = []
    for design, used in DESIGNS.items():
        began = time.perf_counter()
        seen = jnp.asarray([float(k in used) for k in kinds])
        rows = everyone.rows, everyone.kind, everyone.trial
        fitted = fit(models, everyone.on, *rows, seen, "hand", len(kinds))
        information = np.asarray(fitted.information)
        for p, subject in enumerate(cohort.subjects):
            z = jax.tree.map(lambda x, p=p: x[p], fitted.z)
            predicted = verdict.verdicts(z, information[p], kinds, used, first.muscles, first.bodies)
            for v in predicted:
                name, owner = v.name.split(" ", 1)
                k = first.muscles.index(owner) if owner in first.muscles else 0
                before = float(begun.ratio[name][p, k])
                entries.append(
                    {
                        "effects": effects,
                        "design": design,
                        "person": subject.name,
                        "quantity": name,
                        "owner": owner,
                        "log_before": before,
                        "log_after": before + float(np.log(v.factor)),
                        "deviation": v.deviation,
                        "prior": v.prior,
                        "identified": v.identified,
                        "by": [" + ".join(s) for s in v.by],
                        "tied_to": v.tied_to,
                        "size": float(fitted.size[p]),
                    }
                )
        console.print(f"[dim]{design}: {time.perf_counter() - began:.1f} s[/]")
    return entries


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median and its 95 % interval by resampling people."""
    x = np.asarray(values)
    rng = np.random.default_rng(seed)
    medians = np.median(x[rng.integers(0, len(x), (4000, len(x)))], axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(np.median(x)), float(low), float(high)


def summary(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors by truth, design and quantity; of quantities of each muscle, a person's median over muscles."""
    result = []
    for effects in (False, True):
        for design in DESIGNS:
            for quantity in QUANTITIES:
                mine = [e for e in entries if (e["effects"], e["design"], e["quantity"]) == (effects, design, quantity)]
                if not mine:
                    continue
                people = sorted({e["person"] for e in mine})

                def per_person(key: str, mine: list = mine, people: list = people) -> list[float]:
                    return [float(np.median([abs(np.expm1(e[key])) for e in mine if e["person"] == p])) for p in people]

                after = interval(per_person("log_after"))
                told = [abs(np.expm1(e["log_after"])) for e in mine if e["identified"]]
                result.append(
                    {
                        "effects": effects,
                        "design": design,
                        "quantity": quantity,
                        "before": interval(per_person("log_before")),
                        "after": after,
                        "predictions": float(np.median([e["deviation"] for e in mine])),
                        "prior": float(np.median([e["prior"] for e in mine])),
                        "inside": float(np.mean([abs(e["log_after"]) <= 1.96 * e["deviation"] for e in mine])),
                        "identified": len(told) / len(mine),
                        "error_identified": float(np.median(told)) if told else None,
                        "people": len(people),
                        "reached": after[0] <= TARGET,
                        "reached_surely": after[2] <= TARGET,
                    }
                )
    return result


def table(rows: list[dict[str, Any]], effects: bool) -> Table:
    """For a terminal."""
    shown = Table(title=f"Truth {'with' if effects else 'without'} what the learner does not model [%]")
    headings = (
        "recordings|quantity|before|after (95 % interval)|said +-|without +-|in 95 %|identified|error of these|7 %"
    )
    for heading in headings.split("|"):
        shown.add_column(heading, justify="left" if heading in ("recordings", "quantity") else "right")

    def percent(x: float | None) -> str:
        return "-" if x is None else f"{100 * x:.1f}"

    for r in rows:
        if r["effects"] == effects:
            middle, low, high = r["after"]
            shown.add_row(
                r["design"],
                r["quantity"],
                percent(r["before"][0]),
                f"{percent(middle)} ({percent(low)}-{percent(high)})",
                percent(r["predictions"]),
                percent(r["prior"]),
                f"{100 * r['inside']:.0f}",
                f"{100 * r['identified']:.0f}",
                percent(r["error_identified"]),
                "reached" if r["reached"] else "no",
            )
    return shown


def main(arguments: list[str] | None = None) -> None:
    """Runs both truths and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=12, metavar="N")
    parser.add_argument("--seed", type=int, default=11, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every entry and the table there")
    given = parser.parse_args(arguments)
    console = Console(width=150)
    began = time.perf_counter()
    entries: list[dict[str, Any]] = []
    for effects in (False, True):
        entries += measure(given.people, given.seed, effects, console)
        rows = summary(entries)
        console.print(table(rows, effects))
        if given.json:
            about = {"people": given.people, "seed": given.seed, "trials": TRIALS, "wrong": WRONG}
            about |= {"wall_s": time.perf_counter() - began, "device": str(jax.devices()[0].device_kind)}
            atomic_write_text(given.json, json.dumps({"about": about, "table": rows, "entries": entries}, indent=1))
    console.print(f"{given.people} people, seed {given.seed}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
