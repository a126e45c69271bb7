"""The OpenAPI document of what `handler.app` serves, made when somebody asks for it, not at a cold start.

The served routes read their requests themselves, so the document is made of stand-ins that declare what those do.
tests/handler/web/test_document.py and the fuzzing of tests/test_uvicorn.py hold the two together.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from handler.scoring.contract import MAX_BATCH, Refusal
from handler.scoring.scorer import Scorer
from handler.settings import SETTINGS
from handler.web.endpoint import MAX_REASONS
from handler.web.headers import MAX_HEADER_BYTES
from handler.web.outcomes import Recorded, outcome_model
from handler.web.startup import FastAPI

TITLE = "Fraud scorer"
DESCRIPTION = "Risk scores with reasons. One route per scorer; contracts and metrics at /models/<scorer>."
VERSION = "1"
_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "description": "give every feature's contribution, flagged or not",
    "schema": {"type": "boolean", "default": False},
}


class Error(BaseModel):
    """The body of an error that is not about one field."""

    detail: str


class Answering(BaseModel):
    """A scorer that answers, and the version that is scored in its shadow, if there is one."""

    version: str
    route: str
    shadow: str | None = None
    shadow_is_dropped: bool | None = None


class StoreHealth(BaseModel):
    """How the store fares: per scorer what is wrong now, and how often since the start each thing came to pass."""

    status: Literal["ok", "trouble"]
    trouble: dict[str, Literal["refused", "unreadable"]]
    seconds_since_look: float
    swapped: int
    refused: int
    failed: int


class Health(BaseModel):
    """Status, the version of each scorer that answers, and the store, where there is one."""

    status: str
    scorers: dict[str, Answering]
    store: StoreHealth | None = None


async def _stand_in() -> None:
    raise NotImplementedError("the document's routes are never called")


def describe(scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """The OpenAPI document of these scorers' routes."""
    app = FastAPI(title=TITLE, description=DESCRIPTION, version=VERSION)
    for name, scorer in scorers.items():
        _add_scorer(app, name, scorer)
    app.add_api_route("/health", _stand_in, response_model=Health, summary="Status and versions")
    model = {
        "parameters": [
            {"name": "scorer", "in": "path", "required": True, "schema": {"type": "string", "enum": sorted(scorers)}}
        ]
    }
    app.add_api_route(
        "/models/{scorer}",
        _stand_in,
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
    documented = _documented("outcomes", body)
    documented["openapi_extra"]["parameters"] = []
    documented["responses"][503] = {"description": "They could not be recorded", "model": Error}
    documented["responses"][409] = {"description": "The deployment records nothing", "model": Error}
    app.add_api_route(
        "/outcomes",
        _stand_in,
        response_model=Recorded,
        summary="Tell what became of requests, by the ids they carried; the latest of an id counts",
        **documented,
    )


def _add_scorer(app: FastAPI, name: str, scorer: Scorer) -> None:
    route, answer = scorer.contract.route, scorer.answer_model
    one = scorer.request_model.model_json_schema()
    app.add_api_route(
        route, _stand_in, response_model=answer, summary=f"Score one {name} request", **_documented(name, one)
    )
    batch = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH}
    app.add_api_route(
        f"{route}/batch",
        _stand_in,
        response_model=list[answer],  # type: ignore[valid-type]  # made at run time
        summary=f"Score up to {MAX_BATCH:,} {name} requests, answered in order",
        description=f"With explain=true, as many as have {MAX_REASONS:,} reasons together.",
        **_documented(name, batch),
    )


def _documented(tag: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the stand-ins do not say: query, body and errors of a scorer's route."""
    refusals = {
        400: "The body's gzip is damaged",
        408: f"The body took longer than {SETTINGS.body_timeout_seconds} seconds",
        413: f"The body is larger than {SETTINGS.max_body_bytes:,} bytes",
        415: "The body's content-encoding is not gzip",
        431: f"The headers are larger than {MAX_HEADER_BYTES:,} bytes",
    }
    responses: dict[int, dict[str, Any]] = {
        status: {"description": text, "model": Error} for status, text in refusals.items()
    }
    responses[422] = {"description": "The request breaks the contract", "model": Refusal}
    return {
        "methods": ["POST"],
        "tags": [tag],
        "responses": responses,
        "openapi_extra": {
            "parameters": [_EXPLAIN],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        },
    }
