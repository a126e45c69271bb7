"""What recording a prediction adds to a warm invocation of the built function: `make bench-monitoring`.

Each setting of PREDICTIONS has its own process, because the function reads it only once. The processes are called in
turn, so that a slow moment of the machine affects them all. Stdout is a pipe that another process drains, even if only
metrics are written there.
"""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import in_turn, machine
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.services import Service, built_service, checkout_service
from benchmarks.serving.workloads import REFUND, TRANSACTION, Workload
from benchmarks.tables import SCORERS, date_of, number, table
from handler.records.telemetry import TRACE_VARIABLE
from training.run.files import BUNDLES

SIZES = {"turns": (61, 2), "calls": (200, 2)}
# The share that a record may add to an invocation in Lambda, and to an explained one, whose record has the
# contributions. Shares hold on any machine. A folder has no budget: it is for uvicorn, which has sent the answer by
# then.
MAX_SHARES = {"stdout": 0.20, "explained": 0.10}
OFF = "off"
# The trace, as Lambda's runtime sets it for each invocation; a record holds its id.
TRACE = "Root=1-6afacd18-5d1f7b3a0c9e42186f0b7d10;Parent=53995c3f42cd8ad8;Sampled=0"
TARGETS = {"stdout": "to stdout", "folder": "to a folder"}


def services(function: Service, folder: Path) -> dict[str, Service]:
    """The function by what it does with predictions: nothing, write them to stdout, or into a folder."""
    settings = {OFF: "", "stdout": "stdout", "folder": str(folder)}
    return {
        name: replace(
            function,
            module="benchmarks.serving.piped_service",
            paths=(*function.paths, ROOT),
            environment={**function.environment, "PREDICTIONS": target, TRACE_VARIABLE: TRACE},
        )
        for name, target in settings.items()
    }


def event_of(workload: Workload) -> dict[str, Any]:
    """The workload's typical request, with the id that joins a prediction with its outcome."""
    contract = json.loads((ROOT / BUNDLES / workload.scorer / "manifest.json").read_bytes())["contract"]
    event = workload.event()
    return {**event, "body": json.dumps({**json.loads(event["body"]), contract["id"]: "4b1f0c3a5d7e9f1122334455"})}


def cost(turns: list[dict[str, float]], name: str) -> dict[str, float]:
    """What a setting adds to an invocation: the median of the turns' differences, and of their shares."""
    added = [(turn[name] - turn[OFF], turn[OFF]) for turn in turns]
    share = median(microseconds / unrecorded for microseconds, unrecorded in added)
    return {"microseconds": median(microseconds for microseconds, _ in added), "share": share}


def measure(function: Service, options: Namespace) -> dict[str, dict[str, Any]]:
    """Per scorer, the time of an invocation without a record, and what each kind of record adds to it."""
    costs = {}
    with TemporaryDirectory() as name, ExitStack() as stack:
        first = TRANSACTION.event()
        processes = {
            kind: stack.enter_context(FunctionProcess(service, first))
            for kind, service in services(function, Path(name)).items()
        }
        for workload in (TRANSACTION, REFUND):
            event, turns = event_of(workload), []
            for turn in tqdm(range(options.turns), unit="turn"):
                calls = {kind: processes[kind].call([event], options.calls) for kind in in_turn(processes, turn)}
                turns.append({kind: median(report.seconds) * 1e6 for kind, report in calls.items()})
            costs[workload.scorer] = {"unrecorded": median(turn[OFF] for turn in turns)}
            costs[workload.scorer] |= {kind: cost(turns, kind) for kind in TARGETS}
            explained = event_of(replace(workload, query="explain=true"))
            turns = []
            for turn in tqdm(range(options.turns), unit="turn"):
                calls = {
                    kind: processes[kind].call([explained], options.calls) for kind in in_turn((OFF, "stdout"), turn)
                }
                turns.append({kind: median(report.seconds) * 1e6 for kind, report in calls.items()})
            costs[workload.scorer]["explained"] = cost(turns, "stdout")
        if not any(Path(name).glob("*.jsonl")):
            raise SystemExit("nothing was recorded; the artifact is older than the recorder: run `make build`")
    return costs


def recording_table(report: Mapping[str, Any]) -> str:
    """What a record adds to a warm invocation of each scorer."""
    costs = [report["scorers"][name] for name in SCORERS]
    rows = [["a warm invocation without a record", *(f"{number(scorer['unrecorded'])} µs" for scorer in costs)]]
    rows += [
        [f"a record {where} adds", *(_added(scorer[target]) for scorer in costs)] for target, where in TARGETS.items()
    ]
    if all("explained" in scorer for scorer in costs):
        rows.append(
            [
                "a record to stdout of an explained request, with its contributions, adds",
                *(_added(scorer["explained"]) for scorer in costs),
            ]
        )
    return table([f"`make bench-monitoring` on {date_of(report)}", *SCORERS], rows)


def _added(cost: Mapping[str, Any]) -> str:
    return f"{number(cost['microseconds'])} µs ({cost['share']:.1%})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if a budget is exceeded."""
    options = options_of("monitoring.recording", __doc__, SIZES, arguments)
    costs = measure(checkout_service() if options.smallest else built_service(), options)
    report = {"machine": machine(), "budget_shares": MAX_SHARES, "scorers": costs}
    print(recording_table(report))
    excesses = [
        f"{scorer}: a record adds {of[kind]['share']:.1%} to an invocation ({kind}), at most {most:.0%}"
        for scorer, of in costs.items()
        for kind, most in MAX_SHARES.items()
        if of[kind]["share"] > most
    ]
    keep("recording", report, options, excesses)


if __name__ == "__main__":
    main()
