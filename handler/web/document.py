"""The OpenAPI document of the application, generated on request, not at a cold start.

The served routes parse their requests themselves, so the document describes placeholder routes that declare the same.
tests/handler/web/test_document.py and the fuzzing in tests/test_uvicorn.py keep the two in agreement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from handler.scoring.contract import MAX_BATCH, Refusal
from handler.scoring.scorer import Scorer
from handler.settings import SETTINGS
from handler.web.endpoint import MAX_REASONS, READERS
from handler.web.headers import MAX_HEADER_BYTES
from handler.web.outcomes import Recorded, outcome_model
from handler.web.startup import FastAPI

_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "description": "include the contribution of every feature, whether flagged or not",
    "schema": {"type": "boolean", "default": False},
}


_WHATIF = {
    "name": "whatif",
    "in": "query",
    "description": "for a flagged request, include the smallest change of one or two changeable fields with "
    "which it would have passed",
    "schema": {"type": "boolean", "default": False},
}


_READER = {
    "name": "reader",
    "in": "query",
    "description": "whom the reasons are for: analyst (sentences), customer (codes and texts without numbers) or "
    "auditor (the contributions of all features)",
}


class Error(BaseModel):
    """The body of an error that does not concern a field of the request."""

    detail: str


class Answering(BaseModel):
    """A scorer's version and route, and its shadow if there is one."""

    version: str
    route: str
    shadow: str | None = None
    shadow_is_dropped: bool | None = None


class StoreHealth(BaseModel):
    """The store: current trouble per scorer, and counts of swaps, refusals and failures since the start."""

    status: Literal["ok", "trouble"]
    trouble: dict[str, Literal["refused", "unreadable"]]
    seconds_since_look: float
    swapped: int
    refused: int
    failed: int


class Health(BaseModel):
    """Status, each scorer's version, and the store if there is one."""

    status: str
    scorers: dict[str, Answering]
    store: StoreHealth | None = None


async def _placeholder() -> None:
    raise NotImplementedError("the routes of the document are never called")


def describe(served: FastAPI, scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """The OpenAPI document of an application that serves these scorers."""
    app = FastAPI(title=served.title, description=served.description, version=served.version)
    for name, scorer in scorers.items():
        _add_scorer(app, name, scorer)
    app.add_api_route("/health", _placeholder, response_model=Health, summary="Status and versions")
    model = {
        "parameters": [
            {"name": "scorer", "in": "path", "required": True, "schema": {"type": "string", "enum": sorted(scorers)}}
        ]
    }
    app.add_api_route(
        "/models/{scorer}",
        _placeholder,
        response_model=dict[str, Any],
        summary="A scorer's card: contract, metrics with intervals, decision, thresholds, importance, windows, version",
        openapi_extra=model,
        responses={404: {"description": "There is no such scorer", "model": Error}},
    )
    _add_outcomes(app, scorers)
    return app.openapi()


def _add_outcomes(app: FastAPI, scorers: Mapping[str, Scorer]) -> None:
    item = outcome_model(scorers).model_json_schema()
    item["examples"] = [{"scorer": min(scorers), "id": "a request's id", "label": True}]
    body = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_BATCH}
    operation = _operation("outcomes", body)
    operation["responses"][503] = {"description": "The outcomes could not be recorded", "model": Error}
    operation["responses"][409] = {"description": "This deployment does not record outcomes", "model": Error}
    app.add_api_route(
        "/outcomes",
        _placeholder,
        response_model=Recorded,
        summary="Report the outcomes of requests by their ids; if one has several, source and time decide which counts",
        **operation,
    )


def _add_scorer(app: FastAPI, name: str, scorer: Scorer) -> None:
    route, answer, parameters = scorer.contract.route, scorer.answer_model, _parameters(scorer)
    request = scorer.request_model.model_json_schema()
    app.add_api_route(
        route,
        _placeholder,
        response_model=answer,
        summary=f"Score one {name} request",
        **_operation(name, request, parameters),
    )
    batch = {"type": "array", "items": request, "minItems": 1, "maxItems": MAX_BATCH}
    app.add_api_route(
        f"{route}/batch",
        _placeholder,
        response_model=list[answer],  # type: ignore[valid-type]  # made at run time
        summary=f"Score up to {MAX_BATCH:,} {name} requests, answered in order",
        description=f"With explain=true, a batch may have at most {MAX_REASONS:,} reasons in total.",
        **_operation(name, batch, parameters),
    )


def _parameters(scorer: Scorer) -> list[dict[str, Any]]:
    """The query parameters of a scorer's routes; whatif and reader=customer only if the scorer supports them."""
    can_change = any(field.changeable for field in scorer.contract.fields.values())
    readers = [name for name in READERS if name != "customer" or scorer.contract.customer_reasons]
    reader = _READER | {"schema": {"type": "string", "enum": readers, "default": READERS[0]}}
    return [_EXPLAIN, *([_WHATIF] if can_change else ()), reader]


def _operation(tag: str, body: dict[str, Any], parameters: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What the placeholder routes do not declare: query, body and errors."""
    descriptions = {
        400: "The body's gzip is damaged",
        408: f"The body took longer than {SETTINGS.body_timeout_seconds} seconds",
        413: f"The body is larger than {SETTINGS.max_body_bytes:,} bytes",
        415: "The body's content-encoding is not gzip",
        431: f"The headers are larger than {MAX_HEADER_BYTES:,} bytes",
    }
    responses: dict[int, dict[str, Any]] = {
        status: {"description": text, "model": Error} for status, text in descriptions.items()
    }
    responses[422] = {
        "description": "The body is not JSON in UTF-8, has a key more than once, or breaks the contract",
        "model": Refusal,
    }
    return {
        "methods": ["POST"],
        "tags": [tag],
        "responses": responses,
        "openapi_extra": {
            "parameters": [*parameters],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        },
    }
