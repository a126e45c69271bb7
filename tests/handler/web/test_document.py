"""The OpenAPI document and the served routes, which are made apart, say the same."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

from handler.app import app
from handler.settings import SETTINGS
from handler.web.endpoint import ScoreEndpoint
from handler.web.headers import MAX_HEADER_BYTES

OWN = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
ROUTE = "/api/v1/refund-predict"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of the application."""
    with TestClient(app) as made:
        yield made


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_it_names_every_route_and_no_other(document: dict[str, Any]) -> None:
    """With its methods; HEAD goes without saying where GET is."""
    served = {
        route.path: {method.lower() for method in route.methods or ()} - {"head"}
        for route in app.routes
        if isinstance(route, Route) and route.path not in OWN
    }
    assert {path: set(item) for path, item in document["paths"].items()} == served


def test_every_route_of_a_scorer_reads_for_itself() -> None:
    """None of them went back to FastAPI's slower way."""
    endpoints = [route.endpoint for route in app.routes if isinstance(route, Route)]
    assert sum(isinstance(endpoint, ScoreEndpoint) for endpoint in endpoints) == 4


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (400, b"{}", {"content-encoding": "gzip"}),
        (413, gzip.compress(bytes(SETTINGS.max_body_bytes + 1), mtime=0), {"content-encoding": "gzip"}),
        (415, b"{}", {"content-encoding": "br"}),
        (422, b"{}", {}),
        (431, b"{}", {"x-long": "x" * MAX_HEADER_BYTES}),
    ],
)
def test_every_refusal_is_documented_and_as_documented(
    client: TestClient, document: dict[str, Any], status: int, content: bytes, headers: dict[str, str]
) -> None:
    """Status and shape; 408 is shown under uvicorn."""
    answer = client.post(ROUTE, content=content, headers=headers)
    assert answer.status_code == status
    schema = document["paths"][ROUTE]["post"]["responses"][str(status)]["content"]["application/json"]["schema"]
    name = schema["$ref"].rsplit("/", maxsplit=1)[-1]
    assert answer.json().keys() == document["components"]["schemas"][name]["properties"].keys()


@pytest.mark.parametrize(
    ("status", "content"),
    [(409, b'[{"scorer": "refund", "id": "r1", "label": 1}]'), (413, bytes(SETTINGS.max_body_bytes + 1)), (422, b"[]")],
)
def test_every_refusal_of_outcomes_is_as_documented(
    client: TestClient, document: dict[str, Any], status: int, content: bytes
) -> None:
    """Status and shape; what any body may be refused for is shown above."""
    answer = client.post("/outcomes", content=content)
    assert answer.status_code == status
    schema = document["paths"]["/outcomes"]["post"]["responses"][str(status)]["content"]["application/json"]["schema"]
    name = schema["$ref"].rsplit("/", maxsplit=1)[-1]
    assert answer.json().keys() == document["components"]["schemas"][name]["properties"].keys()


def test_the_outcomes_route_lists_the_scorers(document: dict[str, Any]) -> None:
    """It takes up to a thousand, of these, and is not asked to explain itself."""
    operation = document["paths"]["/outcomes"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["items"]["properties"]["scorer"]["enum"] == ["refund", "transaction"]
    assert (body["minItems"], body["maxItems"]) == (1, 1000)
    assert operation.get("parameters", []) == []


def test_the_health_route_answers_as_documented(client: TestClient, document: dict[str, Any]) -> None:
    """Its schema is written by hand; without a store it has no more keys than the required ones."""
    answer = client.get("/health").json()
    schemas = document["components"]["schemas"]
    assert sorted(answer) == sorted(schemas["Health"]["required"])
    assert all(sorted(scorer) == sorted(schemas["Answering"]["required"]) for scorer in answer["scorers"].values())


def test_the_models_route_lists_the_scorers(document: dict[str, Any]) -> None:
    """Whoever tries it at /docs picks one."""
    (parameter,) = document["paths"]["/models/{scorer}"]["get"]["parameters"]
    assert parameter["schema"]["enum"] == ["refund", "transaction"]
