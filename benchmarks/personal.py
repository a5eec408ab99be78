"""Personalising many people: against a PyTorch loop to the same loss, and the cost of one more person."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from benchmarks.row import Row, skipped
from pitl.config.schema import PersonalizeConfig
from pitl.config.toml import change
from pitl.learn import deviation, gaussian_process, personal, split
from pitl.learn.model import Model
from pitl.mechanics import weak
from pitl.net import network

_ROWS = 256  # calibration rows of a person
_STEPS = 50
_SETTINGS = personal.Settings(("head",), "angle_force", True)
_CONFIG = PersonalizeConfig(steps=_STEPS, residual="strong", l2_to_generic=0.0)


def _people(count: int, net: network.Network, config: PersonalizeConfig = _CONFIG) -> tuple[Any, ...]:
    """Arguments of `personal.fit` for people of different sizes, on rows of their own."""
    task = problem.training(net, rows=max(20_000, (_ROWS + 50) * count), subjects=8)
    limbs: Any = jax.tree.map(lambda x: jnp.tile(x, (-(-count // 8), *(1,) * (x.ndim - 1)))[:count], task.limbs)
    taps = weak.kernel(0.06, 100.0)
    spread, scale = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), (task.spread, task.scale))
    params = network.init(jax.random.key(0), net, task.scale)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), params)
    first = net.window + np.arange(count) * ((len(task.samples.time) - net.window - _ROWS) // count)
    rows = jnp.asarray(first[:, None] + np.arange(_ROWS), jnp.int32)
    counted = jnp.ones((count, _ROWS - len(taps.average) + 1))
    people = split.CalibrationRows(rows, jnp.ones((count, _ROWS)), counted)
    generic = Model(start, limbs, scale, spread, None, net=net)
    return generic, task.samples, people, _SETTINGS, config


def ours(count: int, steps: int = _STEPS) -> Callable[[], Any]:
    """A call that personalises so many people."""
    arguments = _people(count, problem.DEFAULT, change(_CONFIG, steps=steps))
    return lambda: personal.fit(*arguments).model.params


def against_torch() -> Iterator[Row]:
    """Eight people, heads alone, angle, force and physics, the same optimiser on the same rows."""
    name, target = "personal_torch", "ratio >= 15"
    what = f"personalising 8 people, {_STEPS} steps on {_ROWS} rows each, default network"
    try:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks import pytorch
    except ModuleNotFoundError:
        yield skipped(name, what, target, "needs torch: pip install -e '.[bench]'")
        return
    arguments = _people(8, problem.DEFAULT)
    generic, samples, people = arguments[:3]
    net, task = generic.net, problem.training(generic.net).replace(samples=samples, limbs=generic.limb)
    device = torch.device("cuda" if measure.on_gpu() and torch.cuda.is_available() else "cpu")
    data, laws = pytorch.Batches(net, task, device), pytorch.Wrist(task, device)
    counted = people.segment.shape[1]
    losses: dict[str, Any] = {}

    def loop() -> None:
        result = []
        for p in range(8):
            one = jax.tree.map(lambda x, p=p: x[p], generic.params)
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
        return fitted.model.params

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


def angle() -> Iterator[Row]:
    """One person's angle part, from envelopes to factor, on as many rows as there can be; against their head."""
    generic, samples = _people(1, problem.DEFAULT)[:2]
    one = jax.tree.map(lambda x: x[0], generic)
    source = deviation.read_samples(samples, np.zeros(len(samples.time), np.int32))
    width = problem.DEFAULT.inputs * gaussian_process.LAGS
    units = gaussian_process.Units(jnp.zeros(1), jnp.array([0.4]), jnp.ones(width), jnp.array(1.0))
    hyper = tuple(gaussian_process.Hyper(**gaussian_process.absent_parts(w)) for w in gaussian_process.PROCESSES)
    prior = gaussian_process.AnglePrior(hyper, units)
    rows, truth = problem.DEFAULT.window + np.arange(4000), np.asarray(samples.angle)

    def fit() -> Any:
        return deviation.fit_person(one, prior, source, rows, truth).weight

    steps = PersonalizeConfig().steps
    times = measure.interleaved({"ours": fit, "head": ours(1, steps)}, rounds=9)
    yield Row(
        "personal_angle",
        f"personalising one person's angle: Gaussian process on {gaussian_process.MOST_ROWS} of {len(rows)} rows",
        times["ours"].median,
        "s",
        times["head"].median,
        f"one person's head, {steps} steps on {_ROWS} rows, for the forces",
        measure.ratio(times["head"], times["ours"]),
        "< 0.3 s",
        times["ours"].median < 0.3,
        compile_s=times["ours"].first,
        times={k: t.summary() for k, t in times.items()},
    )


BENCHMARKS = {"personal_angle": angle, "personal_torch": against_torch, "personal_scaling": one_more}
