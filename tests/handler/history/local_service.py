"""What stand-ins for a service on this machine share: an answer of HTTP/1.1, and a server as long as a block lasts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Keeps connections, and says nothing of calls."""

    protocol_version = "HTTP/1.1"
    # Head and body of an answer are two writes, of which the second would wait 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True

    def answer(self, status: int, content: bytes, length: int | None = None) -> None:
        """Answer a call; a length other than the content's is told where one is given."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the standard library has it
        """Say nothing."""


@contextmanager
def serving[T: HTTPServer](server: T) -> Iterator[T]:
    """A server that answers, as long as a block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
