"""Made-up requests and events: every answer is one that the OpenAPI document names, none is a 5xx, nothing raises."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.routing import Route

from benchmarks.served import ROOT, served
from handler.app import app
from handler.web.endpoint import ScoreEndpoint

# A route. schemathesis adds what its examples and its coverage of the schema's limits ask for.
CASES = 2_000
_EVENTS = ROOT / "tests" / "handler" / "web" / "test_events.py"


def fuzz_routes() -> dict[str, Any]:
    """How many requests schemathesis made up from the served document, and for how many routes, all answered well.

    Raises SystemExit with schemathesis' own report where one was not.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        with served(log) as (_, address):
            command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "run", f"{address}/openapi.json"]
            done = subprocess.run(
                [*command, "--max-examples", str(CASES), "--phases", "examples,coverage,fuzzing,stateful"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        answered = log.read_text(encoding="utf-8")
    cases = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    if done.returncode or not cases or cases[1] != cases[2]:
        raise SystemExit(f"schemathesis found something:\n{done.stdout}\n{done.stderr}")
    return {"cases": int(cases[1]), "failures": 0, "requests": _by_route(answered)}


def _by_route(access_log: str) -> dict[str, int]:
    """How many requests each route answered, whatever their method, counted by the server."""
    paths = Counter(re.findall(r'"[A-Z]+ (/[^ ?"]*)', access_log))
    models = sum(count for path, count in paths.items() if path.startswith("/models/"))
    routes = [
        route.path for route in app.routes if isinstance(route, Route) and isinstance(route.endpoint, ScoreEndpoint)
    ]
    return {**{route: paths[route] for route in routes}, "/health": paths["/health"], "/models/{scorer}": models}


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
