"""Every gateway of AWS: recorded events of each kind have the same answer."""

import base64
import gzip
import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from handler.app import handler
from handler.settings import SETTINGS
from handler.web import gateway as gateway_events

EVENTS = Path(__file__).parents[2] / "events"
GATEWAYS = sorted(path.stem for path in (EVENTS / "gateways").glob("*.json"))
ROUTE = "/api/v1/refund-predict"


def recorded(name: str) -> dict[str, Any]:
    """A recorded event."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


@pytest.fixture(params=GATEWAYS)
def gateway(request: pytest.FixtureRequest) -> str:
    """The name of a kind of gateway, or of a way to configure one."""
    name: str = request.param
    return name


def through(gateway: str, *, method: str = "POST", path: str = ROUTE, body: str | None = None) -> dict[str, Any]:
    """The event of a gateway for a method and a path of the application, and a plain body if one is given."""
    event = recorded(f"gateways/{gateway}")
    context = event.get("requestContext", {})
    for holder in (event, context, context.get("http", {})):
        for key in ("path", "rawPath", "raw_path"):
            if key in holder:
                holder[key] = holder[key].replace(ROUTE, path)
        for key in ("httpMethod", "method"):
            if key in holder:
                holder[key] = method
    if body is not None:
        (event.get("headers") or {}).pop("content-encoding", None)
        event |= {"body": body, "isBase64Encoded": False}
    return event


def with_header(event: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    """The event with another header, in each of the keys in which its gateway sends headers."""
    for headers, content in ((event.get("headers"), value), (event.get("multiValueHeaders"), [value])):
        if headers:
            for key in [key for key in headers if key.lower() == name.lower()] or [name]:
                headers[key] = content
    return event


def in_base64(event: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The event with a body in base64."""
    return {**event, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def headers_of(answer: dict[str, Any]) -> dict[str, str]:
    """An answer's headers, whichever of the two keys its gateway reads."""
    return answer.get("headers") or {name: values[-1] for name, values in answer["multiValueHeaders"].items()}


def body_of(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """An answer's JSON."""
    assert answer["isBase64Encoded"] is False
    assert headers_of(answer)["content-type"] == "application/json"
    return json.loads(answer["body"])


def test_all_gateways_are_tested() -> None:
    """HTTP API, REST API, Function URL, load balancer, VPC Lattice."""
    assert len(GATEWAYS) == 11


def test_every_gateway_gives_the_same_answer(gateway: str) -> None:
    """To the last bit; query, body and path mean the same behind each of them."""
    answer = handler(recorded(f"gateways/{gateway}"), None)
    assert answer["statusCode"] == 200
    assert body_of(answer) == body_of(handler(recorded("refund_explained"), None))


def test_every_gateway_decodes_base64_and_gzip(gateway: str) -> None:
    """API Gateway sends bodies that it considers binary in base64."""
    body = '{"yearsActive": 1.5, "amount": 45, "ipAccounts": 2}'
    event = through(gateway, body=body)
    expected = body_of(handler(event, None))
    assert body_of(handler(in_base64(event, body.encode()), None)) == expected
    packed = in_base64(with_header(event, "Content-Encoding", "GZIP"), gzip.compress(body.encode()))
    assert body_of(handler(packed, None)) == expected


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("HEAD", "/models/refund", 200),
        ("GET", "/openapi.json", 200),
        ("GET", ROUTE, 405),
        ("GET", "/outcomes", 405),
        ("HEAD", ROUTE, 405),
        ("OPTIONS", ROUTE, 405),
        ("POST", "/nowhere", 404),
        ("POST", f"{ROUTE}/", 404),
        ("POST", "/%00", 404),
        ("POST", "/%ff%fe", 404),
        ("POST", "/\x00", 404),
        ("POST", "/\udcff", 404),
        ("GET", f"{ROUTE}/../../health", 404),
    ],
)
def test_methods_and_paths_have_the_same_status_behind_every_gateway(
    gateway: str, method: str, path: str, status: int
) -> None:
    """A path with NUL or invalid UTF-8 is not found; it does not cause an error."""
    assert handler(through(gateway, method=method, path=path), None)["statusCode"] == status


def test_head_has_no_body(gateway: str) -> None:
    """Its headers are those of GET."""
    head, whole = (handler(through(gateway, method=method, path="/health"), None) for method in ("HEAD", "GET"))
    assert (head["body"], headers_of(head)) == ("", headers_of(whole))


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
    assert handler(through(gateway, body=body), None)["statusCode"] == status


@cache
def gzip_bomb() -> bytes:
    """A body of a few kilobytes that would unpack to a hundred times the limit."""
    return gzip.compress(bytes(100 << 20))


def test_every_gateway_stops_a_gzip_bomb(gateway: str) -> None:
    """It is not unpacked beyond the limit."""
    event = with_header(recorded(f"gateways/{gateway}"), "content-encoding", "gzip")
    assert handler(in_base64(event, gzip_bomb()), None)["statusCode"] == 413


