"""What callers see of swaps, shadows and records: one version an answer, and nothing else."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import enumerate as enumerate_threads
from time import monotonic, sleep
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel
from pydantic_core import to_json

from benchmarks.variants import contents_of
from handler.records.record import Recorder, keyed_hash
from handler.releases.served import Served, Slot
from handler.releases.shadow import MAX_STRIKES, Shadow
from handler.releases.store import Pointer
from handler.releases.swap import Watcher
from handler.scoring.bundle import MANIFEST
from handler.scoring.bundle import to_json as bundle_json
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.web.endpoint import ScoreEndpoint
from handler.web.routes import create_app
from training.delivery.store_writer import FolderStoreWriter
from training.package import build_bundle

BUNDLE = Path(__file__).parents[3] / "build" / "bundles" / "refund"
ROUTE = "/api/v1/refund-predict"
REQUEST: dict[str, Any] = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "refund_id": "r1"}
BODY = json.dumps(REQUEST).encode()
PATIENCE_SECONDS = 20


class Failing(Scorer):
    """A scorer that fails."""

    def score(self, request: BaseModel) -> Scored:
        """Fail, quoting what was sent."""
        raise KeyError(request.model_dump_json())

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """Fail at the first."""
        return [self.score(request) for request in requests]


@pytest.fixture
def slot(refund: Scorer) -> Slot:
    """Refund's place, where the packaged version serves."""
    return Slot(refund)


@pytest.fixture
def watcher(store_writer: FolderStoreWriter, slot: Slot) -> Watcher:
    """Watches that place, and looks when it is told to."""
    return Watcher(store_writer, {"refund": slot}, seconds=3600)


@pytest.fixture
def client(slot: Slot, watcher: Watcher) -> TestClient:
    """A client of the application, whose lifespan is not run."""
    return TestClient(create_app({"refund": slot}, watcher=watcher))


@pytest.fixture
def other(store_writer: FolderStoreWriter, release: Callable[..., str]) -> Scorer:
    """Another version of refund, which answers otherwise."""
    return load_scorer(store_writer.root / "refund" / "bundles" / release(shift=0.5))


def recorded_in(folder: Path) -> list[dict[str, Any]]:
    """What the lines of a record hold, in order."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def own_answer(scorer: Scorer, body: bytes = BODY) -> bytes:
    """What a version answers."""
    return to_json(scorer.answer(scorer.request_model.model_validate_json(body)))


def test_without_a_store_health_says_nothing_of_one(slot: Slot) -> None:
    """Nor of a shadow, where there is none."""
    health = TestClient(create_app({"refund": slot})).get("/health").json()
    assert health == {"status": "ok", "scorers": {"refund": {"version": slot.served.scorer.version, "route": ROUTE}}}


def store_of(client: TestClient) -> dict[str, Any]:
    """What health says of the store, but for how long ago it was looked at."""
    said: dict[str, Any] = client.get("/health").json()["store"]
    return {key: value for key, value in said.items() if key != "seconds_since_look"}


def test_health_says_how_long_ago_the_store_was_looked_at(
    client: TestClient, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds, by which an alarm notices a watcher that looks no more."""
    now = [1e9]
    monkeypatch.setattr("handler.releases.swap.time", lambda: now[0])
    watcher.look()
    now[0] += 61.26
    assert client.get("/health").json()["store"]["seconds_since_look"] == 61.3


def test_health_says_what_became_of_the_store(
    client: TestClient, promote: Callable[..., str], watcher: Watcher
) -> None:
    """In trouble before anything was released, well again with the first release."""
    watcher.look()
    counts = {"swapped": 0, "refused": 0, "failed": 1}
    assert store_of(client) == {"status": "trouble", "trouble": {"refund": "unreadable"}, **counts}
    version = promote(shift=0.5)
    watcher.look()
    assert store_of(client) == {"status": "ok", "trouble": {}, **counts, "swapped": 1}
    assert client.get("/health").json()["scorers"]["refund"]["version"] == version


