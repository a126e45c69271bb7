"""Versions swapped under load: no request fails, every answer is wholly one version's. `make swaps`.

A store with four versions of each scorer and a few damaged ones; promotes, rollbacks and damaged promotes one after the
other, while a server under uvicorn, and then a loop through the Lambda handler, answers all the while. Every answer is
compared, byte for byte, with what the version that it names gives for that request.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from benchmarks.gateway import http_event
from benchmarks.machine import CLIENT_CORE, SERVER_CORE, machine, pinned
from benchmarks.served import ROOT, served
from benchmarks.swap_course import Checker, Course, expected_answers, filled_store, keep_moving
from training.run.files import BUILD, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "swaps.json"
# What the README quotes; tests/test_pages.py holds the two together.
RECORDED = REPORTS / "swaps.json"
CONNECTIONS = 32
RATE = 1_500
SECONDS = 60
# Between two looks at the store: short, so that each of many moves is seen.
POLL_SECONDS = 0.2
# Between two invocations, in which Lambda would freeze the process.
PAUSE_SECONDS = 0.0005
OK = 200


@dataclass(frozen=True)
class Scene:
    """A store whose pointers can be set moving, and who checks the answers meanwhile."""

    settings: dict[str, str]
    checker: Checker
    mover: Thread
    folder: Path


@contextmanager
def _scene(seconds: float) -> Iterator[Scene]:
    """A filled store; the mover, once started, is stopped at the end."""
    with TemporaryDirectory() as name:
        folder, stop, course = Path(name), Event(), Course()
        stage = filled_store(folder)
        checker = Checker(expected_answers(stage), course)
        mover = Thread(target=keep_moving, args=(stage, seconds, course, stop))
        try:
            yield Scene({"STORE": str(stage.store.root), "STORE_SECONDS": str(POLL_SECONDS)}, checker, mover, folder)
        finally:
            stop.set()
            if mover.ident:
                mover.join()


async def _ask_all_the_while(address: str, checker: Checker, seconds: float) -> None:
    """RATE requests a second over CONNECTIONS connections; each is timed from when it was due, sent or not."""
    place = urlsplit(address)
    asked = checker.requests
    start = time.perf_counter()

    async def ask(number: int, progress: "tqdm[Any]") -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        turn = number
        while (due := turn / RATE) < seconds:
            if (early := due - (time.perf_counter() - start)) > 0:
                await asyncio.sleep(early)
            route, body = one = asked[turn % len(asked)]
            request = f"POST {route} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(request.encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ", maxsplit=1)[1].split(b"\r\n", maxsplit=1)[0])
            answer = await reader.readexactly(length)
            took = time.perf_counter() - start - due
            is_ok = head.startswith(b"HTTP/1.1 200")
            checker.check(one, answer, is_ok=is_ok, ended=time.time(), took=took)
            progress.update()
            turn += CONNECTIONS
        writer.close()

    with tqdm(total=round(seconds * RATE), unit="request", mininterval=1) as progress:
        await asyncio.gather(*(ask(number, progress) for number in range(CONNECTIONS)))


def under_uvicorn(seconds: float = SECONDS) -> dict[str, Any]:
    """What became of a minute's requests under uvicorn while versions came and went.

    Raises SystemExit where one failed, or its answer was not that of the version it names.
    """
    with _scene(seconds) as scene:
        log = scene.folder / "log"
        with served(log=log, **scene.settings) as (_, address), pinned(CLIENT_CORE):
            scene.mover.start()
            asyncio.run(_ask_all_the_while(address, scene.checker, seconds))
        told = log.read_text(encoding="utf-8")
        loads = [float(ms) for ms in re.findall(r"now serving \w+ instead of \w+ \((\d+) ms\)", told)]
        found = {"asked per second": RATE, **scene.checker.figures()}
        found |= {
            "load ms": {"median": float(np.median(loads)), "most": max(loads)},
            "refused": told.count("is refused"),
        }
    return _judged(found)


# What stdin gives: the plan. Each line of stdout: an event's index, status and body, when it ended, what it took.
_CHILD = """
import json, sys, time
from types import SimpleNamespace
from handler.app import handler
plan = json.loads(sys.stdin.readline())
events, context = plan["events"], SimpleNamespace(function_version="1")
number, end = 0, time.time() + plan["seconds"]
while time.time() < end:
    index = number % len(events)
    start = time.perf_counter()
    answer = handler(events[index], context)
    took = time.perf_counter() - start
    print(json.dumps([index, answer["statusCode"], answer["body"], time.time(), took]))
    number += 1
    time.sleep(plan["pause"])
"""


def in_lambda(seconds: float = SECONDS) -> dict[str, Any]:
    """The same in a loop through the Lambda handler, one invocation after the other; raises SystemExit as above."""
    with _scene(seconds) as scene:
        asked = scene.checker.requests
        events = [http_event(route, json.loads(body)) for route, body in asked]
        with (
            pinned(SERVER_CORE),
            subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                cwd=ROOT,
                env={**os.environ, **scene.settings},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process,
        ):
            assert process.stdin  # noqa: S101 - for the type checker: it is a pipe
            assert process.stdout  # noqa: S101 - for the type checker: it is a pipe
            process.stdin.write(json.dumps({"events": events, "seconds": seconds + 1, "pause": PAUSE_SECONDS}) + "\n")
            process.stdin.flush()
            for line in tqdm(process.stdout, unit="invocation", mininterval=1):
                if not scene.mover.ident:
                    scene.mover.start()
                index, status, body, ended, took = json.loads(line)
                scene.checker.check(asked[index], body.encode(), is_ok=status == OK, ended=ended, took=took)
        if process.returncode:
            raise SystemExit(f"the loop ended with {process.returncode}")
        return _judged(scene.checker.figures())


def _judged(found: dict[str, Any]) -> dict[str, Any]:
    if found["failed"] or found["wrong"] or not found["right"]:
        raise SystemExit(f"a swap was noticed: {found}")
    return found


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"uvicorn": under_uvicorn, "lambda": in_lambda}


def main() -> None:
    """Run both, print what each found, and end with an error where a swap was noticed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for name, part in PARTS.items():
        print(f"{name} ...", flush=True)
        found[name] = part()
        print("\n".join(f"  {what}: {value}" for what, value in found[name].items()), flush=True)
        write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)


if __name__ == "__main__":
    main()
