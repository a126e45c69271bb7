"""Bodies that are not JSON in UTF-8, or have a key more than once: the refusal says what to send."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from handler.app import app
from handler.web.body_problems import doubled_keys

ROUTE = "/api/v1/refund-predict"
REFUND = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "item": "Müsli für Jörg"}
TEXT = json.dumps(REFUND, ensure_ascii=False)
UTF_8 = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"
FIELDS = '"yearsActive": 1.5, "ipAccounts": 2'
OUTCOME = '"scorer": "refund", "id": "r1"'

# A body, its content-type if it has one, and the words that the refusal must have.
BODIES: dict[str, tuple[bytes, str | None, tuple[str, ...]]] = {
    "empty": (b"", None, ("the body is empty", "send JSON")),
    "blank": (b" \r\n\t", UTF_8, ("the body is empty",)),
    "latin-1": (TEXT.encode("latin-1"), None, ("not UTF-8", f"byte {TEXT.index('ü') + 1})", "send UTF-8")),
    "latin-1 called UTF-8": (TEXT.encode("latin-1"), UTF_8, ("not UTF-8",)),
    "latin-1, declared": (TEXT.encode("latin-1"), "application/json; charset=ISO-8859-1", ("iso-8859-1", "send UTF-8")),
    "cp1252, quoted": (TEXT.encode("cp1252"), 'text/json; charset="windows-1252"; v=1', ("is windows-1252,", "UTF-8")),
    "shift-jis": ('{"item": "寿司"}'.encode("shift-jis"), "text/plain;charset=Shift_JIS", ("shift_jis",)),
    "UTF-8 with a mark": (TEXT.encode("utf-8-sig"), UTF_8, ("byte order mark", "send UTF-8 without one")),
    "UTF-16": (TEXT.encode("utf-16"), None, ("UTF-16", "send UTF-8")),
    "UTF-16, low byte first": (TEXT.encode("utf-16-le"), None, ("UTF-16",)),
    "UTF-16, high byte first": (TEXT.encode("utf-16-be"), None, ("UTF-16",)),
    "UTF-16 after a line": (f"\n{TEXT}".encode("utf-16-be"), None, ("UTF-16",)),
    "UTF-32": (TEXT.encode("utf-32"), None, ("UTF-32",)),
    "UTF-32, high byte first": (b"\x00\x00\xfe\xff" + TEXT.encode("utf-32-be"), None, ("UTF-32",)),
    "gzip": (gzip.compress(TEXT.encode(), mtime=0), UTF_8, ("gzip", "content-encoding")),
    "zlib": (zlib.compress(TEXT.encode()), None, ("compressed", "content-encoding")),
    "zip": (b"PK\x03\x04\x14\x00", None, ("compressed",)),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", None, ("compressed",)),
    "a form": (b"amount=45&yearsActive=1.5", FORM, ("form", "send JSON")),
    "a form called JSON": (b"amount=45&yearsActive=1.5", UTF_8, ("form", "send JSON")),
    "JSON in a form": (b"data=%7B%22amount%22%3A45%7D", FORM, ("form",)),
    "a form in parts": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n', "multipart/form-data", ("form",)),
    "XML": (b"<refund><amount>45</amount></refund>", "application/xml", ("XML", "send JSON")),
    "base64": (base64.b64encode(TEXT.encode()), UTF_8, ("base64", "send JSON")),
    # curl declares JSON as a form by default: here the position of the error helps.
    "a comma too many": (b'{"amount": 45,}', FORM, ("Invalid JSON: trailing comma at line 1 column 15",)),
    "NUL": (b"\x00", None, ("Invalid JSON",)),
    "half of it": (TEXT[:40].encode(), UTF_8, ("Invalid JSON: EOF",)),
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of the application."""
    with TestClient(app) as test_client:
        yield test_client


def problems(client: TestClient, route: str, body: bytes | str, content_type: str | None = None) -> list[Any]:
    """The detail of a 422."""
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post(route, content=body, headers=headers)
    assert answer.status_code == 422
    detail: list[Any] = answer.json()["detail"]
    return detail


