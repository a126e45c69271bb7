"""The machine that a benchmark runs on: its facts, who runs on which core, and what processes hold in memory."""

import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

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
    """The memory that a process holds now, its share of files in the page cache included, in MB (Linux)."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmRSS:")


def family_mb(pid: int) -> float:
    """The memory that a process and all that it started hold now, what they share counted once, in MB (Linux).

    It is their proportional set size (PSS).
    """
    total = 0.0
    try:
        for member in _family(pid):
            total += _megabytes(Path(f"/proc/{member}/smaps_rollup"), "Pss:")
    except (FileNotFoundError, ProcessLookupError):
        # One of them ended in between: the sum is too small, and the next sample is near.
        pass
    return total


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            yield from _family(int(child))


def _megabytes(path: Path, key: str) -> float:
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    models = (line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
