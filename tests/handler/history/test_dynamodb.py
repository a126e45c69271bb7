"""Histories in a table: the answers of SQLite, whatever befalls the calls; nothing is lost, nothing counts twice."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pytest

from benchmarks.history.table_stand_in import table_stand_in
from handler.history import dynamodb
from handler.history.aws import AwsClient, AwsError
from handler.history.dynamodb import MOST_EVENTS, RAW_EVENTS, TARGET, DynamoHistory, read_item, removal
from handler.history.sqlite import SqliteHistory
from handler.history.store import MAX_FAILURES
from handler.scoring.history import DAY
from tests.handler.history.faulty_table import FAULTS, FaultyTable, faulty_table
from tests.handler.history.test_sqlite import PAST, START, drawn_schedule, folded, paid
from training.data.state_file import StoredState
from training.delivery.served_history import HistoryTable
from training.errors import StageError

# The table that stands in for DynamoDB does some 150 calls a second; a thousand were tried (docs/history.md).
N_SCHEDULES, N_THREADS, N_BURSTS = int(os.environ.get("SCHEDULES", "12")), 8, 6
SECRET = b"a secret"
TABLE = {
    "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "B"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in for DynamoDB is slow."""
    monkeypatch.setattr(dynamodb, "BATCH_SECONDS", 120.0)


@pytest.fixture
def table(s3_environment: dict[str, str]) -> str:  # noqa: ARG001 - the client reads the environment
    """The name of an empty table."""
    name = f"past-{uuid4().hex[:12]}"
    boto3.client("dynamodb").create_table(TableName=name, **TABLE)
    return name


@pytest.fixture
def history(table: str) -> Iterator[DynamoHistory]:
    """A history in it."""
    history = DynamoHistory(table, 5_000, SECRET)
    yield history
    history.close()


def client_of(way: FaultyTable) -> AwsClient:
    """A client that calls the table by a way."""
    return AwsClient("dynamodb", TARGET, os.environ | {"AWS_ENDPOINT_URL": way.address})


def items(table: str) -> dict[bytes, dict[str, Any]]:
    """The items of a table in the form of the wire, by their keys."""
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    return {item["k"]["B"]: item for page in pages for item in page["Items"]}


def states_in(history: DynamoHistory, requests: list[Any]) -> dict[bytes, bytes]:
    """The states of these requests' keys."""
    states = {}
    for event in {event.key: event for request in requests for event in PAST.events(request) if event}.values():
        (answer,) = history._client.call([history._reading(event.key)], 5.0)  # noqa: SLF001 - what a request reads
        assert isinstance(answer, dict), answer
        states[event.key] = event.past.pack(read_item(event.past, answer.get("Item", {})).state)
    return states


