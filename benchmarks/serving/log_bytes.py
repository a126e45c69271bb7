"""What a request writes into the logs: the lines of Lambda, of the metrics and of the record, and of the access log."""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from os import urandom
from pathlib import Path
from statistics import fmean
from typing import Any

# What the emulator prints as Lambda does, and what the function prints, by the start of the line.
START = b"START RequestId: "
KINDS = {
    "system": (START, b"END RequestId: ", b"REPORT RequestId: "),
    "metrics": (b'{"_aws":',),
    "record": (b'{"record":',),
}
DURATION = re.compile(rb"^REPORT .*?\tDuration: ([\d.]+) ms", flags=re.MULTILINE)
# What API Gateway writes for a request of a role; what is absent it writes as "-".
ACCESS = {
    "requestTime": "30/Nov/2026:05:10:11 +0000",
    "httpMethod": "POST",
    "status": "200",
    "responseLatency": "12",
    "responseLength": "229",
    "identity.userArn": "arn:aws:sts::123456789012:assumed-role/payment-service/i-0123456789abcdef0",
}


def durations_of(log: Path) -> list[float]:
    """The milliseconds of each invocation, as an emulator's log tells them."""
    return [float(duration) for duration in DURATION.findall(log.read_bytes())]


def line_figures(lines: Sequence[bytes], access: Sequence[bytes], requests: int) -> dict[str, dict[str, float]]:
    """By kind of line: lines, bytes and gzipped bytes a request, of the last so many requests of an emulator's log."""
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
    """How many metrics of CloudWatch the lines of a log make: one for each name and each set of dimension values."""
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
    """The line of the access log for a request of a role to a path, by the format of the template."""
    # As long as API Gateway's, and as little compressible.
    context = ACCESS | {"path": path, "requestId": b64encode(urandom(11)).decode()}
    return (re.sub(r"\$context\.([\w.]+)", lambda match: context.get(match[1], "-"), pattern) + "\n").encode()


def response_bytes(answers: Sequence[Mapping[str, Any]]) -> float:
    """The mean size of answers, body and headers as the function gives them; API Gateway adds a few headers."""
    return fmean(
        len(answer["body"].encode()) + sum(len(f"{name}: {value}\r\n") for name, value in answer["headers"].items())
        for answer in answers
    )
