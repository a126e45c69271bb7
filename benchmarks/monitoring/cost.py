"""What monitoring a million predictions costs: seconds, and memory of all its processes. `make bench-monitoring`.

The function's own recorder writes a log of two months. Its requests are rows of the shipped transaction scorer,
repeated under new ids, and half of them have an outcome. Memory is the proportional set size: a page that several
processes share counts once in total.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.tables import number
from benchmarks.training.step_times import step_times
from handler.records import record
from handler.records.record import Recorder
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training.data.requests import requests_of
from training.monitor import EXIT_STATUS
from training.run.files import BUILD, BUNDLES, REPORTS

SCORER = "transaction"
SIZES = {"predictions": (1_000_000, 300), "rounds": (3, 1), "every": (1, 200)}
DAYS = 60
# 2026-01-01.
START = 1_767_225_600.0
# Each container writes files of its own, one per day.
CONTAINERS = 4
MAX_SECONDS = 60.0
MAX_GB = 1.0


def answered_rows(scorer: Scorer, every: int) -> list[tuple[Answered, bool]]:
    """One in `every` rows of the test window, with the scorer's answers, and whether they are fraud."""
    folder = ROOT / BUILD / SCORER / "rows"
    rows = pd.read_parquet(folder / "test.parquet").iloc[::every]
    pairs = []
    for request, is_fraud in zip(requests_of(rows, scorer.contract), rows["is_fraud"].astype(bool), strict=True):
        validated = scorer.request_model.model_validate(request)
        scored = scorer.score(validated)
        pairs.append((Answered((validated,), (scored,), (scorer.answer(validated, scored),)), is_fraud))
    return pairs


def write_log(folder: Path, predictions: int, every: int) -> None:
    """Write two months of records, by day and container, and the outcome of every other request on the next day."""
    scorer = load_scorer(ROOT / BUNDLES / SCORER)
    pool, rng, clock = answered_rows(scorer, every), np.random.default_rng(5), SimpleNamespace(seconds=START)
    recorders = [Recorder(str(folder)) for _ in range(CONTAINERS)]
    a_day = predictions // DAYS
    with patch.object(record, "time", lambda: clock.seconds):
        for day in tqdm(range(DAYS), unit="day"):
            drawn = rng.integers(0, len(pool), a_day if day else predictions - a_day * (DAYS - 1)).tolist()
            for number, place in enumerate(drawn):
                clock.seconds = START + (day + number / len(drawn)) * SECONDS_A_DAY
                answered = _under_new_id(pool[place][0], scorer, f"{day}-{number}")
                recorders[number % CONTAINERS].record(scorer, answered, 0.0003)
            clock.seconds = START + (day + 1) * SECONDS_A_DAY
            outcomes = [(SCORER, f"{day}-{number}", pool[drawn[number]][1]) for number in range(0, len(drawn), 2)]
            recorders[0].record_outcomes(outcomes)


def _under_new_id(answered: Answered, scorer: Scorer, identifier: str) -> Answered:
    request = answered.requests[0].model_copy(update={str(scorer.contract.id): identifier})
    return Answered((request,), answered.scored, answered.answers)


def measure(options: Namespace) -> dict[str, Any]:
    """The log's size, the median of the rounds' seconds, and the most memory of any round."""
    with TemporaryDirectory() as name:
        workplace, log = Path(name) / "workplace", Path(name) / "log"
        workplace.mkdir()
        for needed in ("params.yaml", "build", "data"):
            (workplace / needed).symlink_to(ROOT / needed)
        write_log(log, options.predictions, options.every)
        files = list(log.iterdir())
        command = (sys.executable, "-m", "training.monitor", SCORER, str(log), "--store", str(workplace / "store"))
        rounds = [
            step_times(workplace, "monitor", *command, statuses=EXIT_STATUS.values())["monitor"]
            for _ in tqdm(range(options.rounds), unit="round")
        ]
        return {
            "predictions": options.predictions,
            "outcomes": _n_outcomes(workplace),
            "files": len(files),
            "MB": round(sum(path.stat().st_size for path in files) / 1e6),
            "seconds": median(each["seconds"] for each in rounds),
            "GB": max(each["GB"] for each in rounds),
            "rounds": rounds,
        }


def _n_outcomes(workplace: Path) -> int:
    """How many outcomes the monitor read; raises SystemExit if it could not use every record."""
    counts = json.loads((workplace / REPORTS / SCORER / "monitor.json").read_text())["counts"]
    if set(counts) != {"predictions", "outcomes"}:
        raise SystemExit(f"the monitor could not use every record in the log: {counts}")
    return int(counts["outcomes"])


def monitoring_fact(report: Mapping[str, Any]) -> str:
    """The size of the log, and the time and memory that monitoring it took."""
    read = f"{report['predictions']:,} predictions and {report['outcomes']:,} outcomes, {report['MB']:,} MB"
    took = f"{number(report['seconds'])} s and {number(report['GB'])} GB of memory"
    return f"Monitoring {read} of lines, took {took}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the result, and end with an error if a budget is exceeded."""
    options = options_of("monitoring.cost", __doc__, SIZES, arguments)
    report = {"machine": machine(), **measure(options), "budget_seconds": MAX_SECONDS, "budget_GB": MAX_GB}
    print(f"{monitoring_fact(report)} (budgets: {MAX_SECONDS:g} s, {MAX_GB:g} GB)")
    budgets = {"seconds": MAX_SECONDS, "GB": MAX_GB}
    excesses = [f"{report[what]:.2f} {what}, at most {most:g}" for what, most in budgets.items() if report[what] > most]
    keep("monitoring", report, options, excesses)


if __name__ == "__main__":
    main()
