"""The built artifact: what is in it, and what it answers in AWS's own runtime, alone, without Docker."""

import json
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import httpx2
import pytest

from handler.app import handler
from tests.sam_local_session import wait_until_listening
from training.delivery.artifact import Artifact as Contents
from training.delivery.artifact import faults, read_artifact
from training.delivery.template import deployed

PROJECT = Path(__file__).parent.parent
EVENTS = Path(__file__).parent / "events"
RUNTIME = PROJECT / ".venv-runtime"


def event_of(name: str) -> dict[str, Any]:
    """A recorded API Gateway event."""
    return json.loads((EVENTS / f"{name}.json").read_bytes())


@dataclass(frozen=True)
class Artifact:
    """The built folder, and what the built template says about running it."""

    folder: Path
    declared: Mapping[str, Any]


@pytest.fixture(scope="session")
def artifact(built_template: Path) -> Artifact:
    """The artifact that `sam deploy` would upload."""
    declared = deployed({}, template=built_template)["Resources"]["FraudFunction"]["Properties"]
    return Artifact(built_template.parent / "FraudFunction", declared)


@pytest.fixture(scope="session")
def contents(artifact: Artifact) -> Contents:
    """The artifact's files."""
    return read_artifact(artifact.folder)


def test_the_artifact_has_no_fault(artifact: Artifact, contents: Contents) -> None:
    """It fits its budget, its libraries suit the processor and Lambda's GLIBC, and this Python compiled every module.

    Nothing that only training needs is in it; of XGBoost only the C library and its OpenMP.
    """
    (architecture,) = artifact.declared["Architectures"]
    assert faults(contents, architecture) == []
    assert artifact.declared["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = {name.split("/")[0].removesuffix(".py") for name in contents.files}
    assert not packages & {"boto3", "imblearn", "joblib", "numpy", "pandas", "pyarrow", "scipy", "sklearn"}
    library, openmp = sorted(name for name in contents.files if name.startswith(("xgboost/", "xgboost_cpu.libs/")))
    assert library == "xgboost/lib/libxgboost.so"
    assert openmp.startswith("xgboost_cpu.libs/libgomp-")


def test_two_builds_are_byte_identical(contents: Contents, sam_build: Callable[[Path], Path], tmp_path: Path) -> None:
    """A second build gives the same files, so that an unchanged function is not deployed again."""
    first, again = contents.files, read_artifact(sam_build(tmp_path).parent / "FraudFunction").files
    assert {name for name in first.keys() | again.keys() if first.get(name) != again.get(name)} == set()


@dataclass(frozen=True)
class Running:
    """The artifact in AWS's Runtime Interface Emulator."""

    url: str
    lock: Lock = field(default_factory=Lock)

    def invoke(self, event: object) -> httpx2.Response:
        """The emulator's answer to one invocation; the first starts the function."""
        with self.lock:  # two at once make the emulator panic
            return httpx2.post(self.url, content=json.dumps(event), timeout=30, trust_env=False)


@contextmanager
def running(artifact: Artifact, log: Path, **environment: str) -> Iterator[Running]:
    """Starts the artifact beside nothing but AWS's runtime client; ends it after."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        port, runtime_port = (free.getsockname()[1] for free in (first, second))
    address, runtime_api = f"127.0.0.1:{port}", f"127.0.0.1:{runtime_port}"
    options = ["--log-level", "info", "--runtime-interface-emulator-address", address]
    runtime = ["--runtime-api-address", runtime_api, "python", "-m", "awslambdaric", artifact.declared["Handler"]]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [emulator(), *options, *runtime],
            cwd=artifact.folder,
            env={**lambda_environment(artifact), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until_listening(process, ("127.0.0.1", port), 10)
            yield Running(f"http://{address}/2015-03-31/functions/function/invocations")
        finally:
            process.terminate()  # the emulator then kills the runtime
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def emulator() -> Path:
    """The emulator that aws-sam-cli carries."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    (path,) = PROJECT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    return path


def lambda_environment(artifact: Artifact) -> dict[str, str]:
    """What Lambda sets, what the template sets, and nothing of this process's own."""
    # A value that refers to another resource exists only once deployed.
    declared = artifact.declared.get("Environment", {}).get("Variables", {})
    return {
        **{name: value for name, value in declared.items() if isinstance(value, str)},
        "PATH": str(RUNTIME / "bin"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(artifact.folder),
        "_HANDLER": artifact.declared["Handler"],
        "AWS_LAMBDA_FUNCTION_HANDLER": artifact.declared["Handler"],
        "AWS_LAMBDA_FUNCTION_NAME": "FraudFunction",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(artifact.declared["MemorySize"]),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(artifact.declared["Timeout"]),
        "AWS_REGION": "eu-central-1",
    }


@pytest.fixture(scope="module")
def runnable(artifact: Artifact) -> Artifact:
    """The artifact, where this machine can run it."""
    if not (RUNTIME / "bin" / "python").exists():
        pytest.skip("there is no .venv-runtime; `make test` installs it")
    here = f"{platform.system()} {platform.machine().replace('aarch64', 'arm64')}"
    if here != (target := f"Linux {artifact.declared['Architectures'][0]}"):
        pytest.skip(f"the artifact is for {target}; this is {here}")
    return artifact


@pytest.fixture(scope="module")
def function(runnable: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The artifact, running."""
    with running(runnable, tmp_path_factory.mktemp("emulator") / "log") as started:
        yield started


def answer_to(function: Running, event: object) -> tuple[int, Any]:
    """The status code and the parsed body that API Gateway would pass on."""
    response = function.invoke(event)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.get("headers", answer.get("multiValueHeaders"))["content-type"] in (
        "application/json",
        ["application/json"],
    )
    return answer["statusCode"], json.loads(answer["body"])


def test_the_runtime_adds_nothing_to_the_artifact(runnable: Artifact) -> None:
    """The runtime's environment holds none of the artifact's packages, so an answer comes from the artifact alone."""
    (installed,) = RUNTIME.glob("lib/python*/site-packages")
    carried = {path.name for path in runnable.folder.iterdir()} - {"__pycache__"}
    assert not carried & {path.name for path in installed.iterdir()}


def test_each_kind_of_request_is_answered(function: Running, runnable: Artifact) -> None:
    """A payment is flagged, a refund decided and explained, a negative amount refused; health names the scorers."""
    bodies = {}
    for name in ("transaction", "refund", "refund_explained", "negative_amount", "health"):
        status, bodies[name] = answer_to(function, event_of(name))
        assert status == (422 if name == "negative_amount" else 200)
    payment, refund, health = (bodies[name] for name in ("transaction", "refund", "health"))
    assert 0 < payment["fraud_probability"] < 1
    assert payment["is_flagged"] is True
    assert re.fullmatch(r"[0-9a-f]{12}", payment["model_version"])
    assert refund["prediction"] == 0
    assert 0.5 < refund["confidence"] < 1
    # The computed rate, and the category read from the item's text.
    values = {reason["field"]: reason["value"] for reason in bodies["refund_explained"]["reasons"]}
    assert values["refund_rate"] == pytest.approx(20 / 1.5)
    assert values["item_category"] == "Food, Perishable"
    assert [problem["loc"] for problem in bodies["negative_amount"]["detail"]] == [["body", "amount_usd"]]
    assert health["status"] == "ok"
    assert health["scorers"].keys() == {path.name for path in (runnable.folder / "build" / "bundles").iterdir()}


def test_the_log_names_no_path(runnable: Artifact, tmp_path: Path) -> None:
    """In the declared text format the function's log holds its metrics, and nothing of the requests."""
    assert runnable.declared["LoggingConfig"]["LogFormat"] == "Text"
    with running(runnable, tmp_path / "log") as started:
        answer_to(started, event_of("transaction"))
    lines = (tmp_path / "log").read_text().splitlines()
    start, metrics = (json.loads(line) for line in lines if line.startswith("{"))
    assert start["ColdStart"] == 1
    assert (metrics["Scored"], metrics["Flagged"]) == (1, 1)
    assert not [line for line in lines if "/predict" in line]


@pytest.mark.parametrize(
    "name", sorted(str(path.relative_to(EVENTS).with_suffix("")) for path in EVENTS.rglob("*.json"))
)
def test_an_answer_equals_the_one_in_process(name: str, function: Running) -> None:
    """The artifact answers each recorded event of every kind, to the last bit of every number, as this process does."""
    event = event_of(name)
    here = handler(event, None)
    assert answer_to(function, event) == (here["statusCode"], json.loads(here["body"]))


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"source": "aws.s3"}, [], "text", None])
def test_an_event_that_is_not_http_is_answered(event: object, function: Running) -> None:
    """Anything that is not an HTTP event gets a 400, and the function lives on."""
    status, body = answer_to(function, event)
    assert status == 400
    assert "not an HTTP event" in body["detail"]


