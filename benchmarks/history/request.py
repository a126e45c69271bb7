"""The time that a SQLite history of three entities and twelve features adds to a warm request: `make bench-history`.

The baseline is the same scorer without its history. Each of the two has a process of its own. They are called in turn,
as Lambda calls the function, without a network. The history's file already holds the earlier payments.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.command import keep, options_of
from benchmarks.history.payment_bundles import trained_bundles
from benchmarks.history.payments import ROUTE, SCORER, requests
from benchmarks.machine import in_turn, machine
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.gateway import http_event
from benchmarks.serving.services import checkout_service
from benchmarks.tables import date_of, number, table
from handler.history.sqlite import SqliteHistory
from handler.scoring.scorer import load_scorer

SIZES = {"rows": (50_000, 3_000), "turns": (61, 2), "calls": (200, 5)}
PERCENTILES = {"p50": 50, "p99": 99}
# The most time that a history may add to a request, in microseconds.
MOST_ADDED = {"p50": 250.0, "p99": 600.0}


def remember(bundle: Path, path: Path, past: Sequence[Mapping[str, Any]]) -> None:
    """Write a history file that holds these requests."""
    scorer = load_scorer(bundle)
    if scorer.past is None:
        raise SystemExit(f"{bundle} has no history")
    with closing(SqliteHistory(str(path), 5_000)) as history:
        for request in tqdm(past, unit="request"):
            history.exchange([scorer.past.events(scorer.request_model.model_validate(request))])


def measure(options: Namespace) -> dict[str, dict[str, float]]:
    """The percentiles of a request's time, in microseconds, with and without the history."""
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        with_history, without = trained_bundles(folder, options.rows)
        n_calls = (options.turns + 1) * options.calls
        *past, first = requests(options.rows)
        remember(with_history / SCORER, folder / "history.db", past)
        # New payments of the same entities, later than those in the history.
        later = [first["at"] - past[0]["at"] + 60 + request["at"] for request in past[:n_calls]]
        new = [
            request | {"payment_id": f"new {index}", "at": at}
            for index, (request, at) in enumerate(zip(past, later, strict=False))
        ]
        events = {
            "with": [http_event(ROUTE, request) for request in new],
            "without": [http_event(ROUTE, {key: request[key] for key in ("payment_id", "amount")}) for request in new],
        }
        services = {
            "with": checkout_service(BUNDLES=str(with_history), HISTORY=str(folder / "history.db")),
            "without": checkout_service(BUNDLES=str(without)),
        }
        with (
            FunctionProcess(services["with"], events["with"][0]) as process_with,
            FunctionProcess(services["without"], events["without"][0]) as process_without,
        ):
            processes, streams = (
                {"with": process_with, "without": process_without},
                {kind: iter(of) for kind, of in events.items()},
            )
            # The first turn warms up.
            for turn in tqdm(range(-1, options.turns), unit="turn"):
                for kind in in_turn(processes, turn):
                    report = processes[kind].call(list(islice(streams[kind], options.calls)), options.calls)
                    if "history did not answer" in report.answer["body"]:
                        raise SystemExit(f"the history does not answer: {report.answer['body']}")
                    seconds[kind] += report.seconds if turn >= 0 else []
    return {
        kind: {name: float(np.percentile(of, percent)) * 1e6 for name, percent in PERCENTILES.items()}
        for kind, of in seconds.items()
    }


def added(report: Mapping[str, Any]) -> dict[str, float]:
    """The microseconds that the history adds, by percentile."""
    return {name: report["with"][name] - report["without"][name] for name in PERCENTILES}


def request_table(report: Mapping[str, Any]) -> str:
    """The time of a request without and with the history, and the difference."""
    lines = {
        "a request without a history": report["without"],
        "the same with three entities and twelve features on SQLite": report["with"],
        "the history adds": added(report),
    }
    rows = [[title, *(f"{number(of[name])} µs" for name in PERCENTILES)] for title, of in lines.items()]
    return table([f"`make bench-history` on {date_of(report)}", "median", "99th percentile"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if the history adds too much."""
    options = options_of("history.request", __doc__, SIZES, arguments)
    report = {"machine": machine(), "effort": {size: getattr(options, size) for size in SIZES}, **measure(options)}
    print(request_table(report))
    excesses = [
        f"the history adds {microseconds:.0f} µs at {name}, at most {MOST_ADDED[name]:g}"
        for name, microseconds in added(report).items()
        if microseconds > MOST_ADDED[name]
    ]
    keep("history_request", report, options, excesses)


if __name__ == "__main__":
    main()
