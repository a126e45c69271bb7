"""What recording a prediction adds to a warm invocation of the built function: `make bench-monitoring`.

A process for each setting of PREDICTIONS, because the function reads it once, asked in turns, so that a slow moment of
the machine weighs on all. Stdout is a pipe that another process drains, also where only metrics go there.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks.function import Child
from benchmarks.machine import machine
from benchmarks.readme_table import table
from benchmarks.rounds import in_turn
from benchmarks.served import ROOT
from benchmarks.subjects import ARTIFACT, BUNDLES, Subject
from benchmarks.workloads import REFUND, TRANSACTION, Workload
from training.delivery.artifact import declared_environment
from training.run.files import BUILD, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "recording.json"
# What the README quotes; tests/test_pages.py holds the two together.
RECORDED = REPORTS / "recording.json"
TURNS = 61
CALLS = 200
# What a request in Lambda may pay for being watched. A folder is for uvicorn, where the answer is sent before.
MAX_MICROSECONDS = 15.0
OFF, STDOUT, FOLDER = "off", "stdout", "folder"


def subjects(folder: Path) -> dict[str, Subject]:
    """The built function by what it does with predictions: nothing, write them to stdout, or into a folder."""
    function = declared_environment(ARTIFACT.parent / "template.yaml") | {"BUNDLES": str(ARTIFACT / BUNDLES)}
    service = folder / "service"
    service.mkdir()
    shutil.copy(ROOT / "benchmarks" / "piped_service.py", service)
    settings = {OFF: "", STDOUT: STDOUT, FOLDER: str(folder / "predictions")}
    return {
        name: Subject("piped_service", (service, ARTIFACT), function | {"PREDICTIONS": target})
        for name, target in settings.items()
    }


def event_of(workload: Workload) -> dict[str, Any]:
    """The workload's usual request, with an id, as one has that shall be joined with its outcome."""
    contract = json.loads((ARTIFACT / BUNDLES / workload.scorer / "manifest.json").read_bytes())["contract"]
    event = workload.event()
    return {**event, "body": json.dumps({**json.loads(event["body"]), contract["id"]: "4b1f0c3a5d7e9f1122334455"})}


def rounds_of(
    children: Mapping[str, Child], event: Mapping[str, Any], turns: int, progress: "tqdm[None]"
) -> list[dict[str, float]]:
    """Per turn the median microseconds of an invocation under each setting."""
    for child in children.values():
        child.call(event, CALLS)
    found = []
    for turn in range(turns):
        found.append(
            {name: median(children[name].call(event, CALLS).seconds) * 1e6 for name in in_turn(children, turn)}
        )
        progress.update()
    return found


def cost(rounds: list[dict[str, float]], name: str) -> dict[str, Any]:
    """What a setting adds to an invocation: the median of the turns' differences, their quartiles, and its share."""
    added = [one[name] - one[OFF] for one in rounds]
    low, middle, high = quantiles(added, n=4, method="inclusive")
    share = median((one[name] - one[OFF]) / one[OFF] for one in rounds)
    return {"microseconds": middle, "quartiles": [low, high], "share": share}


def measure(turns: int) -> dict[str, dict[str, Any]]:
    """Per scorer what an invocation takes without a record, and what each kind of record adds."""
    found = {}
    with TemporaryDirectory() as name, ExitStack() as stack:
        progress: tqdm[None] = tqdm(total=2 * turns, unit="turn")
        stack.callback(progress.close)
        events = {workload.scorer: event_of(workload) for workload in (TRANSACTION, REFUND)}
        first = events[TRANSACTION.scorer]
        made = subjects(Path(name)).items()
        children = {kind: stack.enter_context(Child(subject, first)) for kind, subject in made}
        for scorer, event in events.items():
            rounds = rounds_of(children, event, turns, progress)
            unrecorded = median(one[OFF] for one in rounds)
            found[scorer] = {"unrecorded": unrecorded} | {kind: cost(rounds, kind) for kind in (STDOUT, FOLDER)}
        if not any(Path(name, "predictions").glob("*.jsonl")):
            raise SystemExit("nothing was recorded; the artifact is older than the recorder: run `make build`")
    return found


def shown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured, beside the budget, as a table."""
    rows = []
    for scorer, one in found.items():
        for kind in (STDOUT, FOLDER):
            added = one[kind]
            low, high = added["quartiles"]
            rows.append(
                [
                    f"{scorer}, to {'stdout' if kind == STDOUT else 'a folder'}",
                    f"{one['unrecorded']:.0f} µs",
                    f"{added['microseconds']:.1f} µs ({low:.1f}..{high:.1f})",
                    f"{added['share']:.1%}",
                    f"≤ {MAX_MICROSECONDS:g} µs" if kind == STDOUT else "after the answer",
                ]
            )
    return table(["recording", "unrecorded", "adds", "of the unrecorded", "budget"], rows)


def main() -> None:
    """Measure, print it beside the budget, and end with an error where that is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    if not (ARTIFACT / BUNDLES).is_dir():
        raise SystemExit(f"{ARTIFACT} is not built; run `make build`")
    scorers = measure(asked.turns)
    found = {"machine": machine(), "budget_microseconds": MAX_MICROSECONDS, "scorers": scorers}
    print(shown(scorers))
    write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)
    over = [
        f"{scorer}: {one[STDOUT]['microseconds']:.1f} µs"
        for scorer, one in scorers.items()
        if one[STDOUT]["microseconds"] > MAX_MICROSECONDS
    ]
    if over:
        raise SystemExit(f"a record to stdout may add {MAX_MICROSECONDS:g} µs: {'; '.join(over)}")


if __name__ == "__main__":
    main()
