"""Metrics, as CloudWatch's embedded metric format: one JSON line an invocation, which needs no library and no call.

Source of the format: "Specification: embedded metric format", Amazon CloudWatch User Guide.
"""

import json
import os
from time import time

NAMESPACE = "FraudScorer"
# The alarm on the share that a new version flags reads the first; a dashboard by scorer the second.
DIMENSIONS = (("FunctionName", "FunctionVersion"), ("FunctionName", "Scorer"))
METRICS = ("Scored", "Flagged")
_STDOUT = 1


class Meter:
    """Counts what one scorer is asked and flags."""

    def __init__(self, scorer: str) -> None:
        """Prepare all of the line that no request changes."""
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": DIMENSIONS,
            "Metrics": [{"Name": name, "Unit": "Count"} for name in METRICS],
        }
        dimensions = {
            "FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
            "FunctionVersion": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "local"),
            "Scorer": scorer,
        }
        given = f'"CloudWatchMetrics":{json.dumps([directive])}}},{json.dumps(dimensions)[1:-1]}'
        self._line = '{"_aws":{"Timestamp":%d,' + given.replace("%", "%%") + ',"Scored":%d,"Flagged":%d}\n'

    def record(self, n_scored: int, n_flagged: int) -> None:
        """Write the line of one invocation: how many requests it scored, how many of them it flagged.

        It goes to stdout in one piece, past Python's buffers, which Lambda may freeze before they are flushed.
        """
        os.write(_STDOUT, (self._line % (time() * 1000, n_scored, n_flagged)).encode())
