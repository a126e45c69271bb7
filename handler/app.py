"""The HTTP routes of every bundle found, and `handler`, which AWS Lambda calls."""

import base64
import binascii
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from mangum import Mangum
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from handler.bundle import BundleError
from handler.contract import MAX_BATCH
from handler.scorer import Scorer, load_scorer

# Deployment facts, read once. template.yaml and the README list them.
BUNDLES = Path(os.environ.get("BUNDLES") or Path(__file__).parent.parent / "build" / "bundles")
MAX_BODY_BYTES = int(os.environ.get("MAX_BODY_BYTES") or 1_048_576)

# A name or an IPv4 address, then perhaps a port. No gateway sends an IPv6 address, and Mangum cannot read one.
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?")
Explain = Annotated[bool, Query(description="give every feature's contribution, flagged or not")]

logger = logging.getLogger(__name__)


def load_scorers(folder: Path) -> dict[str, Scorer]:
    """The scorers of every bundle in a folder, by name.

    Raises BundleError where there is none, one is damaged, or two answer on one route.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not folders:
        raise BundleError(f"{folder} holds no bundle; `make train` makes them, or set BUNDLES to their folder")
    scorers: dict[str, Scorer] = {}
    for path in folders:
        scorer = load_scorer(path)
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
        max_body_size=MAX_BODY_BYTES,
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
        """A scorer's card: contract, metrics, decision, importance, windows of time, version."""
        if scorer not in scorers:
            raise HTTPException(404, f"there is no scorer {scorer!r}; there are {', '.join(sorted(scorers))}")
        return dict(scorers[scorer].bundle.manifest)

    return app


def _add_routes(app: FastAPI, scorer: Scorer) -> None:
    """One route for a request and one for a batch.

    The body goes from its bytes straight into pydantic. FastAPI's own way (json, then the content type, then
    pydantic) takes longer, and answers a number of 5,000 digits with a vague 400.
    """
    name, route = scorer.bundle.scorer, scorer.contract.route
    request_model, answer_model = scorer.request_model, scorer.answer_model
    requests: Any = Annotated[list[request_model], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[valid-type]  # made at run time
    batch: TypeAdapter[list[BaseModel]] = TypeAdapter(requests)

    async def score(request: Request, *, explain: Explain = False) -> Response:
        return _json(scorer.answer(_parsed(request_model.model_validate_json, await request.body()), explain=explain))

    async def score_batch(request: Request, *, explain: Explain = False) -> Response:
        return _json(scorer.answers(_parsed(batch.validate_json, await request.body()), explain=explain))

    app.add_api_route(
        route,
        score,
        response_model=answer_model,
        summary=f"Score one {name} request",
        **_documented(name, request_model.model_json_schema()),
    )
    app.add_api_route(
        f"{route}/batch",
        score_batch,
        response_model=list[answer_model],  # type: ignore[valid-type]  # made at run time
        summary=f"Score up to {MAX_BATCH:,} {name} requests, answered in order",
        **_documented(name, batch.json_schema()),
    )


def _documented(tag: str, body: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI cannot see of a route that reads its body itself."""
    return {
        "methods": ["POST"],
        "tags": [tag],
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}},
        "responses": {413: {"description": f"The body is larger than {MAX_BODY_BYTES:,} bytes"}},
    }


def _parsed[T](validate: Callable[[bytes], T], body: bytes) -> T:
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


class BadEventError(ValueError):
    """Raised when an event is not a well-formed HTTP request."""


def _checked_event(event: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event, its body decoded, as Mangum needs it.

    Raises BadEventError, which says what is wrong, for what Mangum would raise on or misread.
    """
    if not isinstance(event, dict) or "requestContext" not in event:
        raise BadEventError("not an HTTP event: it has no requestContext")
    headers = event.get("headers") or {}
    host = next((value for key, value in headers.items() if key.lower() == "host"), None)
    if host is not None and not _HOST.fullmatch(str(host)):
        raise BadEventError("malformed Host header")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(event.get("body") or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadEventError("the body is not valid base64") from error
        return {**event, "body": body, "isBase64Encoded": False}
    return dict(event)


def _bad_request(detail: str) -> dict[str, Any]:
    """A 400 as API Gateway wants it."""
    return {
        "statusCode": 400,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"detail": detail}),
        "isBase64Encoded": False,
    }


app = create_app(load_scorers(BUNDLES))
_adapter = Mangum(app, lifespan="off")


def handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The answer to one Lambda event; 400 for one that is not a well-formed HTTP request."""
    try:
        return _adapter(_checked_event(event), context)
    except BadEventError as error:
        return _bad_request(str(error))
    except Exception:  # the process edge: the application's own errors were answered with 500 inside the adapter
        logger.exception("an event that the adapter cannot read")
        return _bad_request("not a well-formed HTTP event")
