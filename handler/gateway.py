"""The guard in front of Mangum: which Lambda events are well-formed HTTP requests, and the 400 for the rest."""

import base64
import binascii
import json
import re
from typing import Any

# A name or an IPv4 address, then perhaps a port. No gateway sends an IPv6 address, and Mangum cannot read one.
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?")


class BadEventError(ValueError):
    """Raised when an event is not a well-formed HTTP request."""


def checked_event(event: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The event, its body decoded, as Mangum needs it.

    Raises BadEventError, which says what is wrong, for what Mangum would raise on or misread.
    """
    if not isinstance(event, dict) or "requestContext" not in event:
        raise BadEventError("not an HTTP event: it has no requestContext")
    for headers in (event.get("headers") or {}, event.get("multiValueHeaders") or {}):
        for key, value in headers.items():
            hosts = value if isinstance(value, list) else [value]
            if key.lower() == "host" and not all(_HOST.fullmatch(str(host)) for host in hosts):
                raise BadEventError("malformed Host header")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(event.get("body") or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadEventError("the body is not valid base64") from error
        return {**event, "body": body, "isBase64Encoded": False}
    return dict(event)


def bad_request(detail: str) -> dict[str, Any]:
    """A 400 as API Gateway wants it."""
    return {
        "statusCode": 400,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"detail": detail}),
        "isBase64Encoded": False,
    }
