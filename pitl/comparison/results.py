"""What a run leaves behind: every method's answers, the table of errors, and the traces that the report draws."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.comparison import evaluate
from pitl.comparison.folds import GenericModels
from pitl.comparison.task import MethodResult
from pitl.files import atomic_savez, atomic_write_text, safe_name
from pitl.learn import predict, stacked
from pitl.learn.model import Model
from pitl.learn.predict import Estimate
from pitl.learn.prepare import Prepared
from pitl.learn.split import Split
from pitl.mechanics import dynamics
from pitl.mechanics.correction import Correction, describe
from pitl.net import network
from pitl.signals.samples import Samples

PERSONAL = ("deviation", "head_physics")  # methods whose models of people are kept: the first that is compared


class StoredResult(NamedTuple):
    """Estimates of one method with one grade of supervision and seed, read back."""

    method: str
    supervision: str
    seed: int
    estimates: tuple[Estimate, ...]
    seconds: float  # a person


def path_of(out: Path, seed: int, method: str, supervision: str) -> Path:
    """Where the estimates of a method lie."""
    return out / "predictions" / f"seed{seed}" / f"{method}-{supervision}.npz"


def keep(path: Path, run: tuple[str, str, int], result: MethodResult, seconds: float) -> None:
    """Writes a method's estimates for everybody, so that a killed run need not make them again.

    Args:
        path: of the file.
        run: method, grade of supervision and seed.
        result: the estimates.
        seconds: a person.
    """
    method, supervision, seed = run
    arrays: dict[str, np.ndarray] = {
        "method": np.array(method),
        "supervision": np.array(supervision),
        "seed": np.array(seed),
        "seconds": np.array(seconds),
    }
    for s, estimate in enumerate(result.estimates):
        arrays |= {f"{name}{s}": value for name, value in estimate._asdict().items() if value is not None}
    if result.fitted is not None:
        for name, value in vars(result.fitted.correction).items():
            arrays[f"correction/{name}"] = np.asarray(value)
    atomic_savez(path, arrays)


def read_result(path: Path, test: Sequence[np.ndarray]) -> StoredResult | None:
    """Reads a method's estimates back; None if they are not there, damaged, or of other rows than the test's.

    Whatever a damaged file makes of the reading of it, what it held can be made again.
    """
    try:
        with np.load(path) as data:
            estimates = tuple(
                Estimate(data[f"angle{s}"], *(data.get(f"{k}{s}") for k in Estimate._fields[1:]))
                for s in range(len(test))
            )
            about = str(data["method"]), str(data["supervision"]), int(data["seed"])
            seconds = float(data["seconds"])
    except Exception:
        return None
    elsewhere = path.parent.parent.name == "predictions" and path != path_of(path.parents[2], about[2], *about[:2])
    if elsewhere or not seconds >= 0:
        return None
    for estimate, rows in zip(estimates, test, strict=True):
        if any((v is None) != (w is None) for v, w in zip(estimate, estimates[0], strict=True)):
            return None
        if any(v is not None and (len(v) != len(rows) or not np.isfinite(v).all()) for v in estimate):
            return None
        for v, first in zip(estimate, estimates[0], strict=True):
            if v is None or first is None:
                continue
            if v.ndim != 2 or v.dtype.kind != "f" or not v.shape[1] or v.shape[1:] != first.shape[1:]:
                return None
    return StoredResult(*about, estimates, seconds)


def read_results(out: Path, test: Sequence[np.ndarray]) -> list[StoredResult]:
    """All estimates of a run, in order of their files."""
    found = [read_result(path, test) for path in sorted((out / "predictions").glob("seed*/*.npz"))]
    return [r for r in found if r is not None]


def score_all(out: Path, prepared: Prepared, split: Split, models: list[GenericModels]) -> list[dict[str, Any]]:
    """One row of errors for each person, task, method, grade of supervision and seed; task `all` pools the tasks."""
    table = []
    for r in read_results(out, split.test):
        spread = np.asarray(models[r.seed].physics.spread.force)
        for row in score(prepared, split, spread, r.estimates):
            head = {"subject": row.pop("subject"), "task": row.pop("task")}
            about = {"method": r.method, "supervision": r.supervision, "seed": r.seed}
            table.append({**head, **about, **row, "seconds": r.seconds})
    return table


def score(prepared: Prepared, split: Split, spread: np.ndarray, estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
    """Errors of one method: a row for each person and task; task `all` pools the tasks.

    Args:
        prepared: truth and physics.
        split: everybody's test rows.
        spread: (P, M) standard deviation of each force over everybody's source people [N].
        estimates: everybody's angles and forces on their test rows.
    """
    angle, force, torque = (np.asarray(x) for x in prepared.samples[1:4])
    task_of = np.empty(len(angle), object)
    for t in prepared.table.trials:
        task_of[t.start : t.stop] = t.task
    result = []
    longest = max(len(r) for r in split.test)
    for s, (rows, one) in enumerate(zip(split.test, estimates, strict=True)):
        if prepared.force_source == "none":
            one = Estimate(one.angle, None)
        muscle = residual = None
        if one.force is not None:
            muscle, residual = predict.mechanics(prepared, s, rows, one, longest)
        tasks = sorted(set(task_of[rows]))
        for task in ["all", *tasks]:
            at = np.ones(len(rows), bool) if task == "all" else task_of[rows] == task
            r = rows[at]
            part = evaluate.TestPrediction(
                one.angle[at],
                None if one.force is None else one.force[at],
                None if muscle is None else muscle[at],
                None if residual is None else _finite(residual[at[: len(residual)]]),
            )
            truth = evaluate.Truth(angle[r], force[r], torque[r])
            metrics = evaluate.score(truth, part, spread[s])
            result.append({"subject": prepared.cohort.subjects[s].name, "task": task, **metrics._asdict()})
    return result


def write_traces(out: Path, supervision: Sequence[str], prepared: Prepared, split: Split) -> None:
    """Measured and predicted curves of the first seed, the balance of torques, and what was learned of each person."""
    names = prepared.cohort.subjects
    angle, force = np.asarray(prepared.samples.angle), np.asarray(prepared.samples.force)
    time = np.asarray(prepared.samples.time)
    trial_of, task_of = np.empty(len(angle), "U64"), np.empty(len(angle), "U64")
    for t in prepared.table.trials:
        trial_of[t.start : t.stop], task_of[t.start : t.stop] = t.name, t.task
    first = [r for r in read_results(out, split.test) if r.seed == 0]
    learned: dict[str, Any] = {}
    longest = max(len(r) for r in split.test)
    for s, subject in enumerate(names):
        rows = split.test[s]
        arrays: dict[str, np.ndarray] = {
            "time_s": time[rows],
            "trial": trial_of[rows],
            "task": task_of[rows],
            "angle_deg": np.degrees(angle[rows]),
            "dofs": np.array(prepared.limbs.dofs),
            "muscles": np.array(prepared.limbs.muscles),
            "force_source": np.array(prepared.force_source),
        }
        if prepared.force_source != "none":
            arrays["force_n"] = force[rows]
        for r in first:
            arrays[f"angle_deg/{r.method}/{r.supervision}"] = np.degrees(r.estimates[s].angle)
            predicted = r.estimates[s].force
            if predicted is not None:
                arrays[f"force_n/{r.method}/{r.supervision}"] = predicted
        for grade in supervision:
            folder = folder_of(out, subject.name, grade)
            if not folder.is_dir():
                continue
            own = Model.load(folder)
            arrays |= {f"balance/{k}": v for k, v in _balance(prepared, own, rows, longest).items()}
            arrays["balance_supervision"] = np.array(grade)
            learned[subject.name] = _learned(out, s, grade, prepared)
            break
        arrays["subject"] = np.array(subject.name)
        atomic_savez(out / "traces" / f"{safe_name(subject.name)}.npz", {k: _small(v) for k, v in arrays.items()})
    atomic_write_text(out / "learned.json", json.dumps(learned, indent=1))


def folder_of(out: Path, person: str, supervision: str) -> Path:
    """Where the personalised model of the comparison lies."""
    return out / "personalized" / f"{safe_name(person)}-{supervision}"


def _balance(prepared: Prepared, own: Model, rows: np.ndarray, longest: int) -> dict[str, np.ndarray]:
    """Every torque of the equation of motion along the predicted motion, under the person's corrected model [N m]."""
    if own.net.derivative == "finite_difference":
        return {}
    padded = np.pad(rows, (0, longest - len(rows)), mode="edge")  # one program for everybody
    terms = _torques(own.net, (own.params, own.scale, own.limb), prepared.samples, jnp.asarray(padded, jnp.int32))
    return {k: np.asarray(v)[: len(rows)] for k, v in terms._asdict().items()}


@partial(jax.jit, static_argnums=0)
def _torques(net: network.Network, own: Any, samples: Samples, at: Array) -> dynamics.TorqueTerms:
    params, scale, limb = own
    out = network.outputs(params, net, samples, at, scale, order=3)
    q, qd, qdd = out.angle
    return dynamics.terms(limb, q, qd, qdd, out.force, samples.posture[at])


def _learned(out: Path, s: int, supervision: str, prepared: Prepared) -> dict[str, Any]:
    """The corrections of one person, as factors."""
    paths = [path_of(out, 0, method, supervision) for method in PERSONAL]
    with np.load(next(p for p in paths if p.exists())) as data:
        fields = {k.split("/")[1]: jnp.asarray(data[k][s]) for k in data.files if k.startswith("correction/")}
    model = stacked.take(prepared.limbs, s)
    return {k: np.asarray(v).tolist() for k, v in describe(Correction(**fields), model).items()}


def _finite(rows: np.ndarray) -> np.ndarray:
    return rows[np.isfinite(rows).all(axis=1)]


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 and array.ndim else array
