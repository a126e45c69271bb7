"""A request's body: read within a time, unpacked within a size."""

import asyncio
import zlib
from collections.abc import MutableMapping
from typing import Any

from handler.settings import SETTINGS
from handler.web.startup import HTTPException

_GZIP = 16 + zlib.MAX_WBITS


async def read_body(scope: MutableMapping[str, Any], receive: Any) -> bytes | bytearray:  # noqa: ANN401 - ASGI's callable
    """The body, unpacked where the request says it is gzip.

    Raises HTTPException: 413 as soon as more than MAX_BODY_BYTES have arrived or come out of the packing, 408 where
    they take longer than BODY_TIMEOUT_SECONDS, 400 where the packing is damaged, 415 where it is another one.
    """
    if "aws.event" in scope:
        # A Lambda event holds its whole body; a timer would be a cost without a use.
        body = await _received(receive)
    else:
        try:
            async with asyncio.timeout(SETTINGS.body_timeout_seconds):
                body = await _received(receive)
        except TimeoutError as error:
            raise HTTPException(408, f"the body took longer than {SETTINGS.body_timeout_seconds} seconds") from error
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() not in {b"", b"identity"}:
            return _unpacked(body, value.lower())
    return body


async def _received(receive: Any) -> bytes | bytearray:  # noqa: ANN401 - ASGI's callable
    message = await receive()
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body"):
        body = bytearray(body)
        while message.get("more_body") and len(body) <= SETTINGS.max_body_bytes:
            message = await receive()
            body += message.get("body", b"")
    if len(body) > SETTINGS.max_body_bytes:
        raise _too_large()
    if message["type"] == "http.disconnect":
        raise HTTPException(400, "the connection ended before the body did")
    return body


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is larger than {SETTINGS.max_body_bytes:,} bytes")


def _unpacked(body: bytes | bytearray, encoding: bytes) -> bytes:
    """The content of a gzip body, never more of it in memory than the limit and one byte."""
    if encoding != b"gzip":
        raise HTTPException(415, "content-encoding must be gzip or identity")
    unpacking = zlib.decompressobj(_GZIP)
    try:
        content = unpacking.decompress(body, SETTINGS.max_body_bytes + 1)
    except zlib.error as error:
        raise HTTPException(400, "the body is not valid gzip") from error
    if len(content) > SETTINGS.max_body_bytes:
        raise _too_large()
    if not unpacking.eof or unpacking.unused_data:
        raise HTTPException(400, "the body is not one whole gzip stream")
    return content
