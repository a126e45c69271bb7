"""Metrics in CloudWatch's embedded metric format: one line of JSON per invocation, without a library or a request.

Source of the format: "Specification: embedded metric format", Amazon CloudWatch User Guide.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from time import time
from types import MappingProxyType
from typing import Any

from handler.records.logs import write
from handler.scoring.scorer import Answered, Scored

NAMESPACE = "FraudScorer"
SCORED, FLAGGED, WARNED, FAILED, UNREAD = "Scored", "Flagged", "Warned", "Failed", "Unread"
# The flagged requests that are blocked, if the decision has bands.
BLOCKED = "Blocked"
# Requests that were scored without their past, because the history did not answer.
UNANSWERED = "Unanswered"
MEASURED = {"Latency": ("Milliseconds", "%.3f"), "Probability": ("None", "%s")}
# CloudWatch's limit for one metric in one line.
MOST_VALUES = 100
SWAPPED, REFUSED, STORE_FAILED = "Swapped", "Refused", "StoreFailed"
# The first invocation of an environment, after its start or its restore.
COLD_START = "ColdStart"
# Counted at every look at the store while a scorer's pointer, or a version that it names, is unusable.
TROUBLE = "StoreTrouble"
# The dimensions that template.yaml reads: in the alarms on the version being deployed (one of which compares it with
# all versions together), and in the standing alarms and the dashboard.
BY_VERSION = ("FunctionName", "FunctionVersion")
BY_FUNCTION = ("FunctionName",)
BY_SCORER = ("FunctionName", "Scorer")
# Set by Lambda's runtime for each invocation.
TRACE_VARIABLE = "_X_AMZN_TRACE_ID"
_ROOT = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?![^;\s])")


def _line(
    counts: Sequence[str],
    dimensions: Sequence[Sequence[str]],
    dimension_values: Mapping[str, str],
    measured: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> str:
    """A format string for the timestamp, the function's version, the request's id and each metric, in this order.

    `measured` are the metrics other than counts: per name the unit and the value's format.
    """
    units = {**dict.fromkeys(counts, "Count"), **{name: unit for name, (unit, _) in measured.items()}}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    fixed = {"FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"), **dimension_values}
    text = f'"CloudWatchMetrics":{json.dumps([directive])}}},{json.dumps(fixed)[1:-1]}'.replace("%", "%%")
    formats = {**dict.fromkeys(counts, "%d"), **{name: value_format for name, (_, value_format) in measured.items()}}
    values = "".join(f',"{name}":{value_format}' for name, value_format in formats.items())
    return '{"_aws":{"Timestamp":%d,' + text + ',"FunctionVersion":"%s"%s' + values + "}\n"


def _format(line: str, version: str, *values: float | str, ids: str = "") -> bytes:
    return (line % (time() * 1000, version, ids, *values)).encode()


def _ids(context: Any) -> str:  # noqa: ANN401 - Lambda's context
    """The JSON members by which a line is found: the invocation's id, and its trace if X-Ray keeps one."""
    identifier = getattr(context, "aws_request_id", "")
    ids = f',"RequestId":"{identifier}"' if identifier else ""
    header = os.environ.get(TRACE_VARIABLE, "")
    if "Sampled=1" in header and (trace := trace_root(header)):
        ids += f',"Trace":"{trace}"'
    return ids


def trace_root(text: str) -> str:
    """The id of the trace that a tracing header names; empty if it names none, or is malformed.

    Source of the form: "Tracing header", AWS X-Ray Developer Guide.
    """
    match = _ROOT.search(text)
    return match[1] if match else ""


class Meter:
    """Counts one scorer's predictions, flags and warnings, and measures its latency."""

    def __init__(self, scorer: str) -> None:
        """Prepare the constant part of the lines, without bands and with them."""
        counts = (SCORED, FLAGGED, WARNED)
        self._line, self._line_with_bands = (
            _line(of, (BY_VERSION, BY_FUNCTION, BY_SCORER), {"Scorer": scorer}, MEASURED)
            for of in (counts, (*counts, BLOCKED))
        )

    def line(self, context: Any, answered: Answered, seconds: float) -> bytes:  # noqa: ANN401 - Lambda's context
        """The line of one invocation; `seconds` is the time from the request to the answer."""
        n_flagged = sum(scored.is_flagged for scored in answered.scored)
        n_warned = sum("warnings" in answer for answer in answered.answers)
        line, counts = self._line, [len(answered.scored), n_flagged, n_warned]
        if answered.scored[0].band:
            line = self._line_with_bands
            counts.append(sum(scored.band == "block" for scored in answered.scored))
        probabilities = _distribution(answered.scored)
        return _format(line, context.function_version, *counts, seconds * 1000, probabilities, ids=_ids(context))


def _distribution(scored: Sequence[Scored]) -> str:
    """The probabilities, from which CloudWatch makes a distribution; for a large batch, a sample that fits one line."""
    if len(scored) == 1:
        return f"{scored[0].probability:.6g}"
    ordered = sorted(prediction.probability for prediction in scored)
    n_kept = min(len(ordered), MOST_VALUES)
    # Evenly spaced by rank, the lowest and the highest included.
    kept = [ordered[index * (len(ordered) - 1) // max(n_kept - 1, 1)] for index in range(n_kept)]
    return f"[{','.join(f'{value:.6g}' for value in kept)}]"


def record_failure(context: Any) -> None:  # noqa: ANN401 - Lambda's context
    """Count an invocation that was answered with a 5xx, which Lambda's own metrics count as a success."""
    write(_format(_line((FAILED,), (BY_VERSION,), {}), context.function_version, 1, ids=_ids(context)))


def record_cold_start(context: Any) -> None:  # noqa: ANN401 - Lambda's context
    """Count the first invocation of an environment."""
    write(_format(_line((COLD_START,), (BY_FUNCTION,), {}), context.function_version, 1, ids=_ids(context)))


def record_unread(context: Any) -> None:  # noqa: ANN401 - Lambda's context
    """Count an event that could not be read, for all versions together, because the fault is the sender's."""
    write(_format(_line((UNREAD,), (BY_FUNCTION,), {}), context.function_version, 1, ids=_ids(context)))


def record_unanswered(context: Any, n_requests: int) -> None:  # noqa: ANN401 - Lambda's context
    """Count requests that were scored without their past, for all versions together, because they share the history."""
    line = _line((UNANSWERED,), (BY_FUNCTION,), {})
    write(_format(line, context.function_version, n_requests, ids=_ids(context)))


class StoreMeter:
    """Counts swaps, refusals and failures of the store."""

    def record(self, scorer: str, metric: str) -> None:
        """Count one of SWAPPED, REFUSED, STORE_FAILED, TROUBLE for a scorer."""
        # Outside an invocation there is no context; the environment names the published version.
        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "local")
        write(_format(_line((metric,), (BY_FUNCTION, BY_SCORER), {"Scorer": scorer}), version, 1))
