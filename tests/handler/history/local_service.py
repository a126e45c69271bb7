"""What stand-ins for AWS services share: HTTP/1.1 answers, and a server for the duration of a `with` block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, and logs nothing."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes: by default the second would wait 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True

    def answer(self, status: int, content: bytes, length: int | None = None) -> None:
        """Answer a call; `length`, if given, is announced in place of the content's own."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the standard library has it
        """Say nothing."""


@contextmanager
def serving[T: HTTPServer](server: T) -> Iterator[T]:
    """Run a server for the duration of a `with` block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
