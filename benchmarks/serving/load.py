"""Requests a second under uvicorn: one worker on one core, loaded by wrk from the other."""

import json
import shutil
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from benchmarks.machine import CLIENT_CORE, SERVER_CORE, in_turn, pinned
from benchmarks.serving.budgets import Budget, Measured
from benchmarks.serving.function import ISOLATED
from benchmarks.serving.installed import link
from benchmarks.serving.services import Service
from benchmarks.serving.workloads import TRANSACTION

SERVER = Path(__file__).with_name("server.py")
SCRIPT = Path(__file__).with_name("wrk.lua")
CONNECTIONS = 16
WARM_UP_SECONDS = 1
START_TIMEOUT_SECONDS = 60
RATE = (Budget(0.65, against="echo", is_least=True, goal=0.75), Budget(15, against="joblib", is_least=True))
WRK_MISSING = "Requests a second were not measured: wrk is not on PATH (Debian and Ubuntu: apt-get install wrk)."


def has_wrk() -> bool:
    """Whether the load generator is there."""
    return shutil.which("wrk") is not None


def load_figures(
    services: Mapping[str, Service], rounds: int, seconds: int, folder: Path, progress: "tqdm[None]"
) -> list[Measured]:
    """Requests a second, and the 99th percentile of their latency; `folder` receives uvicorn and the request.

    With no rounds it starts each service and ends it again.
    """
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    slow: dict[str, dict[int, float]] = defaultdict(dict)
    event, uvicorn = TRANSACTION.event(), link(folder / "uvicorn", ["uvicorn", "httptools", "uvloop"])
    body = folder / "request.json"
    body.write_text(event["body"], encoding="utf-8")
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(_served(service, uvicorn)) for name, service in services.items()}
        urls = {name: host + event["rawPath"] for name, host in hosts.items()}
        for url in urls.values():
            _wait_until_ready(url)
        if not rounds:
            return []
        for url in urls.values():
            _loaded(url, body, WARM_UP_SECONDS)
        for turn in range(rounds):
            for name in in_turn(urls, turn):
                rates[name][turn], slow[name][turn] = _loaded(urls[name], body, seconds)
            progress.update()
    return [
        Measured("requests a second under uvicorn, transaction", "/s", rates, RATE),
        Measured(f"their latency with {CONNECTIONS} connections, p99", "ms", slow),
    ]


@contextmanager
def _served(service: Service, uvicorn: Path) -> Iterator[str]:
    """Serves a service on the server's core; a connection made before it is ready waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        plan = {
            "paths": [str(path) for path in service.paths],
            "module": service.module,
            "uvicorn": str(uvicorn),
            "socket": listening.fileno(),
        }
        with pinned(SERVER_CORE):
            process = subprocess.Popen(
                [sys.executable, *ISOLATED, SERVER, json.dumps(plan)],
                env=dict(service.environment),
                stdout=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
            )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(url: str) -> None:
    """Returns once the server has answered anything at all: its socket takes connections while it still imports."""
    address = urlsplit(url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=START_TIMEOUT_SECONDS)
    connection.request("GET", "/")
    connection.getresponse()
    connection.close()


def _loaded(url: str, body: Path, seconds: int) -> tuple[float, float]:
    """Requests a second and milliseconds of the 99th percentile; raises SystemExit where one request failed."""
    options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "10s"]
    with pinned(CLIENT_CORE):
        done = subprocess.run(
            ["wrk", *options, "--script", SCRIPT, url, "--", body],  # noqa: S607 - wherever it is installed
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{url} could not be loaded: {done.stderr}")
    counts = json.loads(done.stdout.splitlines()[-1])
    if counts["refused"] or counts["socket_errors"] or not counts["requests"]:
        raise SystemExit(f"{url} failed under load: {counts}")
    return counts["requests"] / counts["seconds"], counts["p99_ms"]
