"""What monitoring a million predictions costs: seconds, and memory of all its processes. `make bench-monitoring`.

The function's own recorder writes the log, two months of it, for requests of the shipped transaction scorer that come
again under new ids, half of them with an outcome. Memory is the proportional set size (PSS): a page that several
processes share counts once in all. Their resident sizes, added up, would count it once for each of them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
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

from benchmarks.machine import machine
from benchmarks.served import ROOT
from handler.records import record
from handler.records.record import Recorder
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training.data.requests import requests_of
from training.monitor import EXIT_STATUS
from training.params import SECONDS_A_DAY
from training.run.files import BUILD, BUNDLES, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "monitoring.json"
# What the README quotes; tests/test_pages.py holds the two together.
RECORDED = REPORTS / "monitoring.json"
SCORER = "transaction"
PREDICTIONS = 1_000_000
DAYS = 60
# 2026-01-01.
START = 1_767_225_600.0
# Each has files of its own, a new one each day.
CONTAINERS = 4
ROUNDS = 3
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


def pool_of(scorer: Scorer) -> Pool:
    """The rows that the shipped scorer was not trained on, scored and answered by the function's code."""
    folder = ROOT / BUILD / SCORER / "rows"
    rows = pd.concat([pd.read_parquet(folder / f"{window}.parquet") for window in ("calibrate", "test")])
    requests = [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]
    found = []
    for at in tqdm(range(0, len(requests), CHUNK), unit="thousand requests"):
        asked = requests[at : at + CHUNK]
        scored = scorer.scores(asked)
        together = zip(asked, scored, scorer.answers(asked, scored), strict=True)
        found += [Answered((request,), (one,), (answer,)) for request, one, answer in together]
    return Pool(found, rows["is_fraud"].astype(bool).to_list())


def write_log(folder: Path, predictions: int) -> None:
    """Two months of records in a folder, by day and container, and outcomes of every other request on the next day."""
    scorer = load_scorer(ROOT / BUNDLES / SCORER)
    pool, clock, rng = pool_of(scorer), Clock(), np.random.default_rng(5)
    recorders = [Recorder(str(folder)) for _ in range(CONTAINERS)]
    a_day = predictions // DAYS
    with patch.object(record, "time", clock.time):
        for day in tqdm(range(DAYS), unit="day"):
            drawn = rng.integers(0, len(pool.answered), a_day if day else predictions - a_day * (DAYS - 1)).tolist()
            for number, place in enumerate(drawn):
                clock.seconds = START + (day + number / len(drawn)) * SECONDS_A_DAY
                asked = _under_new_id(pool.answered[place], scorer, f"{day}-{number}")
                recorders[number % CONTAINERS].record(scorer, asked, 0.0003)
            clock.seconds = START + (day + 1) * SECONDS_A_DAY
            told = [(SCORER, f"{day}-{at}", pool.is_fraud[drawn[at]]) for at in range(0, len(drawn), 2)]
            for at in range(0, len(told), CHUNK):
                recorders[0].record_outcomes(told[at : at + CHUNK])


def _under_new_id(answered: Answered, scorer: Scorer, identifier: str) -> Answered:
    assert scorer.contract.id  # noqa: S101 - for the type checker: the shipped scorer declares one
    request = answered.requests[0].model_copy(update={scorer.contract.id: identifier})
    return Answered((request,), answered.scored, answered.answers)


def family(pid: int) -> Iterator[int]:
    """A process and all that it started, directly or not (Linux)."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            yield from family(int(child))


def proportional_mb(pid: int) -> float:
    """The memory that a process holds now, what it shares divided by how many share it, in MB (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def family_mb(pid: int) -> float:
    """The memory of a process and all that it started."""
    found = 0.0
    try:
        for one in family(pid):
            found += proportional_mb(one)
    except (FileNotFoundError, ProcessLookupError):
        # One of them ended meanwhile: what was added up so far is less than the truth, and the next look is near.
        pass
    return found


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


def measure(predictions: int, rounds: int) -> dict[str, Any]:
    """The log's size, the median of the rounds' seconds, and the most memory of any."""
    with TemporaryDirectory() as name:
        workplace, log = Path(name) / "workplace", Path(name) / "log"
        workplace.mkdir()
        for needed in ("params.yaml", "build", "data"):
            (workplace / needed).symlink_to(ROOT / needed)
        write_log(log, predictions)
        files = list(log.iterdir())
        found = [monitored(log, workplace) for _ in tqdm(range(rounds), unit="round")]
        return {
            "predictions": predictions,
            "outcomes": _n_outcomes(workplace),
            "files": len(files),
            "MB": round(sum(path.stat().st_size for path in files) / 1e6),
            "seconds": median(seconds for seconds, _ in found),
            "GB": max(most for _, most in found),
            "rounds": [{"seconds": seconds, "GB": most} for seconds, most in found],
        }


def _n_outcomes(workplace: Path) -> int:
    """How many outcomes the monitor says it read, after a look at whether it read everything."""
    counts = json.loads((workplace / REPORTS / SCORER / "monitor.json").read_text())["counts"]
    if set(counts) != {"predictions", "outcomes"}:
        raise SystemExit(f"the monitor could not use all that the recorder wrote: {counts}")
    return int(counts["outcomes"])


def main() -> None:
    """Measure, print it beside the budgets, and end with an error where one is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--predictions", type=int, default=PREDICTIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    found = {"machine": machine(), **measure(asked.predictions, asked.rounds)}
    found |= {"budget_seconds": MAX_SECONDS, "budget_GB": MAX_GB}
    print(f"{found['predictions']:,} predictions, {found['outcomes']:,} outcomes, {found['files']:,} files")
    print(f"{found['seconds']:.1f} s (budget {MAX_SECONDS:g} s), {found['GB']:.2f} GB (budget {MAX_GB:g} GB)")
    write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)
    if found["seconds"] > MAX_SECONDS or found["GB"] > MAX_GB:
        raise SystemExit("over the budget")


if __name__ == "__main__":
    main()
