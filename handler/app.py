"""The HTTP routes of every bundle found, and `handler`, which AWS Lambda calls."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from mangum import Mangum
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from handler.bundle import BundleError
from handler.contract import MAX_BATCH, Refusal
from handler.gateway import BadEventError, bad_request, checked_event
from handler.scorer import Scorer, load_scorer

# Deployment facts, read once. template.yaml and the README list them.
BUNDLES = Path(os.environ.get("BUNDLES") or Path(__file__).parent.parent / "build" / "bundles")
_LIMIT = os.environ.get("MAX_BODY_BYTES") or "1048576"
if not _LIMIT.isdecimal():
    raise ValueError(f"MAX_BODY_BYTES is {_LIMIT!r}; it must be a whole number of bytes")
MAX_BODY_BYTES = int(_LIMIT)

logger = logging.getLogger(__name__)


def load_scorers(folder: Path) -> dict[str, Scorer]:
    """The scorers of every bundle in a folder, by name.

    Raises BundleError where there is none, one is damaged or in a folder of another name, or two answer on one route.
    """
    folders = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if not folders:
        raise BundleError(f"{folder} holds no bundle; `make train` makes them, or set BUNDLES to their folder")
    scorers: dict[str, Scorer] = {}
    for path in folders:
        scorer = load_scorer(path)
        if path.name != scorer.bundle.scorer:
            raise BundleError(
                f"{path} holds the bundle of {scorer.bundle.scorer}; a bundle's folder has its scorer's name"
            )
        for other in scorers.values():
            if scorer.contract.route == other.contract.route:
                raise BundleError(f"{path}: {other.bundle.scorer} answers on {other.contract.route} already")
        scorers[scorer.bundle.scorer] = scorer
    return scorers


def create_app(scorers: Mapping[str, Scorer]) -> FastAPI:
    """The application that serves these scorers."""
    app = FastAPI(
        title="Fraud scorer",
        description="Risk scores with reasons. One route per scorer; contracts and metrics at /models/<scorer>.",
        version="1",
        redirect_slashes=False,
    )
    for scorer in scorers.values():
        _add_routes(app, scorer)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Status, and the version of each scorer that answers."""
        versions = {name: {"version": s.version, "route": s.contract.route} for name, s in scorers.items()}
        return {"status": "ok", "scorers": versions}

    @app.get("/models/{scorer}")
    async def model(scorer: str) -> dict[str, Any]:
        """A scorer's card: contract, metrics with intervals, decision, thresholds, importance, windows, version."""
        if scorer not in scorers:
            raise HTTPException(404, f"there is no scorer {scorer!r}; there are {', '.join(sorted(scorers))}")
        return dict(scorers[scorer].bundle.manifest)

    return app


def _add_routes(app: FastAPI, scorer: Scorer) -> None:
    """One route for a request and one for a batch.

    They read query and body themselves. Declared as FastAPI's parameters these took as long again as the model does,
    and a number of 5,000 digits was answered with a vague 400.
    """
    name, route = scorer.bundle.scorer, scorer.contract.route
    request_model, answer_model = scorer.request_model, scorer.answer_model
    requests: Any = Annotated[list[request_model], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[valid-type]  # made at run time
    batch: TypeAdapter[list[BaseModel]] = TypeAdapter(requests)
    one_schema = request_model.model_json_schema()

    async def score(request: Request) -> Response:
        explain = _is_explained(request)
        return _json(scorer.answer(_parsed(request_model.model_validate_json, await _body(request)), explain=explain))

    async def score_batch(request: Request) -> Response:
        explain = _is_explained(request)
        return _json(scorer.answers(_parsed(batch.validate_json, await _body(request)), explain=explain))

    app.add_api_route(
        route,
        score,
        response_model=answer_model,
        summary=f"Score one {name} request",
        **_documented(name, one_schema),
    )
    app.add_api_route(
        f"{route}/batch",
        score_batch,
        response_model=list[answer_model],  # type: ignore[valid-type]  # made at run time
        summary=f"Score up to {MAX_BATCH:,} {name} requests, answered in order",
        **_documented(name, {"type": "array", "items": one_schema, "minItems": 1, "maxItems": MAX_BATCH}),
    )


def _documented(tag: str, body: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI cannot see of a route that reads query and body itself."""
    explain = {
        "name": "explain",
        "in": "query",
        "description": "give every feature's contribution, flagged or not",
        "schema": {"type": "boolean", "default": False},
    }
    return {
        "methods": ["POST"],
        "tags": [tag],
        "openapi_extra": {
            "parameters": [explain],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        },
        "responses": {
            413: {"description": f"The body is larger than {MAX_BODY_BYTES:,} bytes"},
            422: {"description": "The request breaks the contract", "model": Refusal},
        },
    }


def _is_explained(request: Request) -> bool:
    """The query parameter `explain`; 422 where it is neither true nor false."""
    if not request.scope["query_string"]:
        return False
    value = request.query_params.get("explain", "false")
    if value not in {"true", "false"}:
        problem = {"loc": ["query", "explain"], "msg": "Input should be true or false", "type": "bool_parsing"}
        raise HTTPException(422, [problem])
    return value == "true"


async def _body(request: Request) -> bytearray:
    """The request's body; 413 as soon as more than the limit has arrived.

    FastAPI's own limit answers in plain text where the length is declared, and in JSON where it is not.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    return body


def _parsed[T](validate: Callable[[bytearray], T], body: bytearray) -> T:
    """The body as the contract's model; 422 with where and what, but never the value, which may be personal."""
    try:
        return validate(body)
    except ValidationError as error:
        detail = [
            {"loc": ["body", *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise HTTPException(422, detail) from error


def _json(content: object) -> Response:
    return Response(to_json(content), media_type="application/json")


app = create_app(load_scorers(BUNDLES))
_adapter = Mangum(app, lifespan="off")


def handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The answer to one Lambda event; 400 for one that is not a well-formed HTTP request."""
    try:
        return _adapter(checked_event(event), context)
    except BadEventError as error:
        return bad_request(str(error))
    except Exception as error:  # noqa: BLE001 - the process edge: the application's own errors were answered with 500 inside the adapter
        # Without the exception's text, which may quote the caller.
        logger.warning("an event that the adapter cannot read: %s", type(error).__name__)
        return bad_request("not a well-formed HTTP event")
