"""An accelerator beside the processor of the same machine: training, folds, people, static optimisation, precision.

Every row but `folds_one_program`, which is of one device, calls the same function with the same arguments on both, in
turn, and says how far the results are apart.
`bin/bench --device gpu` runs these and what PyTorch is compared with on that device, and nothing else.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, personal, problem
from benchmarks.row import Row
from pitl.config.schema import TrainConfig
from pitl.learn import devices, loss, optimise
from pitl.learn.generic import GenericLearner
from pitl.mechanics.planar import builtin
from pitl.mechanics.redundancy import static_optimisation
from pitl.net import network

_SHAPES = {"large": (problem.LARGE, 128), "default": (problem.DEFAULT, 256)}
_STEPS = 50  # of training in one dispatch
_FRAMES = 100_000
_ROUNDS = 5
_TRAIN = TrainConfig(steps=10_000)


def _beside(make: Callable[[], Callable[[], Any]], at_most_s: float) -> tuple[dict[str, measure.Times], float]:
    """Times of a call on both devices, and the largest difference of its results, of the largest value."""
    devices = {"accelerator": jax.devices()[0], "processor": jax.devices("cpu")[0]}
    sides: dict[str, Callable[[], Any]] = {}
    results = {}
    for label, device in devices.items():
        with jax.default_device(device):
            call = make()
            results[label] = [np.asarray(x) for x in jax.tree.leaves(call())]

        def on(call: Callable[[], Any] = call, device: jax.Device = device) -> Any:
            with jax.default_device(device):
                return call()

        sides[label] = on
    apart = [
        float(np.abs(a - b).max() / (np.abs(b).max() + 1e-30))
        for a, b in zip(results["accelerator"], results["processor"], strict=True)
    ]
    return measure.interleaved(sides, rounds=_ROUNDS, at_most_s=at_most_s), max(apart)


def _row(name: str, what: str, make: Callable[[], Callable[[], Any]], unit: str, parts: int, at_most_s: float) -> Row:
    """One call of `parts` equal parts on both devices."""
    times, apart = _beside(make, at_most_s)
    factor = {"us": 1e6, "ms": 1e3}[unit.split("/")[0]] / parts
    one, other = times["accelerator"], times["processor"]
    return Row(
        f"accelerator_{name}",
        what,
        one.median * factor,
        unit,
        other.median * factor,
        "processor of the same machine",
        measure.ratio(other, one),
        note=f"results differ by {apart:.1e} of the largest",
        times={k: t.summary(parts) for k, t in times.items()},
    )


def _training(shape: str, models: int) -> Callable[[], Any]:
    """Steps of so many generic models side by side, each from its own start on its own rows."""
    net, batch = _SHAPES[shape]
    task = loss.share_constants(problem.training(net))
    learner = GenericLearner(net, _TRAIN)
    keys = jax.random.split(jax.random.key(0), models)
    states = jax.vmap(lambda k: optimise.begin(learner, network.init(k, net, task.scale)))(keys)
    rows = np.random.default_rng(0).integers(net.window, len(task.samples.time), (_STEPS, models, batch, 1))
    gains = jnp.ones((_STEPS, models, batch, net.inputs))
    pieces = (jnp.asarray(rows, jnp.int32), gains)
    return partial(_course, learner, states, task, pieces)


@partial(jax.jit, static_argnums=0)
def _course(learner: GenericLearner, states: Any, task: loss.Problem, pieces: Any) -> Any:
    def one(states: Any, piece: Any) -> Any:
        states, (losses, _) = jax.vmap(lambda s, p: optimise.advance(learner, s, (task, p)))(states, piece)
        return states, losses

    return jax.lax.scan(one, states, pieces)[1]


def training() -> Iterator[Row]:
    """The generic training step, many in one dispatch, as a run takes them."""
    for shape in _SHAPES:
        what = f"training step with physics, {shape} network, batch {_SHAPES[shape][1]}, {_STEPS} in one dispatch"
        yield _row(f"step_{shape}", what, partial(_training, shape, 1), "ms/step", _STEPS, 12.0)


def folds() -> Iterator[Row]:
    """Generic models of several folds in one program, against one after the other."""
    for count in (4, 16):
        what = f"training step of one of {count} generic models side by side, default network, batch 256"
        make = partial(_training, "default", count)
        yield _row(f"folds_{count}", what, make, "ms/step", count * _STEPS, 12.0)


def folds_here() -> Iterator[Row]:
    """The same on this device alone: what a run does with folds, two at a time, against one program of all."""
    count, one = 4, _training("default", 1)
    sides = {
        "together": _training("default", count),
        "one_by_one": lambda: [one() for _ in range(count)],
        "two_threads": lambda: devices.together([one] * count),
    }
    times = measure.interleaved(sides, rounds=15, at_most_s=30.0)
    each = {k: t.median / (count * _STEPS) * 1e3 for k, t in times.items()}
    yield Row(
        "folds_one_program",
        f"training step of one of {count} generic models in one program, default network, batch 256",
        each["together"],
        "ms/step",
        each["one_by_one"],
        "one after the other",
        measure.ratio(times["one_by_one"], times["together"]),
        note=f"two at a time in threads, as a run does it: {each['two_threads']:.3g} ms/step",
        compile_s=times["together"].first,
        times={k: t.summary(count * _STEPS) for k, t in times.items()},
    )


def people() -> Iterator[Row]:
    """Heads of many people at once; with thousands the accelerator alone, since the processor needs a minute a call."""
    for count in (8, 64, 512):
        what = f"personalising one of {count} people, 50 steps on 256 rows each"
        yield _row(f"people_{count}", what, partial(personal.ours, count), "ms/person", count, 15.0)
    count = 4096
    times = measure.interleaved({"accelerator": personal.ours(count)}, rounds=_ROUNDS, at_most_s=12.0)["accelerator"]
    yield Row(
        f"accelerator_people_{count}",
        f"personalising one of {count} people, 50 steps on 256 rows each",
        times.median / count * 1e3,
        "ms/person",
        note="accelerator alone",
        compile_s=times.first,
        times={"accelerator": times.summary(count)},
    )


def sharing() -> Iterator[Row]:
    """Static optimisation of a wrist of two coordinates, many frames at once."""
    model = builtin("wrist2")

    def make() -> Callable[[], Any]:
        rng = np.random.default_rng(0)
        size = (_FRAMES, len(model.dofs))
        q, qd = jnp.asarray(rng.uniform(-0.3, 0.3, size), jnp.float32), jnp.zeros(size)  # rad, rad/s
        torque = jnp.asarray(rng.uniform(-2.0, 2.0, size), jnp.float32)  # N m
        return lambda: static_optimisation(model, q, qd, torque, 0).force

    what = f"static optimisation of a wrist of two coordinates, {_FRAMES} frames at once"
    yield _row("static_optimisation", what, make, "us/frame", _FRAMES, 10.0)


def precision() -> Iterator[Row]:
    """What the device's default precision of matrix products does to angle, velocity and acceleration."""
    net = problem.DEFAULT
    task = problem.training(net)
    params = network.init(jax.random.key(0), net, task.scale)
    rows = jnp.arange(net.window, net.window + 4000)

    def motion() -> list[np.ndarray]:
        answer = jax.jit(lambda p: network.features(p, net, task.samples, rows, 3))(params)
        return [np.asarray(x) for x in answer]

    default = motion()
    jax.clear_caches()
    with jax.default_matmul_precision("highest"):
        exact = motion()
    jax.clear_caches()
    apart = [float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2))) for a, b in zip(default, exact, strict=True)]
    yield Row(
        "accelerator_precision",
        "error of the features' second derivative by the device's default precision of matrix products",
        apart[2],
        "of its rms",
        note=f"features {apart[0]:.1e}, first derivative {apart[1]:.1e}, second {apart[2]:.1e}",
    )


BENCHMARKS = {
    "accelerator_precision": precision,
    "accelerator_step": training,
    "accelerator_folds": folds,
    "folds_one_program": folds_here,
    "accelerator_people": people,
    "accelerator_static_optimisation": sharing,
}
