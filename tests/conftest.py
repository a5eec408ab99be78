"""Tests run with silent broadcasting and silent dtype promotion forbidden, in bounded memory."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

# programs that one test compiles are read back by the next, also in the processes that tests start
_CACHE = Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

from pitl.files import compile_quickly  # noqa: E402

# a test runs its programs once or twice and waits for their compilation
compile_quickly("--xla_backend_optimization_level=0")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# arguments and results of every function of these rooms are checked against their annotations, shapes included
install_import_hook([f"pitl.{room}" for room in ("signals", "mechanics", "net", "learn")], "typecheck.check")

from pitl.learn import devices  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config):
    """A file that is named on the command line is run whole, but for what takes minutes."""
    if any(".py" in argument for argument in config.args):
        config.option.markexpr = config.option.markexpr.replace("not deep and ", "")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real recordings, OpenSim models and reference tables that are not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("PITL_SHARED", default))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the shared recordings and reference tables; {folder} has none (set PITL_SHARED)")
    return folder


BROWSER = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> list[str]:
    """The command of a browser that starts here, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs chromium to open a page in")
    profile = tmp_path_factory.mktemp("browser")
    tried = [found, *BROWSER, f"--user-data-dir={profile}", "--dump-dom", "data:text/html,<p>here</p>"]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{found} does not answer on this machine")
    if "here" not in done.stdout:
        pytest.skip(f"{found} does not start on this machine")
    return [found, *BROWSER]


@pytest.fixture
def unchecked():
    """Types and shapes are not checked, for arguments that are wrong on purpose, or stand for others."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _bounded_memory():
    """Compiled programs of earlier tests stay in memory until there is too much of them; processes share the bound."""
    yield
    devices.drop_programs((0.9 if "PYTEST_XDIST_WORKER" in os.environ else 1.7) * 2**30)


_peaks: list[float] = []  # GiB, of each process that has ended


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = _peak()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _peaks.append(getattr(node, "workeroutput", {}).get("peak", 0.0))


def pytest_terminal_summary(terminalreporter):
    """The most memory that the suite took, all of its processes together, beside its result."""
    terminalreporter.write_line(f"peak memory {_peak() + sum(_peaks):.2f} GiB")
