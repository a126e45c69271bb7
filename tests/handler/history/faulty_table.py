"""A table with random faults: calls are refused, and answers are lost, late, cut off or reset."""

import json
import socket
import struct
import threading
import time
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np

from benchmarks.history.table_stand_in import StandIn
from handler.history.aws import AwsClient
from handler.history.dynamodb import TARGET
from tests.handler.history.local_service import Handler, serving

# What may happen to a call: it is refused before it takes effect; it takes effect, but its answer is lost, cut off or
# late; or it is answered, and the kept connection is reset.
FAULTS = ("throttled", "unavailable", "lost", "cut off", "late", "reset")


class FaultyTable(ThreadingHTTPServer):
    """Answers calls with a table in memory; a random share of the calls has a fault."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, table: StandIn, share: float, late_seconds: float) -> None:
        """Answer for this table; `share` of the calls has a fault, and late answers come after `late_seconds`."""
        super().__init__(("127.0.0.1", 0), _Call)
        self._table, self.share, self.late_seconds = table, share, late_seconds
        self.items = table.items
        self.counts = dict.fromkeys((*FAULTS, "none"), 0)
        """How often each fault happened."""
        self._draw, self._lock = np.random.default_rng(7), threading.Lock()
        self.environment = {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{self.server_port}",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        """The environment with which a client finds it."""

    def client(self) -> AwsClient:
        """A client with connections of its own."""
        return AwsClient("dynamodb", TARGET, self.environment)

    def answer(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """The table's status and answer; calls take turns."""
        with self._lock:
            status, content = self._table.answer(operation, json.loads(body))
            return status, json.dumps(content).encode()

    def drawn(self) -> str:
        """The fault of the next call, or "none"."""
        with self._lock:
            fault = FAULTS[self._draw.integers(len(FAULTS))] if self._draw.random() < self.share else "none"
            self.counts[fault] += 1
            return fault

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401 - as the standard library has it
        """Say nothing: callers give up on purpose."""


class _Call(Handler):
    server: FaultyTable

    def do_POST(self) -> None:  # noqa: N802 - the standard library's name
        body, fault = self.rfile.read(int(self.headers["content-length"])), self.server.drawn()
        if fault == "throttled":
            self.answer(400, json.dumps({"__type": "x#ThrottlingException", "message": "too many"}).encode())
            return
        if fault == "unavailable":
            self.answer(503, b"<html>no JSON</html>")
            return
        status, content = self.server.answer(self.headers["x-amz-target"].rpartition(".")[2], body)
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "late":
            time.sleep(self.server.late_seconds)
        self.answer(status, content[: len(content) // 2] if fault == "cut off" else content, len(content))
        if fault == "reset":
            # As a load balancer does with a connection that it no longer knows.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = fault in {"reset", "cut off"}


def faulty_table(table: StandIn, share: float = 0.0, late_seconds: float = 0.0) -> AbstractContextManager[FaultyTable]:
    """A faulty table that answers for the duration of a `with` block."""
    return serving(FaultyTable(table, share, late_seconds))
