"""What callers see of swaps, shadows and records: each request is answered by one version, and by nothing else."""

import asyncio
import json
from collections.abc import Callable, Sequence
from copy import copy
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel
from pydantic_core import to_json

from benchmarks.variants import contents_of, write_variant
from handler.history.sqlite import SqliteHistory
from handler.records.record import Recorder
from handler.records.telemetry import TRACE_VARIABLE
from handler.releases.served import Served, Slot
from handler.releases.shadow import MAX_STRIKES, Shadow
from handler.releases.swap import Watcher
from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.web.endpoint import ScoreEndpoint, sources_of
from handler.web.routes import create_app
from tests.handler.deployment import BUNDLES, PATIENCE_SECONDS, Deployment, is_looking, wait_until
from tests.handler.record_lines import record_lines
from training.package import build_bundle

ROUTE = "/api/v1/refund-predict"
REQUEST: dict[str, Any] = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "refund_id": "r1"}
BODY = json.dumps(REQUEST).encode()


class Failing(Scorer):
    """A scorer that fails."""

    def score(self, request: BaseModel) -> Scored:
        """Fail, quoting what was sent."""
        raise KeyError(request.model_dump_json())

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """Fail at the first."""
        return [self.score(request) for request in requests]


@pytest.fixture
def client(deployment: Deployment) -> TestClient:
    """A client of the application, whose lifespan is not run."""
    return TestClient(create_app({"refund": deployment.slot}, watcher=deployment.watcher))


@pytest.fixture
def other(deployment: Deployment) -> Scorer:
    """Another version of refund, whose answers differ."""
    return load_scorer(deployment.folder(deployment.release(shift=0.5)))


def answer_of(scorer: Scorer, body: bytes = BODY) -> bytes:
    """The answer that a version gives alone."""
    return to_json(scorer.answer(scorer.request_model.model_validate_json(body)))


def test_without_a_store_health_has_only_versions_and_routes(refund: Scorer) -> None:
    """It has no shadow if there is none."""
    health = TestClient(create_app({"refund": Slot(refund)})).get("/health").json()
    assert health == {"status": "ok", "scorers": {"refund": {"version": refund.version, "route": ROUTE}}}


