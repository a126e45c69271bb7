"""The routes, and the guard around the Lambda adapter."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from handler.app import app, handler
from handler.settings import SETTINGS

EVENTS = Path(__file__).parents[1] / "events"
ROOT = Path(__file__).parents[2]
REFUND_ROUTE = "/api/v1/refund-predict"
REFUND = {"yearsActive": 1.5, "amount": 45.00, "ipAccounts": 2}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of the application."""
    with TestClient(app) as test_client:
        yield test_client


def recorded(name: str, **changes: object) -> dict[str, Any]:
    """A recorded API Gateway event, with changes."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return {**event, **changes}


def invoke(event: object) -> tuple[int, Any]:
    """Status and parsed body of one Lambda invocation."""
    answer = handler(event, None)
    return answer["statusCode"], json.loads(answer["body"])


def test_both_scorers_answer(client: TestClient) -> None:
    """They answer events of API Gateway; over HTTP the answer is the same."""
    event = recorded("transaction")
    status, answer = invoke(event)
    assert status == 200
    assert 0.1 < answer["fraud_probability"] <= 1
    assert answer["is_flagged"] is True
    assert len(answer["model_version"]) == 12
    assert client.post("/predict", content=event["body"]).json() == answer
    status, answer = invoke(recorded("refund"))
    assert (status, answer.keys()) == (200, {"prediction", "confidence", "band", "model_version"})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({**REFUND, "colour": "red"}, ["body", "colour"]),
        ({"yearsActive": 1.5, "ipAccounts": 2}, ["body", "amount"]),
        ({**REFUND, "amount": "45"}, ["body", "amount"]),
        ({**REFUND, "amount": -1}, ["body", "amount"]),
        ({**REFUND, "amount": float("nan")}, ["body", "amount"]),
        ({**REFUND, "amount": float("inf")}, ["body", "amount"]),
        ({**REFUND, "item": "a" * 10_000}, ["body", "item"]),
        ({**REFUND, "refunds": int("9" * 400)}, ["body", "refunds"]),
        ({**REFUND, "amount": int("9" * 400)}, ["body", "amount"]),
        ([REFUND], ["body"]),
    ],
)
def test_an_invalid_request_is_a_422_that_names_the_field(client: TestClient, body: object, where: list[str]) -> None:
    """Over HTTP and through Lambda, and without the value in the answer."""
    content = json.dumps(body)
    answer = client.post(REFUND_ROUTE, content=content)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, where)
    assert invoke(recorded("refund", body=content)) == (422, answer.json())
    assert answer.json()["detail"][0].keys() == {"loc", "msg", "type"}


@pytest.mark.parametrize("content", ["", "{", "\x00", "1" * 5000, '{"amount": ' + "1" * 5000 + "}", "é"])
def test_a_body_other_than_a_json_object_is_a_422(client: TestClient, content: str) -> None:
    """Never a 500."""
    assert client.post(REFUND_ROUTE, content=content.encode("latin-1")).status_code == 422


def test_explain_is_true_or_false(client: TestClient) -> None:
    """Anything else is a 422 that names the parameter."""
    assert "reasons" in client.post(REFUND_ROUTE, json=REFUND, params={"explain": "true"}).json()
    assert "reasons" not in client.post(REFUND_ROUTE, json=REFUND, params={"explain": "false", "other": "x"}).json()
    refused = client.post(REFUND_ROUTE, json=REFUND, params={"explain": "maybe"})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "explain"])


def test_a_body_over_the_limit_is_a_413(client: TestClient) -> None:
    """It is refused by its declared length, or while it streams in; one byte less is read."""
    too_long = b" " * (SETTINGS.max_body_bytes + 1)
    assert client.post(REFUND_ROUTE, content=too_long).status_code == 413
    assert client.post(REFUND_ROUTE, content=iter([too_long])).status_code == 413
    detail = {"detail": f"the body is larger than {SETTINGS.max_body_bytes:,} bytes"}
    assert invoke(recorded("refund", body=too_long.decode())) == (413, detail)
    assert client.post(REFUND_ROUTE, content=too_long[1:]).status_code == 422


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "a.b-c.example.com"])
def test_a_valid_host_is_served(host: str) -> None:
    """Names, addresses and ports."""
    event = recorded("refund")
    assert invoke({**event, "headers": {**event["headers"], "host": host}})[0] == 200


def test_the_handler_keeps_its_own_loop() -> None:
    """It answers after another loop ran, and from another thread."""
    event = recorded("refund")
    asyncio.run(asyncio.sleep(0))
    answer = invoke(event)
    with ThreadPoolExecutor(1) as pool:
        from_thread = pool.submit(invoke, event).result()
    assert answer[0] == 200
    assert answer == from_thread


def test_a_batch_is_answered_in_order(client: TestClient) -> None:
    """Each answer carries its request's id."""
    batch = [{**REFUND, "refund_id": f"r{index}"} for index in range(1000)]
    answers = client.post(f"{REFUND_ROUTE}/batch", json=batch).json()
    assert [answer["refund_id"] for answer in answers] == [request["refund_id"] for request in batch]


