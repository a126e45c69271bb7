"""The OpenAPI document agrees with the served routes, which are declared separately."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

from benchmarks.variants import write_variant
from handler.app import app
from handler.releases.served import Slot
from handler.scoring.scorer import load_scorer
from handler.settings import SETTINGS
from handler.web.endpoint import ScoreEndpoint
from handler.web.headers import MAX_HEADER_BYTES
from handler.web.routes import create_app
from tests.handler.deployment import BUNDLES

FASTAPI_ROUTES = {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
ROUTE = "/api/v1/refund-predict"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as it is served."""
    content: dict[str, Any] = TestClient(app).get("/openapi.json").json()
    return content


def test_it_names_every_route_and_no_other(document: dict[str, Any]) -> None:
    """Each has its methods; HEAD is implied by GET."""
    served = {
        route.path: {method.lower() for method in route.methods or ()} - {"head"}
        for route in app.routes
        if isinstance(route, Route) and route.path not in FASTAPI_ROUTES
    }
    assert {path: set(item) for path, item in document["paths"].items()} == served


def test_every_route_of_a_scorer_parses_its_own_requests() -> None:
    """None uses FastAPI's parameters, which are slower."""
    endpoints = [route.endpoint for route in app.routes if isinstance(route, Route)]
    assert sum(isinstance(endpoint, ScoreEndpoint) for endpoint in endpoints) == 4


@pytest.mark.parametrize(
    ("route", "status", "content", "headers"),
    [
        (ROUTE, 400, b"{}", {"content-encoding": "gzip"}),
        (ROUTE, 413, gzip.compress(bytes(SETTINGS.max_body_bytes + 1), mtime=0), {"content-encoding": "gzip"}),
        (ROUTE, 415, b"{}", {"content-encoding": "br"}),
        (ROUTE, 422, b"{}", {}),
        (ROUTE, 431, b"{}", {"x-long": "x" * MAX_HEADER_BYTES}),
        ("/outcomes", 409, b'[{"scorer": "refund", "id": "r1", "label": 1}]', {}),
        ("/outcomes", 413, bytes(SETTINGS.max_body_bytes + 1), {}),
        ("/outcomes", 422, b"[]", {}),
    ],
)
def test_every_refusal_is_as_documented(
    document: dict[str, Any], route: str, status: int, content: bytes, headers: dict[str, str]
) -> None:
    """Status and keys; 408 is tested under uvicorn."""
    answer = TestClient(app).post(route, content=content, headers=headers)
    assert answer.status_code == status
    schema = document["paths"][route]["post"]["responses"][str(status)]["content"]["application/json"]["schema"]
    name = schema["$ref"].rsplit("/", maxsplit=1)[-1]
    assert answer.json().keys() == document["components"]["schemas"][name]["properties"].keys()


def test_the_outcomes_route_lists_the_scorers(document: dict[str, Any]) -> None:
    """Up to a thousand outcomes of these scorers, without the parameter explain."""
    operation = document["paths"]["/outcomes"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["items"]["properties"]["scorer"]["enum"] == ["refund", "transaction"]
    assert (body["minItems"], body["maxItems"]) == (1, 1000)
    assert operation.get("parameters", []) == []


def test_the_health_route_answers_as_documented(document: dict[str, Any]) -> None:
    """Its schema is written by hand; without a store the answer has only the required keys."""
    answer = TestClient(app).get("/health").json()
    schemas = document["components"]["schemas"]
    assert sorted(answer) == sorted(schemas["Health"]["required"])
    assert all(sorted(scorer) == sorted(schemas["Answering"]["required"]) for scorer in answer["scorers"].values())


def test_the_models_route_lists_the_scorers(document: dict[str, Any]) -> None:
    """A reader of /docs can select one."""
    (parameter,) = document["paths"]["/models/{scorer}"]["get"]["parameters"]
    assert parameter["schema"]["enum"] == ["refund", "transaction"]


@pytest.mark.parametrize("is_declared", [True, False])
def test_parameters_are_those_that_a_scorer_answers(tmp_path: Path, *, is_declared: bool) -> None:
    """`whatif` needs a field that may change, and the reader customer a reason that is declared for customers."""
    contract = json.loads((BUNDLES / "refund" / "manifest.json").read_text())["contract"]
    contract["fields"]["amount"]["changeable"] = is_declared
    for declared in (contract["fields"], contract["features"], contract["history"]["features"]):
        for feature in () if is_declared else declared.values():
            feature.pop("reason", None)
    write_variant(BUNDLES / "refund", tmp_path / "refund", contract=contract)
    served = create_app({"refund": Slot(load_scorer(tmp_path / "refund"))})
    paths = TestClient(served).get("/openapi.json").json()["paths"]
    for route in (ROUTE, f"{ROUTE}/batch"):
        parameters = {item["name"]: item["schema"] for item in paths[route]["post"]["parameters"]}
        assert list(parameters) == ["explain", *(["whatif"] if is_declared else []), "reader"]
        assert ("customer" in parameters["reader"]["enum"]) == is_declared
