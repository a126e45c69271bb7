"""Histories in a file, used by threads: every random schedule leaves the same bytes as the fold of its events."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import local
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handler.history import sqlite
from handler.history.sqlite import BATCH_KEYS, SqliteHistory
from handler.scoring.contract import Contract
from handler.scoring.entity_state import N_IDS, NONE, PRIOR_EVENTS, EntityPast, State
from handler.scoring.history import DAY
from handler.scoring.past import RequestPast
from tests.entity_takes import CARD_AND_PAIR, FIELDS, RATE, declared_takes

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
PAST = RequestPast("paid", CONTRACT, HISTORY)
# Seconds between the starts of two bursts; after a short gap the earlier events are still kept one by one.
GAPS = [300, 601, 3_600, 86_400, 40 * 86_400, 100 * 86_400]


def drawn_schedule(name: str, draw: np.random.Generator) -> list[list[Any]]:
    """A card's requests in bursts; those of one burst lie within the lateness, in any order, and some come twice."""
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


def folded(requests: list[Any], past: RequestPast = PAST) -> dict[bytes, bytes]:
    """The states after these requests in order of time, each once."""
    states: dict[bytes, Any] = {}
    once = {request.payment_id: request for request in requests}
    for request in sorted(once.values(), key=lambda request: request.at):
        for event in past.events(request):
            if event is not None:
                fold, state = states.setdefault(event.key, (event.past, event.past.empty()))
                assert fold.add(state, event.event)
    return {key: packed(fold, state) for key, (fold, state) in states.items()}


def packed(fold: EntityPast, state: State) -> bytes:
    """A state as bytes; with shards, without the parts in which they differ: the first event and additional ids."""
    if fold.shards > 1:
        state = replace(state, first=NONE, ids=state.ids[-N_IDS:], id_times=state.id_times[-N_IDS:])
    return fold.pack(state)


def written(path: Path) -> dict[bytes, bytes]:
    """The states in a file."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, state FROM states").fetchall())


def test_every_schedule_leaves_the_same_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads send a thousand cards' requests, late and twice; the file has the same bytes as the fold."""
    monkeypatch.setattr(sqlite, "WRITES_A_SWEEP", 10**9)
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
            # A burst is complete before the next one begins; its requests would otherwise be later than the lateness.
            list(pool.map(exchange, (requests[place] for place in draw.permutation(len(requests)))))
    assert len(opened) == N_THREADS
    for history in opened:
        assert history.n_failed == 0
        history.close()
    assert written(path) == folded([request for schedule in schedules for burst in schedule for request in burst])


@pytest.fixture
def history(tmp_path: Path) -> Iterator[SqliteHistory]:
    """An empty history in a file."""
    history = SqliteHistory(str(tmp_path / "history.db"), 50)
    yield history
    history.close()


def paid(card: str, at: int, payment_id: str | None = None, amount: float = 20.0) -> Any:  # noqa: ANN401 - a stand-in for a request
    """A request of a card."""
    return SimpleNamespace(
        payment_id=payment_id, at=float(at), card=card, device="a", amount=amount, weight=None, label=None
    )


def feature(history: SqliteHistory, request: Any, name: str) -> float:  # noqa: ANN401 - as above
    """A feature of a request's card; the request is then added to the card's past."""
    values = history.exchange([PAST.events(request)])[0][0]
    assert values is not None
    return values[PAST.entity(0).names.index(name)]


def batch_of(n_requests: int) -> list[Any]:
    """Requests of some cards, not in order of time, the last one a second time."""
    requests = [paid(f"card {number % 7}", START + number * 61 % 997, f"id {number}") for number in range(n_requests)]
    return [*requests, requests[-1]]


