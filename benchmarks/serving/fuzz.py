"""Generated requests and events: every answer is one that the OpenAPI document names, none is a 5xx, nothing raises."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.routing import Route

from benchmarks.command import ROOT
from benchmarks.serving.uvicorn_server import served

EVENTS = ROOT / "tests" / "handler" / "web" / "test_events.py"


def fuzz_routes(cases: int, phases: str = "examples,coverage,fuzzing,stateful") -> dict[str, Any]:
    """How many requests schemathesis generated from the served document, for which routes, all answered well.

    `cases` a route; its examples and its coverage of the schema's limits come on top. Raises SystemExit with
    schemathesis' own report where an answer was wrong.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        with served(log) as (_, address):
            command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "run", f"{address}/openapi.json"]
            done = subprocess.run(
                [*command, "--max-examples", str(cases), "--phases", phases],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        access_log = log.read_text(encoding="utf-8")
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    if done.returncode or not generated or generated[1] != generated[2]:
        raise SystemExit(f"schemathesis reports failures:\n{done.stdout}\n{done.stderr}")
    return {"cases": int(generated[1]), "failures": 0, "requests": _by_route(access_log)}


def _by_route(access_log: str) -> dict[str, int]:
    """How many requests each route answered, whatever their method, counted by the server."""
    from handler.app import app  # noqa: PLC0415 - loads the bundles, which the tables do not need
    from handler.web.endpoint import ScoreEndpoint  # noqa: PLC0415 - as above

    paths = Counter(re.findall(r'"[A-Z]+ (/[^ ?"]*)', access_log))
    models = sum(count for path, count in paths.items() if path.startswith("/models/"))
    routes = [
        route.path for route in app.routes if isinstance(route, Route) and isinstance(route.endpoint, ScoreEndpoint)
    ]
    return {**{route: paths[route] for route in routes}, "/health": paths["/health"], "/models/{scorer}": models}


def fuzz_events(examples: int) -> dict[str, Any]:
    """How many Lambda events Hypothesis generated for `handler.app.handler`, all answered well.

    `examples` a law. Raises SystemExit with pytest's report where an answer was wrong.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", "-p", "no:cacheprovider", EVENTS],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "long", "HYPOTHESIS_EXAMPLES": str(examples)},
        capture_output=True,
        text=True,
        check=False,
    )
    passing = [int(count) for count in re.findall(r"(\d+) passing", done.stdout)]
    failing = [int(count) for count in re.findall(r"(\d+) failing", done.stdout)]
    if done.returncode or not passing or any(failing):
        raise SystemExit(f"Hypothesis reports failures:\n{done.stdout}\n{done.stderr}")
    return {"cases": sum(passing), "laws": done.stdout.count(" - Stopped because"), "failures": sum(failing)}
