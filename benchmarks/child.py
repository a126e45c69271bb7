"""One subject in a process of its own: a first event, timed from before its first import, then as many as it is told.

`python child.py PLAN`, where PLAN is JSON: paths (put before sys.path), module, event, core (or null). Each line on
stdin is JSON (event, calls); each line on stdout is JSON (answer, seconds: a list).
"""

import json
import os
import sys
from importlib import import_module
from time import perf_counter
from typing import Any


def main(plan: dict[str, Any]) -> None:
    """Answer the plan's event, then every line of stdin."""
    if plan["core"] is not None:
        os.sched_setaffinity(0, {plan["core"]})
    # What the service itself prints, such as its log, must not come between the reports.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path[:0] = plan["paths"]
    start = perf_counter()
    handler = import_module(plan["module"]).handler
    answer = handler(plan["event"], None)
    seconds = [perf_counter() - start]
    print(json.dumps({"answer": answer, "seconds": seconds}), file=reports)
    for line in sys.stdin:
        order = json.loads(line)
        event, seconds = order["event"], []
        for _ in range(order["calls"]):
            start = perf_counter()
            answer = handler(event, None)
            seconds.append(perf_counter() - start)
        print(json.dumps({"answer": answer, "seconds": seconds}), file=reports)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
