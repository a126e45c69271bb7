"""A limit on the size of a request's headers, because not every server sets one."""

from collections.abc import MutableMapping
from typing import Any

from pydantic_core import to_json

# API Gateway allows 10 kB, h11 and a load balancer 64 kB, httptools any size.
MAX_HEADER_BYTES = 32_768
_BODY = to_json({"detail": f"the headers are larger than {MAX_HEADER_BYTES:,} bytes"})
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


class HeaderLimit:
    """ASGI middleware that answers 431 if the headers' names and values together exceed the limit."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - ASGI's callable
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Pass the request on, or answer 431."""
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
