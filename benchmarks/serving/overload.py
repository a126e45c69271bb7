"""Four times the requests that the server can answer, and a million predictions, must not make its memory grow."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks.machine import CLIENT_CORE, pinned, resident_mb, sampled
from benchmarks.serving.client import Load, Request, bundled_scorers, golden_answers, post_all
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.gateway import http_event
from benchmarks.serving.server import served
from benchmarks.serving.services import checkout_service

# While this many requests wait, the client holds back further ones, like a load balancer without a free connection.
CONNECTIONS = 2_000
# The connections with which the sustainable rate is measured; each waits for its answer before it asks again.
SUSTAINABLE_CONNECTIONS = 64
FACTOR = 4
SETTLING_SECONDS = 5
POINTS = 100


def golden_requests() -> dict[Request, bytes]:
    """Every bundle's golden requests and their answers; those that are flagged are answered with reasons."""
    return {request: answer for scorer in bundled_scorers() for request, answer in golden_answers(scorer).items()}


def counted(address: str, answers: Mapping[Request, bytes], load: Load) -> "Counter[str]":
    """How many answers to the requests under a load were right, wrong, or not 200."""
    counts = Counter[str]()

    def check(request: Request, answer: bytes | None, _seconds: float) -> None:
        counts["lost" if answer is None else "right" if answer == answers[request] else "wrong"] += 1

    asyncio.run(post_all(address, list(answers), check, load))
    return counts


def overload(seconds: int) -> dict[str, Any]:
    """The sustainable rate, how requests at four times that rate were answered, and the server's memory in each second.

    Raises SystemExit if an answer was wrong or its status was not 200.
    """
    answers, settling = golden_requests(), min(seconds, SETTLING_SECONDS)
    with (
        TemporaryDirectory() as folder,
        served(checkout_service(), Path(folder) / "log") as (pid, address),
        pinned(CLIENT_CORE),
    ):
        sustainable = counted(address, answers, Load(SUSTAINABLE_CONNECTIONS, settling)).total() / settling
        rate = FACTOR * sustainable
        with sampled(partial(resident_mb, pid), 1.0) as memory:
            counts = counted(address, answers, Load(CONNECTIONS, seconds, rate))
    report = {
        "sustainable per second": round(sustainable),
        "waiting at once": CONNECTIONS,
        "offered": round(rate * seconds),
        **{name: counts[name] for name in ("right", "wrong", "lost")},
        "memory MB": [round(figure, 1) for figure in memory],
        # The buffers are filled after the first ten seconds.
        "growth MB": round(memory[-1] - memory[min(10, len(memory) // 2)], 2),
    }
    if counts["wrong"] or counts["lost"] or not counts["right"]:
        raise SystemExit(f"answers were wrong or lost at four times the sustainable rate: {report}")
    return report


def million(predictions: int) -> dict[str, Any]:
    """The number of predictions, and the memory after each hundredth of them; raises RuntimeError if one failed."""
    events = [http_event(route, json.loads(body)) for route, body in golden_requests()]
    every = predictions // POINTS
    with FunctionProcess(checkout_service(), events[0]) as process:
        curve = [[0, round(process.resident_mb(), 2)]]
        for point in tqdm(range(1, POINTS + 1), unit="hundredth"):
            process.call(events, every)
            curve.append([point * every, round(process.resident_mb(), 2)])
    growth = curve[-1][1] - curve[POINTS // 10][1]
    return {"predictions": POINTS * every, "memory MB": curve, "growth MB": round(growth, 2)}
