"""A minute of four times the requests that the server can answer: no wrong answer, no growth of its memory.

They are offered at that rate whatever the server answers, until 2,000 wait at once: as with a load balancer, one that
then finds no free connection is held back, and counted.
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

from benchmarks.machine import CLIENT_CORE, pinned, resident_mb
from benchmarks.served import ROOT, served
from handler.scoring.scorer import load_scorer

WAITING = 2_000
# With these, each waiting for its answer, the sustainable rate is found.
CALLERS = 64
TIMES = 4
SECONDS = 60
SETTLING_SECONDS = 5
TICK_SECONDS = 0.01
# Between the first ten seconds of the load, when its buffers are filled, and its end.
MAX_GROWTH_MB = 2.0


class Caller(asyncio.Protocol):
    """One connection: what was asked over it, and whether the answers are those expected."""

    def __init__(self, answers: Mapping[bytes, bytes], counts: "Counter[str]") -> None:
        """Know every request's answer; count into `counts`."""
        self._answers, self._counts = answers, counts
        self._asked: bytes | None = None
        self._received = bytearray()

    @property
    def is_free(self) -> bool:
        """Whether it may ask."""
        return self._asked is None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self._asked = request
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Compare a whole answer with the one expected."""
        self._received += data
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        is_right = head.startswith(b"HTTP/1.1 200") and body == self._answers[self._asked or b""]
        self._counts["right" if is_right else "wrong"] += 1
        self._asked = None
        self._received.clear()

    def connection_lost(self, _error: Exception | None) -> None:
        """Whatever it still waits for is lost."""
        self._counts["lost"] += self._asked is not None

    def close(self) -> None:
        """End the connection; what it still waits for is not lost but left."""
        self._counts["unanswered at the end"] += self._asked is not None
        self._asked = None
        self._transport.close()


def _length(head: bytes) -> int:
    """How long the body of an answer is."""
    return int(head.lower().split(b"content-length: ", maxsplit=1)[1].split(b"\r\n", maxsplit=1)[0])


def expected_answers(host: str) -> dict[bytes, bytes]:
    """Whole requests, from every bundle's golden cases, and the bodies that answer them."""
    found = {}
    for folder in sorted((ROOT / "build" / "bundles").iterdir()):
        scorer = load_scorer(folder)
        for case in scorer.bundle.golden:
            body = json.dumps(case["request"]).encode()
            head = f"POST {scorer.contract.route} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = scorer.answer(scorer.request_model.model_validate(case["request"]))
            found[head.encode() + body] = to_json(answer)
    return found


async def _offer(address: str, rate: float, seconds: float, pid: int) -> tuple["Counter[str]", list[float]]:
    """What became of `rate` requests a second, and the server's memory at each second, in MB."""
    place = urlsplit(address)
    answers = expected_answers(place.netloc)
    requests, counts, memory = list(answers), Counter[str](), [resident_mb(pid)]
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(answers, counts), place.hostname, place.port))[1]
        for _ in range(WAITING)
    ]
    start = time.perf_counter()
    with tqdm(total=round(seconds), unit="s") as progress:
        while (passed := time.perf_counter() - start) < seconds:
            while counts["offered"] < passed * rate:
                caller = callers[counts["offered"] % WAITING]
                if caller.is_free:
                    caller.ask(requests[counts["offered"] % len(requests)])
                else:
                    counts["held back"] += 1
                counts["offered"] += 1
            if passed >= len(memory):
                memory.append(resident_mb(pid))
                progress.update()
            await asyncio.sleep(TICK_SECONDS)
    for caller in callers:
        caller.close()
    return counts, memory


async def _sustainable(address: str, seconds: float) -> float:
    """Requests a second that the server answers when each connection waits for its answer."""
    place = urlsplit(address)
    answers = expected_answers(place.netloc)
    counts = Counter[str]()

    async def keep_asking(first: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        requests = list(answers)
        while time.perf_counter() < end:
            writer.write(requests[(first + counts["answered"]) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            counts["answered"] += 1
        writer.close()

    end = time.perf_counter() + seconds
    await asyncio.gather(*(keep_asking(number) for number in range(CALLERS)))
    return counts["answered"] / seconds


def overload(seconds: float = SECONDS) -> dict[str, Any]:
    """The rate that is sustainable, what became of four times it, and the server's memory.

    Raises SystemExit where an answer was wrong or lost, or the memory grew.
    """
    with served() as (pid, address), pinned(CLIENT_CORE):
        sustainable = asyncio.run(_sustainable(address, SETTLING_SECONDS))
        counts, memory = asyncio.run(_offer(address, TIMES * sustainable, seconds, pid))
        # It is still there, and answers whoever asks next.
        after = asyncio.run(_sustainable(address, 1))
    tenth = memory[min(10, len(memory) // 2)]
    found = {
        "sustainable per second": round(sustainable),
        "offered per second": round(counts["offered"] / seconds),
        "answered per second": round(counts["right"] / seconds),
        "waiting at once": WAITING,
        "per second afterwards": round(after),
        **{name: counts[name] for name in ("offered", "held back", "right", "wrong", "lost", "unanswered at the end")},
        "memory MB": [round(figure, 1) for figure in memory],
        "growth MB": round(memory[-1] - tenth, 2),
    }
    if counts["wrong"] or counts["lost"] or not counts["right"] or memory[-1] - tenth > MAX_GROWTH_MB:
        raise SystemExit(f"four times the sustainable rate was too much: {found}")
    return found