@pytest.mark.parametrize("route", [ROUTE, f"{ROUTE}/batch", "/outcomes"])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_json_is_told_what_it_is(client: TestClient, name: str, route: str) -> None:
    """Every route that reads a body answers with the same words, and quotes nothing of the body."""
    body, content_type, words = BODIES[name]
    (problem,) = problems(client, route, body, content_type)
    assert (problem["loc"], problem["type"]) == (["body"], "json_invalid")
    assert all(word in problem["msg"] for word in words)
    assert "sli" not in problem["msg"]


def test_a_body_in_utf_8_is_read_whatever_its_type(client: TestClient) -> None:
    """It may have spaces around it or escapes, and be declared as another encoding or, as by curl, as a form."""
    expected = client.post(ROUTE, content=TEXT.encode()).json()
    assert "model_version" in expected
    for body in (f"\r\n  {TEXT}\r\n\r\n", json.dumps(REFUND), json.dumps(REFUND, indent=2)):
        for content_type in (UTF_8, FORM, "text/plain; charset=iso-8859-1"):
            answer = client.post(ROUTE, content=body.encode(), headers={"content-type": content_type})
            assert answer.json() == expected


@pytest.mark.parametrize(
    ("route", "body", "where"),
    [
        (ROUTE, f'{{{FIELDS}, "amount": 45, "amount": 1}}', ["amount"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "amount": 45}}', ["amount"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "am\\u006funt": 1}}', ["amount"]),
        (ROUTE, f' {{"amount": 1, {FIELDS}, "amount": 45, "amount": 2, "item": "Tea: green"}}', ["amount"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "amount": 1, "item": "Tea\\u003a green"}}', ["amount"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "item": "Tea: green", "item": "Tea\\u003A green"}}', ["item"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "item": null, "item": "Tea"}}', ["item"]),
        (ROUTE, f'{{{FIELDS}, "amount": 45, "refund_id": "a", "refund_id": "b"}}', ["refund_id"]),
        (f"{ROUTE}/batch", f' [{{{FIELDS}, "amount": 45}}, {{{FIELDS}, "amount": 1, "amount": 2}}]', [1, "amount"]),
        ("/outcomes", f'[{{{OUTCOME}, "label": 1, "label": 0}}]', [0, "label"]),
    ],
)
def test_a_doubled_key_is_refused(client: TestClient, route: str, body: str, where: list[str | int]) -> None:
    """The parser would take its last value; the refusal names the key and, in a batch, the request."""
    message = f"The key {where[-1]} is given more than once; send it once"
    assert problems(client, route, body) == [{"loc": ["body", *where], "msg": message, "type": "duplicate_key"}]


def test_a_colon_in_a_value_doubles_nothing(client: TestClient) -> None:
    """It may be in any string of a request, escaped or not, alone or in a batch."""
    refund = {**REFUND, "item": 'Tea: "green": 2', "refund_id": "urn:refund:1"}
    answer = client.post(ROUTE, json=refund)
    assert answer.json()["refund_id"] == "urn:refund:1"
    escaped = client.post(ROUTE, content=json.dumps(refund).replace("Tea:", "Tea\\u003a"))
    assert escaped.json() == answer.json()
    assert client.post(f"{ROUTE}/batch", json=[refund, REFUND, refund]).json()[2] == answer.json()


keys = st.text(max_size=3)
values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(objects=st.lists(st.lists(st.tuples(keys, values), max_size=6), max_size=4))
def test_a_key_is_doubled_in_no_other_case(objects: list[list[tuple[str, Any]]]) -> None:
    """Whatever its characters, and whatever the values hold."""
    written = [
        "{" + ",".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}" for pairs in objects
    ]
    for pairs, key in zip(objects, doubled_keys(f"[{','.join(written)}]".encode()), strict=True):
        names = [name for name, _ in pairs]
        assert (key is None) == (len(names) == len(set(names)))
        assert key is None or names.count(key) > 1