def test_health_is_in_trouble_while_a_refused_version_is_named(
    client: TestClient, store_writer: FolderStoreWriter, point: Callable[..., Pointer], watcher: Watcher, refund: Scorer
) -> None:
    """The status of the function stays ok, for it answers; where the store is, is nobody's business."""
    point(current="0123456789ab")
    watcher.look()
    health = client.get("/health").json()
    assert health["status"] == "ok"
    counts = {"swapped": 0, "refused": 1, "failed": 0}
    assert store_of(client) == {"status": "trouble", "trouble": {"refund": "refused"}, **counts}
    assert str(store_writer) not in json.dumps(health)
    point(current=refund.version)
    watcher.look()
    assert client.get("/health").json()["store"]["status"] == "ok"


def test_health_names_the_shadow(client: TestClient, slot: Slot, other: Scorer) -> None:
    """And whether it is scored."""
    slot.served = Served(slot.served.scorer, Shadow(other))
    standing = client.get("/health").json()["scorers"]["refund"]
    assert (standing["shadow"], standing["shadow_is_dropped"]) == (other.version, False)


def test_health_says_that_a_shadow_is_dropped(client: TestClient, slot: Slot, refund: Scorer) -> None:
    """After too many failures."""
    shadow = Shadow(Failing(refund.bundle))
    slot.served = Served(refund, shadow)
    for _ in range(MAX_STRIKES):
        shadow.scores(BODY, is_batch=False)
    assert client.get("/health").json()["scorers"]["refund"]["shadow_is_dropped"] is True


def test_the_document_describes_all_of_health(
    client: TestClient, slot: Slot, refund: Scorer, other: Scorer, watcher: Watcher
) -> None:
    """With a store and with a shadow."""
    watcher.look()
    slot.served = Served(refund, Shadow(other))
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    health = client.get("/health").json()
    assert health.keys() == schemas["Health"]["properties"].keys()
    assert health["store"].keys() == schemas["StoreHealth"]["properties"].keys()
    assert health["scorers"]["refund"].keys() == schemas["Answering"]["properties"].keys()


def test_the_next_request_is_answered_by_what_was_swapped_in(client: TestClient, slot: Slot, other: Scorer) -> None:
    """Byte for byte, as that version alone would; a batch too."""
    slot.served = Served(other)
    assert client.post(ROUTE, content=BODY).content == own_answer(other)
    assert client.post(f"{ROUTE}/batch", content=b"[" + BODY + b"]").content == b"[" + own_answer(other) + b"]"


def test_the_card_is_that_of_what_serves(client: TestClient, slot: Slot, other: Scorer) -> None:
    """Not of what was packaged."""
    slot.served = Served(other)
    assert client.get("/models/refund").json() == other.bundle.manifest


@pytest.fixture
def wider(tmp_path: Path) -> Scorer:
    """A version that takes its rate as one more optional field of the request, where it is derived otherwise."""
    contents = contents_of(BUNDLE)
    described = {
        key: value
        for key, value in json.loads(contents.pop(MANIFEST)).items()
        if key not in {"format", "files", "version"}
    }
    fields = described["contract"]["fields"]
    described["contract"] |= {"fields": {**fields, "refund_rate": {"type": "number"}}, "features": {}}
    golden = json.loads(contents["golden.json"])
    for request in (case["request"] for case in golden):
        if "refunds" in request and request["yearsActive"]:
            request["refund_rate"] = request["refunds"] / request["yearsActive"]
    build_bundle(tmp_path, contents | {"golden.json": bundle_json(golden)}, described)
    return load_scorer(tmp_path)


def documented_fields(client: TestClient) -> set[str]:
    """The fields that the document names for a request."""
    operation = client.get("/openapi.json").json()["paths"][ROUTE]["post"]
    return set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"])


