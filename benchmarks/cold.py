"""Cold starts: in a fresh process of its own, and in AWS's Runtime Interface Emulator.

Files are in the page cache: the time Lambda takes to fetch an artifact is not here.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from benchmarks.emulator import init_milliseconds
from benchmarks.function import Child
from benchmarks.rounds import in_turn
from benchmarks.subjects import Subject
from benchmarks.table import Limit, Row
from benchmarks.workloads import TRANSACTION

COLD = Limit(1.25, against="echo", goal=1.15)
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


def cold_rows(subjects: Mapping[str, Subject], rounds: int, log: Path, progress: "tqdm[None]") -> list[Row]:
    """What a start takes, then the memory after it; an uncounted round fills the page cache."""
    found: list[dict[str, dict[int, float]]] = [defaultdict(dict) for _ in MEASURED]
    for subject in subjects.values():
        _start(subject, log)
    for turn in range(rounds):
        for name in in_turn(subjects, turn):
            if name == "joblib" and turn % JOBLIB_EVERY:
                continue
            for figures, figure in zip(found, _start(subjects[name], log), strict=True):
                figures[name][turn] = figure
        progress.update()
    return [Row(what, unit, figures, limits) for (what, unit, limits), figures in zip(MEASURED, found, strict=True)]


def _start(subject: Subject, log: Path) -> tuple[float, ...]:
    """The figures of one start of either kind."""
    event = TRANSACTION.event()
    init = init_milliseconds(subject, event, log)
    with Child(subject, event) as child:
        inside = child.import_seconds + child.first_answer_seconds
        times = (inside, child.wall_seconds, child.first_answer_seconds)
        return init, *(seconds * 1e3 for seconds in times), child.resident_mb()