def test_records_fail_the_invocation(function: Running) -> None:
    """Lambda reports the error to what polls a queue, which then keeps its messages; the function lives on."""
    error = function.invoke({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}).json()
    assert error["errorType"] == "UnreadRecordsError"
    assert "records of 'aws:sqs' cannot be scored" in error["errorMessage"]
    assert answer_to(function, event_of("health"))[0] == 200


@pytest.mark.parametrize(
    ("is_damaged", "message"), [(False, "{folder} contains no bundle"), (True, "{folder}/refund/model.ubj is damaged")]
)
def test_an_unusable_bundle_prevents_the_start(
    runnable: Artifact, tmp_path: Path, *, is_damaged: bool, message: str
) -> None:
    """An empty folder of bundles, or one flipped byte of a model, is named in the answer and in the log."""
    bundles, log = tmp_path / "bundles", tmp_path / "log"
    if is_damaged:
        shutil.copytree(runnable.folder / "build" / "bundles", bundles)
        model = bundles / "refund" / "model.ubj"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 0xFF
        model.write_bytes(content)
    else:
        bundles.mkdir()
    with running(runnable, log, BUNDLES=str(bundles)) as started:
        response = started.invoke(event_of("health"))
    assert (response.status_code, response.json()["errorType"]) == (502, "BundleError")
    assert message.format(folder=bundles) in response.json()["errorMessage"]
    assert message.format(folder=bundles) in log.read_text()
