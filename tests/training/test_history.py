"""Histories from a user's file to the function's answer: the mini scorer with cards and devices."""

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from handler.history import sqlite
from handler.history.sqlite import HistoryFileError, SqliteHistory
from handler.records.record import Recorder
from handler.releases.served import Served, Slot
from handler.releases.shadow import Shadow
from handler.scoring.entity_state import PRIOR_EVENTS
from handler.scoring.history import DAY, Entity, history_of
from handler.scoring.past import RequestPast
from handler.scoring.scorer import Scorer
from handler.scoring.times import END_OF_TIMES
from handler.web.routes import create_app
from tests.training.conftest import REMEMBERED_PARAMS, remembered_rows
from training import prepare
from training.data import past_features
from training.data.requests import sent_requests
from training.data.window import GIVEN
from training.declaration import declared_scorer
from training.delivery.parity import check_parity
from training.errors import DataError, StageError
from training.evaluation.metrics import average_precision, rank

COMPUTED = ("mean_amount", "most_amount", "idle", "devices", "known_device", "card_risk", "pair_count")
NOW = 1_760_000_000
REQUEST: dict[str, Any] = {"amountUsd": 20.0, "country": "DE", "card": "card-new", "device": "device-1", "at": NOW}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[SqliteHistory]:
    """An empty history in a file."""
    history = SqliteHistory(str(tmp_path / "history.db"), 50)
    yield history
    history.close()


@pytest.fixture
def client(scorer: Scorer, history: SqliteHistory) -> TestClient:
    """A client of the application that serves the scorer with this history."""
    return TestClient(create_app({"mini": Slot(scorer)}, history=history))


