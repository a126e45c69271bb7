"""Compares an artifact's answers to the golden cases of its bundles with those recorded in training.

`python -I -S -B training/delivery/ask_golden.py FOLDER` asks the artifact in a folder, and imports nothing but the
artifact and Python's standard library.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Lambda always passes a context; with one, the function writes its metrics, too.
CONTEXT = SimpleNamespace(function_version="1")
TOLERANCE = 1e-9  # as in handler/scoring/scorer.py: exp() depends on the platform


def golden_event(route: str, request: object) -> dict[str, Any]:
    """The golden request as an HTTP API of API Gateway sends it (payload format 2.0)."""
    host = "artifact.execute-api.local"
    http = {"method": "POST", "path": route, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "check"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": route,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": host},
        "requestContext": {"http": http, "domainName": host, "requestId": "check", "stage": "$default"},
        "body": json.dumps(request),
        "isBase64Encoded": False,
    }


def probability_of(answer: dict[str, Any]) -> float:
    """The fraud probability of a golden answer; a decision's confidence is the probability of its predicted class."""
    if "fraud_probability" in answer:
        return float(answer["fraud_probability"])
    confidence = float(answer["confidence"])
    return confidence if answer["prediction"] == 1 else 1.0 - confidence


def ask(handler: Callable[[Any, Any], dict[str, Any]], bundle: Path) -> tuple[list[float], list[str]]:
    """The error of the probability for each golden case of a bundle, and a sentence for each wrong answer.

    Cases with a past are skipped, because no request can carry a past.
    """
    route = json.loads((bundle / "manifest.json").read_bytes())["contract"]["route"]
    golden = json.loads((bundle / "golden.json").read_bytes())
    off: list[float] = []
    wrong = []
    for number, case in enumerate(golden, start=1):
        if "past" in case:
            continue
        off.append(1.0)
        response = handler(golden_event(route, case["request"]), CONTEXT)
        if response["statusCode"] != 200:  # noqa: PLR2004 - HTTP's own number
            wrong.append(f"{bundle.name}: golden request {number} is answered with {response['statusCode']}")
            continue
        probability = probability_of(json.loads(response["body"]))
        off[-1] = abs(probability - case["probability"])
        if off[-1] > TOLERANCE:
            wrong.append(
                f"{bundle.name}: golden request {number} gives {probability}; training gave {case['probability']}"
            )
    return off, wrong


def ask_all(handler: Callable[[Any, Any], dict[str, Any]], bundles: Path) -> dict[str, Any]:
    """The number of cases asked, the largest error and the sentences, over all bundles of a folder."""
    results = [ask(handler, path) for path in sorted(bundles.iterdir())]
    off = [difference for differences, _ in results for difference in differences]
    return {
        "asked": len(off),
        "off": max(off, default=0.0),
        "wrong": [text for _, wrong in results for text in wrong],
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    handler = importlib.import_module("handler.app").handler
    json.dump(ask_all(handler, folder / "build" / "bundles"), sys.stdout)
