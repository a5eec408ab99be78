"""How time and memory grow: with subjects, hours, channels, muscles, joints, size of the network. Slopes are fitted.

A slope is that of log(cost) over log(size): 1 is linear, 0 is no growth. A fixed cost at small sizes flattens it, so
the slope between the two largest sizes is given as well.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks import measure, personal, problem
from benchmarks.chains import chain
from benchmarks.row import Row
from pitl.learn import generic, loss
from pitl.mechanics import dynamics
from pitl.net import network
from pitl.net.network import Network

ROOT = Path(__file__).resolve().parents[1]
_BATCH = 256
_STEPS = 10  # of personalising, so that thousands of people do not take all day
_HOURS = (0.1, 0.3, 1.0)  # more with PITL_BENCH_HOURS=3,10,30,100
# of noise in a timed slope on a shared machine
_LINEAR = 1.1


def slope(sizes: Any, costs: Any) -> float:
    """Exponent of the power law through all sizes."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float)), 1)[0])


def half_width(sizes: Any, costs: Any) -> float:
    """Of the 95 % interval of the slope, from the points' scatter about the power law; NaN for two points."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float))
    if len(x) < 3:
        return float("nan")
    left = y - np.polyval(np.polyfit(x, y, 1), x)
    error = np.sqrt((left**2).sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum())
    return float(stats.t.ppf(0.975, len(x) - 2) * error)


def _row(
    name: str,
    what: str,
    sizes: list[float],
    seconds: list[float],
    memory: list[int | None],
    times: dict[str, Any],
    flop: list[float] | None = None,
) -> Row:
    grows = slope(sizes, seconds)
    last = slope(sizes[-2:], seconds[-2:])
    kept = [m for m in memory if m]
    wide = slope(sizes, kept) if len(kept) == len(sizes) else None
    each = ", ".join(f"{n:g}: {1e3 * s:.3g} ms" for n, s in zip(sizes, seconds, strict=True))
    storage = "" if wide is None else f"; memory slope {wide:.2f}, " + ", ".join(f"{m / 2**20:.0f} MiB" for m in kept)
    work = "" if not flop else f"; slope of the compiled program's operations {slope(sizes, flop):.2f}"
    most = max(grows, last, wide or 0.0)
    return Row(
        name,
        what,
        grows,
        "slope",
        1.0,
        "linear",
        target=f"slopes <= {_LINEAR}",
        met=most <= _LINEAR,
        note=f"{each}; 95 % interval of the slope +- {half_width(sizes, seconds):.2f}; "
        f"between the last two {last:.2f}{storage}{work}",
        memory_bytes=kept[-1] if kept else None,
        times=times,
        curve={"size": [float(n) for n in sizes], "seconds": seconds, "bytes": [float(m) for m in kept]},
    )


def _curve(name: str, what: str, programs: Mapping[Any, tuple[Callable[..., Any], tuple[Any, ...]]]) -> Row:
    compiled = {n: jax.jit(f).lower(*x).compile() for n, (f, x) in programs.items()}
    sides = {str(n): (lambda n=n: compiled[n](*programs[n][1])) for n in programs}
    times = measure.interleaved(sides, rounds=9, at_most_s=10.0)
    sizes = list(programs)
    seconds = [times[str(n)].least for n in sizes]
    memory = [measure.program_bytes(compiled[n]) for n in sizes]
    flop = [measure.program_flop(compiled[n]) for n in sizes]
    return _row(name, what, sizes, seconds, memory, {k: t.summary() for k, t in times.items()}, flop)


def _step(net: Network, rows: int = 20_000, subjects: int = 8) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Loss and gradient of one batch, physics included."""
    task = problem.training(net, rows, 8)
    limbs: Any = jax.tree.map(lambda x: jnp.tile(x, (-(-subjects // 8), *(1,) * (x.ndim - 1)))[:subjects], task.limbs)
    owner = jnp.asarray(np.arange(rows) * subjects // rows, jnp.int32)
    task = loss.share_constants(task.replace(limbs=limbs, samples=task.samples._replace(subject=owner)))
    at = np.random.default_rng(0).integers(net.window, rows, (_BATCH, 1))

    def total(params: Any, task: loss.Problem, at: Any) -> Any:
        return sum(loss.terms(params, net, task, at))

    params = network.init(jax.random.key(0), net, task.scale)
    return jax.value_and_grad(total), (params, task, jnp.asarray(at, jnp.int32))


def _chain(joints: int, muscles: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Residual and its gradient on a made-up chain, `muscles` at each joint."""
    model = chain(joints, muscles)
    muscles *= joints
    rng = np.random.default_rng(0)
    q, qd, qdd = (jnp.asarray(rng.normal(size=(_BATCH, joints)), jnp.float32) for _ in range(3))
    force = jnp.asarray(rng.uniform(0, 100, (_BATCH, muscles)), jnp.float32)
    posture = jnp.zeros(_BATCH, jnp.int32)

    def total(moving: Any, model: Any) -> Any:
        q, qd, qdd, force = moving
        result = jax.vmap(dynamics.residual, (None, 0, 0, 0, 0, 0))(model, q, qd, qdd, force, posture)
        return (result**2).mean()

    return jax.value_and_grad(total), ((q, qd, qdd, force), model)


_STEP = f"loss and gradient of {_BATCH} windows against "
_EQUATION = f"equation of motion and its gradient in {_BATCH} rows, made-up chain, against "


def subjects() -> Iterator[Row]:
    programs = {n: _step(problem.DEFAULT, 32_000, n) for n in (8, 64, 512, 4096)}
    yield _curve("scaling_subjects", _STEP + "source subjects", programs)


def length() -> Iterator[Row]:
    programs = {n: _step(problem.DEFAULT, n) for n in (10_000, 100_000, 1_000_000)}
    yield _curve("scaling_length", _STEP + "rows resident on the device", programs)


def channels() -> Iterator[Row]:
    programs = {n: _step(replace(problem.DEFAULT, inputs=n)) for n in (4, 16, 64, 128, 256, 512)}
    yield _curve("scaling_channels", _STEP + "EMG channels", programs)


def parameters() -> Iterator[Row]:
    programs = {}
    for k in (1, 2, 4, 8):
        net = replace(problem.DEFAULT, channels=(16 * k, 32 * k), features=48 * k, hidden=48 * k)
        program = _step(net)
        programs[sum(x.size for x in jax.tree.leaves(program[1][0]))] = program
    yield _curve("scaling_model", _STEP + "parameters of the network", programs)


def muscles() -> Iterator[Row]:
    yield _curve("scaling_muscles", _EQUATION + "muscles at 2 joints", {2 * n: _chain(2, n) for n in (4, 32, 256)})


def joints() -> Iterator[Row]:
    yield _curve("scaling_joints", _EQUATION + "joints with 4 muscles each", {n: _chain(n, 4) for n in (4, 8, 16, 32)})


def people() -> Iterator[Row]:
    """Personalising all of them, in chunks of bounded memory."""
    counts = [8, 64, 512, 4096]
    times = measure.interleaved({str(n): personal.ours(n, _STEPS) for n in counts}, rounds=3)
    yield _row(
        "scaling_people",
        f"personalising people, {_STEPS} steps on 256 rows each, against their number",
        [float(n) for n in counts],
        [times[str(n)].least for n in counts],
        [None] * len(counts),
        {k: t.summary() for k, t in times.items()},
    )


def hours() -> Iterator[Row]:
    """Memory of raw 2 kHz EMG to envelopes to a store to training, against hours; each in a process of its own."""
    result = []
    asked = os.environ.get("PITL_BENCH_HOURS")
    for n in [float(h) for h in asked.split(",")] if asked else _HOURS:
        command = [sys.executable, "-m", "benchmarks.scaling", str(n)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        result.append(json.loads(done.stdout.splitlines()[-1]))
    size = [f["hours"] for f in result]
    peak = [f["peak"] for f in result]
    each = ", ".join(f"{f['hours']:g} h: {f['peak'] / 2**20:.0f} MiB" for f in result)
    grows = (peak[-1] - peak[0]) / (size[-1] - size[0])
    yield Row(
        "scaling_hours",
        "peak memory of making and training from a store of 5-channel 2 kHz EMG, against hours",
        slope(size, peak),
        "slope",
        1.0,
        "linear",
        target="slope <= 0.1",
        met=slope(size, peak) <= 0.1,
        note=f"{each}; {grows / 2**20:.1f} MiB more an hour; "
        f"the envelopes of {size[-1]:g} h are {result[-1]['stored'] / 2**20:.0f} MiB on disk; "
        f"training step {result[0]['step_ms']:.1f} ms at {size[0]:g} h, "
        f"{result[-1]['step_ms']:.1f} ms at {size[-1]:g} h",
        memory_bytes=peak[-1],
        curve={"size": size, "bytes": [float(x) for x in peak], "seconds": [f["step_ms"] * 1e-3 for f in result]},
    )
    seconds = [f["made_s"] for f in result]
    yield _row(
        "scaling_hours_made",
        "raw EMG, made up, to envelopes in a store, processor time against hours",
        size,
        seconds,
        [f["stored"] for f in result],
        {},
    )


def _raw(seed: int, seconds: float) -> np.ndarray:
    """Noise whose strength comes and goes, 2 kHz, five channels [V]."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(2000 * seconds)) / 2000  # s
    strength = 1e-4 * (1.1 + np.sin(2 * np.pi * np.outer(t, rng.uniform(0.3, 1.0, 5))))  # V
    return strength * rng.normal(size=strength.shape)


def _recorded(hours: float) -> None:
    """Makes and trains from a store of so many hours; says what it took."""
    import time

    from pitl.config.schema import EmgConfig, TrainConfig
    from pitl.learn import store
    from pitl.signals import emg

    net, minute = problem.DEFAULT, 60.0  # s
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.h5"
        began = time.process_time()  # one thread's work, whoever else is on the machine
        with store.writer(path) as made:
            for k in range(round(hours * 60)):
                filter_ = emg.design(EmgConfig(), 2000.0)
                envelope = emg.envelope(filter_, _raw(k, minute))
                jets = envelope.jets / 1e-4
                count, first = len(jets), jets[:, 0]
                made.add(
                    f"minute {k}",
                    k % 4,
                    {
                        "jets": jets,
                        "angle": first[:, :1] - first[:, 1:2],
                        "force": 60.0 * first,
                        "torque": np.zeros((count, 1)),
                        "posture": np.zeros(count),
                        "time": envelope.time_s,
                    },
                )
        made_s = time.process_time() - began
        result = store.open_store(path)
        held = store.read(result, 0, 5000)
        task = problem.training(net, 2000, 4).replace(samples=held)
        config = TrainConfig(steps=60, check_every=20)
        drawn = store.blocks(result, (0, 1, 2, 3), window=net.window)
        took = []
        for _ in range(2):  # the second is compiled already
            began = time.perf_counter()
            generic.fit(jax.random.key(0), net, task, drawn, np.arange(100, 5000)[:, None], config)
            took.append(time.perf_counter() - began)
        drawn.close()
        peak = measure.process_bytes()
        kept = {"hours": hours, "peak": peak, "stored": path.stat().st_size, "made_s": made_s}
        print(json.dumps(kept | {"step_ms": 1e3 * took[1] / config.steps}), flush=True)


BENCHMARKS = {
    "scaling_subjects": subjects,
    "scaling_length": length,
    "scaling_channels": channels,
    "scaling_model": parameters,
    "scaling_muscles": muscles,
    "scaling_joints": joints,
    "scaling_people": people,
    "scaling_hours": hours,
}

if __name__ == "__main__":
    _recorded(float(sys.argv[1]))
