"""Where and when a benchmark ran, which every one of its figures depends on."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path


def machine() -> dict[str, str | int]:
    """The date, processor, its cores that this process may use, Python and system."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "cores": len(cores()),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def cores() -> list[int]:
    """The cores that this process may use, in order; just 0 where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    named = (line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
