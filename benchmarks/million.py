"""A million predictions in one process, through the Lambda handler: its memory stays where it was."""

import json
import subprocess
import sys
from typing import Any

from tqdm import tqdm

from benchmarks.gateway import http_event
from benchmarks.machine import SERVER_CORE, pinned
from benchmarks.served import ROOT
from handler.scoring.scorer import load_scorer

PREDICTIONS = 1_000_000
POINTS = 100
# Between a tenth of them and all: what a leak of one byte a prediction would take.
MAX_GROWTH_MB = 1.0
# What stdin gives: the events. Each line of stdout: how many are answered, and the process's memory in kB.
_CHILD = """
import json, sys
from handler.app import handler
from itertools import cycle, islice
events, every, points = json.loads(sys.stdin.readline())
source = cycle(events)
for point in range(points + 1):
    for event in islice(source, every if point else 0):
        if handler(event, None)["statusCode"] != 200:
            raise SystemExit("an event was refused")
    status = open("/proc/self/status").read()
    print(point * every, status.split("VmRSS:")[1].split()[0], flush=True)
"""


def events() -> list[dict[str, Any]]:
    """The golden requests of every bundle; those that are flagged are answered with reasons."""
    found = []
    for folder in sorted((ROOT / "build" / "bundles").iterdir()):
        scorer = load_scorer(folder)
        route, requests = scorer.contract.route, [case["request"] for case in scorer.bundle.golden]
        found += [http_event(route, request) for request in requests]
    return found


def million(predictions: int = PREDICTIONS) -> dict[str, Any]:
    """How many predictions, and the memory in MB at each hundredth of them.

    Raises SystemExit where one was refused, or the memory grew.
    """
    every = predictions // POINTS
    with (
        pinned(SERVER_CORE),
        subprocess.Popen(
            [sys.executable, "-c", _CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin  # noqa: S101 - for the type checker: it is a pipe
        assert process.stdout  # noqa: S101 - for the type checker: it is a pipe
        process.stdin.write(json.dumps([events(), every, POINTS]) + "\n")
        process.stdin.flush()
        with tqdm(total=predictions, unit="prediction") as progress:
            curve = []
            for line in process.stdout:
                answered, kilobytes = map(int, line.split())
                curve.append([answered, round(kilobytes * 1024 / 1e6, 2)])
                progress.update(answered - progress.n)
    if process.returncode or len(curve) != POINTS + 1:
        raise SystemExit(f"the process ended with {process.returncode} after {len(curve) - 1} of {POINTS} steps")
    growth = curve[-1][1] - curve[POINTS // 10][1]
    found = {"predictions": curve[-1][0], "memory MB": curve, "growth MB": round(growth, 2)}
    if growth > MAX_GROWTH_MB:
        raise SystemExit(f"the memory grew: {found}")
    return found
