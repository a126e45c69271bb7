"""Time and memory of each step of a command whose output says where a step begins."""

import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from time import perf_counter

from benchmarks.command import ROOT
from benchmarks.machine import family_mb, sampled

# Reading the memory of a large process takes a while; more samples would add to the load that is measured.
SAMPLE_SECONDS = 0.2


def step_times(
    folder: Path, first: str, *command: str, marker: str = r"begins (.*)", statuses: Collection[int] = (0,)
) -> dict[str, dict[str, float]]:
    """Per step, the seconds, and the peak memory in GB of the command and all processes that it started.

    A line of output that matches `marker` begins the step that its group names; a step without a name is not counted.
    Raises SystemExit if the command ends with a status that is not among `statuses`.
    """
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": tools}
    begins = [(first, perf_counter())]
    with (
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process,
        sampled(lambda: (begins[-1][0], family_mb(process.pid) / 1000), SAMPLE_SECONDS) as samples,
    ):
        matches = (re.match(marker, line) for line in process.stdout or ())
        begins.extend((match[1].strip(), perf_counter()) for match in matches if match)
        process.wait()
        end = perf_counter()
    if process.returncode not in statuses:
        raise SystemExit(f"{' '.join(command)[:100]} ended with {process.returncode}; its message is above")
    ends = [start for _, start in begins[1:]] + [end]
    return {
        step: {"seconds": stop - start, "GB": max((gb for of, gb in samples if of == step), default=0.0)}
        for (step, start), stop in zip(begins, ends, strict=True)
        if step
    }
