"""Histories in a table answer as SQLite does, whatever happens to the calls: nothing is lost or counted twice."""

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pytest

from benchmarks.history.table_stand_in import StandIn, Units, table_stand_in
from handler.history import dynamodb
from handler.history.aws import AwsClient, AwsError
from handler.history.dynamodb import (
    MOST_EVENTS,
    RAW_EVENTS,
    TARGET,
    DynamoHistory,
    read_item,
    removal,
    shard_key,
    united,
)
from handler.history.sqlite import SqliteHistory
from handler.history.store import MAX_FAILURES
from handler.scoring.history import DAY, MOST_SHARDS
from handler.scoring.past import RequestPast
from tests.entity_takes import SHARDED, declared_takes
from tests.handler.history.faulty_table import FAULTS, FaultyTable, faulty_table
from tests.handler.history.test_sqlite import CONTRACT, PAST, START, drawn_schedule, folded, packed, paid
from training.data.state_file import StoredState
from training.delivery.served_history import HistoryTable
from training.errors import StageError

# SCHEDULES sets a larger number; a thousand have been tried.
N_SCHEDULES, N_THREADS, N_BURSTS = int(os.environ.get("SCHEDULES", "8")), 8, 6
SECRET = b"a secret"


def spread(shards: int) -> RequestPast:
    """The past of cards and pairs, spread over this many shards."""
    history = declared_takes(SHARDED)
    entities = {name: entity.model_copy(update={"shards": shards}) for name, entity in history.entities.items()}
    return RequestPast("paid", CONTRACT, history.model_copy(update={"entities": entities}))


