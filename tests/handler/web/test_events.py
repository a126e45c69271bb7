"""For any Lambda event but records, `handler` returns a well-formed answer with a status below 500 and never raises."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handler.app import handler
from handler.web.unread import UnreadRecordsError

GATEWAYS = [
    json.loads(path.read_text()) for path in sorted((Path(__file__).parents[2] / "events" / "gateways").glob("*.json"))
]
BODIES = [gateway["body"] for gateway in GATEWAYS if not gateway.get("isBase64Encoded")]

# Any text that JSON can carry, lone surrogates and NUL among it.
anything = st.text(st.characters(exclude_categories=()), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)
paths = st.sampled_from(["/predict", "/api/v1/refund-predict", "/predict/batch", "/health", "/models/refund", "/docs"])
some_path = paths | st.builds("{}{}".format, paths, anything) | anything
header_names = (
    st.sampled_from(["host", "content-type", "content-encoding", "content-length", "x-forwarded-port"]) | anything
)
header_values = st.sampled_from(["gzip", "identity", "br", "localhost:99999", "a:b:c", "-1", ""]) | anything
headers = st.dictionaries(header_names, header_values, max_size=4)
queries = st.dictionaries(
    st.sampled_from(["explain"]) | anything, st.sampled_from(["true", "1", ""]) | anything, max_size=2
)
methods = st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "PUT"]) | anything


def packed(text: str) -> str:
    """A body as gzip, in base64."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "surrogatepass"))).decode()


request_bodies = st.sampled_from(BODIES) | json_values.map(json.dumps) | anything
bodies = (
    request_bodies | request_bodies.map(packed) | st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode())
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A gateway's event with another method, path, query, headers and body, each in all its places."""
    event = json.loads(json.dumps(draw(st.sampled_from(GATEWAYS))))
    http, path, method = event.get("requestContext", {}).get("http"), draw(some_path), draw(methods)
    if http:
        http |= {"method": method, "path": path}
        event |= {"rawPath": path, "rawQueryString": draw(anything)}
    else:
        keys = event.keys() & {"httpMethod", "method", "path", "raw_path"}
        event |= {key: path if key.endswith("path") else method for key in keys}
        event |= {"queryStringParameters": draw(queries), "query_string_parameters": draw(queries)}
        event["multiValueQueryStringParameters"] = {name: [value] for name, value in draw(queries).items()}
    given_headers = draw(headers)
    if "headers" in event:
        event["headers"] |= given_headers
    if "multiValueHeaders" in event:
        event["multiValueHeaders"] |= {name: [value, value] for name, value in given_headers.items()}
    return {**event, "body": draw(bodies | st.none()), "isBase64Encoded": draw(st.booleans())}


def assert_well_formed(answer: dict[str, Any]) -> None:
    """Assert that API Gateway accepts an answer; it would answer anything else with a 502."""
    assert type(answer["statusCode"]) is int
    assert 200 <= answer["statusCode"] < 500
    assert isinstance(answer["body"], str)
    assert isinstance(answer["isBase64Encoded"], bool)
    for name, value in answer.get("headers", {}).items():
        assert isinstance(name, str)
        assert isinstance(value, str)
    assert "headers" in answer or "multiValueHeaders" in answer
    json.dumps(answer)


@given(event=events())
def test_every_event_of_a_gateway_is_answered(event: dict[str, Any]) -> None:
    """Headers, encodings, paths and bodies of any kind."""
    assert_well_formed(handler(event, None))


@given(
    gateway=st.sampled_from(GATEWAYS),
    changes=st.dictionaries(st.sampled_from(sorted(GATEWAYS[0])), json_values, max_size=3),
)
def test_every_broken_event_is_answered(gateway: dict[str, Any], changes: dict[str, Any]) -> None:
    """Any value under a gateway's keys."""
    assert_well_formed(handler({**gateway, **changes}, None))


@given(gateway=st.sampled_from(GATEWAYS), context=json_values, http=json_values)
def test_every_broken_context_is_answered(gateway: dict[str, Any], context: Any, http: Any) -> None:  # noqa: ANN401 - JSON
    """Any value in the gateway's description of the request."""
    assert_well_formed(handler({**gateway, "requestContext": context}, None))
    assert_well_formed(
        handler({**gateway, "requestContext": {**gateway.get("requestContext", {}), "http": http, "stage": http}}, None)
    )


@given(event=json_values)
def test_every_value_is_answered(event: object) -> None:
    """Even a value that is no event is answered, unless it names a source of records, which fail the invocation."""
    try:
        answer = handler(event, None)
    except UnreadRecordsError:
        assert "ventSource" in ascii(event)
    else:
        assert_well_formed(answer)
