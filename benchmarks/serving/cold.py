"""Cold starts: in a fresh process of its own, and in AWS's Runtime Interface Emulator.

Files are in the page cache: the time Lambda takes to fetch an artifact is not here.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from benchmarks.machine import in_turn
from benchmarks.serving.budgets import Budget, Measured
from benchmarks.serving.emulator import init_milliseconds
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.services import Service
from benchmarks.serving.workloads import TRANSACTION

COLD = Budget(1.25, against="echo", goal=1.15)
# Title, unit, budgets; in the order of `_start`.
MEASURED = (
    ("cold start: init in AWS's runtime emulator", "ms", (COLD,)),
    ("cold start: first import to first answer", "ms", (COLD,)),
    ("cold start: whole process to first answer", "ms", ()),
    ("cold start: first answer alone", "ms", ()),
    ("resident memory after the first answer", "MB", ()),
)
# The joblib service takes seconds to start and spreads little.
JOBLIB_EVERY = 3


def cold_figures(services: Mapping[str, Service], rounds: int, log: Path, progress: "tqdm[None]") -> list[Measured]:
    """What a start takes, then the memory after it; where there are several rounds, one before fills the page cache."""
    figures: list[dict[str, dict[int, float]]] = [defaultdict(dict) for _ in MEASURED]
    for service in services.values() if rounds > 1 else ():
        _start(service, log)
    for turn in range(rounds):
        for name in in_turn(services, turn):
            if name == "joblib" and turn % JOBLIB_EVERY:
                continue
            for samples, figure in zip(figures, _start(services[name], log), strict=True):
                samples[name][turn] = figure
        progress.update()
    return [Measured(what, unit, of, budgets) for (what, unit, budgets), of in zip(MEASURED, figures, strict=True)]


def _start(service: Service, log: Path) -> tuple[float, ...]:
    """The figures of one start of either kind."""
    event = TRANSACTION.event()
    init = init_milliseconds(service, event, log)
    with FunctionProcess(service, event) as process:
        inside = process.import_seconds + process.first_answer_seconds
        times = (inside, process.wall_seconds, process.first_answer_seconds)
        return init, *(seconds * 1e3 for seconds in times), process.resident_mb()
