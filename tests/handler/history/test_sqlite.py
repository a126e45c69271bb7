"""Histories in a file under threads: every drawn schedule leaves the bytes that the fold of its events has."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import local
from types import SimpleNamespace
from typing import Any

import numpy as np

from handler.history.sqlite import SqliteHistory
from handler.scoring.contract import Contract
from handler.scoring.past import RequestPast
from tests.entity_takes import CARD_AND_PAIR, FIELDS, declared_takes

N_SCHEDULES, N_THREADS, N_BURSTS, MOST_EVENTS = 1_000, 8, 6, 4
LATENESS = 600
START = 1_700_000_000
HISTORY = declared_takes(CARD_AND_PAIR)
CONTRACT = Contract.model_validate(
    {
        "route": "/predict",
        "answer": "probability",
        "id": "payment_id",
        "time": "at",
        "fields": FIELDS,
        "features": {},
        "history": HISTORY,
    },
    strict=False,
)
PAST = RequestPast(CONTRACT, HISTORY)
# Between the beginnings of two bursts: so near that the earlier is still kept apart, or far.
GAPS = [300, 601, 3_600, 86_400, 40 * 86_400, 100 * 86_400]


def drawn_schedule(name: str, draw: np.random.Generator) -> list[list[Any]]:
    """A card's requests in bursts: those of one come within the lateness of each other, in any order, some twice."""
    begin, bursts = START, []
    for burst in range(N_BURSTS):
        begin += int(draw.choice(GAPS))
        requests = [
            SimpleNamespace(
                payment_id=f"{name} {burst} {number}",
                at=float(begin + draw.integers(0, LATENESS + 1)),
                card=name,
                device=draw.choice(["a", "b", "c", "", None]),
                amount=draw.choice([None, round(draw.lognormal(3, 2), 2)]),
                weight=draw.choice([None, draw.normal(0, 50)]),
            )
            for number in range(draw.integers(1, MOST_EVENTS + 1))
        ]
        again = [request for request in requests if draw.random() < 0.3]
        bursts.append([(requests + again)[place] for place in draw.permutation(len(requests) + len(again))])
    return bursts


def folded(requests: list[Any]) -> dict[bytes, bytes]:
    """The states after these requests in order of time, each once."""
    states: dict[bytes, Any] = {}
    once = {request.payment_id: request for request in requests}
    for request in sorted(once.values(), key=lambda request: request.at):
        for event in PAST.events(request):
            if event is not None:
                fold, state = states.setdefault(event.key, (event.past, event.past.empty()))
                assert fold.add(state, event.event)
    return {key: fold.pack(state) for key, (fold, state) in states.items()}


def written(path: Path) -> dict[bytes, bytes]:
    """The states in a file."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, state FROM states").fetchall())


def test_every_schedule_leaves_the_same_states(tmp_path: Path) -> None:
    """A thousand cards' requests by eight threads, late within the lateness and sent twice: the bytes of the fold."""
    draw, path, own, opened = np.random.default_rng(11), tmp_path / "history.db", local(), []
    schedules = [drawn_schedule(f"card {number}", draw) for number in range(N_SCHEDULES)]

    def exchange(request: Any) -> None:  # noqa: ANN401 - a stand-in for a request
        if not hasattr(own, "history"):
            own.history = SqliteHistory(str(path), 20_000)
            opened.append(own.history)
        assert None not in own.history.exchange([PAST.events(request)])[0]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for burst in range(N_BURSTS):
            requests = [request for schedule in schedules for request in schedule[burst]]
            # All of one burst have come before the next begins: more than that would be later than the lateness.
            list(pool.map(exchange, (requests[place] for place in draw.permutation(len(requests)))))
    assert len(opened) == N_THREADS
    for history in opened:
        assert history.n_failed == 0
        history.close()
    assert written(path) == folded([request for schedule in schedules for burst in schedule for request in burst])