@pytest.mark.parametrize("body", ["!!!!", "YQ=", "é"])
def test_every_gateway_refuses_invalid_base64(gateway: str, body: str) -> None:
    """Python would skip some of these characters silently."""
    answer = handler({**recorded(f"gateways/{gateway}"), "body": body, "isBase64Encoded": True}, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (400, {"detail": "the body is not valid base64"})


@pytest.mark.parametrize("host", ["a:b:c", "a b", "", "[::1]", "host:port", "a/b"])
def test_every_gateway_refuses_a_malformed_host(gateway: str, host: str) -> None:
    """Mangum would raise on some of these, and pass others on."""
    assert handler(with_header(recorded(f"gateways/{gateway}"), "host", host), None)["statusCode"] == 400


def test_every_gateway_may_leave_out_the_headers(gateway: str) -> None:
    """API Gateway's console sends null for them, and for a body; other tools send neither key."""
    event = through(gateway, body='{"yearsActive": 1.5, "amount": 45, "ipAccounts": 2}')
    expected = body_of(handler(event, None))
    nulls = dict.fromkeys(event.keys() & {"headers", "multiValueHeaders"})
    assert body_of(handler({**event, **nulls}, None)) == expected
    bare = {key: value for key, value in event.items() if key not in nulls}
    assert body_of(handler(bare, None)) == expected
    for body, is_base64 in product((None, ""), (True, False)):
        answer = handler({**event, **nulls, "body": body, "isBase64Encoded": is_base64}, None)
        assert (answer["statusCode"], body_of(answer)["detail"][0]["msg"]) == (422, "the body is empty; send JSON")


def test_lattice_may_send_the_query_in_the_path_alone() -> None:
    """Its first version does so; header values may be strings or lists."""
    event = recorded("gateways/vpc_lattice")
    headers = {name: value[0] for name, value in event["headers"].items()}
    event |= {"path": f"{ROUTE}?explain=true", "queryStringParameters": None, "headers": headers}
    assert body_of(handler(event, None)) == body_of(handler(recorded("gateways/vpc_lattice"), None))


@pytest.mark.parametrize(("n_bytes", "status"), [(30_000, 200), (65_536, 431)])
def test_every_gateway_limits_the_headers(gateway: str, n_bytes: int, status: int) -> None:
    """Together they may have 32 kB."""
    event = with_header(recorded(f"gateways/{gateway}"), "x-long", "x" * n_bytes)
    assert handler(event, None)["statusCode"] == status


@pytest.mark.parametrize(("n_requests", "status"), [(0, 422), (1, 200), (1001, 422)])
def test_every_gateway_limits_a_batch(gateway: str, n_requests: int, status: int) -> None:
    """From 1 to 1,000 requests."""
    body = json.dumps([{"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2}] * n_requests)
    assert handler(through(gateway, path=f"{ROUTE}/batch", body=body), None)["statusCode"] == status


@pytest.mark.parametrize("gateway", ["http_api_stage", "rest_api"], indirect=True)
def test_the_document_has_the_stage(gateway: str) -> None:
    """The page requests the document below the stage, and the document has the stage in its server's address."""
    page = handler(through(gateway, method="GET", path="/docs"), None)
    assert "'/prod/openapi.json'" in page["body"]
    document = json.loads(handler(through(gateway, method="GET", path="/openapi.json"), None)["body"])
    assert document["servers"] == [{"url": "/prod"}]


def test_a_stage_that_is_not_in_the_path_changes_nothing() -> None:
    """A custom domain leaves the stage out of the path."""
    event = recorded("gateways/http_api")
    event["requestContext"]["stage"] = "prod"
    assert handler(event, None)["statusCode"] == 200


@pytest.mark.parametrize("event", ["x", {}, {"requestContext": {"elb": {}}}])
def test_a_refusal_has_its_headers_for_every_gateway(event: object) -> None:
    """A load balancer with multi-value headers reads them only there."""
    answer = handler(event, None)
    assert answer["headers"] == {"content-type": "application/json"}
    assert answer["multiValueHeaders"] == {"content-type": ["application/json"]}


@pytest.mark.parametrize(
    ("key", "method", "path", "status"),
    [
        ("POST /outcomes", "POST", "/outcomes", 409),
        ("$default", "POST", "/outcomes", 400),
        ("ANY /{proxy+}", "POST", "/outcomes", 400),
        ("OPTIONS /{proxy+}", "OPTIONS", "/outcomes", 405),
        ("$default", "GET", "/outcomes", 405),
        ("GET /models/{scorer}", "GET", "/models/refund", 200),
        ("$default", "GET", "/models/refund", 400),
        ("$default", "HEAD", "/models/refund", 400),
        ("ANY /models/{scorer}", "HEAD", "/models/refund", 200),
        ("$default", "GET", "/health", 200),
    ],
)
def test_what_has_a_route_of_its_own_comes_by_that(
    monkeypatch: pytest.MonkeyPatch, key: str, method: str, path: str, status: int
) -> None:
    """Another route would evade its authorisation; if the gateway has no such routes, all paths come by one."""
    event = through("http_api", method=method, path=path, body='[{"scorer": "refund", "id": "r1", "label": 1}]')
    event["routeKey"] = key
    usual = handler(event, None)["statusCode"]
    monkeypatch.setattr(
        gateway_events, "SETTINGS", SETTINGS.model_copy(update={"own_routes": ("POST /outcomes", "GET /models")})
    )
    answer = handler(event, None)
    assert answer["statusCode"] == status
    if status == 400:
        assert usual != 400
        assert body_of(answer)["detail"].endswith(
            "must be called through its own route; send the path exactly as it is written here"
        )


@pytest.mark.parametrize("gateway", ["rest_api"])
def test_the_routes_of_a_rest_api_are_known_by_their_paths(monkeypatch: pytest.MonkeyPatch, gateway: str) -> None:
    """Their events name the route without a method."""
    own = SETTINGS.model_copy(update={"own_routes": ("GET /models",)})
    monkeypatch.setattr(gateway_events, "SETTINGS", own)
    for resource, status in (("/models/{scorer}", 200), ("/{proxy+}", 400)):
        event = through(gateway, method="GET", path="/models/refund") | {"resource": resource}
        assert handler(event, None)["statusCode"] == status
