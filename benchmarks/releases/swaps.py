"""Versions swapped under load: no request fails, every answer is wholly one version's. `make swaps`.

A store holds four versions of each scorer and a few damaged ones. A server under uvicorn, and then a loop through the
Lambda handler, answers requests while sound versions are promoted and rolled back, and damaged ones are promoted. Every
answer is compared, byte for byte, with the answer of the version that it names.
"""

import asyncio
import json
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import keep, options_of
from benchmarks.machine import CLIENT_CORE, machine, pinned
from benchmarks.releases.pointer_updates import Update, Versions, filled_store, updating
from benchmarks.serving.client import Load, Request, golden_answers, post_all
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.gateway import http_event
from benchmarks.serving.server import served
from benchmarks.serving.services import Service, checkout_service
from benchmarks.tables import date_of, number, table
from handler.releases.swap import load_released

# The rate, in requests per second, is only for uvicorn.
SIZES = {"seconds": (60, 5), "rate": (1_500, 300)}
CONNECTIONS = 32
# The time between two reads of the store: short, so that each of many updates is seen.
POLL_SECONDS = 0.2
# The pause between two invocations, during which Lambda would freeze the process.
PAUSE_SECONDS = 0.0005
# Requests within this time after an update are reported separately.
AFTER_SECONDS = 0.5
# If the first answer takes longer, a later update has overtaken this one, and it does not count.
OVERTAKEN_SECONDS = 1.5
VERSION = re.compile(rb'"model_version":"([0-9a-f]{12})"')
TITLES = {"uvicorn": "under uvicorn", "lambda": "through the Lambda handler"}


@dataclass(frozen=True)
class Checker:
    """Compares answers with those of the versions that they name."""

    expected: dict[Request, dict[str, bytes]]
    """Per request each version's answer."""
    answers: list[tuple[float, float, str, str, str]] = field(default_factory=list)
    """When each answer arrived, its seconds, route and version, and whether it was right."""

    def check(self, request: Request, answer: bytes | None, seconds: float) -> None:
        """Keep an answer, which is None if its status is not 200."""
        named = VERSION.search(answer or b"")
        version = named[1].decode() if named else ""
        is_right = self.expected[request].get(version) == answer
        verdict = "failed" if answer is None else "right" if is_right else "wrong"
        self.answers.append((time.time(), seconds, request[0], version, verdict))

    def figures(self, updates: Sequence[Update]) -> dict[str, Any]:
        """What was counted and measured; raises SystemExit if a request failed or its answer was wrong."""
        rows = pd.DataFrame(self.answers, columns=["ended", "took", "route", "version", "verdict"])
        counts = {name: int((rows["verdict"] == name).sum()) for name in ("right", "wrong", "failed")}
        if counts["failed"] or counts["wrong"] or not counts["right"]:
            raise SystemExit(f"requests were affected by a swap: {counts}")
        last = np.searchsorted([updated for updated, _, _ in updates], rows["ended"])
        starts = np.array([-np.inf, *(updated for updated, _, _ in updates)])
        is_near = rows["ended"] - starts[last] <= AFTER_SECONDS
        swaps = pd.Series(_first_answers(rows, updates)) * 1000
        return {
            "answers": len(rows),
            **counts,
            "versions that answered": rows["version"].nunique(),
            "moves": sum(is_sound for _, _, is_sound in updates),
            "moves to a damaged bundle": sum(not is_sound for _, _, is_sound in updates),
            "moves seen": len(swaps),
            "move to first answer ms": {"median": round(swaps.median(), 1), "most": round(swaps.max(), 1)},
            "request ms": _percentiles(rows["took"][~is_near]),
            "request ms during swaps": _percentiles(rows["took"][is_near]),
        }


def _first_answers(rows: pd.DataFrame, updates: Sequence[Update]) -> list[float]:
    """Seconds from each update to the first answer of its version that follows one of another version."""
    changed = rows[rows["version"] != rows.groupby("route")["version"].shift()]
    latencies = []
    for updated, version, is_sound in updates:
        later = changed["ended"][(changed["version"] == version) & (changed["ended"] >= updated)]
        if is_sound and len(later) and later.iloc[0] - updated < OVERTAKEN_SECONDS:
            latencies.append(later.iloc[0] - updated)
    return latencies


