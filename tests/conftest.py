"""Fixtures of several tests: the built artifact, a checkout, the function under uvicorn, and a local S3 server."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from handler.settings import Settings
from tests.unmeasured import coverage_variables, unmeasured_environment
from training.delivery.emulation import own_architecture

# One set of examples everywhere: a gate must not fail by chance, nor because the machine is busy.
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# For `make robust`: many examples, and other ones at each run.
settings.register_profile(
    "long",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "20000")),
    suppress_health_check=list(HealthCheck),
)
# Tests already share the cores, so stages start no processes of their own, except in the tests of those processes.
os.environ["LOKY_MAX_CPU_COUNT"] = os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
# A user's own settings of the store or the log must not reach the function under test.
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

PROJECT = Path(__file__).parent.parent
SAM = PROJECT / ".venv-sam" / "bin" / "sam"


# Files that take minutes, each on one core. They start first, so that the run does not wait for them at the end.
LONG = (
    "test_loop.py",
    "test_benchmarks.py",
    "test_cluster.py",
    "test_try_file.py",
    "test_publish_killed.py",
    "test_score.py",
    "test_track.py",
    "test_release.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the long files first; the others keep their order."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def sam_build() -> Callable[[Path], Path]:
    """Builds the artifact for this processor into a folder, away from .aws-sam; returns the built template."""
    if not SAM.exists():
        pytest.skip("there is no .venv-sam; `make test` installs it")

    def build(folder: Path) -> Path:
        command = ["make", "artifact", f"ARCHITECTURE={own_architecture()}", f"BUILD_DIR={folder / 'build'}"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder / "build" / "template.yaml"

    return build


@pytest.fixture(scope="session")
def built_template(
    sam_build: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> Path:
    """The built template, beside its FraudFunction/ folder; parallel test processes share it."""
    folder = tmp_path_factory.getbasetemp().parent / f"artifact-{testrun_uid}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        template = folder / "build" / "template.yaml"
        return template if template.exists() else sam_build(folder)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages spread their tasks over two processes, instead of running them in the test's own."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")


@pytest.fixture
def unmeasured(no_cover: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it stops the tracer
    """Neither this process nor those that it starts are measured for coverage."""
    for name in coverage_variables():
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's checkout with an empty data/, in which DVC runs without the user's settings and caches.

    The stages are not measured for coverage there: other tests run them too.
    """
    folder = tmp_path_factory.mktemp("checkout") / "project"
    for package in ("handler", "training"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "requirements-model.lock"):
        shutil.copy(PROJECT / name, folder)
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as environment:
        for name in coverage_variables():
            environment.delenv(name)
        for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
            environment.setenv(name, str(folder.parent / "dvc"))
        environment.setenv("DVC_NO_ANALYTICS", "1")
        environment.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield folder


@contextmanager
def _under_uvicorn(folder: Path, **settings: str) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    options = ["--host", host, "--port", str(port), "--log-level", "error"]
    command = [sys.executable, "-m", "uvicorn", "handler.app:app", *options]
    server = subprocess.Popen(command, cwd=folder, env=unmeasured_environment() | settings)
    try:
        transport = httpx2.HTTPTransport(retries=10)
        with httpx2.Client(transport=transport, trust_env=False) as client:
            client.get(f"http://{host}:{port}/health", timeout=30)
        yield host, port
    finally:
        server.send_signal(signal.SIGTERM)
        # uvicorn shuts down in order, then ends by the signal it was sent.
        assert server.wait(timeout=20) in {0, -signal.SIGTERM}


@pytest.fixture(scope="session")
def under_uvicorn() -> Callable[..., AbstractContextManager[tuple[str, int]]]:
    """Serves a folder's bundles with some settings for the duration of a block; gives host and port."""
    return _under_uvicorn


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """The address of a local server that speaks S3's protocol (moto)."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to import, like boto3 below

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that lead every AWS client, in this process and those that it starts, to that server."""
    environment = {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def bucket(s3_environment: dict[str, str]) -> str:  # noqa: ARG001 - the client reads the environment
    """The name of an empty bucket."""
    import boto3  # noqa: PLC0415 - takes half a second, which most tests can save

    name = f"models-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name
