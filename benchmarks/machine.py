"""The machine that a benchmark runs on: its facts, who runs on which core, and what processes hold in memory."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psutil

# The cores that this process may use, read before anything pins it; just 0 where the system does not say.
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]


def machine() -> dict[str, str | int]:
    """The date, processor, its cores that this process may use, Python and system."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "cores": len(CORES),
        "python": platform.python_version(),
        "system": platform.system(),
    }


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keeps this thread, and every process it starts in the context, on one core, where the system can."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def in_turn(names: Iterable[str], turn: int) -> list[str]:
    """The names, in odd turns from the back, so that none always comes after the same other."""
    ordered = list(names)
    return ordered[::-1] if turn % 2 else ordered


def resident_mb(pid: int) -> float:
    """The memory that a process holds now, its share of files in the page cache included, in MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def family_mb(pid: int) -> float:
    """The memory that a process and all that it started hold now, what they share counted once (PSS), in MB (Linux)."""
    total = 0
    # One of them may end in between: the sum is too small, and the next sample is near.
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    return total / 1e6


@contextmanager
def sampled[T](measure: Callable[[], T], every_seconds: float) -> Iterator[list[T]]:
    """What is measured now, and then again and again until the context ends."""
    samples, stop = [measure()], Event()

    def keep_measuring() -> None:
        while not stop.wait(every_seconds):
            samples.append(measure())

    thread = Thread(target=keep_measuring)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    models = (line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
