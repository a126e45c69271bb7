"""The checkout's application under uvicorn, as `make serve` runs it, and requests to it over plain connections."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from benchmarks.command import ROOT
from benchmarks.machine import SERVER_CORE, pinned

START_SECONDS = 60


@contextmanager
def served(access_log: Path | None = None, log: Path | None = None, **settings: str) -> Iterator[tuple[int, str]]:
    """The process id and the address of a server that answers, pinned to the server's core; ends it afterwards.

    `access_log` receives a line for each request, `log` only warnings. `settings` are the handler's.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "handler.app:app", "--port", str(port)]
    level = "info" if access_log else "error"
    with ExitStack() as stack:
        path = access_log or log
        output = stack.enter_context(path.open("wb")) if path else None
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


def post(host: str, route: str, body: bytes) -> bytes:
    """A whole request."""
    return f"POST {route} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def is_ok(head: bytes) -> bool:
    """Whether an answer's status is 200."""
    return head.startswith(b"HTTP/1.1 200")


def content_length(head: bytes) -> int:
    """How long the body of an answer is."""
    return int(head.lower().split(b"content-length: ", maxsplit=1)[1].split(b"\r\n", maxsplit=1)[0])


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of the next answer of a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(content_length(head))
