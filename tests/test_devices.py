"""Several devices and several processes give what one device gives, and a run that loses a process says so."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from pitl.errors import PitlError
from pitl.learn import devices

ROOT = Path(__file__).resolve().parents[1]
WORK = """
import sys, jax, numpy as np
from pitl.learn import devices
hosts, process = (sys.argv[2], int(sys.argv[3])) if len(sys.argv) > 2 else (None, None)
with devices.joined(hosts, process):
    from pitl.config.schema import Config
    from pitl.data import virtual
    from pitl.learn import model, personal
    from pitl.learn.prepare import prepare
    from pitl.learn.split import split_rows
    from pitl.learn.train import train_generic
    config = Config.model_validate({
        "virtual": {"subjects": 5, "seconds": 5.0, "rhythmic_trials": 1, "random_trials": 0},
        "train": {"steps": 20, "check_every": 10, "batch": 32, "gain_augmentation": 0.0},
        "personalize": {"steps": 10},
    })
    prepared = prepare(config, virtual.simulate(config.virtual))
    trained, course = train_generic(prepared, (0, 1, 2), (3,), config.train, jax.random.key(3))
    everyone = model.stack([trained] * 5).replace(limb=prepared.limbs)
    settings = personal.method_settings(config.personalize, "angle")
    fitted = personal.fit(everyone, prepared.samples, split_rows(prepared).people, settings, config.personalize)
    if devices.first():
        made = (trained.params, fitted.model.params, fitted.correction, fitted.history, course.history)
        leaves = jax.tree.leaves(made)
        np.savez(sys.argv[1], *[np.asarray(x) for x in leaves], count=jax.device_count())
"""


def _environment(count: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={count}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}


def _start(command: list[str], count: int = 1, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command],
        env=_environment(count) | more,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _done(process: "subprocess.Popen[str]", limit_s: float = 1200.0) -> None:
    _, stderr = process.communicate(timeout=limit_s)
    assert process.returncode == 0, stderr[-2000:]


def _hosts() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]},127.0.0.1"


def _numbers(path: Path) -> tuple[list[np.ndarray], int]:
    with np.load(path) as result:
        return [result[k] for k in result.files if k != "count"], int(result["count"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "found.npz"
    _done(_start(["-c", WORK, str(path)]))
    return _numbers(path)[0]


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        # sums in another order, which Adam makes large where a gradient is nearly zero; parameters move by 5e-2
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-3)


@pytest.mark.thorough
def test_four_devices_give_what_one_gives(alone, tmp_path):
    _done(_start(["-c", WORK, str(tmp_path / "found.npz")], count=4))
    result, count = _numbers(tmp_path / "found.npz")
    assert count == 4
    _same(result, alone)


@pytest.mark.thorough
def test_two_processes_give_what_one_gives(alone, tmp_path):
    hosts, path = _hosts(), tmp_path / "found.npz"
    _meet_and_equal([_start(["-c", WORK, str(path), hosts, str(k)]) for k in range(2)], path, alone)


@pytest.mark.slow
def test_two_processes_that_find_each_other_by_slurms_environment_give_what_one_gives(alone, tmp_path):
    job, path = _slurm_job(), tmp_path / "found.npz"
    step = {"SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    both = [
        _start(["-c", WORK, str(path)], **step, SLURM_PROCID=str(k), SLURM_LOCALID=str(k), SLURM_STEP_NUM_NODES="1")
        for k in range(2)
    ]
    _meet_and_equal(both, path, alone)


def _slurm_job() -> str:
    """A job number whose port, which JAX makes of it, is free."""
    for job in range(4096):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", 65535 - 4095 + job))
            except OSError:
                continue
            return str(job)
    raise AssertionError("no port is free")


def _meet_and_equal(both: list["subprocess.Popen[str]"], path: Path, alone: list[np.ndarray]) -> None:
    for process in both:
        _done(process)
    result, count = _numbers(path)
    assert count == 2
    _same(result, alone)


RUN = [
    "-m", "pitl", "compare", "configs/virtual_wrist.toml", "virtual.subjects=3",
    "virtual.seconds=5.0", "evaluate.folds=3",
    "virtual.rhythmic_trials=1", "virtual.random_trials=0", "train.check_every=10", "personalize.steps=10",
    'evaluate.methods=["generic_physics", "head_physics"]', 'evaluate.supervision=["angle"]', "train.batch=32",
    "evaluate.lost_channels=false",
]  # fmt: skip


@pytest.mark.thorough
def test_a_run_that_loses_a_process_says_so_and_the_same_command_goes_on(tmp_path):
    out = tmp_path / "out"

    def begin(*changes: str) -> list["subprocess.Popen[str]"]:
        hosts = _hosts()
        more = ["--hosts", hosts, "--out", str(out), "--process"]
        return [_start([*RUN, *changes, *more, str(k)]) for k in range(2)]

    steps = "train.steps=400"
    both = begin(steps)
    finished = out / "generic" / "seed0" / "fold0" / "physics"
    for _ in range(12_000):
        if finished.is_dir() or any(p.poll() is not None for p in both):
            break
        time.sleep(0.1)
    assert finished.is_dir(), [p.communicate()[1][-1000:] for p in both if p.poll() is not None]
    both[1].send_signal(signal.SIGKILL)
    _, stderr = both[0].communicate(timeout=1200)
    both[1].communicate()
    assert both[0].returncode == 1
    sentences = [line for line in stderr.splitlines() if line.startswith("pitl:")]
    assert len(sentences) == 1 and "lost another process" in sentences[0] and "Traceback" not in stderr
    assert not (out / "report.html").exists()
    kept = finished.stat().st_mtime_ns
    for process in begin(steps):
        _done(process)
    assert finished.stat().st_mtime_ns == kept
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("hosts", "process", "says"),
    [
        ("10.0.0.1,10.0.0.2", 0, "needs a free port"),
        ("10.0.0.1:5000,,", 0, "needs a free port"),
        ("10.0.0.1:5000,10.0.0.2", 2, "--process 0 to 1"),
        ("10.0.0.1:5000,10.0.0.2", None, "--process 0 to 1"),
        (None, 1, "needs --hosts"),
    ],
)
def test_hosts_that_cannot_be_understood_are_refused(hosts, process, says):
    with pytest.raises(PitlError, match=says), devices.joined(hosts, process):
        pass


def test_one_device_has_no_mesh_and_keeps_its_arrays():
    if jax.device_count() > 1:
        pytest.skip("this machine has several devices")
    assert devices.mesh(12) is None
    x = np.arange(3.0)
    assert devices.split(x, None) is x and devices.everywhere(x, None) is x and devices.whole(x, None) is x


def test_work_side_by_side_comes_back_in_order_and_says_what_went_wrong():
    first = threading.Event()

    def waits() -> int:
        assert first.wait(60)  # only the other one sets it
        return 1

    def sets() -> int:
        first.set()
        return 2

    def fails() -> int:
        raise PitlError("the recordings are too short.")

    assert devices.together([waits, sets, lambda: 3]) == [1, 2, 3]
    with pytest.raises(PitlError, match="too short"):
        devices.together([lambda: 1, fails])