def test_the_document_follows_a_swap(client: TestClient, slot: Slot, wider: Scorer) -> None:
    """To one more field, and back."""
    packaged = slot.served
    fields = documented_fields(client)
    slot.served = Served(wider)
    assert documented_fields(client) == fields | {"refund_rate"}
    slot.served = packaged
    assert documented_fields(client) == fields


def test_a_new_field_is_taken_once_it_is_swapped_in(client: TestClient, slot: Slot, wider: Scorer) -> None:
    """It is unknown before."""
    body = json.dumps({**REQUEST, "refund_rate": 3.0}).encode()
    assert client.post(ROUTE, content=body).status_code == 422
    slot.served = Served(wider)
    assert client.post(ROUTE, content=body).content == own_answer(wider, body)


Recorded = tuple[TestClient, Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def recorded(tmp_path: Path, slot: Slot) -> Recorded:
    """A client of an application that records its predictions, and what reads the record."""
    folder = tmp_path / "log"
    client = TestClient(create_app({"refund": slot}, recorder=Recorder(str(folder))))
    return client, lambda: recorded_in(folder)


def test_each_answered_request_is_recorded(recorded: Recorded, refund: Scorer) -> None:
    """One that is refused is not, and neither is a question about health."""
    client, record = recorded
    client.get("/health")
    client.post(ROUTE, content=b"{}")
    client.post(ROUTE, content=BODY)
    client.post(f"{ROUTE}/batch", json=[{**REQUEST, "refund_id": f"b{index}"} for index in range(3)])
    assert [line["id"] for line in record()] == ["r1", "b0", "b1", "b2"]
    assert {line["version"] for line in record()} == {refund.version}


def test_the_record_names_what_the_answer_gave(recorded: Recorded) -> None:
    """The fields of its reasons and of its warnings."""
    client, record = recorded
    odd = {**REQUEST, "amount": 1e9}
    answers = [
        client.post(ROUTE, json=REQUEST).json(),
        client.post(ROUTE, json=odd, params={"explain": "true"}).json(),
        *client.post(f"{ROUTE}/batch", json=[odd, REQUEST]).json(),
    ]
    for part in ("reasons", "warnings"):
        given = [[one["field"] for one in answer.get(part, [])] for answer in answers]
        assert [line[part] for line in record()] == given
    assert "amount" in record()[1]["warnings"]


def test_the_record_says_how_long_an_answer_took(recorded: Recorded) -> None:
    """A batch's lines each have the whole batch's time."""
    client, record = recorded
    client.post(f"{ROUTE}/batch", json=[REQUEST] * 50)
    (milliseconds,) = {line["milliseconds"] for line in record()}
    assert 0 < milliseconds < 1000 * PATIENCE_SECONDS


def test_a_place_that_cannot_be_written_fails_no_request(
    slot: Slot, refund: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is answered as ever, and the log says once that the record is missing."""
    (tmp_path / "log").write_text("a file")
    client = TestClient(create_app({"refund": slot}, recorder=Recorder(str(tmp_path / "log"))))
    for _ in range(3):
        answer = client.post(ROUTE, content=BODY)
        assert (answer.status_code, answer.content) == (200, own_answer(refund))
    assert [one for one in caplog.messages if "recorded" in one] == ["predictions cannot be recorded: File exists"]


def test_without_a_key_no_private_value_is_recorded(
    recorded: Recorded, promote: Callable[..., str], slot: Slot, watcher: Watcher
) -> None:
    """A later version may be the first that declares one, and a hash without a key is looked up by anybody."""
    contract = slot.promised.model_dump(mode="json")
    contract["fields"]["item"]["private"] = "hash"
    promote(shift=0.5, contract=contract)
    watcher.look()
    client, record = recorded
    client.post(ROUTE, json={**REQUEST, "item": "Pad Thai with tofu"})
    assert record()[0]["features"].get("item_category") != keyed_hash("Food, Perishable", b"")


def test_a_shadow_is_in_the_record_and_never_in_the_answer(
    recorded: Recorded, slot: Slot, refund: Scorer, other: Scorer
) -> None:
    """The answer is the same to the last byte."""
    client, record = recorded
    slot.served = Served(refund, Shadow(other))
    assert client.post(ROUTE, content=BODY).content == own_answer(refund)
    (line,) = record()
    scored = other.score(other.request_model.model_validate_json(BODY))
    assert line["probability"] != scored.probability
    assert line["shadow"] == {
        "version": other.version,
        "probability": scored.probability,
        "flagged": scored.is_flagged,
    }


@pytest.mark.parametrize("path", [ROUTE, f"{ROUTE}/batch"])
def test_a_failing_shadow_changes_no_answer(recorded: Recorded, slot: Slot, refund: Scorer, path: str) -> None:
    """Its failure is in the record."""
    client, record = recorded
    body = b"[" + BODY + b"]" if path.endswith("batch") else BODY
    expected = client.post(path, content=body)
    slot.served = Served(refund, Shadow(Failing(refund.bundle)))
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.content) == (200, expected.content)
    assert record()[1]["shadow"] == {"version": refund.version, "error": "KeyError"}


def asked(endpoint: ScoreEndpoint, *, before_the_rest: Callable[[], None] = lambda: None, **scope: object) -> bytes:
    """What an endpoint answers to a body that arrives in two pieces, with something happening in between."""
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
def test_one_version_answers_a_request_that_a_swap_overtakes(
    slot: Slot, refund: Scorer, other: Scorer, n_swaps: int
) -> None:
    """Wholly: whichever it names, the answer is that version's own."""
    endpoint = ScoreEndpoint(slot, None, None, is_batch=False)

    def swap() -> None:
        for number in range(n_swaps):
            slot.served = Served(refund if number % 2 else other)

    answer = asked(endpoint, before_the_rest=swap)
    versions = {scorer.version: scorer for scorer in (refund, other)}
    assert answer == own_answer(versions[json.loads(answer)["model_version"]])


def test_a_version_records_what_it_answered(slot: Slot, refund: Scorer, other: Scorer, tmp_path: Path) -> None:
    """Though another was swapped in while the answer was sent."""
    folder = tmp_path / "log"

    class Swapping(Scorer):
        """Swaps another version in as soon as it has scored."""

        def score(self, request: BaseModel) -> Scored:
            slot.served = Served(other, Shadow(other))
            return super().score(request)

    slot.served = Served(Swapping(refund.bundle))
    answer = asked(ScoreEndpoint(slot, None, Recorder(str(folder)), is_batch=False))
    (line,) = recorded_in(folder)
    assert answer == own_answer(refund)
    assert line["version"] == refund.version
    assert "shadow" not in line


def test_the_request_that_warms_up_is_not_recorded(slot: Slot, tmp_path: Path) -> None:
    """Lambda passes a context with each one that counts."""
    folder = tmp_path / "log"
    endpoint = ScoreEndpoint(slot, None, Recorder(str(folder)), is_batch=False)
    asked(endpoint, **{"aws.context": None})
    assert recorded_in(folder) == []
    asked(endpoint, **{"aws.context": object()})
    assert len(recorded_in(folder)) == 1


def test_a_server_watches_its_store_while_it_runs(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot
) -> None:
    """Its lifespan begins and ends that."""
    watcher = Watcher(store_writer, {"refund": slot}, seconds=0.01)
    with TestClient(create_app({"refund": slot}, watcher=watcher)) as client:
        version = promote(shift=0.5)
        end = monotonic() + PATIENCE_SECONDS
        while client.post(ROUTE, content=BODY).json()["model_version"] != version:
            assert monotonic() < end, "it never serves"
            sleep(0.01)
    while any(thread.name == "store" for thread in enumerate_threads()):
        assert monotonic() < end, "it never ends"
        sleep(0.01)
