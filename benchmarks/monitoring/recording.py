"""What recording a prediction adds to a warm invocation of the built function: `make bench-monitoring`.

A process for each setting of PREDICTIONS, because the function reads it once, called in turns, so that a slow moment of
the machine weighs on all. Stdout is a pipe that another process drains, also where only metrics go there.
"""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks.command import ROOT, end, keep, options_of
from benchmarks.machine import in_turn, machine
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.services import Service, artifact_in, compiled_modules, function_environment
from benchmarks.serving.workloads import REFUND, TRANSACTION, Workload
from benchmarks.tables import SCORERS, date_of, number, table
from training.run.files import BUNDLES

SIZES = {"turns": (61, 2), "calls": (200, 2)}
# What a request in Lambda may pay for its record. A folder is for uvicorn, where the answer is sent before.
MAX_MICROSECONDS = 15.0
OFF = "off"
TARGETS = {"stdout": "to stdout", "folder": "to a folder"}


def services(folder: Path, artifact: Path) -> dict[str, Service]:
    """The function by what it does with predictions: nothing, write them to stdout, or into a folder."""
    function, modules = function_environment(artifact), compiled_modules(folder / "services")
    settings = {OFF: "", "stdout": "stdout", "folder": str(folder / "predictions")}
    return {
        name: Service("piped_service", (modules, artifact), function | {"PREDICTIONS": target}, artifact)
        for name, target in settings.items()
    }


def event_of(workload: Workload) -> dict[str, Any]:
    """The workload's typical request, with an id, by which it is joined with its outcome."""
    contract = json.loads((ROOT / BUNDLES / workload.scorer / "manifest.json").read_bytes())["contract"]
    event = workload.event()
    return {**event, "body": json.dumps({**json.loads(event["body"]), contract["id"]: "4b1f0c3a5d7e9f1122334455"})}


def microseconds_of(
    processes: Mapping[str, FunctionProcess], event: Mapping[str, Any], options: Namespace, progress: "tqdm[None]"
) -> list[dict[str, float]]:
    """Per turn the median microseconds of an invocation under each setting."""
    for process in processes.values():
        process.call([event], options.calls)
    turns = []
    for turn in range(options.turns):
        turns.append(
            {
                name: median(processes[name].call([event], options.calls).seconds) * 1e6
                for name in in_turn(processes, turn)
            }
        )
        progress.update()
    return turns


def cost(turns: list[dict[str, float]], name: str) -> dict[str, Any]:
    """What a setting adds to an invocation: the median of the turns' differences, their quartiles, and its share."""
    low, middle, high = quantiles([turn[name] - turn[OFF] for turn in turns], n=4, method="inclusive")
    share = median((turn[name] - turn[OFF]) / turn[OFF] for turn in turns)
    return {"microseconds": middle, "quartiles": [low, high], "share": share}


def measure(options: Namespace) -> dict[str, dict[str, Any]]:
    """Per scorer what an invocation takes without a record, and what each kind of record adds."""
    costs = {}
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        progress = stack.enter_context(tqdm(total=2 * options.turns, unit="turn"))
        events = {workload.scorer: event_of(workload) for workload in (TRANSACTION, REFUND)}
        compared = services(folder, artifact_in(folder, smallest=options.smallest)).items()
        first = events[TRANSACTION.scorer]
        processes = {kind: stack.enter_context(FunctionProcess(service, first)) for kind, service in compared}
        for scorer, event in events.items():
            turns = microseconds_of(processes, event, options, progress)
            costs[scorer] = {"unrecorded": median(turn[OFF] for turn in turns)}
            costs[scorer] |= {kind: cost(turns, kind) for kind in TARGETS}
        if not any((folder / "predictions").glob("*.jsonl")):
            raise SystemExit("nothing was recorded; the artifact is older than the recorder: run `make build`")
    return costs


def recording_table(report: Mapping[str, Any]) -> str:
    """What a record adds to a warm invocation of each scorer."""
    costs = [report["scorers"][name] for name in SCORERS]
    rows = [["a warm invocation without a record", *(f"{number(scorer['unrecorded'])} µs" for scorer in costs)]]
    rows += [
        [f"a record {where} adds", *(_added(scorer[target]) for scorer in costs)] for target, where in TARGETS.items()
    ]
    return table([f"`make bench-monitoring` on {date_of(report)}", *SCORERS], rows)


def _added(cost: Mapping[str, Any]) -> str:
    return f"{number(cost['microseconds'])} µs ({cost['share']:.1%})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error where the budget is exceeded."""
    options = options_of("monitoring.recording", __doc__, SIZES, arguments)
    report = {"machine": machine(), "budget_microseconds": MAX_MICROSECONDS, "scorers": measure(options)}
    print(recording_table(report))
    keep("recording", report, options)
    added = {scorer: costs["stdout"]["microseconds"] for scorer, costs in report["scorers"].items()}
    end(
        [
            f"{scorer}: a record to stdout adds {microseconds:.1f} µs, at most {MAX_MICROSECONDS:g}"
            for scorer, microseconds in added.items()
            if microseconds > MAX_MICROSECONDS
        ],
        options,
    )


if __name__ == "__main__":
    main()
