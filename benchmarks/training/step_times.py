"""Time and memory of each step of a command, whose own output says where a step begins."""

import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep

from benchmarks.command import ROOT
from benchmarks.machine import family_mb

# Reading the memory of a large process takes the system a while, which would be the benchmark's own load.
SAMPLE_SECONDS = 0.2


def step_times(folder: Path, first: str, marker: str, *command: str) -> dict[str, dict[str, float]]:
    """By step the seconds, and the most memory of the command and all that it started, in GB.

    A line of output that `marker` matches begins the step that its group names; a step without a name is not counted.
    """
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": tools}
    begins = [(first, perf_counter())]
    most: dict[str, float] = {}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            matches = (re.match(marker, line) for line in process.stdout or ())
            begins.extend((match[1].strip(), perf_counter()) for match in matches if match)

        reader = Thread(target=read)
        reader.start()
        while process.poll() is None:
            step = begins[-1][0]
            most[step] = max(most.get(step, 0.0), family_mb(process.pid) / 1000)
            sleep(SAMPLE_SECONDS)
        end = perf_counter()
        reader.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:100]} ended with {process.returncode}; its message is above")
    ends = [start for _, start in begins[1:]] + [end]
    return {
        step: {"seconds": stop - start, "GB": most.get(step, 0.0)}
        for (step, start), stop in zip(begins, ends, strict=True)
        if step
    }
