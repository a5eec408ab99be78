"""Personalising many people: against a PyTorch loop to the same loss, the cost of one more person, a search."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from benchmarks.row import Row, skipped
from pitl import search
from pitl.config.schema import PersonalizeConfig
from pitl.learn import personal
from pitl.mechanics import weak
from pitl.net import network
from pitl.learn import split

_ROWS = 256  # calibration rows of a person
_STEPS = 50
_SETTINGS = personal.Settings(("head",), "angle_force", True)
_CONFIG = PersonalizeConfig(steps=_STEPS, residual="strong", l2_to_generic=0.0)


def _people(count: int, net: network.Network, config: PersonalizeConfig = _CONFIG) -> tuple[Any, ...]:
    """Arguments of `personalize.fit` for people of different sizes, on rows of their own."""
    task = problem.training(net, rows=max(20_000, (_ROWS + 50) * count), subjects=8)
    models: Any = jax.tree.map(lambda x: jnp.tile(x, (-(-count // 8), *(1,) * (x.ndim - 1)))[:count], task.models)
    taps = weak.kernel(0.06, 100.0)
    spread, scale = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), (task.spread, task.scale))
    params = network.init(jax.random.key(0), net, task.scale)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), params)
    first = net.window + np.arange(count) * ((len(task.samples.time) - net.window - _ROWS) // count)
    rows = jnp.asarray(first[:, None] + np.arange(_ROWS), jnp.int32)
    counted = jnp.ones((count, _ROWS - len(taps.average) + 1))
    people = split.CalibrationRows(rows, jnp.ones((count, _ROWS)), counted)
    fixed = personal.Fixed(task.samples, spread, scale)
    return start, net, fixed, models, people, _SETTINGS, config, taps


def ours(count: int, steps: int = _STEPS) -> Callable[[], Any]:
    """A call that personalises so many people."""
    arguments = _people(count, problem.DEFAULT, _CONFIG.model_copy(update={"steps": steps}))
    return lambda: personal.fit(*arguments)


def against_torch() -> Iterator[Row]:
    """Eight people, heads alone, angle, force and physics, the same optimiser on the same rows."""
    name, target = "personal_torch", "ratio >= 15"
    what = f"personalising 8 people, {_STEPS} steps on {_ROWS} rows each, default network"
    try:
        import torch

        from benchmarks import pytorch
    except ModuleNotFoundError:
        yield skipped(name, what, target, "needs torch: pip install -e '.[bench]'")
        return
    arguments = _people(8, problem.DEFAULT)
    params, net, fixed, models, people = arguments[:5]
    task = problem.training(net)._replace(samples=fixed.samples, models=models)
    device = torch.device("cuda" if measure.on_gpu() and torch.cuda.is_available() else "cpu")
    data, laws = pytorch.Batches(net, task, device), pytorch.Wrist(task, device)
    counted = people.segment.shape[1]
    losses: dict[str, Any] = {}

    def loop() -> None:
        result = []
        for p in range(8):
            one = jax.tree.map(lambda x, p=p: x[p], params)
            model = pytorch.Net(net, one, task).to(device)
            for part in (model.convolutions, model.features):
                part.requires_grad_(False)
            trained = [x for x in model.parameters() if x.requires_grad]
            optimiser = torch.optim.Adam(trained, _CONFIG.learning_rate, fused=True)
            rates = torch.optim.lr_scheduler.LambdaLR(
                optimiser, lambda k: 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * k / _STEPS))
            )
            rows = torch.tensor(np.asarray(people.rows[p]), dtype=torch.long, device=device)
            who = torch.full_like(rows, p)
            windows, context = data.windows(rows, 3), data.context(rows)  # once: they do not change
            for _ in range(_STEPS):
                optimiser.zero_grad(set_to_none=True)
                angle, rate, acceleration, force = pytorch.double_backward(model, windows, context)
                left = laws.residual(angle, rate, acceleration, force, who, data.posture[rows])[:counted]
                value = (((angle - data.angle[rows, 0]) / float(task.spread.angle[0])) ** 2).mean()
                value = value + (((force - data.force[rows]) / float(task.spread.force[0])) ** 2).mean()
                value = value + _CONFIG.physics_weight * ((left / float(task.spread.torque[0])) ** 2).mean()
                value.backward()
                optimiser.step()
                rates.step()
            result.append(float(value.detach()))
        losses["torch"] = result

    def ours() -> Any:
        fitted = personal.fit(*arguments)
        losses["ours"] = fitted.history[-1]
        return fitted.params

    times = measure.interleaved({"ours": ours, "PyTorch": loop}, rounds=3)
    apart = float(np.max(np.abs(np.array(losses["torch"]) / losses["ours"] - 1)))
    faster = measure.ratio(times["PyTorch"], times["ours"])
    yield Row(
        name,
        what,
        times["ours"].median,
        "s",
        times["PyTorch"].median,
        "PyTorch, frozen encoder, double backward, one after the other",
        faster,
        target,
        faster >= 15 and apart < 0.02,
        f"last losses agree to {apart:.1e}",
        compile_s=times["ours"].first,
        times={k: t.summary() for k, t in times.items()},
    )


def one_more() -> Iterator[Row]:
    """Cost of a person at 1, 8, 64, 512 people, and 4096 on an accelerator."""
    counts = (1, 8, 64, 512, 4096) if measure.on_gpu() else (1, 8, 64, 512)
    times = measure.interleaved({str(n): ours(n) for n in counts}, rounds=3, at_most_s=30.0)
    each = {n: times[str(n)].median / n for n in counts}
    predicted = ", ".join(f"{n}: {1e3 * s:.1f} ms" for n, s in each.items())
    flat = all(each[b] <= 1.15 * each[a] for a, b in zip(counts, counts[1:], strict=False))
    yield Row(
        "personal_scaling",
        f"personalising one more person at {counts[-1]} people, {_STEPS} steps on {_ROWS} rows each",
        each[counts[-1]] * 1e3,
        "ms/person",
        each[1] * 1e3,
        "one person alone",
        each[1] / each[counts[-1]],
        "flat or falling",
        flat,
        f"each person at {predicted}; flat is within 15 %; memory is the process's peak",
        memory_bytes=measure.process_bytes(),
        times={k: t.summary() for k, t in times.items()},
    )


def searched() -> Iterator[Row]:
    """Nine settings for 8 people in one program against one setting after the other."""
    arguments = _people(8, problem.DEFAULT)
    people = arguments[4]
    judged = jnp.broadcast_to((jnp.arange(_ROWS) >= 170).astype(jnp.float32)[None], people.labelled.shape)
    seen = people._replace(labelled=people.labelled - judged)
    knobs = search.grid((1e-3, 5e-3, 2e-2), (0.0, 0.1, 1.0))
    rest: tuple[Any, ...] = (*arguments[:4], seen, judged, *arguments[5:])

    tried: Any = search.search

    def together() -> Any:
        return tried(*rest, knobs).error

    def apart() -> Any:
        parts = [jax.tree.map(lambda x, k=k: x[k : k + 1], knobs) for k in range(9)]
        return [tried(*rest, part).error for part in parts]

    times = measure.interleaved({"together": together, "apart": apart}, rounds=3)
    yield Row(
        "personal_search",
        "search over 3 learning rates and 3 weights of the physics for 8 people",
        times["together"].median,
        "s",
        times["apart"].median,
        "one setting after the other, compiled once",
        measure.ratio(times["apart"], times["together"]),
        compile_s=times["together"].first,
        times={k: t.summary() for k, t in times.items()},
    )


BENCHMARKS = {"personal_torch": against_torch, "personal_scaling": one_more, "personal_search": searched}
