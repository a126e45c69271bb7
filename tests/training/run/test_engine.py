"""The declared engine: if Dask cannot start, the error is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import dask
import distributed.config  # noqa: F401 - its defaults must be there before others are set
import pytest

from training.errors import StageError
from training.params import Compute
from training.run.engine import workers_of


def test_impossible_temporary_folder_is_named() -> None:
    """A user's Dask configuration may name a temporary folder that cannot be created here."""
    with (
        dask.config.set({"temporary-directory": "/proc/nowhere"}),
        pytest.raises(StageError, match=r"^Dask cannot start a cluster on this machine: .*/proc/nowhere.*DASK_CONFIG"),
        workers_of(Compute(engine="dask", chunk_rows=1_000)),
    ):
        pass


def test_damaged_configuration_is_named(tmp_path: Path) -> None:
    """Dask reads its configuration when it is imported, and raises errors then."""
    path = tmp_path / "dask.yaml"
    path.write_text("temporary-directory: [")
    code = ("from training.params import Compute", "from training.run.engine import workers_of")
    command = [sys.executable, "-c", "; ".join((*code, "workers_of(Compute(engine='dask'))"))]
    environment = {**os.environ, "DASK_CONFIG": str(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"training.errors.StageError: Dask cannot start: A dask config file at '{path}' is")
