"""The application under settings other than the defaults."""

import asyncio
import json
import shutil
import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient

import handler
from benchmarks.variants import write_variant
from handler.records.record import keyed_hash
from handler.scoring.bundle import BundleError
from handler.scoring.scorer import Scorer
from handler.settings import PACKAGED_BUNDLES, Settings
from handler.web.gateway import post_event
from handler.web.unread import UnreadRecordsError
from tests.handler.deployment import Deployment
from tests.handler.history.test_aws import KEYS, service
from tests.handler.history.test_dynamodb import TABLE
from tests.handler.record_lines import record_lines

EVENTS = Path(__file__).parents[1] / "events"
PUBLIC_KEY = b64encode(Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()).decode()
INVOKED = SimpleNamespace(function_version="1")
"""The context of an invocation; the warm-up has none."""

LoadApp = Callable[..., ModuleType]


@pytest.fixture
def load_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadApp]:
    """Runs handler/app.py again, as a start of the function with this environment does; returns its module."""
    modules = []

    def load(**environment: str) -> ModuleType:
        settings = Settings.from_environment(environment)
        for module in ("settings", "web.body", "web.gateway", "web.routes"):
            monkeypatch.setattr(f"handler.{module}.SETTINGS", settings)
        spec = spec_from_file_location("app_under_test", Path(handler.__path__[0]) / "app.py")
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        modules.append(module)
        spec.loader.exec_module(module)
        return module

    yield load
    for module in modules:
        if loop := vars(module).get("_loop"):
            loop.close()


def event_of(name: str) -> dict[str, Any]:
    """A recorded event."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def answering_version(app: ModuleType) -> str:
    """The version that answers a request for a refund."""
    version: str = json.loads(app.handler(event_of("refund"), None)["body"])["model_version"]
    return version


def served_version(app: ModuleType) -> str:
    """The version of refund that serves, by a server's route: no invocation, which might load another."""
    version: str = TestClient(app.app).get("/health").json()["scorers"]["refund"]["version"]
    return version


def test_the_application_may_be_loaded_inside_a_loop(load_app: LoadApp) -> None:
    """Some servers do so; there is no warm-up then, and its routes answer."""

    async def serve() -> ModuleType:
        return load_app()

    assert TestClient(asyncio.run(serve()).app).get("/docs").status_code == 200


def test_a_damaged_bundle_stops_the_start(load_app: LoadApp, tmp_path: Path) -> None:
    """The error names the file."""
    shutil.copytree(PACKAGED_BUNDLES, tmp_path / "bundles")
    model = tmp_path / "bundles" / "refund" / "model.ubj"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"^{model} is damaged"):
        load_app(BUNDLES=str(tmp_path / "bundles"))


def test_a_store_that_cannot_be_opened_stops_the_start(load_app: LoadApp) -> None:
    """Such as one with an unknown kind of address."""
    with pytest.raises(ValueError, match=r"^STORE is 'gs://models'; it must be a folder, or s3://bucket or "):
        load_app(STORE="gs://models")


