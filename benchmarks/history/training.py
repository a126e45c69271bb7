"""The time and memory of history features in training, by number of rows, compared with the fold: `make bench-history`.

The rows are synthetic payments with three kinds of entities and twelve features of them. Each number of rows has a
process of its own, on one core; memory is the peak of that process. The fold, which takes one event at a time, computes
a sample of the same rows, and both results must be equal to the last bit.
"""

import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.command import ROOT, keep, options_of
from benchmarks.history.payments import FRAUD_RATE, N_ENTITIES, ROWS_A_BATCH, scorer_in, write_rows
from benchmarks.machine import machine
from benchmarks.tables import date_of, number, table
from training.data.entity_fold import fold_rows
from training.data.folded_sample import require_equal_to_fold, sampled_places
from training.data.past_features import history_columns
from training.data.past_rows import past_rows
from training.run.files import BUILD
from training.run.processes import Workers

# The largest number of rows; each of the others is half of the next larger one.
SIZES = {"rows": (10_000_000, 20_000), "row_counts": (4, 1)}
# Entity events per second and core, the exponent with which the time may grow with the rows, and memory in GB.
LEAST_EVENTS, MOST_EXPONENT, MOST_GB = 1_000_000, 1.05, 3.0


def measured(folder: Path, n_rows: int) -> dict[str, float]:
    """Processor seconds to read the rows and to compute their features, the peak memory in GB, and the fold's speed.

    Raises DataError if the fold computes other features for the sample.
    """
    scorer = scorer_in(folder)
    if scorer.history is None:
        raise SystemExit("the scorer has no history")
    times = [time.process_time()]
    content = pq.ParquetFile(folder / scorer.data).iter_batches(ROWS_A_BATCH)
    rows = past_rows(content, scorer.history, scorer.time, scorer.label)
    times.append(time.process_time())
    history = scorer.history.learned(scorer.split.label_delay_days, FRAUD_RATE)
    columns = history_columns(rows, history, scorer.fields)
    times.append(time.process_time())
    # The peak that `resource` reports includes the memory of the process that started this one.
    gigabytes = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[0]) / 1e6
    contract = scorer.model_copy(update={"history": history})
    require_equal_to_fold(rows, contract, columns, scorer.seed)
    samples = [rows.at(places) for _, places in sampled_places(rows, history, scorer.seed)]
    start = time.process_time()
    for entity, sample in enumerate(samples):
        deque(fold_rows(sample, contract, Workers(scorer.compute, 1), scorer="", only=entity, is_read=True), maxlen=0)
    seconds, n_folded = time.process_time() - start, sum(len(sample.seconds) for sample in samples)
    return {
        "read": times[1] - times[0],
        "features": times[2] - times[1],
        "GB": gigabytes,
        "events a second": N_ENTITIES * n_rows / (times[2] - times[1]),
        "folded": n_folded,
        "folded events a second": n_folded / seconds,
    }


def measure(n_rows: int) -> dict[str, float]:
    """The figures of `measured` in a process of its own, for newly drawn rows."""
    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        folder = Path(name)
        write_rows(folder / scorer_in(folder).data, n_rows)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(measured, folder, n_rows).result()


def exponent(sizes: Mapping[int, Mapping[str, float]], *steps: str) -> float:
    """The exponent with which the total time of some steps grows with the rows, by least squares."""
    seconds = [sum(of[step] for step in steps) for of in sizes.values()]
    return float(np.polyfit(np.log(list(sizes)), np.log(seconds), 1)[0]) if len(sizes) > 1 else float("nan")


def by_rows(report: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """What was measured, by number of rows."""
    return {int(n_rows): of for n_rows, of in report["rows"].items()}


def history_training_table(report: Mapping[str, Any]) -> str:
    """Seconds, memory and speed by number of rows."""
    sizes = by_rows(report)
    rows = [
        ["reading the rows and encoding text keys as integers", *(f"{of['read']:.1f} s" for of in sizes.values())],
        ["computing the features", *(f"{of['features']:.1f} s" for of in sizes.values())],
        ["peak memory", *(f"{of['GB']:.2f} GB" for of in sizes.values())],
        ["entity events a second per core", *(number(of["events a second"]) for of in sizes.values())],
        [
            "the same by the fold, one event at a time, on a sample",
            *(number(of["folded events a second"]) for of in sizes.values()),
        ],
    ]
    return table([f"`make bench-history` on {date_of(report)}", *(f"{n_rows:,} rows" for n_rows in sizes)], rows)


def history_training_fact(report: Mapping[str, Any]) -> str:
    """How the times grow, and on how many entity events both ways were compared."""
    sizes = by_rows(report)
    n_folded = sum(of["folded"] for of in sizes.values())
    features, together = exponent(sizes, "features"), exponent(sizes, "read", "features")
    powers = f"The features' time grows with the power {features:.2f} of the rows ({together:.2f} with reading)"
    return f"{powers}; the fold agrees on {n_folded:,} entity events"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if it is too slow, too large or grows too fast."""
    options = options_of("history.training", __doc__, SIZES, arguments)
    sizes = {}
    for halvings in reversed(range(options.row_counts)):
        n_rows = options.rows // 2**halvings
        sizes[n_rows] = measure(n_rows)
        print(f"{n_rows:,} rows: {sizes[n_rows]}", flush=True)
    report = {"machine": machine(), "rows": sizes}
    print(f"{history_training_table(report)}\n{history_training_fact(report)}")
    last, power = sizes[options.rows], exponent(sizes, "features")
    figures = {
        f"{last['events a second']:,.0f} entity events/s, at least {LEAST_EVENTS:,}": last["events a second"]
        < LEAST_EVENTS,
        f"the time grows with the exponent {power:.2f}, at most {MOST_EXPONENT}": power > MOST_EXPONENT,
        f"{last['GB']:.2f} GB of memory, at most {MOST_GB}": last["GB"] > MOST_GB,
    }
    keep("history_training", report, options, [figure for figure, is_beyond in figures.items() if is_beyond])


if __name__ == "__main__":
    main()
