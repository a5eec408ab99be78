"""What live use costs: `python benchmarks/live.py [--only update,personalising,real_time,hour] [--out FILE]`.

- update: from the last raw sample to the forces, on one core, back to back and at the pace of live use; against the
  same answer by way of `pitl.signals.emg.advance` and a compiled JAX function
- replay: an hour of 2 kHz EMG played `hour-speed` times as fast as it was recorded, and some of it at real time: are
  all samples used, does memory grow
- personalising: on 20 s of calibration, compilation apart

Updates are timed in five rounds and the quietest (lowest p99) is shown, since others may use the machine too; every
part says how busy the machine was. The model is untrained, with a deviation of as many rows as there can be: what an
update costs does not depend on the weights.
"""

import argparse
import functools
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import EmgConfig
from pitl.data.recording import Recording
from pitl.files import atomic_write_text
from pitl.learn import deviation, gaussian_process
from pitl.learn.model import Model
from pitl.learn.units import Spread
from pitl.live import calibrate, latency, session, stream
from pitl.live.replay import Replay
from pitl.live.source import Wanted
from pitl.live.stream import Engine, SampleBlock
from pitl.mechanics.planar import builtin
from pitl.net import encoder, head, network
from pitl.signals import emg, normalise

RATE_HZ = 2000.0
CHANNELS = ("FCR", "FCU", "ECRL", "ECRB", "ECU")


def person() -> Model:
    """An untrained wrist model of the default size."""
    limb = builtin("wrist")
    net = network.Network(5, len(limb.postures), 40, 100.0)
    strength = jnp.asarray(limb.max_isometric_force, jnp.float32)
    scale = head.OutputScale(jnp.array([0.0]), jnp.array([0.5]), strength, 0.1 * strength)
    params = network.init(jax.random.key(0), net, scale)
    spread = Spread(scale.angle_std, 0.05 * strength, jnp.array([0.5]))
    volts = normalise.ChannelScale("blend", np.full(5, 5e-5), 10.0)
    return Model(params, limb, scale, spread, volts, net=net, emg=EmgConfig(), channels=CHANNELS, people=("nobody",))


def deviating() -> Model:
    """The same with a deviation of as many rows as there can be, which is what a personal model has by default."""
    model, one = person(), recording(20.0)
    assert model.channel_scale is not None and one.angle is not None
    env = emg.envelope(emg.design(model.emg, RATE_HZ), one.emg)
    jets = normalise.normalise(model.channel_scale, env.jets, model.emg.rate_hz)
    count = len(env.time_s)
    none = np.zeros(count, int)
    hyper = tuple(gaussian_process.Hyper(**gaussian_process.absent_parts(w)) for w in gaussian_process.PROCESSES)
    units = (jnp.array([0.0]), jnp.array([0.5]), jnp.ones(5 * gaussian_process.LAGS), jnp.array(1.0))
    prior = gaussian_process.AnglePrior(hyper, gaussian_process.Units(*units))
    rows, source = np.arange(model.net.window - 1, count), deviation.Envelopes(jets[:, 0], none, none, env.time_s)
    angle = one.angle[np.minimum(np.round(env.time_s * RATE_HZ).astype(int), len(one.angle) - 1)]
    fitted = deviation.fit_person(model, prior, source, rows, angle)
    return model.replace(deviation=fitted, generic=model.params)


def recording(seconds: float) -> Recording:
    """Bursts of EMG that go with a swinging wrist."""
    random = np.random.default_rng(0)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    angle = 0.7 * np.sin(np.pi * time_s)[:, None]
    effort = np.clip(angle * np.array([1, 1, -1, -1, -1]), 0, None) + 0.05
    raw = 1e-4 * effort * random.normal(size=effort.shape)
    dofs = ("wrist_flexion",)
    return Recording("n", "t", "r", "pronated", RATE_HZ, raw, CHANNELS, angle=angle, dofs=dofs, source="made here")


def quantiles(seconds: list[float]) -> dict[str, float]:
    """In microseconds."""
    us = 1e6 * np.array(seconds)
    result = {"median_us": float(np.median(us)), "p99_us": float(np.percentile(us, 99)), "max_us": float(us.max())}
    return {k: round(v, 1) for k, v in result.items()}


def update(engine: Engine, raw: np.ndarray, size: int, pause_s: float = 0.0) -> dict[str, dict[str, float]]:
    """Cost of steps that give an answer, and of those that do not."""
    state, with_answer, without = stream.start(engine), [], []
    at = np.arange(len(raw)) / RATE_HZ
    for begin in range(0, len(raw) - size + 1, size):
        block = SampleBlock(raw[begin : begin + size], at[begin : begin + size], begin)
        began = time.perf_counter()
        state, rows = stream.step(engine, state, block)
        took = time.perf_counter() - began
        if begin > RATE_HZ:  # the first second warms up
            (with_answer if len(rows.flag) else without).append(took)
        if pause_s:
            time.sleep(pause_s)
    result = {"with_answer": quantiles(with_answer)}
    return result | ({"without": quantiles(without)} if without else {})


