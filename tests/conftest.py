"""The Lambda artifact as `make build` makes it, built once for every test that runs it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from training.deploy_check import own_architecture

# One set of examples everywhere: a gate must not fail by chance, nor because the machine is busy.
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# `make robust`: other examples at each run, and many.
settings.register_profile("long", deadline=None, max_examples=20_000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

PROJECT = Path(__file__).parent.parent
SAM = PROJECT / ".venv-sam" / "bin" / "sam"


@pytest.fixture(scope="session")
def sam_build() -> Callable[[Path], Path]:
    """Builds the artifact for this processor into a folder, away from .aws-sam; returns the built template."""
    if not SAM.exists():
        pytest.skip("there is no .venv-sam; `make test` installs it")

    def build(folder: Path) -> Path:
        arguments = [f"ARCHITECTURE={own_architecture()}", f"BUILD_DIR={folder / 'build'}"]
        done = subprocess.run(
            ["make", "artifact", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return folder / "build" / "template.yaml"

    return build


@pytest.fixture(scope="session")
def built_template(sam_build: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built template, beside its FraudFunction/ folder."""
    return sam_build(tmp_path_factory.mktemp("artifact"))
