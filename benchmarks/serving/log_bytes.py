"""What a request writes to the logs: Lambda's own lines, the metrics, the prediction record and the access log."""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from os import urandom
from pathlib import Path
from statistics import fmean
from typing import Any

# How lines begin, by kind: the emulator prints the system lines as Lambda does, and the function prints the others.
START = b"START RequestId: "
KINDS = {
    "system": (START, b"END RequestId: ", b"REPORT RequestId: "),
    "metrics": (b'{"_aws":',),
    "record": (b'{"record":',),
}
DURATION = re.compile(rb"^REPORT .*?\tDuration: ([\d.]+) ms", flags=re.MULTILINE)
# The values that API Gateway logs for a request by an IAM role; it writes "-" for absent ones.
ACCESS = {
    "requestTime": "30/Nov/2026:05:10:11 +0000",
    "httpMethod": "POST",
    "status": "200",
    "responseLatency": "12",
    "responseLength": "229",
    "identity.userArn": "arn:aws:sts::123456789012:assumed-role/payment-service/i-0123456789abcdef0",
}


def durations_of(log: Path) -> list[float]:
    """The milliseconds of each invocation in an emulator's log."""
    return [float(duration) for duration in DURATION.findall(log.read_bytes())]


def line_figures(lines: Sequence[bytes], access: Sequence[bytes], requests: int) -> dict[str, dict[str, float]]:
    """Per kind of line, the lines, bytes and gzipped bytes per request, over the last `requests` of a log."""
    start = [place for place, line in enumerate(lines) if line.startswith(START)][-requests]
    content = {kind: [line for line in lines[start:] if line.startswith(begins)] for kind, begins in KINDS.items()}
    return {
        kind: {
            "lines": len(of_kind) / requests,
            "bytes": sum(map(len, of_kind)) / requests,
            "gzipped": len(gzip.compress(b"".join(of_kind))) / requests,
        }
        for kind, of_kind in {**content, "access": list(access)}.items()
    }


def metrics_of(log: Path) -> int:
    """How many CloudWatch metrics a log makes: one for each name and set of dimension values."""
    lines = [json.loads(line) for line in log.read_bytes().splitlines() if line.startswith(KINDS["metrics"])]
    return len(
        {
            (metric["Name"], *((dimension, line[dimension]) for dimension in dimensions))
            for line in lines
            for directive in line["_aws"]["CloudWatchMetrics"]
            for dimensions in directive["Dimensions"]
            for metric in directive["Metrics"]
        }
    )


def access_line(pattern: str, path: str) -> bytes:
    """The access log's line for a request by an IAM role to a path, in the template's format."""
    # The request id is as long, and as hard to compress, as API Gateway's.
    context = ACCESS | {"path": path, "requestId": b64encode(urandom(11)).decode()}
    return (re.sub(r"\$context\.([\w.]+)", lambda match: context.get(match[1], "-"), pattern) + "\n").encode()


def response_bytes(answers: Sequence[Mapping[str, Any]]) -> float:
    """The mean size of answers, body and headers as the function gives them; API Gateway adds a few headers."""
    return fmean(
        len(answer["body"].encode()) + sum(len(f"{name}: {value}\r\n") for name, value in answer["headers"].items())
        for answer in answers
    )
