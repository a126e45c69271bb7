"""Runs one service in a process of its own: times its import and its first event, then the events that it is sent.

`python child.py PLAN`, where PLAN is JSON: paths (prepended to sys.path), module, event. Each line on stdin is JSON
(events, calls), and each line on stdout is JSON (answer, seconds). `seconds` is a list, in the first line that of the
import and the first answer. An answer other than 200 ends the process.
"""

import json
import os
import sys
from importlib import import_module
from itertools import cycle, islice
from time import perf_counter
from types import SimpleNamespace
from typing import Any

# Lambda always passes a context; only with one does the function write metrics, which are part of a request's cost.
CONTEXT = SimpleNamespace(function_version="1")
HTTP_OK = 200


def main(plan: dict[str, Any]) -> None:
    """Answer the plan's event, then every line of stdin."""
    # What the service itself prints, such as its log, must not come between the reports.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path[:0] = plan["paths"]
    start = perf_counter()
    handler = import_module(plan["module"]).handler
    imported = perf_counter()
    answer = handler(plan["event"], CONTEXT)
    seconds = [imported - start, perf_counter() - imported]
    report(answer, seconds, reports)
    for line in sys.stdin:
        order, seconds = json.loads(line), []
        for event in islice(cycle(order["events"]), order["calls"]):
            start = perf_counter()
            answer = handler(event, CONTEXT)
            seconds.append(perf_counter() - start)
            if answer["statusCode"] != HTTP_OK:
                break
        report(answer, seconds, reports)


def report(answer: dict[str, Any], seconds: list[float], reports: Any) -> None:  # noqa: ANN401 - a text file
    """Write a report; ends the process if the status of the last answer is not 200."""
    if answer["statusCode"] != HTTP_OK:
        raise SystemExit(f"answered {answer}")
    print(json.dumps({"answer": answer, "seconds": seconds}), file=reports)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
