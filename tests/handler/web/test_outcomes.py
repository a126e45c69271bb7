"""Outcomes: labels that callers send for scored requests are checked and recorded beside the predictions."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from handler.records.record import FORMAT, Recorder
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer
from handler.web.outcomes import Recorded, outcomes_adapter
from handler.web.routes import create_app
from tests.handler.record_lines import record_lines

ROUTE = "/outcomes"
OUTCOME: dict[str, Any] = {"scorer": "refund", "id": "r1", "label": True}

Record = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def slots(refund: Scorer, transaction: Scorer) -> dict[str, Slot]:
    """The slots of both scorers."""
    return {"refund": Slot(refund), "transaction": Slot(transaction)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the record, which does not exist yet."""
    return tmp_path / "log"


@pytest.fixture
def client(slots: dict[str, Slot], folder: Path) -> TestClient:
    """A client of an application that records outcomes, and practically no predictions."""
    return TestClient(create_app(slots, recorder=Recorder(str(folder), rate=1e-9)))


@pytest.fixture
def record(folder: Path) -> Record:
    """Reads the recorded lines, in order."""
    return lambda: record_lines(folder)


def test_an_outcome_is_recorded(client: TestClient, record: Record) -> None:
    """It is recorded with its time, for any id: another process may have scored it. A later one is added."""
    before = time()
    answer = client.post(ROUTE, json=[OUTCOME])
    assert (answer.status_code, answer.json()) == (200, {"recorded": 1})
    client.post(ROUTE, json=[{**OUTCOME, "label": False}])
    first, second = record()
    assert before <= first.pop("time") <= second.pop("time") <= time()
    assert first == {"outcome": FORMAT, "scorer": "refund", "id": "r1", "label": 1}
    assert second == first | {"label": 0}


def test_several_outcomes_are_recorded_in_order(client: TestClient, record: Record) -> None:
    """They may be of several scorers; the rate of recorded predictions does not apply to them."""
    outcomes = [{"scorer": ("refund", "transaction")[n % 2], "id": f"n{n}", "label": n % 3 == 0} for n in range(1000)]
    assert client.post(ROUTE, json=outcomes).json() == {"recorded": 1000}
    lines = [{"scorer": line["scorer"], "id": line["id"], "label": bool(line["label"])} for line in record()]
    assert lines == outcomes


