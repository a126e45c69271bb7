"""Four times the requests that the server can answer: no wrong answer, no growth of its memory.

They are offered at that rate whatever the server answers, until 2,000 wait at once: like a load balancer, which then
finds no free connection, the client holds further requests back, and counts them.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json
from tqdm import tqdm

from benchmarks.command import ROOT
from benchmarks.machine import CLIENT_CORE, pinned, resident_mb
from benchmarks.serving.uvicorn_server import content_length, is_ok, post, read_answer, served
from handler.scoring.scorer import load_scorer
from training.run.files import BUNDLES

CONNECTIONS = 2_000
# With these, each waiting for its answer, the sustainable rate is measured.
SUSTAINABLE_CONNECTIONS = 64
FACTOR = 4
SETTLING_SECONDS = 5
TICK_SECONDS = 0.01


class Connection(asyncio.Protocol):
    """One connection: the request that waits for its answer, and whether the answers are those expected."""

    def __init__(self, answers: Mapping[bytes, bytes], counts: "Counter[str]") -> None:
        """Keep every request's answer; count into `counts`."""
        self._answers, self._counts = answers, counts
        self._request: bytes | None = None
        self._received = bytearray()

    @property
    def is_free(self) -> bool:
        """Whether it can send a request."""
        return self._request is None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._request = request
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Compare a whole answer with the one expected."""
        self._received += data
        head, end, body = bytes(self._received).partition(b"\r\n\r\n")
        if not end or len(body) < content_length(head):
            return
        is_right = is_ok(head) and body == self._answers[self._request or b""]
        self._counts["right" if is_right else "wrong"] += 1
        self._request = None
        self._received.clear()

    def connection_lost(self, _error: Exception | None) -> None:
        """A request that still waits is lost."""
        self._counts["lost"] += self._request is not None

    def close(self) -> None:
        """End the connection; a request that still waits is not lost but unanswered."""
        self._counts["unanswered at the end"] += self._request is not None
        self._request = None
        self._transport.close()


def expected_answers(host: str) -> dict[bytes, bytes]:
    """Whole requests, from every bundle's golden cases, and the bodies that answer them."""
    answers = {}
    for folder in sorted((ROOT / BUNDLES).iterdir()):
        scorer = load_scorer(folder)
        for case in scorer.bundle.golden:
            request = post(host, scorer.contract.route, json.dumps(case["request"]).encode())
            answers[request] = to_json(scorer.answer(scorer.request_model.model_validate(case["request"])))
    return answers


async def _offer(address: str, rate: float, seconds: float, pid: int) -> tuple["Counter[str]", list[float]]:
    """What became of `rate` requests a second, and the server's memory at each second, in MB."""
    place = urlsplit(address)
    answers = expected_answers(place.netloc)
    requests, counts, memory = list(answers), Counter[str](), [resident_mb(pid)]
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(answers, counts), place.hostname, place.port))[1]
        for _ in range(CONNECTIONS)
    ]
    start = time.perf_counter()
    with tqdm(total=round(seconds), unit="s") as progress:
        while (passed := time.perf_counter() - start) < seconds:
            while counts["offered"] < passed * rate:
                connection = connections[counts["offered"] % CONNECTIONS]
                if connection.is_free:
                    connection.send(requests[counts["offered"] % len(requests)])
                else:
                    counts["held back"] += 1
                counts["offered"] += 1
            if passed >= len(memory):
                memory.append(resident_mb(pid))
                progress.update()
            await asyncio.sleep(TICK_SECONDS)
    for connection in connections:
        connection.close()
    return counts, memory


async def _sustainable(address: str, seconds: float) -> float:
    """Requests a second that the server answers when each connection waits for its answer."""
    place = urlsplit(address)
    requests, counts = list(expected_answers(place.netloc)), Counter[str]()

    async def keep_asking(first: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < end:
            writer.write(requests[(first + counts["answered"]) % len(requests)])
            await read_answer(reader)
            counts["answered"] += 1
        writer.close()

    end = time.perf_counter() + seconds
    await asyncio.gather(*(keep_asking(number) for number in range(SUSTAINABLE_CONNECTIONS)))
    return counts["answered"] / seconds


def overload(seconds: int) -> dict[str, Any]:
    """The rate that is sustainable, what became of four times it, and the server's memory.

    Raises SystemExit where an answer was wrong or lost.
    """
    with served() as (pid, address), pinned(CLIENT_CORE):
        sustainable = asyncio.run(_sustainable(address, min(seconds, SETTLING_SECONDS)))
        counts, memory = asyncio.run(_offer(address, FACTOR * sustainable, seconds, pid))
        # The server is still running, and answers the next requests.
        after = asyncio.run(_sustainable(address, 1))
    # After the first ten seconds the buffers are filled.
    growth = memory[-1] - memory[min(10, len(memory) // 2)]
    report = {
        "sustainable per second": round(sustainable),
        "offered per second": round(counts["offered"] / seconds),
        "answered per second": round(counts["right"] / seconds),
        "waiting at once": CONNECTIONS,
        "per second afterwards": round(after),
        **{name: counts[name] for name in ("offered", "held back", "right", "wrong", "lost", "unanswered at the end")},
        "memory MB": [round(figure, 1) for figure in memory],
        "growth MB": round(growth, 2),
    }
    if counts["wrong"] or counts["lost"] or not counts["right"]:
        raise SystemExit(f"four times the sustainable rate was too much: {report}")
    return report
