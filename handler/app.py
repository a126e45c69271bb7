"""The HTTP routes of every bundle found, and `handler`, which AWS Lambda calls."""

import asyncio
import gc
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from handler.bundle import BundleError
from handler.document import DESCRIPTION, TITLE, VERSION, describe
from handler.endpoint import ScoreEndpoint
from handler.gateway import DOORS, BadEventError, checked_event, is_schedule, plain_answer, post_event
from handler.headers import HeaderLimit
from handler.logs import hide_values
from handler.scorer import Scorer, load_scorer
from handler.settings import BUNDLES, CORS_ORIGINS, METRICS
from handler.startup import FastAPI, HTTPException, Mangum
from handler.telemetry import Meter, record_failure

SUCCESS = 200
SERVER_ERROR = 500

# What a request with a body, a token or a signature of AWS carries; as in template.yaml.
CORS_HEADERS = (
    "authorization",
    "content-encoding",
    "content-type",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
)

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


def create_app(scorers: Mapping[str, Scorer], *, with_metrics: bool = False) -> FastAPI:
    """The application that serves these scorers.

    `with_metrics` writes a line of metrics for each invocation by Lambda.
    """
    routes = [route for scorer in scorers.values() for route in _routes(scorer, with_metrics=with_metrics)]

    async def health(_request: Request) -> Response:
        versions = {name: {"version": s.version, "route": s.contract.route} for name, s in scorers.items()}
        return _json({"status": "ok", "scorers": versions})

    async def model(request: Request) -> Response:
        scorer = request.path_params["scorer"]
        if scorer not in scorers:
            raise HTTPException(404, f"there is no scorer {scorer!r}; there are {', '.join(sorted(scorers))}")
        return _json(scorers[scorer].bundle.manifest)

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=VERSION,
        # First in the list is first tried, and the scorers' routes are what is asked for.
        routes=[*routes, Route("/health", health), Route("/models/{scorer}", model)],
        redirect_slashes=False,
        # It would ask three OpenTelemetry providers at every request whether they exist, and may log a refused body.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(HeaderLimit)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(describe(scorers))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to give another document
    if CORS_ORIGINS:
        from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 - few ask for it, every cold start would pay

        app.add_middleware(
            CORSMiddleware,
            allow_origins=CORS_ORIGINS,
            allow_methods=["GET", "POST"],
            allow_headers=CORS_HEADERS,
        )
    return app


def _routes(scorer: Scorer, *, with_metrics: bool) -> list[Route]:
    """One route for a request and one for a batch."""
    meter = Meter(scorer.bundle.scorer) if with_metrics else None
    path = scorer.contract.route
    return [
        Route(path, ScoreEndpoint(scorer, meter, is_batch=False), methods=["POST"]),
        Route(f"{path}/batch", ScoreEndpoint(scorer, meter, is_batch=True), methods=["POST"]),
    ]


def _json(content: object) -> Response:
    return Response(to_json(content), media_type="application/json")


hide_values()
_scorers = load_scorers(BUNDLES)
app = create_app(_scorers, with_metrics=METRICS)
_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)
_adapter = Mangum(app, lifespan="off", custom_handlers=DOORS)


def handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The answer to one Lambda event; 400 for one that is neither a schedule's nor a well-formed HTTP request."""
    if is_schedule(event):
        return plain_answer(200, "warm")
    # Mangum takes the thread's current loop, which an `asyncio.run` of somebody else's leaves empty.
    asyncio.set_event_loop(_loop)
    try:
        answer: dict[str, Any] = _adapter(checked_event(event), context)
        if answer["statusCode"] >= SERVER_ERROR and METRICS and context:
            record_failure(context)
    except BadEventError as error:
        return plain_answer(400, str(error))
    except Exception as error:  # noqa: BLE001 - the process edge: the application's own errors were answered with 500 inside the adapter
        # Without the exception's text, which may quote the caller.
        logger.warning("an event that the adapter cannot read: %s", type(error).__name__)
        return plain_answer(400, "not a well-formed HTTP event")
    return answer


def _warm_up() -> None:
    """Answer a request a scorer, so that the first caller, and each copy of a SnapStart snapshot, finds all in place.

    Nothing here grows stale in a snapshot: no connection, no clock, no random state. So there is no hook for a restore.
    Raises RuntimeError where one is not answered: such a version never takes traffic. A server that imports the
    application inside its own loop cannot be warmed up through Lambda's door, and need not be.
    """
    for scorer in _scorers.values():
        for case in scorer.bundle.golden[:1]:
            event = post_event(scorer.contract.route, "explain=true", json.dumps(case["request"]))
            if (status := handler(event, None)["statusCode"]) != SUCCESS:
                raise RuntimeError(f"{scorer.contract.route} answers its own golden request with {status}")
    # What is loaded by now stays for good; the collector need not walk it again.
    gc.freeze()


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


if not _is_in_a_loop():
    _warm_up()
