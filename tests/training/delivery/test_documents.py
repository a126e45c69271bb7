"""Documents of a release: the OpenAPI document is valid and agrees with the function's own."""

import json
from pathlib import Path

from fastapi.testclient import TestClient
from openapi_spec_validator import validate

from handler.app import app
from handler.scoring.scorer import load_scorer
from handler.settings import SETTINGS
from training.delivery.documents import OPENAPI, SBOM, openapi_document, release_documents
from training.delivery.runtime_packages import read_runtime_packages


def test_the_document_is_the_functions() -> None:
    """A scorer's routes and schemas are those that the function publishes, although it serves another scorer too."""
    served = TestClient(app).get("/openapi.json").json()
    document = json.loads(openapi_document(load_scorer(SETTINGS.bundles / "refund")))
    routes = {"/api/v1/refund-predict", "/api/v1/refund-predict/batch"}
    assert document["paths"].keys() == routes | {"/health", "/models/{scorer}", "/outcomes"}
    assert {path: document["paths"][path] for path in routes} == {path: served["paths"][path] for path in routes}
    assert document["components"]["schemas"].items() <= served["components"]["schemas"].items()
    assert document["info"] == served["info"]


def test_the_document_is_valid(mini_bundle: Path) -> None:
    """The document is valid by the specification's own schema."""
    document = json.loads(openapi_document(load_scorer(mini_bundle)))
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_the_documents_of_a_release_are_the_same_each_time(mini_bundle: Path) -> None:
    """A scorer that is loaded again gives the same bytes."""
    packages = read_runtime_packages()
    first, second = (release_documents(load_scorer(mini_bundle), packages) for _ in range(2))
    assert first == second
    assert list(first) == [OPENAPI, SBOM]
