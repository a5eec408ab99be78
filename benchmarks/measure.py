"""Timing that can be believed on a shared machine: warm, blocked, every alternative in turn within one loop."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Times(NamedTuple):
    """Seconds of one side, sorted as they were measured; the first call, which compiles, is apart."""

    first: float
    rounds: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))

    @property
    def least(self) -> float:
        return float(self.rounds.min())

    def summary(self, per: int = 1) -> dict[str, float]:
        """Min, median and p99 of one of `per` equal parts of a call [s]."""
        p99 = float(np.percentile(self.rounds, 99))
        result = {"min": self.least, "median": self.median, "p99": p99}
        return {k: v / per for k, v in result.items()} | {"rounds": len(self.rounds), "first": self.first}


def interleaved(sides: Mapping[str, Callable[[], Any]], rounds: int = 15, at_most_s: float = 40.0) -> dict[str, Times]:
    """Calls every side in turn, round after round, so that a slow minute of the machine slows all of them.

    Args:
        sides: what to call; whatever JAX arrays it returns are waited for.
        rounds: of the loop, at least 3.
        at_most_s: no new round begins after this time.
    """
    first = {name: _timed(side) for name, side in sides.items()}
    result: dict[str, list[float]] = {name: [] for name in sides}
    began = time.perf_counter()
    for k in range(rounds):
        if k >= 3 and time.perf_counter() - began > at_most_s:
            break
        order = list(sides) if k % 2 == 0 else list(sides)[::-1]
        for name in order:
            result[name].append(_timed(sides[name]))
    return {name: Times(first[name], np.array(result[name])) for name in sides}


def _timed(side: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(side())
    return time.perf_counter() - began


def ratio(reference: Times, value: Times) -> float:
    """How many times slower the reference is: the median over rounds of the two in the same round."""
    return float(np.median(reference.rounds / value.rounds))


_product = jax.jit(lambda a, b: a @ b)


def gemm_side() -> int:
    """Side of the square product that measures the machine."""
    return 8192 if on_gpu() else 1024


def gemm() -> Callable[[], Any]:
    """A side for `interleaved`: a square matrix product at the precision that training uses."""
    a = jax.random.normal(jax.random.key(0), (gemm_side(), gemm_side()), jnp.float32)
    return lambda: _product(a, a)


def gemm_rate(product: Times) -> float:
    """Operations a second of that product at its best."""
    return 2 * gemm_side() ** 3 / product.least


def gemm_share(flop: float, times: Times, product: Times) -> float:
    """Arithmetic rate of one side as a share of the product's, both at their best: their noise is not the same."""
    return flop / times.least / gemm_rate(product)


def program_bytes(compiled: Any) -> int | None:
    """Peak memory of a compiled JAX program, arguments and result counted in."""
    result = compiled.memory_analysis()
    if result is None:
        return None
    return int(
        result.argument_size_in_bytes
        + result.output_size_in_bytes
        - result.alias_size_in_bytes
        + result.temp_size_in_bytes
    )


def program_flop(compiled: Any) -> float:
    """Operations of a compiled JAX program by the compiler's count, in which a loop's body counts once."""
    return float(compiled.cost_analysis()["flops"])


def process_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def on_gpu() -> bool:
    return jax.default_backend() != "cpu"