PASTS = {"one item": PAST, "three shards": spread(3)}
both_pasts = pytest.mark.parametrize("past", PASTS.values(), ids=PASTS)
TABLE = {
    "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "B"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give batches two minutes, because the machine may be busy."""
    monkeypatch.setattr(dynamodb, "BATCH_SECONDS", 120.0)


@pytest.fixture
def moto(s3_environment: dict[str, str]) -> str:  # noqa: ARG001 - the client reads the environment
    """The name of an empty table in moto, which takes a hundred times as long to answer as the table in memory."""
    name = f"past-{uuid4().hex[:12]}"
    boto3.client("dynamodb").create_table(TableName=name, **TABLE)
    return name


@pytest.fixture
def table() -> Iterator[FaultyTable]:
    """An empty table in memory, without faults at first."""
    with faulty_table(StandIn()) as table:
        yield table


@pytest.fixture
def history(table: FaultyTable) -> Iterator[DynamoHistory]:
    """A history in the table."""
    with history_in(table) as history:
        yield history


def history_in(table: FaultyTable, budget_ms: int = 5_000, secret: bytes = SECRET) -> DynamoHistory:
    """A history in a table, with connections of its own."""
    return DynamoHistory("past", budget_ms, secret, table.client())


def states_in(history: DynamoHistory, requests: list[Any], past: RequestPast = PAST) -> dict[bytes, bytes]:
    """The states of these requests' keys."""
    states = {}
    for event in {event.key: event for request in requests for event in past.events(request) if event}.values():
        calls = [history._reading(shard_key(event.key, shard)) for shard in range(event.past.shards)]  # noqa: SLF001 - what a request reads
        answers = [answer for answer in history._client.call(calls, 5.0) if isinstance(answer, dict)]  # noqa: SLF001 - as above
        assert len(answers) == len(calls)
        items = [read_item(event.past, answer.get("Item", {})) for answer in answers]
        states[event.key] = packed(event.past, united(event.past, items) if len(items) > 1 else items[0].state)
    return states


def states_of(file: SqliteHistory, requests: list[Any], past: RequestPast) -> dict[bytes, bytes]:
    """The same states, in a file."""
    keys = {event.key: event.past for request in requests for event in past.events(request) if event}
    return {key: packed(fold, fold.unpack(file.state(key) or b"")) for key, fold in keys.items()}


@both_pasts
def test_the_benchmarks_stand_in_is_such_a_table(moto: str, past: RequestPast) -> None:
    """The stand-in gives the same answers and leaves the same items as moto.

    The calls are requests, packing, reading, outcomes that come twice, loading, merging and deleting.
    """
    requests = [paid(card, START + 40 * number, f"{card} {number}") for card in "ab" for number in range(24)]
    events = {event.key: event for request in requests for event in past.events(request) if event}.values()
    loaded = [StoredState(event.entity, event.key, event.past.pack(event.past.empty()), START) for event in events]
    as_of = (START // DAY + 1) * DAY

    def used(client: AwsClient) -> tuple[Any, ...]:
        with DynamoHistory(moto, 5_000, SECRET, client) as history:
            target = HistoryTable(moto, SECRET, client)
            values = [history.exchange([past.events(request)]) for request in requests[: len(requests) // 2]]
            (note,) = client.call([history._reading(dynamodb._note_key(past.id_hash("a 3")))], 5.0)  # noqa: SLF001
            assert isinstance(note, dict)
            settling = history._settling(dynamodb._note_key(past.id_hash("a 3")), note["Item"], past)  # noqa: SLF001
            (settled,), (error,) = (client.call([settling], 5.0) for _ in range(2))
            assert isinstance(settled, dict)
            assert isinstance(error, AwsError)
            # The part of the message before the bracket is of no use.
            refused = error.code, str(error).rpartition("[")[2]
            assert history.add_outcomes(past, ["a 3", "a 4", "unknown"])
            target.load(loaded, past, as_of)
            values += [history.exchange([past.events(request) for request in requests[len(requests) // 2 :]])]
            target.load(loaded[:3], past, as_of)
            values += [history.exchange([past.events(request) for request in requests[::20]], is_written=False)]
            keys = [shard_key(event.key, shard) for event in events for shard in range(event.past.shards)]
            reads = [client.call([history._reading(key)], 5.0) for key in keys]  # noqa: SLF001
            assert target.check_key() is None
            deleted = [target.delete(loaded[0].key) for _ in range(2)]
            return repr(values), reads, refused, deleted

    with table_stand_in() as environment:
        assert used(AwsClient("dynamodb", TARGET, environment)) == used(AwsClient("dynamodb", TARGET))


@both_pasts
def test_a_table_answers_as_sqlite_does(history: DynamoHistory, past: RequestPast) -> None:
    """Requests alone and in batches, some of them sent again, and outcomes give the same states."""
    draw = np.random.default_rng(0)
    seconds = np.cumsum(draw.choice([7, 500, 4_000, 86_400], 250))
    requests = [paid(f"card {n % 3}", START + int(seconds[n]), f"id {n}", n + 0.5) for n in range(250)]
    with SqliteHistory(":memory:", 1_000) as file:
        for number, request in enumerate(requests[:150]):
            again = [request] * (1 + (number % 10 == 0))
            for sent in again:
                events = [past.events(sent)]
                np.testing.assert_equal(history.exchange(events), file.exchange(events))
            if number % 17 == 0:
                ids = [f"id {number}", f"id {number - 1}", "unknown"]
                assert history.add_outcomes(past, ids)
                assert history.add_outcomes(past, ids[:1])
                assert file.add_outcomes(past, ids)
        for start in range(150, 250, 25):
            batch = [past.events(request) for request in requests[start : start + 25][::-1]]
            np.testing.assert_equal(history.exchange(batch), file.exchange(batch))
        assert states_in(history, requests, past) == states_of(file, requests, past)
    assert history.n_failed == 0


@both_pasts
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_every_schedule_leaves_the_same_states(
    history: DynamoHistory, table: FaultyTable, share: float, past: RequestPast
) -> None:
    """Eight threads send each request until it is answered; the table may lose any call or answer."""
    draw, own, opened = np.random.default_rng(11), local(), []
    schedules = [drawn_schedule(f"card {number}", draw) for number in range(N_SCHEDULES)]
    # Without faults an answer is late only if the machine is busy.
    seconds = 0.2 if share else 20.0
    table.share, table.late_seconds = share, 1.2 * seconds

    def exchange(request: Any) -> None:  # noqa: ANN401 - a stand-in for a request
        if not hasattr(own, "history"):
            own.history = history_in(table, round(1_000 * seconds))
            opened.append(own.history)
        while None in own.history.exchange([past.events(request)])[0]:
            own.history._paused_until = 0.0  # noqa: SLF001 - ends the pause after a failure

    with ThreadPoolExecutor(N_THREADS) as pool:
        for burst in range(N_BURSTS):
            requests = [request for schedule in schedules for request in schedule[burst]]
            list(pool.map(exchange, (requests[place] for place in draw.permutation(len(requests)))))
    for store in opened:
        store.close()
    table.share = 0.0
    every = [request for schedule in schedules for burst in schedule for request in burst]
    assert states_in(history, every, past) == folded(every, past)
    assert len(opened) == N_THREADS
    if share:
        assert all(table.counts[fault] > 0 for fault in FAULTS), table.counts
    else:
        assert not any(store.n_failed for store in opened)


@both_pasts
def test_events_of_one_merchant_at_once_are_all_counted(
    history: DynamoHistory, table: FaultyTable, past: RequestPast
) -> None:
    """Twenty threads send a hundred events: each is answered, and the count is exact."""
    own, opened = local(), []

    def exchange(number: int) -> None:
        if not hasattr(own, "history"):
            own.history = history_in(table, 20_000)
            opened.append(own.history)
        (values,) = own.history.exchange([past.events(paid("hot", START, f"id {number}"))])
        assert None not in values

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(exchange, range(100)))
    for store in opened:
        store.close()
    (values,) = history.exchange([past.events(paid("hot", START + 60, "after"))], is_written=False)
    assert values[0] is not None
    assert values[0][past.entity(0).names.index("count_24h")] == 100.0
    counted = [len(item["l"]["L"]) for item in table.items.values() if "l" in item]
    assert max(counted) <= RAW_EVENTS + 20


def test_keys_are_hashed_with_the_secret(history: DynamoHistory, table: FaultyTable) -> None:
    """Another secret does not find the items. An item's time of expiry is rounded up to the end of a week."""
    history.exchange([PAST.events(paid("card", START, "x1"))])
    assert b64encode(PAST.stored_key(0, "card")).decode() not in table.items
    for item in table.items.values():
        assert int(item["x"]["N"]) % (7 * DAY) == 0
    with history_in(table, secret=b"another secret") as other:
        (values,) = other.exchange([PAST.events(paid("card", START + 60, "x2"))])
    assert values[0] is not None
    assert values[0][PAST.entity(0).names.index("count_24h")] == 0.0


def test_what_is_not_written_leaves_nothing(history: DynamoHistory, table: FaultyTable) -> None:
    """A warm-up request, for example, leaves no item."""
    (values,) = history.exchange([PAST.events(paid("card", START, "x1"))], is_written=False)
    assert values[0] is not None
    assert not table.items


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
    """The log has the error that DynamoDB answers."""
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
def test_an_item_that_is_not_ours_is_no_past(moto: str, item: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """The features of its entity are missing; the others are there."""
    with DynamoHistory(moto, 5_000, SECRET) as history:
        key = b64decode(history.item_key(PAST.stored_key(0, "card")))
        boto3.client("dynamodb").put_item(TableName=moto, Item={"k": {"B": key}, **item})
        # The table is still asked, however often that happens.
        for number in range(1 + MAX_FAILURES):
            (values,) = history.exchange([PAST.events(paid("card", START + number, f"x{number}"))])
            assert values[0] is None
            assert values[1] is not None
        (others,) = history.exchange([PAST.events(paid("other", START, "y"))])
        assert None not in others
    said = "the history does not answer for some keys: "
    assert all(record.getMessage().startswith(said) for record in caplog.records)
    assert (history.n_failed, history.is_answering) == (1 + MAX_FAILURES, True)


@both_pasts
def test_a_batch_of_one_merchant_is_packed(history: DynamoHistory, table: FaultyTable, past: RequestPast) -> None:
    """However long the batch is, no call exceeds DynamoDB's limits, no event is lost, and answers equal SQLite's."""
    requests = [paid("hot", START + number, f"id {number}") for number in range(230)]
    events = [past.events(request) for request in requests]
    with SqliteHistory(":memory:", 1_000) as file:
        np.testing.assert_equal(history.exchange(events), file.exchange(events))
        after = [past.events(paid("hot", START + 3_600, "after"))]
        np.testing.assert_equal(history.exchange(after), file.exchange(after))
    assert history.n_failed == 0
    assert max(len(item["l"]["L"]) for item in table.items.values() if "l" in item) <= MOST_EVENTS + RAW_EVENTS


def test_an_expression_is_short_enough() -> None:
    """DynamoDB accepts 4,096 bytes; its stand-ins have no limit."""
    assert len(f"SET b = :b, v = :v, x = :x, a = :a {removal(MOST_EVENTS)}") < 4_096


@both_pasts
def test_an_outcome_counts_once_whatever_befalls_its_calls(
    history: DynamoHistory, table: FaultyTable, past: RequestPast
) -> None:
    """Each outcome is sent until the table has it, and some are sent once more after that."""
    requests = [paid(f"card {number % 5}", START + number, f"id {number}") for number in range(24)]
    events = [past.events(request) for request in requests]
    history.exchange([*events[:12], events[0]])
    for event in events[12:]:
        history.exchange([event])
    with SqliteHistory(":memory:", 1_000) as file:
        file.exchange(events)
        table.share, table.late_seconds = 0.3, 0.12
        with history_in(table, 100) as store:
            for start in range(0, 24, 12):
                ids = [f"id {number}" for number in range(max(start - 4, 0), start + 12)]
                while not store.add_outcomes(past, ids):
                    pass
                assert file.add_outcomes(past, ids)
        table.share = 0.0
        assert sum(table.counts[fault] for fault in FAULTS) > 5
        assert states_in(history, requests, past) == states_of(file, requests, past)


def test_a_request_whose_note_is_missing_is_told_so(history: DynamoHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller then sends it again, so its outcome will count."""
    call = AwsClient.call

    def fail_notes(self: AwsClient, calls: Any, seconds: float) -> Any:  # noqa: ANN401 - as the method itself
        answers = call(self, calls, seconds)
        is_note = [b"SET n = " in body for _, body in calls]
        return [AwsError("x") if failed else answer for failed, answer in zip(is_note, answers, strict=True)]

    monkeypatch.setattr(AwsClient, "call", fail_notes)
    (values,) = history.exchange([PAST.events(paid("card", START, "x1"))])
    assert values[0] is None
    assert history.n_failed == 1


def test_another_secret_stops_the_start(history: DynamoHistory, table: FaultyTable) -> None:
    """A load notes the secret; before that, another one cannot be recognised."""
    with history_in(table, secret=b"another secret") as other:
        other.connect()
        HistoryTable("past", SECRET, history._client).check_key()  # noqa: SLF001 - the same connections
        history.connect()
        with pytest.raises(
            ValueError, match=r"^HISTORY_KEY is not the key with which past was written; set it to that key$"
        ):
            other.connect()
        with pytest.raises(StageError, match=r"^HISTORY_KEY differs from the key with which "):
            HistoryTable("past", b"another secret", other._client).check_key()  # noqa: SLF001 - as above


def test_a_batch_takes_no_longer_than_lambda_waits(history: DynamoHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are left when the time is up have no past, and their callers are told so."""
    monkeypatch.setattr(dynamodb, "BATCH_SECONDS", 0.0)
    values = history.exchange([PAST.events(paid(f"card {number}", START, None)) for number in range(20)])
    assert [None in of_request for of_request in values] == [False] * 4 + [True] * 16
    assert history.n_failed == 16
    assert history.is_answering


@both_pasts
def test_a_batch_is_sent_again_until_all_of_it_is_answered(
    history: DynamoHistory, table: FaultyTable, past: RequestPast
) -> None:
    """If one call of a key fails, no event of the key has a past, whatever was written; in the end each counts once."""
    requests = [paid(f"card {number % 3}", START + number, f"id {number}") for number in range(40)]
    n_batches = 0
    table.share, table.late_seconds = 0.3, 0.12
    with history_in(table, 100) as store:
        left = [past.events(request) for request in requests]
        while left:
            values = store.exchange(left)
            left = [events for events, answered in zip(left, values, strict=True) if None in answered]
            store._paused_until, n_batches = 0.0, n_batches + 1  # noqa: SLF001 - ends the pause after a failure
    table.share = 0.0
    assert n_batches > 1
    assert states_in(history, requests, past) == folded(requests, past)


def test_requests_without_ids_are_spread_too(
    history: DynamoHistory, table: FaultyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one batch stay in one shard, because each item that is written costs."""
    # Without a seed, one run in seven hundred leaves a shard empty.
    monkeypatch.setattr(dynamodb, "urandom", np.random.default_rng(1).bytes)
    past, name = spread(4), "count_24h"
    for number in range(30):
        history.exchange([past.events(paid("hot", START + number))])
    assert len(table.items) == 8
    values = history.exchange([past.events(paid("hot", START + 60 + number)) for number in range(20)])
    counted = [of_request[0][past.entity(0).names.index(name)] for of_request in values if of_request[0]]
    assert counted == [30.0 + number for number in range(20)]
    in_items = [len(item["l"]["L"]) if "l" in item else 0 for item in table.items.values()]
    assert sum(in_items) <= 8 * RAW_EVENTS


def test_more_shards_lose_nothing(history: DynamoHistory) -> None:
    """The first shard is the item that was there before."""
    for shards in (1, 2, 16):
        past = spread(shards)
        values = history.exchange([past.events(paid("card", START + 60 * shards, f"{shards} {n}")) for n in range(8)])
        place = past.entity(0).names.index("count_24h")
        expected = {1: 0.0, 2: 8.0, 16: 16.0}[shards]
        assert [of_request[0][place] for of_request in values if of_request[0]] == [expected] * 8


@pytest.mark.parametrize(
    ("most", "error"),
    [
        (Units(0, 99), "ProvisionedThroughputExceededException: too often"),
        (Units(99, 0), "UnprocessedKeys: the table throttled the reads of some items"),
    ],
)
def test_a_throttled_shard_is_no_past(most: Units, error: str, caplog: pytest.LogCaptureFixture) -> None:
    """Writes or reads may be throttled; the request may be sent again, and counts once."""
    events = [spread(3).events(paid("card", START, "x1"))]
    with faulty_table(StandIn(most)) as table, history_in(table) as history:
        assert history.exchange(events) == [[None, None]]
        assert history.n_failed == 1
    # Throttled reads do not affect the note of the id, which is only written.
    some = " for some keys" if most.written else ""
    assert caplog.messages == [f"the history does not answer{some}: {error}"]


@pytest.mark.parametrize("shards", [1, MOST_SHARDS])
def test_shards_take_what_one_item_does_not(shards: int) -> None:
    """Forty requests of one card come in a burst; an item takes ten writes a second."""
    past = spread(shards)
    with faulty_table(StandIn(Units(10, 200))) as table, history_in(table) as history:
        for number in range(40):
            history.exchange([past.events(paid("hot", START + number, f"id {number}"))])
            history._paused_until = 0.0  # noqa: SLF001 - ends the pause after a failure
        assert (history.n_failed > 0) == (shards == 1)


def test_a_load_that_has_not_come_to_all_shards_counts_once(history: DynamoHistory, table: FaultyTable) -> None:
    """Events that it has yet to remove from other shards do not count meanwhile, even if the load is interrupted."""
    past, as_of = spread(3), (START // DAY + 1) * DAY
    requests = [paid("card", as_of + 600 * number, f"id {number}") for number in range(-20, 20)]
    history.exchange([past.events(request) for request in requests])
    fold, file = past.entity(0), past.entity(0).empty()
    events = [event for request in requests if (event := past.events(request)[0])]
    for keyed in events[:20]:
        fold.add(file, keyed.event)
    state = StoredState(0, events[0].key, fold.pack(file), as_of + 90 * DAY)
    target = HistoryTable("past", SECRET, history._client)  # noqa: SLF001 - the same connections
    expected = {event.key: folded(requests, past)[event.key] for event in events}

    def loaded() -> dict[bytes, bytes]:
        return {key: of for key, of in states_in(history, requests, past).items() if key in expected}

    target._load([state], past, as_of)  # noqa: SLF001 - the first part of a load
    assert loaded() == expected
    for _ in range(2):
        target.load([state], past, as_of)
        assert loaded() == expected
        assert {item["a"]["N"] for item in table.items.values() if "a" in item} == {str(as_of)}