def test_the_benchmarks_stand_in_is_such_a_table(table: str) -> None:
    """It leaves the items, and gives the answers, that moto does: requests, packing, reading, loading and merging."""
    requests = [paid(card, START + 40 * number, f"{card} {number}") for card in "abc" for number in range(30)]
    events = {event.key: event for request in requests for event in PAST.events(request) if event}.values()
    loaded = [StoredState(event.entity, event.key, event.past.pack(event.past.empty()), START) for event in events]
    as_of = (START // DAY + 1) * DAY

    def used(client: AwsClient) -> tuple[Any, ...]:
        with DynamoHistory(table, 5_000, SECRET, client) as history:
            values = [history.exchange([PAST.events(request)]) for request in requests[: len(requests) // 2]]
            HistoryTable(table, SECRET, client).load(loaded, PAST, as_of)
            values += [history.exchange([PAST.events(request) for request in requests[len(requests) // 2 :]])]
            HistoryTable(table, SECRET, client).load(loaded[:3], PAST, as_of)
            reads = [history._client.call([history._reading(event.key)], 5.0) for event in events]  # noqa: SLF001
            assert HistoryTable(table, SECRET, client).check_key() is None
            return repr(values), reads

    with table_stand_in() as environment:
        assert used(AwsClient("dynamodb", TARGET, environment)) == used(AwsClient("dynamodb", TARGET))


def test_a_table_answers_as_sqlite_does(history: DynamoHistory) -> None:
    """Requests alone and in batches, some sent again, and outcomes."""
    draw = np.random.default_rng(0)
    seconds = np.cumsum(draw.choice([7, 500, 4_000, 86_400], 250))
    requests = [paid(f"card {n % 3}", START + int(seconds[n]), f"id {n}", n + 0.5) for n in range(250)]
    with SqliteHistory(":memory:", 1_000) as file:
        for number, request in enumerate(requests[:150]):
            again = [request] * (1 + (number % 10 == 0))
            for sent in again:
                events = [PAST.events(sent)]
                np.testing.assert_equal(history.exchange(events), file.exchange(events))
            if number % 17 == 0:
                ids = [f"id {number}", f"id {number - 1}", "unknown"]
                assert history.add_outcomes(PAST, ids)
                assert history.add_outcomes(PAST, ids[:1])
                assert file.add_outcomes(PAST, ids)
        for start in range(150, 250, 25):
            batch = [PAST.events(request) for request in requests[start : start + 25][::-1]]
            np.testing.assert_equal(history.exchange(batch), file.exchange(batch))
        packed = states_in(history, requests)
        assert packed == {key: file.state(key) for key in packed}
    assert history.n_failed == 0


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_every_schedule_leaves_the_same_states(
    history: DynamoHistory, table: str, s3_address: str, share: float
) -> None:
    """By eight threads, each request until it is answered, over a way that may lose any call or answer."""
    draw, own, opened = np.random.default_rng(11), local(), []
    schedules = [drawn_schedule(f"card {number}", draw) for number in range(N_SCHEDULES)]
    # Without faults nothing is late but on a busy machine.
    seconds = 0.8 if share else 20.0
    with faulty_table(s3_address, share, 1.2 * seconds) as way:

        def exchange(request: Any) -> None:  # noqa: ANN401 - a stand-in for a request
            if not hasattr(own, "history"):
                own.history = DynamoHistory(table, round(1_000 * seconds), SECRET, client_of(way))
                opened.append(own.history)
            while None in own.history.exchange([PAST.events(request)])[0]:
                own.history._paused_until = 0.0  # noqa: SLF001 - so that it is asked again at once

        with ThreadPoolExecutor(N_THREADS) as pool:
            for burst in range(N_BURSTS):
                requests = [request for schedule in schedules for request in schedule[burst]]
                list(pool.map(exchange, (requests[place] for place in draw.permutation(len(requests)))))
    for store in opened:
        store.close()
    every = [request for schedule in schedules for burst in schedule for request in burst]
    assert states_in(history, every) == folded(every)
    assert len(opened) == N_THREADS
    if share:
        assert all(way.counts[fault] > 0 for fault in FAULTS), way.counts
    else:
        assert not any(store.n_failed for store in opened)


def test_events_of_one_merchant_at_once_are_all_counted(history: DynamoHistory, table: str, s3_address: str) -> None:
    """A hundred by twenty threads: each answered, and the count is exact."""
    own, opened = local(), []
    with faulty_table(s3_address, 0.0, 0.0) as way:

        def exchange(number: int) -> None:
            if not hasattr(own, "history"):
                own.history = DynamoHistory(table, 20_000, SECRET, client_of(way))
                opened.append(own.history)
            (values,) = own.history.exchange([PAST.events(paid("hot", START, f"id {number}"))])
            assert None not in values

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(exchange, range(100)))
    for store in opened:
        store.close()
    (values,) = history.exchange([PAST.events(paid("hot", START + 60, "after"))], is_written=False)
    assert values[0] is not None
    assert values[0][PAST.entity(0).names.index("count_24h")] == 100.0
    counted = [len(item["l"]["L"]) for item in items(table).values() if "l" in item]
    assert max(counted) <= RAW_EVENTS + 20


def test_keys_are_hashed_with_the_secret(history: DynamoHistory, table: str) -> None:
    """Another secret does not find them; what expires is the end of a week after the last use of the item."""
    history.exchange([PAST.events(paid("card", START, "x1"))])
    stored = items(table)
    assert PAST.stored_key(0, "card") not in stored
    for item in stored.values():
        assert int(item["x"]["N"]) % (7 * DAY) == 0
    with DynamoHistory(table, 5_000, b"another secret") as other:
        (values,) = other.exchange([PAST.events(paid("card", START + 60, "x2"))])
    assert values[0] is not None
    assert values[0][PAST.entity(0).names.index("count_24h")] == 0.0


def test_what_is_not_written_leaves_nothing(history: DynamoHistory, table: str) -> None:
    """A warm-up, say."""
    (values,) = history.exchange([PAST.events(paid("card", START, "x1"))], is_written=False)
    assert values[0] is not None
    assert not items(table)


def test_a_missing_table_is_left_alone_after_a_while(
    s3_environment: dict[str, str],  # noqa: ARG001 - the client reads the environment
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request is answered without a past, and the log says why, once."""
    events = [PAST.events(paid("card", START, "x1"))]
    with DynamoHistory("no-such-table", 5_000, SECRET) as history:
        history.connect()
        for _ in range(MAX_FAILURES):
            assert history.exchange(events) == [[None, None]]
    assert [record.getMessage() for record in caplog.records] == [
        "the history does not answer: ResourceNotFoundException: Requested resource not found"
    ]
    monkeypatch.setattr(AwsClient, "call", lambda *_: pytest.fail("asked, though it is left alone"))
    assert history.exchange(events) == [[None, None]]
    assert not history.is_answering
    assert history.n_failed == MAX_FAILURES + 1


def test_a_table_of_another_schema_is_said(
    s3_environment: dict[str, str],  # noqa: ARG001 - the client reads the environment
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By what DynamoDB answers."""
    schema = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    }
    name = f"past-{uuid4().hex[:12]}"
    boto3.client("dynamodb").create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **schema)
    with DynamoHistory(name, 5_000, SECRET) as history:
        assert history.exchange([PAST.events(paid("card", START, "x1"))]) == [[None, None]]
    assert "ValidationException: " in caplog.text


@pytest.mark.parametrize(
    "item",
    [
        {"b": {"B": b"\0" * 7}},
        {"b": {"B": b"\1" * 64}},
        {"b": {"S": "text"}},
        {"l": {"L": [{"B": b"\0" * 9}]}},
        {"l": {"L": [{"N": "1"}]}},
        {"l": {"N": "1"}},
        {"v": {"S": "one"}},
    ],
)
def test_an_item_that_is_not_ours_is_no_past(
    history: DynamoHistory, table: str, item: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The features of its entity are missing; the others are there."""
    event = PAST.events(paid("card", START, "x1"))[0]
    assert event is not None
    key = history.item_key(event.key)
    boto3.client("dynamodb").put_item(TableName=table, Item={"k": {"B": dynamodb.b64decode(key)}, **item})
    (values,) = history.exchange([PAST.events(paid("card", START, "x1"))])
    assert values[0] is None
    assert values[1] is not None
    said = "the history does not answer for some keys: "
    for number in range(MAX_FAILURES):
        (values,) = history.exchange([PAST.events(paid("card", START + number, f"x{number}"))])
        assert values[0] is None
        (others,) = history.exchange([PAST.events(paid("other", START + number, f"y{number}"))])
        assert None not in others
    assert all(record.getMessage().startswith(said) for record in caplog.records)
    assert (history.n_failed, history.is_answering) == (1 + MAX_FAILURES, True)


def test_a_batch_of_one_merchant_is_packed(history: DynamoHistory, table: str) -> None:
    """However long: no call adds or removes more events than DynamoDB takes; none is lost, and answers are SQLite's."""
    requests = [paid("hot", START + number, f"id {number}") for number in range(230)]
    events = [PAST.events(request) for request in requests]
    with SqliteHistory(":memory:", 1_000) as file:
        np.testing.assert_equal(history.exchange(events), file.exchange(events))
        after = [PAST.events(paid("hot", START + 3_600, "after"))]
        np.testing.assert_equal(history.exchange(after), file.exchange(after))
    assert history.n_failed == 0
    assert max(len(item["l"]["L"]) for item in items(table).values() if "l" in item) <= MOST_EVENTS + RAW_EVENTS


def test_an_expression_is_short_enough() -> None:
    """DynamoDB takes 4,096 bytes, moto any number."""
    assert len(f"SET b = :b, v = :v, x = :x, a = :a {removal(MOST_EVENTS)}") < 4_096


def test_an_outcome_counts_once_whatever_befalls_its_calls(history: DynamoHistory, table: str, s3_address: str) -> None:
    """Each is sent until the store has taken it; some that it has, are sent again."""
    requests = [paid(f"card {number % 5}", START + number, f"id {number}") for number in range(24)]
    events = [PAST.events(request) for request in requests]
    history.exchange([*events[:12], events[0]])
    for event in events[12:]:
        history.exchange([event])
    with SqliteHistory(":memory:", 1_000) as file:
        file.exchange(events)
        with faulty_table(s3_address, 0.3, 0.6) as way, DynamoHistory(table, 400, SECRET, client_of(way)) as store:
            for start in range(0, 24, 12):
                ids = [f"id {number}" for number in range(max(start - 4, 0), start + 12)]
                while not store.add_outcomes(PAST, ids):
                    pass
                assert file.add_outcomes(PAST, ids)
            assert sum(way.counts[fault] for fault in FAULTS) > 5
        packed = states_in(history, requests)
        assert packed == {key: file.state(key) for key in packed}


def test_a_request_whose_note_is_missing_is_told_so(history: DynamoHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is sent again, and its outcome counts."""
    call = AwsClient.call

    def fail_notes(self: AwsClient, calls: Any, seconds: float) -> Any:  # noqa: ANN401 - as the method itself
        answers = call(self, calls, seconds)
        is_note = [b"SET n = " in body for _, body in calls]
        return [AwsError("x") if failed else answer for failed, answer in zip(is_note, answers, strict=True)]

    monkeypatch.setattr(AwsClient, "call", fail_notes)
    (values,) = history.exchange([PAST.events(paid("card", START, "x1"))])
    assert values[0] is None
    assert history.n_failed == 1


def test_another_secret_stops_the_start(history: DynamoHistory, table: str) -> None:
    """Where a load has noted which one it was; before that nobody can tell."""
    with DynamoHistory(table, 5_000, b"another secret") as other:
        other.connect()
        HistoryTable(table, SECRET, history._client).check_key()  # noqa: SLF001 - the same connections
        history.connect()
        with pytest.raises(ValueError, match=f"^HISTORY_KEY is not the one by which the keys of {table} were hashed$"):
            other.connect()
        with pytest.raises(StageError, match=r"^HISTORY_KEY is not the one with which "):
            HistoryTable(table, b"another secret", other._client).check_key()  # noqa: SLF001 - as above


def test_a_batch_takes_no_longer_than_lambda_waits(history: DynamoHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left then has no past, and its callers are told so."""
    monkeypatch.setattr(dynamodb, "BATCH_SECONDS", 0.0)
    values = history.exchange([PAST.events(paid(f"card {number}", START, None)) for number in range(20)])
    assert [None in of_request for of_request in values] == [False] * 4 + [True] * 16
    assert history.n_failed == 16
    assert history.is_answering
