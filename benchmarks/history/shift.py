"""A worker that shares a history with others, and calls the function for some seconds at a given rate.

This is a separate module because each worker process imports it: the benchmark's module would import scikit-learn too.
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

# Few enough that workers share entities, and enough that an entity seldom has more timestamps than it keeps apart.
N_ENTITIES = 200
# Timestamps advance this many times faster than the clock, so that the states cover hours within a minute.
SPEED = 200


@dataclass(frozen=True)
class Worked:
    """What one worker sent, and how it was answered."""

    answered: list[dict[str, Any]]
    seconds: list[float]
    unanswered: int
    locked: int


@dataclass(frozen=True)
class Shift:
    """The history file that the workers share, how many seconds they work, and each worker's requests per second."""

    history: Path
    seconds: float
    rate: float = inf


def work(bundles: Path, shift: Shift, worker: int, barrier: Barrier, origin: float) -> Worked:
    """Call the function for the shift's seconds, once all workers have loaded it; timestamps count from `origin`."""
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
        # Without a context, the function would take the request for the warm-up, which leaves no trace.
        answer = handler(event, CONTEXT)
        took.append(time.perf_counter() - start)
        if answer["statusCode"] != HTTP_OK or "history did not answer" in answer["body"]:
            unanswered += 1
        else:
            answered.append(request)
    return Worked(answered, took, unanswered, sum("locked" in failure for failure in failures))
