"""One subject in a process of its own: its import and a first event, each timed, then as many as it is told.

`python child.py PLAN`, where PLAN is JSON: paths (put before sys.path), module, event. Each line on stdin is JSON
(event, calls); each line on stdout is JSON (answer, seconds: a list, whose first is [import, first answer]).
"""

import json
import os
import sys
from importlib import import_module
from time import perf_counter
from types import SimpleNamespace
from typing import Any

# Lambda always passes one; with it the function writes its line of metrics, which is part of what a request costs.
CONTEXT = SimpleNamespace(function_version="1")


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
    print(json.dumps({"answer": answer, "seconds": seconds}), file=reports)
    for line in sys.stdin:
        order = json.loads(line)
        event, seconds = order["event"], []
        for _ in range(order["calls"]):
            start = perf_counter()
            answer = handler(event, CONTEXT)
            seconds.append(perf_counter() - start)
        print(json.dumps({"answer": answer, "seconds": seconds}), file=reports)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
