"""`make history` with a DynamoDB table: states are loaded amid live requests, inspected and deleted."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from benchmarks.history.table_stand_in import StandIn
from handler.history import dynamodb
from handler.history.aws import AwsClient
from handler.history.dynamodb import DynamoHistory, read_item, shard_key, united
from handler.scoring.past import RequestPast
from handler.scoring.scorer import Scorer
from tests.handler.history.faulty_table import FAULTS, FaultyTable, faulty_table
from tests.handler.history.test_sqlite import packed
from tests.training.conftest import REMEMBERED_PARAMS, RunRemembered, split_at
from tests.training.test_history_command import DAY_TEXT, MIDNIGHT, STATES, past_of, replayed
from training import history
from training.data.state_file import StoredState
from training.declaration import declared_scorer
from training.delivery.served_history import HistoryTable

SECRET = "unguessable"  # noqa: S105 - of a test
TABLE = "dynamodb://past"
N_CARDS = 30
Sent = Sequence[tuple[BaseModel, bool]]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyTable]:
    """An empty table in memory, which commands use too; it has no faults at first."""
    with faulty_table(StandIn()) as table:
        for name, value in (table.environment | {"HISTORY_KEY": SECRET}).items():
            monkeypatch.setenv(name, value)
        yield table


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow batches more time, since the machine may be busy."""
    monkeypatch.setattr(dynamodb, "BATCH_SECONDS", 120.0)


@pytest.fixture
def served(table: FaultyTable) -> Iterator[DynamoHistory]:
    """The history that live requests use."""
    with DynamoHistory("past", 10_000, SECRET.encode(), table.client()) as served:
        yield served


@pytest.fixture(params=[1, 3], ids=["one item", "three shards"])
def past(request: pytest.FixtureRequest, scorer: Scorer, run_remembered: RunRemembered) -> RequestPast:  # noqa: ARG001 - declares what this changes
    """The scorer's past, with cards in this many shards."""
    block = REMEMBERED_PARAMS.replace("card: {key: card,", f"card: {{key: card, shards: {request.param},")
    Path("params.yaml").write_text(block)
    contract = declared_scorer("mini").contract
    # The usual fraud rate is learned, so it is taken from the trained scorer.
    history = scorer.contract.history
    assert history is not None
    assert contract.history is not None
    spread = RequestPast("mini", contract, history.model_copy(update={"entities": contract.history.entities}))
    assert (spread.id, spread.entity(0).shards) == (past_of(scorer).id, request.param)
    return spread


@pytest.fixture
def load(run_remembered: RunRemembered, table: FaultyTable, past: RequestPast) -> Callable[[], Any]:  # noqa: ARG001 - declares it
    """Build the states before a midnight and load those of some cards; returns None or an error."""

    def load() -> Any:  # noqa: ANN401 - None, or a sentence
        if not Path(STATES).exists():
            run_remembered(history, "--before", DAY_TEXT)
            states = pq.read_table(STATES)
            pq.write_table(states.filter(pc.equal(states["entity"], 0)).slice(0, N_CARDS), STATES)
        return run_remembered(history, "--load", TABLE)[0]

    return load


def play(requests: Sent, past: RequestPast, served: DynamoHistory) -> None:
    """Send requests in batches, with their labels as outcomes."""
    for start in range(0, len(requests), 50):
        part = requests[start : start + 50]
        served.exchange([past.events(request) for request, _ in part])
        frauds = [request.row_id for request, is_fraud in part if is_fraud]  # type: ignore[attr-defined]  # a model made at run time
        assert served.add_outcomes(past, frauds)
    assert not served.n_failed


def loaded_states(served: DynamoHistory, past: RequestPast) -> dict[bytes, bytes]:
    """The table's states for the keys in the file."""
    rows, states = pq.read_table(STATES), {}
    for number, key in zip(rows["entity"].to_pylist(), rows["key"].to_pylist(), strict=True):
        entity = past.entity(number)
        calls = [served._reading(shard_key(key, shard)) for shard in range(entity.shards)]  # noqa: SLF001 - what a request reads
        items = [
            read_item(entity, answer.get("Item", {}))
            for answer in served._client.call(calls, 5.0)  # noqa: SLF001 - as above
            if isinstance(answer, dict)
        ]
        assert len(items) == len(calls)
        states[key] = packed(entity, united(entity, items) if len(items) > 1 else items[0].state)
    return states


def assert_loaded(served: DynamoHistory, requests: Sent, past: RequestPast) -> None:
    """Check that the state of each key in the file equals that of these requests."""
    states, expected = loaded_states(served, past), replayed(requests, past)
    fold = past.entity(0)
    assert states == {key: packed(fold, fold.unpack(expected[key])) for key in states}