@pytest.mark.parametrize(("sent", "label"), [("true", 1), ("false", 0), ("1", 1), ("0", 0), ("1.0", 1), ("0.0", 0)])
def test_a_label_may_be_a_boolean_or_a_number(client: TestClient, record: Record, sent: str, label: int) -> None:
    """It is recorded as a number."""
    client.post(ROUTE, content=f'[{{"scorer": "refund", "id": "r1", "label": {sent}}}]').raise_for_status()
    assert [type(line["label"]) for line in record()] == [int]
    assert [line["label"] for line in record()] == [label]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"scorer": "refunds"}, ["scorer"]),
        ({"scorer": None}, ["scorer"]),
        ({"id": ""}, ["id"]),
        ({"id": "x" * 129}, ["id"]),
        ({"id": 7}, ["id"]),
        ({"id": None}, ["id"]),
        ({"label": 2}, ["label"]),
        ({"label": -1}, ["label"]),
        ({"label": 0.5}, ["label"]),
        ({"label": "true"}, ["label"]),
        ({"label": "1"}, ["label"]),
        ({"label": None}, ["label"]),
        ({"label": "maybe"}, ["label"]),
        ({"label": []}, ["label"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_an_invalid_outcome_is_refused_with_its_position(
    client: TestClient, record: Record, changes: dict[str, Any], where: list[str]
) -> None:
    """The answer has the key but not its value; none of the valid outcomes beside it is recorded."""
    answer = client.post(ROUTE, json=[OUTCOME, {**OUTCOME, **changes}, OUTCOME])
    (problem,) = answer.json()["detail"]
    assert (answer.status_code, problem["loc"]) == (422, ["body", 1, *where])
    assert problem.keys() == {"loc", "msg", "type"}
    assert "refunds" not in answer.text
    assert record() == []


def test_an_outcome_says_how_it_is_known(client: TestClient, record: Record) -> None:
    """It has source, person, note and time, if they were sent. "inconclusive" is a label beside 0 and 1."""
    details = {"source": "review", "by": "analyst 7", "note": "card holder confirmed"}
    client.post(ROUTE, json=[OUTCOME | details | {"at": "2026-01-02T03:04:05Z"}, OUTCOME | {"label": "inconclusive"}])
    first, second = record()
    assert first | details | {"at": 1_767_323_045.0, "label": 1} == first
    assert second.pop("time")
    assert second == {"outcome": FORMAT, "scorer": "refund", "id": "r1", "label": "inconclusive"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("source", "rumour", "Input should be 'chargeback', 'review', 'customer' or 'other'"),
        ("by", "", "String should have at least 1 character"),
        ("note", "x" * 1001, "String should have at most 1000 characters"),
        ("at", "yesterday", "Input should be a time in ISO 8601, such as 2026-11-28T18:05:00Z, or seconds since 1970"),
        ("at", 4_000_000_000.0, "The time is more than 5 minutes ahead of the server's clock;"),
        ("at", True, "Input should be a time in ISO 8601"),
    ],
)
def test_details_that_cannot_be(client: TestClient, record: Record, key: str, value: object, message: str) -> None:
    """Each is refused with what would be right, and nothing is recorded."""
    (problem,) = client.post(ROUTE, json=[OUTCOME, OUTCOME | {key: value}]).json()["detail"]
    assert problem["loc"] == ["body", 1, key]
    assert problem["msg"].startswith(message)
    assert record() == []


@pytest.mark.parametrize("key", ["scorer", "id", "label"])
def test_a_missing_key_is_refused(client: TestClient, key: str) -> None:
    """There are no defaults."""
    answer = client.post(ROUTE, json=[{name: value for name, value in OUTCOME.items() if name != key}])
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", 0, key])


def test_an_unknown_scorer_is_refused_with_the_known_ones(client: TestClient) -> None:
    """A misspelt name can then be corrected."""
    (problem,) = client.post(ROUTE, json=[{**OUTCOME, "scorer": "x"}]).json()["detail"]
    assert problem["msg"] == "Input should be 'refund' or 'transaction'"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"\xff", json.dumps(OUTCOME).encode(), b"[" * 100_000, b"[]", json.dumps([OUTCOME] * 1001)],
    ids=["empty", "cut off", "null", "no UTF-8", "one outcome", "nested", "no outcomes", "1,001 outcomes"],
)
def test_a_body_other_than_an_array_of_one_to_a_thousand_is_a_422(
    client: TestClient, record: Record, content: bytes | str
) -> None:
    """A single outcome is an array of one; a thousand are recorded above."""
    answer = client.post(ROUTE, content=content)
    assert (answer.status_code, answer.json()["detail"][0]["loc"][0]) == (422, "body")
    assert record() == []


def test_a_body_may_be_compressed(client: TestClient, record: Record) -> None:
    """It may be compressed like that of any other request."""
    packed = gzip.compress(json.dumps([OUTCOME]).encode())
    client.post(ROUTE, content=packed, headers={"content-encoding": "gzip"}).raise_for_status()
    assert len(record()) == 1


def test_where_nothing_is_recorded_outcomes_are_a_409(slots: dict[str, Slot]) -> None:
    """The answer names the setting that would record them; an invalid outcome is a 422 all the same."""
    client = TestClient(create_app(slots))
    answer = client.post(ROUTE, json=[OUTCOME])
    detail = "this deployment records nothing; set PREDICTIONS to record predictions and outcomes"
    assert (answer.status_code, answer.json()) == (409, {"detail": detail})
    assert client.post(ROUTE, json=[{**OUTCOME, "id": 7}]).status_code == 422


def test_the_documents_example_works(client: TestClient, record: Record) -> None:
    """It is recorded, and the answer is as documented."""
    operation = client.get("/openapi.json").json()["paths"][ROUTE]["post"]
    item = operation["requestBody"]["content"]["application/json"]["schema"]["items"]
    answer = client.post(ROUTE, json=item["examples"])
    assert answer.status_code == 200
    assert Recorded.model_validate(answer.json()).recorded == len(record()) == 1


def test_a_single_scorer_can_be_selected() -> None:
    """The check of outcomes also works if only one is declared."""
    adapter = outcomes_adapter(["refund"])
    assert adapter.validate_python([OUTCOME])[0].scorer == "refund"


def test_outcomes_that_could_not_be_recorded_are_a_503(client: TestClient, folder: Path, record: Record) -> None:
    """A lost outcome can only be sent again by its caller; once the folder is writable, each is recorded once."""
    folder.write_text("a file")
    answer = client.post(ROUTE, json=[OUTCOME])
    detail = "the outcomes could not be recorded; send them again later"
    assert (answer.status_code, answer.json()) == (503, {"detail": detail})
    assert "503" in client.get("/openapi.json").json()["paths"][ROUTE]["post"]["responses"]
    folder.unlink()
    assert client.post(ROUTE, json=[OUTCOME]).status_code == 200
    assert [line["id"] for line in record()] == ["r1"]
