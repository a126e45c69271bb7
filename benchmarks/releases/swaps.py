"""Versions swapped under load: no request fails, every answer is wholly one version's. `make swaps`.

A store with four versions of each scorer and a few damaged ones: promotions, rollbacks, promotions of damaged bundles
one after the other, while a server under uvicorn, and then a loop through the Lambda handler, answers requests. Every
answer is compared, byte for byte, with the answer of the version that it names.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from benchmarks.command import keep, options_of
from benchmarks.machine import CLIENT_CORE, machine, pinned
from benchmarks.releases.pointer_updates import Checker, Updates, expected_answers, filled_store, keep_updating
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.gateway import http_event
from benchmarks.serving.services import checkout_service
from benchmarks.serving.uvicorn_server import is_ok, post, read_answer, served
from benchmarks.tables import date_of, number, table

SIZES = {"seconds": (60, 6)}
CONNECTIONS = 32
RATE = 1_500
# Between two looks at the store: short, so that each of many updates is seen.
POLL_SECONDS = 0.2
# Between two invocations, in which Lambda would freeze the process.
PAUSE_SECONDS = 0.0005


@dataclass(frozen=True)
class Swapping:
    """A store, the thread that updates its pointers once it is started, and the checker of the answers."""

    settings: dict[str, str]
    checker: Checker
    updater: Thread
    folder: Path


@contextmanager
def _swapping(seconds: float) -> Iterator[Swapping]:
    """A filled store; the updates, once started, are stopped at the end."""
    with TemporaryDirectory() as name:
        folder, stop, updates = Path(name), Event(), Updates()
        versions = filled_store(folder)
        checker = Checker(expected_answers(versions), updates)
        updater = Thread(target=keep_updating, args=(versions, seconds, updates, stop))
        settings = {"STORE": str(versions.store.root), "STORE_SECONDS": str(POLL_SECONDS)}
        try:
            yield Swapping(settings, checker, updater, folder)
        finally:
            stop.set()
            if updater.ident:
                updater.join()


async def _keep_asking(address: str, checker: Checker, seconds: float) -> None:
    """RATE requests a second over CONNECTIONS connections; each is timed from when it was due, sent or not."""
    place, requests = urlsplit(address), checker.requests
    start = time.perf_counter()

    async def ask(turn: int, progress: "tqdm[Any]") -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while (due := turn / RATE) < seconds:
            if (early := due - (time.perf_counter() - start)) > 0:
                await asyncio.sleep(early)
            request = requests[turn % len(requests)]
            writer.write(post(place.netloc, *request))
            head, body = await read_answer(reader)
            took = time.perf_counter() - start - due
            checker.check(request, body, is_ok=is_ok(head), ended=time.time(), took=took)
            progress.update()
            turn += CONNECTIONS
        writer.close()

    with tqdm(total=round(seconds * RATE), unit="request", mininterval=1) as progress:
        await asyncio.gather(*(ask(first, progress) for first in range(CONNECTIONS)))


def under_uvicorn(seconds: float) -> dict[str, Any]:
    """What became of the requests under uvicorn while versions were swapped.

    Raises SystemExit where one failed, or its answer was not that of the version it names.
    """
    with _swapping(seconds) as swapping:
        log = swapping.folder / "log"
        with served(log=log, **swapping.settings) as (_, address), pinned(CLIENT_CORE):
            swapping.updater.start()
            asyncio.run(_keep_asking(address, swapping.checker, seconds))
        messages = log.read_text(encoding="utf-8")
        loads = [float(ms) for ms in re.findall(r"now serving \w+ instead of \w+ \((\d+) ms\)", messages)]
        figures = {"asked per second": RATE, **swapping.checker.figures()}
        figures |= {
            "load ms": {"median": float(np.median(loads)), "most": max(loads)},
            "refused": messages.count("is refused"),
        }
    return _checked(figures)


def in_lambda(seconds: float) -> dict[str, Any]:
    """The same in a loop through the Lambda handler, one invocation after the other; raises SystemExit as above."""
    with _swapping(seconds) as swapping:
        requests = swapping.checker.requests
        events = [http_event(route, json.loads(body)) for route, body in requests]
        with FunctionProcess(checkout_service(**swapping.settings), events[0]) as process:
            swapping.updater.start()
            invocations, end = 0, time.time() + seconds + 1
            while time.time() < end:
                turn = invocations % len(events)
                report = process.call([events[turn]], 1)
                body = report.answer["body"].encode()
                swapping.checker.check(requests[turn], body, is_ok=True, ended=time.time(), took=report.seconds[0])
                invocations += 1
                time.sleep(PAUSE_SECONDS)
        return _checked(swapping.checker.figures())


def _checked(figures: dict[str, Any]) -> dict[str, Any]:
    if figures["failed"] or figures["wrong"] or not figures["right"]:
        raise SystemExit(f"requests were affected by a swap: {figures}")
    return figures


PARTS: dict[str, Callable[[float], dict[str, Any]]] = {"uvicorn": under_uvicorn, "lambda": in_lambda}
TITLES = {"uvicorn": "under uvicorn", "lambda": "through the Lambda handler"}


def swaps_table(report: Mapping[str, Any]) -> str:
    """What became of the requests while versions were swapped."""
    parts = [report[name] for name in TITLES]
    rows = [
        ["requests", *(f"{part['answers']:,}" for part in parts)],
        ["failed, or answered by no whole version", *(f"{part['failed'] + part['wrong']}" for part in parts)],
        [
            "promotes and rollbacks; of damaged bundles",
            *(f"{part['moves']}; {part['moves to a damaged bundle']}" for part in parts),
        ],
        [
            "from the move to the first answer: median, most",
            *(_pair(part["move to first answer ms"], "median", "most") for part in parts),
        ],
        ["a request: median, 99th percentile", *(_pair(part["request ms"], "p50", "p99") for part in parts)],
        ["within half a second of a move", *(_pair(part["request ms during swaps"], "p50", "p99") for part in parts)],
        ["the slowest then", *(f"{number(part['request ms during swaps']['most'])} ms" for part in parts)],
    ]
    return table(["`make swaps`", *TITLES.values()], rows)


def _pair(milliseconds: Mapping[str, float], first: str, second: str) -> str:
    return f"{number(milliseconds[first])} ms, {number(milliseconds[second])} ms"


def swaps_caption(report: Mapping[str, Any]) -> str:
    """When it ran, and how many requests were sent."""
    return (
        f"`make swaps` on {date_of(report)}: {report['uvicorn']['asked per second']:,} requests a second for a minute"
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run both parts and print the table; ends with an error where a swap affected a request. The report."""
    options = options_of("releases.swaps", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine()}
    for name, part in PARTS.items():
        print(f"{name} ...", flush=True)
        report[name] = part(options.seconds)
    print(swaps_table(report))
    keep("swaps", report, options)
    return report


if __name__ == "__main__":
    main()