def test_others_write_while_a_batch_does(
    history: SqliteHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that never waits gets in between any two parts of a batch, which have about 20 keys each.

    The result is the same as in one transaction.
    """
    events = [PAST.events(request) for request in batch_of(100)]
    n_parts = -(-len(events) // (BATCH_KEYS // len(events[0])))
    with closing(SqliteHistory(str(tmp_path / "other.db"), 50)) as whole:
        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "BATCH_KEYS", 10_000)
            expected = whole.exchange(events)
        with closing(SqliteHistory(str(tmp_path / "history.db"), 0)) as other:
            numbers = iter(range(10_000))

            def write(_: float) -> None:
                number = next(numbers)
                assert other.exchange([PAST.events(paid(f"other {number}", START))])[0][0] is not None

            monkeypatch.setattr(sqlite, "sleep", write)
            values = history.exchange(events)
            assert next(numbers) == n_parts - 1
            frauds = [f"id {number}" for number in range(60)]
            assert history.add_outcomes(PAST, frauds)
            assert next(numbers) == n_parts + 60 // BATCH_KEYS - 1
            history.add_frauds(events[60:])
            assert next(numbers) > n_parts + 60 // BATCH_KEYS + 1
        monkeypatch.setattr(sqlite, "sleep", lambda _: None)
        whole.add_outcomes(PAST, frauds)
        whole.add_frauds(events[60:])
    np.testing.assert_equal(values, expected)
    left, right = written(tmp_path / "history.db"), written(tmp_path / "other.db")
    assert {key: left[key] for key in right} == right


def test_what_came_before_a_part_that_fails_stays(
    history: SqliteHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests before the failed part are answered, later ones are not; sent again, the batch counts each once."""
    requests = batch_of(100)
    events = [PAST.events(request) for request in requests]
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        monkeypatch.setattr(sqlite, "sleep", lambda _: other.in_transaction or other.execute("BEGIN IMMEDIATE"))
        values = history.exchange(events)
        other.execute("ROLLBACK")
    monkeypatch.setattr(sqlite, "sleep", lambda _: None)
    n_answered = BATCH_KEYS // len(events[0])
    assert sum(None not in of_request for of_request in values) == n_answered
    assert sum(of_request == [None, None] for of_request in values) == len(events) - n_answered == history.n_failed
    assert not history.is_answering
    again = history.exchange(events)
    answered = [place for place, of_request in enumerate(values) if None not in of_request]
    np.testing.assert_equal([again[place] for place in answered], [values[place] for place in answered])
    assert written(tmp_path / "history.db") == folded(requests)


def n_rows(history: SqliteHistory, table: str) -> int:
    """How many rows a table has."""
    return int(history.connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a name of ours


def test_what_is_forgotten_is_swept_by_and_by(history: SqliteHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every WRITES_A_SWEEP writes some expired rows are removed, without a table scan; other rows stay."""
    monkeypatch.setattr(sqlite, "WRITES_A_SWEEP", n_writes := 20)
    monkeypatch.setattr(sqlite, "SWEPT", n_swept := 40)
    n_cards, later = 5 * n_swept, START + 400 * DAY
    draw = np.random.default_rng(5)
    history.put((draw.bytes(16), b"", START + DAY) for _ in range(n_cards))
    ids = draw.integers(-(2**63), 2**63, n_cards, dtype=np.int64).tolist()
    rows = [(identifier, 0, b"", START, START + DAY, 0) for identifier in ids]
    history.connection().executemany("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)", rows)
    alive, states, requests = 0, [n_cards], [n_cards]
    for _ in range(15):
        for _ in range(n_writes // 2):
            alive += 1
            history.exchange([PAST.events(paid(f"card {alive}", later, f"id {alive}"))])
        states.append(n_rows(history, "states") - 2 * alive)
        requests.append(n_rows(history, "requests") - alive)
    assert states[-1] == requests[-1] == 0
    for left in (states, requests):
        assert all(before - n_swept <= after <= before for before, after in pairwise(left))
    assert history.n_failed == 0
    for table, (key, _) in sqlite._SWEPT_TABLES.items():  # noqa: SLF001 - what the sweep does
        for statement in (sqlite._END_OF_SWEEP, sqlite._FORGOTTEN, sqlite._SWEEP):  # noqa: SLF001 - as above
            query = statement.format(table=table, key=key)
            plan = history.connection().execute(f"EXPLAIN QUERY PLAN {query}", (0,) * query.count("?")).fetchall()
            assert not any(row[-1] == f"SCAN {table}" for row in plan), plan


def test_a_late_request_does_not_forget_its_card(history: SqliteHistory) -> None:
    """The card and its late request are kept as long as the last event of the card requires."""
    feature(history, paid("card", START + 300 * DAY, "first"), "count_1h")
    feature(history, paid("card", START, "late"), "count_1h")
    kept = START + 300 * DAY + PAST.entity(0).kept_seconds
    key = PAST.stored_key(0, "card")
    for table in ("states", "requests"):
        query = f"SELECT min(expires) FROM {table} WHERE key = ?"  # noqa: S608 - our own two names
        assert kept <= history.connection().execute(query, (key,)).fetchone()[0] < kept + 7 * DAY


def test_a_retry_sees_no_more_than_the_first_time(history: SqliteHistory) -> None:
    """The features are those of the first time, although its time, which is the clock's, is later."""
    feature(history, paid("card", START, "before"), "count_24h")
    for at in (START + 100, START + 103):
        assert feature(history, paid("card", at, "x1"), "idle") == 100.0
        assert feature(history, paid("card", at, "x1"), "count_24h") == 1.0


@pytest.mark.parametrize("later", [0, 7_200])
def test_a_retry_counts_once_even_after_many_others(history: SqliteHistory, later: int) -> None:
    """Its outcome counts once, too, at whatever time the request comes again; the labels of its card are read."""
    for _ in range(2):
        feature(history, paid("card", START, "x1"), "count_24h")
        history.add_outcomes(PAST, ["x1", "x1"])
        for number in range(N_IDS + 8):
            feature(history, paid("card", START + 60 * number + 60, f"other {number}"), "count_24h")
        feature(history, paid("card", START + later, "x1"), "count_24h")
        history.add_outcomes(PAST, ["x1"])
    payment = paid("card", START + 4 * 3_600)
    assert feature(history, payment, "count_24h") == 1 + N_IDS + 8
    # The fraud rate: one fraud among all events of the day, shrunk towards the usual rate.
    risk = feature(history, paid("card", START + 4 * DAY), "risk")
    assert risk == (1 + PRIOR_EVENTS * RATE) / (2 + N_IDS + 8 + PRIOR_EVENTS)


def test_an_id_of_a_forgotten_request_is_another_request(history: SqliteHistory) -> None:
    """It counts, whether or not the row of the first request was swept meanwhile."""
    kept = PAST.entity(0).kept_seconds
    feature(history, paid("card", START, "x1"), "count_24h")
    for number in range(N_IDS + 8):
        feature(history, paid("card", START + kept + 8 * DAY + number, f"other {number}"), "count_24h")
    assert feature(history, paid("card", START + kept + 8 * DAY + 60, "x1"), "count_24h") == N_IDS + 8


def test_a_late_event_before_all_known_ids_counts(history: SqliteHistory) -> None:
    """It counts because its id was never sent before."""
    for number in range(N_IDS + 8):
        feature(history, paid("card", START + 60 * number, f"other {number}"), "count_24h")
    feature(history, paid("card", START - 60, "late"), "count_24h")
    assert feature(history, paid("card", START + 4 * 3_600), "count_24h") == N_IDS + 9


def test_an_id_of_another_card_is_another_request(history: SqliteHistory) -> None:
    """Each card counts the request that names it."""
    for card in ("card", "other"):
        feature(history, paid(card, START, "x1"), "count_24h")
        assert feature(history, paid(card, START + 60), "count_24h") == 1.0


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    """It is refused at the start, not at the first request, and nothing in it is changed."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE requests (id, entity, key, time, expires)")
        connection.execute("PRAGMA user_version = 1")
    before = path.read_bytes()
    with pytest.raises(sqlite.HistoryFileError, match="its layout is 1, not 3;"):
        SqliteHistory(str(path), 50)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("requests",)]
    assert len(before) == len(path.read_bytes())


def test_scorers_of_the_same_block_have_pasts_of_their_own(history: SqliteHistory) -> None:
    """Cards and ids may be equal; only versions of one scorer share their past."""
    other = RequestPast("refunded", CONTRACT, HISTORY)
    requests = [PAST.events(paid("card", START, "x1")), other.events(paid("card", START + 60, "x1"))]
    assert [values[0][0] for values in history.exchange(requests) if values[0]] == [0.0, 0.0]
    assert history.add_outcomes(other, ["x1"])
    risk = PAST.entity(0).names.index("risk")
    for past, frauds in ((PAST, 0), (other, 1)):
        values = history.exchange([past.events(paid("card", START + 4 * DAY))])[0][0]
        assert values is not None
        assert values[risk] == (frauds + PRIOR_EVENTS * RATE) / (1 + PRIOR_EVENTS)
    version = RequestPast("paid", CONTRACT, HISTORY)
    assert version.stored_key(0, "card") == PAST.stored_key(0, "card")
    assert version.id_hash("x1") == PAST.id_hash("x1") != other.id_hash("x1")
