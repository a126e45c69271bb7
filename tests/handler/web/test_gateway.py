"""Every gateway of AWS: recorded events of each kind give the same answer."""

import base64
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from handler.app import handler

EVENTS = Path(__file__).parents[2] / "events"
GATEWAYS = sorted(path.stem for path in (EVENTS / "gateways").glob("*.json"))
ROUTE = "/api/v1/refund-predict"


def recorded(name: str) -> dict[str, Any]:
    """A recorded event."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def through(name: str, *, method: str = "POST", path: str = ROUTE, body: str | None = None) -> dict[str, Any]:
    """The event of a gateway, asking for another method and path; `path` is the application's own."""
    event = recorded(f"gateways/{name}")
    context = event["requestContext"]
    for holder, keys in ((event, ("path", "rawPath")), (context, ("path",)), (context.get("http", {}), ("path",))):
        for key in keys:
            if key in holder:
                holder[key] = holder[key].replace(ROUTE, path)
    for holder in (event, context, context.get("http", {})):
        for key in ("httpMethod", "method"):
            if key in holder:
                holder[key] = method
    return event if body is None else {**event, "body": body, "isBase64Encoded": False}


def headers_of(answer: dict[str, Any]) -> dict[str, str]:
    """An answer's headers, from where its gateway has them."""
    return answer.get("headers") or {name: values[-1] for name, values in answer["multiValueHeaders"].items()}


def body_of(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """An answer's JSON."""
    assert answer["isBase64Encoded"] is False
    assert headers_of(answer)["content-type"] == "application/json"
    return json.loads(answer["body"])


def test_the_gateways_are_all_there() -> None:
    """HTTP API, REST API, Function URL, load balancer."""
    assert len(GATEWAYS) == 9


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_every_gateway_gives_the_same_answer(gateway: str) -> None:
    """To the last bit; query, body and path mean the same behind each of them."""
    answer = handler(recorded(f"gateways/{gateway}"), None)
    assert answer["statusCode"] == 200
    assert body_of(answer) == body_of(handler(recorded("refund_explained"), None))


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_every_gateway_decodes_base64_and_gzip(gateway: str) -> None:
    """API Gateway sends whatever it takes for binary in base64."""
    plain = through(gateway, body='{"yearsActive": 1.5, "amount": 45, "ipAccounts": 2}')
    (plain.get("headers") or {}).pop("content-encoding", None)
    there = body_of(handler(plain, None))
    encoded = {**plain, "body": base64.b64encode(plain["body"].encode()).decode(), "isBase64Encoded": True}
    assert body_of(handler(encoded, None)) == there
    packed = {**encoded, "body": base64.b64encode(gzip.compress(plain["body"].encode())).decode()}
    if "headers" in packed:
        packed["headers"] = {**packed["headers"], "Content-Encoding": "GZIP"}
    if "multiValueHeaders" in packed:
        packed["multiValueHeaders"] = {**packed["multiValueHeaders"], "Content-Encoding": ["GZIP"]}
    assert body_of(handler(packed, None)) == there


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("HEAD", "/models/refund", 200),
        ("GET", "/openapi.json", 200),
        ("GET", ROUTE, 405),
        ("HEAD", ROUTE, 405),
        ("OPTIONS", ROUTE, 405),
        ("POST", "/nowhere", 404),
        ("POST", "/%00", 404),
        ("POST", "/%ff%fe", 404),
        ("POST", "/\x00", 404),
        ("POST", "/\udcff", 404),
        ("GET", f"{ROUTE}/../../health", 404),
    ],
)
def test_every_gateway_knows_methods_and_paths(gateway: str, method: str, path: str, status: int) -> None:
    """A path of NUL or of bytes that are no UTF-8 is not found, and stops nothing."""
    assert handler(through(gateway, method=method, path=path), None)["statusCode"] == status


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_head_gives_the_head_alone(gateway: str) -> None:
    """The length of what GET gives, and none of it."""
    head, whole = (handler(through(gateway, method=method, path="/health"), None) for method in ("HEAD", "GET"))
    assert (head["body"], headers_of(head)) == ("", headers_of(whole))


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("{", 422),
        ("[]", 422),
        ('{"yearsActive": 1.5, "amount": -1, "ipAccounts": 2}', 422),
        ('{"yearsActive": 1.5, "amount": NaN, "ipAccounts": 2}', 422),
        ("\ud800", 400),
        (" " * ((1 << 20) + 1), 413),
    ],
)
def test_every_gateway_refuses_bad_bodies(gateway: str, body: str, status: int) -> None:
    """The same status behind each of them."""
    event = through(gateway, body=body)
    (event.get("headers") or {}).pop("content-encoding", None)
    assert handler(event, None)["statusCode"] == status


