"""The function in AWS's Runtime Interface Emulator, a part of aws-sam-cli, with the client that runs in Lambda."""

import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.command import ROOT
from benchmarks.serving.child import HTTP_OK
from benchmarks.serving.server import free_port, running
from benchmarks.serving.services import Service

RUNTIME = ROOT / ".venv-runtime" / "bin"
TIMEOUT_SECONDS = 60
# Printed when the runtime asks for its first event: the time from the runtime's start to the end of its imports.
INIT = re.compile(rb"INIT REPORT\(durationMs: ([\d.]+)")


@contextmanager
def emulated(service: Service, log: Path, *, memory_mb: int = 512) -> Iterator[tuple[int, str]]:
    """The emulator's process id, and the address that invokes a service in it; `log` receives the output of both.

    The runtime starts with the first invocation. `memory_mb` only sets an environment variable, and limits nothing.
    """
    address, runtime_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = ["--log-level", "info", "--runtime-interface-emulator-address", address]
    runtime = ["--runtime-api-address", runtime_address, "python", "-m", "awslambdaric", f"{service.module}.handler"]
    # The variables that Lambda sets, and those that the service needs.
    environment = {
        **service.python_environment,
        "PATH": str(RUNTIME),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(service.folder),
        "_HANDLER": f"{service.module}.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "FraudFunction",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_SECONDS),
        "AWS_REGION": "eu-central-1",
    }
    url = f"http://{address}"
    with running([_program(), *options, *runtime], service.folder, environment, url, log) as pid:
        yield pid, f"{url}/2015-03-31/functions/function/invocations"


def init_milliseconds(service: Service, event: Mapping[str, Any], log: Path) -> float:
    """The time that the start of a service took, according to the emulator; the service must then answer the event."""
    with emulated(service, log) as (_, invocation):
        answer = httpx2.post(invocation, json=event, timeout=TIMEOUT_SECONDS, trust_env=False).json()
    report = INIT.search(log.read_bytes())
    if not report or answer.get("statusCode") != HTTP_OK:
        raise RuntimeError(f"{service.module} answered {answer} in the emulator:\n{log.read_text()}")
    return float(report[1])


def _program() -> Path:
    """The emulator for this processor."""
    processor = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    programs = ROOT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{processor}")
    program = next(programs, None)
    if program is None or not (RUNTIME / "python").exists():
        raise SystemExit("AWS's emulator or its runtime client is missing; `make bench` installs them")
    return program
