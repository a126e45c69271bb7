"""`make history-check`: the past that a history gave the function is recomputed from the prediction log."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from handler.history import sqlite
from handler.history.sqlite import SqliteHistory
from handler.records.record import Recorder
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer
from handler.web.routes import create_app
from tests.training.conftest import REMEMBERED_PARAMS, RunRemembered, split_at
from training import history, history_check
from training.data.times import midnight_of

KEY = "a key"
DAY_TEXT = "2025-02-20"
Run = Callable[..., tuple[Any, str]]
Sent = Sequence[tuple[BaseModel, bool]]


@pytest.fixture
def run(run_remembered: RunRemembered, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on the log; returns its exit status and its output."""
    monkeypatch.setenv("PREDICTIONS_KEY", KEY)
    return lambda *arguments: run_remembered(history_check, "log", *arguments)


@pytest.fixture
def served(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteHistory]:  # noqa: ARG001 - in its folder
    """A history that is never swept, since the rows span more months than a key is remembered."""
    monkeypatch.setattr(sqlite, "WRITES_A_SWEEP", 10**9)
    with SqliteHistory("history.db", 1_000) as served:
        yield served


@pytest.fixture
def client(scorer: Scorer, served: SqliteHistory) -> Iterator[TestClient]:
    """A client of an app that uses the history and records into the folder `log`."""
    with client_of(scorer, Recorder("log", key=KEY.encode()), served) as client:
        yield client


def client_of(scorer: Scorer, recorder: Recorder, history: SqliteHistory) -> TestClient:
    """A client; as a context it has one event loop, where otherwise each request would start its own in a thread."""
    return TestClient(create_app({"mini": Slot(scorer)}, recorder=recorder, history=history))


def post(client: TestClient, requests: Sent, *, with_outcomes: bool = False) -> None:
    """Send requests one after the other, and for each fraud its outcome."""
    for request, is_fraud in requests:
        content = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert client.post("/mini", json=content).status_code == 200
        if is_fraud and with_outcomes:
            outcome = {"scorer": "mini", "id": content["row_id"], "label": 1}
            assert client.post("/outcomes", json=[outcome]).status_code == 200


def table_of(printed: str) -> dict[str, list[int]]:
    """The numbers of equal, missing, extra and other values, by feature."""
    rows = (line.replace(",", "").split() for line in printed.splitlines())
    return {row[0]: list(map(int, row[1:])) for row in rows if len(row) == 5 and row[1].isdigit()}


def causes_of(printed: str) -> dict[str, int]:
    """The number of differences by cause."""
    return {cause: int(n.replace(",", "")) for cause, n in re.findall(r"([a-z][a-z ]+): ([\d,]+)[,)]", printed)}


def lines() -> list[dict[str, Any]]:
    """The records of the log."""
    return [json.loads(line) for path in sorted(Path("log").iterdir()) for line in path.read_bytes().splitlines()]


