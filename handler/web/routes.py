"""The HTTP routes: scoring, health, model cards, outcomes."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from handler.records.record import Recorder
from handler.records.telemetry import REFUSED, STORE_FAILED, SWAPPED, Meter
from handler.releases.served import Slot
from handler.releases.swap import Watcher
from handler.settings import SETTINGS
from handler.web.endpoint import ScoreEndpoint
from handler.web.headers import HeaderLimit
from handler.web.outcomes import OutcomeEndpoint
from handler.web.startup import FastAPI, HTTPException

if TYPE_CHECKING:
    from handler.history.store import PastStore

TITLE = "Fraud scorer"
DESCRIPTION = "Risk scores with reasons. One route per scorer; contracts and metrics at /models/<scorer>."
VERSION = "1"
# The headers of a request with a body, a token or an AWS signature; as in template.yaml.
CORS_HEADERS = (
    "authorization",
    "content-encoding",
    "content-type",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
)


def create_app(
    slots: Mapping[str, Slot],
    *,
    with_metrics: bool = False,
    recorder: Recorder | None = None,
    watcher: Watcher | None = None,
    history: "PastStore | None" = None,
) -> FastAPI:
    """The application that serves these slots, by scorer.

    `with_metrics` writes a line of metrics for each Lambda invocation. Under a server that runs the application's
    lifespan, the watcher looks at its store in the background.
    """
    routes = [route for slot in slots.values() for route in _routes(slot, recorder, history, with_metrics=with_metrics)]

    async def health(_request: Request) -> Response:
        return _json(
            {"status": "ok", "scorers": {name: _scorer_health(slot) for name, slot in slots.items()}}
            | _store_health(watcher)
            | _history_health(history)
        )

    async def model(request: Request) -> Response:
        scorer = request.path_params["scorer"]
        if scorer not in slots:
            raise HTTPException(404, f"there is no scorer {scorer!r}; the scorers are {', '.join(sorted(slots))}")
        return _json(slots[scorer].served.scorer.bundle.manifest)

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=VERSION,
        # Routes are matched in order, and most requests are for the scorers.
        routes=[
            *routes,
            Route("/health", health),
            Route("/models/{scorer}", model),
            Route("/outcomes", OutcomeEndpoint(slots, recorder, history), methods=["POST"]),
        ],
        # /docs is enough, and has a route of its own in the template.
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(watcher, history),
        # Telemetry would look up three OpenTelemetry providers at every request, and might log a refused body.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(HeaderLimit)
    documents: dict[tuple[str, ...], dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        from handler.web.document import describe  # noqa: PLC0415 - its models would add 2 ms to a cold start

        scorers = {name: slot.served.scorer for name, slot in slots.items()}
        versions = tuple(scorer.version for scorer in scorers.values())
        if versions not in documents:
            documents.clear()
            documents[versions] = describe(app, scorers)
        return documents[versions]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to replace the document
    if SETTINGS.cors_origins:
        from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 - few deployments need it, every cold start would pay

        app.add_middleware(
            CORSMiddleware,
            allow_origins=SETTINGS.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=CORS_HEADERS,
        )
    return app


def _lifespan(watcher: Watcher | None, history: "PastStore | None") -> Callable[[FastAPI], Any]:
    """The application's lifespan, which starts and stops the watcher, and closes the history at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if watcher:
            watcher.start()
        yield
        if watcher:
            watcher.stop()
        if history:
            history.close()

    return lifespan


def _scorer_health(slot: Slot) -> dict[str, Any]:
    """A scorer's part of the health answer."""
    served = slot.served
    health: dict[str, Any] = {"version": served.scorer.version, "route": slot.promised.route}
    if served.shadow:
        health |= {"shadow": served.shadow.version, "shadow_is_dropped": served.shadow.is_disabled}
    if served.lists:
        health["lists"] = served.lists.version
    return health


def _store_health(watcher: Watcher | None) -> dict[str, Any]:
    """The store's part of the health answer; empty without a store."""
    if watcher is None:
        return {}
    # Without the reasons, which name internal paths; the log has them.
    trouble = {**dict.fromkeys(watcher.refused, "refused"), **dict.fromkeys(watcher.unreadable, "unreadable")}
    counts = {
        "swapped": watcher.counts[SWAPPED],
        "refused": watcher.counts[REFUSED],
        "failed": watcher.counts[STORE_FAILED],
    }
    return {
        "store": {
            "status": "trouble" if trouble else "ok",
            "trouble": trouble,
            "seconds_since_look": round(watcher.seconds_since_look, 1),
            **counts,
        }
    }


def _history_health(history: "PastStore | None") -> dict[str, Any]:
    """The history's part of the health answer; empty without one."""
    if history is None:
        return {}
    return {"history": {"status": "ok" if history.is_answering else "trouble", "unanswered": history.n_failed}}


def _routes(slot: Slot, recorder: Recorder | None, history: "PastStore | None", *, with_metrics: bool) -> list[Route]:
    """One route for a request and one for a batch."""
    meter = Meter(slot.served.scorer.bundle.scorer) if with_metrics else None
    path = slot.promised.route
    return [
        Route(path, ScoreEndpoint(slot, meter, recorder, history, is_batch=False), methods=["POST"]),
        Route(f"{path}/batch", ScoreEndpoint(slot, meter, recorder, history, is_batch=True), methods=["POST"]),
    ]


def _json(content: object) -> Response:
    return Response(to_json(content), media_type="application/json")
