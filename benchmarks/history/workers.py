"""Workers that share one history for a minute, at a rate that the machine sustains: `make bench-history`.

Each worker is a process that calls the function without a network, which puts more load on the file than the same
workers behind sockets would. The workers first run for some seconds as fast as they can, on a separate file, and then
at a share of that rate, because on an overloaded machine any wait may exceed the budget. In the end every state must
be, byte for byte, the fold of the events that were answered.
"""

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.command import keep, options_of
from benchmarks.history.payment_bundles import trained_bundles
from benchmarks.history.payments import SCORER
from benchmarks.history.shift import Shift, Worked, work
from benchmarks.machine import machine
from benchmarks.tables import date_of, number, table
from handler.scoring.scorer import load_scorer

SIZES = {
    "rows": (20_000, 3_000),
    "workers": (8, 2),
    "seconds": (60, 1),
    "unpaced_seconds": (10, 1),
    "percent": (50, 50),
}


def different_states(bundle: Path, history: Path, answered: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The number of states, and how many of them differ from the fold of all answered requests in order of time."""
    scorer = load_scorer(bundle)
    if scorer.past is None:
        raise SystemExit(f"{bundle} has no history")
    states: dict[bytes, Any] = {}
    for request in sorted(answered, key=lambda request: request["at"]):
        for event in scorer.past.events(scorer.request_model.model_validate(request)):
            if event is not None:
                fold, state = states.setdefault(event.key, (event.past, event.past.empty()))
                fold.add(state, event.event)
    with closing(connect(history)) as connection:
        written = dict(connection.execute("SELECT key, state FROM states"))
    expected = {key: fold.pack(state) for key, (fold, state) in states.items()}
    return len(written), sum(written.get(key) != expected.get(key) for key in {*written, *expected})


def together(bundles: Path, shift: Shift, n_workers: int) -> list[Worked]:
    """What `n_workers` workers did in parallel."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(n_workers, context) as pool:
        barrier, origin = manager.Barrier(n_workers), time.time()
        futures = [pool.submit(work, bundles, shift, worker, barrier, origin) for worker in range(n_workers)]
        return [future.result() for future in futures]


def measure(options: Namespace) -> dict[str, Any]:
    """What the workers did, and how many of the states are wrong."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        bundles, _ = trained_bundles(folder, options.rows)
        first = together(bundles, Shift(folder / "unpaced.db", options.unpaced_seconds), options.workers)
        unpaced = sum(len(worked.seconds) for worked in first) / options.unpaced_seconds
        rate = unpaced * options.percent / 100 / options.workers
        shift = Shift(folder / "history.db", options.seconds, rate)
        done = together(bundles, shift, options.workers)
        answered = [request for worked in done for request in worked.answered]
        n_states, n_different = different_states(bundles / SCORER, shift.history, answered)
    took = np.concatenate([worked.seconds for worked in done]) * 1e3
    return {
        "workers": options.workers,
        "seconds": options.seconds,
        "percent": options.percent,
        "unpaced a second": unpaced,
        "requests": len(took),
        "unanswered": sum(worked.unanswered for worked in done),
        "locked": sum(worked.locked for worked in done),
        "states": n_states,
        "different": n_different,
        "milliseconds": {"p50": float(np.percentile(took, 50)), "p99": float(np.percentile(took, 99))},
    }


def workers_table(report: Mapping[str, Any]) -> str:
    """What the workers did together."""
    milliseconds = report["milliseconds"]
    rows = [
        ["worker processes", str(report["workers"])],
        ["requests a second of all workers at full speed", f"{report['unpaced a second']:,.0f}"],
        [
            f"requests a second when paced at {report['percent']} % of that",
            f"{report['requests'] / report['seconds']:,.0f}",
        ],
        ["a request: median, 99th percentile", f"{number(milliseconds['p50'])} ms, {number(milliseconds['p99'])} ms"],
        [f"of {report['requests']:,} requests, how many the history did not answer", f"{report['unanswered']:,}"],
        ['how many of these because the file was "locked"', f"{report['locked']:,}"],
        [
            f"of {report['states']:,} states, how many differ in any byte from the fold of the answered requests",
            f"{report['different']:,}",
        ],
    ]
    return table([f"`make bench-history` on {date_of(report)}", f"{report['seconds']} seconds"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the workers, print the table, and end with an error if an event was lost or a state is wrong."""
    options = options_of("history.workers", __doc__, SIZES, arguments)
    report = {"machine": machine(), **measure(options)}
    print(workers_table(report))
    faults = {"unanswered": "were unanswered", "locked": "found the file locked"}
    excesses = [f"{report[what]} requests {fault}, at most 0" for what, fault in faults.items() if report[what]]
    # This figure is meaningful even in the smallest run.
    if report["different"]:
        raise SystemExit(
            f"{report['different']} of {report['states']} states differ from the fold of the answered requests"
        )
    keep("history_workers", report, options, excesses)


if __name__ == "__main__":
    main()
