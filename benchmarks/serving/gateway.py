"""The event that API Gateway's HTTP API (payload format 2.0) hands to a Lambda function."""

import json
from typing import Any

HOST = "k3x8q2a7z1.execute-api.eu-central-1.amazonaws.com"


def http_event(route: str, body: object, *, query: str = "") -> dict[str, Any]:
    """The event of a POST of `body` as JSON."""
    text = json.dumps(body)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": route,
        "rawQueryString": query,
        "headers": {
            "accept": "application/json",
            "content-length": str(len(text)),
            "content-type": "application/json",
            "host": HOST,
            "user-agent": "benchmark",
            "x-amzn-trace-id": "Root=1-66f2c1de-4b1f0c3a5d7e9f1122334455",
            "x-forwarded-for": "198.51.100.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": HOST.split(".", maxsplit=1)[0],
            "domainName": HOST,
            "http": {
                "method": "POST",
                "path": route,
                "protocol": "HTTP/1.1",
                "sourceIp": "198.51.100.7",
                "userAgent": "benchmark",
            },
            "requestId": "f5Qh2g8cFiAEMzQ=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2025:00:00:00 +0000",
            "timeEpoch": 1735689600000,
        },
        "body": text,
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = dict(pair.split("=", maxsplit=1) for pair in query.split("&"))
    return event
