"""Requests per second under uvicorn: one worker on one core, with wrk on another core as the client."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import CLIENT_CORE, in_turn, pinned
from benchmarks.serving.figures import Samples
from benchmarks.serving.server import served
from benchmarks.serving.services import Service, link
from benchmarks.serving.workloads import TRANSACTION

SCRIPT = Path(__file__).with_name("wrk.lua")
CONNECTIONS = 16
WARM_UP_SECONDS = 1


def measure_load(services: Mapping[str, Service], rounds: int, seconds: int, folder: Path, samples: Samples) -> None:
    """Measure each service's requests per second if wrk is installed; `folder` receives uvicorn and the request."""
    event, uvicorn = TRANSACTION.event(), link(folder / "uvicorn", ["uvicorn", "httptools", "uvloop"])
    body = folder / "request.json"
    body.write_text(event["body"], encoding="utf-8")
    with ExitStack() as stack:
        urls = {}
        for name, service in services.items():
            with_uvicorn = replace(service, paths=(*service.paths, uvicorn))
            urls[name] = stack.enter_context(served(with_uvicorn, folder / f"{name}.log"))[1] + event["rawPath"]
        if not shutil.which("wrk"):
            print("Requests a second were not measured: wrk is not on PATH (Debian and Ubuntu: apt-get install wrk).")
            return
        for url in urls.values() if rounds > 1 else ():
            _loaded(url, body, WARM_UP_SECONDS)
        for turn in range(rounds):
            for name in in_turn(urls, turn):
                rate = _loaded(urls[name], body, seconds)
                samples["requests a second under uvicorn, transaction"][name][turn] = rate


def _loaded(url: str, body: Path, seconds: int) -> float:
    """The requests per second; raises SystemExit if one failed."""
    options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "10s"]
    with pinned(CLIENT_CORE):
        done = subprocess.run(
            ["wrk", *options, "--script", SCRIPT, url, "--", body],  # noqa: S607 - wherever it is installed
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"wrk failed on {url}: {done.stderr}")
    counts = json.loads(done.stdout.splitlines()[-1])
    if counts["refused"] or counts["socket_errors"] or not counts["requests"]:
        raise SystemExit(f"{url} failed under load: {counts}")
    return float(counts["requests"] / counts["seconds"])
