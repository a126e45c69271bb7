"""A cold start in AWS's Runtime Interface Emulator, which aws-sam-cli carries, with the client that runs in Lambda."""

import json
import platform
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.command import ROOT
from benchmarks.machine import SERVER_CORE, pinned
from benchmarks.serving.child import HTTP_OK
from benchmarks.serving.services import Service

RUNTIME = ROOT / ".venv-runtime" / "bin"
INVOCATION = "/2015-03-31/functions/function/invocations"
TIMEOUT_SECONDS = 60
# What it prints once the runtime asks for its first event: from the runtime's start to the end of its imports.
INIT = re.compile(rb"INIT REPORT\(durationMs: ([\d.]+)")


def init_milliseconds(service: Service, event: Mapping[str, Any], log: Path) -> float:
    """What the emulator says that the start of a service took; the service then answered the event."""
    with _emulator(service, log) as (host, port):
        connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        connection.request("POST", INVOCATION, json.dumps(event))
        answer = connection.getresponse().read()
        connection.close()
    if json.loads(answer).get("statusCode") != HTTP_OK:
        raise RuntimeError(f"{service.module} answered {answer.decode()} in the emulator:\n{log.read_text()}")
    report = INIT.search(log.read_bytes())
    if not report:
        raise RuntimeError(f"the emulator did not report its init:\n{log.read_text()}")
    return float(report[1])


@contextmanager
def _emulator(service: Service, log: Path) -> Iterator[tuple[str, int]]:
    """Starts the emulator on the server's core, gives its address, ends it and the runtime."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        (host, port), (_, runtime_port) = first.getsockname(), second.getsockname()
    options = ["--log-level", "info", "--runtime-interface-emulator-address", f"{host}:{port}"]
    runtime = ["--runtime-api-address", f"{host}:{runtime_port}", "python", "-m", "awslambdaric"]
    with log.open("wb") as output, pinned(SERVER_CORE):
        process = subprocess.Popen(
            [_program(), *options, *runtime, f"{service.module}.handler"],
            cwd=service.artifact,
            env=_environment(service),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_listening(process, host, port)
        yield host, port
    finally:
        process.terminate()  # on which it kills the runtime
        process.wait(TIMEOUT_SECONDS)


def _program() -> Path:
    """The emulator for this processor."""
    processor = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    programs = ROOT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{processor}")
    program = next(programs, None)
    if program is None or not (RUNTIME / "python").exists():
        raise SystemExit("AWS's emulator or its runtime client is missing; `make bench` installs them")
    return program


def _environment(service: Service) -> dict[str, str]:
    """What Lambda sets, and what the service needs."""
    return {
        **service.environment,
        "PATH": str(RUNTIME),
        "PYTHONPATH": ":".join(map(str, service.paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(service.artifact),
        "_HANDLER": f"{service.module}.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "FraudFunction",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_SECONDS),
        "AWS_REGION": "eu-central-1",
    }


def _wait_until_listening(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the emulator does not listen") from error
            time.sleep(0.02)
        else:
            return
