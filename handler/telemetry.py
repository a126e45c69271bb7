"""Metrics, as CloudWatch's embedded metric format: one JSON line an invocation, which needs no library and no call.

Source of the format: "Specification: embedded metric format", Amazon CloudWatch User Guide.
"""

import json
import os
from collections.abc import Mapping, Sequence
from time import time
from typing import Any

NAMESPACE = "FraudScorer"
SCORED, FLAGGED, FAILED = "Scored", "Flagged", "Failed"
SWAPPED, REFUSED, STORE_FAILED = "Swapped", "Refused", "StoreFailed"
# What template.yaml's alarms on the version that is being deployed read, and a dashboard by scorer.
BY_VERSION = ("FunctionName", "FunctionVersion")
BY_SCORER = ("FunctionName", "Scorer")
_STDOUT = 1


def _line(metrics: Sequence[str], dimensions: Sequence[Sequence[str]], given: Mapping[str, str]) -> str:
    """A line with holes for the time, the function's version and each metric, in this order."""
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": name, "Unit": "Count"} for name in metrics],
    }
    fixed = {"FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"), **given}
    text = f'"CloudWatchMetrics":{json.dumps([directive])}}},{json.dumps(fixed)[1:-1]}'.replace("%", "%%")
    counts = "".join(f',"{name}":%d' for name in metrics)
    return '{"_aws":{"Timestamp":%d,' + text + ',"FunctionVersion":"%s"' + counts + "}\n"


def _write(line: str, version: str, *counts: int) -> None:
    """Write to stdout in one piece, past Python's buffers, which Lambda may freeze before they are flushed."""
    os.write(_STDOUT, (line % (time() * 1000, version, *counts)).encode())


class Meter:
    """Counts what one scorer is asked and flags."""

    def __init__(self, scorer: str) -> None:
        """Prepare all of the line that no request changes."""
        self._line = _line((SCORED, FLAGGED), (BY_VERSION, BY_SCORER), {"Scorer": scorer})

    def record(self, context: Any, n_scored: int, n_flagged: int) -> None:  # noqa: ANN401 - Lambda's context
        """Write the line of one invocation: how many requests it scored, how many of them it flagged."""
        _write(self._line, context.function_version, n_scored, n_flagged)


def record_failure(context: Any) -> None:  # noqa: ANN401 - Lambda's context
    """Write the line of an invocation that was answered with a 5xx, which Lambda's own metrics take for a success."""
    _write(_line((FAILED,), (BY_VERSION,), {}), context.function_version, 1)


class StoreMeter:
    """Counts what becomes of the store's versions."""

    def record(self, scorer: str, metric: str) -> None:
        """Write a line that counts one of SWAPPED, REFUSED, STORE_FAILED for a scorer."""
        # Outside an invocation there is no context; the environment names the version that was published.
        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "local")
        _write(_line((metric,), (("FunctionName",), BY_SCORER), {"Scorer": scorer}), version, 1)
