"""What a request uses of AWS, by memory size: milliseconds, memory, log bytes and table units. `make bench-cost`.

The artifact answers in AWS's Runtime Interface Emulator, with the client that runs in Lambda, under the share of a
processor that Lambda gives to the memory size. Requests are rows of both shipped scorers' test windows, the scorers in
turn, so that a realistic share of them is flagged. They first come with pauses, so that each finds its processor share
unused, and then without. `make cost` turns the report into dollars.
"""

from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from statistics import fmean, median, quantiles
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import httpx2
import psutil
from matplotlib import style
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.command import REPORTS, ROOT, keep, options_of
from benchmarks.history.table_units import mean_units
from benchmarks.machine import CLIENT_CORE, in_turn, machine, pinned, resident_mb
from benchmarks.serving.child import HTTP_OK
from benchmarks.serving.emulator import INIT, TIMEOUT_SECONDS, emulated
from benchmarks.serving.gateway import http_event
from benchmarks.serving.log_bytes import access_line, durations_of, line_figures, metrics_of, response_bytes
from benchmarks.serving.quota import MB_A_VCPU, NO_QUOTA, PERIOD_MICROSECONDS, quota
from benchmarks.serving.services import Service, built_service, checkout_service
from benchmarks.serving.workloads import requests_with_ids, window_rows
from benchmarks.tables import SCORERS, date_of, number, table
from handler.scoring.scorer import load_scorer
from training.delivery.bill import MILLION, lambda_usd
from training.delivery.billed_template import billed_template
from training.report.axes import BLUE, GREY, INK, ORANGE, blank_axes, round_ticks, write_key
from training.report.html import LOOK
from training.run.files import BUNDLES, write_whole

MEMORY_MB = (256, 512, 1_024, 1_769, 2_048)
USUAL_MB = 512
SIZES = {"rounds": (5, 1), "calls": (600, 4), "rows": (20_000, 100)}
# Two periods of the quota, so that the share that a request used is available again before the next one.
PACE_SECONDS = 2 * PERIOD_MICROSECONDS / 1e6


