"""Adjusts each kind of Lambda event for Mangum, and recognises events that are not HTTP requests.

An HTTP API sends payload format 2.0 or 1.0, a Function URL 2.0, a REST API 1.0, a load balancer and VPC Lattice their
own.
"""

import base64
import binascii
import json
import re
from collections.abc import MutableMapping
from functools import cache, cached_property
from typing import Any
from urllib.parse import urlencode

from handler.settings import SETTINGS
from handler.web.startup import ALB, APIGateway, HTTPGateway

# A name or an IPv4 address, and optionally a port. No gateway sends an IPv6 address, and Mangum cannot parse one.
_HOST = re.compile(rb"[A-Za-z0-9._-]+(:[0-9]{1,5})?")
# EventBridge rules, EventBridge Scheduler and serverless-plugin-warmup, which keep a function warm.
_WARM_UP_SOURCES = ("aws.events", "aws.scheduler", "serverless-plugin-warmup")
# lambda-warmer's {"warmer": true}, and the constant input of a rule, such as {"warmup": true} or {"keep-warm": 1}.
_WARM_UP_KEYS = frozenset({"keepwarm", "warmer", "warmup"})


class BadEventError(ValueError):
    """Raised when an HTTP event has a malformed Host header or body."""


class NotHttpError(ValueError):
    """Raised when an event is not an HTTP request."""


class _EventHandler:
    """What all event handlers do with an answer."""

    def __call__(self, response: Any) -> dict[str, Any]:  # noqa: ANN401 - Mangum's record of an answer
        """The answer in the gateway's format, without a body for HEAD."""
        if self.scope["method"] == "HEAD":  # type: ignore[attr-defined]  # of Mangum's class
            response = {**response, "body": b""}
        answer: dict[str, Any] = super().__call__(response)  # type: ignore[misc]  # of Mangum's class
        return answer


class HttpApiHandler(_EventHandler, HTTPGateway):
    """An HTTP API or a Function URL, whose path starts with the stage if the stage has a name."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope, cached because Mangum reads it twice."""
        scope: MutableMapping[str, Any] = super().scope
        stage = self.event["requestContext"].get("stage", "$default")
        scope = _with_root_path(scope, "" if stage == "$default" else f"/{stage}")
        _require_own_route(scope, self.event)
        return scope


class RestApiHandler(_EventHandler, APIGateway):
    """A REST API, whose event has the path twice, with and without the stage."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope, with the stage as its root path."""
        scope: MutableMapping[str, Any] = super().scope
        full_path, path = self.event["requestContext"].get("path") or "", self.event["path"]
        stage = full_path.removesuffix(path) if full_path.endswith(path) else ""
        scope["path"] = stage + scope["path"]
        scope = _with_root_path(scope, stage)
        _require_own_route(scope, self.event)
        return scope


class LoadBalancerHandler(_EventHandler, ALB):
    """An Application Load Balancer's event."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope."""
        scope: MutableMapping[str, Any] = super().scope
        return _with_root_path(scope, "")


# In Mangum's order: a load balancer's event has neither version nor resource, a format 1.0 event of an HTTP API both.
EVENT_HANDLERS: list[Any] = [LoadBalancerHandler, HttpApiHandler, RestApiHandler]


def _with_root_path(scope: MutableMapping[str, Any], stage: str) -> MutableMapping[str, Any]:
    """The scope with the prefix of its path, BASE_PATH or the stage, as root path.

    Raises BadEventError for a malformed Host header.
    """
    for name, value in scope["headers"]:
        if name == b"host" and not _HOST.fullmatch(value):
            raise BadEventError("malformed Host header")
    for root in (SETTINGS.base_path, stage):
        if root and (scope["path"] == root or scope["path"].startswith(f"{root}/")):
            scope["root_path"] = root
            break
    return scope


