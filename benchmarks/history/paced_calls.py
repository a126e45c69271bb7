"""Calls the function from a separate process, at a rate and until an end that the caller sets."""

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.history.payments import ROUTE, START
from benchmarks.serving.child import CONTEXT
from benchmarks.serving.gateway import http_event
from handler.scoring.history import DAY

N_ENTITIES = 200
# The timestamp of the first request; later requests have later ones.
FIRST_TIME = START + 400 * DAY


class Sent(NamedTuple):
    """One request."""

    at: float
    """When it was sent, in seconds since 1970."""
    milliseconds: float
    own: float
    """Processor time, in microseconds."""
    is_answered: bool
    """Whether the history answered too."""
    status: int
    request: dict[str, Any]


class Limits(NamedTuple):
    """How often a worker calls the function, and when it stops."""

    n_calls: float = np.inf
    rate: float = np.inf
    """The most calls per second."""
    until: float = np.inf
    """When it stops, in seconds since 1970."""
    stop: Path = Path("/nowhere")
    """It stops once this file exists."""


def work(limits: Limits, *, is_remembered: bool) -> list[Sent]:
    """Call the function within these limits; requests carry a time and keys if it has a history."""
    from handler.app import handler  # noqa: PLC0415 - reads the environment, and loads the bundles

    draw, sent, begin = np.random.default_rng(0), list[Sent](), time.time()
    while len(sent) < limits.n_calls and (now := time.time()) < limits.until and not limits.stop.exists():
        if (early := begin + len(sent) / limits.rate - now) > 0:
            time.sleep(early)
            continue
        request = {"payment_id": f"{begin} {len(sent)}", "amount": round(draw.lognormal(3, 1), 2)}
        if is_remembered:
            keys = {name: f"{name} {draw.integers(N_ENTITIES)}" for name in ("card", "device", "merchant")}
            request |= {"at": FIRST_TIME + len(sent), **keys}
        event = http_event(ROUTE, request)
        own, start = time.thread_time(), time.perf_counter()
        # Without a context, the function would take the request for the warm-up, which leaves no trace.
        answer = handler(event, CONTEXT)
        took, used = time.perf_counter() - start, time.thread_time() - own
        is_answered = "history did not answer" not in answer["body"]
        sent.append(Sent(now, took * 1e3, used * 1e6, is_answered, answer["statusCode"], request))
    return sent


@contextmanager
def calls_of_worker(bundles: Path, environment: Mapping[str, str], limits: Limits) -> Iterator[Future[list[Sent]]]:
    """The future of the calls of a worker process, which has loaded the function before the block begins."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        # Set before the process starts, because the modules that it imports read their settings at once.
        with patch.dict(os.environ, {"BUNDLES": str(bundles), **environment}):
            pool.submit(work, Limits(0), is_remembered=bool(environment)).result()
        yield pool.submit(work, limits, is_remembered=bool(environment))