def test_a_load_completes_what_live_traffic_brought(
    load: Callable[[], Any], sent: Sent, served: DynamoHistory, past: RequestPast
) -> None:
    """Live events before the midnight count once, later ones are kept, and a second load changes nothing.

    Outcomes after the load count at their requests; the file has the others.
    """
    before, since = split_at(sent, MIDNIGHT)
    live = before[-100:] + since[:150]
    play([(request, False) for request, _ in live], past, served)
    assert load() is None
    frauds = [request.row_id for request, is_fraud in live if is_fraud]  # type: ignore[attr-defined]  # as above
    assert frauds
    assert served.add_outcomes(past, frauds)
    assert_loaded(served, before + since[:150], past)
    assert load() is None
    assert_loaded(served, before + since[:150], past)


def test_requests_go_on_during_a_load(
    load: Callable[[], Any], sent: Sent, served: DynamoHistory, past: RequestPast, table: FaultyTable
) -> None:
    """Each request is answered, and no event is lost or counted twice."""
    before, since = split_at(sent, MIDNIGHT)
    live = [(request, False) for request, _ in since[:80]]

    def traffic() -> None:
        with DynamoHistory("past", 10_000, SECRET.encode(), table.client()) as own:
            for item in live:
                play([item], past, own)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(traffic)
        assert load() is None
        writer.result()
    assert_loaded(served, before + live, past)


def test_a_load_survives_what_befalls_its_calls(
    load: Callable[[], Any], sent: Sent, served: DynamoHistory, past: RequestPast, table: FaultyTable
) -> None:
    """After refused calls and lost answers, each call is repeated, and nothing counts twice."""
    before, since = split_at(sent, MIDNIGHT)
    live = before[-60:] + since[:60]
    play(live, past, served)
    table.share = 0.25
    assert load() is None
    table.share = 0.0
    assert_loaded(served, before + since[:60], past)
    assert all(table.counts[fault] > 0 for fault in FAULTS), table.counts


def test_a_state_that_is_packed_during_its_merge_is_merged_anew(
    scorer: Scorer, sent: Sent, table: FaultyTable, served: DynamoHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are appended to the item meanwhile are kept."""
    past, before = past_of(scorer), [item for item in sent if item[0].card == "card-7"]  # type: ignore[attr-defined]  # as above
    first, live = split_at(before, MIDNIGHT)
    key, expected = past.stored_key(0, "card-7"), replayed(before, past)
    state = StoredState(0, key, replayed(first, past)[key], MIDNIGHT)
    call, parts = AwsClient.call, [live[:1], live[1:]]

    def add_meanwhile(self: AwsClient, calls: Any, seconds: float) -> Any:  # noqa: ANN401 - as the method itself
        if parts and calls and calls[0][0] in {"PutItem", "UpdateItem"} and self is client:
            play(parts.pop(0), past, served)
        return call(self, calls, seconds)

    client = table.client()
    monkeypatch.setattr(AwsClient, "call", add_meanwhile)
    HistoryTable("past", SECRET.encode(), client).load([state], past, MIDNIGHT)
    assert not parts
    client.close()
    (answer,) = served._client.call([served._reading(key)], 5.0)  # noqa: SLF001 - what a request reads
    assert isinstance(answer, dict)
    assert past.entity(0).pack(read_item(past.entity(0), answer["Item"]).state) == expected[key]


def test_a_key_is_described_and_deleted(
    run_remembered: RunRemembered, past: RequestPast, sent: Sent, served: DynamoHistory
) -> None:
    """The output has the same words as for a file."""
    play(sent[:100], past, served)
    visits = sum(request.card == "card-7" for request, _ in sent[:100])  # type: ignore[attr-defined]  # as above
    named = ("--history", TABLE)
    printed = run_remembered(history, *named, "--key", "card=card-7")[1]
    assert printed.startswith(f"{TABLE}, card=card-7:\n  first event 20")
    assert f"\n  {visits} recent ids, as hashes; " in printed
    assert "is deleted; " in run_remembered(history, *named, "--delete", "card=card-7")[1]
    assert "remembered nothing of card=card-7; " in run_remembered(history, *named, "--delete", "card=card-7")[1]
    assert " remembers nothing of card=card-7" in run_remembered(history, *named, "--key", "card=card-7")[1]


def test_what_cannot_be_loaded_is_said(
    run_remembered: RunRemembered, table: FaultyTable, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Without a midnight, a table or a region, the error is one sentence, and nothing is written."""
    run_remembered(history)
    ended = run_remembered(history, "--load", TABLE)[0]
    assert ended == (
        f"history mini: {STATES} is as of 2025-03-01T23:24:52Z; a table can only be loaded with states as of midnight "
        "in UTC: make history SCORER=mini BEFORE=2025-03-01, then load again"
    )
    assert not table.items
    run_remembered(history, "--before", DAY_TEXT)
    # The table in memory answers to any name; moto has no table yet.
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", request.getfixturevalue("s3_address"))
    ended = run_remembered(history, "--load", "dynamodb://no-such-table")[0]
    assert ended.startswith("history mini: dynamodb://no-such-table cannot be used: ResourceNotFoundException: ")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    ended = run_remembered(history, "--load", TABLE)[0]
    assert ended == (
        f"history mini: LOAD is {TABLE}: AWS_REGION is empty; set it to the region of the table, such as eu-central-1"
    )
    assert Path(STATES).is_file()
