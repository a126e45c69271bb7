"""The limit on a request's headers, which not every server in front sets."""

from collections.abc import MutableMapping
from typing import Any

from pydantic_core import to_json

# API Gateway passes 10 kB at most, h11 64 kB, a load balancer as much, httptools whatever comes.
MAX_HEADER_BYTES = 32_768
_BODY = to_json({"detail": f"the headers are larger than {MAX_HEADER_BYTES:,} bytes"})
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


class HeaderLimit:
    """ASGI middleware that answers 431 where names and values of the headers together are larger than the limit."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - ASGI's callable
        """Stand in front of an application."""
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and _size(scope["headers"]) > MAX_HEADER_BYTES:
            await send({"type": "http.response.start", "status": 431, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})
        else:
            await self._app(scope, receive, send)


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size
