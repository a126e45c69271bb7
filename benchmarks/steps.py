"""Steps: what each part of a command takes, which its own output tells apart."""

import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep

from benchmarks.monitoring import family_mb
from benchmarks.served import ROOT

# Reading what a large process holds takes the system a while, which would be the benchmark's own load.
SAMPLE_SECONDS = 0.2


def steps_of(folder: Path, first: str, marker: str, *command: str) -> dict[str, dict[str, float]]:
    """By step the seconds, and the most memory seen of the command and all that it started, in GB.

    What they share is counted once. A line of output that `marker` matches begins the step that its group names; what
    has no name is not counted.
    """
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": tools}
    begun = [(first, perf_counter())]
    most: dict[str, float] = {}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            matches = (re.match(marker, line) for line in process.stdout or ())
            begun.extend((found[1].strip(), perf_counter()) for found in matches if found)

        reader = Thread(target=read)
        reader.start()
        while process.poll() is None:
            step = begun[-1][0]
            most[step] = max(most.get(step, 0.0), family_mb(process.pid) / 1000)
            sleep(SAMPLE_SECONDS)
        end = perf_counter()
        reader.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:100]} ended with {process.returncode}; its message is above")
    ends = [start for _, start in begun[1:]] + [end]
    return {
        step: {"seconds": stop - start, "GB": most.get(step, 0.0)}
        for (step, start), stop in zip(begun, ends, strict=True)
        if step
    }