@pytest.mark.parametrize("route", ["/predict", REFUND_ROUTE])
def test_a_whole_batch_may_be_explained(client: TestClient, route: str) -> None:
    """A thousand requests with every reason stay below the 6 MB of Lambda's limit."""
    request = next(iter(client.get("/openapi.json").json()["paths"][route]["post"]["requestBody"]["content"].values()))
    batch = [request["schema"]["examples"][0]] * 1000
    answer = client.post(f"{route}/batch", json=batch, params={"explain": "true"})
    assert answer.status_code == 200
    assert len(answer.content) < 6_000_000


def test_more_reasons_than_an_answer_holds_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer of hundreds of features would otherwise fail in Lambda; without reasons the batch is answered."""
    monkeypatch.setattr("handler.web.endpoint.MAX_REASONS", 22)
    answer = client.post(f"{REFUND_ROUTE}/batch", json=[REFUND] * 3, params={"explain": "true"})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body"])
    assert "at most 2 requests" in answer.json()["detail"][0]["msg"]
    assert client.post(f"{REFUND_ROUTE}/batch", json=[REFUND] * 3).status_code == 200


def test_an_invalid_request_in_a_batch_is_named_by_its_position(client: TestClient) -> None:
    """The batch is not answered, and the caller knows which to correct."""
    answer = client.post(f"{REFUND_ROUTE}/batch", json=[REFUND, {**REFUND, "amount": -1}])
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", 1, "amount"])


def test_health_has_the_versions_that_answer(client: TestClient) -> None:
    """Status, and each scorer's version and route."""
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["scorers"]["refund"]["route"] == REFUND_ROUTE
    assert health["scorers"]["refund"]["version"] == client.post(REFUND_ROUTE, json=REFUND).json()["model_version"]


def test_a_models_card_has_contract_and_metrics(client: TestClient) -> None:
    """For auditors; an unknown name is a 404 that lists the known ones."""
    card = client.get("/models/refund").json()
    assert card["contract"]["fields"]["years_active"]["alias"] == "yearsActive"
    assert 0.5 < card["metrics"]["roc_auc"] < 1
    unknown = client.get("/models/unknown")
    assert unknown.status_code == 404
    assert re.fullmatch(r"there is no scorer 'unknown'; the scorers are .*refund.*", unknown.json()["detail"])


def test_the_documents_examples_work(client: TestClient) -> None:
    """Every scorer's first example is answered with 200; the outcomes' is well-formed, but nothing is recorded here."""
    paths = client.get("/openapi.json").json()["paths"]
    posts = {
        path: item["post"]["requestBody"]["content"]["application/json"]["schema"]
        for path, item in paths.items()
        if "post" in item
    }
    assert posts.keys() == {"/predict", "/predict/batch", REFUND_ROUTE, f"{REFUND_ROUTE}/batch", "/outcomes"}
    for path, schema in posts.items():
        example = [schema["items"]["examples"][0]] if schema["type"] == "array" else schema["examples"][0]
        assert client.post(path, json=example).status_code == (409 if path == "/outcomes" else 200)


def test_every_reference_of_the_document_resolves(client: TestClient) -> None:
    """Clients are generated from it."""
    document = client.get("/openapi.json").json()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        target = document
        for part in reference.split("/"):
            target = target[part]


BLOCKED = ("numpy", "scipy", "pandas", "sklearn", "xgboost", "joblib", "boto3", "training")


def test_the_handler_answers_without_the_scientific_stack() -> None:
    """In a process where importing any of it fails, both routes have the same answers."""
    script = f"""
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import numpy
except ImportError:
    from handler.app import handler
    print(json.dumps([handler(json.load(open(path)), None)["body"] for path in sys.argv[1:]]))
"""
    paths = [str(EVENTS / f"{name}.json") for name in ("transaction", "refund_explained")]
    run = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [handler(json.loads(Path(path).read_text()), None)["body"] for path in paths]