def rewritten(records: Sequence[dict[str, Any]]) -> None:
    """Replace the log by these records."""
    for path in Path("log").iterdir():
        path.unlink()
    Path("log", "lines.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


def test_all_is_equal_where_requests_come_in_order(run: Run, client: TestClient, sent: Sent) -> None:
    """Without late requests, all values are equal, including fraud rates, which use outcomes."""
    post(client, sent[:500], with_outcomes=True)
    ended, printed = run()
    assert ended == 0
    assert f"mini: {n_named(sent[:500])} requests with a past" in printed
    assert "\n0 differences\n" in printed
    table = table_of(printed)
    assert set(table) == set(scorer_features())
    assert all(equal > 400 and rest == [0, 0, 0] for equal, *rest in table.values())
    cards = [record["past"]["entities"].get("card") for record in lines() if "past" in record]
    assert len({card["features"]["card_risk"] for card in cards if card}) > 20


def n_named(requests: Sent) -> int:
    """The number of requests that name a card."""
    return sum(vars(request)["card"] is not None for request, _ in requests)


def scorer_features() -> list[str]:
    """The names of the features of the past."""
    block = REMEMBERED_PARAMS.split("      features:\n")[1].split("    features:\n")[0]
    return [line.split(":")[0].strip() for line in block.splitlines()]


def test_a_key_and_its_values_are_hashed(client: TestClient, sent: Sent) -> None:
    """Keys and values are hashed with the function's key, so readers of the log cannot try out card numbers."""
    post(client, sent[:50])
    text = json.dumps(lines())
    assert "card-" not in text
    assert "device-" not in text
    entities = lines()[0]["past"]["entities"]
    assert set(entities) <= {"card", "both"}
    assert len(entities["card"]["key"]) == 16


def test_late_requests_and_repeats_are_explained(run: Run, client: TestClient, sent: Sent) -> None:
    """Late requests arrive after a later one, whose features did not count them."""
    requests = list(sent[:450])
    late = requests[10:450:25]
    in_order = [request for request in requests if request not in late]
    for number, request in enumerate(late):
        in_order.insert(min(25 * (number + 3), len(in_order)), request)
    post(client, [*in_order, *in_order[-5:]])
    ended, printed = run()
    assert ended == 0
    causes = causes_of(printed)
    assert set(causes) == {"late", "repeated"}
    assert causes["late"] > 40
    assert causes["repeated"] < 10


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_unknown_whatever_happens(
    seed: int, run: Run, scorer: Scorer, sent: Sent, served: SqliteHistory
) -> None:
    """Differences are explained with four workers on one file and few cards, late requests, repeats and outages."""
    assert served.is_answering
    Path("log").mkdir()
    barrier = Barrier(4, timeout=30)

    def work(worker: int) -> None:
        draw = np.random.default_rng([seed, worker])
        recorder = Recorder(f"log/{worker}", key=KEY.encode())
        with (
            SqliteHistory("history.db", 1_000) as history_of_worker,
            client_of(scorer, recorder, history_of_worker) as client,
        ):
            mine: list[dict[str, Any]] = []
            for number, (request, is_fraud) in enumerate(sent[worker:400:4]):
                content = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
                content["card"] = f"card-{draw.integers(3)}"
                late = draw.integers(-2, 3) if draw.random() < 0.8 else draw.integers(500)
                content["at"] = float(1_735_700_000 + 3_000 * number - late)
                barrier.wait()
                mine.append(content)
                is_paused = 40 < number < 50
                vars(history_of_worker).update(_paused_until=2**62 * is_paused, _failures=99 * is_paused)
                again = [mine[-draw.integers(1, 4)]] if number > 3 and draw.random() < 0.2 else []
                if draw.random() < 0.2:
                    assert client.post("/mini/batch", json=[content, *again, content]).status_code == 200
                else:
                    assert all(client.post("/mini", json=body).status_code == 200 for body in (content, *again))
                if is_fraud and draw.random() < 0.8:
                    outcome = {"scorer": "mini", "id": content["row_id"], "label": 1}
                    client.post("/outcomes", json=[outcome] * int(draw.integers(1, 3)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    ended, printed = run()
    assert ended == 0, printed
    assert {"late", "store", "repeated"} <= set(causes_of(printed)), printed


def test_an_outage_is_explained(
    run: Run, client: TestClient, served: SqliteHistory, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unanswered requests have missing values, and later ones may not have counted them."""
    post(client, sent[:300])
    with monkeypatch.context() as patch:
        patch.setattr(served, "_is_asked", lambda: False)
        post(client, sent[300:340])
    post(client, sent[340:500])
    ended, printed = run()
    assert ended == 0
    table = table_of(printed)
    assert table["mean_amount"][1] >= 30
    assert sum(table["idle"]) - table["idle"][0] > 35
    assert "late" not in printed
    assert "(store: " in printed


def test_a_written_request_without_an_answer_counts(run: Run, client: TestClient, sent: Sent) -> None:
    """A store may have written a request that it did not answer in time, so both cases are allowed."""
    post(client, sent[:400])
    records = lines()
    for record in records[100:120]:
        for part in record["past"]["entities"].values():
            part["features"] = None
    rewritten(records)
    ended, printed = run()
    assert ended == 0
    n_different = sum(sum(row) - row[0] for row in table_of(printed).values())
    assert f"\n{n_different} differences (store: {n_different})" in printed
    assert table_of(printed)["idle"][3] == 0


def test_more_values_than_are_remembered_are_tied(run: Run, client: TestClient, sent: Sent) -> None:
    """If more values share a tick than are remembered, hashes choose; then only whether a value was seen may differ."""
    request = next(request for request, _ in sent if vars(request)["card"])
    content = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for number in range(60):
        of_number = {"row_id": f"tied-{number}", "device": f"device-{number % 40}", "at": 1_735_700_000 + number // 20}
        assert client.post("/mini", json=content | of_number).status_code == 200
    ended, printed = run()
    assert ended == 0, printed
    assert set(causes_of(printed)) == {"tied"}
    assert [name for name, row in table_of(printed).items() if sum(row) > row[0]] == ["known_device"]


def test_what_nothing_explains_is_shown(run: Run, client: TestClient, sent: Sent) -> None:
    """An unexplained difference is shown, and the exit status is 1."""
    post(client, sent[:300])
    records = lines()
    place = next(n for n, record in enumerate(records) if n > 200 and "card" in record["past"]["entities"])
    of_card = records[place]["past"]["entities"]["card"]
    of_card["features"]["visits"] += 1
    rewritten(records)
    ended, printed = run()
    assert ended == 1
    assert "1 difference (unknown: 1)" in printed
    assert f"  visits of 2025-01-{printed.split('  visits of 2025-01-')[1][:2]}" in printed
    visits = of_card["features"]["visits"]
    assert f", card {of_card['key']}: recorded {visits:g}, computed {visits - 1:g}" in printed


def test_a_past_from_before_the_log(run: Run, run_remembered: RunRemembered, client: TestClient, sent: Sent) -> None:
    """PAST supplies what was known before the log; without it, differences have that cause."""
    run_remembered(history, "--before", DAY_TEXT)
    run_remembered(history, "--load", "history.db")
    _, since = split_at(sent, midnight_of(DAY_TEXT))
    post(client, since)
    ended, printed = run("--past", "build/mini/state.parquet")
    assert ended == 0
    assert f"mini: {n_named(since)} requests with a past" in printed
    assert "\n0 differences" in printed
    ended, printed = run()
    assert ended == 0
    assert "(before the log: " in printed


def test_what_cannot_be_compared_is_counted(run: Run, client: TestClient, sent: Sent) -> None:
    """Lines without a past, of another history or a sample, and damaged ones are counted."""
    post(client, sent[:40])
    records = lines()
    del records[0]["past"]
    records[1]["past"]["history"] = "0123456789ab"
    records[2]["rate"] = 0.5
    damages: list[dict[str, Any]] = [
        {"measures": {}},
        {"features": {"visits": 1.0}},
        {"features": {"visits": "1"}},
        {"key": None},
        {"key": "card-17"},
        {"measures": {"amount": 12.5}},
        {"measures": {"amount": 2**70}},
        {"values": []},
    ]
    for place, damage in enumerate(damages, start=3):
        next(iter(records[place]["past"]["entities"].values())).update(damage)
    records[20]["past"]["time"] = 10**13
    records[21]["past"]["began"] = float("inf")
    rewritten(records)
    printed = run()[1]
    for text in (
        "predictions without a past: 1",
        "predictions with the past of another history: 1",
        "predictions of a sample: 1",
        f"broken lines (no usable past): {len(damages) + 2}",
    ):
        assert text in printed, printed


def test_nothing_is_recorded_without_a_key(run: Run, scorer: Scorer, served: SqliteHistory, sent: Sent) -> None:
    """Without a key a card number could be guessed from its hash; the command says what is missing."""
    post(client_of(scorer, Recorder("log"), served), sent[:3])
    assert all("past" not in record for record in lines())
    ended, _ = run()
    assert ended == (
        "history-check mini: log holds no prediction of mini with its past (predictions without a past: 3); the "
        "function records the past if PREDICTIONS, PREDICTIONS_KEY and HISTORY are set and no field that the history "
        "reads is private: omit"
    )


def test_mistakes_have_a_sentence(run: Run, client: TestClient, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake is named with what is missing."""
    post(client, sent[:3])
    assert run("--past", "absent.parquet")[0] == (
        "history-check mini: absent.parquet does not exist; build it (make history SCORER=mini)"
    )
    monkeypatch.delenv("PREDICTIONS_KEY")
    assert run("--past", "build/mini/state.parquet")[0] == (
        "history-check mini: PAST needs the function's PREDICTIONS_KEY in the environment; without it the log's keys "
        "cannot be found in the file"
    )
