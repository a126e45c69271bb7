"""Bodies: their size, their compression, their time."""

import asyncio
import gzip
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import HTTPException

from handler.settings import SETTINGS
from handler.web import body as module
from handler.web.body import read_body

GZIP = [(b"content-encoding", b"gzip")]


def read(chunks: Iterable[bytes], headers: list[tuple[bytes, bytes]] | None = None, **scope: object) -> bytes:
    """A body that arrives in these chunks, as `read_body` returns it."""
    arriving = list(chunks)

    async def receive() -> dict[str, Any]:
        if not arriving:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": arriving.pop(0), "more_body": bool(arriving)}

    return bytes(asyncio.run(read_body({"headers": headers or [], **scope}, receive)))


def refused(chunks: Iterable[bytes], headers: list[tuple[bytes, bytes]] | None = None) -> int:
    """The status with which such a body is refused."""
    with pytest.raises(HTTPException) as caught:
        read(chunks, headers)
    return caught.value.status_code


@pytest.mark.parametrize("scope", [{}, {"aws.event": {}}])
def test_chunks_are_joined(scope: dict[str, Any]) -> None:
    """In order, through uvicorn and through Lambda."""
    assert read([b"a", b"", b"bc"], **scope) == b"abc"
    assert read([b"abc"], **scope) == b"abc"


def test_the_limit_counts_every_chunk() -> None:
    """One byte more is refused, in any chunk; the limit itself is not."""
    assert len(read([b" " * (SETTINGS.max_body_bytes - 1), b" "])) == SETTINGS.max_body_bytes
    assert refused([b" " * SETTINGS.max_body_bytes, b" "]) == 413
    assert refused([b" " * (SETTINGS.max_body_bytes + 1), b"", b""]) == 413


def test_gzip_is_unpacked() -> None:
    """In upper or lower case; identity means no compression."""
    assert read([gzip.compress(b'{"a": 1}')], [(b"content-encoding", b"GZip")]) == b'{"a": 1}'
    assert read([b"{}"], [(b"content-encoding", b"identity")]) == b"{}"


def test_a_compressed_body_is_limited_by_its_unpacked_size() -> None:
    """A bomb of a few kilobytes is a 413, and no more than the limit and one byte is unpacked."""
    assert len(read([gzip.compress(b" " * SETTINGS.max_body_bytes)], GZIP)) == SETTINGS.max_body_bytes
    assert refused([gzip.compress(b" " * (SETTINGS.max_body_bytes + 1))], GZIP) == 413
    assert refused([gzip.compress(bytes(100 * SETTINGS.max_body_bytes))], GZIP) == 413


@pytest.mark.parametrize(
    "packed",
    [
        b"{}",
        b"",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0) + b"x",
        gzip.compress(b"{}", mtime=0) * 2,
        gzip.compress(b"{}", mtime=0)[:-8] + bytes(8),
        zlib.compress(b"{}"),
    ],
)
def test_damaged_gzip_is_a_400(packed: bytes) -> None:
    """Not gzip, truncated, with bytes after it, with a wrong checksum."""
    assert refused([packed], GZIP) == 400


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"\xff"])
def test_another_encoding_is_a_415(encoding: bytes) -> None:
    """Only gzip can be read."""
    assert refused([b"{}"], [(b"content-encoding", encoding)]) == 415


def test_a_connection_that_ends_early_is_refused() -> None:
    """Half a body is not a request."""

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    with pytest.raises(HTTPException, match="closed before the whole body arrived"):
        asyncio.run(read_body({"headers": []}, receive))


def test_a_slow_body_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is held open without sending is answered."""
    monkeypatch.setattr(module, "SETTINGS", SETTINGS.model_copy(update={"body_timeout_seconds": 0.01}))

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    with pytest.raises(HTTPException) as caught:
        asyncio.run(read_body({"headers": []}, receive))
    assert caught.value.status_code == 408
