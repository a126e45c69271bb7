"""A request's body, read within a time limit and decompressed within a size limit."""

import asyncio
import zlib
from collections.abc import MutableMapping
from typing import Any

from handler.settings import SETTINGS
from handler.web.startup import HTTPException

_GZIP = 16 + zlib.MAX_WBITS


async def read_body(scope: MutableMapping[str, Any], receive: Any) -> bytes | bytearray:  # noqa: ANN401 - ASGI's callable
    """The body, decompressed if it is declared as gzip.

    Raises HTTPException: 413 as soon as more than MAX_BODY_BYTES are received or decompressed, 408 after
    BODY_TIMEOUT_SECONDS, 400 for damaged gzip, 415 for another encoding.
    """
    if "aws.event" in scope:
        # A Lambda event contains its whole body; a timer would only cost time.
        body = await _receive_all(receive)
    else:
        try:
            async with asyncio.timeout(SETTINGS.body_timeout_seconds):
                body = await _receive_all(receive)
        except TimeoutError as error:
            raise HTTPException(408, f"the body took longer than {SETTINGS.body_timeout_seconds} seconds") from error
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() not in {b"", b"identity"}:
            return _decompress(body, value.lower())
    return body


async def _receive_all(receive: Any) -> bytes | bytearray:  # noqa: ANN401 - ASGI's callable
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


def _decompress(body: bytes | bytearray, encoding: bytes) -> bytes:
    """The content of a gzip body; never more than the limit and one byte is in memory."""
    if encoding != b"gzip":
        raise HTTPException(415, "content-encoding must be gzip or identity")
    decompressor = zlib.decompressobj(_GZIP)
    try:
        content = decompressor.decompress(body, SETTINGS.max_body_bytes + 1)
    except zlib.error as error:
        raise HTTPException(400, "the body is not valid gzip") from error
    if len(content) > SETTINGS.max_body_bytes:
        raise _too_large()
    if not decompressor.eof or decompressor.unused_data:
        raise HTTPException(400, "the body is not one complete gzip stream")
    return content
