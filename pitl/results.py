"""What a run leaves behind: every arm's answers, the table of errors, and the traces that the report draws."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl import arms, bundle, evaluate
from pitl.arms import ArmResult, Inherited, Rows, Said
from pitl.config import Config
from pitl.msk import dynamics
from pitl.msk.correction import Correction, describe
from pitl.net import network
from pitl.outputs import atomic_savez, atomic_write_text
from pitl.prepare import Prepared


def keep(path: Path, answer: ArmResult, seconds: float) -> None:
    """Writes an arm's answers for everybody, so that a killed run need not make them again."""
    arrays: dict[str, np.ndarray] = {"seconds": np.array(seconds)}
    for s, said in enumerate(answer.said):
        arrays |= {f"{name}{s}": value for name, value in said._asdict().items() if value is not None}
    if answer.fitted is not None:
        for name, value in vars(answer.fitted.correction).items():
            arrays[f"correction/{name}"] = np.asarray(value)
    atomic_savez(path, arrays)


def said(path: Path, people: int) -> tuple[tuple[Said, ...], float]:
    """Reads an arm's answers back, and its seconds per person."""
    with np.load(path) as data:
        return (
            tuple(Said(data[f"angle{s}"], *(data.get(f"{k}{s}") for k in Said._fields[1:])) for s in range(people)),
            float(data["seconds"]),
        )


def score_all(
    out: Path, config: Config, prepared: Prepared, split: Rows, inherited: list[Inherited]
) -> list[dict[str, Any]]:
    """One row of errors for each person, task, arm, grade of supervision and seed; task `all` pools the tasks."""
    found = []
    for seed, path, arm, supervision in _answers(out):
        answers, seconds = said(path, len(split.test))
        spread = np.asarray(inherited[seed].spread.force)
        for row in score(prepared, split, spread, answers):
            head = {"subject": row.pop("subject"), "task": row.pop("task")}
            found.append({**head, "arm": arm, "supervision": supervision, "seed": seed, **row, "seconds": seconds})
    return found


def score(prepared: Prepared, split: Rows, spread: np.ndarray, answers: Sequence[Said]) -> list[dict[str, Any]]:
    """Errors of one arm: a row for each person and task; task `all` pools the tasks.

    Args:
        prepared: truth and physics.
        split: everybody's test rows.
        spread: (P, M) standard deviation of each force over everybody's source people [N].
        answers: everybody's angles and forces on their test rows.
    """
    angle, force, torque = (np.asarray(x) for x in prepared.samples[1:4])
    task_of = np.empty(len(angle), object)
    for t in prepared.table.trials:
        task_of[t.start : t.stop] = t.task
    found = []
    longest = max(len(r) for r in split.test)
    for s, (rows, one) in enumerate(zip(split.test, answers, strict=True)):
        if prepared.force_source == "none":
            one = Said(one.angle, None)
        muscle = residual = None
        if one.force is not None:
            muscle, residual = arms.mechanics(prepared, s, rows, one, longest)
        tasks = sorted(set(task_of[rows]))
        for task in ["all", *tasks]:
            at = np.ones(len(rows), bool) if task == "all" else task_of[rows] == task
            r = rows[at]
            part = evaluate.Prediction(
                one.angle[at],
                None if one.force is None else one.force[at],
                None if muscle is None else muscle[at],
                None if residual is None else _finite(residual[at[: len(residual)]]),
            )
            truth = evaluate.Truth(angle[r], force[r], torque[r])
            metrics = evaluate.score(truth, part, spread[s])
            found.append({"subject": prepared.cohort.subjects[s].name, "task": task, **metrics._asdict()})
    return found


def write_traces(out: Path, config: Config, prepared: Prepared, split: Rows, inherited: list[Inherited]) -> None:
    """Measured and predicted curves of the first seed, the balance of torques, and what was learned of each person."""
    names = prepared.cohort.subjects
    angle, force = np.asarray(prepared.samples.angle), np.asarray(prepared.samples.force)
    time = np.asarray(prepared.samples.time)
    trial_of, task_of = np.empty(len(angle), "U64"), np.empty(len(angle), "U64")
    for t in prepared.table.trials:
        trial_of[t.start : t.stop], task_of[t.start : t.stop] = t.name, t.task
    answers = {
        (arm, supervision): said(path, len(names))[0] for seed, path, arm, supervision in _answers(out) if seed == 0
    }
    learned: dict[str, Any] = {}
    for s, subject in enumerate(names):
        rows = split.test[s]
        arrays: dict[str, np.ndarray] = {
            "time_s": time[rows],
            "trial": trial_of[rows],
            "task": task_of[rows],
            "angle_deg": np.degrees(angle[rows]),
            "dofs": np.array(prepared.models.dofs),
            "muscles": np.array(prepared.models.muscles),
            "force_source": np.array(prepared.force_source),
        }
        if prepared.force_source != "none":
            arrays["force_n"] = force[rows]
        for (arm, supervision), everyone in answers.items():
            arrays[f"angle_deg/{arm}/{supervision}"] = np.degrees(everyone[s].angle)
            predicted = everyone[s].force
            if predicted is not None:
                arrays[f"force_n/{arm}/{supervision}"] = predicted
        for supervision in config.evaluate.supervision:
            folder = out / "personalized" / f"{subject.name}-{supervision}"
            if not folder.is_dir():
                continue
            own = bundle.load(folder)
            arrays |= {f"balance/{k}": v for k, v in _balance(prepared, own, rows).items()}
            arrays["balance_supervision"] = np.array(supervision)
            learned[subject.name] = _learned(out, s, supervision, prepared)
            break
        atomic_savez(out / "traces" / f"{subject.name}.npz", {k: _small(v) for k, v in arrays.items()})
    atomic_write_text(out / "learned.json", json.dumps(learned, indent=1))


def _answers(out: Path) -> list[tuple[int, Path, str, str]]:
    found = []
    for path in sorted((out / "said").glob("seed*/*.npz")):
        arm, supervision = path.stem.split("-")
        found.append((int(path.parent.name.removeprefix("seed")), path, arm, supervision))
    return found


def _balance(prepared: Prepared, own: bundle.Bundle, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Every torque of the equation of motion along the predicted motion, under the person's corrected model [N m]."""
    at = jnp.asarray(rows, jnp.int32)
    order = 1 if own.net.derivative == "finite_difference" else 3
    out = network.outputs(own.params, own.net, prepared.samples, at, own.scale, order=order)
    if order == 1:
        return {}
    q, qd, qdd = out.angle
    terms = dynamics.terms(own.model, q, qd, qdd, out.force, prepared.samples.posture[at])
    return {k: np.asarray(v) for k, v in terms._asdict().items()}


def _learned(out: Path, s: int, supervision: str, prepared: Prepared) -> dict[str, Any]:
    """The corrections of one person, as factors."""
    with np.load(out / "said" / "seed0" / f"head_physics-{supervision}.npz") as data:
        fields = {k.split("/")[1]: jnp.asarray(data[k][s]) for k in data.files if k.startswith("correction/")}
    model = jax.tree.map(lambda x: x[s], prepared.models)
    return {k: np.asarray(v).tolist() for k, v in describe(Correction(**fields), model).items()}


def _finite(rows: np.ndarray) -> np.ndarray:
    return rows[np.isfinite(rows).all(axis=1)]


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 and array.ndim else array
