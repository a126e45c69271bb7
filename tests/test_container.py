"""The container image: its commands on the artifact, and all of it if there is a Docker engine; the dev container."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.docker_engine import has_docker
from tests.unmeasured import unmeasured_environment
from training.delivery.ask_golden import ask_all
from training.delivery.emulation import own_architecture

PROJECT = Path(__file__).parents[1]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
DEVCONTAINER = (PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
ARTIFACT = Path(".aws-sam", "build", "FraudFunction")
MAX_IMAGE_MB = 150
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
TIMEOUT_SECONDS = 30


def pinned(lock: str) -> dict[str, str]:
    """The version of each package that a lock pins."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (PROJECT / lock).read_text(), re.MULTILINE))


def command(instruction: str, port: int) -> list[str]:
    """The command of an instruction of the Dockerfile, changed to this Python and another port."""
    (content,) = re.findall(rf"^ *{instruction} (\[.+\])$", DOCKERFILE, re.MULTILINE)
    python, *arguments = json.loads(content)
    assert python == "/usr/bin/python3"
    return [sys.executable, *(argument.replace("8000", str(port)) for argument in arguments)]


def test_the_health_check_tells_whether_the_server_answers(built_template: Path) -> None:
    """The image's own commands are run: it fails before the server listens, and succeeds whatever proxy is set."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    artifact = built_template.parent / "FraudFunction"
    # The artifact's packages come first; the server's own come from this environment.
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
    environment = unmeasured_environment() | proxy | {"PYTHONPATH": str(artifact)}
    check = command("CMD", port)
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 1
    server = subprocess.Popen(command("ENTRYPOINT", port), cwd=artifact, env=environment)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "the health check does not succeed"
            time.sleep(0.2)
        scorers = httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()["scorers"]
        assert scorers.keys() == {path.name for path in (artifact / "build" / "bundles").iterdir()}
    finally:
        server.terminate()
        server.wait(TIMEOUT_SECONDS)


def test_the_image_has_the_tested_versions() -> None:
    """Its own packages have the versions of the tests' environment, and none of them is also in the artifact."""
    image, tests = pinned("requirements-image.lock"), pinned("requirements.lock")
    assert image.keys() >= {"boto3", "httptools", "uvicorn", "uvloop"}
    assert {name: version for name, version in image.items() if tests[name] != version} == {}
    assert not image.keys() & pinned("handler/requirements.txt").keys()


def test_make_image_packs_what_make_build_built() -> None:
    """It is built for the named processor, and packs nothing from elsewhere."""
    planned = ["make", "-n", "image", "ARCHITECTURE=arm64"]
    printed = subprocess.run(planned, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert printed.index("sam build") < printed.index("docker build --platform linux/arm64 --tag fraud-scorer .")
    assert f"COPY {ARTIFACT} " in DOCKERFILE
    assert f"!{ARTIFACT}" in (PROJECT / ".dockerignore").read_text().splitlines()


def test_the_dev_container_has_this_python_and_calls_targets_that_exist() -> None:
    """A dev container's JSON may have comments."""
    declared = json.loads(re.sub(r"^\s*//.*$", "", DEVCONTAINER, flags=re.MULTILINE))
    version = (PROJECT / ".python-version").read_text().strip()
    assert declared["image"].startswith(f"mcr.microsoft.com/devcontainers/python:{version}-")
    program, *targets = declared["postCreateCommand"].split()
    assert (program, set(targets)) == ("make", {"env", "data"})
    makefile = (PROJECT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def docker(*arguments: str) -> str:
    """What a command of Docker prints; it must succeed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the image, built from the Dockerfile and an artifact for this processor; it is removed afterwards."""
    if not has_docker():
        pytest.skip("no Docker engine answers")
    template: Path = request.getfixturevalue("built_template")
    context, name = tmp_path_factory.mktemp("context"), f"fraud-scorer:{uuid4().hex[:12]}"
    for file in ("Dockerfile", ".dockerignore", "requirements-image.lock"):
        shutil.copy(PROJECT / file, context)
    shutil.copytree(template.parent / "FraudFunction", context / ARTIFACT)
    docker("build", "--platform", PLATFORMS[own_architecture()], "--tag", name, str(context))
    yield name
    docker("image", "rm", "--force", name)


@dataclass(frozen=True)
class Container:
    """A running container of the image."""

    id: str
    url: str

    def handle(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """The answer to an event's request over HTTP, in the form of Lambda's."""
        answer = httpx2.post(f"{self.url}{event['rawPath']}", content=event["body"], trust_env=False)
        return {"statusCode": answer.status_code, "body": answer.text}

    def inspect(self, template: str) -> str:
        """What `docker inspect` prints for a field."""
        return docker("inspect", "--format", f"{{{{{template}}}}}", self.id)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[Container]:
    """A container that may write nothing and has no capability."""
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--health-interval", "1s")
    started = docker("run", "--detach", "--publish", "127.0.0.1::8000", *hardened, image)
    address = docker("port", started, "8000").splitlines()[0]
    running = Container(started, f"http://{address}")
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (state := running.inspect(".State.Health.Status")) != "healthy":
            assert time.monotonic() < deadline, f"{state}: {docker('logs', started)}"
            time.sleep(0.2)
        yield running
    finally:
        docker("rm", "--force", "--volumes", started)


def test_the_container_answers_as_in_training(container: Container) -> None:
    """It answers every golden request so, but for the last digits, in which exp() differs between platforms."""
    answers = ask_all(container.handle, PROJECT / "build" / "bundles")
    assert answers["wrong"] == []
    assert answers["asked"] > 0


def test_the_server_is_nobody_in_particular(container: Container) -> None:
    """It runs as an ordinary user by number, which Kubernetes can tell from root."""
    user, group = container.inspect(".Config.User").split(":")
    assert int(user) >= 1000 <= int(group)
    printed = docker("exec", container.id, "/usr/bin/python3", "-c", "import os; print(os.getuid(), os.getgid())")
    assert printed == f"{user} {group}"


def test_the_image_is_small(image: str, tmp_path: Path) -> None:
    """Under 150 MB unpacked, without a shell, a package manager or anything that only training needs."""
    created = docker("create", image)
    docker("export", "--output", str(tmp_path / "image.tar"), created)
    docker("rm", created)
    with tarfile.open(tmp_path / "image.tar") as archive:
        sizes = {member.name: member.size for member in archive}
    assert sum(sizes.values()) < MAX_IMAGE_MB * 1_000_000
    assert not {"bin/sh", "usr/bin/sh", "usr/bin/apt", "usr/bin/pip"} & sizes.keys()
    packages = {name.split("/")[2] for name in sizes if name.startswith(("opt/python/", "var/task/"))}
    assert packages >= {"handler", "uvicorn", "boto3"}
    assert not packages & {"training", "numpy", "pandas", "sklearn", "data"}


def test_the_container_stops_at_once(container: Container) -> None:
    """The server is process 1 and heeds SIGTERM; Docker would kill it after ten seconds, with status 137."""
    docker("stop", "--time", "10", container.id)
    assert container.inspect(".State.ExitCode") == "0"