@cache
def gzip_bomb() -> str:
    """A body of a few kilobytes that would unpack to a hundred times the limit."""
    return base64.b64encode(gzip.compress(bytes(100 << 20))).decode()


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_every_gateway_stops_a_gzip_bomb(gateway: str) -> None:
    """It is not unpacked beyond the limit."""
    event = recorded(f"gateways/{gateway}")
    if "headers" in event:
        event["headers"]["content-encoding"] = "gzip"
    if "multiValueHeaders" in event:
        event["multiValueHeaders"]["content-encoding"] = ["gzip"]
    assert handler({**event, "body": gzip_bomb(), "isBase64Encoded": True}, None)["statusCode"] == 413


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("body", ["!!!!", "YQ=", "é"])
def test_every_gateway_refuses_invalid_base64(gateway: str, body: str) -> None:
    """Python would skip some of these characters silently."""
    answer = handler({**recorded(f"gateways/{gateway}"), "body": body, "isBase64Encoded": True}, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (400, {"detail": "the body is not valid base64"})


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("host", ["a:b:c", "a b", "", "[::1]", "host:port", "a/b"])
def test_every_gateway_refuses_a_malformed_host(gateway: str, host: str) -> None:
    """Mangum would raise on some of these, and pass others on."""
    event = recorded(f"gateways/{gateway}")
    for headers, value in ((event.get("headers"), host), (event.get("multiValueHeaders"), [host])):
        for name in list(headers or ()):
            if name.lower() == "host":
                headers[name] = value
    assert handler(event, None)["statusCode"] == 400


def test_a_websocket_is_refused() -> None:
    """There is none here."""
    context = {"routeKey": "$connect", "eventType": "CONNECT", "connectionId": "JKJaXdxyFiACEdQ="}
    assert handler({"requestContext": context, "isBase64Encoded": False}, None)["statusCode"] == 400


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(("n_bytes", "status"), [(30_000, 200), (65_536, 431)])
def test_every_gateway_limits_the_headers(gateway: str, n_bytes: int, status: int) -> None:
    """Together they may have 32 kB."""
    event = recorded(f"gateways/{gateway}")
    if event.get("headers"):
        event["headers"]["x-long"] = "x" * n_bytes
    if "multiValueHeaders" in event:
        event["multiValueHeaders"]["x-long"] = ["x" * n_bytes]
    assert handler(event, None)["statusCode"] == status


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(("n_requests", "status"), [(0, 422), (1, 200), (1001, 422)])
def test_every_gateway_limits_a_batch(gateway: str, n_requests: int, status: int) -> None:
    """From 1 to 1,000 requests."""
    request = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2}
    event = through(gateway, path=f"{ROUTE}/batch", body=json.dumps([request] * n_requests))
    (event.get("headers") or {}).pop("content-encoding", None)
    assert handler(event, None)["statusCode"] == status


@pytest.mark.parametrize("gateway", ["http_api_stage", "rest_api"])
def test_documents_know_the_stage(gateway: str) -> None:
    """The page asks for the document below the stage, and the document says where the routes are."""
    page = handler(through(gateway, method="GET", path="/docs"), None)
    assert "'/prod/openapi.json'" in page["body"]
    document = json.loads(handler(through(gateway, method="GET", path="/openapi.json"), None)["body"])
    assert document["servers"] == [{"url": "/prod"}]


def test_a_stage_that_a_path_does_not_begin_with_changes_nothing() -> None:
    """A custom domain leaves the stage out of the path."""
    event = recorded("gateways/http_api")
    event["requestContext"]["stage"] = "prod"
    assert handler(event, None)["statusCode"] == 200


@pytest.mark.parametrize("source", ["aws.events", "aws.scheduler"])
def test_a_schedule_is_answered(source: str) -> None:
    """EventBridge's event that keeps a function warm."""
    answer = handler({**recorded("schedules/rule"), "source": source}, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"detail": "warm"})


def test_another_services_event_is_refused() -> None:
    """An S3 notification asks for nothing that is here."""
    answer = handler({**recorded("schedules/rule"), "source": "aws.s3"}, None)
    assert answer["statusCode"] == 400


@pytest.mark.parametrize("event", ["x", {}, {"requestContext": {"elb": {}}}])
def test_a_refusal_has_its_headers_for_every_gateway(event: object) -> None:
    """A load balancer with multi-value headers reads them only there."""
    answer = handler(event, None)
    assert answer["headers"] == {"content-type": "application/json"}
    assert answer["multiValueHeaders"] == {"content-type": ["application/json"]}
