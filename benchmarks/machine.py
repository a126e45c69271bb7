"""Where and when a benchmark ran, which every one of its figures depends on, and who runs on which core."""

import os
import platform
import sys
from collections.abc import Iterator
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
    """Keeps this thread, and every process it starts meanwhile, on one core, where the system can."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def resident_mb(pid: int) -> float:
    """The memory that a process holds now, its share of files in the page cache included, in MB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) * 1024 / 1e6


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    named = (line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
