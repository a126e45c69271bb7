"""The checkout's application under uvicorn, as `make serve` runs it, pinned to the server's core."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from benchmarks.machine import SERVER_CORE, pinned

ROOT = Path(__file__).parent.parent
START_SECONDS = 60


@contextmanager
def served(access_log: Path | None = None, log: Path | None = None, **settings: str) -> Iterator[tuple[int, str]]:
    """The process id and the address of a server that answers; ends it after.

    `access_log` receives a line for each request, `log` only what the server warns of. `settings` are the handler's.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "handler.app:app", "--port", str(port)]
    level = "info" if access_log else "error"
    with ExitStack() as stack:
        written = access_log or log
        output = stack.enter_context(written.open("wb")) if written else None
        with pinned(SERVER_CORE):
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "--log-level", level],
                    cwd=ROOT,
                    env={**os.environ, **settings},
                    stdout=output,
                    stderr=output,
                )
            )
        stack.callback(process.terminate)
        _wait_for(process, f"{address}/health")
        yield process.pid, address


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx2.get(url, trust_env=False).raise_for_status()
        except httpx2.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{url} does not answer") from None
            time.sleep(0.1)
        else:
            return