def sample_events(n_each: int) -> list[dict[str, Any]]:
    """The events of evenly spaced rows of each shipped scorer's test window, the scorers in turn."""
    events = []
    for name in SCORERS:
        contract = load_scorer(ROOT / BUNDLES / name).contract
        rows = window_rows(name)
        chosen = rows.iloc[:: max(len(rows) // n_each, 1)].iloc[:n_each]
        events.append([http_event(contract.route, request) for request in requests_with_ids(chosen, contract)])
    return [event for pair in zip(*events, strict=True) for event in pair]


def answered(url: str, events: Sequence[Mapping[str, Any]], pace: float = 0.0) -> list[Mapping[str, Any]]:
    """The function's answers to events, sent one after the other, at least `pace` seconds apart."""
    answers = []
    with httpx2.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        for event in events:
            begin = monotonic()
            answers.append(answer := client.post(url, json=event).json())
            if answer.get("statusCode") != HTTP_OK:
                raise RuntimeError(f"the function answered {answer}")
            sleep(max(begin + pace - monotonic(), 0.0))
    return answers


def measured_start(service: Service, memory_mb: int, events: Sequence[Mapping[str, Any]], log: Path) -> dict[str, Any]:
    """The figures of one start under the quota of a memory size: its init, and the milliseconds of each request."""
    with quota(memory_mb) as (way, add), emulated(service, log, memory_mb=memory_mb) as (pid, url):
        add(pid)
        answered(url, events[:1])
        answered(url, events, PACE_SECONDS)
        answered(url, events)
        used = max(resident_mb(child.pid) for child in psutil.Process(pid).children(recursive=True))
    init = INIT.search(log.read_bytes())
    if init is None:
        raise RuntimeError(f"the emulator's log has no INIT REPORT line:\n{log.read_text()}")
    # The first duration is that of the request that started the runtime.
    _, *milliseconds = durations_of(log)
    paced, busy = milliseconds[: len(events)], milliseconds[len(events) :]
    return {"way": way, "init": float(init[1]), "used": used, "paced": paced, "busy": busy}


def figures_of(starts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of a memory size, as medians of its starts; Lambda bills a request's milliseconds rounded up."""
    return {
        "init_ms": median(start["init"] for start in starts),
        "used_mb": max(start["used"] for start in starts),
        "scorers": {
            name: {
                f"p{percent}_ms": median(
                    _percentile(start["paced"][place :: len(SCORERS)], percent) for start in starts
                )
                for percent in (50, 99)
            }
            for place, name in enumerate(SCORERS)
        },
        "billed_ms": median(fmean(map(ceil, start["paced"])) for start in starts),
        "busy_billed_ms": median(fmean(map(ceil, start["busy"])) for start in starts),
    }


def _percentile(durations: Sequence[float], percent: int) -> float:
    return quantiles(durations, n=100, method="inclusive")[percent - 1]


def memory_figures(service: Service, options: Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """How the quota was set, and the figures of each memory size."""
    sizes = (USUAL_MB,) if options.smallest else MEMORY_MB
    events, starts = sample_events(options.calls // len(SCORERS)), defaultdict(list)
    # The sizes take turns, so that a slow moment of the machine affects all of them.
    for turn in tqdm(range(options.rounds), unit="round"):
        for memory_mb in in_turn(map(str, sizes), turn):
            starts[memory_mb].append(measured_start(service, int(memory_mb), events, folder / "emulator.log"))
    return starts[str(USUAL_MB)][0]["way"], {str(size): figures_of(starts[str(size)]) for size in sizes}


def log_figures(service: Service, n_requests: int, log: Path) -> dict[str, Any]:
    """The log lines of requests, including prediction records, the number of metrics, and the size of the answers."""
    recording = replace(service, environment={**service.environment, "METRICS": "emf", "PREDICTIONS": "stdout"})
    events = sample_events(n_requests // len(SCORERS))
    with emulated(recording, log) as (_, url):
        answers = answered(url, [events[0], *events])[1:]
    pattern = billed_template().access_format
    access = [access_line(pattern, event["rawPath"]) for event in events]
    return {
        "log": line_figures(log.read_bytes().splitlines(keepends=True), access, len(events)),
        "metrics": metrics_of(log),
        "response_bytes": response_bytes(answers),
    }


def measure(service: Service, options: Namespace) -> dict[str, Any]:
    """The whole report."""
    with TemporaryDirectory() as name, pinned(CLIENT_CORE):
        way, memory = memory_figures(service, options, Path(name))
        logs = log_figures(service, options.calls, Path(name, "records.log"))
    return {
        "machine": machine(),
        "effort": {size: getattr(options, size) for size in SIZES},
        "quota": way,
        "memory": memory,
        **logs,
        "table": mean_units(SCORERS, options.rows),
    }


def memory_table(report: Mapping[str, Any]) -> str:
    """Per memory size, what a request takes, and what a million requests cost on both processors."""
    head = ["memory", "share of a vCPU", "init", *(f"{name}: p50, p99" for name in SCORERS)]
    head += ["billed", "USD a million, x86_64, arm64", "without a pause: billed", "USD a million, x86_64, arm64"]
    rows = []
    for memory, figures in report["memory"].items():
        row = [f"{int(memory):,} MB", f"{int(memory) / MB_A_VCPU:.2f}", f"{figures['init_ms']:,.0f} ms"]
        row += [f"{times['p50_ms']:.2f}, {times['p99_ms']:.2f} ms" for times in figures["scorers"].values()]
        for kind in ("billed_ms", "busy_billed_ms"):
            x86_64, arm64 = lambda_usd(MILLION, figures[kind], int(memory))
            row += [f"{figures[kind]:.2f} ms", f"{x86_64:.4f}, {arm64:.4f}"]
        rows.append(row)
    return table(head, rows)


def memory_caption(report: Mapping[str, Any]) -> str:
    """When and how the memory sizes were measured, and the memory that was used."""
    facts, effort = report["machine"], report["effort"]
    used = max(figures["used_mb"] for figures in report["memory"].values())
    return (
        f"`make bench-cost` on {date_of(report)}, {facts['cores']} cores of an {facts['processor']}, quota by "
        f"{report['quota']}, {effort['rounds']} starts a size, {effort['calls']} requests each; the runtime's process "
        f"used {number(used)} MB:"
    ).replace("(R)", "")


def draw_memory(report: Mapping[str, Any]) -> Figure:
    """A plot of what a million requests cost, by memory size, on both processors, with pauses and without."""
    figure, axes = blank_axes()
    sizes, drawn = [int(memory) for memory in report["memory"]], [0.0]
    for kind, line in (("billed_ms", "-"), ("busy_billed_ms", "--")):
        usd = [lambda_usd(MILLION, figures[kind], int(size)) for size, figures in report["memory"].items()]
        for color, of_processor in zip((BLUE, ORANGE), zip(*usd, strict=True), strict=True):
            axes.plot(sizes, of_processor, color=color, linestyle=line, marker="o")
            drawn += of_processor
    axes.axvline(USUAL_MB, color=GREY, linestyle=":")
    axes.set(xlabel="memory, MB (dotted: the template's)", ylabel="USD a million requests")
    round_ticks(axes, "x", [0, *sizes])
    round_ticks(axes, "y", drawn)
    write_key(figure, ("— x86_64", BLUE), ("— arm64", ORANGE), ("-- without a pause", INK))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and keep it with its figure."""
    options = options_of("serving.footprint", __doc__, SIZES, arguments)
    report = measure(checkout_service() if options.smallest else built_service(), options)
    print(f"{memory_caption(report)}\n\n{memory_table(report)}")
    if options.record and report["quota"] == NO_QUOTA:
        raise SystemExit(f"nothing is recorded: the processor's quota is set by {NO_QUOTA}; run it as root on Linux")
    keep("footprint", report, options)
    if options.record:
        how = {"format": "svg", "facecolor": "white", "metadata": {"Date": None}}
        with style.context(LOOK):
            write_whole(REPORTS / "footprint.svg", lambda path: draw_memory(report).savefig(path, **how))


if __name__ == "__main__":
    main()
