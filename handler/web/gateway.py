"""Event handlers: adjustments to each kind of Lambda event for Mangum, and answers to events that are no requests.

An HTTP API sends payload format 2.0 or 1.0, a Function URL 2.0, a REST API 1.0, a load balancer its own.
"""

import base64
import binascii
import json
import re
from collections.abc import MutableMapping
from functools import cached_property
from typing import Any

from handler.settings import SETTINGS
from handler.web.startup import ALB, APIGateway, HTTPGateway

# A name or an IPv4 address, and optionally a port. No gateway sends an IPv6 address, and Mangum cannot parse one.
_HOST = re.compile(rb"[A-Za-z0-9._-]+(:[0-9]{1,5})?")
# EventBridge rules and EventBridge Scheduler, which keep a function warm.
_SCHEDULES = ("aws.events", "aws.scheduler")


class BadEventError(ValueError):
    """Raised when an event is not a well-formed HTTP request."""


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
        return _with_root_path(scope, "" if stage == "$default" else f"/{stage}")


class RestApiHandler(_EventHandler, APIGateway):
    """A REST API, whose event has the path twice, with and without the stage."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope, with the stage as its root path."""
        scope: MutableMapping[str, Any] = super().scope
        full_path, path = self.event["requestContext"].get("path") or "", self.event["path"]
        stage = full_path.removesuffix(path) if full_path.endswith(path) else ""
        scope["path"] = stage + scope["path"]
        return _with_root_path(scope, stage)


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


def is_schedule(event: Any) -> bool:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """Whether an event is a schedule's, which only keeps the function warm."""
    return isinstance(event, dict) and "requestContext" not in event and event.get("source") in _SCHEDULES


def checked_event(event: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event with its body decoded from base64.

    Raises BadEventError, which names the problem, for an event that Mangum would misread.
    """
    if not isinstance(event, dict) or "requestContext" not in event:
        raise BadEventError("not an HTTP event: it has no requestContext")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(event.get("body") or "", validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise BadEventError("the body is not valid base64") from error
        return {**event, "body": body, "isBase64Encoded": False}
    return event


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