def alternative(engine: Engine, raw: np.ndarray, size: int) -> dict[str, float]:
    """The same answer with the offline filter and a compiled JAX function."""
    model = engine.model

    @jax.jit
    def forward(params: Any, windows: jax.Array, posture: jax.Array) -> Any:
        z = encoder.encode(params["encoder"], windows, strides=model.net.strides)
        return head.infer(params["head"], z, posture, model.scale)

    posture = jax.nn.one_hot(jnp.array([1]), model.net.postures)[None]
    design = engine.filter.design
    state, costs = emg.initial_state(design, 5), []
    history = np.zeros((model.net.window, 5))
    for begin in range(0, len(raw) - size + 1, size):
        began = time.perf_counter()
        state, env = emg.advance(design, state, raw[begin : begin + size])
        if len(env.time_s):
            history = np.concatenate([history, env.jets[:, 0]])[-model.net.window :]
            windows = jnp.asarray((history / engine.volts)[None, None], jnp.float32)
            jax.block_until_ready(forward(model.params, windows, posture))
            if begin > RATE_HZ:
                costs.append(time.perf_counter() - began)
    return quantiles(costs)


def replay(engine: Engine, played_s: float, speed: float) -> dict[str, Any]:
    """Plays `played_s` seconds of EMG through a whole session."""
    one = recording(60.0)
    repeat = round(played_s / 60.0 + 0.499)
    source = Replay(one, np.arange(5), Wanted(CHANNELS, ("wrist_flexion",), speed=speed, repeat=repeat))
    seat, costs, memory = session.Seat(engine), latency.LatencyCosts(), []
    began, answers, last, state, behind = time.monotonic(), 0, 0, None, 0.0
    for u in session.run(seat, source, lambda: source, seconds=played_s):
        state = u.state
        answers += len(u.rows.flag)
        if len(u.rows.flag):
            costs.add(u.compute_s)
        behind = max(behind, (time.monotonic() - began) - float(u.block.time_s[-1]) / speed)
        if state.taken >= last:
            memory.append(_resident_mb())
            last += played_s * RATE_HZ / 20
    assert state is not None
    return {
        "played_s": played_s,
        "speed": speed,
        "wall_s": round(time.monotonic() - began, 1),
        "samples_sent": int(played_s * RATE_HZ),
        "samples_used": state.taken,
        "samples_bridged": state.held,
        "samples_lost": state.lost,
        "answers": answers,
        "furthest_behind_ms": round(1e3 * behind, 1),
        "resident_mb": [round(m, 1) for m in memory],
        "update_us": [round(1e6 * x, 1) for x in costs.quantiles()],
    }


def personalising() -> dict[str, float]:
    """Seconds from the last calibration sample to the new model: the first time, and once compiled."""
    one = recording(20.0)
    collected = calibrate.CalibrationTrial(one.emg, one.angle, np.ones(len(one.emg), bool), RATE_HZ)
    result = {}
    for name in ("with_compilation_s", "compiled_s"):
        began = time.perf_counter()
        made = calibrate.fit(person(), "pronated", collected)
        jax.block_until_ready(made.params)
        result[name] = round(time.perf_counter() - began, 2)
    return result


def _resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _on_one_core(measure: Callable[[], Any]) -> Any:
    if not hasattr(os, "sched_setaffinity"):
        return measure()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        return measure()
    finally:
        os.sched_setaffinity(0, before)


def _quietest(measure: Callable[[], dict[str, Any]], p99: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    return min((_on_one_core(measure) for _ in range(5)), key=p99)


def updates() -> dict[str, Any]:
    """Every way to feed an update, and the alternative."""
    engine, raw = stream.engine(person(), RATE_HZ, "pronated"), recording(30.0).emg
    one, several, paced = (
        _quietest(functools.partial(update, engine, raw, size, pause_s), lambda r: r["with_answer"]["p99_us"])
        for size, pause_s in ((1, 0.0), (20, 0.0), (20, 0.002))
    )
    other = _quietest(functools.partial(alternative, engine, raw, 20), lambda r: r["p99_us"])
    faster = round(other["median_us"] / several["with_answer"]["median_us"], 1)
    return {
        "1_sample": one, "20_samples": several, "20_samples_after_a_pause": paced, "alternative_20_samples": other,
        "times_faster": faster,
    }  # fmt: skip


def main() -> None:
    """Measures, prints, and writes JSON if asked; parts that are not measured now stay as they are in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="update,personalising,real_time,hour")
    parser.add_argument("--hour-speed", type=float, default=20.0)
    parser.add_argument("--hour-s", type=float, default=3600.0)
    parser.add_argument("--real-s", type=float, default=120.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    engine = stream.engine(deviating(), RATE_HZ, "pronated")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "update": updates,
        "personalising": personalising,
        "real_time": lambda: replay(engine, options.real_s, 1.0),
        "hour": lambda: replay(engine, options.hour_s, options.hour_speed),
    }
    result = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for name in options.only.split(","):
        load = round(os.getloadavg()[0], 1)
        device = f"{platform.machine()}, {os.cpu_count()} cores, JAX {jax.__version__}, NumPy {np.__version__}"
        result[name] = {"device": device, "load": load} | parts[name]()
        print(json.dumps({name: result[name]}, indent=1), flush=True)
        if options.out:
            atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
