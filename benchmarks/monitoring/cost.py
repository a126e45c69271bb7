"""What monitoring a million predictions costs: seconds, and memory of all its processes. `make bench-monitoring`.

The function's own recorder writes the log, two months of it, for requests of the shipped transaction scorer that are
repeated under new ids, half of them with an outcome. Memory is the proportional set size: a page that several processes
share counts once in all.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.command import ROOT, end, keep, options_of
from benchmarks.machine import family_mb, machine
from benchmarks.tables import number
from handler.records import record
from handler.records.record import Recorder
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training.data.requests import requests_of
from training.monitor import EXIT_STATUS
from training.params import SECONDS_A_DAY
from training.run.files import BUILD, BUNDLES, REPORTS

SCORER = "transaction"
SIZES = {"predictions": (1_000_000, 300), "rounds": (3, 1), "every": (1, 200)}
DAYS = 60
# 2026-01-01.
START = 1_767_225_600.0
# Each has files of its own, a new one each day.
CONTAINERS = 4
CHUNK = 1000
SAMPLE_SECONDS = 0.05
MAX_SECONDS = 60.0
MAX_GB = 1.0


class Clock:
    """The time that the recorder reads."""

    def __init__(self) -> None:
        """Begin at START."""
        self.seconds = START

    def time(self) -> float:
        """As `time.time`."""
        return self.seconds


@dataclass(frozen=True)
class Pool:
    """Requests that were scored, and which of them were fraud."""

    answered: list[Answered]
    is_fraud: list[bool]


def pool_of(scorer: Scorer, every: int) -> Pool:
    """The rows that the shipped scorer was not trained on, or one of so many, answered by the function's code."""
    folder = ROOT / BUILD / SCORER / "rows"
    rows = pd.concat([pd.read_parquet(folder / f"{window}.parquet") for window in ("calibrate", "test")]).iloc[::every]
    requests = [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]
    answered = []
    for at in tqdm(range(0, len(requests), CHUNK), unit="thousand requests"):
        chunk = requests[at : at + CHUNK]
        scored = scorer.scores(chunk)
        together = zip(chunk, scored, scorer.answers(chunk, scored), strict=True)
        answered += [Answered((request,), (score,), (answer,)) for request, score, answer in together]
    return Pool(answered, rows["is_fraud"].astype(bool).to_list())


def write_log(folder: Path, predictions: int, every: int) -> None:
    """Two months of records in a folder, by day and container, and outcomes of every other request on the next day."""
    scorer = load_scorer(ROOT / BUNDLES / SCORER)
    pool, clock, rng = pool_of(scorer, every), Clock(), np.random.default_rng(5)
    recorders = [Recorder(str(folder)) for _ in range(CONTAINERS)]
    a_day = predictions // DAYS
    with patch.object(record, "time", clock.time):
        for day in tqdm(range(DAYS), unit="day"):
            drawn = rng.integers(0, len(pool.answered), a_day if day else predictions - a_day * (DAYS - 1)).tolist()
            for number, place in enumerate(drawn):
                clock.seconds = START + (day + number / len(drawn)) * SECONDS_A_DAY
                answered = _under_new_id(pool.answered[place], scorer, f"{day}-{number}")
                recorders[number % CONTAINERS].record(scorer, answered, 0.0003)
            clock.seconds = START + (day + 1) * SECONDS_A_DAY
            outcomes = [(SCORER, f"{day}-{at}", pool.is_fraud[drawn[at]]) for at in range(0, len(drawn), 2)]
            for at in range(0, len(outcomes), CHUNK):
                recorders[0].record_outcomes(outcomes[at : at + CHUNK])


def _under_new_id(answered: Answered, scorer: Scorer, identifier: str) -> Answered:
    assert scorer.contract.id  # noqa: S101 - for the type checker: the shipped scorer declares one
    request = answered.requests[0].model_copy(update={scorer.contract.id: identifier})
    return Answered((request,), answered.scored, answered.answers)


def monitored(log: Path, workplace: Path) -> tuple[float, float]:
    """The seconds that the monitor takes for a log, from start to end, and the most memory seen, in GB.

    Raises SystemExit where it ended otherwise than with a state.
    """
    command = [sys.executable, "-m", "training.monitor", SCORER, str(log), "--store", str(workplace / "store")]
    start, most = perf_counter(), 0.0
    with subprocess.Popen(
        command, cwd=workplace, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            most = max(most, family_mb(process.pid))
            sleep(SAMPLE_SECONDS)
        seconds = perf_counter() - start
    if process.returncode not in EXIT_STATUS.values():
        raise SystemExit(f"the monitor ended with {process.returncode}; its message is above")
    return seconds, most / 1000


def measure(options: Namespace) -> dict[str, Any]:
    """The log's size, the median of the rounds' seconds, and the most memory of any."""
    with TemporaryDirectory() as name:
        workplace, log = Path(name) / "workplace", Path(name) / "log"
        workplace.mkdir()
        for needed in ("params.yaml", "build", "data"):
            (workplace / needed).symlink_to(ROOT / needed)
        write_log(log, options.predictions, options.every)
        files = list(log.iterdir())
        rounds = [monitored(log, workplace) for _ in tqdm(range(options.rounds), unit="round")]
        return {
            "predictions": options.predictions,
            "outcomes": _n_outcomes(workplace),
            "files": len(files),
            "MB": round(sum(path.stat().st_size for path in files) / 1e6),
            "seconds": median(seconds for seconds, _ in rounds),
            "GB": max(most for _, most in rounds),
            "rounds": [{"seconds": seconds, "GB": most} for seconds, most in rounds],
        }


def _n_outcomes(workplace: Path) -> int:
    """How many outcomes the monitor says it read; raises SystemExit where it could not read everything."""
    counts = json.loads((workplace / REPORTS / SCORER / "monitor.json").read_text())["counts"]
    if set(counts) != {"predictions", "outcomes"}:
        raise SystemExit(f"the monitor could not use all that the recorder wrote: {counts}")
    return int(counts["outcomes"])


def monitoring_fact(report: Mapping[str, Any]) -> str:
    """How long the monitor takes for how much, and in how much memory."""
    read = f"{report['predictions']:,} predictions and {report['outcomes']:,} outcomes, {report['MB']:,} MB"
    took = f"{number(report['seconds'])} s and {number(report['GB'])} GB of memory"
    return f"Monitoring {read} of lines, took {took}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print it, and end with an error where a budget is exceeded."""
    options = options_of("monitoring.cost", __doc__, SIZES, arguments)
    report = {"machine": machine(), **measure(options), "budget_seconds": MAX_SECONDS, "budget_GB": MAX_GB}
    print(f"{monitoring_fact(report)} (budgets: {MAX_SECONDS:g} s, {MAX_GB:g} GB)")
    keep("monitoring", report, options)
    budgets = {"seconds": MAX_SECONDS, "GB": MAX_GB}
    end(
        [f"{report[what]:.2f} {what}, at most {most:g}" for what, most in budgets.items() if report[what] > most],
        options,
    )


if __name__ == "__main__":
    main()
