"""What a worker does that shares a history with others: calls of the function for some seconds, at a rate.

A module of its own, because a worker's process imports it: with that of the benchmark it would import scikit-learn too.
"""

import logging
import os
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np

from benchmarks.history.payments import ROUTE, START
from benchmarks.serving.child import CONTEXT, HTTP_OK
from benchmarks.serving.gateway import http_event

# So few entities that workers meet at each, and so many that the times of one are seldom more than it keeps apart.
N_ENTITIES = 200
# Payments come this much faster than their times say, so that in a minute states see hours.
SPEED = 200


@dataclass(frozen=True)
class Worked:
    """What one worker asked and got."""

    answered: list[dict[str, Any]]
    seconds: list[float]
    unanswered: int
    locked: int


@dataclass(frozen=True)
class Shift:
    """How the workers work: on which file, for how long, and how many requests a second each."""

    history: Path
    seconds: float
    rate: float = inf


def work(bundles: Path, shift: Shift, worker: int, barrier: Barrier, origin: float) -> Worked:
    """Call the function for so long, once all workers have loaded it; times of requests count from the origin."""
    os.environ |= {"BUNDLES": str(bundles), "HISTORY": str(shift.history)}
    from handler.app import handler  # noqa: PLC0415 - reads the environment, and loads the bundles

    failures: list[str] = []
    log = logging.getLogger("handler.history.store")
    log.addFilter(lambda record: failures.append(record.getMessage()) is None)
    draw = np.random.default_rng(worker)
    answered: list[dict[str, Any]] = []
    took, unanswered = [], 0
    barrier.wait()
    begin = time.time()
    while (now := time.time()) < begin + shift.seconds:
        if (early := begin + len(took) / shift.rate - now) > 0:
            time.sleep(early)
            continue
        request = {
            "payment_id": f"{worker}-{len(took)}",
            "at": START + int((now - origin) * SPEED),
            "amount": round(draw.lognormal(3, 1), 2),
            **{name: f"{name} {draw.integers(N_ENTITIES)}" for name in ("card", "device", "merchant")},
        }
        event = http_event(ROUTE, request)
        start = time.perf_counter()
        # With a context: without one it would take a request for the warm-up, which leaves no trace.
        answer = handler(event, CONTEXT)
        took.append(time.perf_counter() - start)
        if answer["statusCode"] != HTTP_OK or "history did not answer" in answer["body"]:
            unanswered += 1
        else:
            answered.append(request)
    return Worked(answered, took, unanswered, sum("locked" in failure for failure in failures))
