"""Services and AWS's emulator as servers on this machine, on the server's core."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from benchmarks.machine import SERVER_CORE, pinned
from benchmarks.serving.services import Service

START_SECONDS = 60


def free_port() -> int:
    """A port that is not in use."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, environment: dict[str, str], url: str, log: Path
) -> Iterator[int]:
    """The process id of a server, once it answers at a URL with any status; its output goes to `log`."""
    with (
        log.open("wb") as output,
        pinned(SERVER_CORE),
        subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output) as process,
    ):
        deadline = time.monotonic() + START_SECONDS
        try:
            while True:
                try:
                    httpx2.get(url, trust_env=False)
                    break
                except httpx2.TransportError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{url} does not answer:\n{log.read_text()}") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def served(service: Service, log: Path) -> Iterator[tuple[int, str]]:
    """The process id and address of a service under uvicorn with one worker; `log` receives warnings."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    # With -P and -S the service finds what is on its paths, and nothing else of the virtual environment.
    command = [sys.executable, "-P", "-S", "-B", "-m", "uvicorn", f"{service.module}:app", "--port", str(port)]
    options = ["--log-level", "warning", "--no-access-log"]
    with running([*command, *options], service.folder, service.python_environment, url, log) as pid:
        yield pid, url