def test_with_a_key_an_unsigned_version_is_refused_at_the_start(
    load_app: LoadApp, deployment: Deployment, refund: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    """The packaged version answers."""
    version = deployment.promote(shift=0.5)
    app = load_app(STORE=str(deployment.store), STORE_PUBLIC_KEY=PUBLIC_KEY)
    assert answering_version(app) == refund.version
    assert f"refund: {version} is refused: " in caplog.text
    assert "is not signed by a trusted key" in caplog.text


def test_an_s3_that_refuses_connections_does_not_stop_the_start(
    load_app: LoadApp,
    s3_environment: dict[str, str],  # noqa: ARG001 - the client reads the environment
    monkeypatch: pytest.MonkeyPatch,
    refund: Scorer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The packaged version answers, and the log says why."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        app = load_app(STORE="s3://models/fraud")
    assert answering_version(app) == refund.version
    place = "s3://models/fraud/refund/pointer.json"
    reason = f"{place} cannot be read: EndpointConnectionError; still serving {refund.version}"
    assert f"refund: {reason}" in caplog.messages


def test_invocations_and_schedules_follow_the_pointer(
    load_app: LoadApp, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits, within the budget, for the new version. A store in a folder does not need AWS's client."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    first, second, third = (deployment.release(shift=shift) for shift in (0.5, 1.0, 1.5))
    deployment.point(current=first)
    app = load_app(STORE=str(deployment.store), STORE_SECONDS="0.000001", STORE_BUDGET_MS="10000")
    assert answering_version(app) == first
    deployment.point(current=second)
    assert answering_version(app) == second
    deployment.point(current=third)
    app.handler(event_of("schedules/rule"), None)
    assert served_version(app) == third


@pytest.fixture
def restore_hooks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The functions registered to run after a snapshot is restored, as with the library in Lambda's runtime."""
    hooks: list[Callable[[], None]] = []

    def register(function: Callable[..., None], *arguments: object, **keywords: object) -> None:
        hooks.append(lambda: function(*arguments, **keywords))

    monkeypatch.setitem(sys.modules, "snapshot_restore_py", SimpleNamespace(register_after_restore=register))
    return hooks


@pytest.mark.parametrize("seconds", ["0.000001", "30"], ids=["due", "not due"])
def test_a_restored_snapshot_follows_the_pointer_when_a_look_is_due(
    load_app: LoadApp, deployment: Deployment, restore_hooks: list[Callable[[], None]], seconds: str
) -> None:
    """It looks before its first invocation: a snapshot may be weeks old. One of this minute is new enough."""
    first, second = deployment.promote(shift=0.5), deployment.release(shift=1.0)
    app = load_app(STORE=str(deployment.store), STORE_SECONDS=seconds)
    assert served_version(app) == first
    deployment.point(current=second)
    (hook,) = restore_hooks
    hook()
    assert served_version(app) == (first if seconds == "30" else second)


def test_without_a_store_no_hook_is_registered(
    load_app: LoadApp, restore_hooks: list[Callable[[], None]], refund: Scorer
) -> None:
    """The packaged version never becomes outdated."""
    assert answering_version(load_app()) == refund.version
    assert restore_hooks == []


def test_cross_origin_requests_are_answered_for_declared_origins(load_app: LoadApp) -> None:
    """A preflight from a declared origin is allowed, from another it is not; POST answers name the origin."""
    app = load_app(CORS_ORIGINS="https://a.example, https://b.example")
    client = TestClient(app.app)
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for origin, status in (("https://a.example", 200), ("https://c.example", 400)):
        assert client.options("/predict", headers={**preflight, "origin": origin}).status_code == status
    answer = client.post("/api/v1/refund-predict", content="{}", headers={"origin": "https://b.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (422, "https://b.example")
    # A Function URL or a load balancer passes a preflight on; an HTTP API answers it itself.
    event = event_of("gateways/function_url") | {"body": ""}
    event["requestContext"]["http"]["method"] = "OPTIONS"
    event["headers"] |= preflight | {"origin": "https://a.example"}
    event["headers"]["access-control-request-headers"] = "authorization,content-type,x-amz-date"
    passed_on = app.handler(event, None)
    assert (passed_on["statusCode"], passed_on["headers"]["access-control-allow-origin"]) == (200, "https://a.example")


def test_a_base_path_precedes_every_path(load_app: LoadApp) -> None:
    """A custom domain's mapping adds one, for example; the routes answer without it, too."""
    app = load_app(BASE_PATH="/fraud/")
    for path, status in (("/fraud/predict", 422), ("/predict", 422), ("/fraudulent/predict", 404), ("/fraud", 404)):
        assert app.handler(post_event(path, "", "{}"), None)["statusCode"] == status


def invoke_all(app: ModuleType, name: str, route: str) -> None:
    """A request, a batch of two, a request that is refused, and one without a context, as the warm-up has it."""
    event = event_of(name)
    batch = json.loads(json.dumps(event).replace(route, f"{route}/batch"))
    batch["body"] = f"[{event['body']},{event['body']}]"
    for each in (event, batch, {**event, "body": "{}"}):
        app.handler(each, INVOKED)
    app.handler(event, None)


def test_each_invocation_is_counted_once(load_app: LoadApp, capfd: pytest.CaptureFixture[str]) -> None:
    """A batch counts by its size, a refused request and the warm-up do not count. Without METRICS nothing does."""
    invoke_all(load_app(METRICS="emf"), "transaction", "/predict")
    start, *lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert start["ColdStart"] == 1
    assert [(line["Scored"], line["Flagged"]) for line in lines] == [(1, 1), (2, 2)]
    invoke_all(load_app(), "transaction", "/predict")
    assert capfd.readouterr().out == ""


def test_an_environments_first_invocation_is_counted(load_app: LoadApp, capfd: pytest.CaptureFixture[str]) -> None:
    """It counts whatever it is, and no later one does; requests of the start itself are no invocations."""
    app = load_app(METRICS="emf")
    for _ in range(2):
        app.handler({"warmer": True}, INVOKED)
    assert capfd.readouterr().out.count('"ColdStart":1}\n') == 1


def test_each_prediction_is_recorded_once(load_app: LoadApp, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A refused request and the warm-up are not recorded; at a tiny rate nothing is, and there is no folder."""
    folder = tmp_path / "log"
    invoke_all(load_app(PREDICTIONS=str(folder), PREDICTIONS_RATE="0.000000003"), "transaction", "/predict")
    assert not folder.exists()
    app = load_app(PREDICTIONS=str(folder))
    assert not folder.exists()
    invoke_all(app, "transaction", "/predict")
    assert [line["flagged"] for line in record_lines(folder)] == [True] * 3
    assert capfd.readouterr().out == ""


def test_outcomes_are_recorded_where_predictions_are(load_app: LoadApp, capfd: pytest.CaptureFixture[str]) -> None:
    """Here that is stdout, as in Lambda; if nothing is recorded, outcomes are refused."""
    event = post_event("/outcomes", "", json.dumps([{"scorer": "refund", "id": "r1", "label": True}]))
    assert load_app(PREDICTIONS="stdout").handler(event, INVOKED)["statusCode"] == 200
    line = json.loads(capfd.readouterr().out)
    assert (line["id"], line["label"]) == ("r1", 1)
    assert load_app().handler(event, INVOKED)["statusCode"] == 409


@pytest.fixture
def hashing(tmp_path: Path) -> dict[str, str]:
    """The environment of a function whose one scorer declares a private field to be hashed."""
    contract = json.loads((PACKAGED_BUNDLES / "refund" / "manifest.json").read_bytes())["contract"]
    contract["fields"]["item"]["private"] = "hash"
    write_variant(PACKAGED_BUNDLES / "refund", tmp_path / "bundles" / "refund", contract=contract)
    return {"BUNDLES": str(tmp_path / "bundles"), "PREDICTIONS": str(tmp_path / "log")}


def test_a_field_to_be_hashed_needs_a_key(load_app: LoadApp, hashing: dict[str, str]) -> None:
    """Without a key the hashes could be looked up; the function does not start unless it records nothing."""
    rule = "PREDICTIONS_KEY is empty, but refund declares fields with private: hash; set a key"
    with pytest.raises(ValueError, match=f"^{rule}$"):
        load_app(**hashing)
    assert load_app(**{**hashing, "PREDICTIONS": ""}).app


def test_private_values_are_hashed_with_the_deployments_key(
    load_app: LoadApp, hashing: dict[str, str], tmp_path: Path
) -> None:
    """Monitoring needs the same key."""
    invoke_all(load_app(**hashing, PREDICTIONS_KEY="secret"), "refund_explained", "/refund-predict")
    values = {line["features"]["item_category"] for line in record_lines(tmp_path / "log")}
    assert values == {keyed_hash("Food, Perishable", b"secret")}


def test_a_defect_is_a_500_that_metrics_count_and_the_log_does_not_quote(
    load_app: LoadApp,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Lambda counts such an invocation as a success; the alarms must not."""

    def fail(_scorer: Scorer, body: bytes, *_: object, **__: object) -> None:
        raise KeyError(body.decode())

    app = load_app(METRICS="emf")
    for route in app.app.routes:
        if route.path == "/predict":
            monkeypatch.setattr(route.endpoint, "_answered", fail)
    assert app.handler(event_of("transaction"), INVOKED)["statusCode"] == 500
    assert '"Failed":1}' in capfd.readouterr().out
    assert "KeyError" in caplog.text
    assert "in fail" in caplog.text
    assert "950" not in caplog.text


def test_an_event_that_cannot_be_read_is_counted(load_app: LoadApp, capfd: pytest.CaptureFixture[str]) -> None:
    """It counts whether it is answered or fails the invocation; a warm-up or a call without a context does not."""
    app = load_app(METRICS="emf")
    for event in ({"amount": 1}, {"requestContext": {"elb": {}}, "httpMethod": "GET"}):
        assert app.handler(event, INVOKED)["statusCode"] == 400
    with pytest.raises(UnreadRecordsError):
        app.handler({"Records": [{"eventSource": "aws:sqs"}]}, INVOKED)
    assert capfd.readouterr().out.count('"Unread":1}\n') == 3
    for event, context in (({"warmer": True}, INVOKED), ({"amount": 1}, None)):
        app.handler(event, context)
    assert capfd.readouterr().out == ""


def test_a_version_that_fails_its_own_request_does_not_start(
    load_app: LoadApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never gets any traffic."""
    monkeypatch.setattr(Scorer, "answer", lambda *_, **__: {}["model"])
    with pytest.raises(RuntimeError, match=r"^/\S+ answers its own golden request with status 500, not 200$"):
        load_app()


def test_keys_are_read_at_the_start_and_after_a_restore(
    load_app: LoadApp,
    restore_hooks: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A rotated key is used; if it cannot be read, the key of the snapshot stays in use and the log says so."""
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fraud-a1B2c3"
    denied = {"__type": "AccessDeniedException", "message": "no"}
    answers = [(200, {"SecretString": key}) for key in ("old", "new")] + [(400, denied)] * 2
    with service(*answers) as server:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.address}.items():
            monkeypatch.setenv(name, value)
        app = load_app(PREDICTIONS=str(tmp_path / "log"), PREDICTIONS_KEY_ARN=arn)
        assert app._recorder._key == b"old"  # noqa: SLF001 - what it hashes with
        restore_hooks[0]()
        assert app._recorder._key == b"new"  # noqa: SLF001 - as above
        restore_hooks[0]()
        assert app._recorder._key == b"new"  # noqa: SLF001 - as above
        assert "the keys of the snapshot stay in use" in caplog.text
        with pytest.raises(ValueError, match=f"^PREDICTIONS_KEY_ARN: {arn} cannot be read: AccessDeniedException$"):
            load_app(PREDICTIONS=str(tmp_path / "log"), PREDICTIONS_KEY_ARN=arn)


def test_a_table_keeps_the_past_of_all_environments(
    load_app: LoadApp,
    s3_environment: dict[str, str],  # noqa: ARG001 - the client reads the environment
    restore_hooks: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each knows what the others learn; after a restore connections and credentials are new; failures are counted."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "fraud")
    with pytest.raises(ValueError, match=r"^HISTORY is 'history.db', a file, but in Lambda .* such as dynamodb://"):
        load_app(HISTORY="history.db")
    name = f"past-{uuid4().hex[:12]}"
    boto3.client("dynamodb").create_table(TableName=name, **TABLE)
    first, other = (
        load_app(HISTORY=f"dynamodb://{name}", HISTORY_BUDGET_MS="2000", HISTORY_KEY="secret", METRICS="emf")
        for _ in range(2)
    )
    assert not boto3.client("dynamodb").scan(TableName=name)["Items"]

    def counted(app: ModuleType, number: int, at: int) -> dict[str, Any]:
        request = {
            "transaction_id": f"t{number}",
            "amount_usd": 20.0,
            "chain": "ethereum",
            "sender_address": "0x7f",
            "timestamp": at,
        }
        answer = app.handler(post_event("/predict", "explain=true", json.dumps(request)), INVOKED)
        assert answer["statusCode"] == 200, answer
        body = json.loads(answer["body"])
        values = {reason["field"]: reason["value"] for reason in body["reasons"]}
        return values | {"warned": "did not answer" in answer["body"]}

    at = 1_760_000_000
    values = [
        counted(app, number, at + 60 * number)["tx_count_24h"] for number, app in enumerate((first, other, first))
    ]
    assert values == [0, 1, 2]
    capfd.readouterr()
    restore_hooks[0]()
    assert counted(first, 3, at + 240)["tx_count_24h"] == 3
    boto3.client("dynamodb").delete_table(TableName=name)
    values = counted(other, 4, at + 300)
    assert values["tx_count_24h"] is None
    assert values["warned"]
    health = TestClient(other.app).get("/health").json()
    assert health["history"] == {"status": "trouble", "unanswered": 1}
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["Unanswered"] for line in lines if "Unanswered" in line] == [1]
