"""Outcomes: what callers tell of requests that were scored, checked and recorded beside the predictions."""

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

ROUTE = "/outcomes"
OUTCOME: dict[str, Any] = {"scorer": "refund", "id": "r1", "label": True}

Record = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def slots(refund: Scorer, transaction: Scorer) -> dict[str, Slot]:
    """Both scorers' places."""
    return {"refund": Slot(refund), "transaction": Slot(transaction)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the record goes."""
    return tmp_path / "log"


@pytest.fixture
def client(slots: dict[str, Slot], folder: Path) -> TestClient:
    """A client of an application that records, of predictions but one in a thousand million."""
    return TestClient(create_app(slots, recorder=Recorder(str(folder), rate=1e-9)))


@pytest.fixture
def record(folder: Path) -> Record:
    """Reads what was recorded, in order."""

    def read() -> list[dict[str, Any]]:
        paths = sorted(folder.iterdir()) if folder.exists() else []
        return [json.loads(line) for path in paths for line in path.read_bytes().splitlines() if line]

    return read


def test_an_outcome_is_recorded(client: TestClient, record: Record) -> None:
    """In its own format, with the time at which it was told; the answer says how many there were."""
    before = time()
    answer = client.post(ROUTE, json=[OUTCOME])
    assert (answer.status_code, answer.json()) == (200, {"recorded": 1})
    (line,) = record()
    assert before <= line.pop("time") <= time()
    assert line == {"outcome": FORMAT, "scorer": "refund", "id": "r1", "label": 1}


def test_several_outcomes_are_recorded_in_order(client: TestClient, record: Record) -> None:
    """Of several scorers, whatever share of the predictions is recorded."""
    told = [{"scorer": ("refund", "transaction")[n % 2], "id": f"n{n}", "label": n % 3 == 0} for n in range(1000)]
    assert client.post(ROUTE, json=told).json() == {"recorded": 1000}
    lines = [{"scorer": line["scorer"], "id": line["id"], "label": bool(line["label"])} for line in record()]
    assert lines == told


@pytest.mark.parametrize(("sent", "label"), [("true", 1), ("false", 0), ("1", 1), ("0", 0), ("1.0", 1), ("0.0", 0)])
def test_a_label_may_be_written_as_truth_or_as_number(
    client: TestClient, record: Record, sent: str, label: int
) -> None:
    """And is recorded as a number."""
    client.post(ROUTE, content=f'[{{"scorer": "refund", "id": "r1", "label": {sent}}}]').raise_for_status()
    assert [type(line["label"]) for line in record()] == [int]
    assert [line["label"] for line in record()] == [label]


def test_a_later_outcome_of_an_id_stands_after_the_earlier(client: TestClient, record: Record) -> None:
    """Both are kept: who reads the record takes the latest."""
    for label in (True, False):
        client.post(ROUTE, json=[{**OUTCOME, "label": label}])
    assert [(line["id"], line["label"]) for line in record()] == [("r1", 1), ("r1", 0)]


def test_nobody_need_have_been_scored(client: TestClient, record: Record) -> None:
    """Another process may have answered; whether an id is known is for monitoring to say."""
    client.post(ROUTE, json=[{**OUTCOME, "id": "never seen"}]).raise_for_status()
    assert len(record()) == 1


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ({"scorer": "refunds"}, ["scorer"]),
        ({"scorer": None}, ["scorer"]),
        ({"id": ""}, ["id"]),
        ({"id": "x" * 129}, ["id"]),
        ({"id": 7}, ["id"]),
        ({"id": None}, ["id"]),
        ({"label": 2}, ["label", "bool"]),
        ({"label": -1}, ["label", "bool"]),
        ({"label": 0.5}, ["label", "bool"]),
        ({"label": "true"}, ["label", "bool"]),
        ({"label": "1"}, ["label", "bool"]),
        ({"label": None}, ["label", "bool"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_what_is_no_outcome_is_refused_by_its_place(
    client: TestClient, record: Record, told: dict[str, Any], where: list[str]
) -> None:
    """With the key, and without its value; of the others, sound as they are, none is recorded."""
    answer = client.post(ROUTE, json=[OUTCOME, {**OUTCOME, **told}, OUTCOME])
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", 1, *where])
    assert all(problem.keys() == {"loc", "msg", "type"} for problem in answer.json()["detail"])
    assert "refunds" not in answer.text
    assert record() == []


@pytest.mark.parametrize("key", ["scorer", "id", "label"])
def test_what_lacks_a_key_is_refused(client: TestClient, key: str) -> None:
    """Nothing is assumed in its place."""
    answer = client.post(ROUTE, json=[{name: value for name, value in OUTCOME.items() if name != key}])
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", 0, key])


def test_an_unknown_scorer_learns_which_there_are(client: TestClient) -> None:
    """So that whoever misspelt it can mend it."""
    (problem,) = client.post(ROUTE, json=[{**OUTCOME, "scorer": "x"}]).json()["detail"]
    assert problem["msg"] == "Input should be 'refund' or 'transaction'"


@pytest.mark.parametrize("n_outcomes", [0, 1001])
def test_a_body_has_one_to_a_thousand_outcomes(client: TestClient, record: Record, n_outcomes: int) -> None:
    """422 outside; a thousand are recorded above."""
    assert client.post(ROUTE, json=[OUTCOME] * n_outcomes).status_code == 422
    assert record() == []


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff", json.dumps(OUTCOME).encode(), b"[" * 100_000])
def test_what_is_no_array_is_a_422(client: TestClient, content: bytes) -> None:
    """A single outcome is an array of one."""
    answer = client.post(ROUTE, content=content)
    assert (answer.status_code, answer.json()["detail"][0]["loc"][0]) == (422, "body")


def test_a_body_may_be_packed(client: TestClient, record: Record) -> None:
    """As that of any request."""
    packed = gzip.compress(json.dumps([OUTCOME]).encode())
    client.post(ROUTE, content=packed, headers={"content-encoding": "gzip"}).raise_for_status()
    assert len(record()) == 1


def test_outcomes_can_only_be_told(client: TestClient) -> None:
    """Nobody reads them here."""
    assert client.get(ROUTE).status_code == 405


def test_where_nothing_is_recorded_outcomes_are_a_409(slots: dict[str, Slot]) -> None:
    """Rather than taken and thrown away; the answer says which setting would have them recorded."""
    answer = TestClient(create_app(slots)).post(ROUTE, json=[OUTCOME])
    assert answer.status_code == 409
    assert answer.json() == {
        "detail": "this deployment records nothing; set PREDICTIONS to record predictions and outcomes"
    }


def test_where_nothing_is_recorded_a_mistake_is_a_mistake(slots: dict[str, Slot]) -> None:
    """Whoever tries the route out learns what would be right."""
    assert TestClient(create_app(slots)).post(ROUTE, json=[{**OUTCOME, "id": 7}]).status_code == 422


def test_the_documents_example_works(client: TestClient, record: Record) -> None:
    """And is recorded; the answer is as documented."""
    operation = client.get("/openapi.json").json()["paths"][ROUTE]["post"]
    item = operation["requestBody"]["content"]["application/json"]["schema"]["items"]
    answer = client.post(ROUTE, json=item["examples"])
    assert answer.status_code == 200
    assert Recorded.model_validate(answer.json()).recorded == len(record()) == 1


def test_a_single_scorer_is_one_to_choose_from() -> None:
    """As where only one is declared."""
    reader = outcomes_adapter(["refund"])
    assert reader.validate_python([OUTCOME])[0].scorer == "refund"


def test_what_could_not_be_recorded_is_not_said_to_be(slots: dict[str, Slot], folder: Path) -> None:
    """Unlike a prediction, which was answered all the same, it is lost, and only its caller could tell it again."""
    folder.write_text("a file")
    client = TestClient(create_app(slots, recorder=Recorder(str(folder))))
    answer = client.post(ROUTE, json=[OUTCOME])
    assert (answer.status_code, answer.json()) == (
        503,
        {"detail": "the outcomes could not be recorded; send them again later"},
    )
    assert "503" in client.get("/openapi.json").json()["paths"][ROUTE]["post"]["responses"]


def test_what_could_not_be_recorded_may_be_told_again(slots: dict[str, Slot], folder: Path, record: Record) -> None:
    """Once there is room, it is recorded once."""
    folder.write_text("a file")
    client = TestClient(create_app(slots, recorder=Recorder(str(folder))))
    client.post(ROUTE, json=[OUTCOME])
    folder.unlink()
    assert client.post(ROUTE, json=[OUTCOME]).status_code == 200
    assert [line["id"] for line in record()] == ["r1"]
