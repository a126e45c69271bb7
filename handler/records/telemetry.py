"""Metrics, as CloudWatch's embedded metric format: one JSON line an invocation, which needs no library and no call.

Source of the format: "Specification: embedded metric format", Amazon CloudWatch User Guide.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import time
from types import MappingProxyType
from typing import Any

from handler.scoring.scorer import Answered, Scored

NAMESPACE = "FraudScorer"
SCORED, FLAGGED, WARNED, FAILED = "Scored", "Flagged", "Warned", "Failed"
MEASURED = {"Latency": ("Milliseconds", "%.3f"), "Probability": ("None", "%s")}
# Of one metric in a line.
MOST_VALUES = 100
SWAPPED, REFUSED, STORE_FAILED = "Swapped", "Refused", "StoreFailed"
# At every look at the store while something is wrong with a scorer's pointer, or with what it names.
TROUBLE = "StoreTrouble"
# What template.yaml's alarms on the version that is being deployed read, and a dashboard by scorer.
BY_VERSION = ("FunctionName", "FunctionVersion")
BY_SCORER = ("FunctionName", "Scorer")
_STDOUT = 1


def _line(
    counts: Sequence[str],
    dimensions: Sequence[Sequence[str]],
    given: Mapping[str, str],
    measured: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> str:
    """A line with holes for the time, the function's version and each metric, in this order.

    `measured` are metrics that are no counts: per name its unit, and how its value is written.
    """
    units = {**dict.fromkeys(counts, "Count"), **{name: unit for name, (unit, _) in measured.items()}}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    fixed = {"FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"), **given}
    text = f'"CloudWatchMetrics":{json.dumps([directive])}}},{json.dumps(fixed)[1:-1]}'.replace("%", "%%")
    holes = {**dict.fromkeys(counts, "%d"), **{name: hole for name, (_, hole) in measured.items()}}
    values = "".join(f',"{name}":{hole}' for name, hole in holes.items())
    return '{"_aws":{"Timestamp":%d,' + text + ',"FunctionVersion":"%s"' + values + "}\n"


def _filled(line: str, version: str, *values: float | str) -> bytes:
    return (line % (time() * 1000, version, *values)).encode()


def write(line: bytes) -> None:
    """Write to stdout in one piece, past Python's buffers, which Lambda may freeze before they are flushed."""
    # A metric that cannot be written must fail neither a request nor the thread that looks at the store.
    with suppress(OSError):
        os.write(_STDOUT, line)


class Meter:
    """Counts what one scorer is asked, flags and warns of, and how long it takes."""

    def __init__(self, scorer: str) -> None:
        """Prepare all of the line that no request changes."""
        self._line = _line((SCORED, FLAGGED, WARNED), (BY_VERSION, BY_SCORER), {"Scorer": scorer}, MEASURED)

    def line(self, context: Any, answered: Answered, seconds: float) -> bytes:  # noqa: ANN401 - Lambda's context
        """The line of one invocation: its predictions, and the seconds from the request to the answer."""
        n_flagged = sum(one.is_flagged for one in answered.scored)
        n_warned = sum("warnings" in answer for answer in answered.answers)
        counts = (len(answered.scored), n_flagged, n_warned)
        return _filled(self._line, context.function_version, *counts, seconds * 1000, _distribution(answered.scored))


def _distribution(scored: Sequence[Scored]) -> str:
    """The probabilities, of which CloudWatch makes a distribution; of a larger batch as many as a line may hold."""
    if len(scored) == 1:
        return f"{scored[0].probability:.6g}"
    ordered = sorted(one.probability for one in scored)
    n_kept = min(len(ordered), MOST_VALUES)
    # The least and the most among them.
    kept = [ordered[index * (len(ordered) - 1) // max(n_kept - 1, 1)] for index in range(n_kept)]
    return f"[{','.join(f'{value:.6g}' for value in kept)}]"


def record_failure(context: Any) -> None:  # noqa: ANN401 - Lambda's context
    """Write the line of an invocation that was answered with a 5xx, which Lambda's own metrics take for a success."""
    write(_filled(_line((FAILED,), (BY_VERSION,), {}), context.function_version, 1))


class StoreMeter:
    """Counts what becomes of the store's versions."""

    def record(self, scorer: str, metric: str) -> None:
        """Write a line that counts one of SWAPPED, REFUSED, STORE_FAILED, TROUBLE for a scorer."""
        # Outside an invocation there is no context; the environment names the version that was published.
        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "local")
        write(_filled(_line((metric,), (("FunctionName",), BY_SCORER), {"Scorer": scorer}), version, 1))
