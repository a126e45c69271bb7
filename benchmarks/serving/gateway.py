"""The event that API Gateway's HTTP API (payload format 2.0) hands to a Lambda function."""

import json
from typing import Any

from benchmarks.command import ROOT

EXAMPLE = ROOT / "tests" / "events" / "transaction.json"


def http_event(route: str, body: object, *, query: str = "") -> dict[str, Any]:
    """The event of a POST of `body` as JSON."""
    event: dict[str, Any] = json.loads(EXAMPLE.read_bytes())
    text = json.dumps(body)
    event["requestContext"]["http"]["path"] = event["rawPath"] = route
    event["headers"]["content-length"] = str(len(text))
    return event | {"rawQueryString": query, "body": text}
