"""Made-up requests and events: every answer is one that the OpenAPI document names, none is a 5xx, nothing raises."""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.served import ROOT, served

# A route. schemathesis adds what its examples and its coverage of the schema's limits ask for.
CASES = 2_000
_EVENTS = ROOT / "tests" / "handler" / "test_events.py"


def fuzz_routes() -> dict[str, Any]:
    """How many requests schemathesis made up from the served document, and for how many routes, all answered well.

    Raises SystemExit with schemathesis' own report where one was not.
    """
    with served() as (_, address), TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "run", f"{address}/openapi.json"]
        done = subprocess.run(
            [*command, "--max-examples", str(CASES), "--phases", "examples,coverage,fuzzing,stateful"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    cases = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    routes = re.search(r"Tested: (\d+)", done.stdout)
    if done.returncode or not cases or not routes or cases[1] != cases[2]:
        raise SystemExit(f"schemathesis found something:\n{done.stdout}\n{done.stderr}")
    return {"cases": int(cases[1]), "routes": int(routes[1]), "cases a route": CASES, "failures": 0}


def fuzz_events() -> dict[str, Any]:
    """How many Lambda events Hypothesis made up for `handler.app.handler`, all answered well.

    Raises SystemExit with pytest's report where one was not.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", "-p", "no:cacheprovider", _EVENTS],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "long"},
        capture_output=True,
        text=True,
        check=False,
    )
    passing = [int(found) for found in re.findall(r"(\d+) passing", done.stdout)]
    failing = [int(found) for found in re.findall(r"(\d+) failing", done.stdout)]
    if done.returncode or not passing or any(failing):
        raise SystemExit(f"Hypothesis found something:\n{done.stdout}\n{done.stderr}")
    return {"cases": sum(passing), "laws": done.stdout.count(" - Stopped because"), "failures": sum(failing)}
