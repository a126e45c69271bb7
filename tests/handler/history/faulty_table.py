"""A way to a table on which calls are refused and answers are lost, late, cut off or reset, as drawn."""

import http.client
import json
import socket
import struct
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, closing
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.handler.history.local_service import Handler, serving

# What may befall a call: refused before it is done; or done, and then no answer, half of one, or one too late; or
# answered, and the kept connection reset.
FAULTS = ("throttled", "unavailable", "lost", "cut off", "late", "reset")


class Turns:
    """A lock that is given in the order in which it is asked for; Python's own lets some wait for very long."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: deque[threading.Semaphore] = deque()
        self._guard = threading.Lock()

    def __enter__(self) -> None:
        """Wait for one's turn."""
        mine = threading.Semaphore(0)
        with self._guard:
            self._waiting.append(mine)
            if len(self._waiting) == 1:
                mine.release()
        mine.acquire()

    def __exit__(self, *_: object) -> None:
        """Give the next one theirs."""
        with self._guard:
            self._waiting.popleft()
            if self._waiting:
                self._waiting[0].release()


class FaultyTable(ThreadingHTTPServer):
    """Passes calls on to a table; so large a share of them has a fault."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, share: float, late_seconds: float) -> None:
        """Pass calls on to this address; late answers come after so many seconds."""
        super().__init__(("127.0.0.1", 0), _Call)
        self.table, self.share, self.late_seconds = address.removeprefix("http://"), share, late_seconds
        self.counts = dict.fromkeys((*FAULTS, "none"), 0)
        """How often each fault happened."""
        self._draw, self._lock = np.random.default_rng(7), threading.Lock()
        # Moto's threads change an item at once, and then one's change is lost; DynamoDB's calls of one item take turns.
        self.turn = Turns()

    @property
    def address(self) -> str:
        """Where the way begins."""
        return f"http://127.0.0.1:{self.server_port}"

    def drawn(self) -> str:
        """What befalls the next call."""
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
        status, content = self._done(body)
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "late":
            time.sleep(self.server.late_seconds)
        self.answer(status, content[: len(content) // 2] if fault == "cut off" else content, len(content))
        if fault == "reset":
            # As a balancer does with what it no longer knows.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = fault in {"reset", "cut off"}

    def _done(self, body: bytes) -> tuple[int, bytes]:
        """The table's answer."""
        with self.server.turn, closing(http.client.HTTPConnection(self.server.table)) as connection:
            connection.request("POST", "/", body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.read()


def faulty_table(address: str, share: float, late_seconds: float) -> AbstractContextManager[FaultyTable]:
    """Such a way, as long as a block lasts."""
    return serving(FaultyTable(address, share, late_seconds))