def _percentiles(seconds: "pd.Series[float]") -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
    return {name: round(seconds.quantile(share) * 1000, 2) for name, share in shares.items()}


def expected_answers(versions: Versions) -> dict[Request, dict[str, bytes]]:
    """Per request, each sound version's answer."""
    expected: dict[Request, dict[str, bytes]] = {}
    for name, sound in versions.sound.items():
        for version in sound:
            for request, answer in golden_answers(load_released(versions.store, name, version)).items():
                expected.setdefault(request, {})[version] = answer
    return expected


def under_uvicorn(service: Service, versions: Versions, checker: Checker, options: Namespace) -> dict[str, Any]:
    """The figures of requests at a steady rate while versions are swapped."""
    log = versions.store.root / "log"
    with (
        served(service, log) as (_, address),
        pinned(CLIENT_CORE),
        updating(versions, options.seconds) as updates,
    ):
        load = Load(CONNECTIONS, rate=options.rate, requests=options.rate * options.seconds)
        asyncio.run(post_all(address, list(checker.expected), checker.check, load))
    refused = log.read_text(encoding="utf-8").count("is refused")
    return {"asked per second": options.rate, **checker.figures(updates), "refused": refused}


def in_lambda(service: Service, versions: Versions, checker: Checker, options: Namespace) -> dict[str, Any]:
    """The same in a loop through the Lambda handler, one invocation after the other."""
    events = [(request, http_event(request[0], json.loads(request[1]))) for request in checker.expected]
    with FunctionProcess(service, events[0][1]) as process, updating(versions, options.seconds) as updates:
        end = time.time() + options.seconds + 1
        while time.time() < end:
            request, event = events[len(checker.answers) % len(events)]
            report = process.call([event], 1)
            checker.check(request, report.answer["body"].encode(), report.seconds[0])
            time.sleep(PAUSE_SECONDS)
    return checker.figures(updates)


PARTS: dict[str, Callable[[Service, Versions, Checker, Namespace], dict[str, Any]]] = {
    "uvicorn": under_uvicorn,
    "lambda": in_lambda,
}


def swaps_table(report: Mapping[str, Any]) -> str:
    """How the requests fared while versions were swapped."""
    parts = [report[name] for name in TITLES]
    rows = [
        ["requests", *(f"{part['answers']:,}" for part in parts)],
        ["failed, or not answered as one version would", *(f"{part['failed'] + part['wrong']}" for part in parts)],
        [
            "promotions and rollbacks; promotions of damaged bundles",
            *(f"{part['moves']}; {part['moves to a damaged bundle']}" for part in parts),
        ],
        [
            "from a pointer's update to the first answer: median, longest",
            *(_pair(part["move to first answer ms"], "median", "most") for part in parts),
        ],
        ["time of a request: median, 99th percentile", *(_pair(part["request ms"], "p50", "p99") for part in parts)],
        [
            "the same within half a second of an update",
            *(_pair(part["request ms during swaps"], "p50", "p99") for part in parts),
        ],
        ["slowest request in that time", *(f"{number(part['request ms during swaps']['most'])} ms" for part in parts)],
    ]
    return table(["`make swaps`", *TITLES.values()], rows)


def _pair(milliseconds: Mapping[str, float], first: str, second: str) -> str:
    return f"{number(milliseconds[first])} ms, {number(milliseconds[second])} ms"


def swaps_caption(report: Mapping[str, Any]) -> str:
    """When it ran, and how many requests were sent."""
    return (
        f"`make swaps` on {date_of(report)}: {report['uvicorn']['asked per second']:,} requests a second for a minute"
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run both parts, print the table, and return the report; ends with an error if a swap affected a request."""
    options = options_of("releases.swaps", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine()}
    for name, part in PARTS.items():
        print(f"{name} ...", flush=True)
        with TemporaryDirectory() as folder:
            versions = filled_store(Path(folder))
            service = checkout_service(STORE=str(versions.store.root), STORE_SECONDS=str(POLL_SECONDS))
            report[name] = part(service, versions, Checker(expected_answers(versions)), options)
    print(swaps_table(report))
    keep("swaps", report, options)
    return report


if __name__ == "__main__":
    main()
