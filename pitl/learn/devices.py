"""Several devices, on one machine or many: one mesh, batch and people split over it, everything else on each device.

What JAX sees is used: all accelerators of one process, or of all processes that have joined (`joined`). One device
is the case in which nothing here does anything. Every process runs the same program on the same recordings; the
first one writes.
"""

import ctypes
import gc
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pitl.errors import PitlError

SPLIT = "split"
_COPY = "copy"


def mesh(parts: int) -> Mesh | None:
    """All devices, in as many groups as divide `parts`; None where nothing can be split.

    Groups take equal shares, so that a mean over them is the mean over all; 24 windows on 16 devices are split in
    8 and each share is computed twice.
    """
    result = jax.devices()
    groups = math.gcd(parts, len(result))
    return Mesh(np.array(result).reshape(groups, -1), (SPLIT, _COPY)) if groups > 1 else None


def split(tree: Any, over: Mesh | None, axis: int = 0) -> Any:
    """Arrays that every process has whole, split along an axis."""
    return _placed(tree, over, PartitionSpec(*(None,) * axis, SPLIT))


def everywhere(tree: Any, over: Mesh | None) -> Any:
    """Arrays that every process has whole, on each device."""
    return _placed(tree, over, PartitionSpec())


def whole(tree: Any, over: Mesh | None) -> Any:
    """The arrays of `split` or of a computation with them, whole again in every process and on one device there."""
    if over is None:
        return tree
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        result = jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)
    else:
        result = jax.tree.map(np.asarray, tree)
    return jax.tree.map(jnp.asarray, result)


def together(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of independent pieces of work, two at a time: while one is traced, the device computes the other.

    One after the other where several processes have to keep in step. Who is interrupted does not wait for either.
    """
    if jax.process_count() > 1:
        return [piece() for piece in work]
    threads = ThreadPoolExecutor(2)
    try:
        return list(threads.map(lambda piece: piece(), work))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def _placed(tree: Any, over: Mesh | None, spec: PartitionSpec) -> Any:
    if over is None:
        return tree
    where = NamedSharding(over, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, where)

    def place(x: Any) -> Any:
        if jnp.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, where, lambda at: x[at])

    return jax.tree.map(place, tree)


# A dead process is noticed after this time where no exchange of numbers notices it earlier.
_SILENT_S = 30
# The others may be done long before the first, which evaluates and writes.
_AT_THE_END_S = 7 * 24 * 3600


@contextmanager
def joined(hosts: str | None = None, process: int | None = None) -> Iterator[None]:
    """Joins the other processes of a run, if there are any, and leaves with one sentence where one of them is lost.

    Args:
        hosts: "address:port,address,..." one a process, the first of them with the port on which the others find it;
            None takes what Slurm says of the job step, and without that this process is alone.
        process: which of the hosts this is, from 0.

    Raises:
        PitlError: if the hosts cannot be understood, or the others do not come.
    """
    given = _given(hosts, process)
    if given is None:
        yield
        return
    _meet(given)
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
        code = 0
    except PitlError as e:
        code = _said(str(e))
    except jax.errors.JaxRuntimeError as e:
        line = (str(e).strip().splitlines() or [""])[0][:160]
        code = _said(
            f"process {jax.process_index()} of {jax.process_count()} lost another process of this run ({line}); "
            "start the same command again on every host, what is finished is kept."
        )
    if not code:
        _wait_for_all()
        if first():
            return
    # leaving in the ordinary way would talk to processes that may be gone
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait_for_all() -> None:
    from orbax.checkpoint import multihost

    multihost.sync_global_processes("pitl: done", timeout=_AT_THE_END_S)


def _said(sentence: str) -> int:
    print(f"pitl: {sentence}", file=sys.stderr, flush=True)
    return 1


def _given(hosts: str | None, process: int | None) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; None for a process that is alone."""
    if hosts is None:
        if process is not None:
            raise PitlError(f"--process {process} needs --hosts, the addresses of all processes of this run.")
        return {} if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 else None
    each = [h.strip() for h in hosts.split(",")]
    address, _, port = each[0].rpartition(":")
    if not all(each) or not address or not port.isdigit():
        raise PitlError(
            f"--hosts {hosts!r} is not ADDRESS:PORT,ADDRESS,...: the first host needs a free port, "
            "such as 10.0.0.1:5000,10.0.0.2."
        )
    if process is None or not 0 <= process < len(each):
        raise PitlError(
            f"--hosts names {len(each)} processes; say with --process 0 to {len(each) - 1} which this one is."
        )
    return {"coordinator_address": each[0], "num_processes": len(each), "process_id": process}


def _meet(given: dict[str, Any]) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_recoverability", True)  # else JAX aborts the survivors before they can say why
    wait_s = int(os.environ.get("PITL_JOIN_S", "300"))
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=wait_s,
            heartbeat_timeout_seconds=_SILENT_S,
        )
    except (RuntimeError, ValueError) as e:
        where = given.get("coordinator_address", "the Slurm job")
        line = (str(e).strip().splitlines() or [""])[0][:160]
        raise PitlError(
            f"the processes of this run did not all meet at {where} within {wait_s} s ({line}); start the same "
            "command on every host, and see that this address can be reached."
        ) from e


def drop_programs(above_bytes: float = 1.2 * 2**30) -> bool:
    """Drops compiled programs from memory if the process has grown beyond a size; those on disk are read back.

    A comparison compiles hundreds of programs, most of which it never needs again; together they outgrow the data.
    """
    if resident_bytes() < above_bytes:
        return False
    jax.clear_caches()
    gc.collect()
    with suppress(OSError, AttributeError):  # what was freed goes back to the operating system, where that is glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return True


def resident_bytes() -> float:
    """Memory of this process [bytes]; the most it ever had where the operating system tells no more."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