def _require_own_route(scope: MutableMapping[str, Any], event: dict[str, Any]) -> None:
    """Raise BadEventError for a request that came by another route than its own, and so evaded its authorisation.

    This can happen with an encoded path, or one behind BASE_PATH, that the gateway does not match to the route. The
    payload format 1.0 names the route by its path alone.
    """
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    begins = _begins(SETTINGS.own_routes)
    # Most requests are for a scorer.
    if not path.startswith(begins):
        return
    route = event.get("routeKey") or event.get("resource") or ""
    for own, begin in zip(SETTINGS.own_routes, begins, strict=True):
        method = own.partition(" ")[0]
        # A HEAD request reads the same resource as a GET request.
        is_asked = scope["method"] == method or (scope["method"], method) == ("HEAD", "GET")
        if is_asked and (path == begin or path.startswith(f"{begin}/")) and begin not in route:
            raise BadEventError(
                f"{own} must be called through its own route; send the path exactly as it is written here"
            )


@cache
def _begins(own_routes: tuple[str, ...]) -> tuple[str, ...]:
    """The paths of OWN_ROUTES, without their methods."""
    return tuple(own.partition(" ")[2] for own in own_routes)


def is_warm_up(event: Any) -> bool:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """Whether an event only keeps the function warm: a schedule's, or a warm-up tool's."""
    if not isinstance(event, dict) or "requestContext" in event:
        return False
    marks = {key.lower().replace("-", "").replace("_", "") for key, value in event.items() if value}
    return event.get("source") in _WARM_UP_SOURCES or not marks.isdisjoint(_WARM_UP_KEYS)


def checked_event(received: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event as Mangum reads it: null headers are empty, the body is decoded from base64.

    Raises NotHttpError for an event that is not an HTTP request, BadEventError for invalid base64.
    """
    event = _http_event(received)
    if event.get("headers") is None:
        event = {**event, "headers": {}}
    if event.get("multiValueHeaders", {}) is None:
        event = {**event, "multiValueHeaders": {}}
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(event.get("body") or "", validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise BadEventError("the body is not valid base64") from error
        return {**event, "body": body, "isBase64Encoded": False}
    return event


def _http_event(event: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event, VPC Lattice's in the payload format of an HTTP API; raises as `checked_event` does."""
    if isinstance(event, dict):
        context = event.get("requestContext")
        # An authorizer's event resembles the request that it is asked about.
        if isinstance(context, dict) and "methodArn" not in event and "routeArn" not in event:
            if "http" in context or "httpMethod" in event:
                return event
            if "method" in event and "path" in event:
                return _from_lattice(event, event["path"], event.get("queryStringParameters"))
        elif "method" in event and "raw_path" in event:
            return _from_lattice(event, event["raw_path"], event.get("query_string_parameters"))
    raise NotHttpError


def _from_lattice(event: dict[str, Any], path: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """An event of VPC Lattice in the payload format 2.0 of an HTTP API."""
    path, _, query = path.partition("?")
    headers = (event.get("headers") or {}).items()
    return {
        "version": "2.0",
        "requestContext": {"http": {"method": event["method"], "path": path, "sourceIp": ""}},
        "rawQueryString": urlencode(parameters, doseq=True) if parameters else query,
        "headers": {name: ", ".join(value) if isinstance(value, list) else value for name, value in headers},
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", event.get("is_base64_encoded")),
    }


def detail_answer(status: int, detail: str) -> dict[str, Any]:
    """An answer without a route, valid for every gateway: load balancers read either kind of headers."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "body": json.dumps({"detail": detail}),
        "isBase64Encoded": False,
    }


def post_event(route: str, query: str, body: str) -> dict[str, Any]:
    """A minimal HTTP API event that posts a body, for the warm-up."""
    http = {"method": "POST", "path": route, "sourceIp": "127.0.0.1"}
    return {
        "version": "2.0",
        "requestContext": {"http": http},
        "headers": {},
        "rawQueryString": query,
        "body": body,
    }
