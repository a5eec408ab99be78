"""The generic training step: physics against data only, against PyTorch, against the machine's matrix products."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from benchmarks.row import Row, skipped
from pitl.config.schema import TrainConfig
from pitl.learn import loss, optimise
from pitl.learn.generic import GenericLearner
from pitl.net import network
from pitl.net.network import Network

_STEPS = 20  # of one measured call
_SHAPES = {"large": (problem.LARGE, 128), "default": (problem.DEFAULT, 256)}


def ours(
    net: Network, task: loss.Problem, params: Any, rows: np.ndarray, with_physics: bool, physics_rows: float = 1.0
) -> Callable[[], Any]:
    """A call that takes one step for each row of `rows` (K, B), and gives their losses."""
    config = TrainConfig(batch=rows.shape[1], steps=10_000, physics_rows=physics_rows)
    learner = GenericLearner(net, config, with_physics)
    problem_, state = loss.share_constants(task), optimise.begin(learner, params)
    gains = jnp.ones((rows.shape[1], net.inputs))
    batches = [(problem_, (jnp.asarray(some[:, None], jnp.int32), gains)) for some in rows]

    def run() -> Any:
        last, losses = state, []
        for batch in batches:
            last, terms = optimise.step(learner, last, batch)
            losses.append(sum(w * t for w, t in zip(problem_.weights, terms, strict=True)))
        return losses

    return run


def _against_torch(name: str) -> Iterator[Row]:
    net, batch = _SHAPES[name]
    task = problem.training(net)
    params = network.init(jax.random.key(0), net, task.scale)
    rows = np.random.default_rng(0).integers(net.window, len(task.samples.time), (_STEPS, batch))
    sides: dict[str, Callable[[], Any]] = {
        "physics": ours(net, task, params, rows, True),
        "half": ours(net, task, params, rows, True, 0.5),
        "data": ours(net, task, params, rows, False),
        "gemm": measure.gemm(),
    }
    note = ""
    references: list[str] = []
    try:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks import pytorch
    except ModuleNotFoundError:
        note = "needs torch: pip install -e '.[bench]'"
    else:
        device = torch.device("cuda" if measure.on_gpu() and torch.cuda.is_available() else "cpu")
        few = torch.tensor(rows[:4], device=device)
        expected = np.asarray(sides["physics"]())
        for label, motion, compiled in (
            ("PyTorch double backward", pytorch.double_backward, False),
            ("PyTorch torch.func jvp", pytorch.nested_jvp, False),
            ("PyTorch torch.func jvp, torch.compile", pytorch.nested_jvp, True),
            ("PyTorch data only", None, False),
        ):
            model = pytorch.Net(net, params, task).to(device)
            side = pytorch.stepper(net, model, task, few, motion, compiled)
            try:
                result = side()
            except Exception as e:  # whatever torch.compile stumbles over is a result, not an end
                note += f"{label} does not run: {type(e).__name__}. "
                continue
            if motion is not None and abs(result - expected[3]) > 2e-3 * abs(expected[3]):
                raise AssertionError(f"{label}: loss {result} after 4 steps, expected {expected[3]}")
            sides[label] = side
            references.append(label)
    times = measure.interleaved(sides, rounds=11)
    per = {k: 4 if k.startswith("PyTorch") else _STEPS if k != "gemm" else 1 for k in times}
    all_times = {k: t.summary(per[k]) for k, t in times.items()}
    physics, data = times["physics"], times["data"]
    share = measure.gemm_share(_STEPS * problem.step_flop(net, batch, 3), physics, times["gemm"])
    data_share = measure.gemm_share(_STEPS * problem.step_flop(net, batch, 1), data, times["gemm"])
    what = f"{name} network ({sum(x.size for x in jax.tree.leaves(params)) // 1000} k parameters), batch {batch}"
    ms = physics.median / _STEPS * 1e3
    suffix = "" if name == "large" else "_default"
    cost = measure.ratio(physics, data)
    yield Row(
        f"physics_step{suffix}",
        f"training step with physics against the data-only step, {what}",
        ms,
        "ms/step",
        data.median / _STEPS * 1e3,
        "data-only step",
        cost,
        "physics / data <= 2.5",
        cost <= 2.5,
        "ratio is physics / data; its matrix products alone cost 3 times those of data only",
        share,
        compile_s=physics.first,
        times=all_times,
    )
    half = times["half"]
    cost = measure.ratio(half, data)
    yield Row(
        f"physics_half{suffix}",
        f"the same with the equation of motion in half of the rows (train.physics_rows = 0.5), {what}",
        half.median / _STEPS * 1e3,
        "ms/step",
        data.median / _STEPS * 1e3,
        "data-only step",
        cost,
        "physics / data <= 2.5",
        cost <= 2.5,
        "ratio is physics / data; the same loss in the mean, with more scatter in its physics term",
        compile_s=half.first,
        times={k: all_times[k] for k in ("half", "data")},
    )
    yield Row(
        f"gemm_share{suffix}",
        f"share of the measured matrix-product rate while training with physics, {what}",
        share,
        "1",
        data_share,
        "data-only step",
        share / data_share,
        "share >= 0.5",
        share >= 0.5,
        f"{measure.gemm_rate(times['gemm']) / 1e9:.0f} GFLOP/s measured",
        share,
    )
    for label in ("PyTorch double backward", "PyTorch torch.func jvp", "PyTorch torch.func jvp, torch.compile"):
        first = label == "PyTorch double backward"
        key = f"torch_step{suffix}" + ("" if first else "_compiled" if "compile" in label else "_jvp")
        title = f"training step with physics against {label}, {what}"
        target = "ratio >= 4" if first else ""
        if label not in references:
            if not first and note.startswith("needs"):
                continue
            yield skipped(key, title, target, note)
            continue
        faster = measure.ratio(times[label], physics) * _STEPS / 4
        yield Row(
            key,
            title,
            ms,
            "ms/step",
            times[label].median / 4 * 1e3,
            label,
            faster,
            target,
            faster >= 4 if first else None,
            "same loss after 4 steps, to 0.2 %",
            share,
        )


def large() -> Iterator[Row]:
    """The network of the table of targets."""
    return _against_torch("large")


def default() -> Iterator[Row]:
    """The network that a run trains unless told otherwise."""
    return _against_torch("default")


BENCHMARKS = {"step": large, "step_default": default}
