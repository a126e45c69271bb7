"""Generated requests and events: every answer is one that the OpenAPI document names, none is a 5xx, nothing raises."""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.command import ROOT
from benchmarks.serving.server import served
from benchmarks.serving.services import checkout_service

# No schema can say that a time must not be ahead of the server's clock or before 1900, but such requests are refused.
UNDECIDABLE = ("--exclude-checks", "positive_data_acceptance")
EVENTS = str(ROOT / "tests" / "handler" / "web" / "test_events.py")


def fuzz_routes(cases: int, phases: str) -> dict[str, Any]:
    """How many requests schemathesis generated from the served OpenAPI document, all of them answered correctly.

    It generates `cases` per route, in addition to its examples and its coverage of the schema's limits. Raises
    SystemExit with schemathesis' own report if an answer was wrong.
    """
    with TemporaryDirectory() as folder, served(checkout_service(), Path(folder) / "log") as (_, address):
        program = str(Path(sys.executable).with_name("schemathesis"))
        command = [program, "--no-color", "run", f"{address}/openapi.json", *UNDECIDABLE]
        printed = _run([*command, "--max-examples", str(cases), "--phases", phases], Path(folder))
    generated = re.search(r"(\d+) generated, (\d+) passed", printed)
    if not generated or generated[1] != generated[2]:
        raise SystemExit(f"schemathesis reports failures:\n{printed}")
    return {"cases": int(generated[1]), "failures": 0}


def fuzz_events(examples: int) -> dict[str, Any]:
    """How many Lambda events Hypothesis generated for `handler.app.handler`, all of them answered correctly.

    It generates `examples` per property test. Raises SystemExit with pytest's report if an answer was wrong.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", "-p", "no:cacheprovider", EVENTS]
    printed = _run(command, ROOT, HYPOTHESIS_PROFILE="long", HYPOTHESIS_EXAMPLES=str(examples))
    cases = sum(map(int, re.findall(r"(\d+) passing", printed)))
    if not cases:
        raise SystemExit(f"Hypothesis generated nothing:\n{printed}")
    return {"cases": cases, "failures": 0}


def _run(command: list[str], folder: Path, **environment: str) -> str:
    """The output of a command; raises SystemExit with it if the command fails."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")
    return done.stdout