def explained(client: TestClient, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a request
    """The values of features in the answer to a request."""
    answer = client.post("/mini?explain=true", json=REQUEST | changes)
    assert answer.status_code == 200, answer.text
    return {reason["field"]: reason["value"] for reason in answer.json()["reasons"]}


def test_the_function_computes_what_training_computed(remembered: Path) -> None:
    """Every test row, as JSON through SQLite after all rows before it, gives the same result to the last bit."""
    printed = json.loads((remembered.parent / "printed.json").read_text())
    assert "worst absolute difference 0\n" in printed["package"]


def test_rows_hold_the_past(remembered: Path) -> None:
    """Missing fields are computed, values of the file are kept, and no model learns from the warm-up rows."""
    rows = {path.stem: pd.read_parquet(path) for path in (remembered / "build" / "mini" / "rows").glob("*.parquet")}
    test, given = rows["test"], rows["test"][f"visits{GIVEN}"]
    assert set(COMPUTED) <= set(test)
    assert (test["visits"][given.notna()] == given.dropna()).all()
    assert given.isna().mean() > 0.3
    assert test["visits"][test["card"].notna()].notna().all()
    assert test.loc[test["card"].isna(), list(COMPUTED)].isna().all(axis=None)
    days = (rows["train"]["at"].min() - rows["unlearned"]["at"].min()) / 86_400
    assert 3.0 <= days < 3.2
    # About one training row in a hundred has no past, which teaches the model to do without it.
    cards = rows["train"][rows["train"]["card"].notna()]
    assert 0 < cards["devices"].isna().mean() < 0.03


def test_the_card_knows_what_is_left_without_the_history(remembered: Path, scorer: Scorer) -> None:
    """The card has the average precision of answers without a store, which is worse than with one."""
    folder = remembered / "reports" / "mini"
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = pd.read_parquet(remembered / "build" / "mini" / "rows" / "test.parquet")
    timeless = Scorer(scorer.bundle, clock=lambda: END_OF_TIMES)
    probability = np.array([timeless.score(request).probability for request in sent_requests(timeless, rows)])
    precision = average_precision(*rank(probability, rows["is_fraud"].to_numpy()).counts())
    assert metrics["average_precision_without_history"] == pytest.approx(precision, abs=1e-6)
    assert metrics["average_precision_without_history"] < metrics["average_precision"]
    intervals = json.loads((folder / "intervals.json").read_text())
    assert set(intervals) >= {f"{name}_without_history" for name in ("recall", "precision", "alert_rate")}
    assert "| without the history: average precision |" in (folder / "card.md").read_text()


def test_what_the_fold_does_not_give_stops_prepare(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run checks a sample of entities with the function's own code, and stops if they differ."""
    (project / "params.yaml").write_text(REMEMBERED_PARAMS)
    remembered_rows().to_parquet(project / "data" / "rows.parquet", index=False)
    monkeypatch.chdir(project)
    sound = past_features.history_columns

    def unsound(*arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - those of the original
        columns = sound(*arguments)
        return columns | {"idle": columns["idle"] + 1}

    monkeypatch.setattr(past_features, "history_columns", unsound)
    with pytest.raises(DataError, match=r"history\.features\.idle of row .* but the function would compute "):
        prepare.main("mini")
    monkeypatch.undo()
    monkeypatch.chdir(project)
    prepare.main("mini")


def test_a_card_is_remembered(client: TestClient) -> None:
    """Strictly earlier requests of a card count, each once."""
    first = explained(client)
    assert (first["visits"], first["mean_amount"], first["idle"], first["devices"]) == (0.0, None, None, 0.0)
    assert explained(client)["visits"] == 0.0, "a request of the same second is not earlier"
    later = explained(client, at=NOW + 60, amountUsd=50.0, row_id="sent-twice")
    assert (later["visits"], later["mean_amount"], later["idle"]) == (2.0, 20.0, 60.0)
    again = explained(client, at=NOW + 60, amountUsd=50.0, row_id="sent-twice")
    assert again["visits"] == 2.0
    last = explained(client, at=NOW + 120, device="device-2")
    assert (last["visits"], last["mean_amount"], last["most_amount"]) == (3.0, 30.0, 50.0)
    assert (last["devices"], last["known_device"], last["pair_count"]) == (1.0, "no", 0.0)
    assert explained(client, at=NOW + 180, card="card-other")["visits"] == 0.0


def test_the_request_wins(client: TestClient) -> None:
    """A value that the request brings is not computed."""
    explained(client)
    assert explained(client, at=NOW + 1, visits=7)["visits"] == 7.0
    assert explained(client, at=NOW + 2)["visits"] == 2.0


def test_reasons_are_in_words(client: TestClient, scorer: Scorer) -> None:
    """Reasons say what is counted, for whom, and in which time."""
    for second in range(3):
        explained(client, at=NOW + second)
    answer = client.post("/mini?explain=true", json=REQUEST | {"at": NOW + 9}).json()
    sentences = {reason["field"]: reason["sentence"] for reason in answer["reasons"]}
    assert sentences["pair_count"].startswith("pair_count is 3 events of this both in 30 days, above ")
    assert sentences["mean_amount"].startswith("mean_amount is 20 USD on average of this card in 7 days, ")
    assert sentences["idle"].startswith("idle is 7 seconds since the last event of this card, ")
    assert sentences["known_device"].startswith("known_device is yes, as in ")
    fortnight = client.post("/mini?explain=true", json=REQUEST | {"at": NOW + 14 * DAY}).json()
    sentences = {reason["field"]: reason["sentence"] for reason in fortnight["reasons"]}
    assert sentences["idle"].startswith("idle is 13 days since the last event of this card, ")
    units = dict(zip(scorer.bundle.features.names, scorer.bundle.features.units, strict=True))
    assert units["card_risk"] == "frauds per event of this card in 7 days"


@pytest.mark.parametrize("key", [None, "", "unknown"])
def test_no_card_has_no_past(client: TestClient, key: str | None) -> None:
    """Without a card nothing is computed or remembered, and no warning is given; the pair ignores only empty texts."""
    for second in range(2):
        answer = client.post("/mini?explain=true", json=REQUEST | {"card": key, "at": NOW + second})
        values = {reason["field"]: reason["value"] for reason in answer.json()["reasons"]}
        assert all(values[name] is None for name in COMPUTED if key != "unknown" or name != "pair_count")
        assert not any("history" in warning["sentence"] for warning in answer.json().get("warnings", ()))


@pytest.mark.parametrize(("sent", "same"), [(17, "17"), (17.0, "17"), ("0017", "0017")])
def test_keys_are_texts_or_whole_numbers(client: TestClient, sent: object, same: str) -> None:
    """A whole number is the same key as the text of its digits."""
    explained(client, card=sent)
    assert explained(client, card=same, at=NOW + 1)["visits"] == 1.0


@pytest.mark.parametrize("key", [1.5, True, ["a"], {"a": 1}, "x" * 257, "x" * 10_000, 10**300])
def test_other_keys_are_refused(client: TestClient, key: object) -> None:
    """A fraction, a list or too long a text is refused with a 422 that names the field and what is allowed."""
    answer = client.post("/mini", json=REQUEST | {"card": key})
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "card"]
    is_long = isinstance(key, str) or key == 10**300
    right = "String should have at most 256 characters" if is_long else "Input should be a string or a whole number"
    assert problem["msg"] == right


def test_a_time_ahead_of_the_clock_is_refused(client: TestClient) -> None:
    """It is refused with a sentence and leaves no trace in the history."""
    answer = client.post("/mini", json=REQUEST | {"at": "2099-12-31T00:00:00Z"})
    assert answer.status_code == 422
    assert "more than 5 minutes ahead of the server's clock" in answer.json()["detail"][0]["msg"]
    assert explained(client)["visits"] == 0.0


def test_a_request_without_a_time_is_of_now(client: TestClient) -> None:
    """It has the server's time, which is later than that of any request with a time."""
    explained(client)
    body = {key: value for key, value in REQUEST.items() if key != "at"}
    before = time()
    answer = client.post("/mini?explain=true", json=body)
    assert answer.status_code == 200, answer.text
    explained(client, at=before - 5)
    values = explained(client, at=time() + 2)
    assert values["visits"] == 2.0
    assert 1.0 <= values["idle"] <= 60.0


def test_a_request_before_all_that_is_remembered(client: TestClient) -> None:
    """It is answered without a past, counted at most at its own time, and does not affect later requests."""
    for day in (0, 1, 2):
        explained(client, at=NOW + day * DAY)
    values = explained(client, at=NOW - 300 * DAY)
    assert (values["visits"], values["mean_amount"], values["idle"]) == (0.0, None, None)
    assert explained(client, at=NOW + 2 * DAY + 60)["visits"] == 2.0
    assert explained(client, at=NOW + 2 * DAY + 61)["idle"] == 1.0


def test_a_batch_is_a_series_of_requests(client: TestClient) -> None:
    """The requests of a batch are taken in order of time, whatever their order in the batch."""
    batch = [REQUEST | {"at": NOW + second, "row_id": f"r{second}"} for second in (2, 0, 1)]
    answers = client.post("/mini/batch?explain=true", json=batch).json()
    visits = [{reason["field"]: reason["value"] for reason in answer["reasons"]}["visits"] for answer in answers]
    assert visits == [2.0, 0.0, 1.0]
    assert client.get("/health").json()["history"] == {"status": "ok", "unanswered": 0}


def test_outcomes_are_remembered(client: TestClient, scorer: Scorer) -> None:
    """A fraud counts from the day on which its label can be known; a repeated outcome changes nothing."""
    for number in range(4):
        explained(client, row_id=f"paid-{number}", at=NOW + number)
    outcomes = [{"scorer": "mini", "id": f"paid-{number}", "label": number < 3} for number in range(4)]
    for _ in range(2):
        assert client.post("/outcomes", json=outcomes).json() == {"recorded": 4}
    assert explained(client, at=NOW + DAY)["card_risk"] is None
    contract = scorer.contract.history
    assert contract
    assert 0 < contract.usual_fraud_rate < 0.2
    # The next day's request is the fifth whose label can be known by then.
    expected = (3 + PRIOR_EVENTS * contract.usual_fraud_rate) / (5 + PRIOR_EVENTS)
    assert explained(client, at=NOW + 4 * DAY)["card_risk"] == expected


def test_a_shadow_of_the_same_history_has_the_same_past(scorer: Scorer, history: SqliteHistory, tmp_path: Path) -> None:
    """The shadow gets the serving version's features and adds nothing; a shadow without them has no past."""
    slot = Slot(scorer)
    slot.served = Served(scorer, Shadow(scorer))
    log = tmp_path / "log"
    log.mkdir()
    client = TestClient(create_app({"mini": slot}, recorder=Recorder(str(log), key=b"k" * 32), history=history))
    for second in range(5):
        client.post("/mini", json=REQUEST | {"at": NOW + second, "row_id": f"s{second}"})
    records = [json.loads(line) for path in log.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert [record["features"]["visits"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["shadow"]["probability"] for record in records] == [record["probability"] for record in records]
    alone = Shadow(scorer).scores(json.dumps(REQUEST | {"at": NOW + 9}).encode(), is_batch=False)
    assert alone[0].probability != records[-1]["probability"]


def unanswered(client: TestClient) -> None:
    """Check that a request is answered with a warning instead of a past."""
    answer = client.post("/mini?explain=true", json=REQUEST)
    assert answer.status_code == 200
    sentence = next(warning["sentence"] for warning in answer.json()["warnings"] if "history" in warning["sentence"])
    assert sentence == (
        "the history did not answer, so visits, mean_amount, most_amount, idle, devices, known_device, card_risk, "
        "pair_count are missing"
    )
    assert {reason["field"]: reason["value"] for reason in answer.json()["reasons"]}["visits"] is None


def test_without_a_store_all_is_missing(scorer: Scorer) -> None:
    """Every answer says so, because a missing history differs from an empty one."""
    unanswered(TestClient(create_app({"mini": Slot(scorer)})))


def test_a_locked_file_is_not_waited_for(client: TestClient, history: SqliteHistory, tmp_path: Path) -> None:
    """No request waits longer than the budget, and the history continues once the file is free."""
    explained(client)
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        unanswered(client)
        assert client.get("/health").json()["history"] == {"status": "trouble", "unanswered": 1}
        other.execute("ROLLBACK")
    assert explained(client, at=NOW + 5)["visits"] == 1.0
    assert history.is_answering


def test_writers_side_by_side_lose_nothing(scorer: Scorer, tmp_path: Path) -> None:
    """Four writers are always answered, and the states contain all their events, in whatever order."""
    past, path = scorer.past, str(tmp_path / "history.db")
    assert past is not None
    numbers = np.random.default_rng(1).integers(0, 5, (4, 150, 2)).tolist()
    requests = [
        [
            scorer.request_model.model_validate(
                REQUEST
                | {"card": f"c{card}", "device": f"d{device}", "at": NOW + second, "row_id": f"{writer}-{second}"}
            )
            for second, (card, device) in enumerate(drawn)
        ]
        for writer, drawn in enumerate(numbers)
    ]

    def write(of_writer: list[Any]) -> int:
        with closing(SqliteHistory(path, 2_000)) as history:
            for request in of_writer:
                history.exchange([past.events(request)])
            return history.n_failed

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, requests)) == 0
    states: dict[bytes, Any] = {}
    for request in sorted((request for of_writer in requests for request in of_writer), key=past.time):
        for keyed in past.events(request):
            assert keyed is not None
            keyed.past.add(states.setdefault(keyed.key, (keyed.past, keyed.past.empty()))[1], keyed.event)
    with closing(sqlite3.connect(path)) as connection:
        written = dict(connection.execute("SELECT key, state FROM states").fetchall())
    assert written == {key: fold.pack(state) for key, (fold, state) in states.items()}


def test_a_full_disk_is_no_past(client: TestClient, history: SqliteHistory) -> None:
    """Answers have a warning instead of a past, and the history continues once there is space."""
    explained(client)
    connection = history.connection()
    (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {n_pages}")
    answers = [client.post("/mini", json=REQUEST | {"card": f"another-{number}"}) for number in range(100)]
    assert {answer.status_code for answer in answers} == {200}
    assert 0 < history.n_failed < 100
    unanswered(client)
    connection.execute("PRAGMA max_page_count = 1000000")
    history._paused_until = 0.0  # noqa: SLF001 - as if ten seconds had gone by
    assert explained(client, at=NOW + 9)["visits"] == 1.0


def test_a_file_that_became_read_only_is_no_past(client: TestClient, history: SqliteHistory) -> None:
    """As after a remount following a disk error, answers have no past, but never are a 5xx."""
    explained(client)
    history.connection().execute("PRAGMA query_only = 1")
    unanswered(client)
    assert client.get("/health").json()["history"]["status"] == "trouble"


def test_a_read_only_disk_is_refused_at_the_start(small_disk: Callable[[str], Path]) -> None:
    """The error has the file and a remedy, whether or not the file exists."""
    folder = small_disk("1m")
    SqliteHistory(str(folder / "history.db"), 50).close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for name in ("history.db", "new.db"):
        with pytest.raises(HistoryFileError, match=rf"HISTORY is '.*{name}', which cannot be used: .*; it must be "):
            SqliteHistory(str(folder / name), 50)


def test_a_file_that_stays_locked_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes after some seconds, in which other starting writers finish."""
    path = tmp_path / "history.db"
    SqliteHistory(str(path), 50).close()
    monkeypatch.setattr(sqlite, "START_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryFileError, match="which cannot be used: database is locked; it must be "):
            SqliteHistory(str(path), 50)


def test_a_history_of_another_declaration_is_another_past(scorer: Scorer, history: SqliteHistory) -> None:
    """States of two histories share a file, and neither reads or changes the other's."""
    assert scorer.contract.history
    assert scorer.past
    other = RequestPast("mini", scorer.contract, scorer.contract.history.model_copy(update={"lateness": "20m"}))
    assert other.id != scorer.past.id
    requests = [scorer.request_model.model_validate(REQUEST | {"at": NOW + second}) for second in range(3)]
    assert history.exchange([scorer.past.events(requests[0])])[0][0][0] == 0.0
    assert history.exchange([other.events(requests[1])])[0][0][0] == 0.0
    assert history.exchange([scorer.past.events(requests[2])])[0][0][0] == 1.0


def test_a_damaged_file_is_no_past(client: TestClient, history: SqliteHistory, tmp_path: Path) -> None:
    """If pages are damaged, answers have no past or the start is refused, but there is never a 5xx."""
    for number in range(30):
        explained(client, card=f"card-{number}")
    history.close()
    path = tmp_path / "history.db"
    content = path.read_bytes()
    assert len(content) > 20_000
    # Everything is overwritten except the first page, which names the tables.
    path.write_bytes(content[:4_096] + b"\x5a" * (len(content) - 4_096))
    unanswered(client)
    with pytest.raises(HistoryFileError, match="which cannot be used: "):
        SqliteHistory(str(path), 50)


def test_a_damaged_state_is_no_past(client: TestClient, tmp_path: Path) -> None:
    """Bytes that are not a state count as a failure, never as an empty history."""
    explained(client)
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("UPDATE states SET state = x'00'")
    unanswered(client)


def test_a_store_that_fails_is_left_alone(client: TestClient, tmp_path: Path, history: SqliteHistory) -> None:
    """After five failures the store is not asked for ten seconds, in which no request waits."""
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            unanswered(client)
        other.execute("ROLLBACK")
    unanswered(client)
    history._paused_until = 0.0  # noqa: SLF001 - as if ten seconds had gone by
    assert explained(client)["visits"] == 0.0


@pytest.mark.parametrize("content", [b"not a database, but a text that is long enough to be one" * 99, None])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """The start is refused with the name of a file that is something else, or whose folder does not exist."""
    path = tmp_path / "other.db" if content else tmp_path / "nowhere" / "history.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(HistoryFileError, match=f"HISTORY is '{path}', which cannot be used: "):
        SqliteHistory(str(path), 50)


def test_the_warm_up_leaves_no_trace(scorer: Scorer, history: SqliteHistory) -> None:
    """An exchange that writes nothing still computes values."""
    past = scorer.past
    assert past is not None
    request = scorer.request_model.model_validate(REQUEST)
    for _ in range(2):
        assert history.exchange([past.events(request)], is_written=False)[0][0]
    later = scorer.request_model.model_validate(REQUEST | {"at": NOW + 1})
    assert history.exchange([past.events(later)])[0][0][0] == 0.0


def test_golden_cases_have_a_past(scorer: Scorer) -> None:
    """Golden cases cover the range of training rows, so each start checks every feature of the history."""
    pasts = [case.get("past", {}) for case in scorer.bundle.golden]
    assert len({json.dumps(past) for past in pasts}) > 10
    assert set(pasts[0]) == set(COMPUTED)
    assert pasts[-1] == {}
    assert np.isfinite([value for past in pasts for value in past.values()]).all()


EXAMPLES = "1s, 10s, 1m or 5m; it is "
REFUSALS = [
    (
        "over: 24h}",
        "over: 25h}",
        "over is 25h; it must be a multiple of 360 minutes, the steps in which its window moves",
    ),
    ("over: 24h}", "over: 91d}", "over is 91d; it must be from 5m to 90d"),
    ("over: 24h}", "over: 1w}", "must be a whole number followed by s, m, h or d, such as 10m, 24h or 30d; it is '1w'"),
    ("take: since_last}", "take: since_last, over: 7d}", "take: since_last has no over"),
    ("take: mean, field: amount, over: 7d}", "take: mean, over: 7d}", "take: mean needs field"),
    ("take: mean, field: amount", "take: mean, field: country", "take: mean needs a numeric field: "),
    ("mean_amount:  {entity: card", "mean_amount:  {entity: shop", "entity is shop; it must be one of card, both"),
    ("visits:       {entity: card, take: count", "visits: {entity: card, take: sum, field: visits", "reads itself"),
    ("card: {key: card,", "card: {key: amount,", "key is amount; it must be a field of type key or category: "),
    ("ttl: 30d, ignore", "ttl: 2d, ignore", "over is 7d, but card is forgotten after ttl 2d"),
    ("label_delay_days: 2}", "label_delay_days: 0.5}", "reads labels, which are never known at once"),
    ("label_delay_days: 2}", "label_delay_days: 2, sample: 0.5}", "split.sample is 0.5, but a history needs every row"),
    (
        "label_delay_days: 2}",
        "label_delay_days: 2000}",
        "kB: shorten split.label_delay_days or over of most_amount and card_risk",
    ),
    (
        "label_delay_days: 2}",
        "label_delay_days: 1200}",
        "card can need 42.3 kB for each key, but at most 32 kB are allowed; its largest part takes 38.7 kB: ",
    ),
    ("warmup_days: 3", "warmup: 3", "history.warmup is not a known key"),
    ("      card:    {type: key}\n", "", "history.entities.card.key is card; it must be a field of type key"),
    ("cap: 3}", "cap: 65}", "history.features.devices.cap is 65; it must be less than or equal to 64"),
    (
        "ttl: 30d, ignore",
        "ttl: 30d, shards: 0, ignore",
        "history.entities.card.shards is 0; it must be greater than or equal to 1",
    ),
    (
        "ttl: 30d, ignore",
        "ttl: 30d, shards: 17, ignore",
        "history.entities.card.shards is 17; it must be less than or equal to 16",
    ),
    (
        "ttl: 30d, ignore",
        "ttl: 30d, shards: many, ignore",
        "history.entities.card.shards is 'many'; it must be a valid integer",
    ),
    (
        "[card, device], ttl: 30d}\n      features:\n",
        "[card, device], ttl: 30d, shards: 4}\n      features:\n        age: {entity: both, take: since_first}\n",
        "history.features.age.take is since_first, but both has shards: 4, and no shard knows when the others ",
    ),
    ("idle:         ", "amount_to_mean: ", "amount_to_mean is used twice"),
    *(
        (
            "warmup_days: 3",
            f"resolution: {text}",
            f"history.resolution: must divide 5 minutes, such as {EXAMPLES}'{text}'",
        )
        for text in ("7s", "4m", "10m", "1h", "1d")
    ),
    ("warmup_days: 3", "resolution: 1w", "history.resolution: must be a whole number followed by s, m, h or d"),
]


@pytest.mark.parametrize(("shards", "dumped"), [(1, {}), (8, {"shards": 8})])
def test_shards_do_not_shape_states(remembered: Path, shards: int, dumped: dict[str, int]) -> None:
    """Shards do not change the history's id; a bundle mentions them only if there are several."""
    contract = declared_scorer("mini", remembered / "params.yaml").contract
    assert contract.history is not None
    before = contract.history.model_dump(mode="json")
    assert not any("shards" in entity for entity in before["entities"].values())
    spread = history_of(
        before | {"entities": {name: of | {"shards": shards} for name, of in before["entities"].items()}}
    )
    assert spread is not None
    assert spread.id_of(contract.fields) == contract.history.id_of(contract.fields)
    for name, entity in before["entities"].items():
        assert spread.entities[name].model_dump(mode="json") == entity | dumped


@pytest.mark.parametrize(("declared", "kept"), [([], [""]), (["none"], ["", "none"]), (["none", ""], ["none", ""])])
def test_an_empty_key_is_nobody(declared: list[str], kept: list[str]) -> None:
    """An empty text names no card, whatever else is ignored."""
    assert Entity.model_validate({"key": "card", "ignore": tuple(declared)}).ignore == tuple(kept)


def test_a_failed_check_names_nobody(scorer: Scorer, remembered: Path) -> None:
    """The error has the row's number and the model's inputs, but no key and no id."""
    rows = pd.read_parquet(remembered / "build" / "mini" / "rows" / "test.parquet").head(50)
    pipeline = joblib.load(remembered / "build" / "mini" / "pipeline.joblib")
    requests = list(sent_requests(Scorer(scorer.bundle, clock=lambda: END_OF_TIMES), rows))
    with pytest.raises(StageError, match=r"for row 7,0[0-4]\d of the test window") as refusal:
        check_parity(scorer, pipeline, {"slope": 1.0, "intercept": 9.0}, rows, requests, first=7_000)
    assert "'amountUsd': " in str(refusal.value)
    for name in ("card", "device", "row_id"):
        assert name not in str(refusal.value)


@pytest.mark.parametrize(("old", "new", "sentence"), REFUSALS)
def test_impossible_histories_are_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    """The message has the key, the value and what is allowed."""
    assert old in REMEMBERED_PARAMS
    (tmp_path / "params.yaml").write_text(REMEMBERED_PARAMS.replace(old, new, 1))
    with pytest.raises(StageError) as refusal:
        declared_scorer("mini", tmp_path / "params.yaml")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
