"""The doors: what each kind of Lambda event needs before Mangum reads it, and the answers to what is no request.

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

# A name or an IPv4 address, then perhaps a port. No gateway sends an IPv6 address, and Mangum cannot read one.
_HOST = re.compile(rb"[A-Za-z0-9._-]+(:[0-9]{1,5})?")
# EventBridge's rules and its scheduler, which keep a function warm.
_SCHEDULES = ("aws.events", "aws.scheduler")


class BadEventError(ValueError):
    """Raised when an event is not a well-formed HTTP request."""


class _EventHandler:
    """What every door does to an answer."""

    def __call__(self, response: Any) -> dict[str, Any]:  # noqa: ANN401 - Mangum's record of an answer
        """The answer as its door wants it; without a body where only the head was asked for."""
        if self.scope["method"] == "HEAD":  # type: ignore[attr-defined]  # each door's own
            response = {**response, "body": b""}
        answer: dict[str, Any] = super().__call__(response)  # type: ignore[misc]  # Mangum's class beside this one has it
        return answer


class HttpApiHandler(_EventHandler, HTTPGateway):
    """An HTTP API or a Function URL, whose path begins with the stage where the stage has a name."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope; Mangum asks for it twice and would build it twice."""
        scope: MutableMapping[str, Any] = super().scope
        stage = self.event["requestContext"].get("stage", "$default")
        return _rooted(scope, "" if stage == "$default" else f"/{stage}")


class RestApiHandler(_EventHandler, APIGateway):
    """A REST API, which gives the path twice, with the stage and without."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope, with the stage as its root path."""
        scope: MutableMapping[str, Any] = super().scope
        whole, path = self.event["requestContext"].get("path") or "", self.event["path"]
        stage = whole.removesuffix(path) if whole.endswith(path) else ""
        scope["path"] = stage + scope["path"]
        return _rooted(scope, stage)


class LoadBalancerHandler(_EventHandler, ALB):
    """An Application Load Balancer's event."""

    @cached_property
    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI scope."""
        scope: MutableMapping[str, Any] = super().scope
        return _rooted(scope, "")


# Mangum's own order: a load balancer's event has neither version nor resource, a format 1.0 event of an HTTP API both.
EVENT_HANDLERS: list[Any] = [LoadBalancerHandler, HttpApiHandler, RestApiHandler]


def _rooted(scope: MutableMapping[str, Any], stage: str) -> MutableMapping[str, Any]:
    """The scope with what stands before the application's own paths as its root path: BASE_PATH, or else the stage.

    Raises BadEventError for a Host that no client sends.
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
    """Whether an event is a schedule's, which asks nothing and only keeps the function warm."""
    return isinstance(event, dict) and "requestContext" not in event and event.get("source") in _SCHEDULES


def checked_event(event: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event, its body decoded, as Mangum needs it.

    Raises BadEventError, which says what is wrong, for what Mangum would misread.
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


def plain_answer(status: int, detail: str) -> dict[str, Any]:
    """An answer that no route gave, for every door: a load balancer may read its headers from either place."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "body": json.dumps({"detail": detail}),
        "isBase64Encoded": False,
    }


def post_event(route: str, query: str, body: str) -> dict[str, Any]:
    """The least HTTP API event that posts a body, with which the function warms itself up."""
    http = {"method": "POST", "path": route, "sourceIp": "127.0.0.1"}
    return {
        "version": "2.0",
        "requestContext": {"http": http},
        "headers": {},
        "rawQueryString": query,
        "body": body,
    }
