"""The machine that a benchmark runs on: its description, the cores of processes, and the memory that they use."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psutil

# The cores that this process may use, read before anything pins it; only core 0 if the system does not tell.
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]


def machine() -> dict[str, str | int]:
    """The date, the processor, how many of its cores this process may use, the Python version and the system."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "cores": len(CORES),
        "python": platform.python_version(),
        "system": platform.system(),
    }


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pin this thread, and every process that it starts in the context, to one core; only on Linux."""
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
    """The names, reversed in odd turns, so that none always follows the same other one."""
    ordered = list(names)
    return ordered[::-1] if turn % 2 else ordered


def resident_mb(pid: int) -> float:
    """The resident memory of a process in MB, including the pages of files that it maps."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def family_mb(pid: int) -> float:
    """The memory of a process and all its descendants in MB, with shared pages counted once (PSS); Linux only."""
    total = 0
    # If one of them ends meanwhile, the sum is too small, but the next sample follows soon.
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    return total / 1e6


@contextmanager
def sampled[T](measure: Callable[[], T], every_seconds: float) -> Iterator[list[T]]:
    """A list of measurements that grows until the context ends: one now, then one every `every_seconds`."""
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