def test_health_has_the_state_of_the_store(
    client: TestClient, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is in trouble without a pointer or with a refused version; the function answers, so its status is ok.

    The seconds since the last look let an alarm notice a watcher that has stopped.
    """
    now = [1e9]
    monkeypatch.setattr("handler.releases.swap.time", lambda: now[0])

    def look() -> dict[str, Any]:
        deployment.look()
        now[0] += 61.26
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert str(deployment.store) not in json.dumps(health)
        assert health["scorers"]["refund"]["version"] == deployment.served_version
        store: dict[str, Any] = health["store"]
        assert store.pop("seconds_since_look") == 61.3
        return store

    counts = {"swapped": 0, "refused": 0, "failed": 1}
    assert look() == {"status": "trouble", "trouble": {"refund": "unreadable"}, **counts}
    version = deployment.promote(shift=0.5)
    counts["swapped"] = 1
    assert look() == {"status": "ok", "trouble": {}, **counts}
    assert deployment.served_version == version
    deployment.point(current="0123456789ab")
    counts["refused"] = 1
    assert look() == {"status": "trouble", "trouble": {"refund": "refused"}, **counts}
    deployment.point(current=version)
    assert look() == {"status": "ok", "trouble": {}, **counts}


def test_health_names_the_shadow(client: TestClient, deployment: Deployment, refund: Scorer, other: Scorer) -> None:
    """It also says whether the shadow was disabled after too many failures."""
    shadow = Shadow(Failing(other.bundle))
    deployment.slot.served = Served(refund, shadow)
    for is_dropped in (False, True):
        health = client.get("/health").json()["scorers"]["refund"]
        assert (health["shadow"], health["shadow_is_dropped"]) == (other.version, is_dropped)
        for _ in range(MAX_STRIKES):
            shadow.scores(BODY, is_batch=False)


def test_the_document_describes_all_of_health(
    client: TestClient, deployment: Deployment, refund: Scorer, other: Scorer
) -> None:
    """It has every key of an answer with a store and a shadow, and no others."""
    deployment.look()
    deployment.slot.served = Served(refund, Shadow(other))
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    health = client.get("/health").json()
    assert health.keys() == schemas["Health"]["properties"].keys()
    assert health["store"].keys() == schemas["StoreHealth"]["properties"].keys()
    assert health["scorers"]["refund"].keys() == schemas["Answering"]["properties"].keys()


def test_the_version_that_was_swapped_in_answers(client: TestClient, deployment: Deployment, other: Scorer) -> None:
    """Its answers, also to a batch, are those that it gives alone, byte for byte; the card is its own."""
    deployment.slot.served = Served(other)
    assert client.post(ROUTE, content=BODY).content == answer_of(other)
    assert client.post(f"{ROUTE}/batch", content=b"[" + BODY + b"]").content == b"[" + answer_of(other) + b"]"
    assert client.get("/models/refund").json() == other.bundle.manifest


@pytest.fixture
def wider(tmp_path: Path) -> Scorer:
    """A version whose requests may have one more field, which other versions know only from their history."""
    contents = contents_of(BUNDLES / "refund")
    described = {
        key: value
        for key, value in json.loads(contents.pop(MANIFEST)).items()
        if key not in {"format", "files", "version"}
    }
    fields = described["contract"]["fields"]
    described["contract"] |= {"fields": {**fields, "ip_count_7d": {"type": "number"}}}
    build_bundle(tmp_path, contents, described)
    return load_scorer(tmp_path)


def documented_fields(client: TestClient) -> set[str]:
    """The fields that the document names for a request."""
    operation = client.get("/openapi.json").json()["paths"][ROUTE]["post"]
    return set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"])


def test_a_new_field_is_accepted_and_documented_once_it_is_swapped_in(
    client: TestClient, deployment: Deployment, wider: Scorer
) -> None:
    """Before and after that version serves, the field is unknown."""
    packaged = deployment.slot.served
    fields = documented_fields(client)
    body = json.dumps({**REQUEST, "ip_count_7d": 3.0}).encode()
    assert client.post(ROUTE, content=body).status_code == 422
    deployment.slot.served = Served(wider)
    assert documented_fields(client) == fields | {"ip_count_7d"}
    assert client.post(ROUTE, content=body).content == answer_of(wider, body)
    deployment.slot.served = packaged
    assert documented_fields(client) == fields


Recording = tuple[TestClient, Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def recording(tmp_path: Path, deployment: Deployment) -> Recording:
    """A client of an application that records its predictions, and a function that reads the lines of the record."""
    folder = tmp_path / "log"
    client = TestClient(create_app({"refund": deployment.slot}, recorder=Recorder(str(folder))))
    return client, lambda: record_lines(folder)


def test_each_answered_request_is_recorded(recording: Recording, refund: Scorer) -> None:
    """Refused requests and those for health are not; each line of a batch has the time of the whole batch."""
    client, lines = recording
    client.get("/health")
    client.post(ROUTE, content=b"{}")
    client.post(ROUTE, content=BODY)
    client.post(f"{ROUTE}/batch", json=[{**REQUEST, "refund_id": f"b{index}"} for index in range(50)])
    assert [line["id"] for line in lines()] == ["r1", *(f"b{index}" for index in range(50))]
    assert {line["version"] for line in lines()} == {refund.version}
    (milliseconds,) = {line["milliseconds"] for line in lines()[1:]}
    assert 0 < milliseconds < 1000 * PATIENCE_SECONDS


def test_the_record_names_the_fields_of_reasons_and_warnings(recording: Recording) -> None:
    """As the answer has them."""
    client, lines = recording
    odd = {**REQUEST, "amount": 1e9}
    answers = [
        client.post(ROUTE, json=REQUEST).json(),
        client.post(ROUTE, json=odd, params={"explain": "true"}).json(),
        *client.post(f"{ROUTE}/batch", json=[odd, REQUEST]).json(),
    ]
    for part in ("reasons", "warnings"):
        fields = [[entry["field"] for entry in answer.get(part, [])] for answer in answers]
        assert [line[part] for line in lines()] == fields
    assert "amount" in lines()[1]["warnings"]


def test_a_shadow_is_in_the_record_and_never_in_the_answer(
    recording: Recording, deployment: Deployment, refund: Scorer, other: Scorer
) -> None:
    """The answer is the same to the last byte."""
    client, lines = recording
    deployment.slot.served = Served(refund, Shadow(other))
    assert client.post(ROUTE, content=BODY).content == answer_of(refund)
    (line,) = lines()
    scored = other.score(other.request_model.model_validate_json(BODY))
    assert line["probability"] != scored.probability
    assert line["shadow"] == {
        "version": other.version,
        "probability": scored.probability,
        "flagged": scored.is_flagged,
        "band": scored.band,
    }


@pytest.mark.parametrize("path", [ROUTE, f"{ROUTE}/batch"])
def test_a_failing_shadow_changes_no_answer(
    recording: Recording, deployment: Deployment, refund: Scorer, path: str
) -> None:
    """Its failure is in the record."""
    client, lines = recording
    body = b"[" + BODY + b"]" if path.endswith("batch") else BODY
    expected = client.post(path, content=body)
    deployment.slot.served = Served(refund, Shadow(Failing(refund.bundle)))
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.content) == (200, expected.content)
    assert lines()[1]["shadow"] == {"version": refund.version, "error": "KeyError"}


def call(endpoint: ScoreEndpoint, *, before_the_rest: Callable[[], None] = lambda: None, **scope: object) -> bytes:
    """An endpoint's answer to a body that arrives in two pieces, with a call between them."""
    pieces = iter([{"body": BODY[:20], "more_body": True}, {"body": BODY[20:], "more_body": False}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        piece = next(pieces)
        if not piece["more_body"]:
            before_the_rest()
        return {"type": "http.request", **piece}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(endpoint({"query_string": b"", "headers": [], **scope}, receive, send))
    assert sent[0]["status"] == 200
    return bytes(sent[1]["body"])


@pytest.mark.parametrize("n_swaps", [0, 1, 2])
def test_one_version_answers_a_request_during_a_swap(refund: Scorer, other: Scorer, n_swaps: int) -> None:
    """The whole answer is that of the version that it names."""
    slot = Slot(refund)

    def swap() -> None:
        for number in range(n_swaps):
            slot.served = Served(refund if number % 2 else other)

    answer = call(ScoreEndpoint(slot, None, None, is_batch=False), before_the_rest=swap)
    versions = {scorer.version: scorer for scorer in (refund, other)}
    assert answer == answer_of(versions[json.loads(answer)["model_version"]])


def test_the_version_that_answered_is_recorded(refund: Scorer, other: Scorer, tmp_path: Path) -> None:
    """It is so even if another version was swapped in meanwhile."""
    slot = Slot(refund)

    class Swapping(Scorer):
        """Swaps another version in as soon as it has scored."""

        def score(self, request: BaseModel) -> Scored:
            slot.served = Served(other, Shadow(other))
            return super().score(request)

    slot.served = Served(Swapping(refund.bundle))
    answer = call(ScoreEndpoint(slot, None, Recorder(str(tmp_path / "log")), is_batch=False))
    (line,) = record_lines(tmp_path / "log")
    assert answer == answer_of(refund)
    assert line["version"] == refund.version
    assert "shadow" not in line


def test_the_request_that_warms_up_is_not_recorded(refund: Scorer, tmp_path: Path) -> None:
    """Lambda passes a context with every other request."""
    folder = tmp_path / "log"
    endpoint = ScoreEndpoint(Slot(refund), None, Recorder(str(folder)), is_batch=False)
    call(endpoint, **{"aws.context": None})
    assert record_lines(folder) == []
    call(endpoint, **{"aws.context": object()})
    assert len(record_lines(folder)) == 1


def test_a_server_watches_its_store_while_it_runs(deployment: Deployment) -> None:
    """Its lifespan starts and stops the watcher."""
    watcher = Watcher(deployment.store, {"refund": deployment.slot}, seconds=0.01)
    with TestClient(create_app({"refund": deployment.slot}, watcher=watcher)) as client:
        version = deployment.promote(shift=0.5)
        wait_until(lambda: client.post(ROUTE, content=BODY).json()["model_version"] == version)
    wait_until(lambda: not is_looking())


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "batch"])
def test_a_control_group_is_let_through(refund: Scorer, tmp_path: Path, *, batch: bool) -> None:
    """The answer says that the request is approved, and nothing of the group; the record has what the model decided."""
    blocking = copy(refund)
    blocking.threshold, blocking.block, blocking.control = 0.0, 0.0, 0.5
    client = TestClient(create_app({"refund": Slot(blocking)}, recorder=Recorder(str(tmp_path / "log"), key=b"key")))
    requests = [REQUEST | {"refund_id": f"r{number}"} for number in range(40)]
    if batch:
        answers = client.post(f"{ROUTE}/batch", json=requests).json()
    else:
        answers = [client.post(ROUTE, json=request).json() for request in requests]
    lines = record_lines(tmp_path / "log")
    assert {(line["flagged"], line["band"]) for line in lines} == {(True, "block")}
    let_through = [line["control"]["let_through"] for line in lines]
    assert 0 < sum(let_through) < len(requests)
    for answer, is_let_through in zip(answers, let_through, strict=True):
        assert (answer["prediction"], answer["band"]) == ((0, "approve") if is_let_through else (1, "block"))
        assert ("reasons" in answer) != is_let_through
        assert "control" not in json.dumps(answer)


def test_nobody_is_let_through_where_nothing_is_recorded(refund: Scorer) -> None:
    """Without a record a control group's outcomes could not be joined."""
    blocking = copy(refund)
    blocking.threshold, blocking.block, blocking.control = 0.0, 0.0, 0.5
    client = TestClient(create_app({"refund": Slot(blocking)}))
    requests = [REQUEST | {"refund_id": f"r{number}"} for number in range(40)]
    assert {answer["band"] for answer in client.post(f"{ROUTE}/batch", json=requests).json()} == {"block"}


def test_requests_without_an_id_are_never_let_through(refund: Scorer, tmp_path: Path) -> None:
    """Their outcome could not be joined."""
    blocking = copy(refund)
    blocking.threshold, blocking.block, blocking.control = 0.0, 0.0, 0.5
    client = TestClient(create_app({"refund": Slot(blocking)}, recorder=Recorder(str(tmp_path / "log"), key=b"key")))
    nameless = {key: value for key, value in REQUEST.items() if key != "refund_id"}
    assert {answer["band"] for answer in client.post(f"{ROUTE}/batch", json=[nameless] * 40).json()} == {"block"}
    assert all("control" not in line for line in record_lines(tmp_path / "log"))


@pytest.fixture
def changing(tmp_path: Path) -> TestClient:
    """A client of refund, whose amount and number of refunds may change."""
    contract = json.loads((BUNDLES / "refund" / MANIFEST).read_text())["contract"]
    for name in ("amount", "refunds"):
        contract["fields"][name]["changeable"] = True
    write_variant(BUNDLES / "refund", tmp_path / "changing", contract=contract)
    return TestClient(create_app({"refund": Slot(load_scorer(tmp_path / "changing"))}))


def test_a_flagged_request_is_told_what_would_have_passed(changing: TestClient) -> None:
    """The query asks for it, singly or in a batch. The changed request passes; one that is not flagged needs none."""
    plain = changing.post(ROUTE, json=REQUEST).json()
    answer = changing.post(f"{ROUTE}?whatif=true", json=REQUEST).json()
    whatif = answer.pop("whatif")
    assert answer == plain
    changed = REQUEST | {change["field"]: change["to"] for change in whatif["changes"]}
    passed = changing.post(ROUTE, json=changed).json()
    assert (passed["prediction"], passed["band"]) == (0, whatif["band"]) == (0, "approve")
    assert whatif["sentence"].endswith("it would have been: approve, not review")
    batch = changing.post(f"{ROUTE}/batch?whatif=true", json=[REQUEST, changed]).json()
    assert [item.get("whatif") for item in batch] == [whatif, None]


def test_what_cannot_be_told_is_refused(client: TestClient, changing: TestClient) -> None:
    """The scorer has no changeable field, the batch would take too long, or the parameter is neither true nor false."""
    for api, path, body, place, message in (
        (client, f"{ROUTE}?whatif=true", REQUEST, ["query", "whatif"], "This scorer declares no changeable fields"),
        (
            changing,
            f"{ROUTE}/batch?whatif=true",
            [REQUEST] * 21,
            ["body"],
            "With whatif=true a batch may hold at most 20",
        ),
        (changing, f"{ROUTE}?whatif=1", REQUEST, ["query", "whatif"], "Input should be true or false"),
    ):
        answer = api.post(path, json=body)
        (problem,) = answer.json()["detail"]
        assert (answer.status_code, problem["loc"]) == (422, place)
        assert problem["msg"].startswith(message)


def test_what_is_refused_leaves_nothing_in_the_history(refund: Scorer) -> None:
    """Sent again without the parameter, it counts once."""
    with SqliteHistory(":memory:", 1_000) as history:
        client = TestClient(create_app({"refund": Slot(refund)}, history=history))
        named = {key: value for key, value in REQUEST.items() if key != "refund_id"} | {"accountId": "a-17"}
        assert client.post(f"{ROUTE}?whatif=true", json=named).status_code == 422
        rows = history.connection().execute("SELECT count(*) FROM states").fetchone()
        assert rows == (0,)
        client.post(ROUTE, json=named).raise_for_status()
        assert history.connection().execute("SELECT count(*) FROM states").fetchone() == (1,)


def without_reasons() -> dict[str, Any]:
    """Refund's contract, which says nothing to customers."""
    contract: dict[str, Any] = json.loads((BUNDLES / "refund" / MANIFEST).read_text())["contract"]
    for declared in (contract["fields"], contract["features"], contract["history"]["features"]):
        for feature in declared.values():
            feature.pop("reason", None)
    return contract


@pytest.fixture
def addressed(tmp_path: Path) -> tuple[TestClient, Path]:
    """A client of refund, with reasons for customers of three features, and the folder of its records."""
    contract = without_reasons()
    contract["fields"]["refunds"]["reason"] = {"code": "R1", "text": "Many refunds were asked for."}
    contract["features"]["refund_rate"]["reason"] = {"code": "R2", "text": "Refunds are frequent for this account."}
    contract["history"]["features"]["ip_count_7d"]["reason"] = {"code": "R3", "text": "Many requests came from here."}
    write_variant(BUNDLES / "refund", tmp_path / "addressed", contract=contract)
    app = create_app({"refund": Slot(load_scorer(tmp_path / "addressed"))}, recorder=Recorder(str(tmp_path / "log")))
    return TestClient(app), tmp_path / "log"


def test_a_request_is_explained_for_three_readers(addressed: tuple[TestClient, Path]) -> None:
    """They get sentences, codes with texts without numbers, or contributions that add up; the record is the same."""
    client, log = addressed
    # No history is configured, so the account causes a warning.
    request = REQUEST | {"accountId": "a-17"}
    analyst = client.post(ROUTE, json=request).json()
    customer = client.post(f"{ROUTE}?reader=customer", json=request).json()
    auditor = client.post(f"{ROUTE}?reader=auditor", json=request).json()
    assert [reason["field"] for reason in analyst["reasons"]][:2] == ["refunds", "refund_rate"]
    assert customer["reasons"] == [
        {"code": "R1", "text": "Many refunds were asked for."},
        {"code": "R2", "text": "Refunds are frequent for this account."},
    ]
    assert "warnings" not in customer
    everything = client.post(f"{ROUTE}?explain=true", json=request).json()
    for reason in everything["reasons"]:
        del reason["sentence"]
    assert auditor == everything
    shares = [reason["contribution"] for reason in auditor["reasons"]]
    total = auditor["base_log_odds"] + sum(shares)
    assert 1 / (1 + exp(-total)) == pytest.approx(auditor["confidence"], abs=1e-12)
    for line in (lines := record_lines(log)):
        for key in ("time", "milliseconds"):
            del line[key]
    assert lines[0] == lines[1]
    assert lines[0]["warnings"] == lines[2]["warnings"] != []


def test_a_customer_is_told_of_an_approved_request_only_on_demand(addressed: tuple[TestClient, Path]) -> None:
    """The same holds for the analyst; answers to a batch are in order."""
    harmless = {"yearsActive": 5.0, "amount": 20.0, "refunds": 0}
    batch = addressed[0].post(f"{ROUTE}/batch?reader=customer", json=[harmless, REQUEST]).json()
    assert ["reasons" in answer for answer in batch] == [False, True]
    explained = addressed[0].post(f"{ROUTE}?reader=customer&explain=true", json=harmless).json()
    assert all(reason.keys() == {"code", "text"} for reason in explained["reasons"])
    assert "base_log_odds" not in explained


def test_an_unknown_reader_is_refused(tmp_path: Path, addressed: tuple[TestClient, Path]) -> None:
    """So is the reader customer if no reason is declared for customers."""
    write_variant(BUNDLES / "refund", tmp_path / "silent", contract=without_reasons())
    client = TestClient(create_app({"refund": Slot(load_scorer(tmp_path / "silent"))}))
    for api, reader, message in (
        (addressed[0], "judge", "Input should be 'analyst', 'customer' or 'auditor'"),
        (client, "customer", "This scorer declares no reasons for customers; use reader=analyst"),
    ):
        answer = api.post(f"{ROUTE}?reader={reader}", json=REQUEST)
        (problem,) = answer.json()["detail"]
        assert (answer.status_code, problem["loc"], problem["msg"]) == (422, ["query", "reader"], message)


TRACE = "1-6afacd18-5d1f7b3a0c9e42186f0b7d10"


@pytest.mark.parametrize(
    ("header", "variable", "trace"),
    [
        (f"Root={TRACE.replace('6', '7')}", f"Root={TRACE};Sampled=1", TRACE),
        (f"Root={TRACE}", "", TRACE),
        (f"Root={TRACE}", "Root=garbage\xff", TRACE),
        ("Root=garbage\xff", f"Root={TRACE};Sampled=1", TRACE),
        ("4111 1111 1111 1111", "", None),
    ],
)
def test_a_record_names_a_trace_and_no_garbage(
    monkeypatch: pytest.MonkeyPatch, header: str, variable: str, trace: str | None
) -> None:
    """The trace is Lambda's own, or else that of the header, which may hold anything."""
    monkeypatch.setenv(TRACE_VARIABLE, variable)
    headers = [(b"x-amzn-trace-id", header.encode("latin-1"))] if header else []
    scope = {"headers": headers, "aws.event": {"requestContext": {"requestId": "g" * 300}}}
    sources = sources_of(scope, SimpleNamespace(aws_request_id="f1"))
    assert sources == {"gateway_request": "g" * 256, "function_request": "f1"} | ({"trace": trace} if trace else {})
    assert sources_of(scope, None) == {}
