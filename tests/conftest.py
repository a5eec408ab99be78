"""Tests run with silent broadcasting and silent dtype promotion forbidden."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real recordings, OpenSim models and reference tables that are not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("PITL_SHARED", default))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the shared recordings and reference tables; {folder} has none (set PITL_SHARED)")
    return folder
