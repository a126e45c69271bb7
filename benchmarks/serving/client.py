"""A client that posts requests over plain connections, and the golden requests that it posts."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from urllib.parse import urlsplit

from pydantic_core import to_json

from benchmarks.command import ROOT
from handler.scoring.scorer import Scorer, load_scorer
from training.run.files import BUNDLES

Request = tuple[str, bytes]
"""A route and a body."""
Check = Callable[[Request, bytes | None, float], None]
"""Receives a request, its answer (None if its status is not 200), and the seconds it took."""


@dataclass(frozen=True, slots=True)
class Load:
    """The connections, and limits on the seconds, requests per second and requests; by default there are none."""

    connections: int
    seconds: float = inf
    rate: float = inf
    requests: float = inf


def bundled_scorers() -> list[Scorer]:
    """The scorers of all packaged bundles."""
    return [load_scorer(folder) for folder in sorted((ROOT / BUNDLES).iterdir())]


def golden_answers(scorer: Scorer) -> dict[Request, bytes]:
    """A bundle's golden requests and their answers' bodies; without those with a past, which no request can carry."""
    return {
        (scorer.contract.route, json.dumps(case["request"]).encode()): to_json(
            scorer.answer(scorer.request_model.model_validate(case["request"]))
        )
        for case in scorer.bundle.golden
        if "past" not in case
    }


async def post_all(address: str, requests: Sequence[Request], check: Check, load: Load) -> None:
    """Post the requests in turn; each connection posts one after the other.

    A request is timed from when it was due, and so includes the wait for a free connection.
    """
    place = urlsplit(address)
    connect = (asyncio.open_connection(place.hostname, place.port) for _ in range(load.connections))
    connections = await asyncio.gather(*connect)
    start = time.perf_counter()

    async def keep_asking(turn: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while turn < load.requests and max(due := turn / load.rate, now := time.perf_counter() - start) < load.seconds:
            await asyncio.sleep(max(due - now, 0))
            request = route, body = requests[turn % len(requests)]
            head = f"POST {route} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            status, _, headers = (await reader.readuntil(b"\r\n\r\n")).lower().partition(b"\r\n")
            length = int(headers.split(b"content-length: ", maxsplit=1)[1].split(b"\r\n", maxsplit=1)[0])
            answer = await reader.readexactly(length)
            sent = now if load.rate == inf else due
            check(request, answer if b" 200 " in status else None, time.perf_counter() - start - sent)
            turn += load.connections
        writer.close()

    await asyncio.gather(*(keep_asking(turn, *connection) for turn, connection in enumerate(connections)))
